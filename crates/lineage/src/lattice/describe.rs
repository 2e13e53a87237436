//! What the steps of the explained blocks say beyond the lattice itself.

use super::claim::{BlockCount, CHANCE_RATE, MIN_AGREEMENT, MIN_LATTICE_EVIDENCE_BITS};
use super::fit::{Explained, bits_of, max_top};
use super::null::SURROGATE_SHIFT;
use super::rule::{MIN_POINTS, Rule};
use super::{Requantized, ScaleClass, sampled};
use crate::interval::{self, Fit, HIT_BITS, Point, Precision, Zero, levels, points};
use crate::sample::{BlockExtent, Sample, mix, symmetric_uniform};
use std::collections::BTreeSet;

impl Explained {
    /// The step of the block that tells it best, if nearly all blocks can have it.
    pub(super) fn one_step(&self) -> Option<f64> {
        let width = |fit: &Fit| (fit.hi - fit.lo) / fit.step();
        let best = self.hits.iter().map(|(_, fit)| fit).min_by(|a, b| width(a).total_cmp(&width(b)))?;
        let same = self.hits.iter().filter(|(_, f)| f.lo <= best.hi && best.lo <= f.hi).count();
        (same as f64 >= MIN_AGREEMENT * self.hits.len() as f64).then(|| best.step())
    }

    /// Whether parts of `extent` mostly have the same step as the whole blocks.
    pub(super) fn step_stays_in_parts(
        &self,
        extent: BlockExtent,
        zero: Zero,
        precision: Precision,
        share: f64,
    ) -> bool {
        let BlockExtent::Block(size) = extent else { return false };
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

    /// The size and the largest multiple of parts whose multiples have a common divisor, as in the super-blocks of
    /// k-quants: d·(integer scale)·(level) is on a lattice of d, and each part of 16 or 32 values on a coarser one.
    pub(super) fn sub_lattice(&self, extent: BlockExtent, zero: Zero) -> Option<(usize, u32)> {
        let BlockExtent::Block(whole @ 64..) = extent else { return None };
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

    pub(super) fn scale_class(&self) -> ScaleClass {
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

    /// Whether the values come from a coarser lattice. Each level is replaced by one of its neighbours: where all
    /// levels of a block are in use that changes little, where only those of a coarser lattice are, many more levels
    /// appear.
    ///
    /// This is only asked of lattices with many levels: single blocks with a larger multiple than the others have
    /// outliers.
    pub(super) fn requantized(&self, zero: Zero, top: u32) -> Option<Requantized> {
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
            // A block whose values crowd into few steps would gain levels whatever it came from.
            if fit.top < MIN_TOP_TO_REDRAW || spread < MIN_SPREAD_TO_REDRAW {
                continue;
            }
            // One value in many places, such as the zeros beside a filter, says nothing of the levels between.
            let atom = most_frequent(&codes);
            let redrawn = codes.iter().enumerate().map(|(i, &q)| match q == atom {
                true => q,
                false => (q + symmetric_uniform(mix(index as u64) ^ i as u64)).round(),
            });
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

/// The most frequent of whole numbers.
fn most_frequent(codes: &[f64]) -> f64 {
    let mut sorted = codes.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let runs = sorted.chunk_by(|a, b| a == b);
    runs.max_by_key(|run| run.len()).and_then(|run| run.first()).copied().unwrap_or(0.0)
}

/// The least share of the parts that must have a common divisor. Of three and more numbers at most one set in six has
/// one by chance (1/ζ(3) have none), and scales of 1 give none.
const MIN_SHARE_WITH_DIVISOR: f64 = 0.5;
const MIN_PARTS: i32 = 24;

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The least share of the parts that must have the step of the whole. A part with few levels may find a multiple of it.
pub(super) const MIN_SAME_STEP: f64 = 0.6;
/// The same share where the whole needs more bits: steps that are powers of two may just nest, so nearly all must
/// agree.
pub(super) const MIN_SAME_STEP_OF_MORE_BITS: f64 = 0.9;

/// Levels are only replaced in lattices of six bits and more, and in blocks that spread over some steps.
const MIN_TOP_TO_REDRAW: u32 = 20;
const MIN_SPREAD_TO_REDRAW: f64 = 4.0;
const MIN_BLOCKS_TO_REDRAW: f64 = 12.0;
/// The share, and the number of standard errors, by which distinct levels must rise.
const MIN_RISE: f64 = 0.12;
const MIN_RISE_Z: f64 = 8.0;

/// Whether the steps within 256 consecutive values are multiples of one step: the same question for steps instead of
/// values.
pub(super) fn has_super_blocks(sample: &Sample, extent: BlockExtent, zero: Zero, precision: Precision) -> bool {
    let BlockExtent::Block(size @ (16 | 32)) = extent else { return false };
    let top = if size == 16 { 128 } else { 63 };
    let steps: Vec<Vec<Point>> = sample
        .blocks(BlockExtent::Block(256), sampled(BlockExtent::Block(256)))
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
            // A step that occurs twice is one coincidence.
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
