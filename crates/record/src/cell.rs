//! A cell: one variant measured one way, and what came of it.

use crate::edit::{Arm, Base, Edit};
use crate::evidence::{ActivationEvidence, TensorEvidence};
use crate::format::Format;
use crate::stage::{Extent, StageName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One variant to be measured one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// blake3 of everything that determines the numbers.
    pub key: String,
    /// The stage that adds the cell.
    pub stage: StageName,
    /// How much of the target it covers.
    pub extent: Extent,
    /// Purpose.
    pub role: Role,
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
    /// Windows to measure, ascending.
    pub chunks: Vec<usize>,
}

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// From request to logits, link by link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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

/// A native or exact effect below this multiple of the largest jitter seed is not told apart from it (DESIGN §6).
pub const FLOOR_FACTOR: f64 = 2.0;

/// The perturbation floor a cell is held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// Version of [`CellRecord`]. The first is not said in a cell; a later one will be, before everything else.
pub const CELL_FORMAT: Format = Format(1);

/// One cell: immutable once written. Holds no time, path, host or speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// blake3 of everything that determines the numbers.
    pub key: String,
    /// The stage that adds the cell.
    pub stage: StageName,
    /// How much of the target it covers, where the stage's name does not imply it; see [`CellRecord::extent`].
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "extent")]
    pub stated_extent: Option<Extent>,
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

impl CellRecord {
    /// How much of the target the cell covers.
    pub fn extent(&self) -> Extent {
        self.stated_extent.unwrap_or_else(|| Extent::implied_by(&self.stage))
    }

    /// The cell answers the question in its arm: it is the whole target in the question's scheme.
    pub fn is_answer(&self) -> bool {
        self.role == Role::Variant && self.extent() == Extent::Whole
    }
}

/// A cell with the judgement passed on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
