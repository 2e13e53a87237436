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
    /// The number of scored positions of the same window whose logits differ in any bit. `None` in a sample, whose columns
    /// say it, and in records from before format 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits_changed: Option<usize>,
}

/// What the edit of a node's values did in one window. All numbers are sums, so those of several windows can be added. What
/// enters the KV cache is compared as the cache stores it, with and without the edit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEvidence {
    /// The name of the graph node.
    pub node: String,
    /// The number of values.
    pub n: u64,
    /// The number of values that the scheme made another value; zero is zero in either sign.
    pub changed: u64,
    /// The number of values that went from −0 to +0.
    pub zero_sign: u64,
    /// The number of values that went from +0 to −0.
    pub minus_zero: u64,
    /// The number of values that the scheme changed and the KV cache rounded away from what it asked for; 0 for other nodes.
    pub carrier_rounded: u64,
    /// The number of bytes that differ.
    pub changed_bytes: u64,
    /// The sum of the squared differences; `f64::MAX` beyond the range of f64.
    pub squared_error: f64,
    /// The sum of the squared values before the edit; `f64::MAX` beyond the range of f64.
    pub squared_reference: f64,
    /// The sum of the squared errors by which the KV cache rounds those values; `None` for other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squared_rounding: Option<f64>,
}

impl NodeEvidence {
    /// Adds what the same edit did in another window or in another part of this one.
    pub fn add(&mut self, other: &NodeEvidence) {
        let sum = |a: f64, b: f64| if (a + b).is_finite() { a + b } else { f64::MAX };
        self.n += other.n;
        self.changed += other.changed;
        self.zero_sign += other.zero_sign;
        self.minus_zero += other.minus_zero;
        self.carrier_rounded += other.carrier_rounded;
        self.changed_bytes += other.changed_bytes;
        self.squared_error = sum(self.squared_error, other.squared_error);
        self.squared_reference = sum(self.squared_reference, other.squared_reference);
        self.squared_rounding = match (self.squared_rounding, other.squared_rounding) {
            (Some(a), Some(b)) => Some(sum(a, b)),
            (a, b) => a.or(b),
        };
    }

    /// An RMS error relative to the values before the edit; `f64::MAX` against zeros.
    fn relative(&self, squared_error: f64) -> f64 {
        match (squared_error / self.squared_reference).sqrt() {
            _ if squared_error == 0.0 => 0.0,
            finite if finite.is_finite() => finite,
            _ => f64::MAX,
        }
    }
}

/// An edit of a node is one link of the chain like an edit of a weight. The engine fails a pass in which it does not reach the
/// node.
impl From<NodeEvidence> for TensorEvidence {
    fn from(found: NodeEvidence) -> TensorEvidence {
        TensorEvidence {
            type_base: "f32".into(),
            type_variant: "f32".into(),
            n: found.n,
            changed: found.changed,
            zero_sign: found.zero_sign,
            minus_zero: found.minus_zero,
            carrier_rounded: found.carrier_rounded,
            rel_rmse: found.relative(found.squared_error),
            rounding_rel_rmse: found.squared_rounding.map(|error| found.relative(error)),
            changed_bytes: found.changed_bytes,
            read_back: found.n > 0,
            consumers: usize::from(found.n > 0),
            tensor: found.node,
        }
    }
}

/// What one edit did, as the worker saw it. For an activation, the numbers are sums over the windows of the cell; before format
/// 4, they are from its first window.
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
    /// The relative RMS error by which the KV cache rounds what the scheme changed; `None` for everything that does not enter
    /// the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding_rel_rmse: Option<f64>,
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
            rounding_rel_rmse: None,
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
