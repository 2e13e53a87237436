//! The difference of two tensors: how far the values of one are from those of the other.

use crate::format::group::all_finite;
use multiversion::multiversion;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The difference of `other` from `reference`, value by value.
///
/// Errors are over the pairs in which both values are finite; `nonfinite` counts the rest. Where there are values but
/// no such pair, the errors are NaN and `max_ulp` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The number of values.
    pub n: u64,
    /// The number of values that became another value, as [`is_other_value`] says: zero is zero in either sign.
    pub changed: u64,
    /// The number of values that went from −0 to +0, which does not change the value.
    pub zero_sign: u64,
    /// The number of values that went from +0 to −0, which does not change the value.
    pub minus_zero: u64,
    /// The number of nonzero values that became zero.
    pub zeroed: u64,
    /// The number of zeros that became finite values other than zero.
    pub unzeroed: u64,
    /// The number of nonzero values that became nonzero of the other sign.
    pub sign_flipped: u64,
    /// The number of finite values that became infinite or NaN.
    pub overflowed: u64,
    /// The number of pairs that the errors below leave out because one of the values is not finite.
    pub nonfinite: u64,
    /// The largest absolute error, in the unit of the values.
    pub max_abs: f64,
    /// The mean absolute error, in the unit of the values.
    pub mean_abs: f64,
    /// √(mean squared error), in the unit of the values.
    pub rmse: f64,
    /// `rmse` over the reference's root mean square; 0 when there is no error, infinite when the reference is all
    /// zeros.
    pub rel_rmse: f64,
    /// 10·log10(Σ reference² / Σ error²) in dB; infinite when there is no error.
    pub sqnr_db: f64,
    /// The cosine of the angle between both; 1 between zeros, 0 between zeros and anything else.
    pub cosine: f64,
    /// The largest number of steps between neighbouring F32 values; −0 and +0 are one value.
    pub max_ulp: u32,
}

/// Whether `other` is another value than `reference`. Zero is one value in either sign, and a NaN with the same bits is
/// the same.
#[inline(always)]
pub fn is_other_value(reference: f32, other: f32) -> bool {
    reference.to_bits() != other.to_bits() && !(reference == 0.0 && other == 0.0)
}

/// Measures `other` against `reference`; both are `[n]`.
///
/// # Panics
/// When the lengths differ: the caller pairs tensors of the same shape.
pub fn difference(reference: &[f32], other: &[f32]) -> Difference {
    let mut sums = DifferenceSums::default();
    sums.add(reference, other);
    sums.finish()
}

/// The sums behind a [`Difference`], for tensors that come in parts and for totals over tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DifferenceSums {
    n: u64,
    changed: u64,
    zero_sign: u64,
    minus_zero: u64,
    zeroed: u64,
    unzeroed: u64,
    sign_flipped: u64,
    overflowed: u64,
    nonfinite: u64,
    max_abs: f64,
    abs: f64,
    error_sq: f64,
    reference_sq: f64,
    other_sq: f64,
    product: f64,
    max_ulp: u32,
}

impl DifferenceSums {
    /// The number of values that go into one partial sum. Sums are added in the order of these parts. So a result does
    /// not depend on threads, nor on how a stream was cut, as long as it was cut at multiples of this.
    pub const PART: usize = 1 << 16;

    /// Adds the next part of both tensors.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&mut self, reference: &[f32], other: &[f32]) {
        assert_eq!(reference.len(), other.len(), "difference of tensors of unequal length");
        let parts: Vec<DifferenceSums> =
            reference.par_chunks(Self::PART).zip(other.par_chunks(Self::PART)).map(|(r, o)| Self::of(r, o)).collect();
        for part in &parts {
            self.merge(part);
        }
    }

    /// Adds the sums of values that come after these.
    pub fn merge(&mut self, next: &DifferenceSums) {
        self.n += next.n;
        self.changed += next.changed;
        self.zero_sign += next.zero_sign;
        self.minus_zero += next.minus_zero;
        self.zeroed += next.zeroed;
        self.unzeroed += next.unzeroed;
        self.sign_flipped += next.sign_flipped;
        self.overflowed += next.overflowed;
        self.nonfinite += next.nonfinite;
        self.max_abs = self.max_abs.max(next.max_abs);
        self.abs += next.abs;
        self.error_sq += next.error_sq;
        self.reference_sq += next.reference_sq;
        self.other_sq += next.other_sq;
        self.product += next.product;
        self.max_ulp = self.max_ulp.max(next.max_ulp);
    }

    fn of(reference: &[f32], other: &[f32]) -> DifferenceSums {
        let mut s = DifferenceSums { n: reference.len() as u64, ..Default::default() };
        let mut lanes = Lanes::default();
        for (r, o) in reference.chunks(STRETCH).zip(other.chunks(STRETCH)) {
            if all_finite(r) && all_finite(o) {
                lanes.add(r, o);
            } else {
                s.nonfinite_pairs(r, o);
                let pairs = r.iter().zip(o).filter(|(r, o)| r.is_finite() && o.is_finite());
                let (r, o): (Vec<f32>, Vec<f32>) = pairs.map(|(&r, &o)| (r, o)).unzip();
                lanes.add(&r, &o);
            }
        }
        lanes.add_to(&mut s);
        s
    }

    /// Counts the pairs that the errors leave out.
    fn nonfinite_pairs(&mut self, reference: &[f32], other: &[f32]) {
        for (r, o) in reference.iter().zip(other).filter(|(r, o)| !(r.is_finite() && o.is_finite())) {
            self.nonfinite += 1;
            self.changed += u64::from(is_other_value(*r, *o));
            self.overflowed += u64::from(r.is_finite());
        }
    }

    /// The metrics of everything added so far.
    pub fn finish(&self) -> Difference {
        let pairs = (self.n - self.nonfinite) as f64;
        // Two empty files are alike. Of values none of which can be compared, nothing can be said.
        let nothing_left = pairs == 0.0 && self.n > 0;
        let over_pairs = |sum: f64| if self.n == 0 { 0.0 } else { sum / pairs };
        let (no_error, no_reference) = (self.error_sq == 0.0, self.reference_sq == 0.0);
        Difference {
            n: self.n,
            changed: self.changed,
            zero_sign: self.zero_sign,
            minus_zero: self.minus_zero,
            zeroed: self.zeroed,
            unzeroed: self.unzeroed,
            sign_flipped: self.sign_flipped,
            overflowed: self.overflowed,
            nonfinite: self.nonfinite,
            max_abs: if nothing_left { f64::NAN } else { self.max_abs },
            mean_abs: over_pairs(self.abs),
            rmse: over_pairs(self.error_sq).sqrt(),
            rel_rmse: match no_error {
                _ if nothing_left => f64::NAN,
                true => 0.0,
                false => (self.error_sq / self.reference_sq).sqrt(),
            },
            sqnr_db: match (no_error, no_reference) {
                _ if nothing_left => f64::NAN,
                (true, _) => f64::INFINITY,
                (false, true) => f64::NEG_INFINITY,
                (false, false) => 10.0 * libm::log10(self.reference_sq / self.error_sq),
            },
            cosine: match (no_reference, self.other_sq == 0.0) {
                _ if nothing_left => f64::NAN,
                (true, true) => 1.0,
                (false, false) if no_error => 1.0,
                (false, false) => (self.product / (self.reference_sq.sqrt() * self.other_sq.sqrt())).clamp(-1.0, 1.0),
                _ => 0.0,
            },
            max_ulp: self.max_ulp,
        }
    }
}

/// The number of sums that run side by side. On every machine the i-th value of a stretch goes into sum i modulo
/// `LANES`, so that the compiler can use any vectors and the bits stay the same.
const LANES: usize = 8;

/// The number of values that are gone through several times while they are in the nearest cache.
const STRETCH: usize = 1024;

/// Partial sums over finite pairs.
#[derive(Default)]
struct Lanes {
    errors: Errors,
    counts: Counts,
    max_ulp: u32,
}

/// The numbers of pairs in which a value became another, or changed only the sign of a zero.
#[derive(Clone, Copy, Default)]
struct Counts {
    changed: u64,
    zero_sign: u64,
    minus_zero: u64,
    zeroed: u64,
    unzeroed: u64,
    sign_flipped: u64,
}

#[derive(Clone, Copy, Default)]
struct Errors {
    max_abs: [f64; LANES],
    abs: [f64; LANES],
    error_sq: [f64; LANES],
    reference_sq: [f64; LANES],
    other_sq: [f64; LANES],
    product: [f64; LANES],
}

impl Lanes {
    /// Adds a stretch in which all values are finite.
    fn add(&mut self, reference: &[f32], other: &[f32]) {
        add_errors(&mut self.errors, reference, other);
        add_counts(self, reference, other);
    }

    fn add_to(&self, s: &mut DifferenceSums) {
        let errors = &self.errors;
        s.max_abs = errors.max_abs.iter().fold(s.max_abs, |m, &x| m.max(x));
        s.abs += errors.abs.iter().sum::<f64>();
        s.error_sq += errors.error_sq.iter().sum::<f64>();
        s.reference_sq += errors.reference_sq.iter().sum::<f64>();
        s.other_sq += errors.other_sq.iter().sum::<f64>();
        s.product += errors.product.iter().sum::<f64>();
        let Counts { changed, zero_sign, minus_zero, zeroed, unzeroed, sign_flipped } = self.counts;
        s.changed += changed;
        s.zero_sign += zero_sign;
        s.minus_zero += minus_zero;
        s.zeroed += zeroed;
        s.unzeroed += unzeroed;
        s.sign_flipped += sign_flipped;
        s.max_ulp = s.max_ulp.max(self.max_ulp);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn add_errors(errors: &mut Errors, reference: &[f32], other: &[f32]) {
    // A copy, so that the sums stay in registers.
    let mut sums = *errors;
    let (whole_r, short_r) = reference.as_chunks::<LANES>();
    let (whole_o, short_o) = other.as_chunks::<LANES>();
    for (r, o) in whole_r.iter().zip(whole_o) {
        add_side_by_side(&mut sums, r, o);
    }
    if !short_r.is_empty() {
        // The padding is zeros, which add nothing.
        let (mut r, mut o) = ([0.0; LANES], [0.0; LANES]);
        r[..short_r.len()].copy_from_slice(short_r);
        o[..short_o.len()].copy_from_slice(short_o);
        add_side_by_side(&mut sums, &r, &o);
    }
    *errors = sums;
}

#[inline(always)]
fn add_side_by_side(sums: &mut Errors, reference: &[f32; LANES], other: &[f32; LANES]) {
    for i in 0..LANES {
        let (r, o) = (f64::from(reference[i]), f64::from(other[i]));
        let error = o - r;
        // f64::max would have to consider NaN.
        sums.max_abs[i] = if error.abs() > sums.max_abs[i] { error.abs() } else { sums.max_abs[i] };
        sums.abs[i] += error.abs();
        sums.error_sq[i] += error * error;
        sums.reference_sq[i] += r * r;
        sums.other_sq[i] += o * o;
        sums.product[i] += r * o;
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn add_counts(lanes: &mut Lanes, reference: &[f32], other: &[f32]) {
    const SIGN: u32 = 0x8000_0000;
    // The counts of a stretch fit into u32.
    let [mut changed, mut zero_sign, mut minus_zero, mut zeroed, mut unzeroed, mut sign_flipped] = [0u32; 6];
    let mut max_ulp = 0u32;
    for (r, o) in reference.iter().zip(other) {
        let (r, o) = (r.to_bits(), o.to_bits());
        let (lost_sign, got_sign) =
            (u32::from(r == SIGN) & u32::from(o == 0), u32::from(r == 0) & u32::from(o == SIGN));
        let (zero_r, zero_o) = (u32::from(r & !SIGN == 0), u32::from(o & !SIGN == 0));
        zero_sign += lost_sign;
        minus_zero += got_sign;
        changed += u32::from(r != o) - lost_sign - got_sign;
        zeroed += (1 - zero_r) & zero_o;
        unzeroed += zero_r & (1 - zero_o);
        sign_flipped += ((r ^ o) >> 31) & (1 - zero_r) & (1 - zero_o);
        max_ulp = max_ulp.max(ulps_between(r, o));
    }
    let counts = &mut lanes.counts;
    counts.changed += u64::from(changed);
    counts.zero_sign += u64::from(zero_sign);
    counts.minus_zero += u64::from(minus_zero);
    counts.zeroed += u64::from(zeroed);
    counts.unzeroed += u64::from(unzeroed);
    counts.sign_flipped += u64::from(sign_flipped);
    lanes.max_ulp = lanes.max_ulp.max(max_ulp);
}

/// The number of steps between neighbouring F32 values from one finite value, given as bits, to another.
#[inline(always)]
fn ulps_between(a: u32, b: u32) -> u32 {
    let place = |x: u32| {
        let (magnitude, negative) = ((x & 0x7fff_ffff) as i32, (x as i32) >> 31);
        // Two's complement by hand: −m is !m + 1.
        (magnitude ^ negative) - negative
    };
    // At most 0xfeff_fffe: twice the largest finite magnitude.
    place(a).abs_diff(place(b))
}
