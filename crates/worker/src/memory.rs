//! Computes the main memory that a measurement needs, and what it does without when that does not fit. Only the
//! advice asks what the system has.
//!
//! Doing without changes no number: edited weights are computed anew instead of kept, fewer windows run side by side,
//! and passes start at the first layer. The weights of the arm and the logits of one window are always needed. If they
//! do not fit, the job is refused and told what it needs.

use crate::available::available_memory;
use record::{MemoryNeeds, MemoryPlan};
use words::{Advice, Hint, bytes};

/// The most bytes of edited weights that are kept between rounds. Weights that do not fit are computed anew in each
/// round.
pub const KEPT_EDITS_BYTES: u64 = 512 << 20;

/// The memory that is always needed does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} needed at least ({parts}), {} allowed", bytes(*.needed_bytes), bytes(*.max_bytes))]
pub struct TooLittleMemory {
    /// The smallest limit that would suffice, in bytes.
    pub needed_bytes: u64,
    /// The limit, in bytes.
    pub max_bytes: u64,
    /// The parts of the sum, in words.
    pub parts: String,
    /// The bytes of weights stored in F32 beside the original ones. The other arm does without them.
    pub held_in_f32_bytes: u64,
}

impl Advice for TooLittleMemory {
    fn hint(&self) -> Option<Hint> {
        let has_f32_weights = self.held_in_f32_bytes > 0;
        // Beyond what the system has, a higher limit would only move the failure.
        Some(match available_memory().is_none_or(|available| self.needed_bytes <= available.bytes) {
            true => Hint::RaiseMemory { has_f32_weights },
            false => Hint::NeedLessMemory { has_f32_weights },
        })
    }
}

/// The most useful arrangement within `max_bytes`: up to `n_contexts` windows side by side, and recorded prefixes if
/// `wants_prefix`.
///
/// # Errors
/// When one window does not fit even if it runs from the first layer and no edit is kept.
pub fn fit(
    needs: &MemoryNeeds,
    max_bytes: Option<u64>,
    n_contexts: usize,
    wants_prefix: bool,
) -> Result<MemoryPlan, TooLittleMemory> {
    let limit = max_bytes.unwrap_or(u64::MAX);
    let fixed = needs.model_bytes + needs.held_in_f32_bytes + needs.cell_bytes + needs.scratch_bytes;
    let without_edits = |n: usize, prefix: bool| {
        let each = needs.context_bytes + needs.reference_bytes + if prefix { needs.prefix_bytes } else { 0 };
        fixed.saturating_add(each.saturating_mul(n as u64))
    };
    let arrangements =
        (1..=n_contexts.max(1)).rev().map(|n| (n, wants_prefix)).chain(wants_prefix.then_some((1, false)));
    for (n, keeps_prefix) in arrangements {
        let used = without_edits(n, keeps_prefix);
        if used <= limit {
            let kept_edits_bytes = needs.edits_bytes.min(KEPT_EDITS_BYTES).min(limit - used);
            return Ok(MemoryPlan {
                needs: *needs,
                max_bytes,
                n_contexts: n,
                n_contexts_wanted: n_contexts.max(1),
                keeps_prefix,
                kept_edits_bytes,
                total_bytes: used + kept_edits_bytes,
            });
        }
    }
    Err(TooLittleMemory {
        needed_bytes: without_edits(1, false),
        max_bytes: limit,
        parts: needs.parts(1, false, 0),
        held_in_f32_bytes: needs.held_in_f32_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: MemoryNeeds = MemoryNeeds {
        model_bytes: 100,
        held_in_f32_bytes: 400,
        context_bytes: 50,
        reference_bytes: 20,
        prefix_bytes: 30,
        cell_bytes: 40,
        scratch_bytes: 10,
        edits_bytes: 200,
    };

    /// What remains of `NEEDS` at a limit: the number of contexts, the prefix, the bytes of kept edits and the total.
    fn kept(limit: Option<u64>) -> (usize, bool, u64, u64) {
        let plan = fit(&NEEDS, limit, 2, true).expect("fits");
        (plan.n_contexts, plan.keeps_prefix, plan.kept_edits_bytes, plan.total_bytes)
    }

    #[test]
    fn without_a_limit_everything_is_kept() {
        assert_eq!(kept(None), (2, true, 200, 550 + 2 * 100 + 200));
    }

    #[test]
    fn kept_edits_go_first_then_contexts_then_the_prefix() {
        assert_eq!(kept(Some(800)), (2, true, 50, 800));
        assert_eq!(kept(Some(750)), (2, true, 0, 750));
        assert_eq!(kept(Some(749)), (1, true, 99, 749));
        assert_eq!(kept(Some(649)), (1, false, 29, 649));
        assert_eq!(kept(Some(620)), (1, false, 0, 620));
    }

    #[test]
    fn every_arrangement_stays_within_its_limit() {
        for limit in 620..1200 {
            let plan = fit(&NEEDS, Some(limit), 4, true).expect("fits");
            assert!(plan.total_bytes <= limit, "{plan:?}");
        }
    }

    #[test]
    fn what_cannot_be_given_up_is_refused_with_what_it_needs() {
        let error = fit(&NEEDS, Some(619), 2, true).expect_err("one byte short");
        assert_eq!((error.needed_bytes, error.max_bytes), (620, 619));
        assert_eq!(
            error.to_string(),
            "620 bytes needed at least (model 100 bytes, weights in F32 400 bytes, 1 context 50 bytes, reference logits \
             20 bytes, edited weights 50 bytes), 619 bytes allowed"
        );
        assert_eq!(error.hint(), Some(Hint::RaiseMemory { has_f32_weights: true }));
        // No machine has so much, so a higher limit would not help.
        let vast = MemoryNeeds { model_bytes: 1 << 60, ..NEEDS };
        let error = fit(&vast, Some(619), 1, true).expect_err("too little");
        assert_eq!(error.hint(), Some(Hint::NeedLessMemory { has_f32_weights: true }));
        let native = MemoryNeeds { held_in_f32_bytes: 0, ..NEEDS };
        let error = fit(&native, Some(1), 1, false).expect_err("too little");
        assert_eq!(error.hint(), Some(Hint::RaiseMemory { has_f32_weights: false }));
    }

    #[test]
    fn what_was_given_up_is_said() {
        let words = fit(&NEEDS, Some(649), 2, true).expect("fits").words();
        assert_eq!(
            words,
            "649 bytes of 649 bytes: model 100 bytes, weights in F32 400 bytes, 1 context 50 bytes, reference logits 20 bytes, \
             edited weights 50 bytes, kept edits 29 bytes; 1 window instead of 2 side by side; every pass computes all layers; \
             edits that are not kept are computed in every round"
        );
        assert!(!fit(&NEEDS, None, 2, true).expect("fits").words().contains(';'));
    }
}
