//! How many multiple-choice tasks a model gets right, and how many of them change with a variant.

use super::error::AskError;
use super::variant::{Conditions, Variant, VariantRequest};
use super::{AskEvent, Hear};
use crate::plan::Corpus;
use crate::plan::cells::spec;
use eval::choices::{ChoiceError, ChoiceTask, best, parse_hellaswag, pick};
use numerics::BlockCodec;
use record::answer::{TASK_FORMAT, TaskAnswer, TaskScores, TaskSettings};
use stats::{PairedOutcomes, Proportion};
use std::collections::BTreeMap;
use std::str::FromStr;
use words::escape_terminal;
use worker::protocol::ChoiceSample;
use worker::{Event, Job, LinkFactory, Session};

/// A kind of task: how its files are read, and which of their tasks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// HellaSwag's endings, in the text format that llama-perplexity reads.
    Hellaswag,
}

impl TaskKind {
    /// Every kind that is known.
    pub const ALL: [TaskKind; 1] = [TaskKind::Hellaswag];

    /// The name as typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Hellaswag => "hellaswag",
        }
    }

    /// The version of reading and scoring. It grows when the same file would give other scores.
    fn version(self) -> u32 {
        match self {
            TaskKind::Hellaswag => 1,
        }
    }

    fn parse(self, text: &str) -> Result<Vec<ChoiceTask>, ChoiceError> {
        match self {
            TaskKind::Hellaswag => parse_hellaswag(text),
        }
    }

    fn pick(self, tasks: Vec<ChoiceTask>, limit: usize) -> Vec<ChoiceTask> {
        match self {
            TaskKind::Hellaswag => pick(tasks, limit),
        }
    }
}

/// The error for a name that is not a kind of task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a known task, wanted one of: {}", TaskKind::ALL.map(TaskKind::name).join(", "))]
pub struct UnknownTask {
    /// The name that was given.
    pub name: String,
}

impl FromStr for TaskKind {
    type Err = UnknownTask;

    fn from_str(name: &str) -> Result<TaskKind, UnknownTask> {
        let known = TaskKind::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| UnknownTask { name: name.into() })
    }
}

/// A file of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFile {
    /// The kind of the file's tasks.
    pub kind: TaskKind,
    /// The file's name and text.
    pub source: Corpus,
}

/// A question about tasks.
#[derive(Clone, Debug)]
pub struct TaskRequest {
    /// The model and its variant.
    pub variant: VariantRequest,
    /// The conditions of the measurement.
    pub conditions: Conditions,
    /// The files of tasks to score.
    pub files: Vec<TaskFile>,
    /// The largest number of tasks to take from each file.
    pub limit: usize,
}

/// The tasks that are taken from a file.
struct Taken<'a> {
    file: &'a TaskFile,
    n_in_file: usize,
    tasks: Vec<ChoiceTask>,
}

impl<'a> Taken<'a> {
    fn of(file: &'a TaskFile, limit: usize) -> Result<Taken<'a>, AskError> {
        let TaskFile { kind, source } = file;
        let all = kind.parse(&source.text);
        let all = all.map_err(|error| AskError::Tasks { file: escape_terminal(&source.name), source: error })?;
        Ok(Taken { file, n_in_file: all.len(), tasks: kind.pick(all, limit) })
    }
}

/// Scores tasks with the model, and with the variant if there is one.
///
/// # Errors
/// When a file ends within a task, the request cannot be measured, a control fails, or the engine does.
pub fn task(
    request: &TaskRequest,
    workers: &dyn LinkFactory,
    codec: &dyn BlockCodec,
    hear: &mut Hear<'_>,
) -> Result<TaskAnswer, AskError> {
    let taken = request.files.iter().map(|file| Taken::of(file, request.limit)).collect::<Result<Vec<_>, _>>()?;
    let variant = Variant::find(&request.variant, codec)?;
    let parts = taken.iter().map(|taken| taken.tasks.len()).sum();
    variant.begin(parts, hear);
    for Taken { file, n_in_file, tasks } in &taken {
        hear(AskEvent::TasksTaken { file: &file.source.name, n: tasks.len(), n_in_file: *n_in_file });
    }
    let settings = request.conditions.settings();
    let mut session = Session::open(workers, &variant.session(&request.conditions, &settings))?;
    let total = parts * if variant.edits.is_empty() { 1 } else { 2 };
    let mut done = 0;
    let mut tasks = Vec::with_capacity(taken.len());
    for taken in &taken {
        let mut progress = |event: AskEvent<'_>| match event {
            AskEvent::Progress { done: of_file, .. } => hear(AskEvent::Progress { done: done + of_file, total }),
            other => hear(other),
        };
        let scored = scored(&mut session, &variant, &taken.tasks, &mut progress)?;
        done += scored.reference.len() + scored.variant.as_ref().map_or(0, Vec::len);
        tasks.push(scores(taken, &scored));
    }
    Ok(TaskAnswer {
        format: TASK_FORMAT,
        tasks,
        settings: TaskSettings {
            model: variant.name.clone(),
            arch: session.info.arch.clone(),
            arm: variant.base.arm,
            apply: variant.applied(),
            fallbacks: variant.fallbacks.clone(),
            limit: request.limit,
            engine: settings,
            n_threads: session.info.n_threads,
            build: session.info.build.clone(),
            assay_version: env!("CARGO_PKG_VERSION").into(),
        },
    })
}

/// The log-likelihoods of the endings, by task.
struct Scored {
    reference: Vec<ChoiceSample>,
    variant: Option<Vec<ChoiceSample>>,
}

fn scored(
    session: &mut Session,
    variant: &Variant,
    tasks: &[ChoiceTask],
    hear: &mut Hear<'_>,
) -> Result<Scored, AskError> {
    let cells: Vec<_> = match variant.edits.is_empty() {
        true => Vec::new(),
        false => vec![spec(&variant.cell(Vec::new()))],
    };
    let (has_variant, total) = (!cells.is_empty(), tasks.len() * (1 + cells.len()));
    let texts = tasks.iter().map(|task| task.choices.clone()).collect();
    let job = Job::Choose { base: variant.base.clone(), cells, tasks: texts };
    let mut by_task: [BTreeMap<usize, ChoiceSample>; 2] = Default::default();
    session.hear(&job, &mut |event| {
        match event {
            Event::Memory(plan) => hear(AskEvent::Memory(&plan)),
            Event::Note { note } => hear(AskEvent::Note(&note)),
            Event::Choice(sample) => {
                by_task[usize::from(sample.cell.is_some())].insert(sample.task, sample);
            }
            Event::CellFailed { why, hint, .. } => {
                return Err(AskError::Variant { model: variant.name.clone(), why, hint });
            }
            _ => {}
        }
        hear(AskEvent::Progress { done: by_task.iter().map(BTreeMap::len).sum(), total });
        Ok(())
    })?;
    let [reference, of_variant] = by_task.map(|samples| samples.into_values().collect::<Vec<_>>());
    let wanted = tasks.len();
    let few = [Some(&reference), has_variant.then_some(&of_variant)].into_iter().flatten().find(|s| s.len() != wanted);
    if let Some(samples) = few {
        return Err(AskError::MissingTasks { model: variant.name.clone(), found: samples.len(), wanted });
    }
    Ok(Scored { reference, variant: has_variant.then_some(of_variant) })
}

fn scores(taken: &Taken<'_>, scored: &Scored) -> TaskScores {
    let tasks = &taken.tasks;
    let reference = Right::of(tasks, &scored.reference);
    let variant = scored.variant.as_ref().map(|samples| Right::of(tasks, samples));
    let shown = variant.as_ref().unwrap_or(&reference);
    let (norm, whole) = (Proportion::of(&shown.per_token), Proportion::of(&shown.whole));
    let chance: f64 = tasks.iter().map(|task| 1.0 / task.choices.len() as f64).sum::<f64>() / tasks.len() as f64;
    let of_reference = |right: &[bool]| variant.as_ref().map(|_| Proportion::of(right).share);
    let paired = variant.as_ref().map(|variant| PairedOutcomes::of(&reference.per_token, &variant.per_token));
    let shift = scored.variant.as_ref().map(|variant| {
        let margins = |samples: &[ChoiceSample]| -> Vec<f64> {
            tasks.iter().zip(samples).map(|(task, sample)| margin(task, sample)).collect()
        };
        let (before, after) = (margins(&scored.reference), margins(variant));
        before.iter().zip(&after).map(|(before, after)| after - before).sum::<f64>() / tasks.len() as f64
    });
    TaskScores {
        name: taken.file.kind.name().into(),
        version: taken.file.kind.version(),
        file: taken.file.source.name.clone(),
        n_in_file: taken.n_in_file,
        n: tasks.len(),
        chance,
        acc: whole.share,
        acc_norm: norm.share,
        acc_norm_low: norm.low,
        acc_norm_high: norm.high,
        acc_ref: of_reference(&reference.whole),
        acc_norm_ref: of_reference(&reference.per_token),
        flips: paired.map(|paired| paired.gained + paired.lost),
        gained: paired.map(|paired| paired.gained),
        lost: paired.map(|paired| paired.lost),
        p_mcnemar: paired.map(|paired| paired.p),
        margin_shift: shift,
        informative: Proportion::of(&reference.per_token).low > chance,
        ln_p: scored.variant.as_ref().unwrap_or(&scored.reference).iter().map(|s| s.ln_p.clone()).collect(),
    }
}

/// Whether each task is right.
struct Right {
    /// The tasks by likelihood per token of the ending.
    per_token: Vec<bool>,
    /// The tasks by likelihood of the whole ending.
    whole: Vec<bool>,
}

impl Right {
    fn of(tasks: &[ChoiceTask], samples: &[ChoiceSample]) -> Right {
        let pairs = || tasks.iter().zip(samples);
        Right {
            per_token: pairs().map(|(task, sample)| best(per_token(sample)) == Some(task.gold)).collect(),
            whole: pairs().map(|(task, sample)| best(sample.ln_p.iter().copied()) == Some(task.gold)).collect(),
        }
    }
}

/// ln p per token of each ending, nats.
fn per_token(sample: &ChoiceSample) -> impl Iterator<Item = f64> {
    sample.ln_p.iter().zip(&sample.n_tokens).map(|(ln_p, &n)| ln_p / n as f64)
}

/// ln p per token of the right ending minus that of the best wrong one, in nats. It is positive where the task is
/// right.
fn margin(task: &ChoiceTask, sample: &ChoiceSample) -> f64 {
    let scores: Vec<f64> = per_token(sample).collect();
    let wrong = scores.iter().enumerate().filter(|(choice, _)| *choice != task.gold).map(|(_, score)| *score);
    scores[task.gold] - wrong.fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task_of(gold: usize) -> ChoiceTask {
        ChoiceTask { choices: vec!["a".into(), "b".into(), "c".into(), "d".into()], gold }
    }

    fn sample(task: usize, ln_p: [f64; 4], n_tokens: [usize; 4]) -> ChoiceSample {
        ChoiceSample { cell: None, task, ln_p: ln_p.to_vec(), n_tokens: n_tokens.to_vec() }
    }

    fn scores_of(
        tasks: Vec<ChoiceTask>,
        reference: Vec<ChoiceSample>,
        variant: Option<Vec<ChoiceSample>>,
    ) -> TaskScores {
        let source = Corpus::new("tasks.txt", String::new());
        let file = TaskFile { kind: TaskKind::Hellaswag, source };
        let taken = Taken { file: &file, n_in_file: 9, tasks };
        scores(&taken, &Scored { reference, variant })
    }

    #[test]
    fn the_margin_is_per_token_and_against_the_best_wrong_ending() {
        // The values per token are −1, −2, −3 and −4.
        let sample = sample(0, [-2.0, -2.0, -9.0, -4.0], [2, 1, 3, 1]);
        assert_eq!(margin(&task_of(0), &sample), 1.0);
        assert_eq!(margin(&task_of(2), &sample), -2.0);
    }

    #[test]
    fn a_variant_is_compared_task_by_task() {
        let tasks = vec![task_of(0), task_of(1)];
        let one = [1; 4];
        let right = |task, gold: usize| {
            let mut ln_p = [-2.0; 4];
            ln_p[gold] = -1.0;
            sample(task, ln_p, one)
        };
        let reference = vec![right(0, 0), right(1, 3)];
        let variant = vec![right(0, 3), right(1, 1)];
        let alone = scores_of(tasks.clone(), reference.clone(), None);
        assert_eq!((alone.acc, alone.acc_norm, alone.chance, alone.n, alone.n_in_file), (0.5, 0.5, 0.25, 2, 9));
        assert_eq!((alone.acc_ref, alone.flips, alone.margin_shift), (None, None, None));
        let both = scores_of(tasks, reference, Some(variant));
        assert_eq!((both.acc_ref, both.acc_norm_ref, both.acc_norm), (Some(0.5), Some(0.5), 0.5));
        assert_eq!((both.flips, both.gained, both.lost, both.p_mcnemar), (Some(2), Some(1), Some(1), Some(1.0)));
        // The margins go from +1 to −1 and from −1 to +1.
        assert_eq!(both.margin_shift, Some(0.0));
    }

    #[test]
    fn tasks_on_which_the_untouched_model_guesses_tell_nothing() {
        let all = |n: usize, gold: usize| -> Vec<ChoiceSample> {
            (0..n)
                .map(|task| {
                    let mut ln_p = [-2.0; 4];
                    ln_p[gold] = -1.0;
                    sample(task, ln_p, [1; 4])
                })
                .collect()
        };
        let tasks = |n| vec![task_of(0); n];
        // For 2 right answers of 2, Wilson's interval begins at 0.34; for 1 of 1, at 0.21.
        assert!(scores_of(tasks(2), all(2, 0), None).informative);
        assert!(!scores_of(tasks(1), all(1, 0), None).informative);
        // The untouched model decides: a variant that guesses has lost something.
        assert!(scores_of(tasks(2), all(2, 0), Some(all(2, 1))).informative);
        assert!(!scores_of(tasks(2), all(2, 1), Some(all(2, 0))).informative);
    }

    #[test]
    fn an_unknown_task_is_told_the_known_ones() {
        assert_eq!("hellaswag".parse(), Ok(TaskKind::Hellaswag));
        let error = "winogrande".parse::<TaskKind>().expect_err("not there").to_string();
        assert_eq!(error, "\"winogrande\" is not a known task, wanted one of: hellaswag");
    }
}
