//! Chat templates give the prompts that `apply_chat_template` of transformers gives.

mod constructs;
mod families;

use eval::{ChatMessage, render_chat};

fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage { role: role.into(), content: content.into() }
}

fn rendered(template: &str, messages: &[ChatMessage]) -> String {
    match render_chat(template, "<s>", "</s>", messages) {
        Ok(prompt) => prompt,
        Err(error) => panic!("{error}: {template}"),
    }
}
