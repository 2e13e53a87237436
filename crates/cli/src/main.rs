//! `assay`, the command line: it reads arguments and prints answers. The other rooms do the work.
//!
//! Each subcommand has a file with its arguments, their check, the call and the text of the answer.
//!
//! | module | contents |
//! |---|---|
//! | `args` | the command line as clap reads it |
//! | `advice` | the advice of other rooms, with the names of the options |
//! | `failure` | exit codes, and how an error is shown |
//! | `output` | standard output (data) and standard error (talk), neither of which can panic |
//! | `table` | columns of text |
//! | `progress` | the progress of long work |
//! | `python` | the Python that is used when the user names none |
//! | `engine_process`, `parent` | the environment that an engine needs, and the end of a process with its parent |
//! | `signals`, `threads`, `out_of_memory` | what signals do to this process, and what it does without a thread or memory |
//! | `question`, `settings`, `corpus` | the options that several subcommands share: `--apply` and its like; text, machine and seed |
//! | `ask` | the text of events while a question is answered, and the exit code if it is not answered |
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
mod failed;
mod failure;
mod inspect;
mod out_of_memory;
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
mod signals;
mod status;
mod sweep;
mod table;
mod task;
mod threads;
mod verify;
mod worker;

use args::{Args, Command};
use failure::Outcome;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    signals::let_large_writes_fail();
    let args = match args::parse() {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    let output = Output::new(&args.output);
    if !matches!(args.command, Command::Worker) {
        signals::remove_unfinished_at_the_end();
        out_of_memory::is_an_error();
    }
    match run(args, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => output.fail(&failure).into(),
    }
}

fn run(args: Args, output: &Output) -> Outcome {
    threads::start_pool()?;
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
