//! Integer lattices: do sampled blocks lie on multiples of a step, more often than blocks that were made
//! to look like them?
//!
//! ```text
//! sampled blocks ─▶ fit each ─▶ hits ──┐
//!    └▶ two surrogates ─▶ fit each ─▶ hits of chance ─▶ accepted? ─▶ cheapest extent ─▶ Lattice
//! ```

use crate::interval::{self, Fit, HIT_BITS, Point, Precision, Zero, levels, points};
use crate::sample::{Axis, Extent, Lines, mix, symmetric_uniform};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// A grid is claimed when at least this share of the blocks that can tell lies on it,
pub const MIN_HIT_SHARE: f64 = 0.90;
/// no more than this share of either surrogate does,
pub const MAX_SURROGATE_SHARE: f64 = 0.35;
/// and so many hits would take at least this many bits of luck at the surrogates' rate.
pub const MIN_LATTICE_EVIDENCE_BITS: f64 = 40.0;

/// The rate at which blocks without structure reach [`HIT_BITS`], however few surrogates did.
const CHANCE_RATE: f64 = 0.011;
/// Distances a block needs before it can tell anything,
const MIN_POINTS: usize = 3;
/// and bits of evidence that it could give for a lattice of so many steps: a hit and the cost of naming the step.
const MIN_BITS_AT_STAKE: f64 = 12.0;
const STEPS_AT_STAKE: f64 = 16.0;
/// Least share of the sampled blocks that must be able to tell.
const MIN_TELLING_SHARE: f64 = 0.5;
/// How far a surrogate's values are moved, relative to themselves.
const SURROGATE_SHIFT: f64 = 0.06;

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
    pub(crate) fn new(hits: u64, n: u64, surrogate_hits: u64) -> BlockCount {
        let rate = ((surrogate_hits + 1) as f64 / (n + 2) as f64).max(CHANCE_RATE);
        BlockCount { hits, n, surrogate_hits, evidence_bits: tail_bits(hits, n, rate) }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        let share = |k: u64| k as f64 / self.n.max(1) as f64;
        self.n > 0
            && share(self.hits) >= MIN_HIT_SHARE
            && share(self.surrogate_hits) <= MAX_SURROGATE_SHARE
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
    /// The largest multiple in 95 % of the blocks.
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

/// Blocks sampled of each extent: in all at most 40,000 values of a tensor.
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

/// The cheapest lattice along `axis` that is accepted.
pub(crate) fn find(lines: &Lines<'_>, axis: Axis, precision: Precision) -> Option<Lattice> {
    let tried: Vec<(Extent, Zero)> = EXTENTS.iter().flat_map(|&e| [(e, Zero::AtZero), (e, Zero::AtLeast)]).collect();
    let found: Vec<(f64, Extent, Zero, Explained)> = tried
        .into_par_iter()
        .filter_map(|(extent, zero)| {
            let blocks = lines.blocks(extent, sampled(extent));
            let explained = Explained::of(blocks, zero, precision, max_top(extent, zero))?;
            Some((explained.cost(extent, zero), extent, zero, explained))
        })
        .collect();
    let cheapest = (0..found.len()).reduce(|a, b| if found[b].0 < found[a].0 { b } else { a })?;
    let chosen = (cheapest + 1..found.len()).fold(cheapest, |chosen, larger| {
        let ((_, extent, zero, _), (_, larger_extent, _, whole)) = (&found[chosen], &found[larger]);
        // Small blocks of few levels can be cheaper; but one step for more values says more.
        let stays = larger_extent != extent && whole.step_stays_in_parts(*extent, *zero, precision);
        if stays { larger } else { chosen }
    });
    let (_, extent, zero, explained) = &found[chosen];
    let (mut extent, zero) = (*extent, *zero);
    let mut top = explained.top(extent);
    if let Some(step) = explained.one_step().filter(|_| extent == Extent::Whole) {
        extent = Extent::Tensor;
        top = top.max((lines.range(zero == Zero::AtZero) / step).round() as u32);
    }
    Some(Lattice {
        symmetric: zero == Zero::AtZero,
        bits: bits_of(top, zero),
        top,
        extent,
        axis,
        scales: explained.scale_class(),
        super_blocks: has_super_blocks(lines, extent, zero, precision),
        requantized: explained.requantized(zero),
        blocks: explained.count,
    })
}

/// Bits that name `top` and all levels below: −8 … 7 are four.
fn bits_of(top: u32, zero: Zero) -> u32 {
    match zero {
        Zero::AtZero => (top.max(1).next_power_of_two().trailing_zeros() + 1).max(2),
        Zero::AtLeast => (top + 1).next_power_of_two().trailing_zeros().max(1),
    }
}

/// Sampled blocks, with the fits of those that were explained; only of accepted extents.
struct Explained {
    hits: Vec<(Vec<f32>, Fit)>,
    count: BlockCount,
}

impl Explained {
    fn of(blocks: Vec<Vec<f32>>, zero: Zero, precision: Precision, max_top: u32) -> Option<Explained> {
        let sampled = blocks.len();
        let telling: Vec<Vec<f32>> =
            blocks.into_iter().filter(|block| can_tell(&points(&levels(block, zero), zero, precision))).collect();
        if telling.is_empty() || (telling.len() as f64) < MIN_TELLING_SHARE * sampled as f64 {
            return None;
        }
        let is_hit = |fit: &Fit| fit.bits >= HIT_BITS;
        let n = telling.len() as u64;
        let mut tolerated = n as usize - (MIN_HIT_SHARE * n as f64).ceil() as usize;
        let mut hits = Vec::with_capacity(telling.len());
        for block in &telling {
            match interval::fit(&points(&levels(block, zero), zero, precision), max_top).filter(is_hit) {
                Some(fit) => hits.push((block.clone(), fit)),
                // Too many misses: nothing that follows can be accepted, and most tensors end here.
                None if tolerated == 0 => return None,
                None => tolerated -= 1,
            }
        }
        let by_share = surrogate_hits(&telling, zero, precision, max_top, |x, _, u| x * (1.0 + SURROGATE_SHIFT * u));
        let steps = hits.iter().map(|(_, fit)| fit.step()).collect::<Vec<f64>>();
        let by_step = surrogate_hits(&telling, zero, precision, max_top, |x, i, u| x + steps[i % steps.len()] * u);
        let count = BlockCount::new(hits.len() as u64, n, by_share.max(by_step));
        count.is_accepted().then_some(Explained { hits, count })
    }

    /// The largest multiple in 95 % of the blocks, since the rest may have found a multiple of their step; of
    /// rows, which have values enough not to, the largest of all.
    fn top(&self, extent: Extent) -> u32 {
        let mut tops: Vec<u32> = self.hits.iter().map(|(_, fit)| fit.top).collect();
        tops.sort_unstable();
        let last = tops.len().saturating_sub(1);
        let at = if matches!(extent, Extent::Block(_)) { last * 95 / 100 } else { last };
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
        (same as f64 >= MIN_HIT_SHARE * self.hits.len() as f64).then(|| best.step())
    }

    /// Whether blocks of `extent` within these have the same step as the whole of them, for the most part.
    fn step_stays_in_parts(&self, extent: Extent, zero: Zero, precision: Precision) -> bool {
        let Extent::Block(size) = extent else { return false };
        let (mut same, mut parts) = (0, 0);
        for (block, whole) in &self.hits {
            for part in block.chunks(size) {
                let points = points(&levels(part, zero), zero, precision);
                let fit = interval::fit(&points, max_top(extent, zero)).filter(|fit| fit.bits >= HIT_BITS);
                if let Some(fit) = fit.filter(|_| can_tell(&points)) {
                    parts += 1;
                    same += usize::from(fit.lo <= whole.hi && whole.lo <= fit.hi);
                }
            }
        }
        parts > 0 && same as f64 >= MIN_SAME_STEP * parts as f64
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
            misses as f64 <= (1.0 - MIN_HIT_SHARE) * self.hits.len() as f64 && bits >= MIN_LATTICE_EVIDENCE_BITS
        };
        classes.into_iter().find(|(bits, _)| holds(*bits)).map_or(ScaleClass::Unknown, |(_, class)| class)
    }

    /// Redraws each level as one of its neighbours. Where all levels of a block are in use that changes
    /// little; where only those of a coarser lattice are, many more appear.
    fn requantized(&self, zero: Zero) -> Option<Requantized> {
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
        found.then_some(Requantized { levels, expected: levels + rise, about_bits })
    }
}

/// Whether a block could show a lattice of four bits if it lay on one. A block whose values crowd into two or
/// three levels beside an outlier could not, and says nothing against a grid either.
fn can_tell(points: &[Point]) -> bool {
    let Some((top, rest)) = points.split_last().filter(|_| points.len() >= MIN_POINTS) else { return false };
    let step = top.a / STEPS_AT_STAKE;
    rest.iter().map(|p| libm::log2(step / (2.0 * p.h)).max(0.0)).sum::<f64>() >= MIN_BITS_AT_STAKE
}

/// Least share of the parts that have the step of the whole; a part of few levels may find a multiple of it.
const MIN_SAME_STEP: f64 = 0.6;

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
    blocks: &[Vec<f32>],
    zero: Zero,
    precision: Precision,
    max_top: u32,
    moved: impl Fn(f64, usize, f64) -> f64,
) -> u64 {
    let is_hit = |(index, block): (usize, &Vec<f32>)| {
        let surrogate: Vec<f32> = levels(block, zero)
            .iter()
            .enumerate()
            .map(|(i, &x)| precision.round(moved(x.into(), index, symmetric_uniform(mix(index as u64) ^ i as u64))))
            .collect();
        interval::fit(&points(&levels(&surrogate, zero), zero, precision), max_top)
            .is_some_and(|fit| fit.bits >= HIT_BITS)
    };
    blocks.iter().enumerate().filter(|block| is_hit(*block)).count() as u64
}

/// The same question one storey up: are the steps within 256 consecutive values multiples of one step?
fn has_super_blocks(lines: &Lines<'_>, extent: Extent, zero: Zero, precision: Precision) -> bool {
    let Extent::Block(size @ (16 | 32)) = extent else { return false };
    let top = if size == 16 { 128 } else { 63 };
    let steps: Vec<Vec<Point>> = lines
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
    BlockCount::new(hits, steps.len() as u64, by_chance.count() as u64).is_accepted()
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
        let accepted = |hits, n, surrogates| BlockCount::new(hits, n, surrogates).is_accepted();
        assert!(accepted(192, 192, 0) && accepted(175, 192, 40));
        assert!(!accepted(170, 192, 0), "too few hits");
        assert!(!accepted(192, 192, 70), "chance does as well");
        assert!(accepted(12, 12, 0) && !accepted(8, 8, 0), "too few blocks");
        assert!(!accepted(0, 0, 0));
    }
}
