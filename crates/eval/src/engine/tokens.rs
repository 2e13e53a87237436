//! Converts text to token ids and back.

use super::EngineError;
use crate::generate::{ChatMessage, ChatPrompt};
use record::Token;

/// The model's vocabulary, tokenizer and chat template.
pub trait Tokens {
    /// The token ids of `text` as llama-perplexity makes them: special tokens are added, but parsed from the text only
    /// where `special` says so.
    ///
    /// # Errors
    /// When the model has no tokenizer.
    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, EngineError>;

    /// The bytes of text that a token stands for; empty for a special token. They need not be whole characters.
    ///
    /// # Errors
    /// When the vocabulary spells the token in a way that cannot be read.
    fn piece(&self, token: Token) -> Result<Vec<u8>, EngineError>;

    /// The length in bytes of the text that a token stands for; 0 for a special token.
    ///
    /// # Errors
    /// When the vocabulary spells the token in a way that cannot be read.
    fn piece_len(&self, token: Token) -> Result<usize, EngineError>;

    /// Whether a token ends an answer.
    fn is_end(&self, token: Token) -> bool;

    /// A conversation up to the point where the assistant answers, written by the model's own chat template: the one of
    /// this name, or the only or default one.
    ///
    /// # Errors
    /// When the model has no such chat template, the template cannot write this conversation, or the prompt is longer
    /// than the context. A prompt that cannot fit is refused before it is tokenized.
    fn chat_prompt(&self, template: Option<&str>, messages: &[ChatMessage]) -> Result<ChatPrompt, EngineError>;
}
