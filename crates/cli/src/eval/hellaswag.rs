//! `assay eval MODEL --hellaswag FILE`: how often the model finds the right ending the most likely one; with `--apply` also
//! how often a variant does, task by task beside the reference.

use super::{EvalArgs, Request, Settings};
use crate::corpus;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::session;
use ::eval::choices::{ChoiceTask, best, parse_hellaswag, pick};
use anyhow::{Context, anyhow};
use lab::cell::spec_of;
use lab::protocol::{CellSpec, ChoiceSample, Event, Job};
use serde::Serialize;
use std::path::Path;
use words::{Lines, escape_terminal, p_value, plural, share};
use worker::SessionRequest;

/// 97.5 % of a normal distribution lie below it; llama-perplexity's figure.
const Z: f64 = 1.959_963_984_54;

/// Runs the tasks of a file.
pub(super) fn run(args: &EvalArgs, path: &Path, output: &Output) -> Outcome {
    let shown = escape_terminal(path.as_os_str().as_encoded_bytes());
    let file = corpus::read(Some(path))?;
    let all = parse_hellaswag(&file.text).with_context(|| shown.clone())?;
    let there = all.len();
    let tasks = pick(all, args.tasks as usize);
    let request = Request::from_args(args)?;
    let mut progress = Progress::new(&plural(tasks.len(), "task"), output.quiet());
    let (name, arm) = (escape_terminal(&request.name), request.variant.base.arm.name());
    progress.say(&format!("{name}: {arm} arm, {} of the {there} in {}", plural(tasks.len(), "task"), shown));
    let (settings, samples) = measure(&request, &tasks, &file, &mut progress)?;
    drop(progress);
    let answer = Answer::of(settings, &tasks, &samples);
    output.answer(&answer, || answer.text())?;
    Ok(Exit::Done)
}

/// Scores of the reference, and of the variant where there is one, by task.
type Scored = (Vec<ChoiceSample>, Vec<ChoiceSample>);

fn measure(
    request: &Request,
    tasks: &[ChoiceTask],
    file: &lab::Corpus,
    progress: &mut Progress,
) -> Result<(Settings, Scored), Failure> {
    let mut session = session::open(&SessionRequest {
        model: request.model.clone(),
        name: request.name.clone(),
        settings: request.settings.clone(),
        n_threads: request.n_threads,
        max_memory_bytes: request.max_memory_bytes,
        files: request.variant.files.clone(),
    })?;
    let cells: Vec<CellSpec> = match request.variant.edits.is_empty() {
        true => Vec::new(),
        false => vec![spec_of("variant", request.variant.edits.clone())],
    };
    let units = tasks.len() * (1 + cells.len());
    let texts = tasks.iter().map(|task| task.choices.clone()).collect();
    let job = Job::Choose { base: request.variant.base.clone(), cells, tasks: texts };
    let (mut reference, mut variant) = (Vec::new(), Vec::new());
    session::hear(&mut session, &job, &mut |event| {
        match event {
            Event::Memory(plan) => progress.say(&format!("memory {}", plan.words())),
            Event::Note { text } => progress.say(&text),
            Event::Choice(sample) if sample.cell.is_none() => reference.push(sample),
            Event::Choice(sample) => variant.push(sample),
            Event::CellFailed { why, .. } => {
                let error = anyhow!("{}: the variant cannot be measured: {why}", request.name);
                return Err(Failure { exit: Exit::Engine, error });
            }
            _ => {}
        }
        progress.at(reference.len() + variant.len(), units);
        Ok(())
    })?;
    if reference.len() != tasks.len() || !(variant.is_empty() || variant.len() == tasks.len()) {
        let error =
            anyhow!("{}: scores of {} tasks came back, {} were asked for", request.name, reference.len(), tasks.len());
        return Err(Failure { exit: Exit::Engine, error });
    }
    let mut settings = request.settings_of(&session.info);
    (settings.text, settings.text_bytes) = (file.name.clone(), file.text.len());
    Ok((settings, (reference, variant)))
}

/// The answer in JSON. Without `--apply` everything about a reference is `null`.
#[derive(Serialize)]
struct Answer {
    task: &'static str,
    n_tasks: usize,
    /// Right by likelihood per token of the ending, as llama-perplexity counts; of the variant where there is one.
    acc_norm: f64,
    /// 95 % interval of `acc_norm` (Wilson).
    acc_norm_low: f64,
    acc_norm_high: f64,
    /// Right by likelihood of the whole ending.
    acc: f64,
    acc_norm_ref: Option<f64>,
    acc_ref: Option<f64>,
    /// Tasks that the variant gets right and the reference does not, and the other way round, by `acc_norm`.
    gained: Option<usize>,
    lost: Option<usize>,
    /// Chance of so uneven a split, or a more uneven one, were both equally good (McNemar, exact).
    mcnemar_p: Option<f64>,
    /// Σ ln p of every ending, nats, by task and ending; of the variant where there is one.
    ln_p: Vec<Vec<f64>>,
    settings: Settings,
}

/// Right answers by likelihood per token, and by likelihood.
fn right(tasks: &[ChoiceTask], samples: &[ChoiceSample]) -> (Vec<bool>, Vec<bool>) {
    let per_token =
        |sample: &ChoiceSample| best(sample.ln_p.iter().zip(&sample.n_tokens).map(|(ln_p, &n)| ln_p / n as f64));
    let norm = tasks.iter().zip(samples).map(|(task, sample)| per_token(sample) == Some(task.gold)).collect();
    let whole = tasks.iter().zip(samples).map(|(task, s)| best(s.ln_p.iter().copied()) == Some(task.gold)).collect();
    (norm, whole)
}

fn rate(right: &[bool]) -> f64 {
    right.iter().filter(|right| **right).count() as f64 / right.len() as f64
}

impl Answer {
    fn of(settings: Settings, tasks: &[ChoiceTask], (reference, variant): &Scored) -> Answer {
        let of_reference = right(tasks, reference);
        let of_variant = (!variant.is_empty()).then(|| right(tasks, variant));
        let (norm, whole) = of_variant.as_ref().unwrap_or(&of_reference);
        let hits = norm.iter().filter(|right| **right).count();
        let (acc_norm_low, acc_norm_high) = stats::wilson(hits, tasks.len(), Z);
        let split = of_variant.as_ref().map(|(variant, _)| {
            let count = |wanted: (bool, bool)| {
                of_reference
                    .0
                    .iter()
                    .zip(variant)
                    .filter(|(reference, variant)| (**reference, **variant) == wanted)
                    .count()
            };
            (count((false, true)), count((true, false)))
        });
        let scores = if variant.is_empty() { reference } else { variant };
        Answer {
            task: "hellaswag",
            n_tasks: tasks.len(),
            acc_norm: rate(norm),
            acc_norm_low,
            acc_norm_high,
            acc: rate(whole),
            acc_norm_ref: of_variant.as_ref().map(|_| rate(&of_reference.0)),
            acc_ref: of_variant.as_ref().map(|_| rate(&of_reference.1)),
            gained: split.map(|(gained, _)| gained),
            lost: split.map(|(_, lost)| lost),
            mcnemar_p: split.map(|(gained, lost)| stats::mcnemar(gained, lost)),
            ln_p: scores.iter().map(|sample| sample.ln_p.clone()).collect(),
            settings,
        }
    }

    fn text(&self) -> String {
        let mut out = Lines::new();
        out.line(format_args!(
            "HellaSwag acc_norm {} (95 %: {} to {}), acc {}, {}",
            share(self.acc_norm),
            share(self.acc_norm_low),
            share(self.acc_norm_high),
            share(self.acc),
            plural(self.n_tasks, "task")
        ));
        let compared = self.acc_norm_ref.zip(self.acc_ref).zip(self.gained).zip(self.lost).zip(self.mcnemar_p);
        if let Some(((((acc_norm, acc), gained), lost), p)) = compared {
            out.line(format_args!("reference acc_norm {}, acc {}", share(acc_norm), share(acc)));
            let applied = escape_terminal(self.settings.apply.join(" "));
            out.line(format_args!("{applied}: {gained} gained, {lost} lost, McNemar p = {}", p_value(p)));
        }
        out.into_string()
    }
}
