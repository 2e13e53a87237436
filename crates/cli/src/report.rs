//! `assay report DIR`: regenerates the reports of a finished run.

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use record::answer::{REPORT_FORMAT, ReportAnswer};
use std::path::{Path, PathBuf, absolute};
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

/// Whether two paths, which need not exist, are spelled for the same place.
fn is_same(a: &Path, b: &Path) -> bool {
    absolute(a).ok() == absolute(b).ok()
}

/// Whether a path, which need not exist, is in a folder that does.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|part| part.canonicalize().ok());
    folder.canonicalize().is_ok_and(|folder| there.is_some_and(|there| there.starts_with(folder)))
}

/// Runs `assay report`.
pub fn run(args: &ReportArgs, output: &Output) -> Outcome {
    let record = lab::ask::finished_run(&args.dir)?;
    let own = args.dir.join("report");
    let out = args.out.as_deref().unwrap_or(&own);
    if !is_same(out, &own) && lies_in(out, &args.dir) {
        let why = format!(
            "{}: lies in the folder of the run, which only a run writes to",
            escape_terminal(out.as_os_str().as_encoded_bytes())
        );
        return Err(Failure::input(why, "choose a folder outside of it with --out"));
    }
    let files = ::report::write(&record, out)?;
    let files: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let answer = ReportAnswer { format: REPORT_FORMAT, report: files.first().cloned().unwrap_or_default(), files };
    output.answer(&answer, || answer.files.iter().map(|path| format!("{}\n", escape_terminal(path))).collect())?;
    Ok(Exit::Done)
}
