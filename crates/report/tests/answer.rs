//! The answer for a model, made of its verdicts, cells and controls.

mod fixture;

use record::headline::Matters;
use record::{
    Arm, BrokenLink, CellExtent, CensusRow, Changes, EffectFacts, FloorFacts, Found, ModelRecord, Question, Reason,
    Role, RunRecord, TargetValues, Verdict, Wanted, headline,
};

/// A record as it is written today: a model on which nothing changes, and one whose native effect is below its floor.
fn today(mut record: RunRecord) -> RunRecord {
    for model in &mut record.models {
        (model.sentence, model.census_summary) = (None, None);
    }
    let (n, n_scored, subject, scheme) = (1_920, 2_040, TargetValues::Weights, "bf16".to_owned());
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
    assert_eq!(
        answer(no_op),
        "No: quantizing ffn_norm to bf16 changes nothing. With exact weights and through the model's own kernels alike: all \
         1,920 values of 3 tensors are on the grid of bf16 already: no byte changes, the logits of all 2,040 positions are \
         bit-identical; the tensors do matter: setting them to zero costs KLD 6.91 nats."
    );
    assert_eq!(
        answer(real),
        "Yes: quantizing ffn_norm to bf16 has a real effect with exact weights, but none that stands out through the model's \
         own kernels. With exact weights, where only the scheme acts: REAL, because 498 of 1,920 values change; KLD 2.31e-5 \
         ± 1.16e-6 nats, same top 95.60 %, 22.0 × the largest jitter seed (1.05e-6 nats). Through the model's own kernels: \
         BELOW-FLOOR, because 498 of 1,920 values change; KLD 0.00637 nats is 1.20 × the largest jitter seed (0.00533 nats): \
         not distinguishable from moving the same weights by one ulp."
    );
}

#[test]
fn one_arm_answers_alone_and_parts_are_told_singly() {
    let record = today(fixture::two_models());
    let answer = |model: &ModelRecord| model.answer(&record.question);
    let mut model = record.models[1].clone();
    model.verdicts.remove(0);
    let said = answer(&model);
    assert!(
        said.starts_with("Not decided: quantizing ffn_norm to bf16 has no effect that stands out from its floor. "),
        "{said}"
    );
    assert!(said.contains(" Through the model's own kernels: 498 of 1,920"), "{said}");
    model.census_fallbacks = vec![("q8_0".into(), 2)];
    assert!(answer(&model).ends_with(" Not all of it is bf16: q8_0 stands in for bf16 in 2 tensors."), "{said}");
    model.census_nodes = 1;
    model.census_fallbacks = vec![("q5_0".into(), model.census.len()), ("q8_0".into(), 1)];
    let said = answer(&model);
    assert!(
        said.starts_with("Not decided: quantizing ffn_norm to q5_0 and q8_0 instead of bf16 has no effect"),
        "{said}"
    );
    assert!(said.contains(" None of it is bf16: q5_0 stands in for bf16 in "), "{said}");
    (model.census_nodes, model.census_fallbacks) = (0, Vec::new());
    model.verdicts.clear();
    assert_eq!(answer(&model), "Not decided: nothing was measured about bf16 on ffn_norm.");
    model.cells.retain(|judged| judged.cell.role == Role::Variant && judged.cell.arm == Arm::Exact);
    model.cells.truncate(2);
    model.cells.iter_mut().for_each(|judged| judged.cell.stated_extent = Some(CellExtent::Part));
    assert_eq!(
        answer(&model),
        "Not decided: nothing was measured about bf16 on ffn_norm. Singly: ffn_norm[layers=1] KLD 1.60e-5 nats (REAL); \
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
        (Verdict::Real, "Yes: quantizing ffn_norm to bf16 has a real effect."),
        (Verdict::NoOp, "No: quantizing ffn_norm to bf16 changes nothing."),
        (
            Verdict::Substituted,
            "Not decided: bf16 could not be tested on ffn_norm, since the carrier rounded what it should store.",
        ),
        (Verdict::Dead, "No: the graph does not use ffn_norm, so quantizing it cannot matter."),
        (Verdict::BelowFloor, "No: quantizing ffn_norm to bf16 has no effect that stands out from its floor."),
        (Verdict::Broken, "Not decided: the effect of bf16 on ffn_norm could not be measured."),
    ] {
        model.verdicts[0].verdict = class;
        let said = model.answer(&record.question);
        let wanted = format!("{says} With exact weights: 498 of 1,920 values change; ");
        assert!(said.starts_with(&wanted), "{said}");
    }
}

#[test]
fn two_arms_answer_together_and_the_exact_one_decides() {
    let record = today(fixture::two_models());
    let model = |exact, native| {
        let mut model = record.models[1].clone();
        (model.verdicts[0].verdict, model.verdicts[1].verdict) = (exact, native);
        model
    };
    use Verdict::{BelowFloor, Broken, Dead, NoOp, Real, Substituted};
    for (exact, native, wanted) in [
        (Real, Real, Matters::Yes),
        (Real, Broken, Matters::Yes),
        (BelowFloor, Real, Matters::Yes),
        (NoOp, NoOp, Matters::No),
        (Dead, Dead, Matters::No),
        (BelowFloor, Substituted, Matters::No),
        (Substituted, BelowFloor, Matters::NotDecided),
        (Broken, NoOp, Matters::NotDecided),
    ] {
        assert_eq!(Matters::of(&model(exact, native)), wanted, "{exact:?}, {native:?}");
    }
    let said = |exact, native| headline::of_model(&record.question, &model(exact, native));
    assert_eq!(said(Real, Real), "Yes: quantizing ffn_norm to bf16 has a real effect.");
    assert_eq!(
        said(BelowFloor, Real),
        "Yes: quantizing ffn_norm to bf16 has a real effect through the model's own kernels."
    );
    assert_eq!(said(Real, Substituted), "Yes: quantizing ffn_norm to bf16 has a real effect with exact weights.");
    // A question in other words is not answered by yes or no.
    let asked = Question { question: "Is BF16 free for norms?".into(), ..record.question.clone() };
    assert_eq!(headline::of_model(&asked, &model(Real, Real)), "Quantizing ffn_norm to bf16 has a real effect.");
}

#[test]
fn a_run_over_several_models_says_in_which_of_them() {
    let mut record = today(fixture::two_models());
    assert_eq!(headline::of_run(&record), "Yes, in 1 of 2 models: gemma-3-270m-q4_k_m.gguf.");
    record.models[1].verdicts[0].verdict = Verdict::Broken;
    assert_eq!(
        headline::of_run(&record),
        "Not decided, in 1 of 2 models: gemma-3-270m-q4_k_m.gguf; no in 1: SmolLM2-135M-Instruct.Q4_1.gguf."
    );
    record.models[0].verdicts[0].verdict = Verdict::Real;
    assert_eq!(
        headline::of_run(&record),
        "Yes, in 1 of 2 models: SmolLM2-135M-Instruct.Q4_1.gguf; not decided in 1: gemma-3-270m-q4_k_m.gguf."
    );
    record.models.swap_remove(0);
    assert_eq!(headline::of_run(&record), "Not decided: the effect of bf16 on ffn_norm could not be measured.");
    record.models = vec![record.models[0].clone(), record.models[0].clone()];
    assert_eq!(headline::of_run(&record), "Not decided, in all of 2 models.");
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
        "Not decided: the results for bf16 on ffn_norm are withheld. The control \"identity write-back\" failed (expected: bytes and logits bit-identical; found: the chain of \
         evidence does not hold: no byte changes, yet 0 activations and the logits of 12 of 2,040 positions do)."
    );
    model.controls[failed].ok = true;
    assert_eq!(
        model.answer(&record.question),
        "Not decided: the results for bf16 on ffn_norm are withheld. The control \"A/A\" was not measured (expected: logits \
         bit-identical; found: not measured: abort: n > 0)."
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
