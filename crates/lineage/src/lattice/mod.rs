//! Integer lattices: do sampled blocks lie on multiples of a step, more often than blocks that were made to look like
//! them?
//!
//! ```text
//! sampled blocks ─▶ fit each ─▶ hits ──┐
//!    └▶ two surrogates ─▶ fit each ─▶ hits of chance ─▶ accepted? ─▶ cheapest extent ─▶ Lattice
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `claim` | the thresholds, and the evidence of a count |
//! | `rule` | when a block counts as explained |
//! | `null` | the surrogates: blocks that are made to look like the sampled ones |
//! | `fit` | the explanation of a sample |
//! | `describe` | what the steps say beyond the lattice: one step, super-blocks, the class of the scales, a coarser lattice |

mod claim;
mod describe;
mod fit;
mod null;
mod rule;

pub use claim::{BlockCount, MAX_SURROGATE_SHARE, MIN_HIT_SHARE, MIN_LATTICE_EVIDENCE_BITS};
pub(crate) use claim::{CHANCE_RATE, MIN_AGREEMENT, tail_bits};
pub(crate) use fit::{SCALE_BITS, cost};
pub(crate) use null::{SURROGATE_SHIFT, mean, moved_part};

use crate::interval::{Precision, Zero};
use crate::sample::{Axis, BlockExtent, Lines, Sample};
use describe::{MIN_SAME_STEP, MIN_SAME_STEP_OF_MORE_BITS, has_super_blocks};
use fit::{Explained, MAX_FORMAT_BITS, Numbering, bits_of, max_top};
use rayon::prelude::*;
use rule::{MAX_TOP_IN_PART, Rule};

/// The most blocks of each extent that are fitted for a grid in a part of the tensor.
const SAMPLED_OF_PART: usize = 64;

/// The kind of numbers that the steps of the blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleClass {
    /// Powers of two, with one significant bit.
    PowerOfTwo,
    /// Numbers of four significant bits, as E4M3 has.
    E4m3,
    /// Numbers of eight significant bits, as BF16 has.
    Bf16,
    /// Numbers of eleven significant bits, as F16 has.
    F16,
    /// Finer numbers, or numbers that are known too coarsely to tell.
    Unknown,
}

/// A coarser lattice inside the one that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requantized {
    /// The mean number of distinct levels of a block.
    pub levels: f64,
    /// The same number if neighbouring levels were in use as well.
    pub expected: f64,
    /// The bits of the coarser lattice, where blocks are large enough to tell.
    pub about_bits: Option<u32>,
}

/// A regular grid that the sampled blocks of a tensor lie on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    /// Whether the levels lie around zero, and are not counted from each block's least value.
    pub symmetric: bool,
    /// The number of bits that name a level.
    pub bits: u32,
    /// The largest multiple in 80 % of the blocks; for rows, the largest in all of them.
    pub top: u32,
    /// The values that share a step.
    pub extent: BlockExtent,
    /// The axis along which blocks run.
    pub axis: Axis,
    /// The kind of numbers that the steps are.
    pub scales: ScaleClass,
    /// Whether the steps of a super-block of 256 values are themselves multiples of one step, as in k-quants.
    pub super_blocks: bool,
    /// A coarser lattice inside this one, if it shows.
    pub requantized: Option<Requantized>,
    /// The evidence of the sampled blocks.
    pub blocks: BlockCount,
}

/// The most blocks of each extent that are fitted.
pub(crate) fn sampled(extent: BlockExtent) -> usize {
    match extent {
        BlockExtent::Block(..=32) => 192,
        BlockExtent::Block(..=64) => 64,
        BlockExtent::Block(_) => 48,
        BlockExtent::Whole | BlockExtent::Tensor => 32,
    }
}

const EXTENTS: [BlockExtent; 6] = [
    BlockExtent::Block(16),
    BlockExtent::Block(32),
    BlockExtent::Block(64),
    BlockExtent::Block(128),
    BlockExtent::Block(256),
    BlockExtent::Whole,
];

/// All extents, each with both zeros, in the order of preference among equals.
fn tried() -> Vec<(BlockExtent, Zero)> {
    EXTENTS.iter().flat_map(|&extent| [(extent, Zero::AtZero), (extent, Zero::AtLeast)]).collect()
}

/// The cheapest accepted lattice along the axis of `lines`; `sample` is their sample.
pub(crate) fn find(lines: &Lines<'_>, sample: &Sample, precision: Precision) -> Option<Lattice> {
    let found: Vec<(f64, BlockExtent, Zero, Explained)> = tried()
        .into_par_iter()
        .filter_map(|(extent, zero)| {
            let blocks = sample.blocks(extent, sampled(extent));
            let explained = Explained::of(&blocks, zero, precision, max_top(extent, zero))?;
            Some((explained.cost(extent, zero), extent, zero, explained))
        })
        .collect();
    let cheapest = (0..found.len()).reduce(|a, b| if found[b].0 < found[a].0 { b } else { a })?;
    let chosen = (cheapest + 1..found.len()).fold(cheapest, |chosen, larger| {
        let ((_, extent, zero, small), (_, larger_extent, larger_zero, whole)) = (&found[chosen], &found[larger]);
        // Small blocks of few levels can be cheaper, but one step for more values says more. Steps that are powers of
        // two nest, and so make one of more values with more levels than any format has.
        let larger_bits = whole.numbering(*larger_extent, *larger_zero).bits;
        let small_bits = small.numbering(*extent, *zero).bits;
        let no_format = larger_bits > MAX_FORMAT_BITS && small_bits <= MAX_FORMAT_BITS;
        let share = if larger_bits > small_bits { MIN_SAME_STEP_OF_MORE_BITS } else { MIN_SAME_STEP };
        let stays =
            larger_extent != extent && !no_format && whole.step_stays_in_parts(*extent, *zero, precision, share);
        if stays { larger } else { chosen }
    });
    // Of both zeros for the same values, the one with fewer levels.
    let bits = |i: usize| found[i].3.numbering(found[i].1, found[i].2).bits;
    let same_extent = (0..found.len()).filter(|i| found[*i].1 == found[chosen].1);
    let chosen = same_extent.fold(chosen, |chosen, other| if bits(other) < bits(chosen) { other } else { chosen });
    let (_, extent, zero, explained) = &found[chosen];
    let (extent, zero) = (*extent, *zero);
    let Numbering { symmetric, bits } = explained.numbering(extent, zero);
    let lattice = Lattice {
        symmetric,
        bits,
        top: explained.top(extent),
        extent,
        axis: lines.axis,
        scales: explained.scale_class(),
        super_blocks: false,
        requantized: None,
        blocks: explained.count,
    };
    if let Some((size, top)) = explained.sub_lattice(extent, zero) {
        let (extent, bits) = (BlockExtent::Block(size), bits_of(top, zero));
        return Some(Lattice { extent, top, bits, super_blocks: true, ..lattice });
    }
    if let Some(step) = explained.one_step().filter(|_| extent == BlockExtent::Whole) {
        let top = lattice.top.max((lines.range(zero == Zero::AtZero) / step).round() as u32);
        let Numbering { symmetric, bits } = Numbering::of(zero, top, || (lines.range(false) / step).round() as u32);
        // The least of nested steps is one that all rows lie on, with more levels than any format has.
        if bits <= MAX_FORMAT_BITS || lattice.bits > MAX_FORMAT_BITS {
            let requantized = explained.requantized(zero, top);
            return Some(Lattice { extent: BlockExtent::Tensor, top, symmetric, bits, requantized, ..lattice });
        }
    }
    Some(Lattice {
        super_blocks: has_super_blocks(sample, extent, zero, precision),
        requantized: explained.requantized(zero, lattice.top),
        ..lattice
    })
}

/// The cheapest lattice that some of the blocks lie on, where the whole tensor is on none: rows of a quantized model
/// beside rows of another, or experts of both kinds in one tensor.
pub(crate) fn find_in_part(sample: &Sample, axis: Axis, precision: Precision) -> Option<Lattice> {
    let found: Vec<(f64, Lattice)> = tried()
        .into_par_iter()
        .filter_map(|(extent, zero)| {
            let blocks = sample.blocks(extent, sampled(extent).min(SAMPLED_OF_PART));
            let rule = Rule::AnyTopInPart(max_top(extent, zero).min(MAX_TOP_IN_PART));
            let explained = Explained::under(rule, &blocks, zero, precision)?;
            let (top, scales) = (explained.top(extent), explained.scale_class());
            let Numbering { symmetric, bits } = explained.numbering(extent, zero);
            let (super_blocks, requantized, blocks) = (false, None, explained.count);
            let lattice = Lattice { symmetric, bits, top, extent, axis, scales, super_blocks, requantized, blocks };
            Some((explained.cost(extent, zero), lattice))
        })
        .collect();
    found.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a }).map(|(_, lattice)| lattice)
}
