//! The result and the progress of a run, read from its record and its folder.

use super::AskError;
use record::answer::{
    ControlAnswer, Effects, LastEvent, ModelAnswer, RUN_FORMAT, RunAnswer, STATUS_FORMAT, StatusAnswer, VariantVerdict,
};
use record::headline;
use record::store;
use record::store::journal::read_journal;
use record::store::lock::PlanLock;
use record::{AllMetricValues, JudgedCell, Measured, ModelRecord, Role, RunRecord};
use std::path::Path;
use words::escape_terminal;

/// The answer of a finished run. Where a control of a model does not hold, the effects on that model are withheld.
pub fn run_answer(record: &RunRecord, dir: &Path, report: &Path) -> RunAnswer {
    let of_model = |model: &ModelRecord| ModelAnswer {
        model: model.name.clone(),
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
        verdicts: record.models.iter().flat_map(verdicts).collect(),
        controls: record.models.iter().flat_map(|model| &model.controls).map(ControlAnswer::from).collect(),
        report: report.to_string_lossy().into_owned(),
    }
}

/// The variants in the order of the method, without the controls.
fn verdicts(model: &ModelRecord) -> impl Iterator<Item = VariantVerdict> {
    let withheld = model.controls.iter().any(|control| !control.ok);
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

/// The progress of the run in a folder.
///
/// # Errors
/// When there is no run, or its folder cannot be read.
pub fn status(dir: &Path) -> Result<StatusAnswer, AskError> {
    let lock = lock_of(dir)?;
    let record = if store::is_finished(dir) { Some(store::read_run(dir)?) } else { None };
    let path = dir.join("journal.jsonl");
    let lines = if path.is_file() { read_journal(&path)? } else { Vec::new() };
    let begun = lines.iter().rev().find(|line| line.what() == "begun");
    Ok(StatusAnswer {
        format: STATUS_FORMAT,
        run: dir.to_string_lossy().into_owned(),
        id: lock.identity.id(),
        finished: record.is_some(),
        question: lock.identity.question.question.clone(),
        models: lock.identity.model_names(),
        chunks: lock.chunks,
        cells_finished: store::finished_cells(dir)?.len(),
        cells: begun.and_then(|line| line.entry.get("cells")?.as_u64()),
        controls_ok: record.map(|record| record.controls_ok),
        last: lines
            .iter()
            .rev()
            .find(|line| !line.is_of_store())
            .map(|line| LastEvent { time_unix_s: line.time_unix_s, what: line.what().into() }),
    })
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
    Ok(store::read_run(dir)?)
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
