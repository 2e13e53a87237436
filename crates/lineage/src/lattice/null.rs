//! The null model: surrogates, which are blocks made to look like the sampled ones.

use super::rule::Rule;
use crate::interval::{Precision, Zero, levels, points};
use crate::sample::{mix, symmetric_uniform};

/// How far the values of a surrogate are moved, as a share of their distance from the mean of the block.
pub(crate) const SURROGATE_SHIFT: f64 = 0.06;

pub(crate) fn mean(block: &[f32]) -> f64 {
    block.iter().map(|x| f64::from(*x)).sum::<f64>() / block.len().max(1) as f64
}

/// The part of a value that the move of a surrogate's value is proportional to: its distance from the mean of its
/// block. Weights usually lie around zero. For weights around one, a move by 6 % of the value would leave the few
/// levels that storage has there, and no surrogate would look like them. Zeros stay, since pruned weights are not
/// levels.
pub(crate) fn moved_part(x: f64, mean: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x - mean }
}

/// The number of blocks that are still explained after every distinct level has been moved and rounded to storage
/// again. Equal values stay equal, so that what few levels alone would give is part of the chance.
pub(super) fn surrogate_hits(
    blocks: &[&Vec<f32>],
    zero: Zero,
    precision: Precision,
    rule: Rule,
    moved: impl Fn(f64, usize, f64) -> f64,
) -> u64 {
    let is_hit = |(index, block): (usize, &&Vec<f32>)| {
        let surrogate: Vec<f32> = levels(block, zero)
            .iter()
            .enumerate()
            .map(|(i, &x)| precision.round(moved(x.into(), index, symmetric_uniform(mix(index as u64) ^ i as u64))))
            .collect();
        rule.explains(&points(&levels(&surrogate, zero), zero, precision)).is_some()
    };
    blocks.iter().enumerate().filter(|block| is_hit(*block)).count() as u64
}
