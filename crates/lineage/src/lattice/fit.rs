//! Sampled blocks and the lattice that explains them.

use super::Lattice;
use super::claim::BlockCount;
use super::null::{SURROGATE_SHIFT, mean, moved_part, surrogate_hits};
use super::rule::{MAX_SHARED_TOP, MIN_SHARED_TOP, Rule};
use crate::interval::{self, Fit, HIT_BITS, Point, Precision, Zero, levels, points};
use crate::sample::BlockExtent;

/// The share of the blocks whose largest multiple counts as the format's.
const USUAL: f64 = 0.8;

/// The least share of the sampled blocks that must be able to tell.
const MIN_TELLING_SHARE: f64 = 0.2;

/// The sampled blocks that an accepted lattice explains, each with its fit.
pub(super) struct Explained {
    pub(super) hits: Vec<(Vec<f32>, Fit)>,
    pub(super) count: BlockCount,
}

impl Explained {
    pub(super) fn of(blocks: &[Vec<f32>], zero: Zero, precision: Precision, max_top: u32) -> Option<Explained> {
        let under = |rule| Explained::under(rule, blocks, zero, precision);
        under(Rule::AnyTop(max_top)).or_else(|| under(Rule::Top(shared_top(blocks, zero, precision)?)))
    }

    pub(super) fn under(rule: Rule, blocks: &[Vec<f32>], zero: Zero, precision: Precision) -> Option<Explained> {
        let with_points = blocks.iter().map(|block| (block, points(&levels(block, zero), zero, precision)));
        let telling: Vec<(&Vec<f32>, Vec<Point>)> = with_points.filter(|(_, points)| rule.can_tell(points)).collect();
        if telling.is_empty() || (telling.len() as f64) < MIN_TELLING_SHARE * blocks.len() as f64 {
            return None;
        }
        let n = telling.len() as u64;
        let mut tolerated = n as usize - (rule.min_hit_share() * n as f64).ceil() as usize;
        let mut hits = Vec::with_capacity(telling.len());
        for (block, points) in &telling {
            match rule.explains(points) {
                Some(fit) => hits.push(((*block).clone(), fit)),
                // With too many misses nothing can be accepted; most tensors end here.
                None if tolerated == 0 => return None,
                None => tolerated -= 1,
            }
        }
        let telling: Vec<&Vec<f32>> = telling.into_iter().map(|(block, _)| block).collect();
        let means: Vec<f64> = telling.iter().map(|block| mean(block)).collect();
        let shifted = |x: f64, i: usize, u: f64| x + SURROGATE_SHIFT * u * moved_part(x, means[i]);
        let by_share = surrogate_hits(&telling, zero, precision, rule, shifted);
        let steps = hits.iter().map(|(_, fit)| fit.step()).collect::<Vec<f64>>();
        let by_step = surrogate_hits(&telling, zero, precision, rule, |x, i, u| x + steps[i % steps.len()] * u);
        let count = BlockCount::new(hits.len() as u64, n, by_share.max(by_step), rule.chance_rate());
        rule.accepts(&count).then(|| Explained { hits: without_outliers(hits, zero, precision), count })
    }

    /// The largest multiple in [`USUAL`] of the blocks: the others may have found a part of their step, or have an
    /// outlier. Rows have enough values to avoid that, so it is the largest of all.
    pub(super) fn top(&self, extent: BlockExtent) -> u32 {
        usual(self.hits.iter().map(|(_, fit)| fit.top).collect(), extent)
    }

    /// The steps from the least to the greatest value, in as many blocks as [`Explained::top`] speaks of.
    fn span(&self, extent: BlockExtent) -> u32 {
        let of = |(block, fit): &(Vec<f32>, Fit)| {
            let (least, most) = block.iter().fold((0.0f32, 0.0f32), |(a, z), x| (a.min(*x), z.max(*x)));
            ((f64::from(most) - f64::from(least)) / fit.step()).round() as u32
        };
        usual(self.hits.iter().map(of).collect(), extent)
    }

    /// How the levels are numbered.
    pub(super) fn numbering(&self, extent: BlockExtent, zero: Zero) -> Numbering {
        Numbering::of(zero, self.top(extent), || self.span(extent))
    }

    /// Bits for one value, with its share of the scale.
    pub(super) fn cost(&self, extent: BlockExtent, zero: Zero) -> f64 {
        let scale_bits = if zero == Zero::AtZero { SCALE_BITS } else { SCALE_BITS_FROM_LEAST };
        f64::from(self.numbering(extent, zero).bits) + scale_bits / values_of(extent)
    }
}

/// The number in [`USUAL`] of the blocks, or the largest of all lines.
fn usual(mut of_each: Vec<u32>, extent: BlockExtent) -> u32 {
    of_each.sort_unstable();
    let last = of_each.len().saturating_sub(1);
    let at = if matches!(extent, BlockExtent::Block(_)) { (last as f64 * USUAL) as usize } else { last };
    of_each.get(at).copied().unwrap_or(1)
}

/// How the levels of a lattice are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbering {
    /// Whether the levels lie around zero.
    pub(super) symmetric: bool,
    /// The number of bits that name a level.
    pub(super) bits: u32,
}

/// The most bits that name a level in any format of integers.
pub(super) const MAX_FORMAT_BITS: u32 = 8;

impl Numbering {
    /// The numbering of the levels up to `top`. If no format has as many steps from zero, but one has the `span` of steps
    /// from the least to the greatest value, the levels are those of a format with a zero point.
    pub(super) fn of(zero: Zero, top: u32, span: impl FnOnce() -> u32) -> Numbering {
        let bits = bits_of(top, zero);
        if zero == Zero::AtZero && bits > MAX_FORMAT_BITS {
            let bits = bits_of(span(), Zero::AtLeast);
            if bits <= MAX_FORMAT_BITS {
                return Numbering { symmetric: false, bits };
            }
        }
        Numbering { symmetric: zero == Zero::AtZero, bits }
    }
}

/// The bits of a scale, and of a scale and the least value of a block.
pub(crate) const SCALE_BITS: f64 = 16.0;
const SCALE_BITS_FROM_LEAST: f64 = 28.0;

/// The number of values that share a scale. Lines and tensors have so many that their scales cost nothing.
fn values_of(extent: BlockExtent) -> f64 {
    match extent {
        BlockExtent::Block(size) => size as f64,
        BlockExtent::Whole | BlockExtent::Tensor => 1e6,
    }
}

/// The bits of a value that no grid explains.
const BITS_OFF_GRID: f64 = 16.0;

/// The mean number of bits that describe a value of the sampled blocks. Where the grid explains a block, these name one
/// of `levels` and pay for a share of the scale. Elsewhere they are storage's own.
pub(crate) fn cost(levels: f64, scale_bits: f64, extent: BlockExtent, blocks: &BlockCount) -> f64 {
    let hit = blocks.hits as f64 / blocks.n.max(1) as f64;
    hit * (libm::log2(levels) + scale_bits / values_of(extent)) + (1.0 - hit) * BITS_OFF_GRID
}

impl Lattice {
    /// The bits that describe a value, as [`cost`] counts them.
    pub(crate) fn cost(&self) -> f64 {
        let (top, named) = (f64::from(self.top), libm::exp2(self.bits.into()));
        let (levels, scale_bits) = match self.symmetric {
            true => (2.0 * top, SCALE_BITS),
            false => ((top + 1.0).min(named), SCALE_BITS_FROM_LEAST),
        };
        cost(levels, scale_bits, self.extent, &self.blocks)
    }
}

/// Replaces fits in which an outlier determines the step. In coarse storage an outlier often fits a part of the step
/// that the other values have. Where those have a coarser step in most blocks, an outlier in each block is the simpler
/// description. It is named once for all blocks and costs a block nothing.
fn without_outliers(hits: Vec<(Vec<f32>, Fit)>, zero: Zero, precision: Precision) -> Vec<(Vec<f32>, Fit)> {
    let coarser = |(block, fit): &(Vec<f32>, Fit)| match fit.spared {
        true => Some(*fit),
        false => interval::fit_without_top(&points(&levels(block, zero), zero, precision), fit.top)
            .filter(|rest| rest.bits >= HIT_BITS && rest.step() >= MIN_COARSER * fit.step()),
    };
    let rest: Vec<Option<Fit>> = hits.iter().map(coarser).collect();
    if rest.iter().flatten().count() as f64 <= MIN_SHARE_WITH_OUTLIER * hits.len() as f64 {
        return hits;
    }
    hits.into_iter().zip(rest).map(|((block, fit), rest)| (block, rest.unwrap_or(fit))).collect()
}

/// The least share of the blocks that must have an outlier for this.
const MIN_SHARE_WITH_OUTLIER: f64 = 0.3;
/// The least ratio of the other values' step to the outlier's: an outlier can make the step up to half as large.
const MIN_COARSER: f64 = 1.5;

/// The multiple of its step that the largest value of most blocks is, if it is a small one.
fn shared_top(blocks: &[Vec<f32>], zero: Zero, precision: Precision) -> Option<u32> {
    let mut votes = [0u32; MAX_SHARED_TOP as usize + 1];
    for block in blocks {
        let points = points(&levels(block, zero), zero, precision);
        if let Some(fit) = interval::fit(&points, MAX_SHARED_TOP).filter(|_| points.len() > 1) {
            votes[fit.top as usize] += 1;
        }
    }
    let (top, votes) = (MIN_SHARED_TOP..)
        .zip(&votes[MIN_SHARED_TOP as usize..])
        .max_by_key(|(top, votes)| (**votes, std::cmp::Reverse(*top)))?;
    (*votes as f64 >= MIN_TELLING_SHARE * blocks.len() as f64 && *votes > 0).then_some(top)
}

/// The largest multiple that is tried. It is 128 for small blocks: among 16 or 32 BF16 values, those of one binade are
/// multiples up to 255 of its spacing without any other cause.
pub(super) fn max_top(extent: BlockExtent, zero: Zero) -> u32 {
    match (extent, zero) {
        (BlockExtent::Block(..=32), Zero::AtZero) => 128,
        (BlockExtent::Block(..=32), Zero::AtLeast) => 63,
        _ => 255,
    }
}

/// The number of bits that name `top` and all levels below; −8 … 7 take four.
pub(super) fn bits_of(top: u32, zero: Zero) -> u32 {
    match zero {
        Zero::AtZero => (top.max(1).next_power_of_two().trailing_zeros() + 1).max(2),
        Zero::AtLeast => (top + 1).next_power_of_two().trailing_zeros().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_name_the_ranges_that_formats_use() {
        let of = |top| bits_of(top, Zero::AtZero);
        assert_eq!((of(7), of(8), of(4), of(16), of(32), of(127), of(128)), (4, 4, 3, 5, 6, 8, 8));
        let of = |top| bits_of(top, Zero::AtLeast);
        assert_eq!((of(3), of(15), of(31), of(255)), (2, 4, 5, 8));
    }
}
