//! What a cell's evidence amounts to (DESIGN §9). Pure functions of the record.
//!
//! The chain is walked from request to logits. A link that contradicts another makes the cell `BROKEN`, whatever
//! the metric says; only a chain that holds is classified.

use record::Place;
use record::{CellRecord, EvidenceChain, Floor, Measured, Role, Verdict};
use words::{about_times, count, divergence, first_line, nats, plural, share};

pub use record::FLOOR_FACTOR;

/// Sums over the tensors of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub n: u64,
    pub changed: u64,
    pub zero_sign: u64,
    pub carrier_rounded: u64,
    pub changed_bytes: u64,
    pub unused: usize,
}

impl Found {
    /// Sums over what a cell edits. The KV cache rounds whatever enters it, the reference's values too: that is no carrier.
    pub(crate) fn of_cell(cell: &CellRecord) -> Found {
        let found = Found::of(&cell.evidence);
        if is_computed(cell) { Found { carrier_rounded: 0, ..found } } else { found }
    }

    fn of(chain: &EvidenceChain) -> Found {
        let mut found = Found::default();
        for tensor in &chain.tensors {
            found.n += tensor.n;
            found.changed += tensor.changed;
            found.zero_sign += tensor.zero_sign;
            found.carrier_rounded += tensor.carrier_rounded;
            found.changed_bytes += tensor.changed_bytes;
            found.unused += usize::from(tensor.consumers == 0);
        }
        found
    }
}

/// The first link of the chain that contradicts another, in words; `None` when the chain holds.
pub fn contradiction(cell: &CellRecord) -> Option<String> {
    let chain = &cell.evidence;
    let found = Found::of_cell(cell);
    if chain.tensors.len() != cell.edits.len() {
        return Some(format!("{} edits were asked for and {} were reported", cell.edits.len(), chain.tensors.len()));
    }
    if let Some((edit, tensor)) =
        cell.edits.iter().zip(&chain.tensors).find(|(edit, tensor)| edit.tensor != tensor.tensor)
    {
        return Some(format!("tensor {} was asked for and {} was reported", edit.tensor, tensor.tensor));
    }
    if let Some(tensor) = chain.tensors.iter().find(|tensor| !tensor.read_back) {
        return Some(format!("what was read back of {} is not what was written", tensor.tensor));
    }
    if let Some(predicted) = &chain.predicted
        && (found.changed, found.zero_sign) != (predicted.changed, predicted.zero_sign)
    {
        return Some(format!(
            "{} values were predicted to change ({} from −0 to +0) and {} did ({})",
            count(predicted.changed),
            count(predicted.zero_sign),
            count(found.changed),
            count(found.zero_sign)
        ));
    }
    if let Some(predicted) = &chain.predicted
        && found.n != predicted.n
    {
        return Some(format!("the file has {} values and the engine {}", count(predicted.n), count(found.n)));
    }
    let asked = found.changed + found.zero_sign;
    if asked == 0 && found.carrier_rounded == 0 && found.changed_bytes > 0 {
        return Some(format!("no value changes, yet {} bytes in the engine do", count(found.changed_bytes)));
    }
    if asked > 0 && found.carrier_rounded == 0 && found.changed_bytes == 0 {
        return Some(format!("{} values change, yet no byte in the engine does", count(asked)));
    }
    let activations = chain.activations.as_ref().map_or(0, |activations| activations.changed);
    // Another type brings other kernels, which move logits though every value stays: that is the carrier control.
    let is_retyped = chain.tensors.iter().any(|tensor| tensor.type_base != tensor.type_variant);
    if found.changed_bytes == 0 && !is_retyped && (activations > 0 || chain.logits_changed > 0) {
        return Some(format!(
            "no byte changes, yet {activations} activations and the logits of {} of {} positions do",
            count(chain.logits_changed as u64),
            count(chain.n_scored as u64)
        ));
    }
    if found.unused == chain.tensors.len() && chain.logits_changed > 0 {
        return Some("the graph uses none of the tensors, yet logits differ".into());
    }
    if let Some(activations) = &chain.activations
        && activations.watched > 0
        && activations.changed == 0
        && chain.logits_changed > 0
    {
        return Some("no activation behind the tensors changes, yet logits differ".into());
    }
    if let Some(measured) = &cell.measured
        && chain.logits_changed == 0
        && (measured.kld_max() != 0.0 || measured.dlnppl().mean != 0.0)
    {
        return Some("all logits are bit-identical, yet a metric is not zero".into());
    }
    None
}

/// Whether a cell edits what is computed: nothing of it is in the file, and its evidence is of the first window.
fn is_computed(cell: &CellRecord) -> bool {
    !cell.edits.is_empty() && cell.edits.iter().all(|edit| edit.place == Place::Activation)
}

/// Classifies a cell, with the reason in one sentence.
///
/// `floor` is `None` for controls; one of another target than the cell's is said to be borrowed.
pub fn judge(cell: &CellRecord, floor: Option<&Floor>) -> (Verdict, String) {
    if let Some(failure) = &cell.failure {
        return (Verdict::Broken, format!("not measured: {}", first_line(failure)));
    }
    let Some(measured) = &cell.measured else { return (Verdict::Broken, "not measured".into()) };
    if let Some(link) = contradiction(cell) {
        return (Verdict::Broken, format!("the chain of evidence does not hold: {link}"));
    }
    let chain = &cell.evidence;
    let found = Found::of_cell(cell);
    let is_computed = is_computed(cell);
    let of_window = if is_computed { " of the first window" } else { "" };
    let tensors = plural(chain.tensors.len(), if is_computed { "graph node" } else { "tensor" });
    let zero_sign = match found.zero_sign {
        0 => String::new(),
        n => format!(" ({} from −0 to +0)", count(n)),
    };

    if chain.logits_changed == 0 && found.changed == 0 && found.carrier_rounded == 0 {
        let same = format!("the logits of all {} positions are bit-identical", count(chain.n_scored as u64));
        let n = count(found.n);
        let why = if chain.tensors.is_empty() {
            format!("nothing was edited and {same}")
        } else if found.zero_sign > 0 {
            format!("no value of {n} changes but the sign of zeros{zero_sign}; {same}")
        } else if cell.role == Role::Identity {
            format!("{n} values{of_window} written back: no byte changes, {same}")
        } else {
            let scheme = &cell.scheme;
            format!(
                "all {n} values of {tensors}{of_window} are on the grid of {scheme} already: no byte changes, {same}"
            )
        };
        return (Verdict::NoOp, why);
    }
    if !chain.tensors.is_empty() && found.unused == chain.tensors.len() {
        return (Verdict::Dead, format!("the graph uses none of the {tensors}, so their values do not matter"));
    }
    if found.carrier_rounded > 0 {
        let why = format!(
            "the carrier rounded {} of {} values away from what {} asked for: what was measured is not the scheme",
            count(found.carrier_rounded),
            count(found.n),
            cell.scheme
        );
        return (Verdict::Substituted, why);
    }
    let changes = format!("{} of {} values{of_window} change{zero_sign}", count(found.changed), count(found.n));
    match (cell.role, floor) {
        (Role::Variant, Some(floor)) => against_floor(cell, measured, floor, &changes),
        (Role::Variant, None) => (Verdict::Broken, "its perturbation floor was not measured".into()),
        _ => (Verdict::Real, format!("{changes}; {}", effect(measured))),
    }
}

fn against_floor(cell: &CellRecord, measured: &Measured, floor: &Floor, changes: &str) -> (Verdict, String) {
    let kld = measured.kld().mean;
    let borrowed = floor.target != cell.target;
    let caveat = if borrowed {
        format!("; its own floor was not measured, this is the floor of {}, an upper bound in practice", floor.target)
    } else {
        String::new()
    };
    if cell.evidence.logits_changed == 0 {
        return (Verdict::BelowFloor, format!("{changes}, and no logit differs in any bit"));
    }
    match floor.ratio {
        Some(ratio) if kld < FLOOR_FACTOR * floor.kld_mean_max => {
            let why = format!(
                "{changes}; KLD {} is {} the largest jitter seed ({}): not distinguishable from moving {} by one ulp{caveat}",
                nats(kld),
                about_times(ratio),
                nats(floor.kld_mean_max),
                if borrowed {
                    "the whole target"
                } else if is_computed(cell) {
                    "the same values"
                } else {
                    "the same weights"
                },
            );
            (Verdict::BelowFloor, why)
        }
        Some(ratio) => {
            let why = format!(
                "{changes}; {}, {} the largest jitter seed ({}){caveat}",
                effect(measured),
                about_times(ratio),
                nats(floor.kld_mean_max)
            );
            (Verdict::Real, why)
        }
        None if kld > 0.0 => (
            Verdict::Real,
            format!("{changes}; {}, and moving the target by one ulp changes nothing{caveat}", effect(measured)),
        ),
        None => (Verdict::BelowFloor, format!("{changes}; KLD is 0, and so is the floor{caveat}")),
    }
}

/// KLD with its error where there is one, and the share of equal top tokens.
pub(crate) fn effect(measured: &Measured) -> String {
    let kld = match measured.kld().se {
        Some(se) => format!("{} ± {} nats", divergence(measured.kld().mean), divergence(se)),
        None => nats(measured.kld().mean),
    };
    format!("KLD {kld}, same top {}", share(measured.same_top()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{ActivationEvidence, Arm, Base, Carrier, Edit, TensorEvidence};
    use record::{CELL_FORMAT, Predicted, StageName, Values};

    /// The numbers of a cell of one window.
    fn values(kld_mean: f64) -> Values {
        Values::from([
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

    /// Two tensors of 100 values, 10 of them changed in each, seen by activations and logits.
    fn cell(kld_mean: f64) -> CellRecord {
        let names = ["blk.0.ffn_norm.weight", "blk.1.ffn_norm.weight"];
        let tensor = |name: &str| TensorEvidence {
            tensor: name.into(),
            type_base: "f32".into(),
            type_variant: "f32".into(),
            n: 100,
            changed: 10,
            zero_sign: 0,
            carrier_rounded: 0,
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
                activations: Some(ActivationEvidence { watched: 2, changed: 2 }),
                logits_changed: 255,
                n_scored: 255,
            },
            failure: None,
        }
    }

    /// Nothing changes, nothing differs.
    fn untouched() -> CellRecord {
        let mut cell = cell(0.0);
        for tensor in &mut cell.evidence.tensors {
            (tensor.changed, tensor.changed_bytes, tensor.rel_rmse) = (0, 0, 0.0);
        }
        predicted(&mut cell).changed = 0;
        cell.evidence.activations = Some(ActivationEvidence { watched: 2, changed: 0 });
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

    fn verdict(cell: &CellRecord, kld_floor: f64) -> (Verdict, String) {
        judge(cell, Some(&floor(kld_floor, cell, "ffn_norm")))
    }

    fn predicted(cell: &mut CellRecord) -> &mut Predicted {
        cell.evidence.predicted.as_mut().expect("a weight's")
    }

    #[test]
    fn an_effect_is_real_from_twice_its_floor_on() {
        assert_eq!(verdict(&cell(0.0199), 0.01).0, Verdict::BelowFloor);
        assert_eq!(verdict(&cell(0.02), 0.01).0, Verdict::Real);
        let (below, why) = verdict(&cell(0.00637), 0.00533);
        assert_eq!(below, Verdict::BelowFloor);
        assert_eq!(
            why,
            "20 of 200 values change; KLD 0.00637 nats is 1.2 × the largest jitter seed (0.00533 nats): not \
             distinguishable from moving the same weights by one ulp"
        );
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
        assert!(why.contains("its own floor was not measured, this is the floor of ffn_norm"), "{why}");
    }

    #[test]
    fn values_on_the_grid_are_a_no_op_and_signs_of_zeros_are_told() {
        let (verdict, why) = judge(&untouched(), None);
        assert_eq!(verdict, Verdict::NoOp);
        assert!(why.contains("all 200 values of 2 tensors are on the grid of bf16 already"), "{why}");
        let mut zeros = untouched();
        predicted(&mut zeros).zero_sign = 3;
        (zeros.evidence.tensors[0].zero_sign, zeros.evidence.tensors[0].changed_bytes) = (3, 3);
        let (verdict, why) = judge(&zeros, None);
        assert_eq!(verdict, Verdict::NoOp);
        assert!(why.contains("3 from −0 to +0"), "{why}");
    }

    #[test]
    fn a_carrier_that_rounds_is_substituted_and_an_unused_target_dead() {
        let mut rounded = cell(1.0);
        rounded.evidence.tensors[1].carrier_rounded = 7;
        assert_eq!(verdict(&rounded, 0.0).0, Verdict::Substituted);
        let mut dead = untouched();
        predicted(&mut dead).changed = 20;
        for tensor in &mut dead.evidence.tensors {
            (tensor.changed, tensor.changed_bytes, tensor.consumers) = (10, 20, 0);
        }
        assert_eq!(verdict(&dead, 0.0).0, Verdict::Dead);
    }

    #[test]
    fn a_change_that_no_logit_shows_is_below_the_floor() {
        let mut absorbed = cell(0.0);
        absorbed.evidence.logits_changed = 0;
        assert_eq!(verdict(&absorbed, 0.01).0, Verdict::BelowFloor);
    }

    #[test]
    fn every_contradiction_in_the_chain_is_broken_and_named() {
        type Plant = (fn(&mut CellRecord), &'static str);
        let plants: [Plant; 9] = [
            (|cell| predicted(cell).changed += 1, "were predicted to change"),
            (|cell| predicted(cell).n += 1, "the file has 201 values"),
            (|cell| cell.evidence.tensors[1].read_back = false, "read back of blk.1.ffn_norm.weight"),
            (|cell| drop(cell.evidence.tensors.pop()), "2 edits were asked for and 1"),
            (|cell| cell.evidence.tensors[0].tensor = "output.weight".into(), "output.weight was reported"),
            (
                |cell| cell.evidence.tensors.iter_mut().for_each(|tensor| tensor.changed_bytes = 0),
                "yet no byte in the engine does",
            ),
            (
                |cell| cell.evidence.tensors.iter_mut().for_each(|tensor| tensor.consumers = 0),
                "uses none of the tensors, yet logits differ",
            ),
            (
                |cell| cell.evidence.activations = Some(ActivationEvidence { watched: 2, changed: 0 }),
                "no activation behind the tensors changes",
            ),
            (|cell| cell.evidence.logits_changed = 0, "a metric is not zero"),
        ];
        for (plant, words) in plants {
            let mut cell = cell(1.0);
            assert_eq!(contradiction(&cell), None);
            plant(&mut cell);
            let (verdict, why) = verdict(&cell, 0.0);
            assert_eq!(verdict, Verdict::Broken, "{words}");
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn logits_that_move_though_nothing_was_changed_are_broken_unless_the_type_changed() {
        let mut restless = untouched();
        restless.evidence.logits_changed = 1;
        assert_eq!(judge(&restless, None).0, Verdict::Broken);
        restless.evidence.tensors[0].type_base = "q4_K".into();
        restless.evidence.activations = Some(ActivationEvidence { watched: 2, changed: 2 });
        assert_eq!(contradiction(&restless), None);
        let mut stray = untouched();
        stray.evidence.tensors[0].changed_bytes = 1;
        assert!(contradiction(&stray).expect("broken").contains("no value changes, yet 1 bytes"));
    }
}
