//! What an edit did, as read back from the engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many of the watched activations changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationEvidence {
    /// The number of touched tensors whose consumers were watched.
    pub watched: usize,
    /// The number of these with a consumer whose output differs in any bit.
    pub changed: usize,
}

/// What one edit did, as the worker saw it. For an activation, the numbers are from the cell's first window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TensorEvidence {
    /// The GGUF tensor name, or the name of a graph node.
    pub tensor: String,
    /// The ggml type in which the reference stores the tensor; empty if no node of the graph uses it.
    pub type_base: String,
    /// The ggml type in which the variant stores the tensor; empty if no node of the graph uses it.
    pub type_variant: String,
    /// The number of values in the engine; 0 if no node of the graph uses the tensor.
    pub n: u64,
    /// The number of values that the scheme made another value; zero is zero in either sign. In records from before
    /// format 3, +0 → −0 counts as a change.
    pub changed: u64,
    /// The number of values that went from −0 to +0, which does not change the value.
    pub zero_sign: u64,
    /// The number of values that went from +0 to −0, which does not change the value; 0 in records from before the field
    /// existed.
    #[serde(default)]
    pub minus_zero: u64,
    /// The number of values that the carrier rounded away from what the scheme asked for.
    pub carrier_rounded: u64,
    /// The relative RMS error of the values in the engine against the reference's; `f64::MAX` against zeros.
    pub rel_rmse: f64,
    /// The number of bytes in the engine that differ from the reference's, both as F32 when the types differ.
    pub changed_bytes: u64,
    /// Whether the bytes read back from the engine are the intended ones.
    pub read_back: bool,
    /// The number of graph nodes that read the tensor in the edited use; 1 for a node's own values.
    pub consumers: usize,
}

impl TensorEvidence {
    /// The evidence of a tensor that is in the file and that no node of the graph uses: nothing of it is in the engine.
    pub fn unused(tensor: &str) -> TensorEvidence {
        TensorEvidence {
            tensor: tensor.into(),
            type_base: String::new(),
            type_variant: String::new(),
            n: 0,
            changed: 0,
            zero_sign: 0,
            minus_zero: 0,
            carrier_rounded: 0,
            rel_rmse: 0.0,
            changed_bytes: 0,
            read_back: false,
            consumers: 0,
        }
    }

    /// Whether no node of the graph uses the tensor, so that the engine has no values of it.
    pub fn is_unused(&self) -> bool {
        self.n == 0 && self.consumers == 0 && self.type_base.is_empty()
    }
}
