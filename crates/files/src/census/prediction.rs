//! What schemes would change before anything runs: in each tensor, in all tensors, and by the kind of the values.

use super::row::{Outcome, Unfit, kind};
use numerics::Scheme;
use record::Predicted;
use record::answer::{CensusPrediction, CensusTensor, PredictedFrom, RefusedTensor, TensorPrediction};
use select::Selector;
use words::{Advice, Hint};

/// An empty prediction of a scheme on the tensors of a selector.
pub(super) fn none_yet(scheme: &Scheme, target: &Selector) -> CensusPrediction {
    CensusPrediction {
        scheme: scheme.to_string(),
        target: target.to_string(),
        counts: Predicted::default(),
        noop: false,
        n_tensors: 0,
        from: Vec::new(),
        refused: Vec::new(),
    }
}

/// Adds what was found for a tensor to the sums and to the row of the tensor.
pub(super) fn add(prediction: &mut CensusPrediction, row: &mut CensusTensor, outcome: Outcome) {
    let found = match outcome {
        Ok(found) => found,
        Err(unfit) => {
            let (why, advice) = match unfit {
                Unfit::Refused { source, fallback } => {
                    let advice = match fallback {
                        Some(ty) => Some(Hint::AllowFallback { ty: ty.into() }),
                        None => source.hint(),
                    };
                    (source.to_string(), advice)
                }
                Unfit::NotLookedAt(why) => (why, None),
            };
            return prediction.refused.push(RefusedTensor { name: row.name.clone(), why, hint: None, advice });
        }
    };
    let lineage::Prediction { changed, zero_sign, minus_zero, zeroed, unzeroed, overflowed, saturated, noop, .. } =
        found;
    let scheme = prediction.scheme.clone();
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
    let (of_tensor, from) = (super::predicted(found), kind(row));
    match prediction.from.iter_mut().find(|one| one.from == from) {
        Some(one) => {
            one.n_tensors += 1;
            one.counts = Predicted::sum([&one.counts, &of_tensor].into_iter());
        }
        None => prediction.from.push(PredictedFrom { from, n_tensors: 1, counts: of_tensor }),
    }
}

/// Computes the totals after the last tensor.
pub(super) fn finish(prediction: &mut CensusPrediction) {
    prediction.counts = Predicted::sum(prediction.from.iter().map(|one| &one.counts));
    prediction.n_tensors = prediction.from.iter().map(|one| one.n_tensors).sum();
    prediction.noop = prediction.counts.changed == 0 && prediction.refused.is_empty();
}
