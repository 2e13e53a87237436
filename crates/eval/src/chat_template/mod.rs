//! Chat templates. A model carries this Jinja program, which writes a conversation as the model was trained to read it.
//!
//! template → [`source`]: depth checked, Python's constructs put into minijinja's words → minijinja with the functions,
//! filters and methods of [`python`] and [`json`] → prompt
//!
//! # Source
//! `apply_chat_template` and `_compile_jinja_template` of Hugging Face transformers. Templates are written for its settings:
//! blocks are trimmed, `break` and `continue` are there, strings and maps have Python's methods, `tojson` is `json.dumps`,
//! `{% generation %}` marks what the assistant says, and `tools` and `documents` are `none`.
//!
//! `strftime_now` tells every template the same day ([`TEMPLATE_DATE`]), so that equal conversations give equal prompts.

mod json;
mod python;
mod source;

use crate::ChatMessage;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use words::{count, plural};

pub use python::TEMPLATE_DATE;

/// The GGUF key of a template.
const KEY: &str = "tokenizer.chat_template";

/// The number of steps that a template may take, hundreds of times what a conversation needs.
const FUEL: u64 = 1_000_000;

/// The length of the longest prompt, in bytes.
const MAX_PROMPT_BYTES: usize = 1 << 20;

/// The stack of the thread that runs a template. Depth is limited so that a fraction of it is enough.
const STACK_BYTES: usize = 64 << 20;

/// The time after which a template is given up. The other limits end nearly every template earlier.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why a template cannot write a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatTemplateError {
    /// The template called `raise_exception`.
    #[error("{KEY} refuses the conversation: {0:?}")]
    Refused(String),
    /// The template nests too deep to be read.
    #[error("{KEY} nests {} deep, and {} are allowed ({what})", count(*.found as u64), count(*.allowed as u64))]
    Depth {
        /// What is counted.
        what: &'static str,
        /// The depth of the template.
        found: usize,
        /// The deepest that is allowed.
        allowed: usize,
    },
    /// The prompt became too long.
    #[error(
        "{KEY} writes more than {}, the length of the longest prompt that is allowed",
        plural(MAX_PROMPT_BYTES, "byte")
    )]
    TooLong,
    /// The template takes too many steps, or makes too much data on the way.
    #[error("{KEY} takes more than {}, the most that are allowed", plural(FUEL, "step"))]
    TooManySteps,
    /// The template takes too long.
    #[error("{KEY} runs for more than {} s, the longest that is allowed", TIME_LIMIT.as_secs())]
    TooSlow,
    /// The template is not a Jinja program, or does what cannot be done.
    #[error("{KEY} cannot be run: {0}")]
    Failed(String),
}

/// The text of a conversation up to the point where the assistant answers.
///
/// # Errors
/// When the template is not a Jinja program, uses an undefined name, refuses the conversation, or exceeds a limit. The
/// limits of depth are checked before the template is parsed.
pub fn render_chat(
    template: &str,
    bos_token: &str,
    eos_token: &str,
    messages: &[ChatMessage],
) -> Result<String, ChatTemplateError> {
    let template = source::prepare(template)?;
    let (bos_token, eos_token, messages) = (bos_token.to_owned(), eos_token.to_owned(), messages.to_vec());
    let (send, rendered) = sync_channel(1);
    // The thread is not joined: one that has used up its time goes on until it has used up its steps.
    let spawned = std::thread::Builder::new().name("chat-template".into()).stack_size(STACK_BYTES).spawn(move || {
        let _ = send.send(run(&template, &bos_token, &eos_token, &messages));
    });
    spawned.map_err(|error| ChatTemplateError::Failed(format!("no thread to run it in: {error}")))?;
    match rendered.recv_timeout(TIME_LIMIT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(ChatTemplateError::TooSlow),
        Err(RecvTimeoutError::Disconnected) => Err(ChatTemplateError::Failed("the template engine panicked".into())),
    }
}

fn run(
    template: &str,
    bos_token: &str,
    eos_token: &str,
    messages: &[ChatMessage],
) -> Result<String, ChatTemplateError> {
    let failed = |error: Error| ChatTemplateError::Failed(error.to_string().replace('\n', " "));
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(failed)?);
    environment.set_fuel(Some(FUEL));
    python::install(&mut environment);
    json::install(&mut environment);
    let refused: Arc<Mutex<Option<String>>> = Arc::default();
    let refusal = Arc::clone(&refused);
    environment.add_function("raise_exception", move |why: String| -> Result<Value, Error> {
        if let Ok(mut refusal) = refusal.lock() {
            *refusal = Some(why.clone());
        }
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
    let mut prompt = Prompt { bytes: Vec::new(), is_full: false };
    let template = environment.template_from_str(template).map_err(failed)?;
    if let Err(error) = template.render_captured_to(conversation, &mut prompt) {
        let refused = refused.lock().ok().and_then(|mut why| why.take());
        return Err(match refused {
            Some(why) => ChatTemplateError::Refused(why),
            None if prompt.is_full => ChatTemplateError::TooLong,
            None if error.kind() == ErrorKind::OutOfFuel => ChatTemplateError::TooManySteps,
            None => failed(error),
        });
    }
    String::from_utf8(prompt.bytes).map_err(|error| ChatTemplateError::Failed(error.to_string()))
}

/// The prompt so far; it takes no more than [`MAX_PROMPT_BYTES`].
struct Prompt {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Prompt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_PROMPT_BYTES {
            self.is_full = true;
            return Err(io::Error::other("the prompt is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> ChatMessage {
        ChatMessage { role: role.into(), content: content.into() }
    }

    #[test]
    fn what_a_template_refuses_or_cannot_do_is_an_error_in_one_line() {
        let refused = render_chat("{{ raise_exception('roles must\nalternate') }}", "", "", &[]).expect_err("refused");
        assert_eq!(refused, ChatTemplateError::Refused("roles must\nalternate".into()));
        assert_eq!(refused.to_string(), r#"tokenizer.chat_template refuses the conversation: "roles must\nalternate""#);
        for wrong in
            ["{% if %}", "{{ nothing.of.this() }}", "{{ 1 % 0 }}", "{{ 'a'|nothing }}", "{{ messages[0].x.y }}"]
        {
            let error = render_chat(wrong, "", "", &[message("user", "hi")]).expect_err(wrong);
            assert!(matches!(error, ChatTemplateError::Failed(_)), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn every_limit_ends_a_template_with_its_name() {
        let of = |template: &str| render_chat(template, "", "", &[message("user", "hi")]).expect_err(template);
        let loops = |inside: &str| {
            format!("{{% for i in range(10000) %}}{{% for j in range(1000) %}}{inside}{{% endfor %}}{{% endfor %}}")
        };
        assert_eq!(of(&loops("0123456789".repeat(10).as_str())), ChatTemplateError::TooLong);
        assert_eq!(of(&loops("")), ChatTemplateError::TooManySteps);
        let steps = [
            "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
            "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
            "{{ '%1000000000s' % 'x' }}",
            "{{ '{:>1000000000}'.format('x') }}",
            "{{ 'x'.ljust(1000000000) }}",
            "{{ 'x'|center(1000000000) }}",
            "{{ [1]|tojson(indent=1000000000) }}",
        ];
        for template in steps {
            assert_eq!(of(template), ChatTemplateError::TooManySteps, "{template}");
        }
        // A value that nests without bounds, or contains itself, would overflow the stack where it is printed.
        let deep =
            "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}";
        assert!(of(deep).to_string().contains("nests more than 100 deep"), "{}", of(deep));
        for own in ["n", "[n]", "{'a': (n, 1)}"] {
            let template = format!("{{% set n = namespace() %}}{{% set n.x = {own} %}}{{{{ n }}}}");
            assert!(of(&template).to_string().contains("a namespace inside a namespace"), "{}", of(&template));
        }
        let endless = "{% macro a(x) %}{{ a([x]) }}{% endmacro %}{{ a(1) }}";
        assert!(of(endless).to_string().contains("recursion"), "{}", of(endless));
    }

    #[test]
    fn the_deepest_templates_that_are_allowed_can_be_run() {
        let between = |n: usize, open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n));
        let allowed = [
            between(64, "(", ")"),
            between(64, "[", "]"),
            between(999, "not ", ""),
            between(999, "-", ""),
            between(999, "", " + 1"),
            between(333, "1 if a else ", ""),
            between(998, "", "|string"),
            format!("{}{}", "{% if 1 %}".repeat(64), "{% endif %}".repeat(64)),
            format!("{}{}", "{% for a in [1] %}".repeat(63), "{% endfor %}".repeat(63)),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(990)),
            format!(
                "{}{{{{ {}1{} }}}}{}",
                "{% if 1 %}".repeat(32),
                "(".repeat(32),
                ")".repeat(32),
                "{% endif %}".repeat(32)
            ),
        ];
        for template in allowed {
            assert!(
                render_chat(&template, "", "", &[]).is_ok(),
                "{:?}: {}",
                render_chat(&template, "", "", &[]),
                &template[..30]
            );
        }
    }
}
