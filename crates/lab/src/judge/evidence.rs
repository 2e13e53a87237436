//! From samples to a cell's numbers and its chain of evidence. These functions are pure: equal samples give equal
//! bytes.

use eval::routing;
use record::metric::{COLUMNS, How, Of, TOKEN_BYTES};
use record::store::CellSamples;
use record::{
    ActivationEvidence, Bits, CELL_FORMAT, Cell, CellRecord, Column, Columns, EvidenceChain, Floor, METRICS, Measured,
    Metric, MetricValues, NodeEvidence, Predicted, ReferenceSample, Sample, TensorEvidence,
};
use stats::StatsError;
use std::borrow::Cow;
use std::collections::BTreeMap;
use words::{count, plural};

/// The samples of a reference, by the number of the window.
pub type References = BTreeMap<usize, ReferenceSample>;

/// Why no numbers can be computed from a cell's samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// A window is missing.
    #[error("window {0} was not measured")]
    Missing(usize),
    /// The reference of a window is missing.
    #[error("window {0} of the reference was not measured")]
    NoReference(usize),
    /// A window was compared with other logits than its reference has.
    #[error("window {0}: it was compared with another reference than the group's")]
    OtherReference(usize),
    /// The worker never reported what the edits did.
    #[error("the worker never reported what the edits did")]
    NotApplied,
    /// The columns of a window cannot be scores.
    #[error("window {chunk}: {what}")]
    Malformed {
        /// The number of the window.
        chunk: usize,
        /// What is wrong with the columns.
        what: String,
    },
    /// The values of a metric cannot be summarized.
    #[error("{0}: {1}")]
    Stats(&'static str, StatsError),
    /// A number is beyond the range of f64.
    #[error("{0} is not finite")]
    NonFinite(&'static str),
    /// A number is missing on which verdicts rest.
    #[error(transparent)]
    Lacks(#[from] record::LacksNumber),
}

/// The record of a cell from all of its windows and those of its reference.
///
/// # Errors
/// When a window is missing or was compared with another reference, or the scores are malformed or not finite.
pub fn derive(
    cell: &Cell,
    samples: &CellSamples,
    references: &References,
    predicted: Option<&Predicted>,
) -> Result<CellRecord, EvidenceError> {
    let mut windows = Vec::with_capacity(cell.chunks.len());
    let mut first = None;
    for chunk in &cell.chunks {
        let sample = samples.by_chunk.get(chunk).ok_or(EvidenceError::Missing(*chunk))?;
        let reference = references.get(chunk).ok_or(EvidenceError::NoReference(*chunk))?;
        check_sample(sample, reference)?;
        first = first.or(Some(sample));
        windows.push(Window { variant: Some(with_routing(sample)), reference: &reference.columns });
    }
    let n_tokens = windows.iter().map(|window| window.reference.numbers("nll").len()).sum();
    let measured = Measured::new(windows.len(), n_tokens, sums(&windows)?)?;
    let tensors = match &samples.applied {
        Some(tensors) => over_windows(tensors, cell, samples),
        None if cell.edits.is_empty() => Vec::new(),
        None => return Err(EvidenceError::NotApplied),
    };
    // Activations are watched in the first window alone, so its own logits stand beside them.
    let activations = first.and_then(|first| {
        let logits_changed = Some(first.n_changed());
        first.activations.clone().map(|watched| ActivationEvidence { logits_changed, ..watched })
    });
    let evidence = EvidenceChain {
        requested: format!("{}={}", cell.target, cell.scheme),
        matched: cell.edits.len(),
        predicted: predicted.cloned(),
        tensors,
        activations,
        logits_changed: measured.logits_changed(),
        n_scored: measured.n_tokens,
    };
    Ok(record(cell, Some(measured), evidence))
}

/// What each edit did, with the sums over the windows of the cell for edits of a node's values. The worker reports those for
/// one window at a time.
fn over_windows(applied: &[TensorEvidence], cell: &Cell, samples: &CellSamples) -> Vec<TensorEvidence> {
    let mut sums: BTreeMap<&str, NodeEvidence> = BTreeMap::new();
    for sample in cell.chunks.iter().filter_map(|chunk| samples.by_chunk.get(chunk)) {
        for found in &sample.nodes {
            let start = || NodeEvidence { node: found.node.clone(), ..NodeEvidence::default() };
            sums.entry(&found.node).or_insert_with(start).add(found);
        }
    }
    let mut sum = |tensor: &TensorEvidence| sums.remove(tensor.tensor.as_str()).map(TensorEvidence::from);
    applied.iter().map(|tensor| sum(tensor).unwrap_or_else(|| tensor.clone())).collect()
}

/// The record of a cell that could not be measured.
pub fn failed(cell: &Cell, samples: &CellSamples, predicted: Option<&Predicted>, why: &CellFailure) -> CellRecord {
    let evidence = EvidenceChain {
        requested: format!("{}={}", cell.target, cell.scheme),
        matched: cell.edits.len(),
        predicted: predicted.cloned(),
        tensors: samples.applied.clone().unwrap_or_default(),
        activations: None,
        logits_changed: 0,
        n_scored: 0,
    };
    CellRecord { failure: Some(why.why.clone()), nonfinite: why.nonfinite, ..record(cell, None, evidence) }
}

/// Why a cell was not measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellFailure {
    /// The reason in words.
    pub why: String,
    /// Whether its logits are not finite.
    pub nonfinite: bool,
}

fn record(cell: &Cell, measured: Option<Measured>, evidence: EvidenceChain) -> CellRecord {
    CellRecord {
        format: CELL_FORMAT,
        key: cell.key.clone(),
        stage: cell.stage.clone(),
        stated_extent: cell.extent.unless_implied_by(&cell.stage),
        role: cell.role,
        arm: cell.base.arm,
        target: cell.target.clone(),
        scheme: cell.scheme.clone(),
        layers: cell.layers.clone(),
        base: cell.base.clone(),
        edits: cell.edits.clone(),
        chunks: cell.chunks.clone(),
        measured,
        evidence,
        failure: None,
        nonfinite: false,
    }
}

/// Checks a sample: its columns are finite and as long as its reference's, it has those that verdicts rest on, and it
/// was compared with that reference.
///
/// # Errors
/// When the sample fails the check; the error says what is wrong.
pub fn check_sample(sample: &Sample, reference: &ReferenceSample) -> Result<(), EvidenceError> {
    let malformed = |what: String| EvidenceError::Malformed { chunk: sample.chunk, what };
    sample.check().map_err(malformed)?;
    reference.columns.check().map_err(malformed)?;
    if sample.reference_blake3 != reference.logits_blake3 {
        return Err(EvidenceError::OtherReference(sample.chunk));
    }
    let (n, n_ref) = (sample.nll().len(), reference.nll().len());
    if n != n_ref {
        return Err(malformed(format!("{}, the reference has {}", plural(n, "scored position"), count(n_ref as u64))));
    }
    Ok(())
}

/// Checks that a newly measured sample has every column of the table.
///
/// # Errors
/// When a column is missing; the error names it.
pub fn check_complete(sample: &Sample) -> Result<(), EvidenceError> {
    match COLUMNS.iter().find(|column| sample.columns.get(column.id).is_none()) {
        Some(column) => {
            Err(EvidenceError::Malformed { chunk: sample.chunk, what: format!("column {} is missing", column.id) })
        }
        None => Ok(()),
    }
}

/// One window of the reference and, if there is one, of the variant.
struct Window<'a> {
    variant: Option<Cow<'a, Columns>>,
    reference: &'a Columns,
}

/// The columns of a sample and those that its routers give.
fn with_routing(sample: &Sample) -> Cow<'_, Columns> {
    let mut columns = Cow::Borrowed(&sample.columns);
    if !sample.routers.is_empty() {
        columns.to_mut().0.extend(routing::columns(&sample.routers).0);
    }
    columns
}

/// The numbers that need the reference alone.
///
/// # Errors
/// When the values of a metric cannot be summarized.
pub fn of_reference(windows: &[&ReferenceSample]) -> Result<MetricValues, EvidenceError> {
    for window in windows {
        window.columns.check().map_err(|what| EvidenceError::Malformed { chunk: window.chunk, what })?;
    }
    let windows: Vec<Window<'_>> =
        windows.iter().map(|window| Window { variant: None, reference: &window.columns }).collect();
    sums(&windows)
}

/// Every number of the table of metrics whose columns all windows have.
fn sums(windows: &[Window<'_>]) -> Result<MetricValues, EvidenceError> {
    let mut values = MetricValues::default();
    for metric in METRICS {
        if let Some(by_window) = windows.iter().map(|window| tokens(metric, window)).collect::<Option<Vec<_>>>() {
            sum_up(metric, &by_window, token_bytes(windows), &mut values)?;
        }
    }
    Ok(values)
}

/// The number of bytes of text behind all scored tokens; `None` where a window does not say it.
fn token_bytes(windows: &[Window<'_>]) -> Option<u64> {
    let of_window = |window: &Window<'_>| match window.reference.get(TOKEN_BYTES) {
        Some(Column::Counts(bytes)) => Some(bytes.iter().map(|&bytes| u64::from(bytes)).sum::<u64>()),
        _ => None,
    };
    windows.iter().map(of_window).sum()
}

/// The values of a metric on one window, one for each scored token; `None` where a column is missing.
fn tokens(metric: &Metric, window: &Window<'_>) -> Option<Vec<f64>> {
    let numbers = |column: &Column| match column {
        Column::F64(values) => values.clone(),
        Column::Bits(Bits(values)) => values.iter().map(|&bit| f64::from(u8::from(bit))).collect(),
        Column::Counts(values) => values.iter().map(|&count| f64::from(count)).collect(),
    };
    match (metric.of, window.variant.as_deref()) {
        (Of::Variant(id), Some(variant)) => variant.get(id).map(numbers),
        (Of::Variant(id), None) => window.reference.get(id).map(numbers),
        (Of::Reference(id), Some(_)) => window.reference.get(id).map(numbers),
        (Of::Difference(id), Some(variant)) => {
            let (variant, reference) = (numbers(variant.get(id)?), numbers(window.reference.get(id)?));
            stats::paired_differences(&variant, &reference).ok()
        }
        (Of::Reference(_) | Of::Difference(_), None) => None,
    }
}

fn sum_up(
    metric: &Metric,
    by_window: &[Vec<f64>],
    bytes: Option<u64>,
    values: &mut MetricValues,
) -> Result<(), EvidenceError> {
    let failed = |error| EvidenceError::Stats(metric.id, error);
    let mean = stats::mean(by_window).map_err(failed)?;
    let exp = mean.exp();
    let mut sorted: Option<Vec<f64>> = None;
    for sum in metric.sums {
        let value = match sum.how {
            How::Mean => Some(mean.mean),
            How::Se => mean.se,
            How::SeIid => Some(mean.se_iid),
            How::ExpMean => Some(exp.value),
            How::ExpSe => exp.se,
            How::ExpSeIid => Some(exp.se_iid),
            How::Count => Some(by_window.iter().flatten().sum()),
            How::AtLeast(least) => {
                let enough = by_window.iter().flatten().filter(|&&count| count >= f64::from(least)).count();
                Some(enough as f64 / mean.n as f64)
            }
            How::BitsPerByte => {
                let bits = mean.mean * mean.n as f64 / std::f64::consts::LN_2;
                bytes.filter(|&bytes| bytes > 0).map(|bytes| bits / bytes as f64)
            }
            How::Quantile(level) => {
                if sorted.is_none() {
                    sorted = Some(stats::sort_finite(by_window.iter().flatten().copied()).map_err(failed)?);
                }
                sorted.as_deref().and_then(|sorted| stats::quantile(sorted, level))
            }
        };
        match value {
            Some(value) if !value.is_finite() => return Err(EvidenceError::NonFinite(sum.key)),
            Some(value) => values.set(sum.key, value),
            None => {}
        }
    }
    Ok(())
}

/// The floor that `kld_mean` of a cell is compared with: each seed's mean over exactly the cell's windows. `None` when
/// a seed lacks one of them.
pub fn floor(chunks: &[usize], kld_mean: f64, seeds: &[(u64, &CellSamples)], target: &str) -> Option<Floor> {
    let kld_mean_by_seed: Vec<(u64, f64)> = seeds
        .iter()
        .map(|(seed, samples)| {
            let windows: Option<Vec<&[f64]>> =
                chunks.iter().map(|chunk| Some(samples.by_chunk.get(chunk)?.kld())).collect();
            Some((*seed, stats::mean(&windows?).ok()?.mean))
        })
        .collect::<Option<_>>()?;
    let kld_mean_max = kld_mean_by_seed.iter().map(|(_, mean)| *mean).reduce(f64::max)?;
    let ratio = (kld_mean_max > 0.0).then(|| kld_mean / kld_mean_max).filter(|ratio| ratio.is_finite());
    Some(Floor { kld_mean_by_seed, kld_mean_max, ratio, target: target.into() })
}
