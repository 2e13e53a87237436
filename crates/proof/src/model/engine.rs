//! Checks of the weights in the engine.

use super::{ModelUnderTest, check};
use crate::check::{Area, Check, Status, Tally};
use eval::{Ask, Engine, EngineError, Hook, Prefix, Sequence, Token};
use record::Carrier;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use worker::protocol::Event;

/// The logits of one window.
pub(super) fn logits(
    engine: &mut dyn Engine,
    window: &[Token],
    first_output: usize,
    prefix: Prefix,
) -> Result<Vec<f32>, EngineError> {
    hooked_logits(engine, window, first_output, prefix, &[])
}

/// As [`logits`], with the values of some nodes replaced.
pub(super) fn hooked_logits(
    engine: &mut dyn Engine,
    window: &[Token],
    first_output: usize,
    prefix: Prefix,
    hooks: &[Hook<'_>],
) -> Result<Vec<f32>, EngineError> {
    let out: Mutex<Vec<f32>> = Mutex::default();
    let sequences = [Sequence { tokens: window, first_output }];
    engine.pass(&Ask { prefix, hooks, ..Ask::of(&sequences) }, &|_, logits| {
        *out.lock().unwrap_or_else(PoisonError::into_inner) = logits.to_vec();
    })?;
    Ok(out.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The words of an engine's error.
pub(super) fn words(error: EngineError) -> String {
    error.to_string()
}

/// Compares two passes that must have the same logits.
pub(super) fn bits_agree(tally: &mut Tally, what: &str, ours: &[f32], theirs: &[f32]) {
    let differing = ours.iter().zip(theirs).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    tally.hold(differing == 0 && ours.len() == theirs.len(), || {
        format!("{what}: {differing} of {} logits differ", ours.len().max(theirs.len()))
    });
}

/// Checks that type and bytes of every weight in the engine are those of the file.
pub(super) fn weights_are_the_files(subject: &ModelUnderTest<'_>) -> Check {
    check("weights in the engine are the file's", &["engine", "file"], |tally| {
        let engine = subject.engine()?;
        for weight in engine.weights() {
            let name = &weight.name;
            let Some(tensor) = subject.file.tensor(name) else {
                tally.hold(false, || format!("the file has no {name}"));
                continue;
            };
            let stored = subject.pipeline.read_tensor(&subject.file, tensor).map_err(|error| error.to_string())?;
            let (ty, bytes) = engine.read_weight(name, None).map_err(words)?;
            tally.hold(ty.eq_ignore_ascii_case(tensor.ty.name()) && bytes == stored, || {
                format!("{name}: {ty} in the engine, {} in the file, and the bytes differ", tensor.ty.name())
            });
        }
        Ok(())
    })
}

/// Checks that a write changes the bytes of its weight and of no other, that the graph uses them, and that undoing the
/// write leaves no trace.
pub(super) fn a_write_acts_and_is_undone(subject: &ModelUnderTest<'_>) -> Check {
    check("a write changes its tensor, changes nothing else, and is undone", &["before", "during", "after"], |tally| {
        let mut engine = subject.engine()?;
        let window = subject.windows(&*engine)?.remove(0);
        let first = subject.first_scored();
        let before = logits(&mut *engine, &window, first, Prefix::Full).map_err(words)?;
        let everything = hashes(&*engine)?;
        for pick in &subject.picks {
            let name = &pick.name;
            let weight = engine.weights().iter().find(|weight| weight.name == *name);
            let n: u64 = weight.ok_or_else(|| format!("the graph has no {name}"))?.ne.iter().product();
            // No two values are alike, so that a row or a block out of place is seen.
            let bytes: Vec<u8> = (0..n).flat_map(|i| (0.5f32 + i as f32 / n as f32).to_le_bytes()).collect();
            engine.swap_weight(name, None, "f32", Arc::new(bytes.clone())).map_err(words)?;
            let (ty, found) = engine.read_weight(name, None).map_err(words)?;
            tally.hold(ty.eq_ignore_ascii_case("f32") && found == bytes, || {
                format!("{name}: the bytes read back are not those written")
            });
            let others = |hashes: &BTreeMap<String, String>| {
                let mut hashes = hashes.clone();
                hashes.remove(name);
                hashes
            };
            tally.hold(others(&hashes(&*engine)?) == others(&everything), || {
                format!("writing {name} changed another weight")
            });
            let during = logits(&mut *engine, &window, first, Prefix::Full).map_err(words)?;
            tally.hold(during != before, || format!("{name} was overwritten, but no logit changed"));
            engine.restore_weight(name, None).map_err(words)?;
            tally.hold(hashes(&*engine)? == everything, || {
                format!("{name} was restored, but the weights differ from before")
            });
            let after = logits(&mut *engine, &window, first, Prefix::Full).map_err(words)?;
            bits_agree(tally, &format!("after {name} was restored"), &after, &before);
        }
        Ok(())
    })
}

/// The type and the hash of every weight, by name.
fn hashes(engine: &dyn Engine) -> Result<BTreeMap<String, String>, String> {
    let one = |name: &str| {
        let (ty, bytes) = engine.read_weight(name, None).map_err(words)?;
        Ok((name.to_owned(), format!("{ty} {}", blake3::hash(&bytes).to_hex())))
    };
    engine.weights().iter().map(|weight| one(&weight.name)).collect()
}

/// Parts of the names of tensors of recurrent models. They carry a state from token to token, so that a pass is more than
/// its hidden states.
const RECURRENT: [&str; 3] = [".ssm_", ".time_mix_", ".shortconv."];

/// Checks for every layer that a pass from the recorded state that enters it gives the bits of a full pass. In a recurrent
/// model it need not, and the worker must find that out.
pub(super) fn prefix_reuse_changes_nothing(subject: &ModelUnderTest<'_>) -> Check {
    const NAME: &str = "a reused prefix gives the bits of a full pass";
    let mut refused = None;
    let result = check(NAME, &["reused", "full pass"], |tally| {
        let mut engine = subject.engine()?;
        let window = subject.windows(&*engine)?.remove(0);
        let first = subject.first_scored();
        let full = logits(&mut *engine, &window, first, Prefix::Full).map_err(words)?;
        let recorded = logits(&mut *engine, &window, first, Prefix::Record).map_err(words)?;
        bits_agree(tally, "the pass that records", &recorded, &full);
        for layer in 1..=engine.info().n_layer {
            match logits(&mut *engine, &window, first, Prefix::Reuse(layer)) {
                Ok(reused) => bits_agree(tally, &format!("from layer {layer}"), &reused, &full),
                Err(error) => {
                    refused = Some(error.to_string());
                    break;
                }
            }
        }
        Ok(())
    });
    let is_recurrent =
        subject.file.tensors().iter().any(|tensor| RECURRENT.iter().any(|part| tensor.name.contains(part)));
    if refused.is_none() && result.status == Status::Failed && is_recurrent && worker_does_without(subject) {
        refused = Some(format!("it is recurrent, and the worker finds out that {}", result.detail));
    }
    match refused {
        // The worker finds that out too and makes full passes.
        Some(why) => Check::skipped(Area::Model, NAME, format!("this model's passes are always full: {why}")),
        None => result,
    }
}

/// Whether the worker says that a reused prefix gives other bits. It tries one on the first window.
fn worker_does_without(subject: &ModelUnderTest<'_>) -> bool {
    let cells = [subject.cell("schemes", |pick| pick.scheme.into(), Carrier::F32)];
    let measured = subject.session(1).and_then(|mut session| session.measure(&subject.native_base(), &cells, 1));
    measured.is_ok_and(|events| events.iter().any(|event| matches!(event, Event::Note { .. })))
}
