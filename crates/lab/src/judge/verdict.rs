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
            let has_signs = matches!(tensor.type_variant.as_str(), "f32" | "f16" | "bf16");
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

#[cfg(test)]
mod tests {
    use super::*;
    use record::{ActivationEvidence, Arm, Base, Carrier, Edit, TensorEvidence};
    use record::{CELL_FORMAT, MetricValues, Predicted, StageName};

    /// The numbers of a cell with one window.
    fn values(kld_mean: f64) -> MetricValues {
        MetricValues::from([
            ("ppl", 10.0),
            ("ppl_ref", 10.0),
            ("dlnppl", 0.0),
            ("dlnppl_se_iid", 0.0),
            ("kld_mean", kld_mean),
            ("kld_se_iid", 0.0),
            ("kld_median", kld_mean),
            ("kld_p99", kld_mean),
            ("kld_max", kld_mean),
            ("same_top", 0.956),
            ("logits_changed", 255.0),
        ])
    }

    /// A cell with two tensors of 100 values. In each, 10 values change, and activations and logits differ.
    fn cell(kld_mean: f64) -> CellRecord {
        let names = ["blk.0.ffn_norm.weight", "blk.1.ffn_norm.weight"];
        let tensor = |name: &str| TensorEvidence {
            tensor: name.into(),
            type_base: "f32".into(),
            type_variant: "f32".into(),
            n: 100,
            changed: 10,
            zero_sign: 0,
            minus_zero: 0,
            carrier_rounded: 0,
            rounding_rel_rmse: None,
            rel_rmse: 1e-3,
            changed_bytes: 20,
            read_back: true,
            consumers: 1,
        };
        let edit = |name: &str| Edit::of_weight(name, "bf16", Carrier::F32);
        CellRecord {
            format: CELL_FORMAT,
            key: "key".into(),
            stage: StageName::of("all_layers"),
            stated_extent: None,
            role: Role::Variant,
            arm: Arm::Exact,
            target: "ffn_norm".into(),
            scheme: "bf16".into(),
            layers: vec![0, 1],
            base: Base { arm: Arm::Exact, carried: vec![] },
            edits: names.map(edit).to_vec(),
            chunks: vec![0],
            measured: Measured::new(1, 255, values(kld_mean)).ok(),
            evidence: EvidenceChain {
                requested: "ffn_norm=bf16".into(),
                matched: 2,
                predicted: Some(Predicted { n: 200, changed: 20, ..Predicted::default() }),
                tensors: names.map(tensor).to_vec(),
                activations: watched(2, 255),
                logits_changed: 255,
                n_scored: 255,
            },
            failure: None,
            nonfinite: false,
        }
    }

    /// Two watched activations, of which some changed, in a window with some logits that did.
    fn watched(changed: usize, logits_changed: usize) -> Option<ActivationEvidence> {
        Some(ActivationEvidence { watched: 2, changed, logits_changed: Some(logits_changed) })
    }

    /// A cell in which no value changes and no logit differs.
    fn untouched() -> CellRecord {
        let mut cell = cell(0.0);
        for tensor in &mut cell.evidence.tensors {
            (tensor.changed, tensor.changed_bytes, tensor.rel_rmse) = (0, 0, 0.0);
        }
        predicted(&mut cell).changed = 0;
        cell.evidence.activations = watched(0, 0);
        cell.evidence.logits_changed = 0;
        if let Some(measured) = &mut cell.measured {
            measured.set("logits_changed", 0.0);
            measured.set("same_top", 1.0);
        }
        cell
    }

    fn floor(kld_mean_max: f64, cell: &CellRecord, target: &str) -> Floor {
        let kld = cell.measured.as_ref().expect("measured").kld().mean;
        let ratio = (kld_mean_max > 0.0).then(|| kld / kld_mean_max);
        Floor { kld_mean_by_seed: vec![(1, kld_mean_max)], kld_mean_max, ratio, target: target.into() }
    }

    fn verdict(cell: &CellRecord, kld_floor: f64) -> (Verdict, Reason) {
        judge(cell, Some(&floor(kld_floor, cell, "ffn_norm")))
    }

    /// The changes in [`cell`].
    const CHANGES: Changes =
        Changes { changed: 20, zero_sign: 0, minus_zero: 0, n: 200, subject: TargetValues::Weights };

    fn predicted(cell: &mut CellRecord) -> &mut Predicted {
        cell.evidence.predicted.as_mut().expect("a weight's")
    }

    #[test]
    fn an_effect_is_real_from_twice_its_floor_on() {
        assert_eq!(verdict(&cell(0.0199), 0.01).0, Verdict::BelowFloor);
        assert_eq!(verdict(&cell(0.02), 0.01).0, Verdict::Real);
        let (below, why) = verdict(&cell(0.00637), 0.00533);
        assert_eq!(below, Verdict::BelowFloor);
        let of = FloorFacts { kld_mean_max: 0.00533, ratio: Some(0.00637 / 0.00533), borrowed_from: None };
        assert_eq!(why, Reason::NearFloor { changes: CHANGES, kld_mean: 0.00637, floor: of });
    }

    #[test]
    fn a_floor_of_zero_makes_any_effect_real_and_no_effect_below_it() {
        assert_eq!(verdict(&cell(1e-9), 0.0).0, Verdict::Real);
        assert_eq!(verdict(&cell(0.0), 0.0).0, Verdict::BelowFloor);
    }

    #[test]
    fn a_variant_without_a_floor_is_not_judged() {
        assert_eq!(judge(&cell(1.0), None).0, Verdict::Broken);
    }

    #[test]
    fn a_borrowed_floor_is_named() {
        let mut layer = cell(0.001);
        layer.target = "ffn_norm[layers=1]".into();
        let (verdict, why) = judge(&layer, Some(&floor(0.005, &layer, "ffn_norm")));
        assert_eq!(verdict, Verdict::BelowFloor);
        let Reason::NearFloor { floor, .. } = why else { panic!("{why}") };
        assert_eq!(floor.borrowed_from.as_deref(), Some("ffn_norm"));
    }

    #[test]
    fn values_on_the_grid_are_a_no_op_and_signs_of_zeros_are_told() {
        let (verdict, why) = judge(&untouched(), None);
        assert_eq!(verdict, Verdict::NoOp);
        let subject = TargetValues::Weights;
        assert_eq!(why, Reason::OnGrid { n: 200, n_targets: 2, subject, scheme: "bf16".into(), n_scored: 255 });
        let mut zeros = untouched();
        predicted(&mut zeros).zero_sign = 3;
        (zeros.evidence.tensors[0].zero_sign, zeros.evidence.tensors[0].changed_bytes) = (3, 3);
        let (verdict, why) = judge(&zeros, None);
        assert_eq!(verdict, Verdict::NoOp);
        assert_eq!(why, Reason::SignOfZeros { n: 200, zero_sign: 3, minus_zero: 0, n_scored: 255 });
        let mut minus = untouched();
        (predicted(&mut minus).minus_zero, minus.evidence.tensors[0].minus_zero) = (5, 5);
        minus.evidence.tensors[0].changed_bytes = 5;
        let (verdict, why) = judge(&minus, None);
        assert_eq!(verdict, Verdict::NoOp, "+0 → −0 changes no value");
        assert_eq!(why, Reason::SignOfZeros { n: 200, zero_sign: 0, minus_zero: 5, n_scored: 255 });
        minus.evidence.tensors[0].changed_bytes = 0;
        minus.evidence.tensors[0].type_variant = "f32".into();
        let broken = BrokenLink::ValuesWithoutBytes { values: 5 };
        assert_eq!(contradiction(&minus), Some(broken), "F32 has signs of zeros");
        (minus.evidence.tensors[0].type_base, minus.evidence.tensors[0].type_variant) = ("q4_0".into(), "q4_0".into());
        assert_eq!(judge(&minus, None).0, Verdict::NoOp, "blocks have none");
        predicted(&mut minus).minus_zero = 4;
        assert!(matches!(contradiction(&minus), Some(BrokenLink::Prediction { predicted_minus_zero: 4, .. })));
    }

    #[test]
    fn a_carrier_that_rounds_is_substituted_and_an_unused_target_dead() {
        let mut rounded = cell(1.0);
        rounded.evidence.tensors[1].carrier_rounded = 7;
        let why = Reason::CarrierRounded { carrier_rounded: 7, n: 200, scheme: "bf16".into() };
        assert_eq!(verdict(&rounded, 0.0), (Verdict::Substituted, why));
        let mut dead = untouched();
        predicted(&mut dead).changed = 20;
        for tensor in &mut dead.evidence.tensors {
            (tensor.changed, tensor.changed_bytes, tensor.consumers) = (10, 20, 0);
        }
        let why = Reason::Unused { n_targets: 2, subject: TargetValues::Weights };
        assert_eq!(verdict(&dead, 0.0), (Verdict::Dead, why));
    }

    #[test]
    fn a_change_that_no_logit_shows_is_below_the_floor() {
        let mut absorbed = cell(0.0);
        absorbed.evidence.logits_changed = 0;
        assert_eq!(verdict(&absorbed, 0.01), (Verdict::BelowFloor, Reason::NoLogitDiffers { changes: CHANGES }));
    }

    #[test]
    fn every_contradiction_in_the_chain_is_broken_and_named() {
        type Plant = (fn(&mut CellRecord), BrokenLink);
        let names = ["blk.0.ffn_norm.weight", "blk.1.ffn_norm.weight"].map(String::from);
        let prediction = BrokenLink::Prediction {
            predicted: 21,
            predicted_zero_sign: 0,
            predicted_minus_zero: 0,
            changed: 20,
            zero_sign: 0,
            minus_zero: 0,
        };
        let other = BrokenLink::OtherTensor { asked: names[0].clone(), reported: "output.weight".into() };
        let plants: [Plant; 9] = [
            (|cell| predicted(cell).changed += 1, prediction),
            (|cell| predicted(cell).n += 1, BrokenLink::Size { file: 201, engine: 200 }),
            (|cell| cell.evidence.tensors[1].read_back = false, BrokenLink::ReadBack { tensor: names[1].clone() }),
            (|cell| drop(cell.evidence.tensors.pop()), BrokenLink::Reported { asked: 2, reported: 1 }),
            (|cell| cell.evidence.tensors[0].tensor = "output.weight".into(), other),
            (
                |cell| cell.evidence.tensors.iter_mut().for_each(|tensor| tensor.changed_bytes = 0),
                BrokenLink::ValuesWithoutBytes { values: 20 },
            ),
            (
                |cell| cell.evidence.tensors.iter_mut().for_each(|tensor| tensor.consumers = 0),
                BrokenLink::EffectWithoutUse,
            ),
            (|cell| cell.evidence.activations = watched(0, 255), BrokenLink::LogitsWithoutActivations),
            (|cell| cell.evidence.logits_changed = 0, BrokenLink::MetricWithoutLogits),
        ];
        for (plant, link) in plants {
            let mut cell = cell(1.0);
            assert_eq!(contradiction(&cell), None);
            plant(&mut cell);
            assert_eq!(verdict(&cell, 0.0), (Verdict::Broken, Reason::ChainBroken { link }));
        }
    }

    #[test]
    fn an_edit_that_first_matters_behind_the_watched_window_is_no_contradiction() {
        let mut late = cell(1.0);
        late.evidence.activations = watched(0, 0);
        late.evidence.logits_changed = 100;
        assert_eq!(contradiction(&late), None);
        assert_eq!(verdict(&late, 1e-6).0, Verdict::Real);
    }

    #[test]
    fn logits_that_move_though_nothing_was_changed_are_broken_unless_the_type_changed() {
        let mut restless = untouched();
        restless.evidence.logits_changed = 1;
        assert_eq!(judge(&restless, None).0, Verdict::Broken);
        restless.evidence.tensors[0].type_base = "q4_K".into();
        restless.evidence.activations = watched(2, 255);
        assert_eq!(contradiction(&restless), None);
        let mut stray = untouched();
        stray.evidence.tensors[0].changed_bytes = 1;
        assert_eq!(contradiction(&stray), Some(BrokenLink::BytesWithoutValues { bytes: 1 }));
    }
}
