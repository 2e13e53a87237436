//! The sentences of every reason, wanted and found.

use super::*;

const CHANGES: Changes = Changes { changed: 20, zero_sign: 3, minus_zero: 0, n: 2000, subject: TargetValues::Weights };
const EFFECT: EffectFacts = EffectFacts { kld_mean: 0.00637, kld_se: Some(0.0004), same_top: 0.95 };

fn floor(ratio: Option<f64>, borrowed_from: Option<&str>) -> FloorFacts {
    FloorFacts { kld_mean_max: 0.00533, ratio, borrowed_from: borrowed_from.map(String::from) }
}

#[test]
fn every_reason_has_its_sentence() {
    let same = "the logits of all 255 positions are bit-identical";
    let (n, n_scored, scheme) = (2000, 255, || "bf16".to_string());
    let (weights, nodes) = (TargetValues::Weights, TargetValues::Activations);
    let borrowed = "; its own floor was not measured, this is the floor of ffn, an upper bound in practice";
    let changes = "20 of 2,000 values change (3 from −0 to +0)";
    let effect = "KLD 0.00637 ± 4.00e-4 nats, same top 95.00 %";
    let cases = [
        (Reason::NotMeasured { failure: None }, "not measured".into()),
        (Reason::NotMeasured { failure: Some("died\nof it".into()) }, "not measured: died".into()),
        (
            Reason::Withheld { control: "A/A".into(), outcome: ControlOutcome::NotMeasured },
            "withheld, because the control \"A/A\" was not measured".into(),
        ),
        (
            Reason::ChainBroken { link: BrokenLink::EffectWithoutUse },
            "the chain of evidence does not hold: the graph uses none of the tensors, yet logits differ".into(),
        ),
        (Reason::NothingEdited { n_scored }, format!("nothing was edited and {same}")),
        (
            Reason::SignOfZeros { n, zero_sign: 3, minus_zero: 0, n_scored },
            format!("no value of 2,000 changes but the sign of zeros (3 from −0 to +0); {same}"),
        ),
        (
            Reason::WrittenBack { n, subject: nodes, n_scored },
            format!("2,000 values of activations written back: no byte changes, {same}"),
        ),
        (
            Reason::OnGrid { n, n_targets: 2, subject: weights, scheme: scheme(), n_scored },
            format!("all 2,000 values of 2 tensors are on the grid of bf16 already: no byte changes, {same}"),
        ),
        (
            Reason::Unused { n_targets: 1, subject: nodes },
            "the graph uses none of the 1 graph node, so their values do not matter".into(),
        ),
        (
            Reason::CarrierRounded { carrier_rounded: 7, n, scheme: scheme() },
            "the carrier rounded 7 of 2,000 values away from what bf16 asked for: what was measured is not the scheme"
                .into(),
        ),
        (Reason::NoFloor, "its perturbation floor was not measured".into()),
        (Reason::NoLogitDiffers { changes: CHANGES }, format!("{changes}, and no logit differs in any bit")),
        (
            Reason::NearFloor { changes: CHANGES, kld_mean: 0.00637, floor: floor(Some(1.195), None) },
            format!(
                "{changes}; KLD 0.00637 nats is 1.20 × the largest jitter seed (0.00533 nats): not distinguishable \
                 from moving the same weights by one ulp"
            ),
        ),
        (
            Reason::NearFloor { changes: CHANGES, kld_mean: 0.00637, floor: floor(Some(1.195), Some("ffn")) },
            format!(
                "{changes}; KLD 0.00637 nats is 1.20 × the largest jitter seed (0.00533 nats): not distinguishable \
                 from moving the whole target by one ulp{borrowed}"
            ),
        ),
        (
            Reason::NearFloor {
                changes: Changes { zero_sign: 0, subject: nodes, ..CHANGES },
                kld_mean: 0.00637,
                floor: floor(Some(1.195), None),
            },
            "20 of 2,000 values of activations change; KLD 0.00637 nats is 1.20 × the largest jitter seed (0.00533 \
             nats): not distinguishable from moving the same values by one ulp"
                .into(),
        ),
        (
            Reason::ZeroLikeFloor { changes: CHANGES, floor: floor(None, None) },
            format!("{changes}; KLD is 0, and so is the floor"),
        ),
        (
            Reason::AboveFloor { changes: CHANGES, effect: EFFECT, floor: floor(Some(49.0), Some("ffn")) },
            format!("{changes}; {effect}, 49.0 × the largest jitter seed (0.00533 nats){borrowed}"),
        ),
        (
            Reason::AboveFloor { changes: CHANGES, effect: EFFECT, floor: floor(None, None) },
            format!("{changes}; {effect}, and moving the target by one ulp changes nothing"),
        ),
        (Reason::Seen { changes: CHANGES, effect: EFFECT }, format!("{changes}; {effect}")),
        (Reason::from("as stated"), "as stated".into()),
    ];
    for (reason, wanted) in cases {
        assert_eq!(reason.to_string(), wanted);
        let json = serde_json::to_string(&reason).expect("prints");
        assert_eq!(serde_json::from_str::<Reason>(&json).expect("reads"), reason, "{json}");
    }
}

#[test]
fn everything_wanted_of_a_control_has_its_words() {
    for (wanted, words) in [
        (Wanted::SameLogits, "logits bit-identical"),
        (Wanted::SameBytesAndLogits, "bytes and logits bit-identical"),
        (Wanted::Effect { kld_mean: 0.01, floor_ratio: 10.0 }, "KLD at least 0.01 nats and 10 × the floor"),
        (Wanted::SameValues, "measured, values unchanged"),
        (Wanted::EverySeed, "every seed measured, on the variant's own windows"),
        (Wanted::WeightsRestored, "every touched weight hashes the same before and after each measurement"),
        (Wanted::ReferenceRepeats, "the reference's logits hash the same whenever a window is measured"),
        (Wanted::FileUnchanged, "the model file hashes the same before and after the run"),
        (Wanted::ChainsHold, "prediction, bytes, activations, logits and metrics agree in every cell"),
        (Wanted::from("as stated"), "as stated"),
    ] {
        assert_eq!(wanted.to_string(), words);
    }
}

#[test]
fn every_link_and_finding_has_its_words() {
    let links = [
        (BrokenLink::Reported { asked: 2, reported: 1 }, "2 edits asked for, 1 reported"),
        (
            BrokenLink::OtherTensor { asked: "a".into(), reported: "b".into() },
            "tensor a was asked for and b was reported",
        ),
        (BrokenLink::ReadBack { tensor: "a".into() }, "what was read back of a is not what was written"),
        (
            BrokenLink::Prediction {
                predicted: 1000,
                predicted_zero_sign: 1,
                predicted_minus_zero: 0,
                changed: 999,
                zero_sign: 2,
                minus_zero: 0,
            },
            "1,000 values were predicted to change (1 from −0 to +0) and 999 did (2)",
        ),
        (BrokenLink::Size { file: 201, engine: 200 }, "the file has 201 values and the engine 200"),
        (BrokenLink::BytesWithoutValues { bytes: 1 }, "no value changes, yet 1 byte in the engine does"),
        (BrokenLink::ValuesWithoutBytes { values: 20 }, "20 values change, yet no byte in the engine does"),
        (
            BrokenLink::EffectWithoutBytes { activations: 1, logits_changed: 2, n_scored: 1000 },
            "no byte changes, yet 1 activation and the logits of 2 of 1,000 positions do",
        ),
        (BrokenLink::LogitsWithoutActivations, "no activation behind the tensors changes, yet logits differ"),
        (BrokenLink::MetricWithoutLogits, "all logits are bit-identical, yet a metric is not zero"),
    ];
    for (link, wanted) in links {
        assert_eq!(link.to_string(), wanted);
    }
    let seeds = [(Some(0.01), None), (None, Some("died\nthen")), (None, None)];
    let seeds = seeds.iter().zip(1..).map(|((kld_mean, failure), seed)| SeedFound {
        seed,
        kld_mean: *kld_mean,
        failure: failure.map(String::from),
    });
    let hashes = || ("aa".to_owned(), "bb".to_owned());
    let ((before, after), (first, now), (old, new)) = (hashes(), hashes(), hashes());
    let faults = vec![
        FaultFound::WeightsChanged { before, after },
        FaultFound::ReferenceChanged { window: 3, before: first, after: now },
        FaultFound::FileChanged { before: old, after: new },
    ];
    let found = [
        (Found::Cell { reason: Reason::NoFloor }, "its perturbation floor was not measured"),
        (Found::RuntimePart { effect: EFFECT }, "the runtime's part: KLD 0.00637 ± 4.00e-4 nats, same top 95.00 %"),
        (
            Found::Effect { effect: EFFECT, floor_kld_mean_max: 0.00533 },
            "KLD 0.00637 ± 4.00e-4 nats, same top 95.00 %, floor 0.00533 nats",
        ),
        (
            Found::Seeds { seeds: seeds.collect() },
            "seed 1: KLD 0.0100 nats; seed 2: not measured: died; seed 3: not measured",
        ),
        (
            Found::NothingToSee { reason: Reason::Unused { n_targets: 3, subject: TargetValues::Weights } },
            "nothing to be seen: the graph uses none of the 3 tensors, so their values do not matter",
        ),
        (Found::NoFloor, "the floor that it is compared with was not measured"),
        (Found::AsWanted, "as expected"),
        (
            Found::Faults { faults },
            "aa before, bb after; window 3: logits aa at first, bb now; the file's hash is another one now",
        ),
        (Found::Chains { broken: 0, n: 18, first: None }, "18 of 18 hold"),
        (
            Found::Chains { broken: 1, n: 18, first: Some(BrokenLink::EffectWithoutUse) },
            "1 of 18 do not; the first: the graph uses none of the tensors, yet logits differ",
        ),
    ];
    for (found, wanted) in found {
        assert_eq!(found.to_string(), wanted);
    }
}
