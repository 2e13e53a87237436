//! From finished cells to the record of a model and its answer. Everything here is a pure function.

use crate::judge::controls::withholding;
use crate::judge::evidence::floor;
use crate::judge::verdict::judge;
use crate::run::model_file::{Census, ModelFile};
use record::store::CellSamples;
use record::store::lock::LockedEngine;
use record::{
    Arm, ArmVerdict, CellRecord, ControlRecord, Extent, Floor, JudgedCell, ModelRecord, Question, Role, Verdict,
};
use std::collections::BTreeMap;
use words::nats;

/// Everything that is known of one model when its measurements have ended.
pub(crate) struct Ended<'a> {
    /// The name of the model.
    pub(crate) name: &'a str,
    /// The question of the run.
    pub(crate) question: &'a Question,
    /// The model as its file has it.
    pub(crate) model: &'a ModelFile,
    /// The census of the model.
    pub(crate) census: &'a Census,
    /// What the engine said about the model.
    pub(crate) engine: &'a LockedEngine,
    /// The cells that are finished or have failed, in the order of the method.
    pub(crate) cells: Vec<CellRecord>,
    /// What was measured, by the key of the cell.
    pub(crate) samples: &'a BTreeMap<String, CellSamples>,
    /// The controls.
    pub(crate) controls: Vec<ControlRecord>,
}

impl Ended<'_> {
    /// The record of the model, with every cell judged and the answer in one sentence.
    pub(crate) fn record(self) -> ModelRecord {
        let Ended { name, question, model, census, engine, cells, samples, controls } = self;
        let cells = judge_cells(cells, samples, &controls);
        let verdicts = arm_verdicts(&cells);
        let sentence = sentence((&question.target, &question.scheme), &verdicts, &cells, &controls);
        ModelRecord {
            name: name.into(),
            arch: model.arch.clone(),
            file_blake3: model.locked.file_blake3.clone(),
            file_bytes: model.locked.file_bytes,
            types: model.types.clone(),
            engine: engine.info.clone(),
            precision: census.precision.clone(),
            census: census.rows.clone(),
            census_summary: census.summary.clone(),
            cells,
            controls,
            verdicts,
            sentence,
        }
    }
}

/// Judges every cell. When a control did not hold, the results are withheld: no variant keeps its class.
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
                    (Verdict::Broken, format!("withheld, because the control {:?} {}", control.name, control.outcome()))
                }
                _ => judge(&cell, floor.as_ref()),
            };
            JudgedCell { cell, floor, verdict, why }
        })
        .collect()
}

/// The floor of a variant: the jitter on the same reference and the same windows.
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

/// The verdicts on the whole target, one for each arm that was reached.
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

/// The answer for a model in one sentence, numbers included.
fn sentence(
    requested: (&str, &str),
    verdicts: &[ArmVerdict],
    cells: &[JudgedCell],
    controls: &[ControlRecord],
) -> String {
    let (target, scheme) = requested;
    if let Some(control) = withholding(controls) {
        return format!(
            "Withheld: the control {:?} {} (expected: {}; found: {}), so nothing is said about {scheme} on {target}.",
            control.name,
            control.outcome(),
            control.expected,
            control.found
        );
    }
    let of = |arm| verdicts.iter().find(|verdict| verdict.arm == arm);
    let words = |verdict: &ArmVerdict| match verdict.verdict {
        Verdict::Real => "has a real effect",
        Verdict::NoOp => "changes nothing",
        Verdict::Substituted => "could not be tested, since the carrier held something else",
        Verdict::Dead => "cannot matter",
        Verdict::BelowFloor => "has no effect that stands out from its floor",
        Verdict::Broken => "could not be measured",
    };
    let whole = match (of(Arm::Exact), of(Arm::Native)) {
        (Some(exact), Some(native)) if exact.verdict == Verdict::NoOp && native.verdict == Verdict::NoOp => format!(
            "Holding {target} in {scheme} changes nothing, with exact weights and with the model's own kernels alike: {}{}.",
            exact.why,
            positive_clause(cells)
        ),
        (Some(exact), Some(native)) => format!(
            "Holding {target} in {scheme} {} with exact weights, which is the effect of the scheme ({}: {}); through the \
             model's own kernels it {} ({}: {}).",
            words(exact),
            exact.verdict.name(),
            exact.why,
            words(native),
            native.verdict.name(),
            native.why
        ),
        (Some(only), None) | (None, Some(only)) => {
            let kernels = match only.arm {
                Arm::Exact => "with exact weights",
                Arm::Native => "through the model's own kernels, floor included,",
            };
            format!("Holding {target} in {scheme} {} {kernels} ({}: {}).", words(only), only.verdict.name(), only.why)
        }
        (None, None) => format!("Nothing was measured about {scheme} on {target}."),
    };
    whole + &parts_clause(cells)
}

/// The clause on what each part costs singly, in the arm that answers the question.
fn parts_clause(cells: &[JudgedCell]) -> String {
    let parts = cells.iter().filter(|judged| judged.cell.extent() == Extent::Part);
    let arm = parts.clone().map(|judged| judged.cell.arm).min();
    let words = parts.filter(|judged| Some(judged.cell.arm) == arm).map(|judged| {
        let kld =
            judged.cell.measured.as_ref().map_or("not measured".into(), |m| format!("KLD {}", nats(m.kld().mean)));
        format!("{} {kld} ({})", judged.cell.target, judged.verdict.name())
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!(" Singly: {}.", words.join("; ")) }
}

/// The clause on what it costs to destroy the target. A no-op means something only where that would have been seen.
fn positive_clause(cells: &[JudgedCell]) -> String {
    let positive = cells.iter().find(|judged| judged.cell.role == Role::Positive);
    positive.and_then(|judged| Some((judged, judged.cell.measured.as_ref()?))).map_or_else(
        String::new,
        |(judged, measured)| {
            format!("; the tensors do matter: {} on them costs KLD {}", judged.cell.scheme, nats(measured.kld().mean))
        },
    )
}
