//! What a tensor's values say, as it is recorded.

use record::Predicted;

/// A prediction of what a scheme would change, as it is recorded.
pub fn predicted(found: lineage::Prediction) -> Predicted {
    Predicted {
        n: found.n,
        changed: found.changed,
        zero_sign: found.zero_sign,
        overflowed: found.overflowed,
        zeroed: found.zeroed,
        saturated: found.saturated,
    }
}
