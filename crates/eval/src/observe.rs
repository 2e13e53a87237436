//! What can be seen and changed inside a pass: graph nodes, hidden states, the place where numbers went bad.

use serde::{Deserialize, Serialize};

/// A named node of the model's graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The engine's name for it: `ffn_norm-7`; `cache_k_l7` and `cache_v_l7` for what is written to the KV cache.
    pub name: String,
    /// ggml operation in upstream spelling (`MUL_MAT`).
    pub op: String,
    /// ggml type of its values.
    pub ty: String,
}

/// Values of one node in one pass, to be replaced in place: `(slot, values, n_per_row)`. A row is one token's values; a
/// pass of more tokens than the engine computes at once is seen in several pieces.
///
/// An error fails the pass.
pub type Replace<'a> = dyn Fn(usize, &mut [f32], usize) -> Result<(), String> + Sync + 'a;

/// A node and what becomes of its values.
#[derive(Clone, Copy)]
pub struct Hook<'a> {
    /// Name from [`NodeInfo`].
    pub node: &'a str,
    /// What becomes of its values before any other node reads them.
    pub replace: &'a Replace<'a>,
}

impl std::fmt::Debug for Hook<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The first node of a pass whose values are not all finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFiniteNode {
    /// The node.
    pub node: String,
    /// The token's place in the window.
    pub token: usize,
    /// Weights that the node reads.
    pub weights: Vec<String>,
}

impl std::fmt::Display for NonFiniteNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the first value that is not finite is in graph node {} at token {}", self.node, self.token)?;
        if self.weights.is_empty() { Ok(()) } else { write!(f, ", which reads {}", self.weights.join(" and ")) }
    }
}

/// What an engine needs of main memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineMemory {
    /// The weights as stored.
    pub model_bytes: u64,
    /// One context: KV cache, compute buffers, logits.
    pub context_bytes: u64,
    /// Hidden states that one context records of one window.
    pub prefix_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_numbers_went_bad_is_a_sentence() {
        let found = NonFiniteNode { node: "ffn_out-3".into(), token: 5, weights: vec!["blk.3.ffn_down.weight".into()] };
        assert_eq!(
            found.to_string(),
            "the first value that is not finite is in graph node ffn_out-3 at token 5, which reads blk.3.ffn_down.weight"
        );
    }
}
