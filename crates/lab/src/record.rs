//! What a finished run is: plain data that the store writes and `report` reads.
//! Predicted and measured never share a type.

use crate::protocol::{ActivationEvidence, Arm, Base, Edit, TensorEvidence};
use eval::{EngineInfo, EngineSettings};
use serde::{Deserialize, Serialize};

/// Where in the method a cell stands (DESIGN §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The run's controls.
    Controls,
    /// One layer.
    OneLayer,
    /// Every layer singly.
    EachLayer,
    /// Every part of the target singly, where the question names parts: a matrix as lookup table, as head.
    EachPart,
    /// The whole target at once.
    AllLayers,
}

impl Stage {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Controls => "controls",
            Stage::OneLayer => "one layer",
            Stage::EachLayer => "each layer",
            Stage::EachPart => "each part",
            Stage::AllLayers => "all layers",
        }
    }
}

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The question itself.
    Variant,
    /// The reference once more: must be bit-equal.
    AA,
    /// The target written back unchanged: must be bit-equal.
    Identity,
    /// The target moved by one ulp with this seed: the perturbation floor.
    Jitter {
        /// Seed of the coin.
        seed: u64,
    },
    /// A destructive scheme on the same target: must be seen.
    Positive,
    /// Untouched model → targets held in the carrier: the runtime part of the native arm.
    CarrierControl,
}

/// A number with its uncertainty, in the unit of the field that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Mean over scored tokens.
    pub mean: f64,
    /// Standard error clustered by chunk; `None` below 8 chunks.
    pub se: Option<f64>,
    /// Standard error as if tokens were independent.
    pub se_iid: f64,
}

/// What was measured in one cell, derived from its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Windows.
    pub n_chunks: usize,
    /// Scored tokens.
    pub n_tokens: usize,
    /// Perplexity of the variant.
    pub ppl: f64,
    /// Perplexity of the reference on the same tokens.
    pub ppl_ref: f64,
    /// ln PPL(variant) − ln PPL(reference), nats a token.
    pub dlnppl: Estimate,
    /// Kullback–Leibler divergence from the reference, nats a token.
    pub kld: Estimate,
    /// Median over tokens.
    pub kld_median: f64,
    /// 99th percentile over tokens.
    pub kld_p99: f64,
    /// Largest over tokens.
    pub kld_max: f64,
    /// Share of positions with the same most probable token.
    pub same_top: f64,
    /// Scored positions whose logits differ in any bit.
    pub logits_changed: usize,
}

/// What the scheme was computed to do to the file's values, before anything ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// Values in the target.
    pub n: u64,
    /// Values whose bits would change.
    pub changed: u64,
    /// −0 → +0, counted apart.
    pub zero_sign: u64,
    /// Finite values that would become infinite. 0 in records from before the field was there.
    #[serde(default)]
    pub overflowed: u64,
    /// Nonzero values that would become zero. 0 in records from before the field was there.
    #[serde(default)]
    pub zeroed: u64,
    /// Values held at the format's largest, being beyond it; `None` where nobody counted.
    #[serde(default)]
    pub saturated: Option<u64>,
}

impl Predicted {
    /// Of tensors together.
    pub fn sum<'a>(parts: impl Iterator<Item = &'a Predicted>) -> Predicted {
        let none = Predicted { saturated: Some(0), ..Predicted::default() };
        parts.fold(none, |sum, part| Predicted {
            n: sum.n + part.n,
            changed: sum.changed + part.changed,
            zero_sign: sum.zero_sign + part.zero_sign,
            overflowed: sum.overflowed + part.overflowed,
            zeroed: sum.zeroed + part.zeroed,
            saturated: sum.saturated.zip(part.saturated).map(|(a, b)| a + b),
        })
    }
}

impl From<lineage::Prediction> for Predicted {
    fn from(found: lineage::Prediction) -> Self {
        Predicted {
            n: found.n,
            changed: found.changed,
            zero_sign: found.zero_sign,
            overflowed: found.overflowed,
            zeroed: found.zeroed,
            saturated: found.saturated,
        }
    }
}

/// From request to logits, link by link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceChain {
    /// `SELECTOR=SCHEME` as asked, layers included.
    pub requested: String,
    /// Tensors matched.
    pub matched: usize,
    /// Predicted before the run, from the file; `None` of activations, whose values are known only when they are computed.
    pub predicted: Option<Predicted>,
    /// Per tensor, as read back from the engine.
    pub tensors: Vec<TensorEvidence>,
    /// Activations behind the touched tensors.
    pub activations: Option<ActivationEvidence>,
    /// Scored positions whose logits differ in any bit, of `n_scored`.
    pub logits_changed: usize,
    /// Scored positions.
    pub n_scored: usize,
}

/// What a cell's evidence amounts to (DESIGN §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// An effect above its floor.
    #[serde(rename = "REAL")]
    Real,
    /// The values already lie on the scheme's grid.
    #[serde(rename = "NO-OP")]
    NoOp,
    /// The carrier could not hold what the scheme asked for.
    #[serde(rename = "SUBSTITUTED")]
    Substituted,
    /// The graph does not use the tensors.
    #[serde(rename = "DEAD")]
    Dead,
    /// Not distinguishable from moving the target by one ulp.
    #[serde(rename = "BELOW-FLOOR")]
    BelowFloor,
    /// Non-finite, failed control, a link of the chain that contradicts another, or no measurement.
    #[serde(rename = "BROKEN")]
    Broken,
}

impl Verdict {
    /// As printed: `BELOW-FLOOR`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Real => "REAL",
            Verdict::NoOp => "NO-OP",
            Verdict::Substituted => "SUBSTITUTED",
            Verdict::Dead => "DEAD",
            Verdict::BelowFloor => "BELOW-FLOOR",
            Verdict::Broken => "BROKEN",
        }
    }
}

/// The perturbation floor a cell is held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Mean KLD of each jitter seed on the same windows, nats.
    pub kld_mean_by_seed: Vec<(u64, f64)>,
    /// The largest of them.
    pub kld_mean_max: f64,
    /// Cell's mean KLD over `kld_mean_max`; `None` when the floor is zero.
    pub ratio: Option<f64>,
    /// What was jittered, e.g. `ffn_norm` or `ffn_norm[layers=8]`: for single layers the floor may be the whole target's.
    pub target: String,
}

/// One cell: immutable once written. Holds no time, path, host or speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// blake3 of everything that determines the numbers.
    pub key: String,
    /// Place in the method.
    pub stage: Stage,
    /// Purpose.
    pub role: Role,
    /// Kernels.
    pub arm: Arm,
    /// Selector of the target, layers included.
    pub target: String,
    /// Scheme in canonical form.
    pub scheme: String,
    /// Layers touched; empty when the target has none.
    pub layers: Vec<u32>,
    /// The reference's weights.
    pub base: Base,
    /// The edits on top.
    pub edits: Vec<Edit>,
    /// Windows measured.
    pub chunks: Vec<usize>,
    /// What was measured; `None` when the cell failed.
    pub measured: Option<Measured>,
    /// Request to logits.
    pub evidence: EvidenceChain,
    /// Why the cell failed, with the worker's last words.
    pub failure: Option<String>,
}

/// A cell with the judgement passed on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedCell {
    /// What was measured.
    pub cell: CellRecord,
    /// The floor used; `None` for controls.
    pub floor: Option<Floor>,
    /// The class.
    pub verdict: Verdict,
    /// Why, in one sentence with the numbers.
    pub why: String,
}

/// One control and whether it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub expected: String,
    /// What was.
    pub found: String,
    /// Keys of the cells behind it.
    pub cells: Vec<String>,
}

impl ControlRecord {
    /// It was measured, and what was found is not what had to be.
    pub fn has_failed(&self) -> bool {
        self.measured && !self.ok
    }

    /// `held`, `failed` or `was not measured`.
    pub fn outcome(&self) -> &'static str {
        match (self.ok, self.measured) {
            (true, _) => "held",
            (false, true) => "failed",
            (false, false) => "was not measured",
        }
    }
}

/// Records from before the field was there.
fn decided() -> bool {
    true
}

/// One row of the baseline census.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The census of the target in one sentence.
    pub census_summary: String,
    /// Judged cells in the order of the method.
    pub cells: Vec<JudgedCell>,
    /// Controls.
    pub controls: Vec<ControlRecord>,
    /// One verdict per arm: arm, class, why.
    pub verdicts: Vec<ArmVerdict>,
    /// The answer for this model in one sentence, numbers included.
    pub sentence: String,
}

/// The verdict on the whole target in one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmVerdict {
    /// Kernels.
    pub arm: Arm,
    /// The class.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
    /// Key of the all-layers cell.
    pub cell: String,
}

/// The text that was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Format version of this record.
    pub format: u32,
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
