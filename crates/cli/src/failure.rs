//! Exit codes, and errors on their way to the user.

use crate::ask;
use lab::ask::AskError;
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

/// An error and the exit code it means.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The error. Lines of its text that start with `hint: ` are advice.
    pub error: anyhow::Error,
}

/// What the user gave cannot be used, unless the error says otherwise: an unanswered question knows whose fault that is.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into().downcast::<AskError>() {
            Ok(unanswered) => ask::failed(unanswered),
            Err(error) => Failure { exit: Exit::BadInput, error },
        }
    }
}

impl Failure {
    /// One `error: …` line, then a `hint: …` line for each piece of advice.
    pub fn render(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        let mut hints: Vec<String> = Vec::new();
        for cause in self.error.chain() {
            let text = safe(&cause.to_string());
            let (advice, words): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("hint: "));
            let words = words.join("\n");
            // Many errors quote their cause already.
            if !words.is_empty() && !said.iter().any(|earlier| earlier.contains(&words)) {
                said.push(words);
            }
            for line in advice {
                if !hints.iter().any(|earlier| earlier == line) {
                    hints.push(line.to_owned());
                }
            }
        }
        let mut out = format!("error: {}\n", said.join(": "));
        for hint in hints {
            out.push_str(&hint);
            out.push('\n');
        }
        out
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
    use anyhow::anyhow;

    #[test]
    fn hints_come_last_and_nothing_is_said_twice() {
        let error =
            anyhow!("disk full\nhint: free some space").context("cannot write: disk full").context("saving a.json");
        let failure = Failure::from(error);
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
        assert_eq!(Failure::from(AskError::Variant { model: "m.gguf".into(), why }).exit, Exit::Engine);
        assert_eq!(Failure::from(AskError::NoLayer { model: "m.gguf".into() }).exit, Exit::BadInput);
    }

    #[test]
    fn an_error_cannot_steer_the_terminal() {
        let failure = Failure::from(anyhow!("no \u{1b}[31mred\u{202e} file, a\\b"));
        assert_eq!(failure.render(), "error: no \\u{1b}[31mred\\u{202e} file, a\\b\n");
    }
}
