//! Data goes to standard output, talk to standard error. When the reader goes away (`assay … | head`), the output ends
//! and the program does not panic.

use crate::args::OutputArgs;
use crate::failure::{Exit, Failure};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use words::JsonOut;

/// How answers are printed, and how much is said beside them.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    /// The form that the command line asks for.
    pub fn new(args: &OutputArgs) -> Self {
        Output { json: args.json, quiet: args.quiet, verbose: args.verbose }
    }

    /// Whether only answers and errors are wanted.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether more detail is wanted.
    pub fn verbose(&self) -> bool {
        self.verbose
    }

    /// Prints the answer: as JSON if the user asked for it, otherwise as text.
    pub fn answer(&self, answer: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        self.answer_with(|| answer, text)
    }

    /// Prints the answer, which is made for JSON alone, if the user asked for that; otherwise the text.
    pub fn answer_with<A: Serialize>(
        &self,
        answer: impl FnOnce() -> A,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return to_stdout(&text());
        }
        let answer = answer();
        unless_closed(|| {
            let mut out = BufWriter::new(JsonOut::new(io::stdout().lock()));
            serde_json::to_writer_pretty(&mut out, &answer).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            out.flush()
        })
    }

    /// Prints what went wrong and gives the exit code for it.
    pub fn fail(&self, failure: &Failure) -> Exit {
        to_stderr(&failure.render());
        failure.exit
    }
}

/// Writes text to standard output.
pub fn to_stdout(text: &str) -> Result<(), Failure> {
    unless_closed(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    })
}

/// Writes text to standard error. If that fails, there is nowhere to say so.
pub fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn unless_closed(write: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    match write() {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => {
            let hint = "check the disk, or the program that the output goes to";
            Err(Failure::input(format!("standard output cannot be written: {e}"), hint))
        }
        Ok(()) => Ok(()),
    }
}
