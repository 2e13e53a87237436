//! An engine small enough to follow by hand: h = Σ embeddings so far, each layer h ← tanh(h · norm), logits = output · h.

use eval::{Engine, EngineError, EngineInfo, EngineSettings, Prefix, Token, WatchedActivation, WeightInfo};
use half::f16;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const N_VOCAB: usize = 11;
pub const N_EMBD: usize = 8;
pub const N_LAYER: usize = 3;

/// Ways in which the toy can misbehave.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// A reused prefix is a little off.
    InexactPrefix,
    /// Swapped weights are written, but reading them back gives something else.
    WrongReadBack,
}

/// Type and bytes of a weight, the stored ones first.
type Stack = Vec<(String, Arc<Vec<u8>>)>;

pub struct Toy {
    info: EngineInfo,
    infos: Vec<WeightInfo>,
    stacks: BTreeMap<String, Stack>,
    n_parallel: usize,
    fault: Fault,
    watch: Vec<String>,
    seen: Vec<Vec<WatchedActivation>>,
    /// Hidden states entering each layer: `[slot][layer][position][n_embd]`.
    states: Vec<Vec<Vec<[f32; N_EMBD]>>>,
}

/// Deterministic values between −1 and 1 that are no short binary fractions.
fn value(seed: usize, i: usize) -> f32 {
    ((seed * 7919 + i * 104_729 + 13) as f32 * 0.618_034).sin()
}

pub fn norm_name(layer: usize) -> String {
    format!("blk.{layer}.ffn_norm.weight")
}

impl Toy {
    pub fn new(n_parallel: usize, fault: Fault) -> Self {
        let f32_bytes = |seed, n| (0..n).flat_map(|i| (1.0 + value(seed, i)).to_le_bytes()).collect::<Vec<u8>>();
        let f16_bytes = |seed, n| (0..n).flat_map(|i| f16::from_f32(value(seed, i)).to_le_bytes()).collect::<Vec<u8>>();
        let mut weights =
            vec![("token_embd.weight".to_string(), "f16", [N_EMBD, N_VOCAB], f16_bytes(1, N_EMBD * N_VOCAB))];
        for layer in 0..N_LAYER {
            weights.push((norm_name(layer), "f32", [N_EMBD, 1], f32_bytes(10 + layer, N_EMBD)));
        }
        weights.push(("output.weight".into(), "f16", [N_EMBD, N_VOCAB], f16_bytes(2, N_EMBD * N_VOCAB)));
        Toy {
            info: EngineInfo {
                build: "toy".into(),
                arch: "toy".into(),
                n_vocab: N_VOCAB,
                n_layer: N_LAYER,
                n_ctx_train: 64,
                bos: Some(0),
                n_threads: n_parallel,
            },
            infos: weights
                .iter()
                .map(|(name, ty, ne, _)| WeightInfo {
                    name: name.clone(),
                    ty: (*ty).into(),
                    ne: [ne[0] as u64, ne[1] as u64, 1, 1],
                    consumers: 1,
                })
                .collect(),
            stacks: weights
                .into_iter()
                .map(|(name, ty, _, bytes)| (name, vec![(ty.into(), Arc::new(bytes))]))
                .collect(),
            n_parallel,
            fault,
            watch: Vec::new(),
            seen: Vec::new(),
            states: vec![Vec::new(); n_parallel],
        }
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let (ty, bytes) = self.stacks[name].last().expect("the stored bytes stay");
        match ty.as_str() {
            "f32" => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            _ => bytes.chunks(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
        }
    }

    fn pass(
        &mut self,
        slot: usize,
        window: &[Token],
        first_output: usize,
        prefix: Prefix,
    ) -> Result<Vec<f32>, EngineError> {
        let from = if let Prefix::Reuse(layer) = prefix { layer } else { 0 };
        let mut hidden: Vec<[f32; N_EMBD]> = if from > 0 {
            let mut state =
                self.states[slot].get(from).cloned().ok_or_else(|| EngineError::Failed("nothing recorded".into()))?;
            if self.fault == Fault::InexactPrefix {
                state[0][0] += 1e-3;
            }
            state
        } else {
            let embd = self.values("token_embd.weight");
            let mut sum = [0.0f32; N_EMBD];
            window
                .iter()
                .map(|&token| {
                    for (s, e) in sum.iter_mut().zip(&embd[token as usize * N_EMBD..]) {
                        *s = *s * 0.5 + e;
                    }
                    sum
                })
                .collect()
        };
        let mut entering = vec![hidden.clone()];
        let mut outputs = BTreeMap::new();
        for layer in from..N_LAYER {
            let norm = self.values(&norm_name(layer));
            for h in &mut hidden {
                for (x, w) in h.iter_mut().zip(&norm) {
                    *x = (*x * w).tanh();
                }
            }
            outputs.insert(norm_name(layer), format!("{hidden:?}"));
            entering.push(hidden.clone());
        }
        if prefix == Prefix::Record {
            self.states[slot] = entering;
        }
        self.seen[slot] = self
            .watch
            .iter()
            .map(|tensor| WatchedActivation {
                tensor: tensor.clone(),
                blake3: outputs.get(tensor).cloned().unwrap_or_default(),
            })
            .collect();
        let output = self.values("output.weight");
        let row = |h: &[f32; N_EMBD]| {
            (0..N_VOCAB)
                .map(|v| h.iter().zip(&output[v * N_EMBD..]).map(|(a, b)| a * b).sum::<f32>() * 3.0)
                .collect::<Vec<f32>>()
        };
        Ok(hidden[first_output..].iter().flat_map(row).collect())
    }
}

impl Engine for Toy {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// One token a byte, after BOS.
    fn tokenize(&self, text: &str) -> Result<Vec<Token>, EngineError> {
        Ok(std::iter::once(0).chain(text.bytes().map(|b| Token::from(b) % N_VOCAB as Token)).collect())
    }

    fn piece_len(&self, _token: Token) -> usize {
        1
    }

    fn weights(&self) -> &[WeightInfo] {
        &self.infos
    }

    fn read_weight(&self, name: &str) -> Result<(String, Vec<u8>), EngineError> {
        let stack = self.stacks.get(name).ok_or_else(|| EngineError::NoSuchWeight(name.into()))?;
        let (ty, bytes) = stack.last().expect("the stored bytes stay");
        let mut bytes = bytes.to_vec();
        if self.fault == Fault::WrongReadBack && stack.len() > 1 {
            bytes[0] ^= 1;
        }
        Ok((ty.clone(), bytes))
    }

    fn swap_weight(&mut self, name: &str, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError> {
        let stack = self.stacks.get_mut(name).ok_or_else(|| EngineError::NoSuchWeight(name.into()))?;
        stack.push((ty.into(), bytes));
        self.infos.iter_mut().find(|w| w.name == name).expect("listed").ty = ty.into();
        Ok(())
    }

    fn restore_weight(&mut self, name: &str) -> Result<(), EngineError> {
        let stack = self.stacks.get_mut(name).ok_or_else(|| EngineError::NoSuchWeight(name.into()))?;
        assert!(stack.len() > 1, "{name} restored more often than swapped");
        stack.pop();
        let ty = stack.last().expect("the stored bytes stay").0.clone();
        self.infos.iter_mut().find(|w| w.name == name).expect("listed").ty = ty;
        Ok(())
    }

    fn n_parallel(&self) -> usize {
        self.n_parallel
    }

    fn watch(&mut self, tensors: &[String]) {
        self.watch = tensors.to_vec();
    }

    fn watched(&self, slot: usize) -> Vec<WatchedActivation> {
        self.seen.get(slot).cloned().unwrap_or_default()
    }

    fn decode(
        &mut self,
        windows: &[&[Token]],
        first_output: usize,
        prefix: Prefix,
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        assert!(windows.len() <= self.n_parallel, "more windows than contexts");
        self.seen = vec![Vec::new(); windows.len()];
        for (slot, window) in windows.iter().enumerate() {
            let logits = self.pass(slot, window, first_output, prefix)?;
            score(slot, &logits);
        }
        Ok(())
    }
}

/// Settings with windows of 16 tokens.
pub fn settings() -> EngineSettings {
    EngineSettings::pinned(16)
}
