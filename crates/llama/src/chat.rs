//! A conversation as the model's own chat template writes it.

use eval::{ChatMessage, EngineError};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;

/// The text of a conversation up to where the assistant answers.
///
/// llama.cpp's C interface does not run templates: it recognises the common ones and writes what they write.
///
/// # Errors
/// When the model has no template, or llama.cpp does not recognise it.
pub(crate) fn prompt(model: NonNull<sys::llama_model>, messages: &[ChatMessage]) -> Result<String, EngineError> {
    // SAFETY: the model is live, and the template lives as long.
    let template = unsafe {
        let template = sys::llama_model_chat_template(model.as_ptr(), std::ptr::null());
        if template.is_null() {
            return Err(EngineError::Unsupported {
                what: "the model has no chat template (tokenizer.chat_template is missing)".into(),
                hint: "take a model that was tuned for conversation".into(),
            });
        }
        CStr::from_ptr(template)
    };
    let no_nul = |text: &str| {
        CString::new(text).map_err(|_| EngineError::Unsupported {
            what: "a message holds a NUL character".into(),
            hint: "leave it out".into(),
        })
    };
    let texts = messages
        .iter()
        .map(|message| Ok((no_nul(&message.role)?, no_nul(&message.content)?)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let chat: Vec<sys::llama_chat_message> = texts
        .iter()
        .map(|(role, content)| sys::llama_chat_message { role: role.as_ptr(), content: content.as_ptr() })
        .collect();
    let mut buffer: Vec<u8> = Vec::new();
    for _ in 0..2 {
        let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
        // SAFETY: the messages and the template outlive the call, and the buffer has the length that is passed.
        let n = unsafe {
            let into = buffer.as_mut_ptr().cast();
            sys::llama_chat_apply_template(template.as_ptr(), chat.as_ptr(), chat.len(), true, into, room)
        };
        let Ok(n) = usize::try_from(n) else {
            return Err(EngineError::Unsupported {
                what: "llama.cpp does not recognise the model's chat template".into(),
                hint: "its C interface knows the common templates only".into(),
            });
        };
        if n <= buffer.len() {
            buffer.truncate(n);
            break;
        }
        buffer.resize(n, 0);
    }
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}
