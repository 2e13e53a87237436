//! What a finished run is: plain data that the store writes and `report` reads.
//! Predicted and measured never share a type.

use crate::cell::{JudgedCell, Predicted, Verdict};
use crate::edit::Arm;
use crate::engine::{EngineInfo, EngineSettings};
use crate::format::Format;
use crate::reason::{ControlOutcome, Found, Reason, Wanted, value_or_sentence};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`RunRecord`]. In the second, what was measured of a cell is a list of numbers by the keys of the table of
/// metrics, and reasons are values instead of sentences.
pub const RECORD_FORMAT: Format = Format(2);

/// One control and whether it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlRecord {
    /// Name, e.g. `identity write-back`.
    pub name: String,
    /// Model it ran on.
    pub model: String,
    /// Arm it ran in.
    pub arm: Option<Arm>,
    /// Held.
    pub ok: bool,
    /// Decided by a measurement. One that is not, because a worker died or scores were not finite, says nothing about
    /// the apparatus; results are withheld all the same.
    #[serde(default = "decided")]
    pub measured: bool,
    /// What had to be.
    #[serde(deserialize_with = "value_or_sentence")]
    pub expected: Wanted,
    /// What was.
    #[serde(deserialize_with = "value_or_sentence")]
    pub found: Found,
    /// Keys of the cells behind it.
    pub cells: Vec<String>,
}

impl ControlRecord {
    /// It was measured, and what was found is not what had to be.
    pub fn has_failed(&self) -> bool {
        self.measured && !self.ok
    }

    /// What became of it.
    pub fn outcome(&self) -> ControlOutcome {
        match (self.ok, self.measured) {
            (true, _) => ControlOutcome::Held,
            (false, true) => ControlOutcome::Failed,
            (false, false) => ControlOutcome::NotMeasured,
        }
    }
}

/// Records from before the field was there.
fn decided() -> bool {
    true
}

/// One row of the baseline census.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CensusRow {
    /// GGUF tensor name.
    pub name: String,
    /// Stored ggml type.
    pub ty: String,
    /// Values.
    pub n: u64,
    /// Effective precision, e.g. `BF16`, `F32`, `1 + BF16`.
    pub effective: String,
    /// Evidence for it, bits.
    pub evidence_bits: f64,
    /// Values on that grid, of `n`.
    pub on_grid: u64,
    /// Predicted changes by the run's scheme; `None` outside the target.
    pub predicted: Option<Predicted>,
    /// In words.
    pub note: String,
}

/// How fine a tensor's values really are. Of every tensor of the model but those of integers or f64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TensorPrecision {
    /// GGUF tensor name.
    pub name: String,
    /// Layer, where the name has one.
    pub layer: Option<u32>,
    /// What it is for: the name without layer and `.weight`.
    pub role: String,
    /// Values.
    pub n: u64,
    /// Bits a value: of quantized storage those that it takes, scales included; of float storage those of the coarsest
    /// grid that the values are shown to lie on.
    pub bits: f64,
    /// Storage and grid in words, such as `q4_1` or `f16 on a Q4_1-like grid`.
    pub what: String,
}

/// A model and what the run found on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// File name without folder.
    pub name: String,
    /// `general.architecture`.
    pub arch: String,
    /// blake3 of the file.
    pub file_blake3: String,
    /// File size.
    pub file_bytes: u64,
    /// Tensors per stored type, most first.
    pub types: Vec<(String, usize)>,
    /// Engine and model as loaded.
    pub engine: EngineInfo,
    /// Every tensor, in file order; none in records from before the field was there.
    #[serde(default)]
    pub precision: Vec<TensorPrecision>,
    /// Target tensors of the baseline census.
    pub census: Vec<CensusRow>,
    /// The number of graph nodes in the target. Their values are computed, so no census has them.
    #[serde(default)]
    pub census_nodes: usize,
    /// The schemes that stand in for the question's where its rows do not fit, each with the number of tensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub census_fallbacks: Vec<(String, usize)>,
    /// The census of the target in one sentence, of a record of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census_summary: Option<String>,
    /// Judged cells in the order of the method.
    pub cells: Vec<JudgedCell>,
    /// Controls.
    pub controls: Vec<ControlRecord>,
    /// One verdict per arm: arm, class, why.
    pub verdicts: Vec<ArmVerdict>,
    /// The answer in one sentence, of a record of format 1; today [`sentence::answer`](crate::sentence::answer) makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
}

impl ModelRecord {
    /// The answer for this model in one sentence, numbers included.
    pub fn answer(&self, question: &Question) -> String {
        self.sentence.clone().unwrap_or_else(|| crate::sentence::answer(question, self))
    }

    /// The census of the target in one sentence.
    pub fn census_sentence(&self, question: &Question) -> String {
        self.census_summary.clone().unwrap_or_else(|| crate::sentence::census(question, self))
    }
}

/// The verdict on the whole target in one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmVerdict {
    /// Kernels.
    pub arm: Arm,
    /// The class.
    pub verdict: Verdict,
    /// Why.
    #[serde(deserialize_with = "value_or_sentence")]
    pub why: Reason,
    /// Key of the all-layers cell.
    pub cell: String,
}

/// The text that was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorpusRecord {
    /// File name without folder, or `built-in`.
    pub name: String,
    /// blake3 of the text.
    pub blake3: String,
    /// Bytes.
    pub bytes: u64,
}

/// The question, written before the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Preset or plan name.
    pub name: String,
    /// The question in plain words.
    pub question: String,
    /// The hypothesis, written before the data.
    pub hypothesis: String,
    /// `SELECTOR`.
    pub target: String,
    /// Scheme in canonical form.
    pub scheme: String,
}

/// Everything a report is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Version of this record.
    pub format: Format,
    /// Version of assay.
    pub assay_version: String,
    /// Run id.
    pub id: String,
    /// The question.
    pub question: Question,
    /// The text.
    pub corpus: CorpusRecord,
    /// Pinned engine settings.
    pub settings: EngineSettings,
    /// Windows of the whole-target cells, and of the layer cells.
    pub chunks: usize,
    /// Windows of the layer cells.
    pub layer_chunks: usize,
    /// Seeds of the jitter.
    pub jitter_seeds: Vec<u64>,
    /// Per model.
    pub models: Vec<ModelRecord>,
    /// All controls held; otherwise results are withheld.
    pub controls_ok: bool,
    /// Command that reproduces the run, without machine paths.
    pub reproduce: String,
}
