//! What an engine says about itself, and the settings it is pinned to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A token id of the model's vocabulary.
pub type Token = i32;

/// Every engine setting that changes bits. The settings are pinned and are part of every cell's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// The length of a window in tokens.
    pub n_ctx: u32,
    /// The number of tokens that are computed at once.
    pub n_ubatch: u32,
    /// The number of sequences that are decoded together in one context.
    pub n_seq: u32,
    /// Whether flash attention is on; llama-perplexity has it on by default on the CPU.
    pub flash_attn: bool,
    /// The ggml type of the key cache.
    pub type_k: String,
    /// The ggml type of the value cache.
    pub type_v: String,
    /// The number of layers that a GPU back end computes, where the build has one; 0 computes on the CPU, whose results
    /// are the reference.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_gpu_layers: u32,
    /// Whether weights are repacked into interleaved layouts (`use_extra_bufts`). It is off, because it changes bits.
    pub repack: bool,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl EngineSettings {
    /// llama-perplexity's defaults for a window of `n_ctx` tokens, one sequence at a time, no repacking.
    pub fn pinned(n_ctx: u32) -> Self {
        EngineSettings {
            n_ctx,
            n_ubatch: n_ctx.min(512),
            n_seq: 1,
            flash_attn: true,
            type_k: "f16".into(),
            type_v: "f16".into(),
            n_gpu_layers: 0,
            repack: false,
        }
    }
}

/// What the engine reports about itself and the model that it has loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInfo {
    /// The engine, its revision and the CPU features that its kernels were built for. Bits may differ between builds.
    pub build: String,
    /// The value of `general.architecture`, as the engine understood it.
    pub arch: String,
    /// The number of tokens in the vocabulary, which is the length of one row of logits.
    pub n_vocab: usize,
    /// The number of layers.
    pub n_layer: usize,
    /// The context length with which the model was trained, in tokens.
    pub n_ctx_train: u32,
    /// The token that replaces each window's first token; `None` where the vocabulary asks for none.
    pub bos: Option<Token>,
    /// The number of worker threads. It is recorded but not part of a cell's identity, because results do not depend on
    /// it.
    pub n_threads: usize,
}

/// How the graph uses a weight. A matrix may be used in both ways, by different nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightUse {
    /// The graph looks up rows by token.
    Lookup,
    /// The graph multiplies the matrix with hidden states, as the output head.
    Head,
}

/// How far the hidden state that leaves a layer is from the recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerError {
    /// Σ (variant − reference)² over the layer's output.
    pub squared_error: f64,
    /// Σ reference² over the layer's output.
    pub squared_reference: f64,
}

impl LayerError {
    /// The relative error √(Σ (variant − reference)² / Σ reference²): 0 when nothing differs, infinite against zeros.
    pub fn relative(&self) -> f64 {
        if self.squared_error == 0.0 { 0.0 } else { (self.squared_error / self.squared_reference).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relative_error_of_nothing_is_zero_even_against_zeros() {
        assert_eq!(LayerError::default().relative(), 0.0);
        let layer = LayerError { squared_error: 1.0, squared_reference: 4.0 };
        assert_eq!(layer.relative(), 0.5);
        assert!(LayerError { squared_error: 1.0, squared_reference: 0.0 }.relative().is_infinite());
    }
}
