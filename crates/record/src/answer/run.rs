//! The answers of `assay run`, `assay status` and `assay report`.

use crate::{AllValues, Arm, ControlRecord, Extent, Found, Reason, StageName, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`RunAnswer`].
pub const RUN_FORMAT: u32 = 2;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunAnswer {
    /// The version of this document.
    #[schemars(extend("const" = RUN_FORMAT))]
    pub format: u32,
    /// The run folder.
    pub run: String,
    /// The name that equal runs share.
    pub id: String,
    /// Whether all controls hold; otherwise results are withheld.
    pub controls_ok: bool,
    /// One answer for each model, in the order of the plan.
    pub answers: Vec<ModelAnswer>,
    /// One entry for each variant that was measured, in the order of the method.
    pub verdicts: Vec<VariantVerdict>,
    /// The controls of all models.
    pub controls: Vec<ControlAnswer>,
    /// The path of the report.
    pub report: String,
}

/// The answer for one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelAnswer {
    /// The name of the model.
    pub model: String,
    /// The answer in one sentence, with its numbers.
    pub sentence: String,
    /// The census of the target in one sentence.
    pub census: String,
}

/// One variant that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VariantVerdict {
    /// The name of the model.
    pub model: String,
    /// The selector of the target, layers included.
    pub target: String,
    /// The scheme in canonical form.
    pub scheme: String,
    /// The layers that were touched; empty where the target has none.
    pub layers: Vec<u32>,
    /// The place in the method.
    pub stage: StageName,
    /// How much of the target it covers.
    pub extent: Extent,
    /// The kernels.
    pub arm: Arm,
    /// The number of windows.
    pub chunks: usize,
    /// The class.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub why: String,
    /// Why, as a value.
    pub reason: Reason,
    /// What was measured; `null` where the cell failed or results are withheld.
    pub effects: Option<Effects>,
}

/// One control and whether it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlAnswer {
    /// The name of the control.
    pub name: String,
    /// The name of the model.
    pub model: String,
    /// The kernels; `null` where it is not of one arm.
    pub arm: Option<Arm>,
    /// Whether it holds.
    pub ok: bool,
    /// Whether it was decided by a measurement.
    pub measured: bool,
    /// What was wanted, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
    /// What was found, as a value.
    pub finding: Found,
    /// The keys of the cells behind it.
    pub cells: Vec<String>,
}

impl From<&ControlRecord> for ControlAnswer {
    fn from(control: &ControlRecord) -> Self {
        ControlAnswer {
            name: control.name.clone(),
            model: control.model.clone(),
            arm: control.arm,
            ok: control.ok,
            measured: control.measured,
            expected: control.expected.to_string(),
            found: control.found.to_string(),
            finding: control.found.clone(),
            cells: control.cells.clone(),
        }
    }
}

/// The effects of a variant against its reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Effects {
    /// The metrics, by the keys of [`METRICS`](crate::METRICS).
    #[serde(flatten)]
    pub metrics: AllValues,
    /// The mean divergence of the largest jitter seed on the same windows, nats a token.
    pub floor_kld_mean_max: Option<f64>,
    /// `kld_mean` over `floor_kld_mean_max`; `null` where the floor is zero.
    pub floor_ratio: Option<f64>,
}

/// The version of [`StatusAnswer`].
pub const STATUS_FORMAT: u32 = 1;

/// The progress of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusAnswer {
    /// The version of this document.
    #[schemars(extend("const" = STATUS_FORMAT))]
    pub format: u32,
    /// The run folder.
    pub run: String,
    /// The name that equal runs share.
    pub id: String,
    /// Whether the run has come to its end.
    pub finished: bool,
    /// The question in plain words.
    pub question: String,
    /// The names of the models.
    pub models: Vec<String>,
    /// The number of windows of the whole-target cells.
    pub chunks: usize,
    /// The number of finished cells.
    pub cells_finished: usize,
    /// The number of all cells, known once the run has begun to measure.
    pub cells: Option<u64>,
    /// Whether all controls hold; `null` before the end.
    pub controls_ok: Option<bool>,
    /// What happened last.
    pub last: Option<LastEvent>,
}

/// The last line of a run's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastEvent {
    /// Seconds since 1970.
    pub time_unix_s: u64,
    /// What happened.
    pub what: String,
}

/// The version of [`ReportAnswer`].
pub const REPORT_FORMAT: u32 = 1;

/// The reports that were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportAnswer {
    /// The version of this document.
    #[schemars(extend("const" = REPORT_FORMAT))]
    pub format: u32,
    /// The path of the report to read first.
    pub report: String,
    /// The paths of all files that were written.
    pub files: Vec<String>,
}
