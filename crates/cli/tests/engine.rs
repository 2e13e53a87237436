//! The engine itself, on a tiny model made on the spot.

mod support;

use eval::{Engine, EngineError, EngineSettings, Prefix, Sequence, Token};
use llama::LlamaEngine;
use std::collections::BTreeMap;
use std::sync::Mutex;
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

fn decode_each(engine: &mut dyn Engine, sequences: &[Sequence<'_>]) -> Result<BTreeMap<usize, Vec<f32>>, EngineError> {
    let taken = Mutex::new(BTreeMap::new());
    engine.decode_each(sequences, &|index, logits| {
        taken.lock().expect("no panic").insert(index, logits.to_vec());
    })?;
    Ok(taken.into_inner().expect("no panic"))
}

#[test]
fn sequences_of_all_lengths_have_the_same_logits_alone_and_side_by_side() {
    let window = tokens(N_CTX as usize);
    let sequences: Vec<Sequence<'_>> = [(32, 0), (7, 6), (20, 3), (1, 0), (32, 16)]
        .map(|(n, first_output)| Sequence { tokens: &window[..n], first_output })
        .to_vec();
    let (_folder, mut one) = engine(1);
    let (_other, mut two) = engine(2);
    let alone = decode_each(&mut one, &sequences).expect("decodes");
    assert_eq!(decode_each(&mut two, &sequences).expect("decodes"), alone);
    let n_vocab = one.info().n_vocab;
    for (index, sequence) in sequences.iter().enumerate() {
        assert_eq!(alone[&index].len(), (sequence.tokens.len() - sequence.first_output) * n_vocab);
    }
    // The whole window's second half is what a scored window gives, before and after contexts with more outputs.
    let scored = Mutex::new(Vec::new());
    one.decode(&[&window], 16, Prefix::Full, &|_, logits| *scored.lock().expect("no panic") = logits.to_vec())
        .expect("decodes");
    assert_eq!(scored.into_inner().expect("no panic"), alone[&4]);
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
        assert!(decode_each(&mut engine, &[sequence]).is_err(), "{sequence:?} was accepted");
    }
    let fits = Sequence { tokens: &window[..4], first_output: 3 };
    assert!(decode_each(&mut engine, &[fits]).is_ok());
}
