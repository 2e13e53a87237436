//! Data goes to standard output, talk to standard error. A reader that goes away (`assay … | head`)
//! ends the output, not the program with a panic.

use crate::args::OutputArgs;
use crate::failure::{Exit, Failure};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use words::JsonOut;

/// Where answers go, and how much is said beside them.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    /// As asked for on the command line.
    pub fn new(args: &OutputArgs) -> Self {
        Output { json: args.json, quiet: args.quiet, verbose: args.verbose }
    }

    /// Only answers and errors are wanted.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// More detail is wanted.
    pub fn verbose(&self) -> bool {
        self.verbose
    }

    /// The answer: as JSON if asked for, otherwise as text.
    pub fn answer(&self, answer: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            return to_stdout(&text());
        }
        unless_closed(|| {
            let mut out = BufWriter::new(JsonOut::new(io::stdout().lock()));
            serde_json::to_writer_pretty(&mut out, answer).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            out.flush()
        })
    }

    /// Says what went wrong and gives the exit code for it.
    pub fn fail(&self, failure: &Failure) -> Exit {
        to_stderr(&failure.render());
        failure.exit
    }
}

/// Text to standard output.
pub fn to_stdout(text: &str) -> Result<(), Failure> {
    unless_closed(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    })
}

/// Text to standard error. There is nowhere to complain if that fails.
pub fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn unless_closed(write: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    match write() {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => {
            let hint = "check the disk, or the program that the output goes to";
            Err(anyhow::anyhow!("standard output cannot be written: {e}\nhint: {hint}").into())
        }
        Ok(()) => Ok(()),
    }
}
