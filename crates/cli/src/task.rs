//! `assay task MODEL`: how many multiple-choice tasks a model gets right, and with `--apply` a variant beside it.

use crate::ask;
use crate::corpus;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::question::QuestionArgs;
use crate::settings::MachineArgs;
use crate::worker;
use lab::ask::{TaskFile, TaskKind, TaskRequest, UnknownTask};
use llama::GgmlCodec;
use record::answer::{TaskAnswer, TaskScores};
use std::path::{Path, PathBuf};
use words::{Lines, difference, escape_terminal, p_value, plural, share};

/// Arguments of `assay task`.
#[derive(Debug, clap::Args)]
pub struct TaskArgs {
    /// The GGUF file to score
    model: PathBuf,
    /// Tasks to score, separated by commas: hellaswag:FILE takes a file in the format of llama-perplexity --hellaswag
    #[arg(long, value_name = "NAME:FILE", required = true, value_delimiter = ',')]
    tasks: Vec<String>,
    /// Number of tasks to take from each file; a shorter file is taken whole
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs `assay task`.
pub fn run(args: &TaskArgs, output: &Output) -> Outcome {
    let request = TaskRequest {
        variant: args.question.about(&args.model)?,
        conditions: args.machine.conditions(),
        files: args.tasks.iter().map(|text| file(text)).collect::<Result<_, _>>()?,
        limit: args.limit as usize,
    };
    let mut progress = Progress::new("starting", output.quiet());
    let arm = request.variant.arm.name();
    let begun = |model: &str, n| (plural(n, "task"), format!("{model}: {arm} arm, {}", plural(n, "task")));
    let mut hear = |event: lab::ask::AskEvent<'_>| ask::show(&mut progress, event, begun);
    let answer = lab::ask::task(&request, &worker::workers()?, &GgmlCodec, &mut hear)?;
    drop(progress);
    output.answer(&answer, || text(&answer))?;
    Ok(Exit::Done)
}

/// Reads the file of `NAME:FILE`.
fn file(text: &str) -> Result<TaskFile, Failure> {
    let (name, path) = text.split_once(':').map_or((text, None), |(name, path)| (name, Some(path)));
    let hint = "for example --tasks hellaswag:FILE";
    let kind: TaskKind =
        name.parse().map_err(|error: UnknownTask| Failure::input(format!("--tasks: {error}"), hint))?;
    let path = path.filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| Failure::input(format!("--tasks: {name} has no file, wanted {name}:FILE"), hint))?;
    Ok(TaskFile { kind, source: corpus::read_file(Path::new(path), "--tasks")? })
}

fn text(answer: &TaskAnswer) -> String {
    let mut out = Lines::new();
    for task in &answer.tasks {
        out.line(format_args!(
            "{} acc_norm {} (95 %: {} to {}), acc {}, {}",
            task.name,
            share(task.acc_norm),
            share(task.acc_norm_low),
            share(task.acc_norm_high),
            share(task.acc),
            plural(task.n, "task")
        ));
        compared(task, &answer.settings.apply, &mut out);
        if !task.informative {
            let chance = share(task.chance);
            out.line(format_args!(
                "these tasks cannot show a loss: the untouched model is not clearly above chance ({chance})"
            ));
        }
    }
    ask::fallbacks(&answer.settings.fallbacks).iter().for_each(|line| out.line(line));
    out.into_string()
}

/// The reference beside the variant.
fn compared(task: &TaskScores, applied: &[String], out: &mut Lines) {
    let (Some(acc_norm), Some(acc)) = (task.acc_norm_ref, task.acc_ref) else { return };
    let (Some(gained), Some(lost), Some(p)) = (task.gained, task.lost, task.p_mcnemar) else { return };
    out.line(format_args!("reference acc_norm {}, acc {}", share(acc_norm), share(acc)));
    let applied = escape_terminal(applied.join(" "));
    let margin = task.margin_shift.map_or(String::new(), |x| format!(", margin {} nats a token", difference(x)));
    out.line(format_args!("{applied}: {gained} gained, {lost} lost, McNemar p = {}{margin}", p_value(p)));
}
