//! `assay status DIR`: the progress of a run.

use crate::failed::failed_cells;
use crate::failure::{Exit, Outcome};
use crate::output::Output;
use record::answer::StatusAnswer;
use std::path::PathBuf;
use words::{Lines, count, escape_terminal, plural, utc};

/// The arguments of `assay status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The folder of the run
    dir: PathBuf,
}

/// Runs `assay status`.
pub fn run(args: &StatusArgs, output: &Output) -> Outcome {
    let answer = lab::ask::status(&args.dir)?;
    output.answer(&answer, || text(&answer))?;
    Ok(Exit::Done)
}

fn text(answer: &StatusAnswer) -> String {
    let mut out = Lines::new();
    let of = answer.cells.map_or(String::new(), |cells| format!(" of {}", count(cells)));
    let state = if answer.finished { "finished" } else { "not finished" };
    out.line(format_args!("{}: {state}, cells: {}{of}", escape_terminal(&answer.run), answer.cells_finished));
    out.line(format_args!("question: {}", escape_terminal(&answer.question)));
    let models: Vec<String> = answer.models.iter().map(escape_terminal).collect();
    out.line(format_args!("models: {}; {}", models.join(", "), plural(answer.chunks, "window")));
    match answer.controls_ok {
        Some(true) => out.line("controls: all held"),
        Some(false) => out.line("controls: not all held; results of the models whose controls failed are withheld"),
        None => {}
    }
    out.text(&failed_cells(&answer.failed));
    for file in &answer.foreign {
        out.line(format_args!("not of this run: {}", escape_terminal(file)));
    }
    if let Some(last) = &answer.last {
        out.line(format_args!("last: {} at {}", escape_terminal(&last.what), utc(last.time_unix_s)));
    }
    out.into_string()
}
