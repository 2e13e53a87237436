//! What evaluation needs from an engine. The trait lives here, with its user, so that everything
//! above it is tested without a C++ build; `llama` implements it.

use crate::generate::ChatMessage;
use crate::observe::{EngineMemory, Hook, NodeInfo, NonFiniteNode};
use record::{EngineInfo, LayerError, Token, WeightUse};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A weight tensor as the engine's graph uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightInfo {
    /// GGUF tensor name.
    pub name: String,
    /// ggml type in upstream spelling (`q4_K`), of the bytes now in place.
    pub ty: String,
    /// Extents, `ne[0]` contiguous.
    pub ne: [u64; 4],
    /// Graph nodes that read this tensor in a full pass. 0 means the graph does not use it.
    pub consumers: usize,
    /// Of those, nodes that look rows up by token.
    pub lookups: usize,
}

/// Output of the graph nodes that read one watched tensor, as a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedActivation {
    /// GGUF tensor name.
    pub tensor: String,
    /// blake3 over the outputs of all nodes that read the tensor, in graph order.
    pub blake3: String,
}

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model cannot be used for this, though the file is sound (no tokenizer, embedding-only …).
    #[error("{what}\nhint: {hint}")]
    Unsupported {
        /// What was found, naming the file.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The engine refused or failed.
    #[error("engine: {0}")]
    Failed(String),
    /// No such weight in the model's graph.
    #[error("the engine's graph has no weight named {0:?}")]
    NoSuchWeight(String),
    /// A weight that no node uses so.
    #[error("{name}: the model's graph does not use it as {}", match .used_as { WeightUse::Lookup => "a lookup table", WeightUse::Head => "the output head" })]
    NotUsedSo {
        /// GGUF tensor name.
        name: String,
        /// The use asked for.
        used_as: WeightUse,
    },
    /// No such node in the model's graph.
    #[error("the model's graph has no node named {name:?}; near it are {}", .near.join(", "))]
    NoSuchNode {
        /// As asked for.
        name: String,
        /// Names of the same layer, or of the ends of the graph.
        near: Vec<String>,
    },
}

/// A loaded model that can be run over a window of tokens with weights swapped in place.
///
/// Weights form a stack per tensor: [`swap_weight`](Engine::swap_weight) pushes, [`restore_weight`](Engine::restore_weight)
/// pops. The exact arm is one push for every weight; a cell is another on top of it.
pub trait Engine {
    /// What is loaded.
    fn info(&self) -> &EngineInfo;

    /// Token ids of `text` as llama-perplexity makes them: special tokens added, none parsed from the text.
    ///
    /// # Errors
    /// When the model has no tokenizer.
    fn tokenize(&self, text: &str) -> Result<Vec<Token>, EngineError>;

    /// Bytes of text that a token stands for; 0 for a special token.
    fn piece_len(&self, token: Token) -> usize;

    /// The text that a token stands for; empty for a special token. Not always whole characters.
    fn piece(&self, token: Token) -> Vec<u8>;

    /// Whether a token ends an answer.
    fn is_end(&self, token: Token) -> bool;

    /// The tokens of a conversation, written by the model's own chat template up to where the assistant answers.
    ///
    /// # Errors
    /// When the model has no chat template, or the engine does not know it.
    fn chat_prompt(&self, messages: &[ChatMessage]) -> Result<Vec<Token>, EngineError>;

    /// Goes on from a prompt, in a context of its own: `next` gets the logits of the last position and gives the next
    /// token, or `None` to stop. Stops also where `n_ctx` tokens are reached.
    ///
    /// # Errors
    /// When the prompt is empty or longer than `n_ctx`, when the engine fails or a hook does.
    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError>;

    /// All weights of the model's graph, in graph order.
    fn weights(&self) -> &[WeightInfo];

    /// The type and bytes now in place, read back from the engine.
    ///
    /// # Errors
    /// When the graph has no such weight.
    fn read_weight(&self, name: &str) -> Result<(String, Vec<u8>), EngineError>;

    /// Puts other bytes, of any ggml type, in a weight's place.
    ///
    /// # Errors
    /// When the graph has no such weight, the type is unknown, or the byte count does not fit `ne`.
    fn swap_weight(&mut self, name: &str, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError>;

    /// Undoes the last [`swap_weight`](Engine::swap_weight) of that tensor.
    ///
    /// # Errors
    /// When the graph has no such weight or nothing is swapped.
    fn restore_weight(&mut self, name: &str) -> Result<(), EngineError>;

    /// Puts other bytes in a weight's place for the nodes that use it so (virtual untying); other nodes go on reading what
    /// [`swap_weight`](Engine::swap_weight) left there. A stack of its own.
    ///
    /// # Errors
    /// As [`swap_weight`](Engine::swap_weight), and when no node uses the weight so.
    fn swap_use(&mut self, name: &str, used_as: WeightUse, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError>;

    /// The type and bytes that the nodes which use a weight so read now.
    ///
    /// # Errors
    /// When the graph has no such weight, or no node uses it so.
    fn read_use(&self, name: &str, used_as: WeightUse) -> Result<(String, Vec<u8>), EngineError>;

    /// Undoes the last [`swap_use`](Engine::swap_use).
    ///
    /// # Errors
    /// When the graph has no such weight or nothing is swapped.
    fn restore_use(&mut self, name: &str, used_as: WeightUse) -> Result<(), EngineError>;

    /// Named nodes of the graph, in graph order; a name that several nodes have stands for the last of them.
    fn nodes(&self) -> &[NodeInfo];

    /// Whether the values of a node of that name can be changed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNode`] when the graph has none.
    fn find_node(&self, name: &str) -> Result<(), EngineError>;

    /// Windows that [`decode`](Engine::decode) works on side by side; give it that many where there are as many.
    fn n_parallel(&self) -> usize;

    /// Works on no more than `n` windows side by side from now on, at least one.
    fn limit_parallel(&mut self, n: usize);

    /// What the engine needs of main memory with these settings. May make the first context to find out.
    ///
    /// # Errors
    /// When not even one context can be made.
    fn memory(&mut self) -> Result<EngineMemory, EngineError>;

    /// From now on, hash the outputs of the nodes that read these weights; an empty list ends it.
    fn watch(&mut self, tensors: &[String]);

    /// The hashes seen in the last [`decode`](Engine::decode) of window `slot`, in the order asked for.
    fn watched(&self, slot: usize) -> Vec<WatchedActivation>;

    /// Runs windows, each alone in an empty context, and hands their logits to `score` as `(slot, logits)`, from several
    /// threads at once. Slots number the windows of this call.
    ///
    /// Every window holds at most `n_ctx` ids. Logits are row-major `[window.len() - first_output][n_vocab]`. The bits do
    /// not depend on how many windows run side by side.
    ///
    /// # Errors
    /// When the engine fails on any window, or a [`Prefix::Reuse`] finds nothing recorded.
    fn decode(
        &mut self,
        windows: &[&[Token]],
        first_output: usize,
        prefix: Prefix,
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        self.decode_hooked(windows, first_output, prefix, &[], score)
    }

    /// [`decode`](Engine::decode) with the values of some nodes replaced as soon as they are computed. In the order of
    /// the graph; at one node: skipped with the prefix, replaced, compared or recorded, hashed for
    /// [`watched`](Engine::watched).
    ///
    /// # Errors
    /// As [`decode`](Engine::decode), when the graph has no such node or its values are no F32, and when a hook fails.
    fn decode_hooked(
        &mut self,
        windows: &[&[Token]],
        first_output: usize,
        prefix: Prefix,
        hooks: &[Hook<'_>],
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError>;

    /// From now on, compare the hidden state that leaves each layer with the one of the last [`Prefix::Record`] pass of
    /// the same slot.
    fn trace(&mut self, on: bool);

    /// What that comparison found in the last decode of window `slot`, layer by layer; empty where the graph names its
    /// layers otherwise.
    fn traced(&self, slot: usize) -> Vec<LayerError>;

    /// Runs a window once more and looks at every node for the first value that is not finite.
    ///
    /// # Errors
    /// As [`decode_hooked`](Engine::decode_hooked).
    fn first_non_finite(&mut self, window: &[Token], hooks: &[Hook<'_>]) -> Result<Option<NonFiniteNode>, EngineError>;

    /// Runs sequences of any lengths, each alone in an empty context in a full pass, and hands their logits to `score`
    /// as `(index, logits)`, perhaps from several threads at once: what tasks need, whose texts are of all lengths.
    ///
    /// Every sequence holds at most `n_ctx` ids. Logits are row-major `[tokens.len() - first_output][n_vocab]`; row `i`
    /// predicts the token after position `first_output + i`. Recorded prefixes are forgotten.
    ///
    /// # Errors
    /// When a sequence is empty, too long or asks for no output, and when the engine fails.
    fn decode_each(
        &mut self,
        sequences: &[Sequence<'_>],
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        for (index, sequence) in sequences.iter().enumerate() {
            self.decode(&[sequence.tokens], sequence.first_output, Prefix::Full, &|_, logits| score(index, logits))?;
        }
        Ok(())
    }
}

/// Tokens to be run alone, and the first position whose prediction is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// From the start of the context, BOS included where the vocabulary asks for one.
    pub tokens: &'a [Token],
    /// Position of the first row of logits; less than `tokens.len()`.
    pub first_output: usize,
}

/// What a pass does with the hidden states that enter each layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefix {
    /// A full pass.
    #[default]
    Full,
    /// A full pass that records the hidden states, per slot.
    Record,
    /// Starts from the state recorded for the same slot where it enters this layer; the layers before are skipped.
    /// Only right when window and weights before that layer are those of the recorded pass.
    Reuse(usize),
}
