//! From finished cells to a model's answer. Pure.

use crate::judge::controls::withholding;
use crate::judge::evidence::floor;
use crate::judge::verdict::judge;
use record::Arm;
use record::store::CellSamples;
use record::{ArmVerdict, CellRecord, ControlRecord, Floor, JudgedCell, Role, Stage, Verdict};
use std::collections::BTreeMap;
use words::nats;

/// Passes judgement on every cell. When a control did not hold, no variant keeps its class: the results are withheld.
pub(crate) fn judge_cells(
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

/// The jitter of the same reference on the same windows: of the cell's own target where that was measured, of the
/// whole target otherwise.
fn floor_of(cell: &CellRecord, cells: &[CellRecord], samples: &BTreeMap<String, CellSamples>) -> Option<Floor> {
    if cell.role != Role::Variant {
        return None;
    }
    let kld_mean = cell.measured.as_ref()?.kld.mean;
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

/// The verdict on the whole target, one per arm that was reached.
pub(crate) fn arm_verdicts(cells: &[JudgedCell]) -> Vec<ArmVerdict> {
    cells
        .iter()
        .filter(|judged| judged.cell.stage == Stage::AllLayers && judged.cell.role == Role::Variant)
        .map(|judged| ArmVerdict {
            arm: judged.cell.arm,
            verdict: judged.verdict,
            why: judged.why.clone(),
            cell: judged.cell.key.clone(),
        })
        .collect()
}

/// The answer for a model in one sentence, numbers included.
pub(crate) fn sentence(
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

/// What the parts cost singly, in the arm that answers the question.
fn parts_clause(cells: &[JudgedCell]) -> String {
    let parts = cells.iter().filter(|judged| judged.cell.stage == Stage::EachPart);
    let arm = parts.clone().map(|judged| judged.cell.arm).min();
    let words = parts.filter(|judged| Some(judged.cell.arm) == arm).map(|judged| {
        let kld = judged.cell.measured.as_ref().map_or("not measured".into(), |m| format!("KLD {}", nats(m.kld.mean)));
        format!("{} {kld} ({})", judged.cell.target, judged.verdict.name())
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!(" Singly: {}.", words.join("; ")) }
}

/// A no-op is only worth something when destroying the same tensors would have been seen.
fn positive_clause(cells: &[JudgedCell]) -> String {
    let positive = cells.iter().find(|judged| judged.cell.role == Role::Positive);
    positive.and_then(|judged| Some((judged, judged.cell.measured.as_ref()?))).map_or_else(
        String::new,
        |(judged, measured)| {
            format!("; the tensors do matter: {} on them costs KLD {}", judged.cell.scheme, nats(measured.kld.mean))
        },
    )
}
