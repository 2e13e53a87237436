//! The answer of `assay eval`.

use super::SchemeFallback;
use crate::{AllMetricValues, Arm, EditPlace, EngineSettings, Note};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`EvalAnswer`].
pub const EVAL_FORMAT: u32 = 6;

/// The perplexity of a model or a variant, and for a variant its distance from the reference. Without a variant,
/// everything about a reference is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalAnswer {
    /// The version of this document.
    #[schemars(extend("const" = EVAL_FORMAT))]
    pub format: u32,
    /// The metrics, by the keys of [`METRICS`](crate::METRICS). Without a variant, only those that need one model.
    #[serde(flatten)]
    pub metrics: AllMetricValues,
    /// The number of scored tokens.
    pub n_tokens: usize,
    /// The number of windows that were scored.
    pub n_chunks: usize,
    /// What the user should know of the rules, the text and the windows, one remark each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The same remarks as values, in the same order.
    pub note_values: Vec<Note>,
    /// Whether the engine's graph uses none of the target, so that its values cannot matter; `false` without a variant.
    pub dead: bool,
    /// What the schemes did to each tensor and graph node; empty without a variant.
    pub changed: Vec<ChangedTarget>,
    /// How far the residual stream is from the reference's after each layer; `null` unless the user asked for a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Vec<LayerResidual>>,
    /// What each attention head looks at, as means over the query positions of all windows; `null` unless the user
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<Vec<HeadAttention>>,
    /// What the variant does to the choices of each router, over the scored tokens of all windows; `null` without a
    /// variant, and in models without routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Vec<LayerRouting>>,
    /// The settings of the measurement.
    pub settings: EvalSettings,
}

/// What a scheme did to a tensor, as read back from the engine, or to a graph node's values in all windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedTarget {
    /// The name of the tensor or the graph node.
    pub name: String,
    /// The uses of the tensor on which the scheme acts.
    pub place: EditPlace,
    /// The scheme in canonical form.
    pub scheme: String,
    /// The number of values that were quantized; 0 if no node of the graph uses the tensor.
    pub n: u64,
    /// Whether no node of the engine's graph uses the tensor, so that its values cannot matter.
    #[serde(default)]
    pub unused: bool,
    /// The number of values that the scheme changed; zero is zero in either sign.
    pub changed: u64,
    /// The number of values that went from −0 to +0.
    pub zero_sign: u64,
    /// The number of values that went from +0 to −0.
    pub minus_zero: u64,
    /// The number of values that the carrier rounded: the KV cache rounds to its own type.
    pub carrier_rounded: u64,
    /// The relative root mean square error against the reference's values.
    pub rel_rmse: f64,
}

/// The residual stream as it leaves a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerResidual {
    /// The number of the layer, counted from 0.
    pub layer: usize,
    /// √(Σ (variant − reference)² / Σ reference²) over all windows.
    pub rel_rmse: f64,
}

/// What one attention head looks at, in the reference and in the variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeadAttention {
    /// The number of the layer, counted from 0.
    pub layer: usize,
    /// The number of the head within its layer, counted from 0.
    pub head: usize,
    /// The number of query positions that the means are over.
    pub n: u64,
    /// The mean Jensen–Shannon divergence between the two attention distributions, in nats.
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

/// What a variant does to the choices of the router of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerRouting {
    /// The number of the layer, counted from 0.
    pub layer: usize,
    /// The number of tokens that the shares are over.
    pub n: u64,
    /// The number of experts that the router chooses for a token.
    pub n_used: usize,
    /// The share of tokens for which reference and variant choose other sets of experts.
    pub routing_flips: f64,
    /// The share of the experts which the reference chooses that the variant does not choose.
    pub experts_changed: f64,
}

/// The settings with which [`EvalAnswer`] was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalSettings {
    /// The file name of the model without its folder.
    pub model: String,
    /// The architecture as the engine understood it.
    pub arch: String,
    /// The kernels that the model ran through.
    pub arm: Arm,
    /// The schemes that were applied to the variant, each as `SELECTOR=SCHEME`.
    pub apply: Vec<String>,
    /// The tensors that a scheme other than the requested one quantized; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<SchemeFallback>,
    /// The file name of the text, or its built-in name.
    pub text: String,
    /// The length of the text in bytes.
    pub text_bytes: usize,
    /// Whether special tokens that are spelled in the text were read as those tokens.
    #[serde(default)]
    pub special: bool,
    /// The pinned settings of the engine.
    #[serde(flatten)]
    pub engine: EngineSettings,
    /// The number of threads. Results do not depend on it.
    pub n_threads: usize,
    /// The engine, its revision and the CPU features that its kernels were built for.
    pub build: String,
    /// The version of assay that measured.
    pub assay_version: String,
}
