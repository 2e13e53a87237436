//! The answer of `assay chat`.

use super::SchemeFallback;
use crate::{Arm, Sampling, Token};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`ChatAnswer`].
pub const CHAT_FORMAT: u32 = 3;

/// What the model replied to prompts, and what a variant replied to the same prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatAnswer {
    /// The version of this document.
    #[schemars(extend("const" = CHAT_FORMAT))]
    pub format: u32,
    /// The file name of the model without its folder.
    pub model: String,
    /// The kernels that the model ran through.
    pub arm: Arm,
    /// The schemes that were applied to the variant, each as `SELECTOR=SCHEME`.
    pub apply: Vec<String>,
    /// The tensors that a scheme other than the requested one quantized; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<SchemeFallback>,
    /// How the tokens of the replies were chosen.
    pub sampling: Sampling,
    /// The number of tokens at which a reply was cut.
    pub max_tokens: usize,
    /// The longest conversation that was allowed, in tokens.
    pub n_ctx: u32,
    /// The name of the chat template that was asked for; `null` for the default one.
    pub template: Option<String>,
    /// The date that `strftime_now` told the chat template, which is the same on every day.
    pub template_date: String,
    /// One entry for each prompt.
    pub chats: Vec<ChatExchange>,
}

/// One prompt and the replies to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatExchange {
    /// The text of the prompt.
    pub prompt: String,
    /// The conversation as the chat template wrote it and the model read it.
    pub rendered: String,
    /// The number of tokens of the rendered conversation.
    pub rendered_tokens: usize,
    /// Whether the rendered conversation contains the prompt, apart from white space around it.
    pub contains_prompt: bool,
    /// The untouched model's reply.
    pub reference: Option<ChatReply>,
    /// The variant's reply; `null` without a variant.
    pub variant: Option<ChatReply>,
    /// The position of the first token that differs; `null` when none does, or without a variant.
    pub first_divergence: Option<usize>,
}

/// The reply to one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatReply {
    /// The text of the reply.
    pub text: String,
    /// The tokens of the reply, without the token that ended it.
    pub tokens: Vec<Token>,
    /// Whether the model ended the reply itself; otherwise it was cut at `max_tokens`.
    pub ended: bool,
}
