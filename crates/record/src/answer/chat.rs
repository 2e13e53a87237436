//! The answer of `assay chat`.

use super::SchemeFallback;
use crate::{Arm, Sampling, Token};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`ChatAnswer`].
pub const CHAT_FORMAT: u32 = 2;

/// What the model replied to prompts, and a variant beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatAnswer {
    /// The version of this document.
    #[schemars(extend("const" = CHAT_FORMAT))]
    pub format: u32,
    /// The file name of the model without its folder.
    pub model: String,
    /// The kernels.
    pub arm: Arm,
    /// What was applied, `SELECTOR=SCHEME` each.
    pub apply: Vec<String>,
    /// The tensors that another scheme quantized than the one that was asked for; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<SchemeFallback>,
    /// How tokens were chosen.
    pub sampling: Sampling,
    /// The length at which a reply was cut, tokens.
    pub max_tokens: usize,
    /// The longest conversation, tokens.
    pub n_ctx: u32,
    /// One entry for each prompt.
    pub chats: Vec<ChatExchange>,
}

/// One prompt and what was replied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatExchange {
    /// The prompt.
    pub prompt: String,
    /// The untouched model's reply.
    pub reference: Option<ChatReply>,
    /// The variant's reply; `null` without a variant.
    pub variant: Option<ChatReply>,
    /// The position of the first token that differs; `null` when none does, or without a variant.
    pub first_divergence: Option<usize>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatReply {
    /// The text.
    pub text: String,
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<Token>,
    /// Whether the model ended the reply; otherwise it was cut at the longest allowed.
    pub ended: bool,
}
