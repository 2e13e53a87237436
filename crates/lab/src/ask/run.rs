//! The result and the progress of a run, read from its record and its folder.

use super::AskError;
use record::answer::{
    ControlAnswer, Effects, FailedCell, LastEvent, ModelAnswer, RUN_FORMAT, RunAnswer, STATUS_FORMAT, StatusAnswer,
    VariantVerdict, samples_file,
};
use record::headline;
use record::store;
use record::store::journal::{JournalLine, read_journal};
use record::store::lock::PlanLock;
use record::{AllMetricValues, JudgedCell, Measured, ModelRecord, Role, RunRecord};
use std::collections::BTreeSet;
use std::path::Path;
use words::escape_terminal;

/// The answer of a finished run. Where a control of a model does not hold, the effects on that model are withheld.
pub fn run_answer(record: &RunRecord, dir: &Path, report: &Path) -> RunAnswer {
    let of_model = |model: &ModelRecord| ModelAnswer {
        model: model.name.clone(),
        withheld: record.withholds(model),
        sentence: model.answer(&record.question),
        census: model.census_sentence(&record.question),
        notes: model.notes.clone(),
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
    for key in finished.iter().filter(|key| store::lacks_samples(dir, key).unwrap_or(false)) {
        let (file, why) = (samples_file(key), "the samples that it was derived from are gone".to_owned());
        failed.push(FailedCell { key: key.clone(), model: None, target: None, file, why });
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
            None => "is empty".into(),
        },
    };
    Err(AskError::NotARunFolder { dir: shown(dir), found })
}

fn shown(dir: &Path) -> String {
    escape_terminal(dir.as_os_str().as_encoded_bytes())
}
