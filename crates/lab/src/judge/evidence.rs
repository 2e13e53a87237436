//! From samples to a cell's numbers and its chain of evidence. Pure: equal samples give equal bytes.

use record::Cell;
use record::Sample;
use record::store::CellSamples;
use record::{CellRecord, Estimate, EvidenceChain, Floor, Measured, Predicted};
use stats::StatsError;

/// Why a cell's samples give no numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// A window is missing.
    #[error("window {0} was not measured")]
    Missing(usize),
    /// The worker never said what the edits did.
    #[error("the worker never reported what the edits did")]
    NotApplied,
    /// Something in the scores cannot be a score.
    #[error("window {chunk}: {what}")]
    Malformed {
        /// Window.
        chunk: usize,
        /// What is wrong.
        what: String,
    },
    /// The scores cannot be summed up.
    #[error("{0} {1}")]
    Stats(&'static str, StatsError),
    /// A number that left the range of f64.
    #[error("{0} is not finite")]
    NonFinite(&'static str),
}

/// The record of a cell whose windows are all there.
///
/// # Errors
/// When one is missing, or the scores are malformed or not finite.
pub fn derive(cell: &Cell, samples: &CellSamples, predicted: Option<&Predicted>) -> Result<CellRecord, EvidenceError> {
    let windows = cell
        .chunks
        .iter()
        .map(|chunk| samples.by_chunk.get(chunk).ok_or(EvidenceError::Missing(*chunk)))
        .collect::<Result<Vec<&Sample>, _>>()?;
    let measured = measure(&windows)?;
    let tensors = match &samples.applied {
        Some(tensors) => tensors.clone(),
        None if cell.edits.is_empty() => Vec::new(),
        None => return Err(EvidenceError::NotApplied),
    };
    let evidence = EvidenceChain {
        requested: format!("{}={}", cell.target, cell.scheme),
        matched: cell.edits.len(),
        predicted: predicted.cloned(),
        tensors,
        activations: windows.first().and_then(|first| first.activations.clone()),
        logits_changed: measured.logits_changed,
        n_scored: measured.n_tokens,
    };
    Ok(record(cell, Some(measured), evidence, None))
}

/// The record of a cell that could not be measured.
pub fn failed(cell: &Cell, samples: &CellSamples, predicted: Option<&Predicted>, why: &str) -> CellRecord {
    let evidence = EvidenceChain {
        requested: format!("{}={}", cell.target, cell.scheme),
        matched: cell.edits.len(),
        predicted: predicted.cloned(),
        tensors: samples.applied.clone().unwrap_or_default(),
        activations: None,
        logits_changed: 0,
        n_scored: 0,
    };
    record(cell, None, evidence, Some(why.into()))
}

fn record(cell: &Cell, measured: Option<Measured>, evidence: EvidenceChain, failure: Option<String>) -> CellRecord {
    CellRecord {
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
        failure,
    }
}

/// Whether a sample can be one: every list of one length, counts within it, every score finite.
///
/// # Errors
/// What is wrong with it.
pub fn check_sample(sample: &Sample) -> Result<(), EvidenceError> {
    let wrong = |what: String| Err(EvidenceError::Malformed { chunk: sample.chunk, what });
    let n = sample.nll.len();
    if n == 0 || sample.nll_ref.len() != n || sample.kld.len() != n {
        return wrong(format!("{n} nll, {} nll_ref, {} kld", sample.nll_ref.len(), sample.kld.len()));
    }
    if sample.same_top > n || sample.logits_changed > n {
        return wrong(format!("{} same top and {} changed of {n}", sample.same_top, sample.logits_changed));
    }
    for (what, values) in [("nll", &sample.nll), ("nll_ref", &sample.nll_ref), ("kld", &sample.kld)] {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return wrong(format!("{what} of scored token {index} is not finite"));
        }
    }
    Ok(())
}

fn measure(windows: &[&Sample]) -> Result<Measured, EvidenceError> {
    windows.iter().try_for_each(|sample| check_sample(sample))?;
    let mean = |what, chunks: &[&[f64]]| stats::mean(chunks).map_err(|error| EvidenceError::Stats(what, error));
    let estimate = |mean: stats::Mean| Estimate { mean: mean.mean, se: mean.se, se_iid: mean.se_iid };

    let nll: Vec<&[f64]> = windows.iter().map(|sample| sample.nll.as_slice()).collect();
    let nll_ref: Vec<&[f64]> = windows.iter().map(|sample| sample.nll_ref.as_slice()).collect();
    let kld: Vec<&[f64]> = windows.iter().map(|sample| sample.kld.as_slice()).collect();
    let differences = windows
        .iter()
        .map(|sample| stats::paired_differences(&sample.nll, &sample.nll_ref))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| EvidenceError::Stats("dlnppl", error))?;
    let differences: Vec<&[f64]> = differences.iter().map(Vec::as_slice).collect();

    let ppl = mean("nll", &nll)?;
    let sorted = stats::sort_finite(kld.iter().flat_map(|chunk| chunk.iter().copied()))
        .map_err(|error| EvidenceError::Stats("kld", error))?;
    let quantile = |q| stats::quantile(&sorted, q).ok_or(EvidenceError::NonFinite("a quantile of kld"));
    let n_tokens = ppl.n;
    let measured = Measured {
        n_chunks: windows.len(),
        n_tokens,
        ppl: ppl.mean.exp(),
        ppl_ref: mean("nll_ref", &nll_ref)?.mean.exp(),
        dlnppl: estimate(mean("dlnppl", &differences)?),
        kld: estimate(mean("kld", &kld)?),
        kld_median: quantile(0.5)?,
        kld_p99: quantile(0.99)?,
        kld_max: quantile(1.0)?,
        same_top: windows.iter().map(|sample| sample.same_top).sum::<usize>() as f64 / n_tokens as f64,
        logits_changed: windows.iter().map(|sample| sample.logits_changed).sum(),
    };
    if measured.ppl.is_finite() && measured.ppl_ref.is_finite() {
        Ok(measured)
    } else {
        Err(EvidenceError::NonFinite("perplexity"))
    }
}

/// The floor that `kld_mean` of a cell is held against: each seed's mean over exactly the cell's windows.
/// `None` when a seed lacks one of them.
pub fn floor(chunks: &[usize], kld_mean: f64, seeds: &[(u64, &CellSamples)], target: &str) -> Option<Floor> {
    let kld_mean_by_seed: Vec<(u64, f64)> = seeds
        .iter()
        .map(|(seed, samples)| {
            let windows: Option<Vec<&[f64]>> =
                chunks.iter().map(|chunk| Some(samples.by_chunk.get(chunk)?.kld.as_slice())).collect();
            Some((*seed, stats::mean(&windows?).ok()?.mean))
        })
        .collect::<Option<_>>()?;
    let kld_mean_max = kld_mean_by_seed.iter().map(|(_, mean)| *mean).reduce(f64::max)?;
    let ratio = (kld_mean_max > 0.0).then(|| kld_mean / kld_mean_max).filter(|ratio| ratio.is_finite());
    Some(Floor { kld_mean_by_seed, kld_mean_max, ratio, target: target.into() })
}
