//! The record of a finished run: plain data that the store writes and `report` reads. Predicted and measured values
//! never share a type.

use crate::cell::{JudgedCell, Predicted, Verdict};
use crate::edit::Arm;
use crate::engine::{EngineInfo, EngineSettings};
use crate::format::FormatVersion;
use crate::note::{Note, notes_or_sentences};
use crate::reason::{ControlOutcome, Found, Reason, Wanted, value_or_sentence};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`RunRecord`]. In format 2, the measurement of a cell is a list of numbers by the keys of the table
/// of metrics, and reasons are values instead of sentences. In format 3, zero is one value in either sign. Format 4 has
/// cells of format 4. In format 5, notes are values instead of sentences.
pub const RECORD_FORMAT: FormatVersion = FormatVersion(5);

/// One control and whether it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlRecord {
    /// The name of the control, such as `identity write-back`.
    pub name: String,
    /// The name of the model that it ran on.
    pub model: String,
    /// The arm that it ran in; `None` where it covers several arms.
    pub arm: Option<Arm>,
    /// Whether the control holds.
    pub ok: bool,
    /// Whether a measurement decided the control. A control that no measurement decided, because a worker died or
    /// scores were not finite, says nothing about the apparatus; results are withheld all the same.
    #[serde(default = "decided")]
    pub measured: bool,
    /// What the control asks for.
    #[serde(deserialize_with = "value_or_sentence")]
    pub expected: Wanted,
    /// What the control found.
    #[serde(deserialize_with = "value_or_sentence")]
    pub found: Found,
    /// The keys of the cells that the control rests on.
    pub cells: Vec<String>,
}

impl ControlRecord {
    /// Whether the control was measured and does not hold.
    pub fn has_failed(&self) -> bool {
        self.measured && !self.ok
    }

    /// The outcome of the control.
    pub fn outcome(&self) -> ControlOutcome {
        match (self.ok, self.measured) {
            (true, _) => ControlOutcome::Held,
            (false, true) => ControlOutcome::Failed,
            (false, false) => ControlOutcome::NotMeasured,
        }
    }
}

/// The default of `measured`, for records from before the field existed.
fn decided() -> bool {
    true
}

/// One row of the baseline census.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CensusRow {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The stored ggml type.
    pub ty: String,
    /// The number of values.
    pub n: u64,
    /// The effective precision, such as `BF16`, `F32` or `1 + BF16`.
    pub effective: String,
    /// The evidence for that precision, in bits.
    pub evidence_bits: f64,
    /// The number of values, out of `n`, that have that precision.
    pub on_grid: u64,
    /// The changes that the run's scheme is predicted to make; `None` outside the target.
    pub predicted: Option<Predicted>,
    /// The finding in words.
    pub note: String,
}

/// How fine a tensor's values really are. Every tensor of the model has one, except those of integers or f64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TensorPrecision {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The number of the layer; `None` where the name has none.
    pub layer: Option<u32>,
    /// The role of the tensor: its name without the layer and `.weight`.
    pub role: String,
    /// The number of values.
    pub n: u64,
    /// The number of bits of a value. For quantized storage, these are the stored bits, scales included. For float
    /// storage, they are the bits of the coarsest grid on which the values are shown to lie.
    pub bits: f64,
    /// The storage and the grid in words, such as `q4_1` or `f16 on a Q4_1-like grid`.
    pub what: String,
}

/// A model and what the run found about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// The file name of the model without its folder.
    pub name: String,
    /// The value of `general.architecture`.
    pub arch: String,
    /// The blake3 hash of the file.
    pub file_blake3: String,
    /// The size of the file in bytes.
    pub file_bytes: u64,
    /// The number of tensors of each stored type, largest first.
    pub types: Vec<(String, usize)>,
    /// The engine and the model as loaded.
    pub engine: EngineInfo,
    /// The precision of every tensor, in file order; empty in records from before the field existed.
    #[serde(default)]
    pub precision: Vec<TensorPrecision>,
    /// What a reader should know of the text and the windows, such as windows that are longer than the model was trained
    /// for. Runs with other notes may not be comparable with this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "notes_or_sentences")]
    pub notes: Vec<Note>,
    /// The baseline census of the tensors in the target.
    pub census: Vec<CensusRow>,
    /// The number of graph nodes in the target. Their values are computed during the run, so a census does not cover
    /// them.
    #[serde(default)]
    pub census_nodes: usize,
    /// The schemes that replace the question's where its blocks do not fit the rows, each with the number of tensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub census_fallbacks: Vec<(String, usize)>,
    /// The census of the target in one sentence; only records of format 1 have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census_summary: Option<String>,
    /// The judged cells in the order of the method.
    pub cells: Vec<JudgedCell>,
    /// The controls of the model.
    pub controls: Vec<ControlRecord>,
    /// The verdict of each arm.
    pub verdicts: Vec<ArmVerdict>,
    /// The answer in words; only records of format 1 have it. Today
    /// [`sentence::answer`](crate::sentence::answer) makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
}

impl RunRecord {
    /// Whether the results of a model are withheld: one of its controls does not hold, whatever the record's own summary
    /// says. Where that summary says that a control does not hold and no model has one, nothing is believed.
    pub fn withholds(&self, model: &ModelRecord) -> bool {
        model.is_withheld() || !(self.controls_ok || self.models.iter().any(ModelRecord::is_withheld))
    }
}

impl ModelRecord {
    /// Whether the results of the model are withheld: one of its controls does not hold.
    pub fn is_withheld(&self) -> bool {
        self.controls.iter().any(|control| !control.ok)
    }

    /// Whether other schemes replace the question's in the whole target.
    pub fn is_all_fallback(&self) -> bool {
        let replaced: usize = self.census_fallbacks.iter().map(|(_, n)| n).sum();
        replaced > 0 && replaced == self.census.len() + self.census_nodes
    }

    /// The answer for this model: one short sentence, then the reasons with their numbers.
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
    /// The kernels that the model ran through.
    pub arm: Arm,
    /// The class of the effect.
    pub verdict: Verdict,
    /// The reason for the verdict.
    #[serde(deserialize_with = "value_or_sentence")]
    pub why: Reason,
    /// The key of the cell on the whole target.
    pub cell: String,
}

/// The text that was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorpusRecord {
    /// The file name without its folder, or `built-in`.
    pub name: String,
    /// The blake3 hash of the text.
    pub blake3: String,
    /// The length of the text in bytes.
    pub bytes: u64,
    /// Whether special tokens that are spelled in the text were read as those tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub special: bool,
}

/// The question, written before the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The name of the preset or plan.
    pub name: String,
    /// The question in plain words.
    pub question: String,
    /// The hypothesis, written before the data.
    pub hypothesis: String,
    /// The selector of the target.
    pub target: String,
    /// The scheme in canonical form.
    pub scheme: String,
}

/// The record that every report is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The version of this record.
    pub format: FormatVersion,
    /// The version of assay that measured.
    pub assay_version: String,
    /// The id of the run, which equal runs share.
    pub id: String,
    /// The question that the run answers.
    pub question: Question,
    /// The text that was measured on.
    pub corpus: CorpusRecord,
    /// The pinned settings of the engine.
    pub settings: EngineSettings,
    /// The number of windows of the cells on the whole target.
    pub chunks: usize,
    /// The number of windows of the cells on single layers.
    pub layer_chunks: usize,
    /// The seeds of the jitter.
    pub jitter_seeds: Vec<u64>,
    /// The models in the order of the plan.
    pub models: Vec<ModelRecord>,
    /// Whether all controls hold. The results of each model whose controls do not are withheld.
    pub controls_ok: bool,
    /// The command that reproduces the run, without machine paths.
    pub reproduce: String,
}
