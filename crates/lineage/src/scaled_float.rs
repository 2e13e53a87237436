//! Small floats with scales of any value: x = d · (a float of 3 or 4 significant bits).
//!
//! The fit is that of the integer lattice, but the spacing doubles with each binade of x/d. So only the position within
//! a binade says anything, and d is found up to a power of two:
//!
//! ```text
//! x/d     1.0 … 1.875 by ⅛ | 2.0 … 3.75 by ¼ | 4.0 … 7.5 by ½ | …      four significant bits, as E4M3 has
//! ```

use crate::few_levels::moved_values;
use crate::grid::exponent;
use crate::interval::{self, F32_ARITHMETIC, HIT_BITS, Point, Precision, Zero, levels, points};
use crate::lattice::{self, BlockCount};
use crate::sample::{Axis, BlockExtent, Sample};
use crate::small_float::small_float_name;

/// Blocks of floats of few significant bits, with a scale for each block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaledFloat {
    /// The number of significant bits, with the implicit one.
    pub significant_bits: u32,
    /// The most binades that occur within a block, in 95 % of the blocks.
    pub octaves: u32,
    /// The values that share a scale.
    pub extent: BlockExtent,
    /// The axis along which blocks run.
    pub axis: Axis,
    /// The evidence of the sampled blocks.
    pub blocks: BlockCount,
}

/// Numbers of significant bits that are tried, the coarser first: E5M2 and E3M2, then E4M3 and E2M3.
const SIGNIFICANT_BITS: [u32; 2] = [3, 4];

/// The extents that are tried, the largest first: one scale for more values says more.
const EXTENTS: [BlockExtent; 6] = [
    BlockExtent::Whole,
    BlockExtent::Block(256),
    BlockExtent::Block(128),
    BlockExtent::Block(64),
    BlockExtent::Block(32),
    BlockExtent::Block(16),
];

/// The bits that a block must be able to give: a hit and the name of its scale's place.
const MIN_BITS_AT_STAKE: f64 = 14.0;
/// The least share of the blocks that must be able to give them.
const MIN_TELLING_SHARE: f64 = 0.5;

/// A scale, known up to a power of two: it lies between `lo` and `hi`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ScaleFit {
    lo: f64,
    hi: f64,
    bits: f64,
}

impl ScaledFloat {
    pub(crate) fn find(sample: &Sample, axis: Axis, precision: Precision) -> Option<ScaledFloat> {
        SIGNIFICANT_BITS.into_iter().flat_map(|bits| EXTENTS.map(|extent| (bits, extent))).find_map(|(bits, extent)| {
            ScaledFloat::of(&sample.blocks(extent, lattice::sampled(extent)), extent, axis, bits, precision)
        })
    }

    fn of(
        blocks: &[Vec<f32>],
        extent: BlockExtent,
        axis: Axis,
        significant_bits: u32,
        precision: Precision,
    ) -> Option<ScaledFloat> {
        let points_of = |block: &[f32]| points(&levels(block, Zero::AtZero), Zero::AtZero, precision);
        let telling: Vec<(&Vec<f32>, Vec<Point>)> = blocks
            .iter()
            .map(|block| (block, points_of(block)))
            .filter(|(_, points)| can_tell(points, significant_bits))
            .collect();
        if telling.is_empty() || (telling.len() as f64) < MIN_TELLING_SHARE * blocks.len() as f64 {
            return None;
        }
        let mut tolerated = telling.len() - (lattice::MIN_HIT_SHARE * telling.len() as f64).ceil() as usize;
        let mut fits = Vec::with_capacity(telling.len());
        for (_, points) in &telling {
            match fit(points, significant_bits).filter(|fit| fit.bits >= HIT_BITS) {
                Some(fit) => fits.push(fit),
                None if tolerated == 0 => return None,
                None => tolerated -= 1,
            }
        }
        let is_hit = |values: &[f32]| fit(&points_of(values), significant_bits).is_some_and(|fit| fit.bits >= HIT_BITS);
        let surrogates = telling
            .iter()
            .enumerate()
            .filter(|(index, (block, _))| is_hit(&moved_values(&levels(block, Zero::AtZero), *index as u64, precision)))
            .count();
        let count = BlockCount::new(fits.len() as u64, telling.len() as u64, surrogates as u64, lattice::CHANCE_RATE);
        let mut octaves: Vec<u32> = telling
            .iter()
            .filter_map(|(_, points)| Some((points.first()?, points.last()?)))
            .map(|(least, most)| (exponent(most.a as f32) - exponent(least.a as f32) + 1) as u32)
            .collect();
        octaves.sort_unstable();
        let one_scale = extent == BlockExtent::Whole && has_one_scale(&fits);
        count.is_accepted().then_some(ScaledFloat {
            significant_bits,
            octaves: octaves[(octaves.len() - 1) * 95 / 100],
            extent: if one_scale { BlockExtent::Tensor } else { extent },
            axis,
            blocks: count,
        })
    }

    /// The formats with this many significant bits that reach over this many binades.
    pub fn like(&self) -> &'static str {
        small_float_name(self.significant_bits, self.octaves)
    }
}

/// Whether nearly all blocks can have the scale of the block that is known best, up to a power of two.
fn has_one_scale(fits: &[ScaleFit]) -> bool {
    let width = |fit: &ScaleFit| fit.hi / fit.lo;
    let Some(best) = fits.iter().min_by(|a, b| width(a).total_cmp(&width(b))) else { return false };
    let same = fits.iter().filter(|fit| {
        let shift = libm::exp2((libm::log2(best.lo / fit.lo)).round());
        fit.lo * shift <= best.hi && best.lo <= fit.hi * shift
    });
    fits.len() > 1 && same.count() as f64 >= lattice::MIN_AGREEMENT * fits.len() as f64
}

/// The distance between floats of `significant_bits` around `x` under the scale `d`.
fn spacing(x: f64, d: f64, significant_bits: u32) -> f64 {
    d * libm::exp2(libm::floor(libm::log2(x / d)) - f64::from(significant_bits - 1))
}

/// Whether floats of this many significant bits would show among these points.
fn can_tell(points: &[Point], significant_bits: u32) -> bool {
    let Some((_, rest)) = points.split_last() else { return false };
    // Wherever the scale puts x in its binade, the spacing is about x · 2^−bits · 1.4.
    let spacing = |x: f64| 1.4 * x * libm::exp2(-f64::from(significant_bits));
    interval::add_up_to(MIN_BITS_AT_STAKE, rest.iter().map(|p| libm::log2(spacing(p.a) / (2.0 * p.h)).max(0.0)))
}

/// The scale with the most evidence under which all points are floats of this many significant bits.
fn fit(points: &[Point], significant_bits: u32) -> Option<ScaleFit> {
    let (top, rest) = points.split_last()?;
    let half = 1u32 << (significant_bits - 1);
    let under = |k: u32| fit_significand(top, rest, k, significant_bits);
    (half..2 * half).filter_map(under).reduce(|a, b| if b.bits > a.bits { b } else { a })
}

/// The fit with `top` as a float with significand `k`. The scale is that of the binade of `top`.
fn fit_significand(top: &Point, rest: &[Point], k: u32, significant_bits: u32) -> Option<ScaleFit> {
    let half = f64::from(1u32 << (significant_bits - 1));
    // x/d is k/half, in the binade from 1 to 2.
    let significand = f64::from(k) / half;
    let (mut lo, mut hi) = ((top.a - top.h) / significand, (top.a + top.h) / significand);
    if lo <= 0.0 {
        return None;
    }
    let mut bits = -f64::from(significant_bits);
    for p in rest.iter().rev() {
        let d = (lo + hi) / 2.0;
        let unit = spacing(p.a, d, significant_bits);
        let reach = p.h + p.a * ((hi - lo) / (2.0 * d) + F32_ARITHMETIC);
        bits -= libm::log2((2.0 * reach / unit).min(1.0));
        let nearest = (p.a / unit).round() * unit;
        if (p.a - nearest).abs() > reach {
            return None;
        }
        // Where only one float is possible, it narrows the scale.
        if 2.0 * reach < unit {
            let ratio = nearest / d;
            (lo, hi) = (lo.max((p.a - p.h) / ratio), hi.min((p.a + p.h) / ratio));
            if lo > hi {
                return None;
            }
        }
    }
    Some(ScaleFit { lo, hi, bits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::{Minifloat, Rounding};

    /// `x` as a float of four significant bits.
    fn four_bits(x: f32) -> f32 {
        f32::from_bits((x.to_bits() + 0x0008_0000) & 0xfff0_0000)
    }

    fn values(scale: f32, round: impl Fn(f32) -> f32) -> Vec<f32> {
        (1..200).map(|i| round(1.03f32.powi(i * 37 % 199 - 120)) * scale).collect()
    }

    #[test]
    fn a_scaled_float_is_told_from_noise_in_each_storage_and_its_scale_is_found() {
        for (precision, least) in
            [(Precision::F32, 800.0), (Precision::of(Minifloat::F16), 250.0), (Precision::of(Minifloat::Bf16), 60.0)]
        {
            let of = |values: &[f32], bits| {
                let held: Vec<f32> = values.iter().map(|x| precision.round(f64::from(*x))).collect();
                fit(&points(&levels(&held, Zero::AtZero), Zero::AtZero, precision), bits)
            };
            let found = of(&values(0.0123, four_bits), 4).unwrap();
            assert!(found.bits > least, "{precision:?}: {found:?}");
            let shift = libm::exp2(libm::log2(found.lo / 0.0123).round());
            assert!(found.lo <= 0.012_300_001 * shift && 0.012_299_999 * shift <= found.hi, "{found:?}");
            assert!(of(&values(0.0123, four_bits), 3).is_none_or(|fit| fit.bits < HIT_BITS));
            let noise = of(&values(0.0123, |x| Minifloat::Tf32.cast(Rounding::Rne, x)), 4);
            assert!(noise.is_none_or(|fit| fit.bits < HIT_BITS), "{precision:?}: {noise:?}");
        }
    }

    #[test]
    fn nothing_is_fitted_to_nothing() {
        assert_eq!(fit(&[], 4), None);
    }
}
