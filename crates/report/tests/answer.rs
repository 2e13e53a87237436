//! The answer for a model, made of its verdicts, cells and controls.

mod fixture;

use record::{
    Arm, BrokenLink, CensusRow, Changes, EffectFacts, Extent, FloorFacts, Found, ModelRecord, Reason, Role, RunRecord,
    Subject, Verdict, Wanted,
};

/// A record as it is written today: a model on which nothing changes, and one whose native effect is below its floor.
fn today(mut record: RunRecord) -> RunRecord {
    for model in &mut record.models {
        (model.sentence, model.census_summary) = (None, None);
    }
    let (n, n_scored, subject, scheme) = (1_920, 2_040, Subject::Weights, "bf16".to_owned());
    for verdict in &mut record.models[0].verdicts {
        verdict.why = Reason::OnGrid { n, n_targets: 3, subject, scheme: scheme.clone(), n_scored };
    }
    let changes = Changes { changed: 498, zero_sign: 0, minus_zero: 0, n, subject };
    let effect = EffectFacts { kld_mean: 2.314e-5, kld_se: Some(1.157e-6), same_top: 0.956 };
    let floor = |kld_mean_max, ratio| FloorFacts { kld_mean_max, ratio: Some(ratio), borrowed_from: None };
    let verdicts = &mut record.models[1].verdicts;
    verdicts[0].why = Reason::AboveFloor { changes, effect, floor: floor(1.05e-6, 22.04) };
    verdicts[1].why = Reason::NearFloor { changes, kld_mean: 6.37e-3, floor: floor(5.33e-3, 1.195) };
    record
}

#[test]
fn the_answer_follows_from_the_verdicts_of_the_arms() {
    let record = today(fixture::two_models());
    let [no_op, real] = record.models.as_slice() else { panic!("two models") };
    let answer = |model: &ModelRecord| model.answer(&record.question);
    let said = answer(no_op);
    assert!(
        said.ends_with(
            " changes nothing, with exact weights and with the model's own kernels alike: all 1,920 values of 3 tensors are \
             on the grid of bf16 already: no byte changes, the logits of all 2,040 positions are bit-identical; the tensors \
             do matter: zero on them costs KLD 6.91 nats."
        ),
        "{said}"
    );
    let said = answer(real);
    assert!(
        said.ends_with(
            " has a real effect with exact weights, which is the effect of the scheme (REAL: 498 of 1,920 values change; KLD \
             2.31e-5 ± 1.16e-6 nats, same top 95.60 %, 22 × the largest jitter seed (1.05e-6 nats)); through the model's own \
             kernels it has no effect that stands out from its floor (BELOW-FLOOR: 498 of 1,920 values change; KLD 0.00637 \
             nats is 1.2 × the largest jitter seed (0.00533 nats): not distinguishable from moving the same weights by one \
             ulp)."
        ),
        "{said}"
    );
}

#[test]
fn one_arm_answers_alone_and_parts_are_told_singly() {
    let record = today(fixture::two_models());
    let answer = |model: &ModelRecord| model.answer(&record.question);
    let mut model = record.models[1].clone();
    model.verdicts.remove(0);
    let said = answer(&model);
    assert!(said.contains(" through the model's own kernels (BELOW-FLOOR: 498 of 1,920"), "{said}");
    model.census_fallbacks = vec![("q8_0".into(), 2)];
    assert!(answer(&model).ends_with(" Not all of it is bf16: q8_0 stands in for bf16 in 2 tensors."), "{said}");
    model.census_fallbacks.clear();
    model.verdicts.clear();
    assert_eq!(answer(&model), "Nothing was measured about bf16 on ffn_norm.");
    model.cells.retain(|judged| judged.cell.role == Role::Variant && judged.cell.arm == Arm::Exact);
    model.cells.truncate(2);
    model.cells.iter_mut().for_each(|judged| judged.cell.stated_extent = Some(Extent::Part));
    assert_eq!(
        answer(&model),
        "Nothing was measured about bf16 on ffn_norm. Singly: ffn_norm[layers=1] KLD 1.60e-5 nats (REAL); \
         ffn_norm[layers=0] not measured (BROKEN)."
    );
    // A record of format 1 states its answer.
    model.sentence = Some("As it was.".into());
    assert_eq!(answer(&model), "As it was.");
}

#[test]
fn each_class_is_a_predicate_of_the_answer() {
    let record = today(fixture::two_models());
    let mut model = record.models[1].clone();
    model.verdicts.truncate(1);
    for (class, says) in [
        (Verdict::Real, "has a real effect"),
        (Verdict::NoOp, "changes nothing"),
        (Verdict::Substituted, "could not be tested, since the carrier stored something else"),
        (Verdict::Dead, "cannot matter"),
        (Verdict::BelowFloor, "has no effect that stands out from its floor"),
        (Verdict::Broken, "could not be measured"),
    ] {
        model.verdicts[0].verdict = class;
        let (name, said) = (class.name(), model.answer(&record.question));
        assert!(said.contains(&format!(" {says} with exact weights ({name}: 498 of 1,920 values change; ")), "{said}");
    }
}

#[test]
fn a_withheld_answer_names_the_control_what_it_expected_and_what_it_found() {
    let mut record = today(fixture::withheld());
    let model = &mut record.models[1];
    let (unmeasured, failed) = (0, 1);
    let reason = Reason::NotMeasured { failure: Some("abort: n > 0".into()) };
    (model.controls[unmeasured].ok, model.controls[unmeasured].measured) = (false, false);
    model.controls[unmeasured].expected = Wanted::SameLogits;
    model.controls[unmeasured].found = Found::Cell { reason };
    let link = BrokenLink::EffectWithoutBytes { activations: 0, logits_changed: 12, n_scored: 2_040 };
    model.controls[failed].expected = Wanted::SameBytesAndLogits;
    model.controls[failed].found = Found::Cell { reason: Reason::ChainBroken { link } };
    // One that failed says more than one that was not measured.
    assert_eq!(
        model.answer(&record.question),
        "Withheld: the control \"identity write-back\" failed (expected: bytes and logits bit-identical; found: the chain of \
         evidence does not hold: no byte changes, yet 0 activations and the logits of 12 of 2,040 positions do), so nothing is \
         said about bf16 on ffn_norm."
    );
    model.controls[failed].ok = true;
    assert_eq!(
        model.answer(&record.question),
        "Withheld: the control \"A/A\" was not measured (expected: logits bit-identical; found: not measured: abort: n > 0), \
         so nothing is said about bf16 on ffn_norm."
    );
}

#[test]
fn the_census_counts_tensors_graph_nodes_and_schemes_that_stand_in() {
    let record = today(fixture::two_models());
    let mut model = record.models[1].clone();
    let stored = "3 tensors of ffn_norm: stored f32 (3 of 3), effectively 1 + BF16 (3 of 3); bf16 is predicted to change 498 \
                  of 1,920 values";
    assert_eq!(model.census_sentence(&record.question), stored);
    model.census[2] = CensusRow { ty: "f16".into(), ..model.census[2].clone() };
    let mixed = stored.replace("f32 (3 of 3)", "f32 (2 of 3), f16 (1 of 3)");
    assert_eq!(model.census_sentence(&record.question), mixed);
    model.census_nodes = 2;
    let nodes = "2 graph nodes of ffn_norm: computed, so what bf16 changes of their values is known only when they are";
    assert_eq!(model.census_sentence(&record.question), format!("{mixed}; {nodes}"));
    model.census.clear();
    model.census_nodes = 1;
    model.census_fallbacks = vec![("q8_0".into(), 1)];
    assert_eq!(
        model.census_sentence(&record.question),
        "1 graph node of ffn_norm: computed, so what bf16 changes of its values is known only when they are; q8_0 stands in \
         for bf16 in 1 tensor"
    );
    model.census_summary = Some("As it was.".into());
    assert_eq!(model.census_sentence(&record.question), "As it was.");
}
