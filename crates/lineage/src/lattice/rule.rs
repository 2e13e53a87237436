//! When a block counts as explained by a lattice.

use super::claim::{BlockCount, CHANCE_RATE, MIN_HIT_SHARE, MIN_PART_SHARE};
use crate::interval::{self, Fit, HIT_BITS, Point};

/// The fewest distances with which a block can tell anything.
pub(super) const MIN_POINTS: usize = 3;
/// The bits of evidence that a block must be able to give for a lattice of this many steps: a hit and the cost of
/// naming the step.
const MIN_BITS_AT_STAKE: f64 = 12.0;
const STEPS_AT_STAKE: f64 = 16.0;

/// When a block counts as explained.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Some step explains the block and pays for its own name; the number is the largest multiple that is tried.
    AnyTop(u32),
    /// The same for a grid of only some blocks, where each block must be convincing by itself.
    AnyTopInPart(u32),
    /// The largest value is this multiple of the step, as in most blocks: −7 … 7 and the like, where a block has too
    /// few levels to name a multiple of its own. The multiple is named once for all blocks.
    Top(u32),
}

/// The bits that a block must give where only some blocks do: 2^−16 by chance. After a merge or an average in coarse
/// storage many blocks lie near a lattice and give a little more than a hit needs. They do so with as many levels as
/// such storage has near one, rather than with few, so the bits that name the multiple count once more.
const HIT_BITS_IN_PART: f64 = 16.0;
/// The largest multiple of a grid in a part of a tensor: large values beside small ones in coarse storage lie on finer
/// grids.
pub(super) const MAX_TOP_IN_PART: u32 = 32;

/// The bits that a block must give under a multiple that it need not name: 2^−5 by chance.
const HIT_BITS_NAMED: f64 = 5.0;
const CHANCE_RATE_NAMED: f64 = CHANCE_RATE + 1.0 / 32.0;
/// The bits that a block must then be able to give.
const MIN_BITS_AT_STAKE_NAMED: f64 = 7.0;
/// The largest multiple that all blocks may share; finer lattices tell by themselves.
pub(super) const MAX_SHARED_TOP: u32 = 16;
/// The smallest multiple that all blocks may share: with two levels and the zero between them, few levels are all that
/// can be said.
pub(super) const MIN_SHARED_TOP: u32 = 3;

impl Rule {
    pub(super) fn explains(self, points: &[Point]) -> Option<Fit> {
        match self {
            Rule::AnyTop(max_top) => interval::fit(points, max_top).filter(|fit| fit.bits >= HIT_BITS),
            Rule::AnyTopInPart(max_top) => interval::fit(points, max_top)
                .filter(|fit| fit.bits >= HIT_BITS_IN_PART + libm::log2(f64::from(fit.top))),
            Rule::Top(top) => interval::fit_under_top(points, top).filter(|fit| fit.bits >= HIT_BITS_NAMED),
        }
    }

    /// Whether a block could show a lattice if it lay on one, of four bits or of the multiple in question. A block
    /// whose values crowd into two or three levels beside an outlier could not, and says nothing against a grid either.
    pub(super) fn can_tell(self, points: &[Point]) -> bool {
        let (steps, at_stake, least) = match self {
            Rule::AnyTop(_) | Rule::AnyTopInPart(_) => (STEPS_AT_STAKE, MIN_BITS_AT_STAKE, MIN_POINTS),
            Rule::Top(top) => (f64::from(top), MIN_BITS_AT_STAKE_NAMED, 2),
        };
        let Some((top, rest)) = points.split_last().filter(|_| points.len() >= least) else { return false };
        let step = top.a / steps;
        interval::add_up_to(at_stake, rest.iter().map(|p| libm::log2(step / (2.0 * p.h)).max(0.0)))
    }

    /// The least share of the blocks that the rule must explain.
    pub(super) fn min_hit_share(self) -> f64 {
        match self {
            Rule::AnyTopInPart(_) => MIN_PART_SHARE,
            Rule::AnyTop(_) | Rule::Top(_) => MIN_HIT_SHARE,
        }
    }

    pub(super) fn accepts(self, count: &BlockCount) -> bool {
        match self {
            Rule::AnyTopInPart(_) => count.is_accepted_in_part(),
            Rule::AnyTop(_) | Rule::Top(_) => count.is_accepted(),
        }
    }

    pub(super) fn chance_rate(self) -> f64 {
        match self {
            Rule::AnyTop(_) | Rule::AnyTopInPart(_) => CHANCE_RATE,
            Rule::Top(_) => CHANCE_RATE_NAMED,
        }
    }
}
