//! A run, its result and its progress.

use super::{AskError, Conditions};
use crate::plan::{Corpus, Plan};
use crate::run::{Repeat, prepare};
use files::SchemeFiles;
use numerics::BlockCodec;
use record::answer::{
    ControlAnswer, Effects, FailedCell, LastEvent, ModelAnswer, RUN_FORMAT, RunAnswer, STATUS_FORMAT, StatusAnswer,
    VariantVerdict, samples_file,
};
use record::headline;
use record::store;
use record::store::journal::{JournalLine, read_journal};
use record::store::lock::PlanLock;
use record::{AllMetricValues, Arm, ControlRecord, JudgedCell, Measured, ModelRecord, Note, Role, RunEvent, RunRecord};
use select::{Apply, LayerSet};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf, absolute};
use words::escape_terminal;
use worker::LinkFactory;

/// The question of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunQuestion {
    /// The question of the preset with this name.
    Preset(String),
    /// The question what one scheme does to the tensors of a selector.
    Apply(Apply),
}

/// A question that is asked of some models with all its controls.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// What is asked, of every model alike.
    pub question: RunQuestion,
    /// The model files.
    pub models: Vec<PathBuf>,
    /// The text to measure on.
    pub corpus: Corpus,
    /// The layers to which the question is narrowed; `None` asks about all.
    pub layers: Option<LayerSet>,
    /// Whether a tensor whose rows are not whole blocks of a ggml type is quantized in the type that llama-quantize falls
    /// back to. Otherwise the question is refused.
    pub allow_fallback: bool,
    /// The only arm to measure in; `None` measures in both.
    pub arm: Option<Arm>,
    /// The conditions of the measurement.
    pub conditions: Conditions,
    /// The largest number of windows to measure where the whole target is quantized.
    pub windows: usize,
    /// The largest number of windows to measure where a single layer is quantized.
    pub layer_windows: usize,
    /// The first seed of the jitter.
    pub seed: u64,
    /// The folder of the run; `None` takes `runs/<id>` in the current folder.
    pub dir: Option<PathBuf>,
}

impl RunRequest {
    /// The request as a plan.
    ///
    /// # Errors
    /// When no preset has the name, or a file of the scheme cannot be used.
    pub fn plan(&self) -> Result<Plan, AskError> {
        let (models, corpus) = (self.models.clone(), self.corpus.clone());
        let mut plan = match &self.question {
            RunQuestion::Preset(name) => Plan::preset(name, models, corpus)?,
            RunQuestion::Apply(apply) => {
                let apply = SchemeFiles::default().resolve(apply)?;
                Plan::asked(
                    &self.layers.as_ref().map_or(apply.clone(), |layers| apply.narrowed(layers)),
                    models,
                    corpus,
                )
            }
        };
        if let (RunQuestion::Preset(_), Some(layers)) = (&self.question, &self.layers) {
            plan.narrow(layers.clone());
        }
        plan.chunks = self.windows;
        plan.layer_chunks = self.layer_windows;
        plan.settings = self.conditions.settings();
        plan.n_threads = self.conditions.n_threads;
        plan.max_memory_bytes = self.conditions.max_memory_bytes;
        plan.allow_fallback = self.allow_fallback;
        plan.seed(self.seed);
        if let Some(arm) = self.arm {
            plan.arms = vec![arm];
        }
        Ok(plan)
    }
}

/// An event of a run, with the plan and the folder that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct RunHeard<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The folder of the run.
    pub dir: &'a Path,
    /// The event itself, as the journal has it.
    pub event: &'a RunEvent,
}

/// How a run ended that has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every cell was measured, and every control holds.
    Answered,
    /// A control was measured and does not hold.
    ControlFailed,
    /// A cell or a control could not be measured, and no control failed.
    NotMeasured,
}

impl RunOutcome {
    /// The outcome of the run with this record.
    pub fn of(record: &RunRecord) -> RunOutcome {
        let models = &record.models;
        let failed_cell = models.iter().flat_map(|model| &model.cells).any(|judged| judged.cell.lack().is_some());
        if models.iter().flat_map(|model| &model.controls).any(ControlRecord::has_failed) {
            RunOutcome::ControlFailed
        } else if failed_cell || !record.controls_ok {
            RunOutcome::NotMeasured
        } else {
            RunOutcome::Answered
        }
    }
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The folder of the run.
    pub dir: PathBuf,
    /// The record of the run.
    pub record: RunRecord,
    /// How the run ended.
    pub outcome: RunOutcome,
}

impl Ran {
    /// The answer of the run, whose report is the file `report`.
    pub fn answer(&self, report: &Path) -> RunAnswer {
        run_answer(&self.record, &self.dir, report)
    }
}

/// Asks a question of some models with all its controls. A run that was begun in the folder goes on; a finished one is
/// read again. The workers' engine calls itself `engine_build`, and the record has the command that `repeat` makes.
///
/// # Errors
/// When the run cannot come to a conclusion. Failed cells, failed controls and dead workers are part of the record
/// instead.
pub fn run(
    request: &RunRequest,
    engine_build: &str,
    workers: &dyn LinkFactory,
    codec: &dyn BlockCodec,
    repeat: &Repeat<'_>,
    hear: &mut dyn FnMut(RunHeard<'_>),
) -> Result<Ran, AskError> {
    let prepared = prepare(request.plan()?, engine_build)?;
    let dir = request.dir.clone().unwrap_or_else(|| Path::new("runs").join(prepared.id()));
    if dir.exists() && !dir.is_dir() {
        return Err(AskError::FileForAFolder { dir: shown(&dir) });
    }
    let mut sink = |event: &RunEvent| hear(RunHeard { plan: prepared.plan(), dir: &dir, event });
    let record = crate::run::run(&prepared, &dir, workers, codec, repeat, &mut sink)?;
    let outcome = RunOutcome::of(&record);
    Ok(Ran { dir, record, outcome })
}

/// The answer of a finished run. Where a control of a model does not hold, the effects on that model are withheld.
pub fn run_answer(record: &RunRecord, dir: &Path, report: &Path) -> RunAnswer {
    let of_model = |model: &ModelRecord| ModelAnswer {
        model: model.name.clone(),
        withheld: record.withholds(model),
        sentence: model.answer(&record.question),
        census: model.census_sentence(&record.question),
        notes: model.notes.iter().map(Note::to_string).collect(),
        note_values: model.notes.clone(),
    };
    RunAnswer {
        format: RUN_FORMAT,
        run: dir.to_string_lossy().into_owned(),
        id: record.id.clone(),
        controls_ok: record.controls_ok,
        answer: headline::of_run(record),
        answers: record.models.iter().map(of_model).collect(),
        verdicts: record.models.iter().flat_map(|model| verdicts(model, record.withholds(model))).collect(),
        controls: record.models.iter().flat_map(|model| &model.controls).map(ControlAnswer::from).collect(),
        failed: failed_cells(record),
        report: report.to_string_lossy().into_owned(),
    }
}

/// The variants in the order of the method, without the controls.
fn verdicts(model: &ModelRecord, withheld: bool) -> impl Iterator<Item = VariantVerdict> {
    model.cells.iter().filter(|judged| judged.cell.role == Role::Variant).map(move |judged| VariantVerdict {
        model: model.name.clone(),
        target: judged.cell.target.clone(),
        scheme: judged.cell.scheme.clone(),
        layers: judged.cell.layers.clone(),
        stage: judged.cell.stage.clone(),
        extent: judged.cell.extent(),
        arm: judged.cell.arm,
        chunks: judged.cell.chunks.len(),
        verdict: judged.verdict,
        why: judged.why.to_string(),
        reason: judged.why.clone(),
        effects: judged.cell.measured.as_ref().filter(|_| !withheld).map(|measured| effects(measured, judged)),
    })
}

fn effects(measured: &Measured, judged: &JudgedCell) -> Effects {
    Effects {
        metrics: AllMetricValues(measured.values().clone()),
        floor_kld_mean_max: judged.floor.as_ref().map(|floor| floor.kld_mean_max),
        floor_ratio: judged.floor.as_ref().and_then(|floor| floor.ratio),
    }
}

/// The cells of a record that were not measured. A cell of two stages is named once.
fn failed_cells(record: &RunRecord) -> Vec<FailedCell> {
    let mut seen = BTreeSet::new();
    let of_model = |model: &ModelRecord| {
        let failed = model.cells.iter().filter_map(|judged| FailedCell::of(&model.name, &judged.cell));
        failed.collect::<Vec<_>>()
    };
    record.models.iter().flat_map(of_model).filter(|cell| seen.insert(cell.key.clone())).collect()
}

/// The cells that have failed since the run was begun or resumed, by its journal.
fn failed_so_far(lines: &[JournalLine]) -> Vec<FailedCell> {
    let begun = lines.iter().rposition(|line| line.what() == "begun").unwrap_or(0);
    let failed = lines[begun..].iter().filter(|line| line.what() == "cell_failed");
    let text = |line: &JournalLine, of: &str| line.entry.get(of).and_then(|of| of.as_str()).map(String::from);
    let cells = failed.filter_map(|line| {
        let key = text(line, "key")?;
        let (model, target, file) = (text(line, "model"), text(line, "target"), samples_file(&key));
        Some(FailedCell { key, model, target, file, why: text(line, "why").unwrap_or_default() })
    });
    cells.collect()
}

/// The folder for the reports of the run in `dir`: the run's own, or another one outside of the run.
///
/// # Errors
/// When another folder lies in the folder of the run, which only a run writes to.
pub fn report_folder(dir: &Path, other: Option<&Path>) -> Result<PathBuf, AskError> {
    let own = dir.join("report");
    let Some(other) = other else { return Ok(own) };
    if absolute(other).ok() != absolute(&own).ok() && lies_in(other, dir) {
        return Err(AskError::InsideTheRun { folder: shown(other) });
    }
    Ok(other.to_owned())
}

/// Whether a path, which need not exist, is in a folder that does.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|part| part.canonicalize().ok());
    folder.canonicalize().is_ok_and(|folder| there.is_some_and(|there| there.starts_with(folder)))
}

/// The progress of the run in a folder. It counts the cells of the plan only, and names those that do not belong to it.
///
/// # Errors
/// When there is no run, or its folder cannot be read.
pub fn status(dir: &Path) -> Result<StatusAnswer, AskError> {
    let lock = lock_of(dir)?;
    let record = if store::is_finished(dir) { Some(store::read_run(dir)?) } else { None };
    let path = dir.join("journal.jsonl");
    let lines = if path.is_file() { read_journal(&path)? } else { Vec::new() };
    let begun = lines.iter().rev().find(|line| line.what() == "begun");
    let mut failed = record.as_ref().map_or_else(|| failed_so_far(&lines), failed_cells);
    for (key, error) in store::damaged_samples(dir)? {
        if failed.iter().all(|cell| cell.key != key) {
            let (file, why) = (samples_file(&key), error.to_string());
            failed.push(FailedCell { key, model: None, target: None, file, why });
        }
    }
    let (finished, foreign) = of_plan(store::finished_cells(dir)?, begun);
    for key in &finished {
        let why = match store::lacks_samples(dir, key) {
            Ok(false) => continue,
            Ok(true) => "the samples that it was derived from are gone".to_owned(),
            Err(error) => error.to_string(),
        };
        failed.push(FailedCell { key: key.clone(), model: None, target: None, file: samples_file(key), why });
    }
    Ok(StatusAnswer {
        format: STATUS_FORMAT,
        run: dir.to_string_lossy().into_owned(),
        id: lock.identity.id(),
        finished: record.is_some(),
        question: lock.identity.question.question.clone(),
        models: lock.identity.model_names(),
        chunks: lock.chunks,
        cells_finished: finished.len(),
        cells: begun.and_then(|line| line.entry.get("cells")?.as_u64()),
        failed,
        foreign: foreign.iter().map(|key| format!("cells/{key}.json")).collect(),
        controls_ok: record.map(|record| record.controls_ok),
        last: lines
            .iter()
            .rev()
            .find(|line| !line.is_of_store())
            .map(|line| LastEvent { time_unix_s: line.time_unix_s, what: line.what().into() }),
    })
}

/// The finished cells that belong to the plan, and those that do not. A journal from before it had the keys of all cells
/// cannot tell them apart.
fn of_plan(finished: Vec<String>, begun: Option<&JournalLine>) -> (Vec<String>, Vec<String>) {
    let keys = begun.and_then(|line| line.entry.get("keys")?.as_array());
    let Some(keys) = keys else { return (finished, Vec::new()) };
    let keys: BTreeSet<&str> = keys.iter().filter_map(|key| key.as_str()).collect();
    finished.into_iter().partition(|key| keys.contains(key.as_str()))
}

/// The record of a run that has ended.
///
/// # Errors
/// When there is no run, it has not ended, or its record cannot be read.
pub fn finished_run(dir: &Path) -> Result<RunRecord, AskError> {
    lock_of(dir)?;
    if !store::is_finished(dir) {
        return Err(AskError::Unfinished { dir: shown(dir) });
    }
    let record = store::read_run(dir)?;
    // Its numbers come from the cells, which are compared above; but what they were derived from must be as it was.
    match store::damaged_samples(dir)?.into_iter().next() {
        Some((_, error)) => Err(error.into()),
        None => Ok(record),
    }
}

fn lock_of(dir: &Path) -> Result<PlanLock, AskError> {
    let found = match std::fs::metadata(dir) {
        Err(error) => error.to_string(),
        Ok(found) if !found.is_dir() => "is a file".into(),
        Ok(_) => match store::peek(dir)? {
            Some(lock) => return Ok(lock),
            // A kill before the plan was written leaves the lock and perhaps an unfinished file.
            None if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) => {
                return Err(AskError::KilledEarly { dir: shown(dir) });
            }
            None => "is empty".into(),
        },
    };
    Err(AskError::NotARunFolder { dir: shown(dir), found })
}

fn shown(dir: &Path) -> String {
    escape_terminal(dir.as_os_str().as_encoded_bytes())
}
