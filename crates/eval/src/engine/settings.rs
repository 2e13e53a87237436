//! The settings that an engine is opened with.

use serde::{Deserialize, Serialize};

/// Everything about the engine's set-up that changes bits. The settings are pinned, and part of every cell's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
