//! What schemes would change before anything runs: in each tensor, in all tensors, and by the kind of the values.

use super::row::{Predicted, Unfit, kind};
use numerics::Scheme;
use record::answer::{CensusPrediction, CensusTensor, PredictedCounts, PredictedFrom, RefusedTensor, TensorPrediction};
use select::Selector;
use words::Advice;

/// An empty prediction of a scheme on the tensors of a selector.
pub(super) fn none_yet(scheme: &Scheme, target: &Selector) -> CensusPrediction {
    CensusPrediction {
        scheme: scheme.to_string(),
        target: target.to_string(),
        counts: PredictedCounts::default(),
        noop: false,
        n_tensors: 0,
        from: Vec::new(),
        refused: Vec::new(),
    }
}

/// Adds what was found for a tensor to the sums and to the row of the tensor.
pub(super) fn add(prediction: &mut CensusPrediction, row: &mut CensusTensor, predicted: Predicted) {
    let found = match predicted {
        Ok(found) => found,
        Err(unfit) => {
            let (why, advice) = match unfit {
                Unfit::Refused(error) => (error.to_string(), error.hint()),
                Unfit::NotLookedAt(why) => (why, None),
            };
            return prediction.refused.push(RefusedTensor { name: row.name.clone(), why, hint: None, advice });
        }
    };
    let lineage::Prediction {
        n, changed, zero_sign, minus_zero, zeroed, unzeroed, overflowed, saturated, noop, ..
    } = found;
    let of_tensor = PredictedCounts { n, changed, zero_sign, minus_zero, overflowed, zeroed, unzeroed, saturated };
    let (scheme, from) = (prediction.scheme.clone(), kind(row));
    row.predicted.push(TensorPrediction {
        scheme,
        changed,
        zero_sign,
        minus_zero,
        overflowed,
        zeroed,
        unzeroed,
        saturated,
        noop,
    });
    match prediction.from.iter_mut().find(|one| one.from == from) {
        Some(one) => {
            one.n_tensors += 1;
            one.counts = sum([one.counts, of_tensor]);
        }
        None => prediction.from.push(PredictedFrom { from, n_tensors: 1, counts: of_tensor }),
    }
}

/// Computes the totals after the last tensor.
pub(super) fn finish(prediction: &mut CensusPrediction) {
    prediction.counts = sum(prediction.from.iter().map(|one| one.counts));
    prediction.n_tensors = prediction.from.iter().map(|one| one.n_tensors).sum();
    prediction.noop = prediction.counts.changed == 0 && prediction.refused.is_empty();
}

fn sum(parts: impl IntoIterator<Item = PredictedCounts>) -> PredictedCounts {
    let none = PredictedCounts { saturated: Some(0), ..PredictedCounts::default() };
    parts.into_iter().fold(none, |sum, part| PredictedCounts {
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
