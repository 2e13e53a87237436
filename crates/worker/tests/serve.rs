//! Tests the worker's loop with an engine that can be followed by hand.

mod toy;

use eval::{Ask, ChatMessage, Passes, Sampling, Sequence, Tokens, Weights};
use numerics::PlainCodec;
use record::{Arm, Base, Carrier, Edit, EditPlace, Note, ReferenceSample, Sample};
use toy::{Fault, N_LAYER, Toy, norm_name, settings};
use words::Hint;
use worker::protocol::BUILD;
use worker::{CellSpec, ChunkWork, Event, Job, serve};

const TEXT: &str = "The quick brown fox jumps over the lazy dog, and the dog does not mind it in the least.";

fn spec_of(key: &str, edits: Vec<Edit>) -> CellSpec {
    CellSpec { key: key.into(), first_layer: select::first_layer(&edits), edits }
}

fn cell(key: &str, edits: &[(String, &str, Carrier)]) -> CellSpec {
    let edits = edits.iter().map(|(tensor, scheme, carrier)| Edit::of_weight(tensor, *scheme, *carrier)).collect();
    spec_of(key, edits)
}

fn all_norms(scheme: &'static str) -> Vec<(String, &'static str, Carrier)> {
    (0..N_LAYER).map(|layer| (norm_name(layer), scheme, Carrier::F32)).collect()
}

/// Runs a measure job over five windows and returns the events after the text was cut.
fn measure(arm: Arm, n_parallel: usize, fault: Fault, cells: &[CellSpec]) -> Vec<Event> {
    let base = Base { arm, carried: Vec::new() };
    let work = (0..5).map(|chunk| ChunkWork { chunk, cells: (0..cells.len()).collect() }).collect();
    let jobs = [
        open(n_parallel, None),
        Job::Corpus { text: TEXT.into(), special: false },
        Job::Measure { base, cells: cells.to_vec(), chunks: work, trace: false },
    ];
    let events = say(n_parallel, fault, &jobs);
    assert!(matches!(&events[1], Event::Tokenized { n_chunks: 5, .. }), "{:?}", events[1]);
    assert!(matches!(&events[2], Event::Memory(_)), "memory is said before anything is measured");
    events[3..].to_vec()
}

fn open(n_threads: usize, max_memory_bytes: Option<u64>) -> Job {
    Job::Open { build: BUILD.into(), model: "toy.gguf".into(), settings: settings(), n_threads, max_memory_bytes }
}

fn say(n_parallel: usize, fault: Fault, jobs: &[Job]) -> Vec<Event> {
    say_through(&|| Toy::new(n_parallel, fault), jobs)
}

/// The events of a worker whose engine `open` makes.
fn say_through(open: &dyn Fn() -> Toy, jobs: &[Job]) -> Vec<Event> {
    let mut output = Vec::new();
    let lines = jobs.iter().map(|job| Ok(serde_json::to_string(job).unwrap()));
    serve(&|_, _, _| Ok(Box::new(open())), &PlainCodec, lines, &mut output).unwrap();
    String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn samples<'e>(events: &'e [Event], key: &str) -> Vec<&'e Sample> {
    events.iter().filter_map(|e| if let Event::Sample(s) = e { (s.cell == key).then_some(s) } else { None }).collect()
}

/// The reference's sample of a window.
fn reference(events: &[Event], chunk: usize) -> &ReferenceSample {
    let of_window = |event: &Event| matches!(event, Event::Reference(sample) if sample.chunk == chunk);
    match events.iter().find(|event| of_window(event)) {
        Some(Event::Reference(sample)) => sample,
        _ => panic!("window {chunk} of the reference was not measured"),
    }
}

fn mean_kld(events: &[Event], key: &str) -> f64 {
    let klds: Vec<f64> = samples(events, key).iter().flat_map(|s| s.kld().to_vec()).collect();
    assert!(!klds.is_empty(), "no samples of {key}");
    klds.iter().sum::<f64>() / klds.len() as f64
}

#[test]
fn the_reference_twice_and_an_identity_write_back_are_bit_equal_in_both_arms() {
    for arm in [Arm::Exact, Arm::Native] {
        let cells = [cell("aa", &[]), cell("identity", &all_norms("identity"))];
        let events = measure(arm, 2, Fault::None, &cells);
        for key in ["aa", "identity"] {
            let samples = samples(&events, key);
            assert_eq!(samples.len(), 5);
            for sample in samples {
                assert_eq!(sample.n_changed(), 0);
                assert!(sample.kld().iter().all(|&kld| kld == 0.0));
                assert_eq!((sample.kld().len(), sample.n_same_top()), (7, 7), "windows of 16 score 7 tokens");
                assert_eq!(sample.nll(), reference(&events, sample.chunk).nll());
            }
        }
    }
}

#[test]
fn effects_grow_with_the_damage_and_every_link_of_the_evidence_is_reported() {
    let cells =
        [cell("jitter", &all_norms("jitter")), cell("bf16", &all_norms("bf16")), cell("zero", &all_norms("zero"))];
    let events = measure(Arm::Exact, 2, Fault::None, &cells);
    let (jitter, bf16, zero) = (mean_kld(&events, "jitter"), mean_kld(&events, "bf16"), mean_kld(&events, "zero"));
    assert!(jitter < bf16 / 10.0 && bf16 < zero / 100.0, "{jitter} {bf16} {zero}");
    let applied = events.iter().find_map(|e| match e {
        Event::Applied { cell, tensors } if cell == "bf16" => Some(tensors),
        _ => None,
    });
    for tensor in applied.expect("evidence") {
        assert_eq!((tensor.n, tensor.changed, tensor.consumers), (8, 8, 1));
        assert_eq!((tensor.type_base.as_str(), tensor.type_variant.as_str()), ("f32", "f32"));
        assert!(tensor.read_back && tensor.changed_bytes >= 8 && tensor.rel_rmse > 0.0);
    }
    let first = samples(&events, "bf16")[0];
    assert_eq!(first.activations.as_ref().map(|a| (a.watched, a.changed)), Some((3, 3)));
    assert!(samples(&events, "bf16")[1..].iter().all(|s| s.activations.is_none()));
}

#[test]
fn threads_beyond_the_cores_and_windows_beyond_the_training_are_said_once() {
    let measured = Job::Measure {
        base: Base { arm: Arm::Exact, carried: Vec::new() },
        cells: vec![cell("aa", &[])],
        chunks: vec![ChunkWork { chunk: 0, cells: vec![0] }],
        trace: false,
    };
    let notes = |n_ctx: u32, n_threads: usize, text: &str| -> Vec<String> {
        let settings = record::EngineSettings { n_ctx, ..settings() };
        let opened =
            Job::Open { build: BUILD.into(), model: "toy.gguf".into(), settings, n_threads, max_memory_bytes: None };
        let jobs = [opened, Job::Corpus { text: text.into(), special: false }, measured.clone(), measured.clone()];
        let events = say(1, Fault::None, &jobs);
        assert!(matches!(events.last(), Some(Event::Measured { .. })), "{:?}", events.last());
        events
            .into_iter()
            .filter_map(|e| if let Event::Note { note } = e { Some(note.to_string()) } else { None })
            .collect()
    };
    let long = TEXT.repeat(3);
    assert_eq!(notes(64, 1, &long), Vec::<String>::new());
    assert_eq!(notes(128, 1, &long), ["windows of 128 tokens are longer than the 64 that the model was trained for"]);
    let said = notes(64, 100_000, &long);
    assert!(said.len() == 1 && said[0].starts_with("100,000 threads were asked for, and there "), "{said:?}");
}

#[test]
fn weights_hash_the_same_before_and_after_a_job() {
    let events = measure(Arm::Exact, 1, Fault::None, &[cell("zero", &all_norms("zero"))]);
    let Some(Event::Measured { weights_before, weights_after }) = events.last() else { panic!("{events:?}") };
    assert_eq!(weights_before, weights_after);
    assert_eq!(weights_before.len(), 64);
}

#[test]
fn results_do_not_depend_on_how_many_windows_run_side_by_side() {
    let cells = [cell("one", &[(norm_name(2), "int4@row", Carrier::F32)]), cell("all", &all_norms("bf16"))];
    let alone = measure(Arm::Native, 1, Fault::None, &cells);
    for n_parallel in [2, 3, 5] {
        let together = measure(Arm::Native, n_parallel, Fault::None, &cells);
        for key in ["one", "all"] {
            assert_eq!(samples(&alone, key), samples(&together, key), "{n_parallel} side by side");
        }
    }
}

#[test]
fn a_prefix_that_is_not_exact_is_found_out_and_not_used() {
    let cells = [cell("late", &[(norm_name(2), "bf16", Carrier::F32)])];
    let exact = measure(Arm::Exact, 2, Fault::None, &cells);
    let inexact = measure(Arm::Exact, 2, Fault::InexactPrefix, &cells);
    assert_eq!(samples(&exact, "late"), samples(&inexact, "late"));
}

#[test]
fn a_write_that_reads_back_differently_is_reported() {
    let events = measure(Arm::Exact, 1, Fault::WrongReadBack, &[cell("bf16", &all_norms("bf16"))]);
    let read_back: Vec<bool> = events
        .iter()
        .filter_map(|e| if let Event::Applied { tensors, .. } = e { Some(tensors) } else { None })
        .flatten()
        .map(|t| t.read_back)
        .collect();
    assert_eq!(read_back, vec![false; 3]);
}

#[test]
fn a_cell_that_fails_is_named_and_the_others_go_on() {
    let cells = [
        cell("typo", &all_norms("bf61")),
        cell("overflow", &[("output.weight".into(), "e4m3:ieee:bias=40", Carrier::F32)]),
        cell("good", &all_norms("bf16")),
    ];
    let events = measure(Arm::Exact, 2, Fault::None, &cells);
    let failures: Vec<(&str, &str)> = events
        .iter()
        .filter_map(|e| {
            if let Event::CellFailed { cell, why, .. } = e { Some((cell.as_str(), why.as_str())) } else { None }
        })
        .collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    let overflow = failures[1].1;
    assert!(overflow.contains("window 0: ") && overflow.contains("which reads output.weight"), "{overflow}");
    assert!(failures[0].1.contains("bf61"), "{failures:?}");
    assert_eq!(samples(&events, "good").len(), 5);
    assert!(matches!(events.last(), Some(Event::Measured { .. })));
}

#[test]
fn a_weight_that_the_graph_does_not_use_is_left_out_and_told_once() {
    let missing = "blk.9.ffn_norm.weight";
    let mut both = all_norms("bf16");
    both.push((missing.into(), "bf16", Carrier::F32));
    let cells = [
        cell("alone", &[(missing.into(), "bf16", Carrier::F32)]),
        cell("both", &both),
        cell("used", &all_norms("bf16")),
    ];
    let events = measure(Arm::Exact, 2, Fault::None, &cells);
    let notes: Vec<&Note> =
        events.iter().filter_map(|e| if let Event::Note { note } = e { Some(note) } else { None }).collect();
    assert_eq!(notes, [&Note::UnusedTensors { tensors: vec![missing.into()] }]);
    let unused = |wanted: &str| -> Vec<String> {
        let applied = events
            .iter()
            .filter_map(|e| if let Event::Applied { cell, tensors } = e { Some((cell, tensors)) } else { None });
        let tensors = applied.filter(|(cell, _)| *cell == wanted).flat_map(|(_, tensors)| tensors);
        tensors.filter(|found| found.is_unused()).map(|found| found.tensor.clone()).collect()
    };
    assert_eq!(
        (unused("alone"), unused("both"), unused("used").len()),
        (vec![missing.to_owned()], vec![missing.to_owned()], 0)
    );
    let klds = |key| -> Vec<Vec<f64>> { samples(&events, key).iter().map(|s| s.kld().to_vec()).collect() };
    assert_eq!(klds("both"), klds("used"));
    assert!(!klds("alone").is_empty() && klds("alone").iter().flatten().all(|kld| *kld == 0.0));
}

#[test]
fn a_carrier_that_rounds_says_how_many_values() {
    // In F16 the values of the scheme int3@row no longer fit, because its step is a full F32.
    let cells = [
        cell("keep", &[("output.weight".into(), "int3@row", Carrier::Keep)]),
        cell("f32", &[("output.weight".into(), "int3@row", Carrier::F32)]),
        cell("same", &[("output.weight".into(), "f16", Carrier::Keep)]),
    ];
    for arm in [Arm::Exact, Arm::Native] {
        let events = measure(arm, 2, Fault::None, &cells);
        let rounded = |key: &str| {
            events.iter().find_map(|e| match e {
                Event::Applied { cell, tensors } if cell == key => Some(tensors[0].carrier_rounded),
                _ => None,
            })
        };
        assert!(rounded("keep").unwrap() > 0);
        assert_eq!(rounded("f32"), Some(0));
        assert_eq!(rounded("same"), Some(0));
        assert_eq!(mean_kld(&events, "same"), 0.0);
    }
}

#[test]
fn kl_divergence_equals_a_brute_force_sum_over_the_engines_own_logits() {
    let events = measure(Arm::Native, 1, Fault::None, &[cell("bf16", &all_norms("bf16"))]);
    let mut engine = Toy::new(1, Fault::None);
    let tokens = engine.tokenize(TEXT, false).unwrap();
    let window = &eval::window::windows(&tokens, 16, Some(0)).unwrap()[3];
    let mut logits = Vec::new();
    for scheme in ["identity", "bf16"] {
        for layer in 0..N_LAYER {
            let (ty, bytes) = engine.read_weight(&norm_name(layer), None).unwrap();
            let rounded: Vec<u8> = bytes
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .map(|x| if scheme == "bf16" { half::bf16::from_f32(x).to_f32() } else { x })
                .flat_map(f32::to_le_bytes)
                .collect();
            engine.swap_weight(&norm_name(layer), None, &ty, rounded.into()).unwrap();
        }
        let taken = std::sync::Mutex::new(Vec::new());
        let sequence = [Sequence { tokens: window, first_output: 8 }];
        engine.pass(&Ask::of(&sequence), &|_, l| taken.lock().unwrap().extend_from_slice(l)).unwrap();
        logits.push(taken.into_inner().unwrap());
    }
    let sample = samples(&events, "bf16")[3];
    for (row, &kld) in sample.kld().iter().enumerate() {
        let probabilities = |l: &[f32]| {
            let exp: Vec<f64> = l[row * 11..(row + 1) * 11].iter().map(|&x| f64::from(x).exp()).collect();
            let sum: f64 = exp.iter().sum();
            exp.into_iter().map(move |e| e / sum).collect::<Vec<f64>>()
        };
        let brute: f64 =
            probabilities(&logits[0]).iter().zip(probabilities(&logits[1])).map(|(p, q)| p * (p / q).ln()).sum();
        assert!((kld - brute).abs() < 1e-14, "{kld} against {brute}");
    }
}

#[test]
fn requests_that_cannot_be_met_are_answered_and_do_not_end_the_worker() {
    let base = Base { arm: Arm::Native, carried: Vec::new() };
    let model = open(1, None);
    let out_of_text = Job::Measure {
        base: base.clone(),
        cells: Vec::new(),
        chunks: vec![ChunkWork { chunk: 99, cells: Vec::new() }],
        trace: false,
    };
    let jobs = [
        Job::Corpus { text: TEXT.into(), special: false },
        model,
        Job::Corpus { text: "short".into(), special: false },
        out_of_text,
        Job::Corpus { text: TEXT.into(), special: false },
    ];
    let events = say(1, Fault::None, &jobs);
    let why = |event: &Event| match event {
        Event::Failed { why, hint: Some(hint), input: true } => (why.clone(), hint.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&events[0]), ("no model is open".into(), Hint::Bug));
    let (short, hint) = why(&events[2]);
    assert!(short.contains("6 tokens found, 16 wanted") && hint == Hint::LongerText, "{short} / {hint:?}");
    assert!(why(&events[3]).0.contains("window 99"));
    assert!(matches!(events[4], Event::Tokenized { .. }));
}

fn activation(node: &str, scheme: &str) -> Edit {
    Edit { place: EditPlace::Activation, ..Edit::of_weight(node, scheme, Carrier::F32) }
}

#[test]
fn activations_are_held_in_schemes_and_leave_their_evidence() {
    let cells = [
        spec_of("identity", vec![activation("l_out-1", "identity")]),
        spec_of("bf16", vec![activation("l_out-1", "bf16")]),
        spec_of("int2", vec![activation("l_out-0", "int2@row"), activation("l_out-2", "int2@row")]),
        spec_of("typo", vec![activation("l_out-7", "bf16")]),
        spec_of("mixed", vec![activation("l_out-2", "bf16"), Edit::of_weight(norm_name(1), "bf16", Carrier::F32)]),
    ];
    for n_parallel in [1, 2] {
        let events = measure(Arm::Exact, n_parallel, Fault::None, &cells);
        assert!(samples(&events, "identity").iter().all(|sample| sample.n_changed() == 0));
        let (fine, coarse) = (mean_kld(&events, "bf16"), mean_kld(&events, "int2"));
        assert!(fine > 0.0 && fine < coarse / 100.0, "{fine} {coarse}");
        let applied = |key: &str| {
            let of = |event: &Event| match event {
                Event::Applied { cell, tensors } if cell == key => Some(tensors.clone()),
                _ => None,
            };
            events.iter().find_map(of).unwrap_or_else(|| panic!("no evidence of {key}"))
        };
        let identity = &applied("identity")[0];
        assert_eq!((identity.n, identity.changed, identity.read_back, identity.consumers), (16 * 8, 0, true, 1));
        let bf16 = &applied("bf16")[0];
        assert!(bf16.changed > 100 && bf16.rel_rmse > 0.0 && bf16.changed_bytes > bf16.changed, "{bf16:?}");
        let mixed: Vec<String> = applied("mixed").into_iter().map(|found| found.tensor).collect();
        assert_eq!(mixed, ["l_out-2".to_string(), norm_name(1)], "in the order of the edits");
        assert_eq!(
            samples(&events, "mixed")[0].activations.as_ref().map(|seen| (seen.watched, seen.changed)),
            Some((2, 2))
        );
        let failed = events.iter().find_map(|event| match event {
            Event::CellFailed { cell, why, hint: Some(_), .. } if cell == "typo" => Some(why),
            _ => None,
        });
        assert!(failed.expect("it fails").contains("no node named \"l_out-7\""), "{failed:?}");
    }
}

#[test]
fn the_residual_stream_is_the_references_before_the_first_touched_layer() {
    let base = Base { arm: Arm::Exact, carried: Vec::new() };
    let cells = [cell("late", &[(norm_name(1), "int4@row", Carrier::F32)])];
    let work = (0..2).map(|chunk| ChunkWork { chunk, cells: vec![0] }).collect();
    let jobs = [
        open(2, None),
        Job::Corpus { text: TEXT.into(), special: false },
        Job::Measure { base, cells: cells.to_vec(), chunks: work, trace: true },
    ];
    let events = say(2, Fault::None, &jobs);
    for sample in samples(&events, "late") {
        let relative: Vec<f64> = sample.residual.iter().map(eval::LayerError::relative).collect();
        assert_eq!((relative.len(), relative[0]), (N_LAYER, 0.0));
        assert!(relative[1] > 0.0 && relative[2] > 0.0, "{relative:?}");
    }
}

#[test]
fn routers_choose_as_the_references_do_before_the_touched_layer_and_flip_behind_it_with_or_without_a_prefix() {
    let base = Base { arm: Arm::Exact, carried: Vec::new() };
    let cells = [
        cell("aa", &[]),
        cell("identity", &all_norms("identity")),
        cell("late", &[(norm_name(1), "zero", Carrier::F32)]),
        cell("zero", &all_norms("zero")),
    ];
    let work = (0..2).map(|chunk| ChunkWork { chunk, cells: (0..cells.len()).collect() }).collect::<Vec<_>>();
    let events = |has_routers: bool, trace: bool| {
        let (base, cells, chunks) = (base.clone(), cells.to_vec(), work.clone());
        let measured = Job::Measure { base, cells, chunks, trace };
        let jobs = [open(2, None), Job::Corpus { text: TEXT.into(), special: false }, measured.clone()];
        let toy = || if has_routers { Toy::new(2, Fault::None).with_routers() } else { Toy::new(2, Fault::None) };
        let events = say_through(&toy, &jobs);
        assert!(matches!(events.last(), Some(Event::Measured { .. })), "{:?}", events.last());
        assert!(events[2..].iter().all(|event| measured.asks_for(event)));
        events
    };
    // A traced pass is a full one; the other starts at the touched layer.
    for trace in [false, true] {
        let events = events(true, trace);
        for key in ["aa", "identity", "late", "zero"] {
            let samples = samples(&events, key);
            assert_eq!(samples.len(), 2);
            for sample in samples {
                assert_eq!(sample.check(), Ok(()));
                let layers: Vec<_> =
                    sample.routers.iter().map(|router| (router.layer, router.n_used, router.changed.len())).collect();
                assert_eq!(layers, [(0, 2, 7), (1, 2, 7), (2, 2, 7)]);
                let flips: Vec<bool> = sample.routers.iter().map(|r| r.changed.iter().any(|&n| n > 0)).collect();
                let wanted = match key {
                    "late" => [false, true, true],
                    "zero" => [true; N_LAYER],
                    _ => [false; N_LAYER],
                };
                assert_eq!(flips, wanted, "{key}: {:?}", sample.routers);
            }
        }
    }
    let without = events(false, false);
    assert!(samples(&without, "zero").iter().all(|sample| sample.routers.is_empty()));
}

/// Runs a measure job within a memory budget and returns its plan and samples, or the reason why it is refused.
fn within(max_memory_bytes: u64) -> Result<(record::MemoryPlan, Vec<Sample>), String> {
    let base = Base { arm: Arm::Exact, carried: Vec::new() };
    let cells = [cell("late", &[(norm_name(2), "bf16", Carrier::F32)]), cell("all", &all_norms("bf16"))];
    let work = (0..5).map(|chunk| ChunkWork { chunk, cells: vec![0, 1] }).collect();
    let jobs = [
        open(2, Some(max_memory_bytes)),
        Job::Corpus { text: TEXT.into(), special: false },
        Job::Measure { base, cells: cells.to_vec(), chunks: work, trace: false },
    ];
    let events = say(2, Fault::None, &jobs);
    match &events[2] {
        Event::Memory(plan) => {
            let found = ["late", "all"].iter().flat_map(|key| samples(&events, key)).cloned().collect();
            Ok((*plan, found))
        }
        Event::Failed { why, hint: Some(hint), input: true } => Err(format!("{why} / {hint:?}")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_budget_takes_away_speed_and_never_a_bit() {
    let (whole, samples) = within(1 << 30).expect("fits");
    assert_eq!((whole.n_contexts, whole.keeps_prefix), (2, true));
    // Two cells have the same three norms, which are computed and kept once.
    assert_eq!(whole.kept_edits_bytes, 3 * 8 * 4);
    let mut arrangements = std::collections::BTreeSet::new();
    let mut least = whole.total_bytes;
    while let Ok((plan, found)) = within(least - 1) {
        assert!(plan.total_bytes < least, "{plan:?}");
        assert_eq!(found, samples, "{plan:?}");
        arrangements.insert((plan.n_contexts, plan.keeps_prefix));
        least = plan.total_bytes.min(least - 1) - plan.kept_edits_bytes;
    }
    assert!(arrangements.contains(&(1, true)) && arrangements.contains(&(1, false)), "{arrangements:?}");
    let refused = within(1000).expect_err("the model alone has 1000 bytes");
    assert!(
        refused.contains("needed at least (model 1,000 bytes, weights in F32")
            && refused.ends_with("RaiseMemory { has_f32_weights: true }")
    );
}

#[test]
fn a_prefix_that_is_not_used_is_noted() {
    let cells = [cell("late", &[(norm_name(2), "bf16", Carrier::F32)])];
    let notes = |fault| {
        let events = measure(Arm::Exact, 2, fault, &cells);
        events.into_iter().filter(|event| matches!(event, Event::Note { .. })).count()
    };
    assert_eq!((notes(Fault::None), notes(Fault::InexactPrefix)), (0, 1));
}

#[test]
fn reference_and_variant_answer_the_same_conversations_and_untouched_alike() {
    let base = Base { arm: Arm::Exact, carried: Vec::new() };
    let say_hello = |content: &str| vec![ChatMessage { role: "user".into(), content: content.into() }];
    let chats = vec![say_hello("hello"), say_hello("goodbye")];
    let answers = |edits: Vec<Edit>, sampling| -> Vec<(usize, bool, Vec<i32>)> {
        let job =
            Job::Chat { base: base.clone(), edits, template: None, chats: chats.clone(), max_tokens: 12, sampling };
        let events = say(2, Fault::None, &[open(2, None), Job::Corpus { text: TEXT.into(), special: false }, job]);
        assert!(
            matches!(events.last(), Some(Event::Measured { weights_before, weights_after }) if weights_before == weights_after)
        );
        let prompts: Vec<(usize, &str)> = events
            .iter()
            .filter_map(|event| match event {
                Event::Prompted(prompt) => Some((prompt.chat, prompt.text.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(prompts, [(0, "hello"), (1, "goodbye")], "the prompts come once, whoever answers them");
        let answer = |event: &Event| match event {
            Event::Answered(answer) => Some((answer.chat, answer.is_variant, answer.tokens.clone())),
            _ => None,
        };
        events.iter().filter_map(answer).collect()
    };
    let sampling = Sampling::Seeded { temperature: 1.0, seed: 3 };
    let identity = answers(vec![Edit::of_weight(norm_name(1), "identity", Carrier::F32)], sampling);
    let order: Vec<(usize, bool)> = identity.iter().map(|(chat, is_variant, _)| (*chat, *is_variant)).collect();
    assert_eq!(order, [(0, false), (1, false), (0, true), (1, true)]);
    assert_eq!((&identity[0].2, &identity[1].2), (&identity[2].2, &identity[3].2));
    assert_eq!(answers(Vec::new(), sampling).len(), 2, "the reference alone");
    let destroyed = answers(vec![Edit::of_weight("output.weight", "zero", Carrier::F32)], Sampling::Greedy);
    assert_eq!(destroyed[2].2, [0; 12], "all tokens are equal then, and the first is taken");
    assert_ne!(destroyed[0].2, destroyed[2].2);
    let hooked = answers(vec![activation("l_out-2", "int2@row")], Sampling::Greedy);
    assert_eq!(hooked[0].2, destroyed[0].2, "the same reference");
}

#[test]
fn a_worker_refuses_the_jobs_of_another_build_in_its_own_words() {
    let opening = serde_json::to_string(&open(1, None)).expect("prints");
    let refused = |line: String| {
        let mut output = Vec::new();
        let open = |_: &_, _: &_, _| Ok(Box::new(Toy::new(1, Fault::None)) as _);
        serve(&open, &PlainCodec, std::iter::once(Ok(line)), &mut output).expect("serves");
        match serde_json::from_slice(&output).expect("an event") {
            Event::Failed { why, hint, input } => (why, hint, input),
            other => panic!("{other:?}"),
        }
    };
    let another = opening.replace(BUILD, "assay 9.9.9, build 00");
    let newer = another.replace("\"build\"", "\"added\":1,\"build\"");
    for line in [another, newer] {
        let (why, hint, input) = refused(line);
        assert_eq!(why, format!("this worker is {BUILD}, and the program that started it is assay 9.9.9, build 00"));
        assert!(input && matches!(hint, Some(Hint::Words(_))), "{hint:?}");
    }
    let (why, hint, _) = refused(opening.replace("\"build\"", "\"added\":1,\"build\""));
    assert!(why.starts_with("cannot parse job: ") && hint == Some(Hint::Bug), "{why}");
}
