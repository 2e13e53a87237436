//! What a report says: a [`RunRecord`] as a [`Document`].
//!
//! First screen (question, answers, figure, controls) → comparison of models → per model: census, the whole target
//! in each arm, evidence chain, layers, failed cells, controls → how to reproduce, settings, words.
//! Predicted and measured numbers stand in different columns everywhere. When a control of a model does not hold, the report
//! leaves out everything that would answer the question for that model, and shows the controls in its place.

mod comparison;
mod controls;
mod evidence;
mod first;
mod layers;
mod method;
mod model;
mod phrase;
mod precision;
mod whole_target;

use crate::document::Document;
use record::Arm;
use record::{ArmVerdict, JudgedCell, ModelRecord, RunRecord};

/// The whole report of a run.
pub fn document(record: &RunRecord) -> Document {
    let shown: Vec<&ModelRecord> = record.models.iter().filter(|model| !record.withholds(model)).collect();
    let mut blocks = first::blocks(record, &shown);
    if shown.len() > 1 {
        blocks.extend(comparison::blocks(&shown));
    }
    for (i, model) in record.models.iter().enumerate() {
        blocks.extend(model::blocks(record, model, i + 1, record.withholds(model)));
    }
    blocks.extend(method::blocks(record));
    Document { title: format!("assay: {}", record.question.name), blocks }
}

/// The cell that an arm's verdict rests on, if it is on record.
fn answer_cell<'a>(model: &'a ModelRecord, verdict: &ArmVerdict) -> Option<&'a JudgedCell> {
    model
        .cells
        .iter()
        .find(|j| j.cell.key == verdict.cell)
        .or_else(|| model.cells.iter().find(|j| j.cell.arm == verdict.arm && j.cell.is_answer()))
}

/// The arms that have cells, the exact arm first.
fn arms(model: &ModelRecord) -> Vec<Arm> {
    [Arm::Exact, Arm::Native].into_iter().filter(|arm| model.cells.iter().any(|j| j.cell.arm == *arm)).collect()
}
