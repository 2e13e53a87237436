//! What a measurement needs of main memory, and what was given up so that it fits.

use serde::{Deserialize, Serialize};
use words::{bytes, plural};

/// Parts of what a measurement needs, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryNeeds {
    /// The weights as stored.
    pub model_bytes: u64,
    /// What the reference holds in F32 beside them.
    pub held_in_f32_bytes: u64,
    /// One context: KV cache, compute buffers, logits.
    pub context_bytes: u64,
    /// The reference's logits of one window.
    pub reference_bytes: u64,
    /// Hidden states recorded of one window.
    pub prefix_bytes: u64,
    /// Weights of the cell with the most of them.
    pub cell_bytes: u64,
    /// Copies while the largest edit is computed.
    pub scratch_bytes: u64,
    /// Weights of all cells together: what it would take to keep them between rounds.
    pub edits_bytes: u64,
}

/// What fits, and what was given up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPlan {
    /// The parts.
    pub needs: MemoryNeeds,
    /// Limit, where there is one.
    pub max_bytes: Option<u64>,
    /// Windows side by side.
    pub n_contexts: usize,
    /// Windows side by side if memory were no matter.
    pub n_contexts_wanted: usize,
    /// Hidden states are recorded for cells to start from.
    pub keeps_prefix: bool,
    /// Edited weights kept between rounds.
    pub kept_edits_bytes: u64,
    /// All of it together.
    pub total_bytes: u64,
}

impl MemoryNeeds {
    /// The parts in words, for `n_contexts` windows side by side and `kept` bytes of kept edits.
    pub fn parts(&self, n_contexts: usize, prefix: bool, kept: u64) -> String {
        let n = n_contexts as u64;
        let contexts = plural(n_contexts, "context");
        let parts = [
            ("model".to_string(), self.model_bytes),
            ("weights in F32".into(), self.held_in_f32_bytes),
            (contexts, n * self.context_bytes),
            ("reference logits".into(), n * self.reference_bytes),
            ("hidden states".into(), if prefix { n * self.prefix_bytes } else { 0 }),
            ("edited weights".into(), self.cell_bytes + self.scratch_bytes),
            ("kept edits".into(), kept),
        ];
        let parts = parts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what} {}", bytes(*n)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl MemoryPlan {
    /// `1.2 GiB of 8.0 GiB: model 77 MiB, weights in F32 513 MiB, 2 contexts 190 MiB, …`, and what was given up.
    pub fn words(&self) -> String {
        let limit = self.max_bytes.map_or(String::new(), |limit| format!(" of {}", bytes(limit)));
        let parts = self.needs.parts(self.n_contexts, self.keeps_prefix, self.kept_edits_bytes);
        let mut words = format!("{}{limit}: {parts}", bytes(self.total_bytes));
        if self.n_contexts < self.n_contexts_wanted {
            words +=
                &format!("; {} instead of {} side by side", plural(self.n_contexts, "window"), self.n_contexts_wanted);
        }
        if !self.keeps_prefix && self.needs.prefix_bytes > 0 {
            words += "; every pass is a full one";
        }
        if self.kept_edits_bytes < self.needs.edits_bytes {
            words += "; edits that are not kept are computed in every round";
        }
        words
    }
}
