//! Chat templates. A model carries this Jinja program, which writes a conversation as the model was trained to read it.
//!
//! # Source
//! `apply_chat_template` of Hugging Face transformers. Templates are written for its settings: blocks are trimmed,
//! strings and maps have Python's methods, and `tools` and `documents` are `none`. `strftime_now` is not defined, so a
//! template that asks for the date takes its fallback. Equal conversations then give equal prompts.

use crate::ChatMessage;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

/// The number of steps that a template may take, hundreds of times what a long conversation needs.
const FUEL: u64 = 10_000_000;

/// Why a template cannot write a conversation.
#[derive(Debug, thiserror::Error)]
#[error("the model's chat template cannot be run: {0}")]
pub struct ChatTemplateError(String);

/// The text of a conversation up to the point where the assistant answers.
///
/// # Errors
/// When the template is not a Jinja program, uses an undefined name, or refuses the conversation.
pub fn render_chat(
    template: &str,
    bos_token: &str,
    eos_token: &str,
    messages: &[ChatMessage],
) -> Result<String, ChatTemplateError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| ChatTemplateError(error.to_string()))?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, why))
    });
    let of = |message: &ChatMessage| context! { role => message.role.as_str(), content => message.content.as_str() };
    let conversation = context! {
        messages => messages.iter().map(of).collect::<Vec<Value>>(),
        add_generation_prompt => true,
        bos_token => bos_token,
        eos_token => eos_token,
        tools => Value::from(()),
        documents => Value::from(()),
    };
    let rendered = environment.render_str(template, conversation);
    rendered.map_err(|error| ChatTemplateError(error.to_string().replace('\n', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> ChatMessage {
        ChatMessage { role: role.into(), content: content.into() }
    }

    #[test]
    fn a_system_message_of_the_templates_own_is_written() {
        // The template is SmolLM2's.
        let template = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ \
                        '<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + \
                        message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt \
                        %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let own = render_chat(template, "", "", &[message("user", "hi")]).expect("rendered");
        let wanted = "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n\
                      <|im_start|>assistant\n";
        assert_eq!(own, wanted);
        let given = [message("system", "You are a helpful AI assistant."), message("user", "hi")];
        assert_eq!(render_chat(template, "", "", &given).expect("rendered"), wanted);
    }

    #[test]
    fn what_python_templates_use_is_there() {
        let template = "{{ bos_token }}{%- set first = messages[0].content.strip().upper() -%}\n{%- if tools is not none %}tools{% endif \
                        %}\n{% if strftime_now is defined %}\n{{ strftime_now('%d') }}\n{% endif %}\n{{ first.startswith('HI') }} \
                        {{ messages[0].get('role') }} {{ messages | length }} {{ first[:1] | tojson }}{% for part in \
                        first.split(' ') if part %}|{{ part }}{% endfor %}";
        let text = render_chat(template, "<s>", "</s>", &[message("user", " hi you ")]).expect("rendered");
        assert_eq!(text, "<s>True user 1 \"H\"|HI|YOU");
    }

    #[test]
    fn what_a_template_refuses_or_cannot_do_is_an_error_in_one_line() {
        let refused = render_chat("{{ raise_exception('roles must\nalternate') }}", "", "", &[]).expect_err("refused");
        assert!(refused.to_string().contains("roles must alternate"), "{refused}");
        assert!(render_chat("{% if %}", "", "", &[]).is_err());
        assert!(render_chat("{{ nothing.of.this() }}", "", "", &[]).is_err());
        let endless = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(render_chat(endless, "", "", &[]).is_err());
    }
}
