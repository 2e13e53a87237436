//! The verdict on a cell from its evidence. These are pure functions of the record.
//!
//! The chain goes from request to logits. If a link contradicts another, the cell is `BROKEN`, whatever the metric
//! says. Only a chain without contradictions is classified.

use record::EditPlace;
use record::{
    BrokenLink, CellRecord, Changes, EffectFacts, EvidenceChain, Floor, FloorFacts, Measured, Reason, Role,
    TargetValues, TensorEvidence, Verdict,
};

pub use record::FLOOR_FACTOR;

/// The sums over the tensors of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub n: u64,
    pub changed: u64,
    pub zero_sign: u64,
    pub minus_zero: u64,
    /// The number of zeros whose sign changed in storage that has signs of zeros, so that their bytes changed.
    pub stored_signs: u64,
    pub carrier_rounded: u64,
    pub changed_bytes: u64,
    pub unused: usize,
}

/// One in so many values of a tensor may be rounded by the KV cache before it counts as rounding what the scheme asked for. A
/// scheme as fine as the cache still differs from it among the subnormal values.
const STRAY_SHARE: u64 = 100;

impl Sums {
    /// The sums over what a cell edits. The KV cache rounds everything that enters it, the reference's values too. It counts as
    /// a carrier that could not store what the scheme asked for where it rounds at least as much as the scheme changes, in
    /// more than a stray value.
    pub(crate) fn of_cell(cell: &CellRecord) -> Sums {
        let found = Sums::of(&cell.evidence);
        if !is_computed(cell) {
            return found;
        }
        let undone = |tensor: &&TensorEvidence| {
            let is_as_large = tensor.rounding_rel_rmse.is_some_and(|error| error >= tensor.rel_rmse);
            is_as_large && tensor.carrier_rounded * STRAY_SHARE >= tensor.n
        };
        let carrier_rounded = cell.evidence.tensors.iter().filter(undone).map(|tensor| tensor.carrier_rounded).sum();
        Sums { carrier_rounded, ..found }
    }

    fn of(chain: &EvidenceChain) -> Sums {
        let mut found = Sums::default();
        for tensor in &chain.tensors {
            found.n += tensor.n;
            found.changed += tensor.changed;
            found.zero_sign += tensor.zero_sign;
            found.minus_zero += tensor.minus_zero;
            let has_signs = record::stores_floats(&tensor.type_variant);
            found.stored_signs += if has_signs { tensor.zero_sign + tensor.minus_zero } else { 0 };
            found.carrier_rounded += tensor.carrier_rounded;
            found.changed_bytes += tensor.changed_bytes;
            found.unused += usize::from(tensor.consumers == 0);
        }
        found
    }
}

/// The first link of the chain that contradicts another; `None` when all links agree.
pub fn contradiction(cell: &CellRecord) -> Option<BrokenLink> {
    let chain = &cell.evidence;
    let found = Sums::of_cell(cell);
    if chain.tensors.len() != cell.edits.len() {
        return Some(BrokenLink::Reported { asked: cell.edits.len(), reported: chain.tensors.len() });
    }
    if let Some((edit, tensor)) =
        cell.edits.iter().zip(&chain.tensors).find(|(edit, tensor)| edit.tensor != tensor.tensor)
    {
        return Some(BrokenLink::OtherTensor { asked: edit.tensor.clone(), reported: tensor.tensor.clone() });
    }
    if let Some(tensor) = chain.tensors.iter().find(|tensor| !tensor.read_back && !tensor.is_unused()) {
        return Some(BrokenLink::ReadBack { tensor: tensor.tensor.clone() });
    }
    if let Some(predicted) = &chain.predicted
        && (found.changed, found.zero_sign, found.minus_zero)
            != (predicted.changed, predicted.zero_sign, predicted.minus_zero)
    {
        return Some(BrokenLink::Prediction {
            predicted: predicted.changed,
            predicted_zero_sign: predicted.zero_sign,
            predicted_minus_zero: predicted.minus_zero,
            changed: found.changed,
            zero_sign: found.zero_sign,
            minus_zero: found.minus_zero,
        });
    }
    if let Some(predicted) = &chain.predicted
        && found.n != predicted.n
    {
        return Some(BrokenLink::Size { file: predicted.n, engine: found.n });
    }
    let asked = found.changed + found.zero_sign + found.minus_zero;
    if asked == 0 && found.carrier_rounded == 0 && found.changed_bytes > 0 {
        return Some(BrokenLink::BytesWithoutValues { bytes: found.changed_bytes });
    }
    let stored = found.changed + found.stored_signs;
    if stored > 0 && found.carrier_rounded == 0 && found.changed_bytes == 0 {
        return Some(BrokenLink::ValuesWithoutBytes { values: stored });
    }
    let activations = chain.activations.as_ref().map_or(0, |activations| activations.changed);
    // Another type brings other kernels, which move logits even if every value stays. The carrier control measures
    // this.
    let is_retyped = chain.tensors.iter().any(|tensor| tensor.type_base != tensor.type_variant);
    if found.changed_bytes == 0 && !is_retyped && (activations > 0 || chain.logits_changed > 0) {
        let (logits_changed, n_scored) = (chain.logits_changed as u64, chain.n_scored as u64);
        return Some(BrokenLink::EffectWithoutBytes { activations, logits_changed, n_scored });
    }
    if found.unused == chain.tensors.len() && chain.logits_changed > 0 {
        return Some(BrokenLink::EffectWithoutUse);
    }
    if let Some(activations) = &chain.activations
        && activations.watched > 0
        && activations.changed == 0
        && activations.logits_changed.is_some_and(|positions| positions > 0)
    {
        return Some(BrokenLink::LogitsWithoutActivations);
    }
    if let Some(measured) = &cell.measured
        && chain.logits_changed == 0
        && (measured.kld_max() != 0.0 || measured.dlnppl().mean != 0.0)
    {
        return Some(BrokenLink::MetricWithoutLogits);
    }
    None
}

/// Whether a cell edits computed values, which are not in the file.
fn is_computed(cell: &CellRecord) -> bool {
    !cell.edits.is_empty() && cell.edits.iter().all(|edit| edit.place == EditPlace::Activation)
}

/// Classifies a cell and gives the reason.
///
/// `floor` is `None` for controls. The reason calls a floor borrowed if its target is not the cell's own.
pub fn judge(cell: &CellRecord, floor: Option<&Floor>) -> (Verdict, Reason) {
    let Some(measured) = cell.measured.as_ref().filter(|_| cell.failure.is_none()) else {
        return (Verdict::Broken, Reason::NotMeasured { failure: cell.failure.clone() });
    };
    if let Some(link) = contradiction(cell) {
        return (Verdict::Broken, Reason::ChainBroken { link });
    }
    let chain = &cell.evidence;
    let Sums { n, changed, zero_sign, minus_zero, carrier_rounded, unused, .. } = Sums::of_cell(cell);
    let subject = if is_computed(cell) { TargetValues::Activations } else { TargetValues::Weights };
    let (n_targets, n_scored, scheme) = (chain.tensors.len(), chain.n_scored as u64, cell.scheme.clone());

    if !chain.tensors.is_empty() && unused == chain.tensors.len() {
        return (Verdict::Dead, Reason::Unused { n_targets, subject });
    }
    if chain.logits_changed == 0 && changed == 0 && carrier_rounded == 0 {
        let why = if chain.tensors.is_empty() {
            Reason::NothingEdited { n_scored }
        } else if zero_sign + minus_zero > 0 {
            Reason::SignOfZeros { n, zero_sign, minus_zero, n_scored }
        } else if cell.role == Role::Identity {
            Reason::WrittenBack { n, subject, n_scored }
        } else {
            Reason::OnGrid { n, n_targets, subject, scheme, n_scored }
        };
        return (Verdict::NoOp, why);
    }
    if carrier_rounded > 0 {
        return (Verdict::Substituted, Reason::CarrierRounded { carrier_rounded, n, scheme });
    }
    let changes = Changes { changed, zero_sign, minus_zero, n, subject };
    match (cell.role, floor) {
        (Role::Variant, Some(floor)) => against_floor(cell, measured, floor, changes),
        (Role::Variant, None) => (Verdict::Broken, Reason::NoFloor),
        _ => (Verdict::Real, Reason::Seen { changes, effect: effect(measured) }),
    }
}

fn against_floor(cell: &CellRecord, measured: &Measured, floor: &Floor, changes: Changes) -> (Verdict, Reason) {
    let kld_mean = measured.kld().mean;
    let facts = FloorFacts {
        kld_mean_max: floor.kld_mean_max,
        ratio: floor.ratio,
        borrowed_from: (floor.target != cell.target).then(|| floor.target.clone()),
    };
    if cell.evidence.logits_changed == 0 {
        return (Verdict::BelowFloor, Reason::NoLogitDiffers { changes });
    }
    match floor.ratio {
        Some(_) if kld_mean < FLOOR_FACTOR * floor.kld_mean_max => {
            (Verdict::BelowFloor, Reason::NearFloor { changes, kld_mean, floor: facts })
        }
        None if kld_mean <= 0.0 => (Verdict::BelowFloor, Reason::ZeroLikeFloor { changes, floor: facts }),
        _ => (Verdict::Real, Reason::AboveFloor { changes, effect: effect(measured), floor: facts }),
    }
}

/// The headline numbers of an effect.
pub(crate) fn effect(measured: &Measured) -> EffectFacts {
    let kld = measured.kld();
    EffectFacts { kld_mean: kld.mean, kld_se: kld.se, same_top: measured.same_top() }
}
