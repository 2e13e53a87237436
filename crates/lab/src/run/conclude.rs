//! From finished cells to the record of a model and its answer. Everything here is a pure function.

use crate::judge::evidence::floor;
use crate::judge::verdict::judge;
use crate::run::model_file::{Census, ModelFile};
use record::sentence::withholding;
use record::store::CellSamples;
use record::store::lock::LockedEngine;
use record::{ArmVerdict, CellRecord, ControlRecord, Floor, JudgedCell, ModelRecord, Note, Reason, Role, Verdict};
use std::collections::BTreeMap;

/// What is known about one model when its measurements have ended.
pub(crate) struct Ended<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The model as read from its file.
    pub(crate) model: &'a ModelFile,
    /// The census of the model.
    pub(crate) census: &'a Census,
    /// What the engine reported about the model.
    pub(crate) engine: &'a LockedEngine,
    /// What a reader should know of the text and the windows.
    pub(crate) notes: Vec<Note>,
    /// The cells that are finished or have failed, in the order of the method.
    pub(crate) cells: Vec<CellRecord>,
    /// The samples by key of the cell.
    pub(crate) samples: &'a BTreeMap<String, CellSamples>,
    /// The controls of the model.
    pub(crate) controls: Vec<ControlRecord>,
}

impl Ended<'_> {
    /// The record of the model, with every cell judged.
    pub(crate) fn record(self) -> ModelRecord {
        let Ended { name, model, census, engine, notes, cells, samples, controls } = self;
        let cells = judge_cells(cells, samples, &controls);
        let verdicts = arm_verdicts(&cells);
        ModelRecord {
            name: name.into(),
            arch: model.arch.clone(),
            file_blake3: model.locked.file_blake3.clone(),
            file_bytes: model.locked.file_bytes,
            types: model.types.clone(),
            engine: engine.info.clone(),
            precision: census.precision.clone(),
            notes,
            census: census.rows.clone(),
            census_nodes: census.n_nodes,
            census_fallbacks: census.fallbacks.clone(),
            census_summary: None,
            cells,
            controls,
            verdicts,
            sentence: None,
        }
    }
}

/// Judges every cell. When a control does not hold, the results are withheld and no variant keeps its class.
fn judge_cells(
    cells: Vec<CellRecord>,
    samples: &BTreeMap<String, CellSamples>,
    controls: &[ControlRecord],
) -> Vec<JudgedCell> {
    let withholding = withholding(controls);
    let floors: Vec<Option<Floor>> = cells.iter().map(|cell| floor_of(cell, &cells, samples)).collect();
    cells
        .into_iter()
        .zip(floors)
        .map(|(cell, floor)| {
            let (verdict, why) = match (cell.role, withholding) {
                (Role::Variant, Some(control)) => {
                    (Verdict::Broken, Reason::Withheld { control: control.name.clone(), outcome: control.outcome() })
                }
                _ => judge(&cell, floor.as_ref()),
            };
            JudgedCell { cell, floor, verdict, why }
        })
        .collect()
}

/// The floor of a variant, from the jitter on the same reference and the same windows.
fn floor_of(cell: &CellRecord, cells: &[CellRecord], samples: &BTreeMap<String, CellSamples>) -> Option<Floor> {
    if cell.role != Role::Variant {
        return None;
    }
    let kld_mean = cell.measured.as_ref()?.kld().mean;
    let jitter = cells.iter().filter(|other| other.base == cell.base && other.measured.is_some());
    let seeds: Vec<(u64, &str, &CellSamples)> = jitter
        .filter_map(|other| match other.role {
            Role::Jitter { seed } => Some((seed, other.target.as_str(), samples.get(&other.key)?)),
            _ => None,
        })
        .collect();
    let target = seeds.first().map(|(_, target, _)| *target)?;
    let seeds: Vec<(u64, &CellSamples)> = seeds.into_iter().map(|(seed, _, samples)| (seed, samples)).collect();
    floor(&cell.chunks, kld_mean, &seeds, target)
}

/// The verdicts on the whole target, one for each arm that was measured.
fn arm_verdicts(cells: &[JudgedCell]) -> Vec<ArmVerdict> {
    cells
        .iter()
        .filter(|judged| judged.cell.is_answer())
        .map(|judged| ArmVerdict {
            arm: judged.cell.arm,
            verdict: judged.verdict,
            why: judged.why.clone(),
            cell: judged.cell.key.clone(),
        })
        .collect()
}
