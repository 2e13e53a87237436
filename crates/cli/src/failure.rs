//! Exit codes, and errors on their way to the user.

use crate::{advice, ask};
use anyhow::anyhow;
use files::pieces::ValuesError;
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

/// The ways in which assay ends, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command did what was asked.
    Done = 0,
    /// A gate that the user asked for found a difference.
    Difference = 1,
    /// The command line or an input cannot be used.
    BadInput = 2,
    /// A control failed, so the results are withheld.
    ControlFailed = 3,
    /// The engine failed, or one cell did.
    Engine = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The result of a subcommand.
pub type Outcome = Result<Exit, Failure>;

/// An error, its exit code, and advice.
#[derive(Debug)]
pub struct Failure {
    /// The exit code of the process.
    pub exit: Exit,
    /// The error itself, with its causes.
    pub error: anyhow::Error,
    /// The advice for the user, in the words of the command line; `None` where there is none.
    pub hint: Option<String>,
}

/// An error that states no exit code of its own counts as bad input.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure { exit: Exit::BadInput, error, hint: None }
    }
}

/// The exit code follows from the error, which knows whether the input or the engine is at fault.
impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        ask::failed(&error)
    }
}

/// Errors that mean bad input in every command. Those of other rooms bring their own advice.
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
    advised: ApplyError, SelectorError, SchemeError, SchemeFileError, PlanError, OpenError, GgufError, ValuesError, ReportError;
    plain: serde_json::Error
}

/// What the system denies for want of memory, threads or open files is not the input's fault.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use rustix::io::Errno;
        let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => "raise the limit on open files (ulimit -n)",
            Some(Errno::NOMEM) => "raise the limit on memory (ulimit -v), or free some",
            Some(Errno::AGAIN) => "raise the limit on processes and threads (ulimit -u, pids.max)",
            _ => return Failure::from(anyhow::Error::new(error)),
        };
        let denied = anyhow::Error::new(error).context("the system denies what the work needs");
        Failure { exit: Exit::Engine, error: denied, hint: Some(hint.into()) }
    }
}

impl Failure {
    /// A failure for bad input, with advice.
    pub fn input(error: impl Display, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..Failure::from(anyhow!("{error}")) }
    }

    /// Renders an `error: …` line, then a `hint: …` line if there is advice.
    pub fn render(&self) -> String {
        let mut out = format!("error: {}\n", self.why());
        if let Some(hint) = &self.hint {
            out += &format!("hint: {}\n", safe(&hint.replace('\n', " ")));
        }
        out
    }

    /// The text of the error with its causes.
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

/// Escapes everything in a text that could control a terminal, whoever wrote the message. Backslashes stay, because
/// most text from files has been escaped already.
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
    fn what_the_system_denies_is_said_with_the_limit_and_is_not_bad_input() {
        let failure = Failure::from(io::Error::from_raw_os_error(24));
        assert_eq!(failure.exit, Exit::Engine);
        assert_eq!(
            failure.render(),
            "error: the system denies what the work needs: Too many open files (os error 24)\n\
             hint: raise the limit on open files (ulimit -n)\n"
        );
        assert_eq!(Failure::from(io::Error::from_raw_os_error(2)).exit, Exit::BadInput);
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
