//! Data goes to standard output, talk to standard error. A reader that goes away (`assay … | head`)
//! ends the output, not the program with a panic.

use crate::args::OutputArgs;
use crate::failure::{Exit, Failure};
use serde::Serialize;
use std::io::{self, BufWriter, Write};

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
            let mut out = BufWriter::new(JsonOut { out: io::stdout().lock(), rest: Vec::new() });
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

/// JSON on its way out, a piece at a time: what could steer a terminal goes as escapes.
struct JsonOut<W> {
    out: W,
    /// The first bytes of a character that the next piece ends.
    rest: Vec<u8>,
}

impl<W: Write> Write for JsonOut<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                // Checked up to there.
                std::str::from_utf8(&self.rest[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let n = whole.len();
        self.out.write_all(gguf::escape_json(whole).as_bytes())?;
        self.rest.drain(..n);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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
