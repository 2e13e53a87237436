//! `assay verify`: does this build compute, on this machine, what it says?
//!
//! Known answers are checked in this process. Whatever needs an engine runs in a process of its own (`child`). Planted
//! faults (`mutants`) are there in builds with the feature `mutate`.

mod child;
#[cfg(feature = "mutate")]
mod mutants;
#[cfg(not(feature = "mutate"))]
#[path = "verify/no_mutants.rs"]
mod mutants;

use crate::advice;
use crate::engine_process;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::parent;
use crate::progress::Progress;
use crate::settings::{ContextArgs, TextArgs};
use crate::table::{self, Align};
use child::{ChildLine, Task};
use files::Model;
use llama::GgmlCodec;
use mutants::Mutant;
use proof::{Check, Fast, Python, Report, Scores, Status};
use record::answer::{VERIFY_FORMAT, VerifyAnswer, VerifyCheck, VerifyStatus};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use words::{Hint, Lines, count, escape_terminal, plural};

/// Arguments of `assay verify`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("ctx", |ctx| ctx.default_value("128").value_parser(clap::value_parser!(u32).range(8..=1 << 16))))]
#[command(mut_arg("chunks", |chunks| chunks.default_value("2").value_parser(clap::value_parser!(u32).range(1..=64))))]
pub struct VerifyArgs {
    /// GGUF files to check on their own tensors and in the engine; without any, known answers are checked instead
    #[arg(value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Plant faults in this program's own pipeline, and report whether the checks catch each of them
    #[arg(long, hide = cfg!(not(feature = "mutate")))]
    mutate: bool,
    /// A Python with numpy, ml_dtypes and gguf to compare with as well [default: the python3 on PATH, if it has them]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    context: ContextArgs,
    /// Do one task and print what comes of it as lines of JSON
    #[arg(long, hide = true)]
    child: bool,
}

/// What was found: checks, and planted faults with the checks that caught them.
struct Verified {
    report: Report,
    mutants: Vec<Mutant>,
}

/// Runs `assay verify`. It exits with 1 when a check fails or a fault goes uncaught, else with 4 when the system denied what
/// a check needs.
pub fn run(args: &VerifyArgs, output: &Output) -> Outcome {
    if args.child {
        engine_process::prepare()?;
        parent::watch()?;
        let path = args.models.first().cloned();
        let model = |path| task_on(args, path, args.python.clone());
        child::serve(&path.map_or(Task::Mutate, model))?;
        return Ok(Exit::Done);
    }
    if args.mutate {
        mutants::check_here()?;
    }
    if !args.models.is_empty() {
        // A text that cannot be used is refused before anything is checked.
        args.text.corpus()?;
    }
    let mut models = Vec::new();
    for path in &args.models {
        let model = Model::open_to_score(path)?;
        // With such weights nothing that is computed is finite, and that says nothing of this build.
        if let Some(found) = files::pieces::first_nonfinite(&model.file, &GgmlCodec)? {
            let (tensor, index) = (escape_terminal(&found.tensor), count(found.index));
            let why = format!("{}: tensor {tensor}: value {index} is {}", model.shown(), found.value);
            return Err(Failure::input(format!("{why}, wanted finite values"), advice::words(&Hint::NonfiniteTensors)));
        }
        models.push((path, escape_terminal(model.name())));
    }
    let mut python = python(args)?;
    let mut answer = Verified { report: Report::default(), mutants: Vec::new() };
    let mut progress = Progress::new("verify", output.quiet());
    if args.models.is_empty() && !args.mutate {
        let total = proof::n_known_answers();
        proof::known_answers(&Fast, &GgmlCodec, &Scores, python.as_mut().map(|(_, python)| python), &mut |check| {
            progress.label(&check.name);
            answer.report.add(check);
            progress.at(answer.report.checks.len(), total);
        });
    }
    let python = python.map(|(path, _)| path);
    for (path, shown) in models {
        progress.label(&shown);
        child::ask(&task_on(args, path.clone(), python.clone()), &mut |said| {
            if let ChildLine::Check(mut check) = said {
                check.name = format!("{shown}: {}", check.name);
                progress.label(&check.name);
                answer.report.add(check);
            }
        })?;
    }
    if args.mutate {
        let total = mutants::n_steps();
        progress.label("without a fault");
        child::ask(&Task::Mutate, &mut |said| match said {
            ChildLine::Mutant(mutant) => {
                progress.label(mutants::name(&mutant));
                answer.mutants.push(mutant);
                progress.at(answer.mutants.len() + 1, total);
            }
            ChildLine::Check(check) => answer.report.add(check),
            ChildLine::Refused { .. } => {}
        })?;
    }
    drop(progress);
    output.answer_with(|| answer.recorded(), || answer.text(output.verbose()))?;
    Ok(match (answer.report.failed, answer.report.not_checked) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Engine,
        (..) => Exit::Difference,
    })
}

/// The task of checking the model at `path`.
fn task_on(args: &VerifyArgs, path: PathBuf, python: Option<PathBuf>) -> Task {
    let text = args.text.text().map(Path::to_owned);
    Task::Model { path, text, ctx: args.context.ctx, windows: args.text.windows(), python }
}

/// The Python that was named, which must have the packages, or the one on PATH if it has them.
fn python(args: &VerifyArgs) -> Result<Option<(PathBuf, Python)>, Failure> {
    match &args.python {
        Some(path) => {
            let hint = "give the interpreter of an environment with numpy, ml_dtypes and gguf; without --python they are left out";
            Python::start(path)
                .map(|python| Some((path.clone(), python)))
                .map_err(|why| Failure::input(format!("--python: {}", escape_terminal(why)), hint))
        }
        None => Ok(crate::python::on_path().and_then(|path| Some((path.clone(), Python::start(&path).ok()?)))),
    }
}

impl Verified {
    /// The answer as plain data.
    fn recorded(&self) -> VerifyAnswer {
        let Report { passed, failed, skipped, not_checked, checks } = &self.report;
        let check = |check: &Check| VerifyCheck {
            name: check.name.clone(),
            area: check.area.to_string(),
            status: match check.status {
                Status::Passed => VerifyStatus::Passed,
                Status::Failed => VerifyStatus::Failed,
                Status::Skipped => VerifyStatus::Skipped,
                Status::NotChecked => VerifyStatus::NotChecked,
            },
            compared: check.compared.clone(),
            not_compared: check.not_compared.clone(),
            n: check.n,
            detail: check.detail.clone(),
        };
        VerifyAnswer {
            format: VERIFY_FORMAT,
            passed: *passed,
            failed: *failed,
            skipped: *skipped,
            not_checked: *not_checked,
            checks: checks.iter().map(check).collect(),
            mutants: self.mutants.iter().map(mutants::recorded).collect(),
        }
    }

    /// The answer as text: known answers as a table, models and faults in few words unless `verbose`.
    fn text(&self, verbose: bool) -> String {
        let mut out = Lines::new();
        let known = |check: &&Check| !matches!(check.area, proof::Area::Model);
        let shown: Vec<&Check> = self.report.checks.iter().filter(|check| verbose || known(check)).collect();
        if !shown.is_empty() {
            out.text(&checks(&shown));
        }
        let details = self.report.checks.iter().filter(|check| !check.detail.is_empty());
        for check in details.filter(|check| verbose || known(check) || check.status != Status::Passed) {
            out.line(format_args!("{} {}: {}", word(check.status), check.name, escape_terminal(&check.detail)));
        }
        out.text(&mutants::text(&self.mutants, verbose));
        out.text(&not_compared(&self.report.checks));
        let Report { passed, failed, skipped, not_checked, .. } = self.report;
        let n: u64 = self.report.checks.iter().map(|check| check.n).sum();
        let n = count(n);
        let (passed, failed, skipped) = (plural(passed, "check"), count(failed as u64), count(skipped as u64));
        let not_checked = match not_checked {
            0 => String::new(),
            n => format!(", {} not checked", count(n as u64)),
        };
        out.line(format_args!("{passed} passed, {failed} failed, {skipped} skipped{not_checked}; {n} comparisons"));
        out.into_string()
    }
}

/// Checks as a table.
fn checks(checks: &[&Check]) -> String {
    let columns = [
        ("", Align::Left),
        ("area", Align::Left),
        ("check", Align::Left),
        ("compared", Align::Right),
        ("with each other", Align::Left),
    ];
    let rows = checks.iter().map(|check| {
        vec![
            word(check.status).to_owned(),
            check.area.to_string(),
            check.name.clone(),
            count(check.n),
            escape_terminal(check.compared.join(", ")),
        ]
    });
    table::render(&columns, rows)
}

/// The word for an outcome.
fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "ok",
        Status::Failed => "FAIL",
        Status::Skipped => "skip",
        Status::NotChecked => "not checked",
    }
}

/// The implementations that did not take part, by reason.
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
