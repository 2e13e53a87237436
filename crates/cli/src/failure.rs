//! Exit codes, and errors on their way to the user.

use crate::{advice, ask};
use anyhow::anyhow;
use files::{OpenError, SchemeFileError};
use gguf::GgufError;
use lab::PlanError;
use lab::ask::AskError;
use numerics::SchemeError;
use report::ReportError;
use select::ApplyError;
use select::selector::SelectorError;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use words::escape_terminal;

/// How assay ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A gate that was asked for found a difference.
    Difference = 1,
    /// Usage or bad input.
    BadInput = 2,
    /// A control failed; results are withheld.
    ControlFailed = 3,
    /// The engine failed, or a cell did.
    Engine = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What a subcommand comes to.
pub type Outcome = Result<Exit, Failure>;

/// An error, the exit code that it means, and advice.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The error.
    pub error: anyhow::Error,
    /// What to do about it, in the words of the command line.
    pub hint: Option<String>,
}

/// What the user gave cannot be used.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure { exit: Exit::BadInput, error, hint: None }
    }
}

/// An unanswered question knows whose fault that is.
impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        ask::failed(&error)
    }
}

/// Errors that mean bad input wherever they end a command: those of other rooms come with advice of their own.
macro_rules! bad_input {
    (advised: $($advised:ty),+; plain: $($plain:ty),+) => {
        $(impl From<$advised> for Failure {
            fn from(error: $advised) -> Self {
                let hint = advice::of(&error);
                Failure { hint, ..Failure::from(anyhow::Error::new(error)) }
            }
        })+
        $(impl From<$plain> for Failure {
            fn from(error: $plain) -> Self {
                Failure::from(anyhow::Error::new(error))
            }
        })+
    };
}

bad_input! {
    advised: ApplyError, SelectorError, SchemeError, SchemeFileError, PlanError, OpenError, GgufError, ReportError;
    plain: io::Error, serde_json::Error
}

impl Failure {
    /// Bad input, and what to do about it.
    pub fn input(error: impl Display, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..Failure::from(anyhow!("{error}")) }
    }

    /// An `error: …` line, then a `hint: …` line where there is advice.
    pub fn render(&self) -> String {
        let mut out = format!("error: {}\n", self.why());
        if let Some(hint) = &self.hint {
            out += &format!("hint: {}\n", safe(&hint.replace('\n', " ")));
        }
        out
    }

    /// The error with its causes.
    pub fn why(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        for cause in self.error.chain() {
            let words = safe(&cause.to_string());
            // Many errors quote their cause already.
            if !words.is_empty() && !said.iter().any(|earlier| earlier.contains(&words)) {
                said.push(words);
            }
        }
        said.join(": ")
    }
}

/// Text with nothing in it that could steer a terminal, whoever wrote the message. Backslashes stay:
/// what comes from files has been escaped already, mostly.
fn safe(text: &str) -> String {
    let kept = |c: char| matches!(c, '\n' | '\\');
    text.chars().map(|c| if kept(c) { c.to_string() } else { escape_terminal(c.to_string()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_comes_last_and_nothing_is_said_twice() {
        let error = anyhow!("disk full").context("cannot write: disk full").context("saving a.json");
        let failure = Failure { hint: Some("free some space".into()), ..Failure::from(error) };
        assert_eq!(failure.render(), "error: saving a.json: cannot write: disk full\nhint: free some space\n");
        assert_eq!(failure.exit, Exit::BadInput);
    }

    #[test]
    fn an_unanswered_question_keeps_its_exit_code_on_its_way_up() {
        let early = || AskError::TouchedEarly { model: "m.gguf".into(), layer: 1, rel_rmse: 0.5 };
        let asked = || -> Result<(), Failure> { Err(early())? };
        let failure = asked().expect_err("withheld");
        assert_eq!(failure.exit, Exit::ControlFailed);
        let said = failure.render();
        assert!(said.starts_with("error: m.gguf: the residual stream differs after layer 1"), "{said}");
        assert!(said.ends_with("\nhint: this is a bug in assay; please report it\n"), "{said}");
        let why = "it is not finite".into();
        assert_eq!(Failure::from(AskError::Variant { model: "m.gguf".into(), why, hint: None }).exit, Exit::Engine);
        assert_eq!(Failure::from(AskError::NoLayer { model: "m.gguf".into() }).exit, Exit::BadInput);
    }

    #[test]
    fn an_error_cannot_steer_the_terminal() {
        let failure = Failure::from(anyhow!("no \u{1b}[31mred\u{202e} file, a\\b"));
        assert_eq!(failure.render(), "error: no \\u{1b}[31mred\\u{202e} file, a\\b\n");
    }
}
