//! What an engine says about itself, and the settings it is pinned to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A token id of the model's vocabulary.
pub type Token = i32;

/// Everything about the engine's set-up that changes bits. The settings are pinned, and part of every cell's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// Window length in tokens.
    pub n_ctx: u32,
    /// Tokens computed at once.
    pub n_ubatch: u32,
    /// Sequences decoded together in one context.
    pub n_seq: u32,
    /// Whether flash attention is on; llama-perplexity has it on by default on the CPU.
    pub flash_attn: bool,
    /// ggml type of the key cache.
    pub type_k: String,
    /// ggml type of the value cache.
    pub type_v: String,
    /// Layers computed by a GPU back end, where the build has one; 0 computes on the CPU, whose results are the reference.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_gpu_layers: u32,
    /// Whether weights are repacked into interleaved layouts (`use_extra_bufts`); off, since it moves bits.
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

/// What the engine says about itself and the model it has loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInfo {
    /// Engine, revision and the CPU features its kernels were built for: bits may differ between builds.
    pub build: String,
    /// `general.architecture`, as the engine understood it.
    pub arch: String,
    /// Number of tokens in the vocabulary: the length of one row of logits.
    pub n_vocab: usize,
    /// Number of layers.
    pub n_layer: usize,
    /// Context length the model was trained with.
    pub n_ctx_train: u32,
    /// The token put in place of each window's first token, where the vocabulary asks for one.
    pub bos: Option<Token>,
    /// Number of worker threads. It is recorded, but not part of a cell's identity: results do not depend on it.
    pub n_threads: usize,
}

/// How the graph uses a weight. A matrix may be used in both ways, by different nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightUse {
    /// Rows are looked up by token.
    Lookup,
    /// Multiplied with hidden states: the output head.
    Head,
}

/// How far the hidden state that leaves a layer is from the recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerError {
    /// Σ (variant − reference)² over the layer's output.
    pub squared_error: f64,
    /// Σ reference².
    pub squared_reference: f64,
}

impl LayerError {
    /// √(Σ (variant − reference)² / Σ reference²); 0 when nothing differs, infinite against zeros.
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
