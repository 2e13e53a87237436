//! A cell: one variant measured in one way, and the result of the measurement.

use crate::edit::{Arm, Base, Edit};
use crate::evidence::{ActivationEvidence, TensorEvidence};
use crate::format::FormatVersion;
use crate::metric_values::MetricValues;
use crate::reason::{Reason, value_or_sentence};
use crate::stage::{CellExtent, StageName};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// One variant to be measured in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The blake3 hash of everything that determines the numbers.
    pub key: String,
    /// The stage that adds the cell.
    pub stage: StageName,
    /// How much of the target the cell covers.
    pub extent: CellExtent,
    /// What the cell is for.
    pub role: Role,
    /// The selector of the target, layers included.
    pub target: String,
    /// The scheme in canonical form.
    pub scheme: String,
    /// The layers that the edits touch; empty when the target has none.
    pub layers: Vec<u32>,
    /// The weights of the reference.
    pub base: Base,
    /// The edits on top of the reference's weights.
    pub edits: Vec<Edit>,
    /// The numbers of the windows to measure, ascending.
    pub chunks: Vec<usize>,
}

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The variant that the question asks about.
    Variant,
    /// The reference once more. Its logits must be bit-equal.
    AA,
    /// The target written back unchanged. Its logits must be bit-equal.
    Identity,
    /// The target with values moved by one ulp, which gives the perturbation floor.
    Jitter {
        /// The seed that chooses which way each value moves.
        seed: u64,
    },
    /// A destructive scheme on the same target. Its effect must be visible.
    Positive,
    /// The untouched model against one whose targets are stored in the carrier: the runtime part of the native arm.
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
    /// The numbers by key. No number of a core metric is missing.
    #[serde(flatten)]
    values: MetricValues,
}

/// The key of a number that a measurement lacks, although verdicts need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} was not measured")]
pub struct LacksNumber(pub &'static str);

impl Measured {
    /// A measurement of `n_tokens` scored tokens in `n_chunks` windows.
    ///
    /// # Errors
    /// When a number of a core metric is missing.
    pub fn new(n_chunks: usize, n_tokens: usize, values: MetricValues) -> Result<Measured, LacksNumber> {
        match values.lacks() {
            Some(key) => Err(LacksNumber(key)),
            None => Ok(Measured { n_chunks, n_tokens, values }),
        }
    }

    /// All numbers of the measurement.
    pub fn values(&self) -> &MetricValues {
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

    /// The perplexity of the variant.
    pub fn ppl(&self) -> f64 {
        self.number("ppl")
    }

    /// The perplexity of the reference on the same tokens.
    pub fn ppl_ref(&self) -> f64 {
        self.number("ppl_ref")
    }

    /// The difference ln PPL(variant) − ln PPL(reference), in nats a token.
    pub fn dlnppl(&self) -> Estimate {
        self.estimate("dlnppl", "dlnppl_se", "dlnppl_se_iid")
    }

    /// The mean Kullback–Leibler divergence from the reference, in nats a token.
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

/// The fields of a measurement in the current format.
#[derive(Deserialize)]
struct MeasuredToday {
    n_chunks: usize,
    n_tokens: usize,
    #[serde(flatten)]
    values: MetricValues,
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
        // In format 1, the KL divergence was an object of its own.
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
        let mut values = MetricValues::from([
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

/// How the scheme would change the file's values, computed before anything ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// The number of values.
    pub n: u64,
    /// The number of values that would become another value; zero is zero in either sign. In records from before format
    /// 3, +0 → −0 counts as a change.
    pub changed: u64,
    /// The number of values that would go from −0 to +0, which does not change the value.
    pub zero_sign: u64,
    /// The number of values that would go from +0 to −0, which does not change the value; 0 where an old record lacks it.
    #[serde(default)]
    pub minus_zero: u64,
    /// The number of finite values that would become infinite or NaN; 0 where an old record lacks it.
    #[serde(default)]
    pub overflowed: u64,
    /// The number of nonzero values that would become zero; 0 where an old record lacks it.
    #[serde(default)]
    pub zeroed: u64,
    /// The number of zeros that would become nonzero; 0 where an old record lacks it.
    #[serde(default)]
    pub unzeroed: u64,
    /// The number of values beyond the format's largest value that would be clamped to it; `null` where they were not
    /// counted, as where ggml does not say.
    #[serde(default)]
    pub saturated: Option<u64>,
}

impl Predicted {
    /// The predicted changes of several tensors together.
    pub fn sum<'a>(parts: impl Iterator<Item = &'a Predicted>) -> Predicted {
        let none = Predicted { saturated: Some(0), ..Predicted::default() };
        parts.fold(none, |sum, part| Predicted {
            n: sum.n + part.n,
            changed: sum.changed + part.changed,
            zero_sign: sum.zero_sign + part.zero_sign,
            minus_zero: sum.minus_zero + part.minus_zero,
            overflowed: sum.overflowed + part.overflowed,
            zeroed: sum.zeroed + part.zeroed,
            unzeroed: sum.unzeroed + part.unzeroed,
            saturated: sum.saturated.zip(part.saturated).map(|(a, b)| a + b),
        })
    }
}

/// The evidence from the request to the logits, link by link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceChain {
    /// The request as `SELECTOR=SCHEME`, layers included.
    pub requested: String,
    /// The number of tensors that the selector matches.
    pub matched: usize,
    /// The changes predicted from the file before the run; `None` for activations, whose values exist only during the
    /// run.
    pub predicted: Option<Predicted>,
    /// What each edit did, as read back from the engine.
    pub tensors: Vec<TensorEvidence>,
    /// How many activations behind the touched tensors changed; `None` where none were watched.
    pub activations: Option<ActivationEvidence>,
    /// The number of scored positions, out of `n_scored`, whose logits differ in any bit.
    pub logits_changed: usize,
    /// The number of scored positions.
    pub n_scored: usize,
}

/// What a cell's evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// The effect is above its floor.
    #[serde(rename = "REAL")]
    Real,
    /// The values already lie on the scheme's grid.
    #[serde(rename = "NO-OP")]
    NoOp,
    /// The carrier could not store what the scheme asked for.
    #[serde(rename = "SUBSTITUTED")]
    Substituted,
    /// The graph does not use the target.
    #[serde(rename = "DEAD")]
    Dead,
    /// The effect cannot be distinguished from moving the target by one ulp.
    #[serde(rename = "BELOW-FLOOR")]
    BelowFloor,
    /// A value is not finite, a control failed, two links of the chain contradict each other, or nothing was measured.
    #[serde(rename = "BROKEN")]
    Broken,
}

impl Verdict {
    /// The verdict as printed, such as `BELOW-FLOOR`.
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

/// An effect below this multiple of the largest jitter seed is not distinguished from the floor.
pub const FLOOR_FACTOR: f64 = 2.0;

/// The perturbation floor that a cell is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// The seed and the mean KLD in nats of each jitter cell, on the same windows.
    pub kld_mean_by_seed: Vec<(u64, f64)>,
    /// The largest of these means, in nats.
    pub kld_mean_max: f64,
    /// The cell's mean KLD over `kld_mean_max`; `None` when the floor is zero.
    pub ratio: Option<f64>,
    /// The selector of what was jittered, such as `ffn_norm[layers=8]`. For single layers it may be the whole target.
    pub target: String,
}

/// The version of [`CellRecord`]. Cells of format 1 do not state it. In format 2, a measurement is a list of numbers by
/// the keys of the table of metrics. In format 3, zero is one value in either sign, and both directions are counted.
/// In format 4, the evidence of activations is of all windows, the watched ones have the logits of their window beside them, and
/// a cell says whether its logits are not finite.
pub const CELL_FORMAT: FormatVersion = FormatVersion(4);

/// The record of one cell, immutable once written. It has no time, path, host or speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// The version of this record.
    #[serde(default = "FormatVersion::first", skip_serializing_if = "FormatVersion::is_first")]
    pub format: FormatVersion,
    /// The blake3 hash of everything that determines the numbers.
    pub key: String,
    /// The stage that adds the cell.
    pub stage: StageName,
    /// How much of the target the cell covers, where the stage's name does not imply it; see [`CellRecord::extent`].
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "extent")]
    pub stated_extent: Option<CellExtent>,
    /// What the cell is for.
    pub role: Role,
    /// The kernels that the model ran through.
    pub arm: Arm,
    /// The selector of the target, layers included.
    pub target: String,
    /// The scheme in canonical form.
    pub scheme: String,
    /// The layers that the edits touch; empty when the target has none.
    pub layers: Vec<u32>,
    /// The weights of the reference.
    pub base: Base,
    /// The edits on top of the reference's weights.
    pub edits: Vec<Edit>,
    /// The numbers of the measured windows, ascending.
    pub chunks: Vec<usize>,
    /// What was measured; `None` when the cell failed.
    pub measured: Option<Measured>,
    /// The evidence from the request to the logits.
    pub evidence: EvidenceChain,
    /// Why the cell failed, with the last words of the worker; `None` when it was measured.
    pub failure: Option<String>,
    /// Whether the cell failed because its logits are not finite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nonfinite: bool,
}

impl CellRecord {
    /// Why the cell was not measured, where that leaves the run without a result. Logits that are not finite are all that a
    /// destroyed target has to show.
    pub fn lack(&self) -> Option<&str> {
        let is_seen = self.role == Role::Positive && self.nonfinite;
        self.failure.as_deref().filter(|_| !is_seen)
    }

    /// How much of the target the cell covers.
    pub fn extent(&self) -> CellExtent {
        self.stated_extent.unwrap_or_else(|| CellExtent::implied_by(&self.stage))
    }

    /// Whether both records say that the same edits had the same results. A cell of two stages has a record in each, which
    /// differ in what they say of the stage.
    pub fn has_same_results(&self, other: &CellRecord) -> bool {
        let chain = |cell: &CellRecord| {
            // The request names the target of the stage; everything else must agree.
            let evidence = EvidenceChain { requested: String::new(), ..cell.evidence.clone() };
            (evidence, cell.failure.clone())
        };
        (&self.key, &self.arm, &self.base, &self.edits, &self.chunks, &self.measured)
            == (&other.key, &other.arm, &other.base, &other.edits, &other.chunks, &other.measured)
            && chain(self) == chain(other)
    }

    /// Whether the cell answers the question in its arm: it covers the whole target in the question's scheme.
    pub fn is_answer(&self) -> bool {
        self.role == Role::Variant && self.extent() == CellExtent::Whole
    }
}

/// A cell with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgedCell {
    /// The record of the cell.
    pub cell: CellRecord,
    /// The floor that the effect was compared with; `None` for controls.
    pub floor: Option<Floor>,
    /// The class of the effect.
    pub verdict: Verdict,
    /// The reason for the verdict.
    #[serde(deserialize_with = "value_or_sentence")]
    pub why: Reason,
}
