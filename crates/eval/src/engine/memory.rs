//! The main memory that an engine needs.

use super::EngineError;
use serde::{Deserialize, Serialize};

/// The main memory that an engine needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineMemory {
    /// The size of the weights as stored.
    pub model_bytes: u64,
    /// The size of one context: KV cache, compute buffers and logits.
    pub context_bytes: u64,
    /// The size of the hidden states that one context records for one window.
    pub prefix_bytes: u64,
}

/// The memory that an engine takes besides its weights. One sequence is computed in one context.
pub trait Memory {
    /// What the engine needs with the settings with which it was opened. To find out, it may create its first context.
    ///
    /// # Errors
    /// When not even one context can be created.
    fn memory(&mut self) -> Result<EngineMemory, EngineError>;

    /// Frees all contexts but `n_kept`, with the hidden states recorded in them. A pass that needs more creates them
    /// anew.
    fn free_contexts(&mut self, n_kept: usize);
}
