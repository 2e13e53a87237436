//! Blocks with far fewer distinct values than similar blocks have. They come from some codebook, but not from a known
//! one.
//!
//! Rows can have far fewer distinct values although their blocks do not: with one scale for each group, but the values
//! of a group spread over the row (GPTQ with act-order).

use crate::interval::{Precision, Zero, levels};
use crate::lattice::{self, BlockCount, SURROGATE_SHIFT, mean, moved_part, tail_bits};
use crate::sample::{Axis, BlockExtent, Lines, Sample, mix, symmetric_uniform};
use crate::table::TABLE_EXTENTS;

/// Blocks with far fewer distinct values than similar blocks have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FewLevels {
    /// The most distinct values of a block, in 95 % of the blocks.
    pub levels: u32,
    /// The median number of distinct values of blocks whose values are as fine.
    pub expected: u32,
    /// The values of a block.
    pub extent: BlockExtent,
    /// The axis along which blocks run.
    pub axis: Axis,
    /// The evidence: the blocks with fewer magnitudes than their surrogate, among those where the two differ.
    pub blocks: BlockCount,
}

/// The fewest blocks that are sampled of each extent.
const MIN_BLOCKS_OF_FEW: usize = 64;

/// The most levels that blocks may have, as a share of their surrogates' levels, all blocks together.
const MAX_LEVEL_SHARE: f64 = 0.7;

/// The same share for signed values in nearly all blocks: magnitudes coincide in any symmetric block.
const MAX_SIGNED_SHARE: f64 = 0.85;

/// The least rate of chance that is assumed, however few surrogates have fewer levels than another.
const MIN_CHANCE: f64 = 0.05;

/// The number of rows that are sampled for low cardinality, and of values of each row.
const ROWS_SEEN: usize = 12;
const VALUES_OF_ROW: usize = 2048;
/// The share of its surrogate's levels below which a row has low cardinality.
const MAX_ROW_SHARE: f64 = 0.5;

/// A gap between two levels counts as one of the storage up to this many of its steps.
const NEAR_STEPS: f64 = 2.0;
/// The share of such gaps above which the storage limits the levels. The entries of a codebook of 16 are more than ten
/// steps of BF16 apart.
const MAX_SHARE_OF_NEAR_GAPS: f64 = 0.7;

/// The most levels that count as few: as many as four bits name.
const MAX_LEVELS: u32 = 16;

impl FewLevels {
    /// The cheapest extent whose blocks have at most 16 distinct values, and far fewer than chance gives.
    pub(crate) fn find(sample: &Sample, axis: Axis, precision: Precision) -> Option<FewLevels> {
        let found = [BlockExtent::Whole].into_iter().chain(TABLE_EXTENTS).filter_map(|extent| {
            let blocks = sample.blocks(extent, lattice::sampled(extent).max(MIN_BLOCKS_OF_FEW));
            let size = blocks.first().map_or(0, Vec::len);
            let few = FewLevels::of(&blocks, extent, axis, precision, 1.0).filter(FewLevels::are_few)?;
            Some((few.cost(size), few))
        });
        found.reduce(|a, b| if b.0 < a.0 { b } else { a }).map(|(_, few)| few)
    }

    /// Whether four bits name the levels. Rows with more have low cardinality.
    pub(crate) fn are_few(&self) -> bool {
        self.levels <= MAX_LEVELS
    }

    /// Rows with far fewer distinct values than chance gives.
    pub(crate) fn of_rows(rows: &Lines<'_>, precision: Precision) -> Option<FewLevels> {
        let seen = rows.seen(ROWS_SEEN, VALUES_OF_ROW);
        FewLevels::of(&seen, BlockExtent::Whole, rows.axis, precision, MAX_ROW_SHARE)
    }

    /// `far` is the share of another block's levels below which levels count as fewer.
    fn of(blocks: &[Vec<f32>], extent: BlockExtent, axis: Axis, precision: Precision, far: f64) -> Option<FewLevels> {
        let is_fewer = |a: usize, b: usize| (a as f64) < far * b as f64;
        let (mut fewer, mut more) = (0, 0);
        let (mut own_sum, mut other_sum, mut chance) = (0, 0, 0);
        let (mut most, mut expected) = (Vec::new(), Vec::new());
        let (mut near, mut gaps) = (0, 0);
        for (index, block) in blocks.iter().enumerate() {
            let spread = without_atom(block);
            let moved = moved_values(&spread, index as u64, precision);
            // Magnitudes decide: a ternary block has only one, however few of its values are not zero.
            let again = moved_values(&moved, !(index as u64), precision);
            let [own, other, third] = [&spread, &moved, &again].map(|values| levels(values, Zero::AtZero).len());
            let (near_here, gaps_here) = gaps_of_storage(block, precision);
            (near, gaps) = (near + near_here, gaps + gaps_here);
            if other < 2 {
                continue;
            }
            chance += u64::from(is_fewer(other, third));
            fewer += u64::from(is_fewer(own, other));
            more += u64::from(is_fewer(other, own));
            own_sum += own;
            other_sum += other;
            most.push(levels(block, Zero::AtLeast).len() as u32);
            expected.push(levels(&moved, Zero::AtLeast).len() as u32);
        }
        // Where the levels are those of the storage, one beside the other, nothing else limits them.
        if near as f64 > MAX_SHARE_OF_NEAR_GAPS * gaps as f64 {
            return None;
        }
        if most.is_empty() || most.len() * 5 < blocks.len() {
            return None;
        }
        most.sort_unstable();
        expected.sort_unstable();
        let (levels, expected) = (most[(most.len() - 1) * 95 / 100], expected[expected.len() / 2]);
        // If blocks and surrogates were alike, a block would have fewer levels as often as one surrogate has against
        // another.
        let n = most.len() as u64;
        let rate = ((chance + 1) as f64 / (n + 2) as f64).max(MIN_CHANCE);
        let evidence_bits = tail_bits(fewer, n, rate).min(tail_bits(fewer, fewer + more, rate));
        let accepted = own_sum as f64 <= MAX_LEVEL_SHARE * other_sum as f64
            && f64::from(levels) <= MAX_SIGNED_SHARE * f64::from(expected)
            && evidence_bits >= lattice::MIN_LATTICE_EVIDENCE_BITS;
        let blocks = BlockCount { hits: fewer, n: fewer + more, surrogate_hits: 0, evidence_bits };
        accepted.then_some(FewLevels { levels, expected, extent, axis, blocks })
    }

    /// Bits for one value in blocks of `size` values, with a scale of 16 bits for each block.
    fn cost(&self, size: usize) -> f64 {
        libm::log2(f64::from(self.levels)) + 16.0 / size.max(1) as f64
    }
}

/// The values of a block without those of its most frequent magnitude, unless it is the only one besides zero. A bound at which
/// values were clipped, a mask or a fill is one value that many places have, as zero is. It says nothing of the others, and
/// moving each of its places would make many values of the one.
fn without_atom(block: &[f32]) -> Vec<f32> {
    let mut magnitudes: Vec<f32> = block.iter().map(|x| x.abs()).filter(|x| *x != 0.0).collect();
    magnitudes.sort_unstable_by(f32::total_cmp);
    let runs = magnitudes.chunk_by(|a, b| a == b);
    match runs.clone().max_by_key(|run| run.len()).and_then(|run| run.first()) {
        Some(&atom) if runs.count() > 1 => block.iter().copied().filter(|x| x.abs() != atom).collect(),
        _ => block.to_vec(),
    }
}

/// How many gaps between neighbouring magnitudes of a block are a step or two of the storage, and how many there are.
fn gaps_of_storage(block: &[f32], precision: Precision) -> (usize, usize) {
    let levels = levels(block, Zero::AtZero);
    let is_near =
        |pair: &&[f32]| f64::from(pair[1]) - f64::from(pair[0]) <= NEAR_STEPS * 2.0 * precision.half_ulp(pair[0]);
    (levels.windows(2).filter(is_near).count(), levels.len().saturating_sub(1))
}

/// The values, each moved by up to 6 % of its distance from their mean and rounded to storage again. Around zero that
/// is 6 % of the value. Values that crowd around another number stay around it.
pub(crate) fn moved_values(block: &[f32], index: u64, precision: Precision) -> Vec<f32> {
    let mean = mean(block);
    let moved = |(i, x): (usize, &f32)| {
        let x = f64::from(*x);
        precision.round(x + SURROGATE_SHIFT * symmetric_uniform(mix(index) ^ i as u64) * moved_part(x, mean))
    };
    block.iter().enumerate().map(moved).collect()
}
