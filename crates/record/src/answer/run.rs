//! The answers of `assay run`, `assay status` and `assay report`.

use crate::{AllMetricValues, Arm, CellExtent, CellRecord, ControlRecord, Found, Note, Reason, StageName, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`RunAnswer`].
pub const RUN_FORMAT: u32 = 6;

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunAnswer {
    /// The version of this document.
    #[schemars(extend("const" = RUN_FORMAT))]
    pub format: u32,
    /// The path of the run folder.
    pub run: String,
    /// The id of the run, which equal runs share.
    pub id: String,
    /// Whether all controls hold; the results of each model whose controls do not are withheld.
    pub controls_ok: bool,
    /// The answer to the question in one short sentence, for all models together.
    pub answer: String,
    /// One answer for each model, in the order of the plan.
    pub answers: Vec<ModelAnswer>,
    /// One entry for each variant that was measured, in the order of the method.
    pub verdicts: Vec<VariantVerdict>,
    /// The control checks of all models, in order. A check may rest on several cells, on all of them or on none, so
    /// there are not as many checks as cells of controls.
    pub controls: Vec<ControlAnswer>,
    /// The cells that were not measured, in the order of the method.
    pub failed: Vec<FailedCell>,
    /// The path of the report.
    pub report: String,
}

/// A cell that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedCell {
    /// The key of the cell.
    pub key: String,
    /// The name of the model; `null` where only the cell's file is known.
    pub model: Option<String>,
    /// The selector of the cell's target; `null` where only the cell's file is known.
    pub target: Option<String>,
    /// The path of the cell's samples within the run folder. There may be no such file yet.
    pub file: String,
    /// The reason in words, which may be several lines.
    pub why: String,
}

impl FailedCell {
    /// The entry for a cell of a record; `None` for a cell that was measured.
    pub fn of(model: &str, cell: &CellRecord) -> Option<FailedCell> {
        let why = cell.lack()?.to_owned();
        let file = samples_file(&cell.key);
        Some(FailedCell {
            key: cell.key.clone(),
            model: Some(model.into()),
            target: Some(cell.target.clone()),
            file,
            why,
        })
    }
}

/// The path of a cell's samples within the run folder.
pub fn samples_file(key: &str) -> String {
    format!("samples/{key}.jsonl")
}

/// The answer for one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelAnswer {
    /// The name of the model.
    pub model: String,
    /// Whether the results of the model are withheld, because one of its controls does not hold.
    pub withheld: bool,
    /// The answer in one short sentence, then the reasons with their numbers.
    pub sentence: String,
    /// The census of the target in one sentence.
    pub census: String,
    /// What the user should know of the text and the windows, one remark each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The same remarks as values, in the same order.
    pub note_values: Vec<Note>,
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
    /// The layers that were quantized; empty where the target has none.
    pub layers: Vec<u32>,
    /// The stage of the plan that the variant belongs to.
    pub stage: StageName,
    /// How much of the target the variant covers.
    pub extent: CellExtent,
    /// The kernels that the model ran through.
    pub arm: Arm,
    /// The number of windows that were measured.
    pub chunks: usize,
    /// The class of the effect.
    pub verdict: Verdict,
    /// The reason for the verdict, in one sentence.
    pub why: String,
    /// The reason for the verdict, as a value.
    pub reason: Reason,
    /// The measured effects; `null` where the cell failed or results are withheld.
    pub effects: Option<Effects>,
}

/// One control and whether it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlAnswer {
    /// The name of the control.
    pub name: String,
    /// The name of the model.
    pub model: String,
    /// The kernels that the control ran through; `null` where it covers several arms.
    pub arm: Option<Arm>,
    /// Whether the control holds.
    pub ok: bool,
    /// Whether a measurement decided the control.
    pub measured: bool,
    /// What the control asks for, in words.
    pub expected: String,
    /// What the control found, in words.
    pub found: String,
    /// What the control found, as a value.
    pub finding: Found,
    /// The keys of the cells that the control rests on.
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
    pub metrics: AllMetricValues,
    /// The mean divergence of the largest jitter seed on the same windows, nats a token.
    pub floor_kld_mean_max: Option<f64>,
    /// `kld_mean` over `floor_kld_mean_max`; `null` where the floor is zero.
    pub floor_ratio: Option<f64>,
}

/// The version of [`StatusAnswer`].
pub const STATUS_FORMAT: u32 = 2;

/// The progress of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusAnswer {
    /// The version of this document.
    #[schemars(extend("const" = STATUS_FORMAT))]
    pub format: u32,
    /// The path of the run folder.
    pub run: String,
    /// The id of the run, which equal runs share.
    pub id: String,
    /// Whether the run has ended.
    pub finished: bool,
    /// The question in plain words.
    pub question: String,
    /// The names of the models.
    pub models: Vec<String>,
    /// The number of windows of the cells on the whole target.
    pub chunks: usize,
    /// The number of finished cells of the plan.
    pub cells_finished: usize,
    /// The number of all cells; `null` until the run has begun to measure.
    pub cells: Option<u64>,
    /// The cells that were not measured, and those whose samples cannot be read.
    pub failed: Vec<FailedCell>,
    /// The paths within the run folder of cells that do not belong to the plan.
    pub foreign: Vec<String>,
    /// Whether all controls hold; `null` before the run has ended.
    pub controls_ok: Option<bool>,
    /// The last event of the run; `null` where there is no journal or it is empty.
    pub last: Option<LastEvent>,
}

/// The last line of a run's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastEvent {
    /// The time of the event, in seconds since 1970.
    pub time_unix_s: u64,
    /// The kind of the event, such as `gate`.
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
