//! `assay`: the command line. Wiring and words; what is asked for is done by the rooms.
//!
//! Each subcommand has a file: its arguments as typed, their check, the work, the words.
//!
//! | module | holds |
//! |---|---|
//! | `args` | the command line as clap reads it |
//! | `advice` | the advice of other rooms, with the names of the options |
//! | `failure` | exit codes, and how an error is shown |
//! | `output` | standard output (data) and standard error (talk), neither of which can panic |
//! | `table` | columns of text |
//! | `progress` | how far long work is |
//! | `python` | a Python that nobody named |
//! | `engine_process`, `parent` | what a process needs before it opens an engine, and what ends it with its parent |
//! | `question`, `settings`, `corpus` | what several subcommands take: `--apply` and its like; text, machine and seed |
//! | `ask` | what is heard while a question is answered, and what an unanswered one means for the exit code |
//! | `inspect`, `census`, `eval`, `run`, … | one subcommand each |

mod advice;
mod args;
mod ask;
mod census;
mod chat;
mod corpus;
mod diff;
mod doctor;
mod engine_process;
mod eval;
mod failure;
mod inspect;
mod output;
mod parent;
mod progress;
mod python;
mod quantize;
mod question;
mod repeat;
mod report;
mod run;
mod schemes;
mod selectors;
mod settings;
mod status;
mod sweep;
mod table;
mod task;
mod verify;
mod worker;

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
        Command::Census(args) => census::run(&args, &llama::GgmlCodec, output),
        Command::Quantize(args) => quantize::run(&args, &llama::GgmlCodec, output),
        Command::Diff(args) => diff::run(&args, &llama::GgmlCodec, output),
        Command::Eval(args) => eval::run(&args, output),
        Command::Task(args) => task::run(&args, output),
        Command::Chat(args) => chat::run(&args, output),
        Command::Sweep(args) => sweep::run(&args, output),
        Command::Run(args) => run::run(&args, output),
        Command::Status(args) => status::run(&args, output),
        Command::Report(args) => report::run(&args, output),
        Command::Schemes => schemes::run(output),
        Command::Selectors(args) => selectors::run(&args, output),
        Command::Doctor => doctor::run(output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Worker => engine_process::prepare().and_then(|()| worker::run()),
    }
}
