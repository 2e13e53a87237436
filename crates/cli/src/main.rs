//! `assay`: the command line. Wiring and words; what is asked for is done by the rooms.
//!
//! Each subcommand has a file: its arguments as typed, their check, the work, the words.
//!
//! | module | holds |
//! |---|---|
//! | `args` | the command line as clap reads it |
//! | `failure` | exit codes, and how an error is shown |
//! | `output` | standard output (data) and standard error (talk), neither of which can panic |
//! | `json` | values from files as strict JSON |
//! | `table` | columns of text |
//! | `inspect` … | one subcommand each |

mod args;
mod failure;
mod inspect;
mod json;
mod output;
mod table;

use args::{Args, Command};
use failure::Outcome;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    let output = Output::new(&args.output);
    match run(args, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => output.fail(&failure).into(),
    }
}

fn run(args: Args, output: &Output) -> Outcome {
    match args.command {
        Command::Inspect(args) => inspect::run(&args, output),
    }
}
