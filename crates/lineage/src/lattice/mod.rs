//! Integer lattices: do sampled blocks lie on multiples of a step, more often than blocks that were made
//! to look like them?
//!
//! ```text
//! sampled blocks ─▶ fit each ─▶ hits ──┐
//!    └▶ two surrogates ─▶ fit each ─▶ hits of chance ─▶ accepted? ─▶ cheapest extent ─▶ Lattice
//! ```

use crate::interval::{self, Fit, HIT_BITS, Point, Precision, Zero, levels, points};
use crate::sample::{Axis, Extent, Lines, Sample, mix, symmetric_uniform};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// A grid is claimed when at least this share of the blocks that can tell lies on it,
pub const MIN_HIT_SHARE: f64 = 0.75;
/// no more than this share of either surrogate does,
pub const MAX_SURROGATE_SHARE: f64 = 0.35;
/// and so many hits would take at least this many bits of luck at the surrogates' rate.
pub const MIN_LATTICE_EVIDENCE_BITS: f64 = 40.0;

/// Of a part of the tensor a grid is claimed from this share of the blocks on.
pub const MIN_PART_SHARE: f64 = 0.25;
/// Blocks of each extent that are fitted for that, at most.
const SAMPLED_OF_PART: usize = 64;

/// Share of the blocks whose largest multiple is taken for the format's.
const USUAL: f64 = 0.8;

/// Least share of the explained blocks that agree on something beyond, such as one step or a class of scales.
pub(crate) const MIN_AGREEMENT: f64 = 0.90;

/// The rate at which blocks without structure reach [`HIT_BITS`].
pub(crate) const CHANCE_RATE: f64 = 0.011;
/// Distances a block needs before it can tell anything,
const MIN_POINTS: usize = 3;
/// and bits of evidence that it could give for a lattice of so many steps: a hit and the cost of naming the step.
const MIN_BITS_AT_STAKE: f64 = 12.0;
const STEPS_AT_STAKE: f64 = 16.0;
/// Least share of the sampled blocks that must be able to tell.
const MIN_TELLING_SHARE: f64 = 0.2;
/// How far a surrogate's values are moved, relative to their distance from the block's mean.
pub(crate) const SURROGATE_SHIFT: f64 = 0.06;

/// How many of the sampled blocks are explained, and how many would be by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockCount {
    /// Blocks explained.
    pub hits: u64,
    /// Blocks that could have failed to be.
    pub n: u64,
    /// Blocks of the worse surrogate that are explained.
    pub surrogate_hits: u64,
    /// Bits of luck that as many hits would take at the surrogate's rate.
    pub evidence_bits: f64,
}

impl BlockCount {
    /// `chance_rate` is what blocks without structure reach by construction, however few surrogates did.
    pub(crate) fn new(hits: u64, n: u64, surrogate_hits: u64, chance_rate: f64) -> BlockCount {
        let rate = ((surrogate_hits + 1) as f64 / (n + 2) as f64).max(chance_rate);
        BlockCount { hits, n, surrogate_hits, evidence_bits: tail_bits(hits, n, rate) }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.share(self.hits) >= MIN_HIT_SHARE && self.is_beyond_chance(MAX_SURROGATE_SHARE)
    }

    /// Of a grid that only some of the blocks lie on: where few hit, fewer by chance would be as many.
    fn is_accepted_in_part(&self) -> bool {
        let hits = self.share(self.hits);
        hits >= MIN_PART_SHARE && self.is_beyond_chance(MAX_SURROGATE_SHARE * hits)
    }

    fn share(&self, k: u64) -> f64 {
        k as f64 / self.n.max(1) as f64
    }

    fn is_beyond_chance(&self, max_surrogate_share: f64) -> bool {
        self.n > 0
            && self.share(self.surrogate_hits) <= max_surrogate_share
            && self.evidence_bits >= MIN_LATTICE_EVIDENCE_BITS
    }
}

/// −log2 of Chernoff's bound on the probability of `hits` or more of `n` at `rate`; 0 where that is nothing special.
pub(crate) fn tail_bits(hits: u64, n: u64, rate: f64) -> f64 {
    let share = hits as f64 / n.max(1) as f64;
    if share <= rate {
        return 0.0;
    }
    let term = |p: f64, q: f64| if p > 0.0 { p * libm::log2(p / q) } else { 0.0 };
    n as f64 * (term(share, rate) + term(1.0 - share, 1.0 - rate))
}

pub(crate) fn mean(block: &[f32]) -> f64 {
    block.iter().map(|x| f64::from(*x)).sum::<f64>() / block.len().max(1) as f64
}

/// What of a value a surrogate's is moved in proportion to: its distance from the mean of its block. Weights lie around
/// zero; of those around one, 6 % of the value would leave the few levels that storage has there, and no surrogate
/// would look like them. Zeros stay: pruned weights are no levels.
pub(crate) fn moved_part(x: f64, mean: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x - mean }
}

/// What the steps of the blocks are numbers of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleClass {
    /// Powers of two.
    PowerOfTwo,
    /// Four significant bits, as E4M3 has.
    E4m3,
    /// Eight significant bits.
    Bf16,
    /// Eleven significant bits.
    F16,
    /// Finer than that, or too coarsely seen to tell.
    Unknown,
}

/// A coarser lattice inside the one found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requantized {
    /// Mean distinct levels of a block.
    pub levels: f64,
    /// What they would be if neighbouring levels were in use as well.
    pub expected: f64,
    /// Bits that the coarser lattice has, where blocks are large enough to tell.
    pub about_bits: Option<u32>,
}

/// A regular grid that the sampled blocks of a tensor lie on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    /// Steps are counted from zero, not from each block's least value.
    pub symmetric: bool,
    /// Bits that name a level.
    pub bits: u32,
    /// The largest multiple in 80 % of the blocks; of rows, in all.
    pub top: u32,
    /// Values that share a step.
    pub extent: Extent,
    /// Along which they run.
    pub axis: Axis,
    /// What the steps are.
    pub scales: ScaleClass,
    /// The steps of a super-block of 256 are multiples of one step in turn, as in k-quants.
    pub super_blocks: bool,
    /// A coarser lattice inside.
    pub requantized: Option<Requantized>,
    /// The evidence.
    pub blocks: BlockCount,
}

/// Blocks of each extent that are fitted, at most.
pub(crate) fn sampled(extent: Extent) -> usize {
    match extent {
        Extent::Block(..=32) => 192,
        Extent::Block(..=64) => 64,
        Extent::Block(_) => 48,
        Extent::Whole | Extent::Tensor => 32,
    }
}

/// The largest multiple tried. 128 for small blocks: among 16 or 32 values of BF16, those of one binade are
/// multiples up to 255 of its spacing without any further cause.
fn max_top(extent: Extent, zero: Zero) -> u32 {
    match (extent, zero) {
        (Extent::Block(..=32), Zero::AtZero) => 128,
        (Extent::Block(..=32), Zero::AtLeast) => 63,
        _ => 255,
    }
}

const EXTENTS: [Extent; 6] =
    [Extent::Block(16), Extent::Block(32), Extent::Block(64), Extent::Block(128), Extent::Block(256), Extent::Whole];

/// All extents, each with both zeros; the order is that of preference among equals.
fn tried() -> Vec<(Extent, Zero)> {
    EXTENTS.iter().flat_map(|&extent| [(extent, Zero::AtZero), (extent, Zero::AtLeast)]).collect()
}

/// The cheapest lattice along the axis of `lines` that is accepted; `sample` is of them.
pub(crate) fn find(lines: &Lines<'_>, sample: &Sample, precision: Precision) -> Option<Lattice> {
    let found: Vec<(f64, Extent, Zero, Explained)> = tried()
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
        // Small blocks of few levels can be cheaper; but one step for more values says more.
        let more_bits = bits_of(whole.top(*larger_extent), *larger_zero) > bits_of(small.top(*extent), *zero);
        let share = if more_bits { MIN_SAME_STEP_OF_MORE_BITS } else { MIN_SAME_STEP };
        let stays = larger_extent != extent && whole.step_stays_in_parts(*extent, *zero, precision, share);
        if stays { larger } else { chosen }
    });
    let (_, extent, zero, explained) = &found[chosen];
    let (extent, zero) = (*extent, *zero);
    let lattice = Lattice {
        symmetric: zero == Zero::AtZero,
        bits: bits_of(explained.top(extent), zero),
        top: explained.top(extent),
        extent,
        axis: lines.axis,
        scales: explained.scale_class(),
        super_blocks: false,
        requantized: None,
        blocks: explained.count,
    };
    if let Some((size, top)) = explained.sub_lattice(extent, zero) {
        let (extent, bits) = (Extent::Block(size), bits_of(top, zero));
        return Some(Lattice { extent, top, bits, super_blocks: true, ..lattice });
    }
    if let Some(step) = explained.one_step().filter(|_| extent == Extent::Whole) {
        let top = lattice.top.max((lines.range(zero == Zero::AtZero) / step).round() as u32);
        let requantized = explained.requantized(zero, top);
        return Some(Lattice { extent: Extent::Tensor, top, bits: bits_of(top, zero), requantized, ..lattice });
    }
    Some(Lattice {
        super_blocks: has_super_blocks(sample, extent, zero, precision),
        requantized: explained.requantized(zero, lattice.top),
        ..lattice
    })
}

/// The cheapest lattice that some of the blocks lie on, where the whole is on none: rows of a quantized model beside rows of
/// another, or experts of both kinds in one tensor.
pub(crate) fn find_in_part(sample: &Sample, axis: Axis, precision: Precision) -> Option<Lattice> {
    let found: Vec<(f64, Lattice)> = tried()
        .into_par_iter()
        .filter_map(|(extent, zero)| {
            let blocks = sample.blocks(extent, sampled(extent).min(SAMPLED_OF_PART));
            let rule = Rule::AnyTopInPart(max_top(extent, zero).min(MAX_TOP_IN_PART));
            let explained = Explained::under(rule, &blocks, zero, precision)?;
            let (top, scales) = (explained.top(extent), explained.scale_class());
            let (symmetric, bits) = (zero == Zero::AtZero, bits_of(top, zero));
            let (super_blocks, requantized, blocks) = (false, None, explained.count);
            let lattice = Lattice { symmetric, bits, top, extent, axis, scales, super_blocks, requantized, blocks };
            Some((explained.cost(extent, zero), lattice))
        })
        .collect();
    found.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a }).map(|(_, lattice)| lattice)
}

/// Bits that name `top` and all levels below: −8 … 7 are four.
fn bits_of(top: u32, zero: Zero) -> u32 {
    match zero {
        Zero::AtZero => (top.max(1).next_power_of_two().trailing_zeros() + 1).max(2),
        Zero::AtLeast => (top + 1).next_power_of_two().trailing_zeros().max(1),
    }
}

/// When a block counts as explained.
#[derive(Clone, Copy)]
enum Rule {
    /// Some step explains it, and pays for its own name.
    AnyTop(u32),
    /// The same for a grid of some blocks only, which nothing but each of them speaks for.
    AnyTopInPart(u32),
    /// The step under which its largest value is this multiple, as in most blocks: −7 … 7 and the like, in which
    /// a block has too few levels to name a multiple of its own. The multiple is named once for all blocks.
    Top(u32),
}

/// Bits that a block must give where only some do: 2^−16 by chance. After a merge or an average in coarse storage many blocks lie near
/// a lattice, and give a little more than a hit takes; on as many levels as such storage has near one, more than on few, so the
/// bits that name the multiple count once more.
const HIT_BITS_IN_PART: f64 = 16.0;
/// Of finer grids in part of a tensor nothing is claimed: large values beside small ones in coarse storage are such.
const MAX_TOP_IN_PART: u32 = 32;

/// Bits that a block must give under a multiple that it need not name: 2^−5 by chance.
const HIT_BITS_NAMED: f64 = 5.0;
const CHANCE_RATE_NAMED: f64 = CHANCE_RATE + 1.0 / 32.0;
/// Bits that a block could give then, for it to tell anything.
const MIN_BITS_AT_STAKE_NAMED: f64 = 7.0;
/// A multiple that all blocks share is looked for up to here; finer lattices tell by themselves.
const MAX_SHARED_TOP: u32 = 16;
/// and from here on: of two levels and the zero between them, few levels are all there is to say.
const MIN_SHARED_TOP: u32 = 3;

impl Rule {
    fn explains(self, points: &[Point]) -> Option<Fit> {
        match self {
            Rule::AnyTop(max_top) => interval::fit(points, max_top).filter(|fit| fit.bits >= HIT_BITS),
            Rule::AnyTopInPart(max_top) => interval::fit(points, max_top)
                .filter(|fit| fit.bits >= HIT_BITS_IN_PART + libm::log2(f64::from(fit.top))),
            Rule::Top(top) => interval::fit_under_top(points, top).filter(|fit| fit.bits >= HIT_BITS_NAMED),
        }
    }

    /// Whether a block could show a lattice if it lay on one, of four bits or of the multiple in question. A block
    /// whose values crowd into two or three levels beside an outlier could not, and says nothing against a grid either.
    fn can_tell(self, points: &[Point]) -> bool {
        let (steps, at_stake, least) = match self {
            Rule::AnyTop(_) | Rule::AnyTopInPart(_) => (STEPS_AT_STAKE, MIN_BITS_AT_STAKE, MIN_POINTS),
            Rule::Top(top) => (f64::from(top), MIN_BITS_AT_STAKE_NAMED, 2),
        };
        let Some((top, rest)) = points.split_last().filter(|_| points.len() >= least) else { return false };
        let step = top.a / steps;
        interval::add_up_to(at_stake, rest.iter().map(|p| libm::log2(step / (2.0 * p.h)).max(0.0)))
    }

    /// Share of the blocks that it must explain.
    fn min_hit_share(self) -> f64 {
        match self {
            Rule::AnyTopInPart(_) => MIN_PART_SHARE,
            Rule::AnyTop(_) | Rule::Top(_) => MIN_HIT_SHARE,
        }
    }

    fn accepts(self, count: &BlockCount) -> bool {
        match self {
            Rule::AnyTopInPart(_) => count.is_accepted_in_part(),
            Rule::AnyTop(_) | Rule::Top(_) => count.is_accepted(),
        }
    }

    fn chance_rate(self) -> f64 {
        match self {
            Rule::AnyTop(_) | Rule::AnyTopInPart(_) => CHANCE_RATE,
            Rule::Top(_) => CHANCE_RATE_NAMED,
        }
    }
}

/// Sampled blocks, with the fits of those that were explained; only of accepted extents.
struct Explained {
    hits: Vec<(Vec<f32>, Fit)>,
    count: BlockCount,
}

impl Explained {
    fn of(blocks: &[Vec<f32>], zero: Zero, precision: Precision, max_top: u32) -> Option<Explained> {
        let under = |rule| Explained::under(rule, blocks, zero, precision);
        under(Rule::AnyTop(max_top)).or_else(|| under(Rule::Top(shared_top(blocks, zero, precision)?)))
    }

    fn under(rule: Rule, blocks: &[Vec<f32>], zero: Zero, precision: Precision) -> Option<Explained> {
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
                // Too many misses: nothing that follows can be accepted, and most tensors end here.
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

    /// The largest multiple in [`USUAL`] of the blocks, since the rest may have found a part of their step, or an
    /// outlier on it; of rows, which have values enough not to, the largest of all.
    fn top(&self, extent: Extent) -> u32 {
        let mut tops: Vec<u32> = self.hits.iter().map(|(_, fit)| fit.top).collect();
        tops.sort_unstable();
        let last = tops.len().saturating_sub(1);
        let at = if matches!(extent, Extent::Block(_)) { (last as f64 * USUAL) as usize } else { last };
        tops.get(at).copied().unwrap_or(1)
    }

    /// Bits a value, the scale included.
    fn cost(&self, extent: Extent, zero: Zero) -> f64 {
        let scale_bits = if zero == Zero::AtZero { 16.0 } else { 28.0 };
        let values = match extent {
            Extent::Block(size) => size as f64,
            Extent::Whole | Extent::Tensor => 1e6,
        };
        f64::from(bits_of(self.top(extent), zero)) + scale_bits / values
    }

    /// The step of the block that tells it best, if it is a step of nearly all.
    fn one_step(&self) -> Option<f64> {
        let width = |fit: &Fit| (fit.hi - fit.lo) / fit.step();
        let best = self.hits.iter().map(|(_, fit)| fit).min_by(|a, b| width(a).total_cmp(&width(b)))?;
        let same = self.hits.iter().filter(|(_, f)| f.lo <= best.hi && best.lo <= f.hi).count();
        (same as f64 >= MIN_AGREEMENT * self.hits.len() as f64).then(|| best.step())
    }

    /// Whether blocks of `extent` within these have the same step as the whole of them, for the most part.
    fn step_stays_in_parts(&self, extent: Extent, zero: Zero, precision: Precision, share: f64) -> bool {
        let Extent::Block(size) = extent else { return false };
        let (mut same, mut parts) = (0, 0);
        for (block, whole) in &self.hits {
            for part in block.chunks(size) {
                let points = points(&levels(part, zero), zero, precision);
                let rule = Rule::AnyTop(max_top(extent, zero));
                if let Some(fit) = rule.explains(&points).filter(|_| rule.can_tell(&points)) {
                    parts += 1;
                    same += usize::from(fit.lo <= whole.hi && whole.lo <= fit.hi);
                }
            }
        }
        parts > 0 && same as f64 >= share * parts as f64
    }

    /// Size and largest multiple of parts whose multiples have a divisor in common, as in the super-blocks of k-quants:
    /// d·(integer scale)·(level) is on a lattice of d, and each part of 16 or 32 on a coarser one.
    fn sub_lattice(&self, extent: Extent, zero: Zero) -> Option<(usize, u32)> {
        let Extent::Block(whole @ 64..) = extent else { return None };
        if zero == Zero::AtLeast {
            return None;
        }
        [32, 16].into_iter().filter(|size| whole % size == 0).find_map(|size| {
            let (mut parts, mut with_divisor, mut tops) = (0, 0, Vec::new());
            for (block, fit) in &self.hits {
                for part in block.chunks(size) {
                    let codes: BTreeSet<u32> = part
                        .iter()
                        .map(|x| (f64::from(x.abs()) / fit.step()).round() as u32)
                        .filter(|q| *q > 0)
                        .collect();
                    // Two numbers share a divisor too often to tell.
                    let Some(most) = codes.last().copied().filter(|_| codes.len() > 2) else { continue };
                    let divisor = codes.iter().copied().fold(0, greatest_common_divisor);
                    parts += 1;
                    with_divisor += usize::from(divisor > 1);
                    tops.push(most / divisor);
                }
            }
            tops.sort_unstable();
            let top = tops.get(tops.len().saturating_sub(1) * 95 / 100).copied()?;
            (parts >= MIN_PARTS && with_divisor as f64 >= MIN_SHARE_WITH_DIVISOR * f64::from(parts))
                .then_some((size, top))
        })
    }

    fn scale_class(&self) -> ScaleClass {
        let classes =
            [(1, ScaleClass::PowerOfTwo), (4, ScaleClass::E4m3), (8, ScaleClass::Bf16), (11, ScaleClass::F16)];
        let holds = |significant_bits: i32| {
            let mut bits = 0.0;
            let mut misses = 0;
            for (_, fit) in &self.hits {
                let spacing = libm::exp2(libm::floor(libm::log2(fit.hi)) - f64::from(significant_bits - 1));
                match (fit.hi / spacing).floor() * spacing >= fit.lo {
                    true => bits += libm::log2(spacing / (fit.hi - fit.lo)).max(0.0),
                    false => misses += 1,
                }
            }
            misses as f64 <= (1.0 - MIN_AGREEMENT) * self.hits.len() as f64 && bits >= MIN_LATTICE_EVIDENCE_BITS
        };
        classes.into_iter().find(|(bits, _)| holds(*bits)).map_or(ScaleClass::Unknown, |(_, class)| class)
    }

    /// Redraws each level as one of its neighbours. Where all levels of a block are in use that changes
    /// little; where only those of a coarser lattice are, many more appear.
    ///
    /// Only of lattices whose own levels are many: single blocks with a larger multiple than the rest are outliers.
    fn requantized(&self, zero: Zero, top: u32) -> Option<Requantized> {
        if top < MIN_TOP_TO_REDRAW {
            return None;
        }
        let (mut before, mut rises) = (Vec::new(), Vec::new());
        for (index, (block, fit)) in self.hits.iter().enumerate() {
            let least = block.iter().copied().fold(f32::INFINITY, f32::min);
            let from = if zero == Zero::AtZero { 0.0 } else { f64::from(least) };
            let codes: Vec<f64> = block.iter().map(|x| ((f64::from(*x) - from) / fit.step()).round()).collect();
            let mean = codes.iter().sum::<f64>() / codes.len() as f64;
            let spread = (codes.iter().map(|q| (q - mean) * (q - mean)).sum::<f64>() / codes.len() as f64).sqrt();
            // A block whose values crowd into few steps would gain levels by redrawing whatever it came from.
            if fit.top < MIN_TOP_TO_REDRAW || spread < MIN_SPREAD_TO_REDRAW {
                continue;
            }
            let redrawn =
                codes.iter().enumerate().map(|(i, q)| (q + symmetric_uniform(mix(index as u64) ^ i as u64)).round());
            let distinct =
                |codes: &mut dyn Iterator<Item = f64>| codes.map(|q| q as i64).collect::<BTreeSet<i64>>().len();
            let found = distinct(&mut codes.iter().copied()) as f64;
            before.push(found);
            rises.push(distinct(&mut redrawn.into_iter()) as f64 - found);
        }
        let n = rises.len() as f64;
        if n < MIN_BLOCKS_TO_REDRAW {
            return None;
        }
        let mean = |x: &[f64]| x.iter().sum::<f64>() / n;
        let (levels, rise) = (mean(&before), mean(&rises));
        let variance = rises.iter().map(|r| (r - rise) * (r - rise)).sum::<f64>() / (n - 1.0);
        let z = rise / (variance / n).sqrt().max(f64::MIN_POSITIVE);
        let found = rise > MIN_RISE * levels && z > MIN_RISE_Z;
        let seen = self.hits.first().map_or(0, |(block, _)| block.len());
        before.sort_unstable_by(f64::total_cmp);
        let most = before[(before.len() - 1) * 95 / 100] as u32;
        let about_bits = (seen >= 32).then(|| most.next_power_of_two().trailing_zeros());
        let is_coarser = about_bits.is_none_or(|about_bits| about_bits < bits_of(top, zero));
        (found && is_coarser).then_some(Requantized { levels, expected: levels + rise, about_bits })
    }
}

/// In coarse storage an outlier often fits a part of the step that the rest have. Where in most blocks the rest have a
/// coarser one, an outlier in each is the simpler description; it is named once for all and costs a block nothing.
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

/// Share of the blocks that must have an outlier for it to be a rule,
const MIN_SHARE_WITH_OUTLIER: f64 = 0.3;
/// and by how much the step of the rest is coarser: half a step and less is what an outlier may ask for.
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

/// Of three and more numbers at most one set in six has a divisor in common by chance (1/ζ(3) have none); scales of 1 give none.
const MIN_SHARE_WITH_DIVISOR: f64 = 0.5;
const MIN_PARTS: i32 = 24;

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Least share of the parts that have the step of the whole; a part of few levels may find a multiple of it.
const MIN_SAME_STEP: f64 = 0.6;
/// Where the whole needs more bits, steps that are powers of two may just nest, so nearly all must be the same.
const MIN_SAME_STEP_OF_MORE_BITS: f64 = 0.9;

/// Redrawing is only looked at on lattices of six bits and more, in blocks spread over some steps.
const MIN_TOP_TO_REDRAW: u32 = 20;
const MIN_SPREAD_TO_REDRAW: f64 = 4.0;
const MIN_BLOCKS_TO_REDRAW: f64 = 12.0;
/// Distinct levels rise by more than this share, and by this many standard errors.
const MIN_RISE: f64 = 0.12;
const MIN_RISE_Z: f64 = 8.0;

/// Blocks explained after every distinct level has been moved and rounded to storage again: equal values
/// stay equal, so that what few levels alone would give is part of the chance.
fn surrogate_hits(
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

/// The same question one storey up: are the steps within 256 consecutive values multiples of one step?
fn has_super_blocks(sample: &Sample, extent: Extent, zero: Zero, precision: Precision) -> bool {
    let Extent::Block(size @ (16 | 32)) = extent else { return false };
    let top = if size == 16 { 128 } else { 63 };
    let steps: Vec<Vec<Point>> = sample
        .blocks(Extent::Block(256), sampled(Extent::Block(256)))
        .iter()
        .map(|block| {
            let fits = block
                .chunks(size)
                .filter_map(|sub| interval::fit(&points(&levels(sub, zero), zero, precision), max_top(extent, zero)));
            let mut steps: Vec<Point> = fits
                .filter(|fit| fit.bits >= HIT_BITS)
                .map(|fit| Point { a: fit.step(), h: (fit.hi - fit.lo) / 2.0 })
                .collect();
            steps.sort_unstable_by(|a, b| a.a.total_cmp(&b.a));
            // One step seen twice is one coincidence.
            steps.dedup_by(|b, a| b.a - a.a <= a.h + b.h);
            steps
        })
        .filter(|steps| steps.len() >= MIN_POINTS)
        .collect();
    let is_hit = |points: &[Point]| interval::fit(points, top).is_some_and(|fit| fit.bits >= HIT_BITS);
    let hits = steps.iter().filter(|steps| is_hit(steps)).count() as u64;
    let by_chance = steps.iter().enumerate().filter(|(index, steps)| {
        let mut moved: Vec<Point> = steps
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let by = 1.0 + SURROGATE_SHIFT * symmetric_uniform(mix(*index as u64) ^ i as u64);
                Point { a: p.a * by, h: p.h * by }
            })
            .collect();
        moved.sort_unstable_by(|a, b| a.a.total_cmp(&b.a));
        is_hit(&moved)
    });
    BlockCount::new(hits, steps.len() as u64, by_chance.count() as u64, CHANCE_RATE).is_accepted()
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

    #[test]
    fn the_tail_is_the_power_of_the_rate_when_all_hit_and_nothing_at_the_rate() {
        assert_eq!(tail_bits(10, 10, 0.25), 20.0);
        assert_eq!(tail_bits(25, 100, 0.25), 0.0);
        assert_eq!(tail_bits(0, 0, 0.5), 0.0);
        assert!(tail_bits(9, 10, 0.25) < 20.0);
    }

    #[test]
    fn acceptance_needs_hits_few_surrogates_and_enough_blocks() {
        let accepted = |hits, n, surrogates| BlockCount::new(hits, n, surrogates, CHANCE_RATE).is_accepted();
        assert!(accepted(192, 192, 0) && accepted(175, 192, 40));
        assert!(!accepted(143, 192, 0), "too few hits");
        assert!(!accepted(192, 192, 70), "chance does as well");
        assert!(accepted(12, 12, 0) && !accepted(8, 8, 0), "too few blocks");
        assert!(!accepted(0, 0, 0));
    }
}
