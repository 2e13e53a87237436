//! An engine small enough to follow by hand. h = Σ embeddings so far, each layer computes h ← tanh(h · norm), and
//! logits = output · h. With routers, each layer chooses as experts the two largest of the first four values of h.

use eval::{
    Ask, ChatMessage, ChatPrompt, EngineError, EngineInfo, EngineMemory, EngineSettings, Graph, Hook, LayerError,
    Memory, NodeInfo, NonFiniteNode, Passes, Prefix, RoutedLayer, Seen, Sequence, TakeLogits, Token, Tokens,
    WatchedActivation, WeightInfo, WeightUse, Weights,
};
use half::f16;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const N_VOCAB: usize = 11;
pub const N_EMBD: usize = 8;
pub const N_LAYER: usize = 3;

/// The ways in which the toy engine can misbehave.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// A pass from a reused prefix is slightly wrong.
    InexactPrefix,
    /// Swapped weights are written, but reading them back gives other bytes.
    WrongReadBack,
}

/// The type and bytes of a weight, the stored ones first.
type Stack = Vec<(String, Arc<Vec<u8>>)>;

pub struct Toy {
    info: EngineInfo,
    infos: Vec<WeightInfo>,
    stacks: BTreeMap<String, Stack>,
    n_parallel: usize,
    fault: Fault,
    /// The hidden states that enter each layer: `[slot][layer][position][n_embd]`.
    states: Vec<Vec<Vec<[f32; N_EMBD]>>>,
    nodes: Vec<NodeInfo>,
    has_routers: bool,
}

/// Deterministic values between −1 and 1 that are not short binary fractions.
fn value(seed: usize, i: usize) -> f32 {
    ((seed * 7919 + i * 104_729 + 13) as f32 * 0.618_034).sin()
}

/// The experts that a router chooses: the places of the two largest of four values, the first ones of equals. Zero is one
/// value in either sign.
fn chosen(row: &[f32; N_EMBD]) -> [i32; 2] {
    let mut experts = [0, 1, 2, 3];
    experts.sort_by(|&a, &b| (row[b as usize] + 0.0).total_cmp(&(row[a as usize] + 0.0)));
    [experts[0], experts[1]]
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
            states: vec![Vec::new(); n_parallel],
            nodes: (0..N_LAYER)
                .map(|layer| NodeInfo { name: format!("l_out-{layer}"), op: "UNARY".into(), ty: "f32".into() })
                .collect(),
            has_routers: false,
        }
    }

    pub fn with_routers(self) -> Self {
        Toy { has_routers: true, ..self }
    }

    fn uses(&self, name: &str, used_as: Option<WeightUse>) -> Result<(), EngineError> {
        let expected = match used_as {
            None => name,
            Some(WeightUse::Lookup) => "token_embd.weight",
            Some(WeightUse::Head) => "output.weight",
        };
        let refused = used_as.filter(|_| name != expected);
        refused.map_or(Ok(()), |used_as| Err(EngineError::NotUsedSo { name: name.into(), used_as }))
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let (ty, bytes) = self.stacks[name].last().expect("the stored bytes stay");
        match ty.as_str() {
            "f32" => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            _ => bytes.chunks(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
        }
    }

    /// Computes the logits of one sequence, and what was seen of it.
    fn compute(&mut self, slot: usize, ask: &Ask<'_>) -> Result<(Vec<f32>, Seen), EngineError> {
        let Sequence { tokens: window, first_output } = ask.sequences[slot];
        let from = if let Prefix::Reuse(layer) = ask.prefix { layer } else { 0 };
        let mut hidden: Vec<[f32; N_EMBD]> = if from > 0 {
            let mut state =
                self.states[slot].get(from).cloned().ok_or_else(|| EngineError::Failed("nothing recorded".into()))?;
            if self.fault == Fault::InexactPrefix {
                // Every row is changed, because positions do not see each other here and not all of them are scored.
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
        let mut seen = Seen::default();
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
            for hook in ask.hooks.iter().filter(|hook| hook.node == format!("l_out-{layer}")) {
                let mut values: Vec<f32> = hidden.iter().flatten().copied().collect();
                (hook.replace)(slot, &mut values, N_EMBD).map_err(EngineError::Failed)?;
                hidden = values.chunks(N_EMBD).map(|row| row.try_into().expect("a row")).collect();
            }
            if ask.routing && self.has_routers {
                let experts = hidden[first_output..].iter().flat_map(chosen);
                seen.routed.push(RoutedLayer { layer, n_used: 2, experts: experts.collect() });
            }
            entering.push(hidden.clone());
        }
        if ask.trace && ask.prefix == Prefix::Full {
            seen.traced = (0..N_LAYER)
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
        if ask.prefix == Prefix::Record {
            self.states[slot] = entering;
        }
        seen.watched = ask
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
        let logits: Vec<f32> = hidden[first_output..].iter().flat_map(row).collect();
        let bad = logits.iter().position(|value| ask.stop_at_non_finite && !value.is_finite());
        seen.non_finite = bad.map(|bad| NonFiniteNode {
            node: "result_output".into(),
            token: first_output + bad / N_VOCAB,
            weights: vec!["output.weight".into()],
        });
        Ok((logits, seen))
    }
}

impl Tokens for Toy {
    /// Each byte is one token, after BOS.
    fn tokenize(&self, text: &str, _special: bool) -> Result<Vec<Token>, EngineError> {
        Ok(std::iter::once(0).chain(text.bytes().map(|b| Token::from(b) % N_VOCAB as Token)).collect())
    }

    fn piece_len(&self, _token: Token) -> Result<usize, EngineError> {
        Ok(1)
    }

    fn piece(&self, token: Token) -> Result<Vec<u8>, EngineError> {
        Ok(vec![b'a' + token as u8])
    }

    fn is_end(&self, token: Token) -> bool {
        token == N_VOCAB as Token - 1
    }

    fn chat_prompt(&self, template: Option<&str>, messages: &[ChatMessage]) -> Result<ChatPrompt, EngineError> {
        let contents = messages.iter().map(|message| message.content.as_str());
        let text: String = template.into_iter().chain(contents).collect();
        let tokens = self.tokenize(&text, true)?;
        Ok(ChatPrompt { text, tokens })
    }
}

impl Weights for Toy {
    fn weights(&self) -> &[WeightInfo] {
        &self.infos
    }

    fn read_weight(&self, name: &str, used_as: Option<WeightUse>) -> Result<(String, Vec<u8>), EngineError> {
        self.uses(name, used_as)?;
        let stack = self.stacks.get(name).ok_or_else(|| EngineError::NoSuchWeight(name.into()))?;
        let (ty, bytes) = stack.last().expect("the stored bytes stay");
        let mut bytes = bytes.to_vec();
        if self.fault == Fault::WrongReadBack && stack.len() > 1 {
            bytes[0] ^= 1;
        }
        Ok((ty.clone(), bytes))
    }

    fn swap_weight(
        &mut self,
        name: &str,
        used_as: Option<WeightUse>,
        ty: &str,
        bytes: Arc<Vec<u8>>,
    ) -> Result<(), EngineError> {
        self.uses(name, used_as)?;
        let stack = self.stacks.get_mut(name).ok_or_else(|| EngineError::NoSuchWeight(name.into()))?;
        stack.push((ty.into(), bytes));
        self.infos.iter_mut().find(|w| w.name == name).expect("listed").ty = ty.into();
        Ok(())
    }

    fn restore_weight(&mut self, name: &str, used_as: Option<WeightUse>) -> Result<(), EngineError> {
        self.uses(name, used_as)?;
        let stack = self.stacks.get_mut(name).ok_or_else(|| EngineError::NoSuchWeight(name.into()))?;
        assert!(stack.len() > 1, "{name} restored more often than swapped");
        stack.pop();
        let ty = stack.last().expect("the stored bytes stay").0.clone();
        self.infos.iter_mut().find(|w| w.name == name).expect("listed").ty = ty;
        Ok(())
    }
}

impl Passes for Toy {
    fn n_parallel(&self) -> usize {
        self.n_parallel
    }

    fn pass(&mut self, ask: &Ask<'_>, score: &TakeLogits<'_>) -> Result<Vec<Seen>, EngineError> {
        let is_plain = ask.prefix == Prefix::Full && !ask.trace;
        let n_parallel = ask.n_parallel.min(self.n_parallel);
        assert!(is_plain || ask.sequences.len() <= n_parallel, "more windows than contexts");
        ask.hooks.iter().try_for_each(|hook| self.find_node(hook.node))?;
        let mut all = Vec::new();
        for slot in 0..ask.sequences.len() {
            let (logits, seen) = self.compute(slot, ask)?;
            if seen.non_finite.is_none() {
                score(slot, &logits);
            }
            all.push(seen);
        }
        Ok(all)
    }

    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        let mut text = prompt.to_vec();
        while text.len() < 64 {
            let sequence = [Sequence { tokens: &text, first_output: text.len() - 1 }];
            let (logits, _) = self.compute(0, &Ask { hooks, ..Ask::of(&sequence) })?;
            let Some(token) = next(&logits) else { break };
            text.push(token);
        }
        Ok(())
    }
}

impl Graph for Toy {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    fn find_node(&self, name: &str) -> Result<(), EngineError> {
        let there = self.nodes.iter().any(|node| node.name == name);
        let missing = || EngineError::NoSuchNode { name: name.into(), near: vec!["l_out-0".into()] };
        if there { Ok(()) } else { Err(missing()) }
    }
}

impl Memory for Toy {
    fn memory(&mut self) -> Result<EngineMemory, EngineError> {
        Ok(EngineMemory { model_bytes: 1000, context_bytes: 100, prefix_bytes: 10 })
    }

    fn free_contexts(&mut self, _n_kept: usize) {}
}

/// Settings with windows of 16 tokens.
pub fn settings() -> EngineSettings {
    EngineSettings::pinned(16)
}
