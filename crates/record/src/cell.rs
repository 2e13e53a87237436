//! A cell: one variant measured one way, and what came of it.

use crate::edit::{Arm, Base, Edit};
use crate::evidence::{ActivationEvidence, TensorEvidence};
use crate::format::Format;
use crate::metric::Values;
use crate::reason::{Reason, value_or_sentence};
use crate::stage::{Extent, StageName};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

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

/// A number with its uncertainty, in the unit of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The mean over scored tokens.
    pub mean: f64,
    /// The standard error clustered by window; `None` below 8 windows.
    pub se: Option<f64>,
    /// The standard error as if tokens were independent.
    pub se_iid: f64,
}

/// What was measured in one cell, derived from its samples: numbers by the keys of the table of metrics.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Measured {
    /// The number of windows.
    pub n_chunks: usize,
    /// The number of scored tokens.
    pub n_tokens: usize,
    /// The numbers. None of the core metrics' is lacking.
    #[serde(flatten)]
    values: Values,
}

/// A number without which no verdict can rest on a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} was not measured")]
pub struct LacksNumber(pub &'static str);

impl Measured {
    /// Numbers over so many windows and scored tokens.
    ///
    /// # Errors
    /// When a number of a core metric is lacking.
    pub fn new(n_chunks: usize, n_tokens: usize, values: Values) -> Result<Measured, LacksNumber> {
        match values.lacks() {
            Some(key) => Err(LacksNumber(key)),
            None => Ok(Measured { n_chunks, n_tokens, values }),
        }
    }

    /// All numbers.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Puts another number under a key of the table.
    pub fn set(&mut self, key: &str, value: f64) {
        self.values.set(key, value);
    }

    /// A number that every measurement has.
    fn number(&self, key: &str) -> f64 {
        self.values.get(key).unwrap_or(f64::NAN)
    }

    fn estimate(&self, mean: &str, se: &str, se_iid: &str) -> Estimate {
        Estimate { mean: self.number(mean), se: self.values.get(se), se_iid: self.number(se_iid) }
    }

    /// Perplexity of the variant.
    pub fn ppl(&self) -> f64 {
        self.number("ppl")
    }

    /// Perplexity of the reference on the same tokens.
    pub fn ppl_ref(&self) -> f64 {
        self.number("ppl_ref")
    }

    /// ln PPL(variant) − ln PPL(reference), nats a token.
    pub fn dlnppl(&self) -> Estimate {
        self.estimate("dlnppl", "dlnppl_se", "dlnppl_se_iid")
    }

    /// Kullback–Leibler divergence from the reference, nats a token.
    pub fn kld(&self) -> Estimate {
        self.estimate("kld_mean", "kld_se", "kld_se_iid")
    }

    /// The largest Kullback–Leibler divergence of a token, nats.
    pub fn kld_max(&self) -> f64 {
        self.number("kld_max")
    }

    /// The share of positions with the same most probable token.
    pub fn same_top(&self) -> f64 {
        self.number("same_top")
    }

    /// The number of scored positions whose logits differ in any bit.
    pub fn logits_changed(&self) -> usize {
        self.number("logits_changed") as usize
    }
}

/// The fields of a measurement today.
#[derive(Deserialize)]
struct MeasuredToday {
    n_chunks: usize,
    n_tokens: usize,
    #[serde(flatten)]
    values: Values,
}

/// The fields of a measurement in cells and runs of format 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeasuredFormat1 {
    n_chunks: usize,
    n_tokens: usize,
    ppl: f64,
    ppl_ref: f64,
    dlnppl: Estimate,
    kld: Estimate,
    kld_median: f64,
    kld_p99: f64,
    kld_max: f64,
    same_top: f64,
    logits_changed: usize,
}

impl<'de> Deserialize<'de> for Measured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        // Format 1 had the KL divergence as an object of its own.
        let measured = if json.get("kld").is_some() {
            MeasuredFormat1::deserialize(json).map_err(D::Error::custom)?.measured()
        } else {
            let today = MeasuredToday::deserialize(json).map_err(D::Error::custom)?;
            Measured::new(today.n_chunks, today.n_tokens, today.values)
        };
        measured.map_err(D::Error::custom)
    }
}

impl MeasuredFormat1 {
    fn measured(self) -> Result<Measured, LacksNumber> {
        let mut values = Values::from([
            ("ppl", self.ppl),
            ("ppl_ref", self.ppl_ref),
            ("dlnppl", self.dlnppl.mean),
            ("dlnppl_se_iid", self.dlnppl.se_iid),
            ("kld_mean", self.kld.mean),
            ("kld_se_iid", self.kld.se_iid),
            ("kld_median", self.kld_median),
            ("kld_p99", self.kld_p99),
            ("kld_max", self.kld_max),
            ("same_top", self.same_top),
            ("logits_changed", self.logits_changed as f64),
        ]);
        self.kld.se.into_iter().for_each(|se| values.set("kld_se", se));
        self.dlnppl.se.into_iter().for_each(|se| values.set("dlnppl_se", se));
        Measured::new(self.n_chunks, self.n_tokens, values)
    }
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

/// The version of [`CellRecord`]. Cells of the first do not say it. In the second, a measurement is a list of numbers by the
/// keys of the table of metrics.
pub const CELL_FORMAT: Format = Format(2);

/// One cell: immutable once written. Holds no time, path, host or speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// The version of this record.
    #[serde(default = "Format::first", skip_serializing_if = "Format::is_first")]
    pub format: Format,
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
    /// Why.
    #[serde(deserialize_with = "value_or_sentence")]
    pub why: Reason,
}
