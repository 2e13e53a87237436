//! The engine itself, on a tiny model made on the spot.

mod support;

use eval::{
    Ask, Engine, EngineError, EngineSettings, Graph, Hook, Memory, NonFiniteNode, Passes, Prefix, Seen, Sequence,
    Token, WeightUse, Weights,
};
use llama::{LlamaEngine, Writes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use support::TinyModel;

const N_CTX: u32 = 32;

fn engine(n_threads: usize) -> (tempfile::TempDir, LlamaEngine) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "tiny.gguf");
    let engine = LlamaEngine::open(&path, &EngineSettings::pinned(N_CTX), n_threads).expect("a sound model");
    (folder, engine)
}

/// BOS, then bytes that repeat nothing.
fn tokens(n: usize) -> Vec<Token> {
    std::iter::once(1).chain((0..n as Token - 1).map(|i| 3 + (i * 37 + 11) % 256)).collect()
}

/// The logits of each sequence, by its slot.
type Logits = BTreeMap<usize, Vec<f32>>;

/// The logits of a pass, and what was seen of each sequence.
fn pass(engine: &mut dyn Engine, ask: &Ask<'_>) -> Result<(Logits, Vec<Seen>), EngineError> {
    let taken = Mutex::new(BTreeMap::new());
    let seen = engine.pass(ask, &|slot, logits| {
        taken.lock().expect("no panic").insert(slot, logits.to_vec());
    })?;
    Ok((taken.into_inner().expect("no panic"), seen))
}

/// The logits of sequences in a plain full pass.
fn decode(engine: &mut dyn Engine, sequences: &[Sequence<'_>]) -> Result<Logits, EngineError> {
    pass(engine, &Ask::of(sequences)).map(|(logits, _)| logits)
}

#[test]
fn sequences_of_all_lengths_have_the_same_logits_alone_and_side_by_side() {
    let window = tokens(N_CTX as usize);
    let sequences: Vec<Sequence<'_>> = [(32, 0), (7, 6), (20, 3), (1, 0), (32, 16)]
        .map(|(n, first_output)| Sequence { tokens: &window[..n], first_output })
        .to_vec();
    let (_folder, mut one) = engine(1);
    let (_other, mut two) = engine(2);
    let alone = decode(&mut one, &sequences).expect("decodes");
    assert_eq!(decode(&mut two, &sequences).expect("decodes"), alone);
    let n_vocab = one.info().n_vocab;
    for (index, sequence) in sequences.iter().enumerate() {
        assert_eq!(alone[&index].len(), (sequence.tokens.len() - sequence.first_output) * n_vocab);
    }
    // The whole window's second half is what a scored window gives, before and after contexts with more outputs.
    assert_eq!(decode(&mut one, &sequences[4..]).expect("decodes")[&0], alone[&4]);
}

#[test]
fn sequences_that_do_not_fit_are_refused_and_the_engine_goes_on() {
    let (_folder, mut engine) = engine(2);
    let window = tokens(N_CTX as usize + 1);
    for sequence in [
        Sequence { tokens: &window, first_output: 0 },
        Sequence { tokens: &window[..4], first_output: 4 },
        Sequence { tokens: &[], first_output: 0 },
    ] {
        assert!(decode(&mut engine, &[sequence]).is_err(), "{sequence:?} was accepted");
    }
    let fits = Sequence { tokens: &window[..4], first_output: 3 };
    assert!(decode(&mut engine, &[fits]).is_ok());
}

/// The second half of a window is wanted.
fn scored(tokens: &[Token]) -> Sequence<'_> {
    Sequence { tokens, first_output: tokens.len() / 2 }
}

/// Logits of the second half of one window.
fn logits(
    engine: &mut dyn Engine,
    window: &[Token],
    prefix: Prefix,
    hooks: &[Hook<'_>],
) -> Result<Vec<f32>, EngineError> {
    let sequences = [scored(window)];
    let (mut logits, _) = pass(engine, &Ask { prefix, hooks, ..Ask::of(&sequences) })?;
    Ok(logits.remove(&0).expect("one sequence has logits"))
}

/// The first value that is not finite in a pass over one window.
fn hunt(engine: &mut dyn Engine, window: &[Token]) -> Option<NonFiniteNode> {
    let sequences = [scored(window)];
    let ask = Ask { stop_at_non_finite: true, ..Ask::of(&sequences) };
    let (logits, mut seen) = pass(engine, &ask).expect("looks");
    let found = seen.remove(0).non_finite;
    assert_eq!(logits.is_empty(), found.is_some(), "there are logits unless the pass was ended");
    found
}

fn full(engine: &mut dyn Engine) -> Vec<f32> {
    logits(engine, &tokens(N_CTX as usize), Prefix::Full, &[]).expect("decodes")
}

fn scaled(bytes: &[u8], factor: f32) -> Arc<Vec<u8>> {
    let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")) * factor);
    Arc::new(values.flat_map(f32::to_le_bytes).collect())
}

#[test]
fn a_shared_matrix_is_swapped_for_one_use_and_the_other_goes_on_as_before() {
    let (_folder, mut engine) = engine(2);
    let name = "token_embd.weight";
    let info = engine.weights().iter().find(|weight| weight.name == name).expect("it is used").clone();
    assert_eq!((info.consumers, info.lookups), (2, 1));
    let before = full(&mut engine);
    let (ty, bytes) = engine.read_weight(name, None).expect("reads");
    let mut seen = Vec::new();
    for uses in [&[WeightUse::Lookup][..], &[WeightUse::Head], &[WeightUse::Lookup, WeightUse::Head]] {
        // Untied and unquantized: not one bit differs.
        for &used_as in uses {
            engine.swap_weight(name, Some(used_as), &ty, Arc::new(bytes.clone())).expect("swaps");
        }
        assert_eq!(full(&mut engine), before, "{uses:?}");
        for &used_as in uses {
            engine.swap_weight(name, Some(used_as), &ty, scaled(&bytes, 0.5)).expect("swaps");
            assert_eq!(engine.read_weight(name, Some(used_as)).expect("reads").1, *scaled(&bytes, 0.5));
        }
        assert_eq!(engine.read_weight(name, None).expect("reads").1, bytes, "the shared matrix itself is as it was");
        seen.push(full(&mut engine));
        for &used_as in uses.iter().chain(uses) {
            engine.restore_weight(name, Some(used_as)).expect("restores");
        }
        assert_eq!(full(&mut engine), before, "{uses:?}");
    }
    // Half the head is half the logits; norms undo what the lookup does but for the first residual.
    assert_eq!(seen[1], before.iter().map(|x| x * 0.5).collect::<Vec<_>>());
    assert!(seen[0] != before && seen[0] != seen[1]);
    engine.swap_weight(name, None, &ty, scaled(&bytes, 0.5)).expect("swaps");
    assert_eq!(full(&mut engine), seen[2], "both uses are the whole matrix");
    engine.restore_weight(name, None).expect("restores");
    assert!(engine.swap_weight("output_norm.weight", Some(WeightUse::Lookup), "f32", Arc::default()).is_err());
    assert!(engine.restore_weight(name, Some(WeightUse::Head)).is_err(), "nothing is swapped any more");
}

#[test]
fn weights_written_through_the_back_end_give_the_same_bits_as_by_pointer() {
    let (_folder, mut by_pointer) = engine(2);
    let (_other, other) = engine(2);
    let mut through = other.writing(Writes::ThroughBackend);
    let before = full(&mut by_pointer);
    for name in ["blk.1.ffn_down.weight", "blk.0.attn_norm.weight", "token_embd.weight"] {
        let (ty, bytes) = by_pointer.read_weight(name, None).expect("reads");
        for engine in [&mut by_pointer as &mut dyn Engine, &mut through] {
            engine.swap_weight(name, None, &ty, scaled(&bytes, 0.75)).expect("swaps");
            assert_eq!(engine.read_weight(name, None).expect("reads").1, *scaled(&bytes, 0.75));
        }
        let changed = full(&mut by_pointer);
        assert_ne!(changed, before, "{name}");
        assert_eq!(full(&mut through), changed, "{name}");
        for engine in [&mut by_pointer as &mut dyn Engine, &mut through] {
            engine.restore_weight(name, None).expect("restores");
            assert_eq!(engine.read_weight(name, None).expect("reads").1, bytes);
            assert_eq!(full(engine), before, "{name}");
        }
    }
    let (ty, bytes) = through.read_weight("token_embd.weight", None).expect("reads");
    let half = scaled(&bytes, 0.5);
    for engine in [&mut by_pointer as &mut dyn Engine, &mut through] {
        engine.swap_weight("token_embd.weight", Some(WeightUse::Head), &ty, half.clone()).expect("swaps");
    }
    assert_eq!(full(&mut through), full(&mut by_pointer));
}

#[test]
fn every_role_of_activations_can_be_replaced_and_leaving_it_alone_changes_no_bit() {
    let (_folder, mut engine) = engine(1);
    let window = tokens(N_CTX as usize);
    let before = full(&mut engine);
    let n_embd = TinyModel::N_EMBD;
    for (node, n_per_row, n) in [
        ("attn_norm-1", n_embd, 32),
        ("Qcur-0", n_embd, 32),
        ("Kcur-0", n_embd, 32),
        ("Vcur-1", n_embd, 32),
        ("cache_k_l1", n_embd, 32),
        ("cache_v_l0", n_embd, 32),
        ("attn_out-1", n_embd, 32),
        ("ffn_norm-0", n_embd, 32),
        ("ffn_up-0", 2 * n_embd, 32),
        ("ffn_out-0", n_embd, 32),
        ("l_out-0", n_embd, 32),
        // Behind the last attention there are only the tokens whose logits are wanted.
        ("l_out-1", n_embd, 16),
        ("result_norm", n_embd, 16),
        ("embd", n_embd, 32),
    ] {
        let met = Mutex::new(Vec::new());
        let look = |slot: usize, values: &mut [f32], n_per_row: usize| {
            met.lock().expect("no panic").push((slot, values.len() / n_per_row, n_per_row));
            Ok(())
        };
        let same = logits(&mut engine, &window, Prefix::Full, &[Hook { node, replace: &look }]).expect(node);
        assert_eq!(same, before, "{node}");
        assert_eq!(met.into_inner().expect("no panic"), [(0, n, n_per_row)], "{node}");
        let damp = |_: usize, values: &mut [f32], _: usize| {
            values.iter_mut().enumerate().for_each(|(i, x)| *x *= if i % 3 == 0 { 0.5 } else { 1.0 });
            Ok(())
        };
        let other = logits(&mut engine, &window, Prefix::Full, &[Hook { node, replace: &damp }]).expect(node);
        assert_ne!(other, before, "{node} is replaced and nothing happens");
        assert_eq!(full(&mut engine), before, "{node} leaves something behind");
    }
    let fails = |_: usize, _: &mut [f32], _: usize| Err("not today".to_string());
    let error = logits(&mut engine, &window, Prefix::Full, &[Hook { node: "l_out-0", replace: &fails }]);
    assert!(error.expect_err("fails").to_string().contains("l_out-0: not today"));
    let keep = |_: usize, _: &mut [f32], _: usize| Ok(());
    let error = logits(&mut engine, &window, Prefix::Full, &[Hook { node: "ffn_nrom-1", replace: &keep }]);
    let error = error.expect_err("no such node").to_string();
    assert!(error.contains("\"ffn_nrom-1\"") && error.contains("ffn_norm-1"), "{error}");
}

#[test]
fn a_hook_behind_the_recorded_prefix_gives_the_bits_of_a_full_pass_and_one_before_it_is_an_error() {
    let (_folder, mut engine) = engine(1);
    let window = tokens(N_CTX as usize);
    logits(&mut engine, &window, Prefix::Record, &[]).expect("records");
    let halve = |_: usize, values: &mut [f32], _: usize| {
        values.iter_mut().for_each(|x| *x *= 0.5);
        Ok(())
    };
    for node in ["ffn_norm-1", "cache_v_l1", "l_out-1"] {
        let hooks = [Hook { node, replace: &halve }];
        let full = logits(&mut engine, &window, Prefix::Full, &hooks).expect(node);
        assert_eq!(logits(&mut engine, &window, Prefix::Reuse(1), &hooks).expect(node), full, "{node}");
    }
    let early = logits(&mut engine, &window, Prefix::Reuse(1), &[Hook { node: "ffn_norm-0", replace: &halve }]);
    assert!(early.expect_err("it is skipped").to_string().contains("the part that is skipped"));
}

#[test]
fn a_window_longer_than_what_is_computed_at_once_can_start_from_its_prefix_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "tiny.gguf");
    let settings = EngineSettings { n_ubatch: 16, ..EngineSettings::pinned(64) };
    let mut engine = LlamaEngine::open(&path, &settings, 1).expect("a sound model");
    let window = tokens(64);
    let run = |engine: &mut LlamaEngine, prefix| logits(engine, &window, prefix, &[]);
    let recorded = run(&mut engine, Prefix::Record).expect("records");
    assert_eq!(recorded.len(), 32 * engine.info().n_vocab);
    assert_eq!(run(&mut engine, Prefix::Reuse(1)).expect("reuses"), recorded);
    assert_eq!(run(&mut engine, Prefix::Full).expect("decodes"), recorded);
}

#[test]
fn the_first_value_that_is_not_finite_is_found_with_its_token_and_its_weight() {
    let (_folder, mut engine) = engine(2);
    let window = tokens(N_CTX as usize);
    assert_eq!(hunt(&mut engine, &window), None);
    let (ty, mut bytes) = engine.read_weight("blk.1.ffn_down.weight", None).expect("reads");
    bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    engine.swap_weight("blk.1.ffn_down.weight", None, &ty, Arc::new(bytes)).expect("swaps");
    let found = hunt(&mut engine, &window).expect("it is there");
    assert_eq!((found.node.as_str(), found.token), ("ffn_out-1", 16), "only the second half has outputs");
    assert_eq!(found.weights, ["blk.1.ffn_down.weight"]);
    engine.restore_weight("blk.1.ffn_down.weight", None).expect("restores");
    // One row of the lookup: the token that has it is named.
    let (ty, mut bytes) = engine.read_weight("token_embd.weight", None).expect("reads");
    let row = TinyModel::N_EMBD * 4 * window[9] as usize;
    bytes[row..row + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    engine.swap_weight("token_embd.weight", Some(WeightUse::Lookup), &ty, Arc::new(bytes)).expect("swaps");
    let found = hunt(&mut engine, &window).expect("it is there");
    assert_eq!((found.node.as_str(), found.token), ("embd", 9));
    engine.restore_weight("token_embd.weight", Some(WeightUse::Lookup)).expect("restores");
    assert_eq!(hunt(&mut engine, &window), None);
}

#[test]
fn memory_is_what_the_model_and_its_buffers_take() {
    let (_folder, mut engine) = engine(2);
    let memory = engine.memory().expect("a context");
    let weights: u64 = engine.weights().iter().map(|weight| weight.ne.iter().product::<u64>() * 4).sum();
    assert_eq!(memory.model_bytes, weights);
    assert_eq!(memory.prefix_bytes, (TinyModel::N_LAYER * N_CTX as usize * TinyModel::N_EMBD * 4) as u64);
    let logits = 16 * engine.info().n_vocab as u64 * 4;
    assert!(memory.context_bytes > logits && memory.context_bytes < 16 << 20, "{memory:?}");
}

#[test]
fn more_sequences_than_contexts_are_numbered_through_and_may_only_be_run_in_full() {
    let (_folder, mut engine) = engine(2);
    assert_eq!(engine.n_parallel(), 2);
    let window = tokens(N_CTX as usize);
    let sequences: Vec<Sequence<'_>> = [8, 12, 16, 20, 24].map(|n| scored(&window[..n])).to_vec();
    let met = Mutex::new(BTreeMap::new());
    let look = |slot: usize, values: &mut [f32], n_per_row: usize| {
        met.lock().expect("no panic").insert(slot, values.len() / n_per_row);
        Ok(())
    };
    let hooks = [Hook { node: "l_out-0", replace: &look }];
    let watch = ["blk.0.ffn_norm.weight".to_string()];
    let plain = Ask { hooks: &hooks, watch: &watch, ..Ask::of(&sequences) };
    let (logits, seen) = pass(&mut engine, &plain).expect("decodes");
    assert_eq!(met.into_inner().expect("no panic"), (0..).zip([8, 12, 16, 20, 24]).collect());
    assert_eq!((logits.len(), seen.len()), (5, 5));
    let hashes: BTreeSet<&str> = seen.iter().map(|seen| seen.watched[0].blake3.as_str()).collect();
    assert_eq!(hashes.len(), 5, "each sequence has a hash of its own");
    for n_parallel in [1, 2, 9] {
        let again = Ask { watch: &watch, n_parallel, ..Ask::of(&sequences) };
        assert_eq!(pass(&mut engine, &again).expect("decodes"), (logits.clone(), seen.clone()), "{n_parallel}");
    }
    for ask in [
        Ask { prefix: Prefix::Record, ..Ask::of(&sequences) },
        Ask { trace: true, ..Ask::of(&sequences) },
        Ask { prefix: Prefix::Record, n_parallel: 1, ..Ask::of(&sequences[..2]) },
    ] {
        let refused = pass(&mut engine, &ask).expect_err("a slot has no state of its own");
        assert!(refused.to_string().contains("windows at once"), "{refused}");
    }
}

#[test]
fn a_pass_says_what_it_was_asked_to_look_at_and_the_next_one_looks_at_nothing() {
    let (_folder, mut engine) = engine(2);
    let window = tokens(N_CTX as usize);
    let other: Vec<Token> = window.iter().rev().copied().collect();
    let sequences = [scored(&window), scored(&other)];
    let watch = ["blk.1.ffn_up.weight", "no.such.weight", "blk.0.attn_norm.weight"].map(String::from);
    let record = Ask { prefix: Prefix::Record, watch: &watch, ..Ask::of(&sequences) };
    let (before, recorded) = pass(&mut engine, &record).expect("records");
    let names: Vec<&str> = recorded[0].watched.iter().map(|watched| watched.tensor.as_str()).collect();
    assert_eq!(names, ["blk.1.ffn_up.weight", "blk.0.attn_norm.weight"], "what the graph lacks is left out");
    assert_ne!(recorded[0].watched, recorded[1].watched);
    assert!(recorded.iter().all(|seen| seen.traced.is_empty() && seen.non_finite.is_none()));

    let (ty, bytes) = engine.read_weight("blk.1.ffn_up.weight", None).expect("reads");
    engine.swap_weight("blk.1.ffn_up.weight", None, &ty, scaled(&bytes, 0.5)).expect("swaps");
    let traced = Ask { trace: true, watch: &watch, ..Ask::of(&sequences) };
    let (after, seen) = pass(&mut engine, &traced).expect("decodes");
    for (recorded, seen) in recorded.iter().zip(&seen) {
        assert_ne!(seen.watched[0], recorded.watched[0]);
        assert_eq!(seen.watched[1], recorded.watched[1], "nothing before the swapped weight moved");
        let moved: Vec<bool> = seen.traced.iter().map(|layer| layer.squared_error > 0.0).collect();
        assert_eq!(moved, [false, true]);
    }
    let (plain, seen) = pass(&mut engine, &Ask::of(&sequences)).expect("decodes");
    assert_eq!((plain, seen), (after, vec![Seen::default(); 2]));
    engine.restore_weight("blk.1.ffn_up.weight", None).expect("restores");

    // What was recorded is there until contexts are freed.
    let reuse = Ask { prefix: Prefix::Reuse(1), ..Ask::of(&sequences) };
    assert_eq!(pass(&mut engine, &reuse).expect("reuses").0, before);
    engine.free_contexts(1);
    let error = pass(&mut engine, &reuse).expect_err("the second slot has nothing recorded").to_string();
    assert!(error.contains("no hidden state was recorded"), "{error}");
    assert_eq!(decode(&mut engine, &sequences).expect("decodes"), before);
}
