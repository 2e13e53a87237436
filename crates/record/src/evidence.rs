//! What an edit did, as read back from the engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many of the watched activations moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationEvidence {
    /// Touched tensors whose consumers were watched.
    pub watched: usize,
    /// Of those, how many had an output that differs in any bit.
    pub changed: usize,
}

/// What one edit did, as seen by the worker; of an activation, on the cell's first window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TensorEvidence {
    /// GGUF tensor name, or that of a graph node.
    pub tensor: String,
    /// Type the reference holds it in.
    pub type_base: String,
    /// Type the variant holds it in.
    pub type_variant: String,
    /// Values.
    pub n: u64,
    /// Values whose bits the scheme changed, −0 → +0 excepted.
    pub changed: u64,
    /// −0 → +0, counted apart.
    pub zero_sign: u64,
    /// Values that the carrier rounded away from what the scheme asked for.
    pub carrier_rounded: u64,
    /// Relative RMS error of what the engine now holds against the reference's values; `f64::MAX` against zeros.
    pub rel_rmse: f64,
    /// Bytes in the engine that differ from the reference's (both as F32 when the types differ).
    pub changed_bytes: u64,
    /// The bytes read back from the engine are the bytes that were meant.
    pub read_back: bool,
    /// Graph nodes that read the tensor in the way that was edited; 1 for a node's own values.
    pub consumers: usize,
}
