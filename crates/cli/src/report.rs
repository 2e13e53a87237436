//! `assay report DIR`: writes the reports of a finished run again.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use record::answer::{REPORT_FORMAT, ReportAnswer};
use std::path::PathBuf;
use words::escape_terminal;

/// The arguments of `assay report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// A run folder
    dir: PathBuf,
}

/// Runs `assay report`.
pub fn run(args: &ReportArgs, output: &Output) -> Outcome {
    let record = lab::ask::finished_run(&args.dir)?;
    let files = ::report::write(&record, &args.dir.join("report"))?;
    let files: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let answer = ReportAnswer { format: REPORT_FORMAT, report: files.first().cloned().unwrap_or_default(), files };
    output.answer(&answer, || answer.files.iter().map(|path| format!("{}\n", escape_terminal(path))).collect())?;
    Ok(Exit::Done)
}
