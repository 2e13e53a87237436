//! The answer of `assay eval`.

use super::SchemeFallback;
use crate::{AllValues, Arm, EngineSettings, Place};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`EvalAnswer`].
pub const EVAL_FORMAT: u32 = 2;

/// Perplexity, and beside a variant its distance from the reference. Without a variant everything about a reference is
/// `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalAnswer {
    /// The version of this document.
    #[schemars(extend("const" = EVAL_FORMAT))]
    pub format: u32,
    /// The metrics, by the keys of [`METRICS`](crate::METRICS). Without a variant those of one model alone.
    #[serde(flatten)]
    pub metrics: AllValues,
    /// Bits that a byte of the text takes; `null` where the scored tokens stand for no byte.
    pub bits_per_byte: Option<f64>,
    /// The number of scored tokens.
    pub n_tokens: usize,
    /// The number of windows.
    pub n_chunks: usize,
    /// What the schemes did, tensor by tensor and node by node; empty without a variant.
    pub changed: Vec<ChangedTarget>,
    /// How far the residual stream is from the reference's after each layer; only where a trace was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Vec<LayerResidual>>,
    /// What each attention head looks at, means over the query positions of all windows; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<Vec<HeadAttention>>,
    /// What it was measured with.
    pub settings: EvalSettings,
}

/// What a scheme did to a tensor, as read back from the engine, or to a graph node's values in the first window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedTarget {
    /// The name of the tensor or the graph node.
    pub name: String,
    /// Where the scheme acts on it.
    pub place: Place,
    /// The scheme in canonical form.
    pub scheme: String,
    /// The number of values.
    pub n: u64,
    /// The number of values that the scheme changed.
    pub changed: u64,
    /// The number of values that are not stored as the scheme left them: the KV cache rounds to its own type.
    pub carrier_rounded: u64,
    /// The relative root mean square error against the reference's values.
    pub rel_rmse: f64,
}

/// The residual stream as it leaves a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerResidual {
    /// The layer.
    pub layer: usize,
    /// √(Σ (variant − reference)² / Σ reference²) over all windows.
    pub rel_rmse: f64,
}

/// What one attention head looks at, in the reference and in the variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeadAttention {
    /// The layer.
    pub layer: usize,
    /// The head in its layer.
    pub head: usize,
    /// The number of query positions.
    pub n: u64,
    /// The mean Jensen–Shannon divergence between both, nats.
    pub jsd_nats: f64,
    /// The mean entropy of the reference's probabilities, nats.
    pub entropy_ref_nats: f64,
    /// The mean entropy of the variant's probabilities, nats.
    pub entropy_var_nats: f64,
    /// The mean probability that the reference gives to the first position.
    pub sink_ref: f64,
    /// The mean probability that the variant gives to the first position.
    pub sink_var: f64,
}

/// What [`EvalAnswer`] was measured with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalSettings {
    /// The file name of the model without its folder.
    pub model: String,
    /// The architecture as the engine understood it.
    pub arch: String,
    /// The kernels.
    pub arm: Arm,
    /// What was applied, `SELECTOR=SCHEME` each.
    pub apply: Vec<String>,
    /// The tensors that another scheme quantized than the one that was asked for; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<SchemeFallback>,
    /// The name of the text.
    pub text: String,
    /// The length of the text in bytes.
    pub text_bytes: usize,
    /// The pinned settings of the engine.
    #[serde(flatten)]
    pub engine: EngineSettings,
    /// The number of threads, on which no result depends.
    pub n_threads: usize,
    /// The engine, its revision and the CPU features that its kernels were built for.
    pub build: String,
    /// The version of assay.
    pub assay_version: String,
}
