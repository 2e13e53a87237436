//! A conversation as the model's own chat template writes it.

use eval::{ChatMessage, EngineError, render_chat};
use llama_cpp_sys_2 as sys;
use std::ffi::CStr;
use std::ptr::NonNull;
use words::Hint;

/// The text of a conversation up to where the assistant answers.
///
/// llama.cpp's C interface does not run templates but recognises some of them. What a template adds of its own, such as a
/// system message, would be lost.
///
/// # Errors
/// When the model has no template, or the template cannot write this conversation.
pub(crate) fn prompt(model: NonNull<sys::llama_model>, messages: &[ChatMessage]) -> Result<String, EngineError> {
    // SAFETY: the model is live, and the template lives as long.
    let template = unsafe {
        let template = sys::llama_model_chat_template(model.as_ptr(), std::ptr::null());
        if template.is_null() {
            return Err(EngineError::Unsupported {
                what: "the model has no chat template (tokenizer.chat_template is missing)".into(),
                hint: Hint::words("take a model that was tuned for conversation"),
            });
        }
        CStr::from_ptr(template).to_string_lossy()
    };
    let text_of = |token: sys::llama_token| {
        // SAFETY: the vocabulary is the model's, which is live, and so is the text of a token that it has.
        unsafe {
            let vocab = sys::llama_model_get_vocab(model.as_ptr());
            if !(0..sys::llama_vocab_n_tokens(vocab)).contains(&token) {
                return String::new();
            }
            let text = sys::llama_vocab_get_text(vocab, token);
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        }
    };
    // SAFETY: the model is live.
    let (bos, eos) = unsafe {
        let vocab = sys::llama_model_get_vocab(model.as_ptr());
        (sys::llama_vocab_bos(vocab), sys::llama_vocab_eos(vocab))
    };
    render_chat(&template, &text_of(bos), &text_of(eos), messages).map_err(|error| EngineError::Unsupported {
        what: error.to_string(),
        hint: Hint::ShowMetadata { key: "tokenizer.chat_template".into() },
    })
}
