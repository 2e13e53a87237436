//! The answer of `assay sweep`.

use super::SchemeFallback;
use crate::{AllMetricValues, Arm, EngineSettings, Note};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use words::Hint;

/// The version of [`SweepAnswer`].
pub const SWEEP_FORMAT: u32 = 6;

/// The layers of a model, each quantized alone, ranked by KL divergence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepAnswer {
    /// The version of this document.
    #[schemars(extend("const" = SWEEP_FORMAT))]
    pub format: u32,
    /// What the user should know of the rules, the text and the windows, one remark each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The same remarks as values, in the same order.
    pub note_values: Vec<Note>,
    /// One entry for each layer, ascending.
    pub layers: Vec<SweptLayer>,
    /// The layers by mean KL divergence, largest first: all of them, or those that the race found.
    pub ranking: Vec<u32>,
    /// Pairs of a layer in the ranking and one outside it that the text cannot tell apart; only a race has them.
    pub ties: Vec<[u32; 2]>,
    /// The number of windows that were measured, over all layers.
    pub measured_chunks: usize,
    /// The number of windows that a whole sweep measures, over all layers.
    pub all_chunks: usize,
    /// The terms of the race; `null` where every layer was measured on every window.
    pub race: Option<RaceTerms>,
    /// The settings of the measurement.
    pub settings: SweepSettings,
}

/// One layer that was quantized alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweptLayer {
    /// The number of the layer, counted from 0.
    pub layer: u32,
    /// The metrics, by the keys of [`METRICS`](crate::METRICS); `null` where the layer was not measured.
    #[serde(flatten)]
    pub metrics: AllMetricValues,
    /// The number of windows on which the layer was measured.
    pub n_chunks: usize,
    /// What the race decided about the layer; `null` without a race.
    pub standing: Option<LayerStanding>,
    /// The number of values that the scheme changed, out of `n`.
    pub changed: u64,
    /// The number of values that were quantized.
    pub n: u64,
    /// The number of the layer's tensors that no node of the engine's graph uses.
    #[serde(default)]
    pub n_unused: usize,
    /// Whether the graph uses none of the layer's tensors, so that their values cannot matter.
    pub dead: bool,
    /// Why the layer was not measured; `null` where it was.
    pub failure: Option<String>,
    /// What the user can do about the failure, as a value; JSON does not have it.
    #[serde(skip)]
    pub advice: Option<Hint>,
}

/// What a race decided about a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayerStanding {
    /// The layer is not decided yet and is still measured.
    Racing,
    /// The layer is among the worst.
    Inside,
    /// The layer is not among the worst.
    Outside,
    /// The layer has no effect worth ranking.
    Null,
}

impl LayerStanding {
    /// The word for the standing in reports.
    pub fn name(self) -> &'static str {
        match self {
            LayerStanding::Racing => "racing",
            LayerStanding::Inside => "inside",
            LayerStanding::Outside => "outside",
            LayerStanding::Null => "null",
        }
    }
}

/// What a race looks for, and how sure it must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RaceTerms {
    /// The number of worst layers to find.
    pub top: usize,
    /// A layer is good enough when its KL divergence is at least 1 − ε of the last of the worst.
    pub epsilon: f64,
    /// The largest probability of one or more wrong decisions in the whole race, where windows are alike.
    pub alpha: f64,
    /// The mean KL divergence in nats below which a layer has no effect worth ranking; `null` ranks all layers.
    pub null_nats: Option<f64>,
    /// The seed that shuffles the order of windows.
    pub seed: u64,
}

/// The settings with which [`SweepAnswer`] was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepSettings {
    /// The file name of the model without its folder.
    pub model: String,
    /// The architecture as the engine understood it.
    pub arch: String,
    /// The kernels that the model ran through.
    pub arm: Arm,
    /// The schemes that were applied to each layer, each as `SELECTOR=SCHEME`.
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
    /// The number of windows of a whole sweep.
    pub n_chunks: usize,
    /// The number of threads. Results do not depend on it.
    pub n_threads: usize,
    /// The engine, its revision and the CPU features that its kernels were built for.
    pub build: String,
    /// The version of assay that measured.
    pub assay_version: String,
}
