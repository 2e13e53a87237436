//! The metrics: one table from which every JSON key, CSV column, report column and worked value of a metric is made.
//!
//! ```text
//! columns of samples ── Metric::of ──▶ one value a token ── Sum::how ──▶ one number under Sum::key
//! ```
//!
//! A new metric is a row here and, where no stored column has its values yet, a column and a fold in `eval`.

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Nats (units of information to the base e) a token.
    Nats,
    /// A share of the scored positions, from 0 to 1.
    Share,
    /// A number of scored positions.
    Positions,
    /// Perplexity, which has no unit.
    Perplexity,
    /// A ratio near 1, which has no unit.
    Ratio,
    /// Bits for a byte of text.
    BitsPerByte,
}

impl MetricUnit {
    /// The name of the unit for the head of a column; empty where there is no unit.
    pub fn name(self) -> &'static str {
        match self {
            MetricUnit::Nats => "nats/token",
            MetricUnit::Share => "share",
            MetricUnit::Positions => "positions",
            MetricUnit::BitsPerByte => "bits/byte",
            MetricUnit::Perplexity | MetricUnit::Ratio => "",
        }
    }
}

/// The values of a metric that are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Lower values are better.
    Lower,
    /// Higher values are better.
    Higher,
    /// Zero is equality; a larger distance is a larger change, which need not be a worse model.
    Zero,
    /// The metric is evidence, not quality.
    None,
}

impl Direction {
    /// The direction in words, for a table.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Lower => "lower is better",
            Direction::Higher => "higher is better",
            Direction::Zero => "0 is equality",
            Direction::None => "evidence",
        }
    }
}

/// The unit of observation for which a metric has one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// The metric has one value for each scored token.
    Token,
}

/// What must be observed for a metric to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The logits of one model.
    Logits,
    /// The logits of the reference and the variant on the same tokens.
    PairedLogits,
    /// The experts that the routers of the reference and the variant choose for the same tokens. Only a mixture of
    /// experts has routers.
    PairedRouters,
}

/// The kind of the values in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// The values are numbers.
    F64,
    /// The values are yes or no.
    Bits,
    /// The values are whole numbers.
    Counts,
}

/// A column of raw values in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnRow {
    /// The name of the column.
    pub id: &'static str,
    /// The kind of its values.
    pub kind: ColumnKind,
    /// The unit of observation for which the column has one value.
    pub per: Per,
}

/// The columns of a cell's samples. The reference has those of [`REFERENCE_COLUMNS`].
pub const COLUMNS: &[ColumnRow] = &[
    ColumnRow { id: "nll", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "kld", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "kld_reverse", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "tv", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "same_top", kind: ColumnKind::Bits, per: Per::Token },
    ColumnRow { id: "top_agreement", kind: ColumnKind::Counts, per: Per::Token },
    ColumnRow { id: "logits_changed", kind: ColumnKind::Bits, per: Per::Token },
    // No metric has these yet. Token classes, flips against the text and calibration follow from them without the engine.
    ColumnRow { id: "top_p", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "entropy", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "hit", kind: ColumnKind::Bits, per: Per::Token },
];

/// The number of bytes of text that each scored token stands for; 0 for a special token.
pub const TOKEN_BYTES: &str = "token_bytes";

/// The columns of a reference's samples, which need no second model.
pub const REFERENCE_COLUMNS: &[ColumnRow] = &[
    ColumnRow { id: "nll", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: TOKEN_BYTES, kind: ColumnKind::Counts, per: Per::Token },
    ColumnRow { id: "top_p", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "entropy", kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: "hit", kind: ColumnKind::Bits, per: Per::Token },
];

/// The share of the layers with a router in which the sets of chosen experts differ, for each scored token.
pub const ROUTING_FLIPS: &str = "routing_flips";

/// The share of the experts which the reference chooses that the variant does not choose, for each scored token.
pub const EXPERTS_CHANGED: &str = "experts_changed";

/// The columns that follow from the routers of a cell's samples, [`Sample::routers`](crate::Sample::routers). Samples have
/// them by layer.
pub const ROUTING_COLUMNS: &[ColumnRow] = &[
    ColumnRow { id: ROUTING_FLIPS, kind: ColumnKind::F64, per: Per::Token },
    ColumnRow { id: EXPERTS_CHANGED, kind: ColumnKind::F64, per: Per::Token },
];

/// Where the values of a metric come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The variant's column of that name, or the reference's where there is no variant.
    Variant(&'static str),
    /// The reference's column of that name.
    Reference(&'static str),
    /// The variant's column minus the reference's.
    Difference(&'static str),
}

/// How the values of a metric become one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// The mean. For bits this is the share that is set.
    Mean,
    /// The standard error of the mean, clustered by window; absent below 8 windows.
    Se,
    /// The standard error of the mean as if tokens were independent.
    SeIid,
    /// The exponential of the mean.
    ExpMean,
    /// The standard error of the exponential of the mean, by the delta method, clustered by window.
    ExpSe,
    /// The standard error of the exponential of the mean, by the delta method, as if tokens were independent.
    ExpSeIid,
    /// The quantile at this level; 1 is the largest.
    Quantile(f64),
    /// The number of bits that are set.
    Count,
    /// The share of counts that are at least this number.
    AtLeast(u32),
    /// The sum, from nats to bits, for each of the bytes that the reference's column [`TOKEN_BYTES`] counts. There is none
    /// where that column is missing or counts no byte.
    BitsPerByte,
}

/// One number that summarizes a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sum {
    /// The key of the number in JSON, its column in CSV and its name in docs/metrics.md.
    pub key: &'static str,
    /// How the number is computed from the values.
    pub how: How,
    /// The meaning of the number, as a sentence for schemas.
    pub doc: &'static str,
}

/// One metric of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// The name of the metric in code.
    pub id: &'static str,
    /// The name of the metric for readers.
    pub title: &'static str,
    /// The unit of the metric's numbers.
    pub unit: MetricUnit,
    /// Which values are better.
    pub direction: Direction,
    /// The unit of observation for which the metric has one value.
    pub per: Per,
    /// What must be observed for the metric.
    pub needs: Needs,
    /// The column that the metric's values come from.
    pub of: Of,
    /// The numbers that summarize the metric, the headline first.
    pub sums: &'static [Sum],
    /// Whether verdicts rest on the metric, so that every measured cell has it.
    pub is_core: bool,
}

const fn sum(key: &'static str, how: How, doc: &'static str) -> Sum {
    Sum { key, how, doc }
}

/// The metrics, in the order in which they are written.
pub const METRICS: &[Metric] = &[
    Metric {
        id: "ppl",
        title: "PPL",
        unit: MetricUnit::Perplexity,
        direction: Direction::Lower,
        per: Per::Token,
        needs: Needs::Logits,
        of: Of::Variant("nll"),
        sums: &[
            sum("ppl", How::ExpMean, "Perplexity: of the variant where there is one."),
            sum("ppl_se", How::ExpSe, "The standard error of `ppl`, clustered by window; none below 8 windows."),
            sum("ppl_se_iid", How::ExpSeIid, "The standard error of `ppl` as if tokens were independent."),
        ],
        is_core: true,
    },
    Metric {
        id: "nll",
        title: "NLL",
        unit: MetricUnit::Nats,
        direction: Direction::Lower,
        per: Per::Token,
        needs: Needs::Logits,
        of: Of::Variant("nll"),
        sums: &[sum(
            "nll_nats",
            How::Mean,
            "The mean negative log-likelihood in nats a token; `ppl` is its exponential.",
        )],
        is_core: true,
    },
    Metric {
        id: "bits_per_byte",
        title: "bits per byte",
        unit: MetricUnit::BitsPerByte,
        direction: Direction::Lower,
        per: Per::Token,
        needs: Needs::Logits,
        of: Of::Variant("nll"),
        sums: &[sum(
            "bits_per_byte",
            How::BitsPerByte,
            "The number of bits for a byte of the text that the scored tokens stand for, comparable across vocabularies.",
        )],
        is_core: false,
    },
    Metric {
        id: "ppl_ref",
        title: "PPL of the reference",
        unit: MetricUnit::Perplexity,
        direction: Direction::Lower,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Reference("nll"),
        sums: &[sum("ppl_ref", How::ExpMean, "Perplexity of the reference on the same tokens.")],
        is_core: true,
    },
    Metric {
        id: "kld",
        title: "KLD",
        unit: MetricUnit::Nats,
        direction: Direction::Zero,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Variant("kld"),
        sums: &[
            sum("kld_mean", How::Mean, "Mean Kullback–Leibler divergence from the reference, nats a token."),
            sum("kld_se", How::Se, "The standard error of `kld_mean`, clustered by window; none below 8 windows."),
            sum("kld_se_iid", How::SeIid, "The standard error of `kld_mean` as if tokens were independent."),
            sum("kld_median", How::Quantile(0.5), "The median of the divergence over tokens."),
            sum("kld_p99", How::Quantile(0.99), "The 99th percentile of the divergence over tokens."),
            sum("kld_max", How::Quantile(1.0), "The largest divergence of a token."),
        ],
        is_core: true,
    },
    Metric {
        id: "kld_reverse",
        title: "reverse KLD",
        unit: MetricUnit::Nats,
        direction: Direction::Zero,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Variant("kld_reverse"),
        sums: &[
            sum(
                "kld_reverse",
                How::Mean,
                "Mean Kullback–Leibler divergence of the reference from the variant, nats a token.",
            ),
            sum(
                "kld_reverse_se",
                How::Se,
                "The standard error of `kld_reverse`, clustered by window; none below 8 windows.",
            ),
        ],
        is_core: false,
    },
    Metric {
        id: "tv",
        title: "total variation",
        unit: MetricUnit::Share,
        direction: Direction::Zero,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Variant("tv"),
        sums: &[
            sum(
                "tv",
                How::Mean,
                "Mean total variation distance, 0 … 1: the chance that a token drawn from one is not one of the other.",
            ),
            sum("tv_se", How::Se, "The standard error of `tv`, clustered by window; none below 8 windows."),
        ],
        is_core: false,
    },
    Metric {
        id: "same_top",
        title: "same top",
        unit: MetricUnit::Share,
        direction: Direction::Higher,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Variant("same_top"),
        sums: &[
            sum("same_top", How::Mean, "The share of positions at which both find the same token most probable."),
            sum("same_top_se", How::Se, "The standard error of `same_top`, clustered by window; none below 8 windows."),
        ],
        is_core: true,
    },
    Metric {
        id: "top_agreement",
        title: "same top 2 … 5",
        unit: MetricUnit::Share,
        direction: Direction::Higher,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Variant("top_agreement"),
        sums: &[
            sum(
                "same_top_2",
                How::AtLeast(2),
                "The share of positions at which the two most probable tokens are the same in the same order.",
            ),
            sum(
                "same_top_3",
                How::AtLeast(3),
                "The share of positions at which the three most probable tokens are the same in the same order.",
            ),
            sum(
                "same_top_4",
                How::AtLeast(4),
                "The share of positions at which the four most probable tokens are the same in the same order.",
            ),
            sum(
                "same_top_5",
                How::AtLeast(5),
                "The share of positions at which the five most probable tokens are the same in the same order.",
            ),
        ],
        is_core: false,
    },
    Metric {
        id: "dlnppl",
        title: "Δ ln PPL",
        unit: MetricUnit::Nats,
        direction: Direction::Lower,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Difference("nll"),
        sums: &[
            sum("dlnppl", How::Mean, "ln PPL(variant) − ln PPL(reference), nats a token."),
            sum("dlnppl_se", How::Se, "The standard error of `dlnppl`, clustered by window; none below 8 windows."),
            sum("dlnppl_se_iid", How::SeIid, "The standard error of `dlnppl` as if tokens were independent."),
        ],
        is_core: true,
    },
    Metric {
        id: "ppl_ratio",
        title: "PPL / PPL of the reference",
        unit: MetricUnit::Ratio,
        direction: Direction::Lower,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Difference("nll"),
        sums: &[sum("ppl_ratio", How::ExpMean, "Perplexity of the variant over that of the reference.")],
        is_core: false,
    },
    Metric {
        id: "logits_changed",
        title: "logits changed",
        unit: MetricUnit::Positions,
        direction: Direction::None,
        per: Per::Token,
        needs: Needs::PairedLogits,
        of: Of::Variant("logits_changed"),
        sums: &[sum("logits_changed", How::Count, "The number of scored positions whose logits differ in any bit.")],
        is_core: true,
    },
    Metric {
        id: "routing_flips",
        title: "routing flips",
        unit: MetricUnit::Share,
        direction: Direction::Zero,
        per: Per::Token,
        needs: Needs::PairedRouters,
        of: Of::Variant(ROUTING_FLIPS),
        sums: &[
            sum(
                "routing_flips",
                How::Mean,
                "The share of pairs of a token and a layer with a router in which the sets of chosen experts differ; none without routers.",
            ),
            sum(
                "routing_flips_se",
                How::Se,
                "The standard error of `routing_flips`, clustered by window; none below 8 windows.",
            ),
        ],
        is_core: false,
    },
    Metric {
        id: "experts_changed",
        title: "experts changed",
        unit: MetricUnit::Share,
        direction: Direction::Zero,
        per: Per::Token,
        needs: Needs::PairedRouters,
        of: Of::Variant(EXPERTS_CHANGED),
        sums: &[
            sum(
                "experts_changed",
                How::Mean,
                "The share of the experts which the reference chooses that the variant does not choose; none without routers.",
            ),
            sum(
                "experts_changed_se",
                How::Se,
                "The standard error of `experts_changed`, clustered by window; none below 8 windows.",
            ),
        ],
        is_core: false,
    },
];

/// The column of that name; `None` where there is none.
pub fn column(id: &str) -> Option<&'static ColumnRow> {
    COLUMNS.iter().chain(REFERENCE_COLUMNS).chain(ROUTING_COLUMNS).find(|column| column.id == id)
}

/// Every number of the table with its metric, in the order in which they are written.
pub fn sums() -> impl Iterator<Item = (&'static Metric, &'static Sum)> {
    METRICS.iter().flat_map(|metric| metric.sums.iter().map(move |sum| (metric, sum)))
}

pub(crate) fn sum_of(key: &str) -> Option<(&'static Metric, &'static Sum)> {
    sums().find(|(_, sum)| sum.key == key)
}

impl How {
    /// Whether some measurements lack the number. Below 8 windows there is no clustered error.
    pub fn may_be_absent(self) -> bool {
        matches!(self, How::Se | How::ExpSe)
    }

    /// Whether the number states the uncertainty of another one.
    pub fn is_error(self) -> bool {
        matches!(self, How::Se | How::SeIid | How::ExpSe | How::ExpSeIid)
    }

    /// Whether the number is always whole.
    pub(crate) fn is_whole(self) -> bool {
        self == How::Count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_of_the_table_is_one_name() {
        let keys: Vec<&str> = sums().map(|(_, sum)| sum.key).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        let ids: BTreeSet<&str> = METRICS.iter().map(|metric| metric.id).collect();
        assert_eq!(ids.len(), METRICS.len());
        for metric in METRICS {
            let (Of::Variant(id) | Of::Reference(id) | Of::Difference(id)) = metric.of;
            let column = column(id).unwrap_or_else(|| panic!("{}: no column {id}", metric.id));
            assert_eq!(column.per, metric.per, "{}", metric.id);
            let is_fit = |how: How| match how {
                How::Count => column.kind == ColumnKind::Bits,
                How::AtLeast(_) => column.kind == ColumnKind::Counts,
                How::Mean | How::Se | How::SeIid => column.kind != ColumnKind::Counts,
                _ => column.kind == ColumnKind::F64,
            };
            assert!(metric.sums.iter().all(|sum| is_fit(sum.how)), "{}", metric.id);
            assert!(!metric.sums[0].how.may_be_absent(), "{}: the headline is always there", metric.id);
        }
    }
}
