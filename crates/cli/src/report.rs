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
    /// The folder to write the reports to, such as one beside a run that can only be read [default: DIR/report]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs `assay report`.
pub fn run(args: &ReportArgs, output: &Output) -> Outcome {
    let record = lab::ask::finished_run(&args.dir)?;
    let files = ::report::write(&record, &args.out.clone().unwrap_or_else(|| args.dir.join("report")))?;
    let files: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let answer = ReportAnswer { format: REPORT_FORMAT, report: files.first().cloned().unwrap_or_default(), files };
    output.answer(&answer, || answer.files.iter().map(|path| format!("{}\n", escape_terminal(path))).collect())?;
    Ok(Exit::Done)
}
