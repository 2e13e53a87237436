//! The main memory that a measurement needs, and what was given up so that it fits.

use serde::{Deserialize, Serialize};
use words::{bytes, plural};

/// The parts of the memory that a measurement needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryNeeds {
    /// The size of the weights as stored.
    pub model_bytes: u64,
    /// The size of the weights that the reference stores in F32 besides.
    pub held_in_f32_bytes: u64,
    /// The size of one context: KV cache, compute buffers and logits.
    pub context_bytes: u64,
    /// The size of the reference's logits for one window.
    pub reference_bytes: u64,
    /// The size of the hidden states that are recorded for one window.
    pub prefix_bytes: u64,
    /// The size of the edited weights of the cell that has the most.
    pub cell_bytes: u64,
    /// The size of the copies that exist while the largest edit is computed.
    pub scratch_bytes: u64,
    /// The size of the edited weights of all cells together: what it would take to keep them between rounds.
    pub edits_bytes: u64,
}

/// How a measurement fits into memory, and what was given up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPlan {
    /// The parts that are needed.
    pub needs: MemoryNeeds,
    /// The limit in bytes; `None` where there is none.
    pub max_bytes: Option<u64>,
    /// The number of windows that are computed side by side.
    pub n_contexts: usize,
    /// The number of windows that would be computed side by side without a limit.
    pub n_contexts_wanted: usize,
    /// Whether hidden states are recorded, so that cells can start from them.
    pub keeps_prefix: bool,
    /// The number of bytes of edited weights that are kept between rounds.
    pub kept_edits_bytes: u64,
    /// The number of bytes of all parts together.
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
    /// The plan in words, `1.2 GiB of 8.0 GiB: model 77 MiB, weights in F32 513 MiB, 2 contexts 190 MiB, …`, and what
    /// was given up.
    pub fn words(&self) -> String {
        let limit = self.max_bytes.map_or(String::new(), |limit| format!(" of {}", bytes(limit)));
        let parts = self.needs.parts(self.n_contexts, self.keeps_prefix, self.kept_edits_bytes);
        let mut words = format!("{}{limit}: {parts}", bytes(self.total_bytes));
        if self.n_contexts < self.n_contexts_wanted {
            words +=
                &format!("; {} instead of {} side by side", plural(self.n_contexts, "window"), self.n_contexts_wanted);
        }
        if !self.keeps_prefix && self.needs.prefix_bytes > 0 {
            words += "; every pass computes all layers";
        }
        if self.kept_edits_bytes < self.needs.edits_bytes {
            words += "; edits that are not kept are computed in every round";
        }
        words
    }
}
