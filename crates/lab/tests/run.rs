//! Whole runs through a worker without an engine.

#[path = "run/ask.rs"]
mod ask;
mod bench;
#[path = "run/gate.rs"]
mod gate;
#[path = "run/sweep.rs"]
mod sweep;
#[path = "run/verdict.rs"]
mod verdict;

use bench::{Faults, N_LAYER, Norms, Room, Workers, results, run};
use lab::RunError;
use lab::ask::AskErrorKind;
use record::Arm;
use record::RunEvent;
use record::sentence::withholding;
use record::{FaultFound, Found, Reason, Role, RunRecord, TargetValues, Verdict};
use std::panic::{AssertUnwindSafe, catch_unwind};
use words::{Advice, Hint};

fn clean(room: &Room, norms: Norms) -> (RunRecord, Vec<RunEvent>) {
    let (record, events) = run(&room.prepare(norms), &room.run_dir("run"), &Workers::new(Faults::default()));
    (record.expect("the run ends"), events)
}

fn verdict_of(record: &RunRecord, arm: Arm) -> (Verdict, &Reason) {
    let verdict = record.models[0].verdicts.iter().find(|verdict| verdict.arm == arm).expect("an arm");
    (verdict.verdict, &verdict.why)
}

#[test]
fn values_on_the_grid_are_a_no_op_in_both_arms_and_the_reason_says_so() {
    let (record, _) = clean(&Room::new(), Norms::OnGrid);
    assert!(record.controls_ok, "{:#?}", record.models[0].controls);
    for arm in [Arm::Exact, Arm::Native] {
        let answer = record.models[0].cells.iter().find(|judged| judged.cell.arm == arm && judged.cell.is_answer());
        let n_scored = answer.expect("an answer").cell.evidence.n_scored as u64;
        let (n, n_targets, subject, scheme) = (96, 3, TargetValues::Weights, "bf16".into());
        let why = Reason::OnGrid { n, n_targets, subject, scheme, n_scored };
        assert_eq!(verdict_of(&record, arm), (Verdict::NoOp, &why));
    }
    assert_eq!(record.models[0].sentence, None, "the answer is made where it is shown");
}

#[test]
fn the_same_change_is_real_with_exact_weights_and_below_the_floor_natively() {
    let (record, _) = clean(&Room::new(), Norms::OnePlus);
    assert!(record.controls_ok, "{:#?}", record.models[0].controls);
    let (exact, why) = verdict_of(&record, Arm::Exact);
    assert_eq!(exact, Verdict::Real, "{why}");
    let (native, why) = verdict_of(&record, Arm::Native);
    assert_eq!(native, Verdict::BelowFloor, "{why}");
    let Reason::NearFloor { kld_mean, floor, .. } = why else { panic!("another rule: {why:?}") };
    assert!(floor.ratio == Some(kld_mean / floor.kld_mean_max) && floor.borrowed_from.is_none(), "{why:?}");
}

#[test]
fn the_record_has_the_precision_of_the_whole_model_by_layer_and_role() {
    let of = |norms| {
        let (record, _) = clean(&Room::new(), norms);
        let tensors = record.models.into_iter().flat_map(|model| model.precision);
        tensors.map(|t| (t.layer, t.role, t.bits, t.what)).collect::<Vec<_>>()
    };
    let on_grid = of(Norms::OnGrid);
    assert_eq!(on_grid.len(), 2 * N_LAYER, "the target and the rest: {on_grid:?}");
    assert_eq!(on_grid[0], (Some(0), "ffn_norm".into(), 16.0, "f32, effectively BF16".into()));
    assert_eq!(on_grid[1], (Some(0), "attn_q".into(), 32.0, "f32".into()), "zeros alone show nothing");
    assert_eq!(of(Norms::Half)[0], (Some(0), "ffn_norm".into(), 16.0, "f16".into()));
}

#[test]
fn every_stage_is_there_and_single_layers_borrow_the_floor_and_say_so() {
    let (record, events) = clean(&Room::new(), Norms::OnePlus);
    let cells = &record.models[0].cells;
    let of = |stage: &str| cells.iter().filter(|judged| judged.cell.stage.as_str() == stage).collect::<Vec<_>>();
    assert_eq!(of("one_layer").len(), 1);
    assert_eq!(of("each_layer").len(), N_LAYER);
    assert_eq!(of("all_layers").len(), 2);
    for layer in of("each_layer") {
        let floor = layer.floor.as_ref().expect("a floor");
        assert_eq!((floor.target.as_str(), floor.kld_mean_by_seed.len()), ("ffn_norm", 3));
        let Reason::AboveFloor { floor, .. } = &layer.why else { panic!("another rule: {:?}", layer.why) };
        assert_eq!(floor.borrowed_from.as_deref(), Some("ffn_norm"));
        assert_eq!(layer.cell.chunks, [0, 1]);
    }
    let gates: Vec<bool> = events
        .iter()
        .filter_map(|event| if let RunEvent::Gate { go_on, .. } = event { Some(*go_on) } else { None })
        .collect();
    assert_eq!(gates, [true; 4]);
    let last = events.iter().rev().find_map(|event| match event {
        RunEvent::Progress { done, total, .. } => Some((*done, *total)),
        _ => None,
    });
    let (done, total) = last.expect("progress");
    assert_eq!(done, total, "progress ends at its total");
}

#[test]
fn the_layer_of_two_stages_is_measured_once() {
    let room = Room::new();
    let workers = Workers::new(Faults::default());
    run(&room.prepare(Norms::OnePlus), &room.run_dir("run"), &workers).0.expect("the run ends");
    assert!(workers.measured.borrow().values().all(|&times| times == 1));
}

#[test]
fn a_half_precision_target_is_compared_natively_with_its_carrier_control() {
    let (record, _) = clean(&Room::new(), Norms::Half);
    assert!(record.controls_ok, "{:#?}", record.models[0].controls);
    let names: Vec<&str> = record.models[0].controls.iter().map(|control| control.name.as_str()).collect();
    for name in ["carrier control (F32)", "identity write-back (stored type)", "identity write-back (F32)"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let native = record.models[0].cells.iter().find(|judged| {
        judged.cell.arm == Arm::Native
            && judged.cell.role == Role::Variant
            && judged.cell.stage.as_str() == "all_layers"
    });
    assert_eq!(native.expect("a native cell").cell.base.carried.len(), N_LAYER);
}

#[test]
fn a_second_run_reads_everything_and_starts_no_worker() {
    let room = Room::new();
    let prepared = room.prepare(Norms::OnePlus);
    let dir = room.run_dir("run");
    let (first, _) = run(&prepared, &dir, &Workers::new(Faults::default()));
    let before = results(&dir);
    let workers = Workers::new(Faults::default());
    let (second, _) = run(&prepared, &dir, &workers);
    assert_eq!(workers.started.get(), 0);
    assert_eq!(second.expect("reads"), first.expect("runs"));
    assert_eq!(results(&dir), before);
}

#[test]
fn two_runs_in_two_folders_give_the_same_bytes() {
    let room = Room::new();
    let prepared = room.prepare(Norms::OnePlus);
    for name in ["a", "b"] {
        run(&prepared, &room.run_dir(name), &Workers::new(Faults::default())).0.expect("runs");
    }
    assert_eq!(results(&room.run_dir("a")), results(&room.run_dir("b")));
}

#[test]
fn a_run_killed_at_any_event_and_resumed_equals_an_uninterrupted_one() {
    let room = Room::new();
    let mut plan = room.plan(Norms::OnePlus);
    (plan.chunks, plan.layer_chunks) = (2, 1);
    let prepared = lab::prepare(plan, bench::BUILD).expect("a sound plan");
    run(&prepared, &room.run_dir("whole"), &Workers::new(Faults::default())).0.expect("runs");
    let whole = results(&room.run_dir("whole"));
    let mut kills = 0;
    for at in 1.. {
        let dir = room.run_dir(&format!("killed-{at}"));
        let mut workers = Workers::new(Faults::default());
        workers.kill_at = Some(at);
        let killed = catch_unwind(AssertUnwindSafe(|| run(&prepared, &dir, &workers)));
        if killed.is_ok() {
            break;
        }
        kills += 1;
        // A kill in the middle of a write leaves this behind.
        for entry in std::fs::read_dir(dir.join("samples")).into_iter().flatten().flatten() {
            let mut torn = std::fs::read(entry.path()).expect("samples");
            torn.extend(b"{\"sample\":{\"cell\":\"");
            std::fs::write(entry.path(), torn).expect("tears");
        }
        run(&prepared, &dir, &Workers::new(Faults::default())).0.expect("resumes");
        assert_eq!(results(&dir), whole, "killed at event {at}");
        std::fs::remove_dir_all(&dir).expect("cleans up");
    }
    assert!(kills > 60, "only {kills} places were tried");
}

#[test]
fn a_worker_that_dies_once_costs_nothing() {
    let room = Room::new();
    let prepared = room.prepare(Norms::OnePlus);
    run(&prepared, &room.run_dir("whole"), &Workers::new(Faults::default())).0.expect("runs");
    for culprit in [None, Some("bf16"), Some("zero")] {
        let dir = room.run_dir("dying");
        let (record, events) =
            run(&prepared, &dir, &Workers::new(Faults { dies: Some((culprit, 1)), ..Faults::default() }));
        assert!(record.expect("goes on").controls_ok);
        let deaths = events.iter().filter(|event| matches!(event, RunEvent::WorkerDied { again: true, .. }));
        assert_eq!(deaths.count(), 1, "{culprit:?}");
        assert_eq!(results(&dir), results(&room.run_dir("whole")), "{culprit:?}");
        std::fs::remove_dir_all(&dir).expect("cleans up");
    }
}

#[test]
fn a_worker_that_dies_twice_costs_the_cell_and_nothing_else() {
    let room = Room::new();
    let prepared = room.prepare(Norms::OnePlus);
    let dir = room.run_dir("run");
    // The first bf16 cell is the single layer, on which the worker dies twice.
    let (record, _) =
        run(&prepared, &dir, &Workers::new(Faults { dies: Some((Some("bf16"), 2)), ..Faults::default() }));
    let record = record.expect("goes on");
    let failed: Vec<_> = record.models[0].cells.iter().filter(|judged| judged.cell.failure.is_some()).collect();
    // The middle layer is in two stages.
    assert_eq!(failed.len(), 2, "{failed:#?}");
    for judged in failed {
        assert_eq!((judged.verdict, judged.cell.layers.as_slice()), (Verdict::Broken, &[1][..]));
        assert_eq!(judged.why, Reason::NotMeasured { failure: judged.cell.failure.clone() });
        assert!(judged.cell.failure.as_ref().is_some_and(|why| why.contains("GGML_ASSERT(planted)")), "{}", judged.why);
    }
    assert!(record.controls_ok);
    assert_eq!(verdict_of(&record, Arm::Exact).0, Verdict::Real);

    // The next run tries it again and ends like one without deaths.
    run(&prepared, &dir, &Workers::new(Faults::default())).0.expect("resumes");
    run(&prepared, &room.run_dir("whole"), &Workers::new(Faults::default())).0.expect("runs");
    assert_eq!(results(&dir), results(&room.run_dir("whole")));
}

#[test]
fn cells_without_memory_fail_with_advice_for_who_watches_and_none_in_the_run_folder() {
    let room = Room::new();
    let dir = room.run_dir("run");
    let workers = Workers::new(Faults { lacks_memory: true, ..Faults::default() });
    let (record, events) = run(&room.prepare(Norms::OnePlus), &dir, &workers);
    let failures: Vec<(&str, &Option<Hint>)> = events
        .iter()
        .filter_map(|event| match event {
            RunEvent::CellFailed { why, hint, .. } => Some((why.as_str(), hint)),
            _ => None,
        })
        .collect();
    let advice = Some(Hint::RaiseMemory { has_f32_weights: true });
    assert!(
        !failures.is_empty() && failures.iter().all(|found| *found == (bench::TOO_LITTLE, &advice)),
        "{failures:?}"
    );
    let record = record.expect("a record of failed cells");
    let failed = record.models[0].cells.iter().filter_map(|judged| judged.cell.failure.as_deref());
    assert!(failed.clone().count() > 0 && failed.clone().all(|why| why == bench::TOO_LITTLE), "{record:?}");
    for name in ["run.json", "journal.jsonl"] {
        let kept = std::fs::read_to_string(dir.join(name)).expect(name);
        assert!(kept.contains(bench::TOO_LITTLE) && !kept.contains("hint"), "{name}");
        assert!(!kept.contains("--max-memory") && !kept.contains("--arm"), "{name}");
    }
}

#[test]
fn a_worker_that_always_dies_at_the_reference_fails_the_group_and_withholds_the_results() {
    let room = Room::new();
    let workers = Workers::new(Faults { dies: Some((None, usize::MAX)), ..Faults::default() });
    let (record, _) = run(&room.prepare(Norms::OnePlus), &room.run_dir("run"), &workers);
    let record = record.expect("ends");
    assert!(!record.controls_ok);
    let died = |found: &Found| match found {
        Found::Cell { reason: Reason::NotMeasured { failure: Some(why) } } => why.contains("GGML_ASSERT(planted)"),
        _ => false,
    };
    let controls = &record.models[0].controls;
    assert!(controls.iter().any(|control| died(&control.found)), "{controls:#?}");
    // Nothing was measured, so nothing can have failed.
    assert!(controls.iter().all(|control| !control.has_failed()), "{controls:#?}");
    assert!(withholding(controls).is_some_and(|control| !control.measured), "{controls:#?}");
}

#[test]
fn every_planted_fault_is_caught_by_its_control_and_nothing_is_said_about_the_question() {
    let fault = Faults::default;
    for (faults, control) in [
        (Faults { restless: true, ..fault() }, "A/A"),
        (Faults { identity_moves: true, ..fault() }, "identity write-back (F32)"),
        (Faults { bad_read_back: Some("identity"), ..fault() }, "identity write-back (F32)"),
        (Faults { deaf: true, ..fault() }, "positive control (zero)"),
        (Faults { leaks: true, ..fault() }, "weights restored"),
        (Faults { miscounts: true, ..fault() }, "evidence chains"),
        (Faults { bad_read_back: Some("bf16"), ..fault() }, "evidence chains"),
        (Faults { stale: true, ..fault() }, "A/A"),
    ] {
        let room = Room::new();
        let (record, _) = run(&room.prepare(Norms::OnePlus), &room.run_dir("run"), &Workers::new(faults.clone()));
        let record = record.expect("ends");
        assert!(!record.controls_ok, "{faults:?}");
        let model = &record.models[0];
        assert!(
            model.controls.iter().any(|found| found.name == control && !found.ok),
            "{faults:?}: {:#?}",
            model.controls
        );
        // A sample compared with a strange reference is not a measurement; the others were measured and failed.
        assert_eq!(model.controls.iter().any(|found| found.has_failed()), !faults.stale, "{:#?}", model.controls);
        if faults.leaks {
            let is_leak = |found: &Found| matches!(found, Found::Faults { faults } if matches!(faults[..], [FaultFound::WeightsChanged { .. }]));
            assert!(model.controls.iter().any(|found| is_leak(&found.found)), "{:#?}", model.controls);
        }
        let withheld = withholding(&model.controls).expect("a control withholds the results");
        let why = Reason::Withheld { control: withheld.name.clone(), outcome: withheld.outcome() };
        let variants = model.cells.iter().filter(|judged| judged.cell.role == Role::Variant);
        assert!(variants.clone().all(|judged| judged.verdict == Verdict::Broken && judged.why == why), "{faults:?}");
        assert!(
            !model.cells.iter().any(|judged| judged.cell.stage.as_str() == "all_layers"),
            "the gate stayed open: {faults:?}"
        );

        // A resumed run knows of it too.
        let (again, _) = run(&room.prepare(Norms::OnePlus), &room.run_dir("run"), &Workers::new(faults));
        assert!(!again.expect("ends").controls_ok);
    }
}

#[test]
fn tensors_that_the_graph_does_not_use_are_dead_not_harmless() {
    let room = Room::new();
    let workers = Workers::new(Faults { dead: true, ..Faults::default() });
    let (record, _) = run(&room.prepare(Norms::OnePlus), &room.run_dir("run"), &workers);
    let record = record.expect("ends");
    assert!(record.controls_ok, "{:#?}", record.models[0].controls);
    assert_eq!(verdict_of(&record, Arm::Exact).0, Verdict::Dead);
}

#[test]
fn another_plan_in_the_same_folder_is_refused_and_nothing_is_written() {
    let room = Room::new();
    let dir = room.run_dir("run");
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("runs");
    let everything = || {
        let mut files = results(&dir);
        files.insert("journal".into(), std::fs::read(dir.join("journal.jsonl")).expect("journal"));
        files
    };
    let before = everything();
    let mut other = room.plan(Norms::OnePlus);
    other.chunks = 3;
    let other = lab::prepare(other, bench::BUILD).expect("sound");
    let workers = Workers::new(Faults::default());
    let error = run(&other, &dir, &workers).0.expect_err("refused");
    assert_eq!(error.kind(), AskErrorKind::Input);
    assert!(error.to_string().contains("chunks is 4, now asked for is 3"), "{error}");
    assert_eq!((workers.started.get(), everything()), (0, before));

    let newer_engine = lab::prepare(room.plan(Norms::OnePlus), "mock engine 2").expect("sound");
    assert!(run(&newer_engine, &dir, &workers).0.expect_err("refused").to_string().contains("engine_build"));
}

#[test]
fn what_cannot_be_run_leaves_no_folder() {
    let room = Room::new();
    let dir = room.run_dir("run");
    let refused = |error: RunError, words: &str| {
        assert_eq!(error.kind(), AskErrorKind::Input, "{error}");
        let hint = error.hint().expect("advice");
        assert!(format!("{error} / {hint:?}").contains(words), "{error} / {hint:?}");
        assert!(!dir.exists(), "{error}");
    };
    let faults = Faults { refuses: true, ..Faults::default() };
    refused(
        run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(faults)).0.expect_err("no tokenizer"),
        "no tokenizer",
    );
    let mut plan = room.plan(Norms::OnePlus);
    plan.corpus.text = "short".into();
    let short = lab::prepare(plan, bench::BUILD).expect("sound");
    refused(run(&short, &dir, &Workers::new(Faults::default())).0.expect_err("short"), "at least one window");
    let mut plan = room.plan(Norms::OnePlus);
    plan.target = "ffn_nrom".parse().expect("a selector");
    refused(lab::prepare(plan, bench::BUILD).expect_err("no such target"), "did you mean ffn_norm?");
    let mut plan = room.plan(Norms::OnePlus);
    std::fs::write(&plan.models[0], "not a model").expect("writes");
    plan.models.truncate(1);
    refused(lab::prepare(plan, bench::BUILD).expect_err("not GGUF"), "GGUF");
}

#[test]
fn a_shorter_text_gives_fewer_windows_and_the_run_says_so() {
    let room = Room::new();
    let mut plan = room.plan(Norms::OnePlus);
    plan.chunks = 100;
    let prepared = lab::prepare(plan, bench::BUILD).expect("sound");
    let (record, events) = run(&prepared, &room.run_dir("run"), &Workers::new(Faults::default()));
    assert_eq!(record.expect("runs").chunks, 8);
    assert!(events.contains(&RunEvent::FewerChunks { wanted: 100, used: 8 }));
}

#[test]
fn a_fallback_for_a_scheme_that_never_needs_one_is_refused_before_anything_is_read() {
    let room = Room::new();
    let mut plan = room.plan(Norms::OnePlus);
    plan.allow_fallback = true;
    plan.models = vec!["not-there.gguf".into()];
    let error = lab::prepare(plan, bench::BUILD).expect_err("without effect");
    assert_eq!(error.kind(), AskErrorKind::Input);
    assert_eq!(error.to_string(), "a fallback stands in for ggml's types only, and bf16 is not one of them");
    assert!(error.hint().is_some());
}

#[test]
fn several_models_share_one_run_and_a_withheld_one_leaves_the_others() {
    let room = Room::new();
    let mut plan = room.plan(Norms::OnePlus);
    let second = room.dir.path().join("second.gguf");
    bench::write_model(&second, Norms::OnGrid);
    plan.models.push(second);
    let prepared = lab::prepare(plan, bench::BUILD).expect("sound");
    let (record, _) = run(&prepared, &room.run_dir("run"), &Workers::new(Faults::default()));
    let record = record.expect("runs");
    let verdicts: Vec<Verdict> = record.models.iter().map(|model| model.verdicts[0].verdict).collect();
    assert_eq!(verdicts, [Verdict::Real, Verdict::NoOp]);
    assert_eq!(record.reproduce, "ffn-norm-bf16 of model.gguf and second.gguf, 4 windows");

    let mut record = record;
    (record.models[0].controls[0].ok, record.controls_ok) = (false, false);
    let answer = lab::ask::run_answer(&record, &room.run_dir("run"), &room.run_dir("run/report/report.md"));
    assert_eq!(answer.answers.iter().map(|model| model.withheld).collect::<Vec<_>>(), [true, false]);
    assert!(
        !answer.controls_ok && answer.answer.starts_with("Not decided, in 1 of 2 models: model.gguf; "),
        "{}",
        answer.answer
    );
    for verdict in &answer.verdicts {
        assert_eq!(verdict.effects.is_some(), verdict.model == "second.gguf", "{verdict:?}");
    }
}

#[test]
fn models_that_share_a_file_name_are_told_apart_by_their_hash_and_one_file_twice_is_refused() {
    let room = Room::new();
    let mut plan = room.plan(Norms::OnePlus);
    let name = plan.models[0].file_name().expect("a name").to_owned();
    let other = room.dir.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    bench::write_model(&other.join(&name), Norms::OnGrid);
    plan.models.push(other.join(&name));
    let prepared = lab::prepare(plan.clone(), bench::BUILD).expect("sound");
    let (record, events) = run(&prepared, &room.run_dir("run"), &Workers::new(Faults::default()));
    let record = record.expect("runs");
    let names: Vec<&str> = record.models.iter().map(|model| model.name.as_str()).collect();
    for model in &record.models {
        assert_eq!(model.name, format!("model.gguf ({})", &model.file_blake3[..8]));
        assert!(model.controls.iter().all(|control| control.model == model.name));
    }
    assert_ne!(names[0], names[1]);
    let of_census = events.iter().filter_map(|event| match event {
        RunEvent::Census { model, .. } => Some(model.as_str()),
        _ => None,
    });
    assert_eq!(of_census.collect::<Vec<_>>(), names);
    let both = format!("{} and {}", names[0], names[1]);
    assert!(record.reproduce.contains(&both), "{}", record.reproduce);

    bench::write_model(&other.join("copy.gguf"), Norms::OnePlus);
    plan.models[1] = other.join("copy.gguf");
    let error = lab::prepare(plan, bench::BUILD).expect_err("one file twice");
    assert_eq!(error.kind(), AskErrorKind::Input);
    let said = error.to_string();
    assert!(said.contains("model.gguf and ") && said.contains("copy.gguf: the same file"), "{said}");
    assert!(error.hint().is_some(), "{said}");
}
