//! What an engine needs of main memory.

use super::EngineError;
use serde::{Deserialize, Serialize};

/// What an engine needs of main memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineMemory {
    /// The weights as stored.
    pub model_bytes: u64,
    /// One context: KV cache, compute buffers, logits.
    pub context_bytes: u64,
    /// The hidden states that one context records of one window.
    pub prefix_bytes: u64,
}

/// The memory that an engine takes beside its weights. A context is what one sequence is computed in.
pub trait Memory {
    /// What the engine needs with the settings it was opened with. It may make its first context to find out.
    ///
    /// # Errors
    /// When not even one context can be made.
    fn memory(&mut self) -> Result<EngineMemory, EngineError>;

    /// Frees all contexts but `n_kept`, with the hidden states recorded in them. A pass that needs more makes them anew.
    fn free_contexts(&mut self, n_kept: usize);
}
