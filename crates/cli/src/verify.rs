//! `assay verify`: does this build compute, on this machine, what it says?

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::{self, Align};
use gguf::escape_terminal;
use llama::GgmlCodec;
use proof::{Check, Fast, Python, Report, Scores, Status};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `assay verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// A Python with numpy, ml_dtypes and gguf, as the third implementation [default: .tools/bin/python or python3, if it has them]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// Where a Python is looked for when none is named.
const PYTHONS: [&str; 2] = [".tools/bin/python", "python3"];

/// Runs `assay verify`. A check that fails is exit 1.
pub fn run(args: &VerifyArgs, output: &Output) -> Outcome {
    let mut python = python(args)?;
    let mut progress = Progress::new("verify", output.quiet());
    let mut report = Report::default();
    let total = proof::n_known_answers();
    proof::known_answers(&Fast, &GgmlCodec, &Scores, python.as_mut(), &mut |check| {
        progress.label(&check.name);
        report.add(check);
        progress.at(report.checks.len(), total);
    });
    drop(progress);
    output.answer(&report, || text(&report))?;
    Ok(if report.failed == 0 { Exit::Done } else { Exit::Difference })
}

/// The Python that was named, which must do, or the first that is found.
fn python(args: &VerifyArgs) -> Result<Option<Python>, anyhow::Error> {
    match &args.python {
        Some(path) => {
            let hint = "give the interpreter of an environment with numpy, ml_dtypes and gguf; without --python they are left out";
            Python::start(path)
                .map(Some)
                .map_err(|why| anyhow::anyhow!("--python: {}\nhint: {hint}", escape_terminal(why)))
        }
        None => Ok(PYTHONS.iter().find_map(|path| Python::start(path.as_ref()).ok())),
    }
}

fn text(report: &Report) -> String {
    let columns = [
        ("", Align::Left),
        ("area", Align::Left),
        ("check", Align::Left),
        ("compared", Align::Right),
        ("with each other", Align::Left),
    ];
    let rows = report.checks.iter().map(|check| {
        vec![
            word(check.status).to_owned(),
            check.area.to_string(),
            check.name.clone(),
            table::thousands(check.n),
            escape_terminal(check.compared.join(", ")),
        ]
    });
    let mut out = table::render(&columns, rows);
    for check in report.checks.iter().filter(|check| !check.detail.is_empty()) {
        out.push_str(&format!("{}: {}\n", check.name, escape_terminal(&check.detail)));
    }
    out.push_str(&not_compared(&report.checks));
    out.push_str(&format!("{} passed, {} failed, {} skipped\n", report.passed, report.failed, report.skipped));
    out
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "ok",
        Status::Failed => "FAIL",
        Status::Skipped => "skip",
    }
}

/// Implementations that did not take part, by reason.
fn not_compared(checks: &[Check]) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for check in checks {
        check.not_compared.iter().for_each(|why| by_reason.entry(why).or_default().push(&check.name));
    }
    let line = |(why, names): (&str, Vec<&str>)| match names.as_slice() {
        [only] => format!("not compared with {}: {only}\n", escape_terminal(why)),
        [first, ..] => format!("not compared with {}: {} checks ({first}, …)\n", escape_terminal(why), names.len()),
        [] => String::new(),
    };
    by_reason.into_iter().map(line).collect()
}
