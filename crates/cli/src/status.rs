//! `assay status DIR` shows how far a run has come.

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use anyhow::anyhow;
use lab::record::RunRecord;
use lab::{journal, store};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use words::{Lines, escape_terminal, plural, utc};

/// The arguments of `assay status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// A run folder
    dir: PathBuf,
}

/// Runs `assay status`.
pub fn run(args: &StatusArgs, output: &Output) -> Outcome {
    let answer = Status::of(&args.dir)?;
    output.answer(&answer, || answer.text())?;
    Ok(Exit::Done)
}

/// The record of a finished run.
///
/// # Errors
/// When the folder is not a run folder, or the run has not come to its end.
pub fn finished_run(dir: &Path) -> Result<RunRecord, Failure> {
    lock_of(dir)?;
    if !dir.join("run.json").is_file() {
        let shown = shown(dir);
        return Err(anyhow!("{shown}: the run has not come to its end, so there is nothing to report\nhint: assay status {shown} says how far it is; the same `assay run` goes on with it").into());
    }
    Ok(store::read_run(dir)?)
}

fn shown(dir: &Path) -> String {
    escape_terminal(dir.as_os_str().as_encoded_bytes())
}

fn lock_of(dir: &Path) -> Result<lab::lock::PlanLock, Failure> {
    let shown = shown(dir);
    match std::fs::metadata(dir) {
        Err(error) => return Err(anyhow!("{shown}: {error}\nhint: name the folder that `assay run` made").into()),
        Ok(found) if !found.is_dir() => {
            return Err(anyhow!(
                "{shown}: is a file, wanted a run folder\nhint: name the folder that `assay run` made"
            )
            .into());
        }
        Ok(_) => {}
    }
    let lock = store::peek(dir)?;
    lock.ok_or_else(|| {
        anyhow!("{shown}: is empty, wanted a run folder\nhint: name the folder that `assay run` made").into()
    })
}

#[derive(Serialize)]
struct Status {
    run: String,
    id: String,
    finished: bool,
    question: String,
    models: Vec<String>,
    chunks: usize,
    cells_finished: usize,
    /// The number of cells, which is known once the run has begun to measure.
    cells: Option<u64>,
    controls_ok: Option<bool>,
    last: Option<Last>,
}

/// The last line of the journal.
#[derive(Serialize)]
struct Last {
    time_unix_s: u64,
    what: String,
}

impl Status {
    fn of(dir: &Path) -> Result<Self, Failure> {
        let lock = lock_of(dir)?;
        let record = if dir.join("run.json").is_file() { Some(store::read_run(dir)?) } else { None };
        let path = dir.join("journal.jsonl");
        let lines = if path.is_file() { journal::read_journal(&path)? } else { Vec::new() };
        let what = |entry: &Value| entry.get("what").and_then(Value::as_str).unwrap_or_default().to_owned();
        let begun = lines.iter().rev().find(|line| what(&line.entry) == "begun");
        Ok(Status {
            run: dir.to_string_lossy().into_owned(),
            id: lock.identity.id(),
            finished: record.is_some(),
            question: lock.identity.question.question.clone(),
            models: lock.identity.model_names(),
            chunks: lock.chunks,
            cells_finished: store::finished_cells(dir)?.len(),
            cells: begun.and_then(|line| line.entry.get("cells")?.as_u64()),
            controls_ok: record.map(|record| record.controls_ok),
            last: lines.last().map(|line| Last { time_unix_s: line.time_unix_s, what: what(&line.entry) }),
        })
    }

    fn text(&self) -> String {
        let mut out = Lines::new();
        let of = self.cells.map_or(String::new(), |cells| format!(" of {cells}"));
        let state = if self.finished { "finished" } else { "not finished" };
        out.line(format_args!("{}: {state}, cells: {}{of}", escape_terminal(&self.run), self.cells_finished));
        out.line(format_args!("question: {}", escape_terminal(&self.question)));
        let models: Vec<String> = self.models.iter().map(escape_terminal).collect();
        out.line(format_args!("models: {}; {}", models.join(", "), plural(self.chunks, "window")));
        match self.controls_ok {
            Some(true) => out.line("controls: all held"),
            Some(false) => out.line("controls: not all held, results are withheld"),
            None => {}
        }
        if let Some(last) = &self.last {
            out.line(format_args!("last: {} at {}", escape_terminal(&last.what), utc(last.time_unix_s)));
        }
        out.into_string()
    }
}
