//! `assay report DIR`: regenerates the reports of a finished run.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use record::answer::{REPORT_FORMAT, ReportAnswer};
use std::path::PathBuf;
use words::escape_terminal;

/// The arguments of `assay report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The folder of a finished run
    dir: PathBuf,
    /// Write the reports to this folder instead, which must be outside DIR [default: DIR/report]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs `assay report`.
pub fn run(args: &ReportArgs, output: &Output) -> Outcome {
    let record = lab::ask::finished_run(&args.dir)?;
    let folder = lab::ask::report_folder(&args.dir, args.out.as_deref())?;
    let files = ::report::write(&record, &folder)?;
    let files: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let answer = ReportAnswer { format: REPORT_FORMAT, report: files.first().cloned().unwrap_or_default(), files };
    output.answer(&answer, || answer.files.iter().map(|path| format!("{}\n", escape_terminal(path))).collect())?;
    Ok(Exit::Done)
}
