//! A conversation as the model's own chat template writes it.

use eval::{ChatMessage, EngineError, render_chat};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use words::Hint;

/// The text of a conversation up to where the assistant answers.
///
/// llama.cpp's C interface does not run templates but recognises some of them. What a template adds of its own, such as a
/// system message, would be lost.
///
/// # Errors
/// When the model has no template, or the template cannot write this conversation.
pub(crate) fn prompt(
    model: NonNull<sys::llama_model>,
    name: Option<&str>,
    messages: &[ChatMessage],
) -> Result<String, EngineError> {
    let template = template(model, name)?;
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

/// The key of the default template. The others follow it, behind a point.
const KEY: &str = "tokenizer.chat_template";

/// The name that transformers gives to the template that has no other.
const DEFAULT: &str = "default";

/// The template of a name.
fn template(model: NonNull<sys::llama_model>, name: Option<&str>) -> Result<String, EngineError> {
    let keys = keys(model);
    let has_default = keys.iter().any(|key| key == KEY);
    let names = keys.iter().filter_map(|key| key.strip_prefix(KEY)?.strip_prefix('.'));
    let names: Vec<&str> = has_default.then_some(DEFAULT).into_iter().chain(names).collect();
    let listed = || format!("the templates of the model: {}", names.join(", "));
    let key = match name {
        _ if names.is_empty() => {
            return Err(EngineError::Unsupported {
                what: format!("the model has no chat template ({KEY} is missing)"),
                hint: Hint::words("take a model that was tuned for conversation"),
            });
        }
        None if has_default => KEY.to_owned(),
        None => {
            return Err(EngineError::Unsupported {
                what: format!("the model has no default chat template ({KEY} is missing); {}", listed()),
                hint: Hint::NameTemplate,
            });
        }
        Some(name) if !names.contains(&name) => {
            return Err(EngineError::Unsupported {
                what: format!("the model has no chat template named {name:?}; {}", listed()),
                hint: Hint::NameTemplate,
            });
        }
        Some(DEFAULT) if has_default => KEY.to_owned(),
        Some(name) => format!("{KEY}.{name}"),
    };
    let missing = || EngineError::Failed(format!("{key} is listed and cannot be read"));
    let c_key = CString::new(key.as_str()).map_err(|_| missing())?;
    // SAFETY: the model is live; with no room at all llama.cpp returns the length.
    let len = unsafe { sys::llama_model_meta_val_str(model.as_ptr(), c_key.as_ptr(), std::ptr::null_mut(), 0) };
    let mut bytes = vec![0u8; usize::try_from(len).map_err(|_| missing())? + 1];
    // SAFETY: the model is live, and `bytes` has the length that is passed.
    unsafe {
        sys::llama_model_meta_val_str(model.as_ptr(), c_key.as_ptr(), bytes.as_mut_ptr().cast(), bytes.len());
    }
    bytes.pop();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The metadata keys of the model, in their alphabetic order.
fn keys(model: NonNull<sys::llama_model>) -> Vec<String> {
    let mut buffer = vec![0u8; 1 << 16];
    // SAFETY: the model is live, and the buffer has the length that is passed.
    let n = unsafe { sys::llama_model_meta_count(model.as_ptr()) };
    let mut keys: Vec<String> = (0..n)
        .filter_map(|index| {
            let (room, len) = (buffer.as_mut_ptr().cast(), buffer.len());
            // SAFETY: as above.
            let n = unsafe { sys::llama_model_meta_key_by_index(model.as_ptr(), index, room, len) };
            let key = buffer.get(..usize::try_from(n).ok()?)?;
            Some(String::from_utf8_lossy(key).into_owned())
        })
        .collect();
    keys.sort();
    keys
}
