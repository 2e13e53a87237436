//! The answer of `assay task`.

use super::SchemeFallback;
use crate::{Arm, EngineSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`TaskAnswer`].
pub const TASK_FORMAT: u32 = 2;

/// The scores on multiple-choice tasks, and for a variant how they differ from the reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskAnswer {
    /// The version of this document.
    #[schemars(extend("const" = TASK_FORMAT))]
    pub format: u32,
    /// One entry for each file of tasks, in the order in which they were given.
    pub tasks: Vec<TaskScores>,
    /// The settings of the measurement.
    pub settings: TaskSettings,
}

/// The scores on one file of tasks. Without a variant, everything about a reference is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskScores {
    /// The kind of task, such as `hellaswag`.
    pub name: String,
    /// The version of the rules by which this kind of task is read and scored. It grows when the same file would give
    /// other scores.
    pub version: u32,
    /// The name of the file.
    pub file: String,
    /// The number of tasks in the file.
    pub n_in_file: usize,
    /// The number of tasks that were scored.
    pub n: usize,
    /// The share of right answers that guessing gives.
    pub chance: f64,
    /// The share of right answers by likelihood of the whole ending; of the variant where there is one.
    pub acc: f64,
    /// The share of right answers by likelihood per token of the ending, as llama-perplexity counts.
    pub acc_norm: f64,
    /// The lower end of the 95 % interval of `acc_norm` (Wilson).
    pub acc_norm_low: f64,
    /// The upper end of the 95 % interval of `acc_norm` (Wilson).
    pub acc_norm_high: f64,
    /// The reference's `acc`; `null` without a variant.
    pub acc_ref: Option<f64>,
    /// The reference's `acc_norm`; `null` without a variant.
    pub acc_norm_ref: Option<f64>,
    /// The number of tasks that only one of the two gets right by `acc_norm`: `gained` + `lost`.
    pub flips: Option<usize>,
    /// The number of tasks that only the variant gets right.
    pub gained: Option<usize>,
    /// The number of tasks that only the reference gets right.
    pub lost: Option<usize>,
    /// The p value of the exact McNemar test: the probability of a split at least this uneven if both were equally
    /// good.
    pub p_mcnemar: Option<f64>,
    /// The mean change of the margin, in nats a token. The margin is ln p per token of the right ending minus that of
    /// the best wrong one. A negative change is worse.
    pub margin_shift: Option<f64>,
    /// Whether the 95 % interval of the untouched model's `acc_norm` lies above chance. If not, the task cannot show a
    /// loss.
    pub informative: bool,
    /// Σ ln p of every ending, nats, by task and ending; of the variant where there is one.
    pub ln_p: Vec<Vec<f64>>,
}

/// The settings with which [`TaskAnswer`] was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSettings {
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
    /// The largest number of tasks that were taken from a file.
    pub limit: usize,
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
