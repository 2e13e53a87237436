//! Faults in an engine: its writes and their undoing, its tokens, windows and passes.

use crate::{Fault, FaultPlace, Parts};
use eval::{
    Ask, ChatMessage, ChatPrompt, Engine, EngineError, Hook, Passes, Prefix, Seen, Sequence, TakeLogits, Token, Tokens,
    WeightInfo, WeightUse, Weights,
};
use proof::forward_engine;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type Bytes = Arc<Vec<u8>>;

/// What a faulty engine does in place of what it was asked. [`WHOLE`] does what it was asked.
#[derive(Clone, Copy)]
struct Hooks {
    /// The name of the weight that is written.
    write_to: fn(&str) -> String,
    /// The name of the weight that is read.
    read_from: fn(&str) -> String,
    /// The type and the bytes that are written, from those that were asked for and the number of values in a row. `None`
    /// writes nothing.
    write: fn(&str, Bytes, usize) -> Option<(String, Bytes)>,
    /// Whether reads give back what was asked for, whatever was written.
    reads_lie: bool,
    /// When a swap is undone.
    restores: Restores,
    /// The tokens of a text, from the right ones and the size of the vocabulary.
    tokens: fn(Vec<Token>, usize) -> Vec<Token>,
    /// The window that is decoded.
    window: fn(&[Token]) -> Vec<Token>,
    /// The use that is made of hidden states; the number counts windows decoded before.
    prefix: fn(Prefix, usize) -> Prefix,
    /// Changes the logits of a window.
    logits: fn(&mut Vec<f32>, FaultyWindow<'_>),
}

/// The time at which a swap is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restores {
    /// The swap is undone when that is asked for.
    AtOnce,
    /// The swap is undone before the next weight is swapped. Whatever runs until then runs with the swapped weight.
    Late,
    /// The swap is never undone.
    Never,
}

/// What a fault knows of a window whose logits it changes.
struct FaultyWindow<'a> {
    /// The number of windows decoded before.
    call: usize,
    /// The logits of the window before.
    before: &'a [f32],
    prefix: Prefix,
}

const WHOLE: Hooks = Hooks {
    write_to: str::to_owned,
    read_from: str::to_owned,
    write: |ty, bytes, _| Some((ty.to_owned(), bytes)),
    reads_lie: false,
    restores: Restores::AtOnce,
    tokens: |tokens, _| tokens,
    window: |window| window.to_vec(),
    prefix: |prefix, _| prefix,
    logits: |_, _| {},
};

/// An engine that does other things than it is asked.
struct Faulty {
    engine: Box<dyn Engine>,
    hooks: Hooks,
    /// The types and bytes that were asked for, by weight.
    asked: BTreeMap<String, Vec<(String, Bytes)>>,
    /// Whether each of those reached the engine.
    reached: BTreeMap<String, Vec<bool>>,
    /// The weights that are still to be restored.
    late: Vec<String>,
    calls: usize,
    before: Vec<f32>,
}

forward_engine!(Faulty: Graph, Memory);

impl Tokens for Faulty {
    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, EngineError> {
        Ok((self.hooks.tokens)(self.engine.tokenize(text, special)?, self.engine.info().n_vocab))
    }

    fn piece(&self, token: Token) -> Result<Vec<u8>, EngineError> {
        self.engine.piece(token)
    }

    fn piece_len(&self, token: Token) -> Result<usize, EngineError> {
        self.engine.piece_len(token)
    }

    fn is_end(&self, token: Token) -> bool {
        self.engine.is_end(token)
    }

    fn chat_prompt(&self, template: Option<&str>, messages: &[ChatMessage]) -> Result<ChatPrompt, EngineError> {
        self.engine.chat_prompt(template, messages)
    }
}

/// The faults are in whole weights; single uses of them are as they should be.
impl Weights for Faulty {
    fn weights(&self) -> &[WeightInfo] {
        self.engine.weights()
    }

    fn read_weight(&self, name: &str, used_as: Option<WeightUse>) -> Result<(String, Vec<u8>), EngineError> {
        if used_as.is_some() {
            return self.engine.read_weight(name, used_as);
        }
        match self.asked.get(name).and_then(|asked| asked.last()) {
            Some((ty, bytes)) if self.hooks.reads_lie => Ok((ty.clone(), bytes.to_vec())),
            _ => self.engine.read_weight(&(self.hooks.read_from)(name), None),
        }
    }

    fn swap_weight(
        &mut self,
        name: &str,
        used_as: Option<WeightUse>,
        ty: &str,
        bytes: Bytes,
    ) -> Result<(), EngineError> {
        if used_as.is_some() {
            return self.engine.swap_weight(name, used_as, ty, bytes);
        }
        let n_per_row =
            self.weights().iter().find(|weight| weight.name == name).map_or(1, |weight| weight.ne[0] as usize);
        for late in std::mem::take(&mut self.late) {
            self.engine.restore_weight(&late, None)?;
        }
        self.asked.entry(name.into()).or_default().push((ty.into(), bytes.clone()));
        let written = (self.hooks.write)(ty, bytes, n_per_row);
        self.reached.entry(name.into()).or_default().push(written.is_some());
        match written {
            Some((ty, bytes)) => self.engine.swap_weight(&(self.hooks.write_to)(name), None, &ty, bytes),
            None => Ok(()),
        }
    }

    fn restore_weight(&mut self, name: &str, used_as: Option<WeightUse>) -> Result<(), EngineError> {
        if used_as.is_some() {
            return self.engine.restore_weight(name, used_as);
        }
        self.asked.entry(name.into()).or_default().pop();
        let reached = self.reached.entry(name.into()).or_default().pop().unwrap_or(true);
        let name = (self.hooks.write_to)(name);
        match self.hooks.restores {
            Restores::AtOnce if reached => self.engine.restore_weight(&name, None)?,
            Restores::Late if reached => self.late.push(name),
            _ => {}
        }
        Ok(())
    }
}

impl Passes for Faulty {
    fn n_parallel(&self) -> usize {
        self.engine.n_parallel()
    }

    fn pass(&mut self, ask: &Ask<'_>, score: &TakeLogits<'_>) -> Result<Vec<Seen>, EngineError> {
        let windows: Vec<Vec<Token>> =
            ask.sequences.iter().map(|sequence| (self.hooks.window)(sequence.tokens)).collect();
        let given: Vec<Sequence<'_>> = windows
            .iter()
            .zip(ask.sequences)
            .map(|(tokens, asked)| Sequence { tokens, first_output: asked.first_output })
            .collect();
        let given = Ask { sequences: &given, prefix: (self.hooks.prefix)(ask.prefix, self.calls), ..*ask };
        let scored: Mutex<BTreeMap<usize, Vec<f32>>> = Mutex::default();
        let seen = self.engine.pass(&given, &|slot, logits| {
            scored.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, logits.to_vec());
        })?;
        for (slot, mut logits) in scored.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let own = logits.clone();
            let context = FaultyWindow { call: self.calls, before: &self.before, prefix: ask.prefix };
            (self.hooks.logits)(&mut logits, context);
            self.calls += 1;
            self.before = own;
            score(slot, &logits);
        }
        Ok(seen)
    }

    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        self.engine.generate(prompt, hooks, next)
    }
}

fn plant(parts: &mut Parts, hooks: Hooks) {
    let open = parts.open.clone();
    parts.open = Arc::new(move |path, settings, n_threads| {
        let engine = open(path, settings, n_threads)?;
        let (asked, reached, late) = Default::default();
        Ok(Box::new(Faulty { engine, hooks, asked, reached, late, calls: 0, before: Vec::new() }))
    });
}

const fn fault(name: &'static str, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place: FaultPlace::Engine, plant }
}

pub(super) const FAULTS: &[Fault] = &[
    fault("write skipped", |parts| plant(parts, Hooks { write: |_, _, _| None, ..WHOLE })),
    fault("write skipped, reads lie", |parts| plant(parts, Hooks { write: |_, _, _| None, reads_lie: true, ..WHOLE })),
    fault("wrong tensor written", |parts| plant(parts, Hooks { write_to: sibling, ..WHOLE })),
    fault("wrong tensor written, reads lie", |parts| {
        plant(parts, Hooks { write_to: sibling, reads_lie: true, ..WHOLE })
    }),
    fault("wrong tensor written and read", |parts| {
        plant(parts, Hooks { write_to: sibling, read_from: sibling, ..WHOLE })
    }),
    fault("wrong layer written, reads lie", |parts| {
        plant(parts, Hooks { write_to: next_layer, reads_lie: true, ..WHOLE })
    }),
    fault("rows transposed, reads lie", |parts| plant(parts, Hooks { write: transposed, reads_lie: true, ..WHOLE })),
    fault("rows off by one, reads lie", |parts| plant(parts, Hooks { write: one_row_on, reads_lie: true, ..WHOLE })),
    fault("one block not written, reads lie", |parts| {
        plant(parts, Hooks { write: one_block_zero, reads_lie: true, ..WHOLE })
    }),
    fault("fallback type taken silently", |parts| plant(parts, Hooks { write: in_f16, ..WHOLE })),
    fault("carrier's precision lost, reads lie", |parts| {
        plant(parts, Hooks { write: bf16_in_f32, reads_lie: true, ..WHOLE })
    }),
    fault("sign lost in the engine, reads lie", |parts| {
        plant(parts, Hooks { write: magnitudes, reads_lie: true, ..WHOLE })
    }),
    fault("restore skipped", |parts| plant(parts, Hooks { restores: Restores::Never, ..WHOLE })),
    fault("restored late: what runs next has it too", |parts| {
        plant(parts, Hooks { restores: Restores::Late, ..WHOLE })
    }),
    fault("wrong vocabulary", |parts| {
        plant(
            parts,
            Hooks {
                tokens: |tokens, n_vocab| tokens.into_iter().map(|t| (t + 1) % n_vocab as Token).collect(),
                ..WHOLE
            },
        )
    }),
    fault("BOS dropped", |parts| {
        plant(parts, Hooks { window: |window| [&window[1..2], &window[1..]].concat(), ..WHOLE })
    }),
    fault("tokens shifted by one", |parts| {
        plant(
            parts,
            Hooks {
                window: |window| {
                    let mut window = window.to_vec();
                    window.rotate_left(1);
                    window
                },
                ..WHOLE
            },
        )
    }),
    fault("prefix reused from the next layer", |parts| {
        plant(
            parts,
            Hooks {
                prefix: |prefix, _| match prefix {
                    Prefix::Reuse(layer) => Prefix::Reuse(layer + 1),
                    other => other,
                },
                ..WHOLE
            },
        )
    }),
    fault("prefix of the first window reused for all", |parts| {
        plant(
            parts,
            Hooks {
                // The first window is what a run tries the reuse on: its self-check cannot see this.
                prefix: |prefix, call| if prefix == Prefix::Record && call > 1 { Prefix::Full } else { prefix },
                ..WHOLE
            },
        )
    }),
    fault("stale reference", |parts| {
        plant(
            parts,
            Hooks {
                logits: |logits, context| {
                    let is_reference = context.prefix == Prefix::Record;
                    if is_reference && context.before.len() == logits.len() {
                        logits.copy_from_slice(context.before);
                    }
                },
                ..WHOLE
            },
        )
    }),
    fault("logits of the window before", |parts| {
        plant(
            parts,
            Hooks {
                logits: |logits, context| {
                    if context.call % 5 == 4 && context.before.len() == logits.len() {
                        logits.copy_from_slice(context.before);
                    }
                },
                ..WHOLE
            },
        )
    }),
    fault("a logit moves from pass to pass", |parts| {
        plant(parts, Hooks { logits: |logits, context| logits[0] += context.call as f32 * 1e-3, ..WHOLE })
    }),
    fault("a logit is NaN", |parts| plant(parts, Hooks { logits: |logits, _| logits[7] = f32::NAN, ..WHOLE })),
    fault("logits of one position twice", |parts| {
        plant(
            parts,
            Hooks {
                logits: |logits, _| {
                    let half = logits.len() / 2;
                    logits.copy_within(half.., 0);
                },
                ..WHOLE
            },
        )
    }),
];

/// Another tensor of the same shape in the same layer.
fn sibling(name: &str) -> String {
    for (one, other) in [("attn_q.", "attn_output."), ("ffn_norm.", "attn_norm.")] {
        if name.contains(one) {
            return name.replace(one, other);
        }
        if name.contains(other) {
            return name.replace(other, one);
        }
    }
    name.to_owned()
}

/// The same tensor of layer 2 for one of layer 1, and the reverse.
fn next_layer(name: &str) -> String {
    match name.strip_prefix("blk.1.") {
        Some(rest) => format!("blk.2.{rest}"),
        None => name.strip_prefix("blk.2.").map_or(name.to_owned(), |rest| format!("blk.1.{rest}")),
    }
}

/// Changes bytes of F32 as values. Other types stay as they are.
fn values(ty: &str, bytes: &Bytes, change: impl FnOnce(&mut Vec<f32>)) -> Option<(String, Bytes)> {
    if !ty.eq_ignore_ascii_case("f32") {
        return Some((ty.to_owned(), bytes.clone()));
    }
    let mut values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    change(&mut values);
    Some((ty.to_owned(), Arc::new(values.iter().flat_map(|x| x.to_le_bytes()).collect())))
}

fn transposed(ty: &str, bytes: Bytes, n_per_row: usize) -> Option<(String, Bytes)> {
    values(ty, &bytes, |values| {
        let rows = values.len() / n_per_row;
        let before = values.clone();
        for (i, x) in values.iter_mut().enumerate() {
            // A vector is its own transpose, so its values are reversed instead.
            *x = if rows > 1 { before[i % rows * n_per_row + i / rows] } else { before[before.len() - 1 - i] };
        }
    })
}

fn one_row_on(ty: &str, bytes: Bytes, n_per_row: usize) -> Option<(String, Bytes)> {
    values(ty, &bytes, |values| {
        let one = if values.len() > n_per_row { n_per_row } else { 1 };
        values.rotate_left(one);
    })
}

fn one_block_zero(ty: &str, bytes: Bytes, _: usize) -> Option<(String, Bytes)> {
    values(ty, &bytes, |values| {
        let n = values.len();
        values[n - n.min(32)..].fill(0.0);
    })
}

fn magnitudes(ty: &str, bytes: Bytes, _: usize) -> Option<(String, Bytes)> {
    // A norm has no negative weight: there the last sign is lost the other way.
    values(ty, &bytes, |values| {
        let all_positive = values.iter().all(|x| *x >= 0.0);
        values.iter_mut().for_each(|x| *x = if all_positive { -*x } else { x.abs() });
    })
}

fn bf16_in_f32(ty: &str, bytes: Bytes, _: usize) -> Option<(String, Bytes)> {
    values(ty, &bytes, |values| values.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_0000)))
}

fn in_f16(ty: &str, bytes: Bytes, n_per_row: usize) -> Option<(String, Bytes)> {
    let (_, kept) = values(ty, &bytes, |_| {})?;
    // A vector has to be F32 for the graph; a matrix may be F16.
    if !ty.eq_ignore_ascii_case("f32") || bytes.len() == 4 * n_per_row {
        return Some((ty.to_owned(), kept));
    }
    let halves = bytes
        .chunks_exact(4)
        .flat_map(|b| half::f16::from_f32(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).to_le_bytes());
    Some(("f16".into(), Arc::new(halves.collect())))
}
