//! An engine small enough to follow by hand: h = Σ embeddings so far, each layer h ← tanh(h · norm), logits = output · h.

use eval::{
    ChatMessage, Engine, EngineError, EngineInfo, EngineMemory, EngineSettings, Hook, LayerError, NodeInfo,
    NonFiniteNode, Prefix, Token, WatchedActivation, WeightInfo, WeightUse,
};
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
    nodes: Vec<NodeInfo>,
    is_traced: bool,
    errors: Vec<Vec<LayerError>>,
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
                    lookups: usize::from(name == "token_embd.weight"),
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
            nodes: (0..N_LAYER)
                .map(|layer| NodeInfo { name: format!("l_out-{layer}"), op: "UNARY".into(), ty: "f32".into() })
                .collect(),
            is_traced: false,
            errors: vec![Vec::new(); n_parallel],
        }
    }

    fn uses(&self, name: &str, used_as: WeightUse) -> Result<(), EngineError> {
        let expected = match used_as {
            WeightUse::Lookup => "token_embd.weight",
            WeightUse::Head => "output.weight",
        };
        if name == expected { Ok(()) } else { Err(EngineError::NotUsedSo { name: name.into(), used_as }) }
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
        hooks: &[Hook<'_>],
    ) -> Result<Vec<f32>, EngineError> {
        let from = if let Prefix::Reuse(layer) = prefix { layer } else { 0 };
        let mut hidden: Vec<[f32; N_EMBD]> = if from > 0 {
            let mut state =
                self.states[slot].get(from).cloned().ok_or_else(|| EngineError::Failed("nothing recorded".into()))?;
            if self.fault == Fault::InexactPrefix {
                // In every row: positions do not see each other here, and not all are scored.
                state.iter_mut().for_each(|row| row[0] += 1e-3);
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
            for hook in hooks.iter().filter(|hook| hook.node == format!("l_out-{layer}")) {
                let mut values: Vec<f32> = hidden.iter().flatten().copied().collect();
                (hook.replace)(slot, &mut values, N_EMBD).map_err(EngineError::Failed)?;
                hidden = values.chunks(N_EMBD).map(|row| row.try_into().expect("a row")).collect();
            }
            entering.push(hidden.clone());
        }
        if self.is_traced && prefix == Prefix::Full {
            self.errors[slot] = (0..N_LAYER)
                .map(|layer| {
                    let mut error = LayerError::default();
                    for (a, b) in
                        entering[layer + 1].iter().flatten().zip(self.states[slot][layer + 1].iter().flatten())
                    {
                        error.squared_error += f64::from(a - b).powi(2);
                        error.squared_reference += f64::from(*b).powi(2);
                    }
                    error
                })
                .collect();
        }
        if prefix == Prefix::Record {
            self.states[slot] = entering;
        }
        let seen = self
            .watch
            .iter()
            .map(|tensor| WatchedActivation {
                tensor: tensor.clone(),
                blake3: outputs.get(tensor).cloned().unwrap_or_default(),
            })
            .collect();
        if let Some(there) = self.seen.get_mut(slot) {
            *there = seen;
        }
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

    fn piece(&self, token: Token) -> Vec<u8> {
        vec![b'a' + token as u8]
    }

    fn is_end(&self, token: Token) -> bool {
        token == N_VOCAB as Token - 1
    }

    fn chat_prompt(&self, messages: &[ChatMessage]) -> Result<Vec<Token>, EngineError> {
        self.tokenize(&messages.iter().map(|message| message.content.as_str()).collect::<String>())
    }

    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        let mut text = prompt.to_vec();
        while text.len() < 64 {
            let logits = self.pass(0, &text, text.len() - 1, Prefix::Full, hooks)?;
            let Some(token) = next(&logits) else { break };
            text.push(token);
        }
        Ok(())
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

    fn swap_use(&mut self, name: &str, used_as: WeightUse, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError> {
        self.uses(name, used_as)?;
        self.swap_weight(name, ty, bytes)
    }

    fn read_use(&self, name: &str, used_as: WeightUse) -> Result<(String, Vec<u8>), EngineError> {
        self.uses(name, used_as)?;
        self.read_weight(name)
    }

    fn restore_use(&mut self, name: &str, used_as: WeightUse) -> Result<(), EngineError> {
        self.uses(name, used_as)?;
        self.restore_weight(name)
    }

    fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    fn find_node(&self, name: &str) -> Result<(), EngineError> {
        let there = self.nodes.iter().any(|node| node.name == name);
        let missing = || EngineError::NoSuchNode { name: name.into(), near: vec!["l_out-0".into()] };
        if there { Ok(()) } else { Err(missing()) }
    }

    fn limit_parallel(&mut self, n: usize) {
        self.n_parallel = self.info.n_threads.min(n.max(1));
    }

    fn memory(&mut self) -> Result<EngineMemory, EngineError> {
        Ok(EngineMemory { model_bytes: 1000, context_bytes: 100, prefix_bytes: 10 })
    }

    fn decode_hooked(
        &mut self,
        windows: &[&[Token]],
        first_output: usize,
        prefix: Prefix,
        hooks: &[Hook<'_>],
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        assert!(windows.len() <= self.n_parallel, "more windows than contexts");
        let is_there = |hook: &&Hook<'_>| self.nodes.iter().any(|node| node.name == hook.node);
        if let Some(hook) = hooks.iter().find(|hook| !is_there(hook)) {
            return Err(EngineError::NoSuchNode { name: hook.node.into(), near: vec!["l_out-0".into()] });
        }
        self.seen = vec![Vec::new(); windows.len()];
        for (slot, window) in windows.iter().enumerate() {
            let logits = self.pass(slot, window, first_output, prefix, hooks)?;
            score(slot, &logits);
        }
        Ok(())
    }

    fn trace(&mut self, on: bool) {
        self.is_traced = on;
    }

    fn traced(&self, slot: usize) -> Vec<LayerError> {
        self.errors[slot].clone()
    }

    fn first_non_finite(&mut self, window: &[Token], hooks: &[Hook<'_>]) -> Result<Option<NonFiniteNode>, EngineError> {
        let logits = self.pass(0, window, 0, Prefix::Full, hooks)?;
        Ok(logits.iter().position(|value| !value.is_finite()).map(|bad| NonFiniteNode {
            node: "result_output".into(),
            token: bad / N_VOCAB,
            weights: vec!["output.weight".into()],
        }))
    }
}

/// Settings with windows of 16 tokens.
pub fn settings() -> EngineSettings {
    EngineSettings::pinned(16)
}
