//! Interval GCD: is there a step of which all values of a block are multiples, as far as their own rounding can tell?
//!
//! Every value is an interval, its stored value ± `h`. The largest value is assumed to be the k-th multiple, which
//! gives the step as an interval. Each other value must meet a multiple of the step, and narrows it:
//!
//! ```text
//! top = k·d    ──▶ d in [(top − h)/k, (top + h)/k]
//! a  in q·d ± h ──▶ d in [(a − h)/q, (a + h)/q]  where only one q is possible
//! ```
//!
//! A value without structure meets a multiple with probability (width of its interval) / d. The bits of evidence are
//! −log2 of the product of these probabilities, less the cost of naming k.

use multiversion::multiversion;
use numerics::{Minifloat, Rounding};

/// The float grid that values were last rounded to. It bounds what they can tell.
///
/// Values may lie on two grids: among F16's subnormals those with eight bits are BF16 values as well, but their
/// neighbours are F16 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Precision {
    grid: Option<Minifloat>,
    also: Option<Minifloat>,
}

impl Precision {
    pub(crate) const F32: Precision = Precision { grid: None, also: None };

    pub(crate) fn of(grid: Minifloat) -> Precision {
        Precision { grid: Some(grid), also: None }
    }

    /// The same precision for values that all lie on another grid too.
    pub(crate) fn and(self, also: Minifloat) -> Precision {
        Precision { also: Some(also), ..self }
    }

    /// The nearest value of the grid.
    pub(crate) fn round(self, x: f64) -> f32 {
        let nearest = |x: f32, grid: Option<Minifloat>| grid.map_or(x, |grid| grid.cast(Rounding::Rne, x));
        nearest(nearest(x as f32, self.also), self.grid)
    }

    /// Half the distance to the next value of the grid, in the unit of x.
    pub(crate) fn half_ulp(self, x: f32) -> f64 {
        let exponent = (x.to_bits() >> 23 & 0xff) as i32 - 127;
        let of = |grid: Option<Minifloat>| {
            let (mantissa_bits, min_exponent) =
                grid.map_or((23, -126), |grid| (grid.mantissa_bits() as i32, grid.min_exponent()));
            power_of_two(exponent.max(min_exponent) - mantissa_bits - 1)
        };
        // No grid is finer than F32.
        of(self.grid).max(of(self.also))
    }
}

fn power_of_two(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// What steps are counted from: zero, or the block's least value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zero {
    AtZero,
    AtLeast,
}

/// A distance from zero (of either kind), and how far from its stored value it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) a: f64,
    pub(crate) h: f64,
}

/// The relative rounding error of a product or sum in F32 before storage.
pub(crate) const F32_ARITHMETIC: f64 = 1.0 / (1u64 << 24) as f64;

/// The distinct values of a block that matter, ascending: magnitudes without zero, or values.
pub(crate) fn levels(block: &[f32], zero: Zero) -> Vec<f32> {
    let mut levels: Vec<f32> = match zero {
        Zero::AtZero => block.iter().map(|x| x.abs()).filter(|x| *x != 0.0).collect(),
        // −0 + 0 is +0, so that zero is one level.
        Zero::AtLeast => block.iter().map(|x| x + 0.0).collect(),
    };
    levels.sort_unstable_by(f32::total_cmp);
    levels.dedup();
    levels
}

/// Levels as distances with their uncertainty, ascending.
pub(crate) fn points(levels: &[f32], zero: Zero, precision: Precision) -> Vec<Point> {
    match (zero, levels) {
        (Zero::AtZero, _) => levels
            .iter()
            .map(|&x| Point { a: x.into(), h: precision.half_ulp(x) + f64::from(x) * F32_ARITHMETIC })
            .collect(),
        (Zero::AtLeast, [least, rest @ ..]) => {
            // d·q is rounded before the minimum is added, so the magnitude of the block itself counts.
            let absmax = least.abs().max(rest.last().map_or(0.0, |x| x.abs()));
            let slack = f64::from(absmax) * F32_ARITHMETIC + precision.half_ulp(*least);
            rest.iter()
                .map(|&x| Point { a: f64::from(x) - f64::from(*least), h: precision.half_ulp(x) + slack })
                .collect()
        }
        (Zero::AtLeast, []) => Vec::new(),
    }
}

/// The best explanation of one block as multiples of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fit {
    /// The least step that is possible.
    pub(crate) lo: f64,
    pub(crate) hi: f64,
    /// The multiple of the step that the largest value is.
    pub(crate) top: u32,
    pub(crate) bits: f64,
    /// Whether one value is not a multiple; the evidence has paid for it.
    pub(crate) spared: bool,
}

impl Fit {
    pub(crate) fn step(&self) -> f64 {
        (self.lo + self.hi) / 2.0
    }
}

/// Whether non-negative terms add up to `wanted`. Terms after that are not computed.
pub(crate) fn add_up_to(wanted: f64, terms: impl Iterator<Item = f64>) -> bool {
    let mut sum = 0.0;
    wanted <= sum
        || terms.into_iter().any(|term| {
            sum += term;
            sum >= wanted
        })
}

/// The bits from which on a block counts as explained. Over all k, blocks without structure reach it with a probability
/// of at most 2^−8 · Σ 1/2k = 1.1 %.
pub(crate) const HIT_BITS: f64 = 8.0;

/// The number of points from which on a block may spare one of them.
const MIN_POINTS_TO_SPARE: usize = 6;

/// The largest multiple of a fit that needs no second look without its largest value.
const MAX_TOP_BEYOND_DOUBT: u32 = 16;

/// The step with the most evidence that explains all points, or all but one; `None` if there is no such step.
pub(crate) fn fit(points: &[Point], max_top: u32) -> Option<Fit> {
    let (top, rest) = points.split_last()?;
    let whole = fit_under(top, rest, max_top, points.len() >= MIN_POINTS_TO_SPARE);
    // The largest value may itself be the one that does not belong: an outlier stored in a finer format. A multiple so
    // large that the storage is coarse against the step may explain it all the same.
    let doubtful = |f: Fit| f.bits < HIT_BITS || f.top > MAX_TOP_BEYOND_DOUBT;
    let outlier_on_top = points.len() >= MIN_POINTS_TO_SPARE && whole.is_none_or(doubtful);
    let without_top = match outlier_on_top {
        true => fit_without_top(points, max_top),
        false => None,
    };
    let paid = without_top.map(|f| Fit { bits: f.bits - PRICE_OF_SPARING_TOP, spared: true, ..f });
    match (whole, paid) {
        (Some(a), Some(b)) => Some(if b.bits > a.bits { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The fit with `top` as the multiple of the largest value, which therefore costs nothing to name.
pub(crate) fn fit_under_top(points: &[Point], top: u32) -> Option<Fit> {
    let (last, rest) = points.split_last()?;
    let fit = fit_multiple(last, rest, top, points.len() >= MIN_POINTS_TO_SPARE)?;
    Some(Fit { bits: fit.bits + libm::log2(f64::from(top)) + 1.0, ..fit })
}

/// The fit of all values but the largest, which counts as an outlier at no cost.
pub(crate) fn fit_without_top(points: &[Point], max_top: u32) -> Option<Fit> {
    let (second, rest) = points.split_last()?.1.split_last()?;
    fit_under(second, rest, max_top, false).map(|fit| Fit { spared: true, ..fit })
}

/// The bits that it costs to say that the largest value is spared.
const PRICE_OF_SPARING_TOP: f64 = 4.0;

/// The bits that it costs to say that a value is spared, and which of `n`.
fn price_of_sparing(n: usize) -> f64 {
    libm::log2(n as f64) + PRICE_OF_SPARING_TOP
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn fit_under(top: &Point, rest: &[Point], max_top: u32, may_spare: bool) -> Option<Fit> {
    let mut best: Option<Fit> = None;
    for k in 1..=max_top {
        let found = fit_multiple(top, rest, k, may_spare);
        if let Some(found) = found.filter(|f| best.is_none_or(|b| f.bits > b.bits)) {
            best = Some(found);
        }
    }
    best
}

/// The fit with `top` as the k-th multiple of the step.
#[inline(always)]
fn fit_multiple(top: &Point, rest: &[Point], k: u32, may_spare: bool) -> Option<Fit> {
    // Equal multiples are stored as equal values, so there are no more values than multiples, and one that is spared.
    if rest.len() > k as usize {
        return None;
    }
    let (mut lo, mut hi) = ((top.a - top.h) / f64::from(k), (top.a + top.h) / f64::from(k));
    if lo <= 0.0 {
        return None;
    }
    // Most multiples are rejected before the cost of their name matters.
    let name = || -libm::log2(f64::from(k)) - 1.0;
    let mut spared = false;
    let (mut chance, mut bits) = (1.0f64, None);
    // The multiple of the value before; 0 where several are possible.
    let mut before = 0.0;
    for p in rest {
        let (least, most) = (((p.a - p.h) / hi).ceil().max(1.0), ((p.a + p.h) / lo).floor());
        let narrowed = (least == most).then(|| (lo.max((p.a - p.h) / least), hi.min((p.a + p.h) / least)));
        // Beside a value so large that the storage is coarse, all others would be one multiple.
        let is_taken = least == most && (least == before || least == f64::from(k));
        if least > most || is_taken || narrowed.is_some_and(|(lo, hi)| lo > hi) {
            if spared || !may_spare {
                return None;
            }
            spared = true;
            continue;
        }
        let d = (lo + hi) / 2.0;
        chance *= ((p.a / d * (hi - lo) + 2.0 * p.h) / d).min(1.0);
        // This is far above the smallest f64, and avoids a logarithm for every value.
        if chance < 1e-200 {
            bits = Some(bits.unwrap_or_else(name) - libm::log2(chance));
            chance = 1.0;
        }
        before = if least == most { least } else { 0.0 };
        if let Some(narrowed) = narrowed {
            (lo, hi) = narrowed;
        }
    }
    let mut bits = bits.unwrap_or_else(name) - libm::log2(chance);
    if spared {
        bits -= price_of_sparing(rest.len() + 1);
    }
    Some(Fit { lo, hi, top: k, bits, spared })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit_of(values: &[f32], zero: Zero, precision: Precision, max_top: u32) -> Option<Fit> {
        fit(&points(&levels(values, zero), zero, precision), max_top)
    }

    /// Q4_0 as it is restored: a scale times −8 … 7.
    fn lattice(d: f32, n: i32) -> Vec<f32> {
        (0..n).map(|i| d * ((i * 7 + 3) % 16 - 8) as f32).collect()
    }

    #[test]
    fn the_step_of_a_block_is_found_in_each_storage() {
        let d = half::f16::from_f32(0.0137).to_f32();
        for (precision, least_bits) in
            [(Precision::F32, 100.0), (Precision::of(Minifloat::F16), 30.0), (Precision::of(Minifloat::Bf16), 15.0)]
        {
            let values: Vec<f32> = lattice(d, 32).iter().map(|&x| precision.round(x.into())).collect();
            let f = fit_of(&values, Zero::AtZero, precision, 128).unwrap();
            assert!(f.top == 8 && !f.spared && f.bits > least_bits, "{precision:?}: {f:?}");
            assert!(f.lo <= f64::from(d) && f64::from(d) <= f.hi, "{f:?}");
        }
    }

    #[test]
    fn a_minimum_is_taken_off_first_where_that_is_asked_for() {
        let values: Vec<f32> = lattice(0.01, 32).iter().map(|x| x + 0.0337).collect();
        assert!(fit_of(&values, Zero::AtZero, Precision::F32, 128).is_none_or(|f| f.bits < 8.0));
        let f = fit_of(&values, Zero::AtLeast, Precision::F32, 63).unwrap();
        assert!(f.top == 15 && f.bits > 100.0, "{f:?}");
    }

    #[test]
    fn one_value_off_the_lattice_is_spared_wherever_it_stands_and_two_are_not() {
        for off in [0.0719f32, 0.5555, 0.0003] {
            let mut values = lattice(0.013, 32);
            values[5] = off;
            let f = fit_of(&values, Zero::AtZero, Precision::F32, 128).unwrap();
            assert!(f.spared && f.top == 8 && f.bits > 60.0, "{off}: {f:?}");
            values[9] = -0.0711;
            values[10] = 0.0427;
            let f = fit_of(&values, Zero::AtZero, Precision::F32, 128);
            assert!(f.is_none_or(|f| f.bits < 8.0), "{off}: {f:?}");
        }
    }

    #[test]
    fn blocks_without_two_distances_prove_nothing() {
        assert_eq!(fit_of(&[], Zero::AtZero, Precision::F32, 128), None);
        assert_eq!(fit_of(&[0.0; 32], Zero::AtZero, Precision::F32, 128), None);
        let f = fit_of(&[0.25; 32], Zero::AtZero, Precision::F32, 128).unwrap();
        assert!(f.bits < 0.0, "a name costs more than it explains: {f:?}");
        assert_eq!(fit_of(&[0.25; 32], Zero::AtLeast, Precision::F32, 63), None);
    }

    #[test]
    fn half_an_ulp_is_half_the_way_to_the_next_value() {
        assert_eq!(Precision::F32.half_ulp(1.0), f64::from(f32::EPSILON) / 2.0);
        assert_eq!(Precision::of(Minifloat::Bf16).half_ulp(1.5), 1.0 / 256.0);
        assert_eq!(Precision::of(Minifloat::F16).half_ulp(1e-7), 2f64.powi(-25), "among the subnormals");
        assert_eq!(Precision::F32.half_ulp(0.0), 2f64.powi(-150));
        let both = Precision::of(Minifloat::Bf16).and(Minifloat::F16);
        assert_eq!((both.half_ulp(1.5), both.half_ulp(1e-7)), (1.0 / 256.0, 2f64.powi(-25)), "the coarser of both");
        assert_eq!(both.round(1.3 * 2f64.powi(-24)), 2f32.powi(-24));
    }
}
