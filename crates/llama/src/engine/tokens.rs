//! Text to token ids and back, by the model's own vocabulary.

use super::LlamaEngine;
use crate::guard::{caught, throwing};
use eval::{ChatMessage, ChatPrompt, EngineError, Token, Tokens};
use llama_cpp_sys_2 as sys;
use std::ffi::CStr;
use words::{Hint, count, plural};

impl LlamaEngine {
    /// Token ids of a text, with special tokens added; with `parse_special`, those in the text are parsed too.
    fn token_ids(&self, text: &str, parse_special: bool) -> Result<Vec<Token>, EngineError> {
        let too_long = || EngineError::Failed(format!("the text is too long for llama.cpp: {} bytes", text.len()));
        let len = i32::try_from(text.len()).map_err(|_| too_long())?;
        // SAFETY: the model is live.
        let vocab = unsafe { sys::llama_model_get_vocab(self.model.0.as_ptr()) };
        let mut tokens: Vec<Token> = vec![0; text.len() + 16];
        for _ in 0..2 {
            let capacity = i32::try_from(tokens.len()).map_err(|_| too_long())?;
            let (text, room) = (text.as_ptr().cast(), tokens.as_mut_ptr());
            // SAFETY: text and tokens have the lengths that are passed.
            let n = caught("tokenize the text", || unsafe {
                throwing::llama_tokenize(vocab, text, len, room, capacity, true, parse_special)
            })?;
            // A negative count is the capacity that was needed.
            tokens.resize(n.unsigned_abs() as usize, 0);
            if n >= 0 {
                return Ok(tokens);
            }
        }
        Err(EngineError::Failed("the tokenizer asked for more room twice".into()))
    }

    /// Writes the text that a token stands for, if there is room, and returns its length or the negated length that is
    /// needed.
    fn write_piece(&self, token: Token, room: &mut [u8]) -> Result<i32, EngineError> {
        let (bytes, len) = (room.as_mut_ptr().cast(), room.len() as i32);
        // SAFETY: the model is live, and `room` has the length that is passed.
        caught("spell a token", || unsafe {
            let vocab = sys::llama_model_get_vocab(self.model.0.as_ptr());
            throwing::llama_token_to_piece(vocab, token, bytes, len, 0, false)
        })
    }

    /// The length in bytes of the longest text of a token, as the vocabulary spells it, which is never shorter than the
    /// text that it stands for.
    fn longest_token(&self) -> usize {
        // SAFETY: the model is live, and so are the texts of its tokens.
        unsafe {
            let vocab = sys::llama_model_get_vocab(self.model.0.as_ptr());
            let texts = (0..sys::llama_vocab_n_tokens(vocab)).map(|token| sys::llama_vocab_get_text(vocab, token));
            texts
                .filter(|text| !text.is_null())
                .map(|text| CStr::from_ptr(text).count_bytes())
                .max()
                .unwrap_or(0)
                .max(1)
        }
    }
}

impl Tokens for LlamaEngine {
    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, EngineError> {
        self.token_ids(text, special)
    }

    fn piece_len(&self, token: Token) -> Result<usize, EngineError> {
        // With no room at all, llama.cpp returns the length needed, negated.
        Ok(self.write_piece(token, &mut [])?.unsigned_abs() as usize)
    }

    fn piece(&self, token: Token) -> Result<Vec<u8>, EngineError> {
        let mut bytes = vec![0u8; self.piece_len(token)?];
        let n = self.write_piece(token, &mut bytes)?;
        bytes.truncate(usize::try_from(n).unwrap_or(0));
        Ok(bytes)
    }

    fn is_end(&self, token: Token) -> bool {
        // SAFETY: the model is live.
        unsafe { sys::llama_vocab_is_eog(sys::llama_model_get_vocab(self.model.0.as_ptr()), token) }
    }

    fn chat_prompt(&self, template: Option<&str>, messages: &[ChatMessage]) -> Result<ChatPrompt, EngineError> {
        let text = crate::chat::prompt(self.model.0, template, messages)?;
        let n_ctx = self.settings.n_ctx as usize;
        let too_long = |found: String| EngineError::Unsupported {
            what: format!("found a prompt of {found}, wanted 1 to {}, the size of the context", plural(n_ctx, "token")),
            hint: Hint::LargerContext,
        };
        // llama.cpp's tokenizers take time that grows with the square of a text that falls back to bytes.
        let longest = self.longest_token();
        if text.len() > n_ctx.saturating_mul(longest) {
            return Err(too_long(format!(
                "{}, where a token has at most {}",
                plural(text.len(), "byte"),
                count(longest as u64)
            )));
        }
        let mut tokens = self.token_ids(&text, true)?;
        // Some templates write BOS themselves, and the tokenizer adds one.
        if let (Some(bos), [first, second, ..]) = (self.info.bos, &tokens[..])
            && *first == bos
            && *second == bos
        {
            tokens.remove(0);
        }
        if tokens.len() > n_ctx {
            return Err(too_long(plural(tokens.len(), "token")));
        }
        Ok(ChatPrompt { text, tokens })
    }
}
