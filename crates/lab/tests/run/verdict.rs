//! Tests of the verdict on a cell, from chains of evidence made by hand.

use lab::judge::verdict::{contradiction, judge};
use record::{
    ActivationEvidence, Arm, Base, BrokenLink, CELL_FORMAT, Carrier, CellRecord, Changes, Edit, EvidenceChain, Floor,
    FloorFacts, Measured, MetricValues, Predicted, Reason, Role, StageName, TargetValues, TensorEvidence, Verdict,
};

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
const CHANGES: Changes = Changes { changed: 20, zero_sign: 0, minus_zero: 0, n: 200, subject: TargetValues::Weights };

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
        (|cell| cell.evidence.tensors.iter_mut().for_each(|tensor| tensor.consumers = 0), BrokenLink::EffectWithoutUse),
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
