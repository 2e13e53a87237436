//! What is loaded, and what a pass can observe and change: graph nodes, hidden states, the place where values stop
//! being finite.

use super::EngineError;
use record::EngineInfo;
use serde::{Deserialize, Serialize};

/// A named node of the model's graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The engine's name of the node, such as `ffn_norm-7`. What is written to the KV cache is `cache_k_l7` and
    /// `cache_v_l7`.
    pub name: String,
    /// The ggml operation in upstream spelling (`MUL_MAT`).
    pub op: String,
    /// The ggml type of the node's values.
    pub ty: String,
}

/// A function that replaces the values of one node in one pass, in place: `(slot, values, n_per_row)`. A row has the
/// values of one token. Where a sequence has more tokens than the engine computes at once, the function sees it in
/// several pieces.
///
/// An error fails the pass.
pub type Replace<'a> = dyn Fn(usize, &mut [f32], usize) -> Result<(), String> + Sync + 'a;

/// A node with the function that replaces its values.
#[derive(Clone, Copy)]
pub struct Hook<'a> {
    /// The name of the node, as in [`NodeInfo`].
    pub node: &'a str,
    /// The function, called before any other node reads the values.
    pub replace: &'a Replace<'a>,
}

impl std::fmt::Debug for Hook<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The hashed output of the graph nodes that read one watched weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedActivation {
    /// The GGUF name of the tensor.
    pub tensor: String,
    /// The blake3 hash over the outputs of all nodes that read the tensor, in graph order.
    pub blake3: String,
}

/// The experts that the router of one layer chose, for each position of a sequence that has logits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutedLayer {
    /// The number of the layer, counted from 0.
    pub layer: usize,
    /// The number of experts that the router chooses for a token.
    pub n_used: usize,
    /// The numbers of the chosen experts, row-major `[tokens.len() - first_output][n_used]`. The order within a row
    /// says nothing.
    pub experts: Vec<i32>,
}

/// The first node of a pass whose values are not all finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFiniteNode {
    /// The name of the node.
    pub node: String,
    /// The position of the token in the sequence.
    pub token: usize,
    /// The names of the weights that the node reads.
    pub weights: Vec<String>,
}

impl std::fmt::Display for NonFiniteNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the first value that is not finite is in graph node {} at token {}", self.node, self.token)?;
        if self.weights.is_empty() { Ok(()) } else { write!(f, ", which reads {}", self.weights.join(" and ")) }
    }
}

/// What is loaded, and the named nodes of its graph.
pub trait Graph {
    /// What the engine reports about itself and the model.
    fn info(&self) -> &EngineInfo;

    /// The named nodes of the graph, in graph order. A name that several nodes have stands for the last of them.
    fn nodes(&self) -> &[NodeInfo];

    /// Checks that the values of a node of that name can be changed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNode`] when the graph has none.
    fn find_node(&self, name: &str) -> Result<(), EngineError>;
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
