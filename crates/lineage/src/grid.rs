//! Float grids: which values lie on them, and how many bits of coincidence that would take.
//!
//! A value at exponent e has `available(e)` significant bits in the stored format and `allowed(e)` on the grid. If only
//! the storage limited its bits, each of the bits between would be zero by a coin toss:
//!
//! ```text
//! F32   s eeeeeeee mmmmmmm mmmmmmmmmmmmmmmm      24 significant bits with the implicit one
//! BF16  s eeeeeeee mmmmmmm 0000000000000000       8: 16 bits of evidence a value
//! F16,TF32 grid    mmmmmmm mmm0000000000000      11: 13 bits, more among F16's subnormals
//! ```

use crate::census::StoredPrecision;
use crate::coded::Counted;
use crate::small_float::last_bit;
use multiversion::multiversion;
use numerics::Minifloat;
use rayon::prelude::*;

/// The least evidence, in bits, for believing that all values lie on a grid: three BF16 values in F32.
pub const MIN_GRID_EVIDENCE_BITS: f64 = 40.0;

/// The number of values that one thread works on at a time. It is small enough for u32 counters, which vectorise.
pub(crate) const CHUNK: usize = 1 << 16;

/// The number of distinct magnitudes up to which each is evidence only once. More of them are enough evidence alone,
/// even with the 3 bits a value that BF16 has in F16, so every value may count.
const FEW: usize = 16;

/// The counts of one pass over all values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) n: u64,
    pub(crate) zeros: u64,
    pub(crate) nonfinite: u64,
    /// The number of finite values that are not BF16 values.
    pub(crate) off_bf16: u64,
    pub(crate) off_f16: u64,
    pub(crate) off_tf32: u64,
    /// The number of values whose bits differ from those of the first value.
    pub(crate) unlike_first: u64,
}

impl Scan {
    /// The counts of values; `first` are the bits of the tensor's first value.
    pub(crate) fn of(values: &[f32], first: u32) -> Scan {
        values.par_chunks(CHUNK).map(|part| Scan::of_chunk(part, first)).reduce(Scan::default, Scan::plus)
    }

    fn of_chunk(values: &[f32], first: u32) -> Scan {
        let counts = count_chunk(values, first).map(u64::from);
        let [zeros, nonfinite, off_bf16, off_f16, off_tf32, unlike_first] = counts;
        Scan { n: values.len() as u64, zeros, nonfinite, off_bf16, off_f16, off_tf32, unlike_first }
    }

    /// The counts of one value that occurs `n` times.
    pub(crate) fn of_one(x: f32, n: u64) -> Scan {
        let one = Scan::of_chunk(&[x], x.to_bits());
        let [zeros, nonfinite, off_bf16, off_f16, off_tf32] =
            [one.zeros, one.nonfinite, one.off_bf16, one.off_f16, one.off_tf32].map(|k| k * n);
        Scan { n, zeros, nonfinite, off_bf16, off_f16, off_tf32, unlike_first: 0 }
    }

    pub(crate) fn plus(self, other: Scan) -> Scan {
        Scan {
            n: self.n + other.n,
            zeros: self.zeros + other.zeros,
            nonfinite: self.nonfinite + other.nonfinite,
            off_bf16: self.off_bf16 + other.off_bf16,
            off_f16: self.off_f16 + other.off_f16,
            off_tf32: self.off_tf32 + other.off_tf32,
            unlike_first: self.unlike_first + other.unlike_first,
        }
    }

    pub(crate) fn finite(&self) -> u64 {
        self.n - self.nonfinite
    }

    pub(crate) fn off(&self, grid: Minifloat) -> u64 {
        match grid {
            Minifloat::Bf16 => self.off_bf16,
            Minifloat::F16 => self.off_f16,
            Minifloat::Tf32 => self.off_tf32,
        }
    }
}

/// Counts of at most [`CHUNK`] values: zeros, non-finite values, finite values off BF16, off F16 and off TF32, and
/// values with other bits than `first`. The loop has no branch, so that it vectorises.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn count_chunk(values: &[f32], first: u32) -> [u32; 6] {
    let [mut zeros, mut nonfinite, mut off_bf16, mut off_f16, mut off_tf32, mut unlike_first] = [0u32; 6];
    for &x in values {
        let bits = x.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        let finite = u32::from(magnitude < INFINITY);
        zeros += u32::from(magnitude == 0);
        nonfinite += 1 - finite;
        off_bf16 += finite & u32::from(bits & 0xffff != 0);
        off_f16 += finite & u32::from(!is_f16(x));
        off_tf32 += finite & u32::from(bits & 0x1fff != 0);
        unlike_first += u32::from(bits != first);
    }
    [zeros, nonfinite, off_bf16, off_f16, off_tf32, unlike_first]
}

/// The bits of infinity in F32.
pub(crate) const INFINITY: u32 = 0x7f80_0000;

/// Whether a finite value is an F16 value. Below the smallest normal, 2^−14, F16 values are the multiples of 2^−24. So
/// are F32 values between ½ and 1, so adding ½ rounds to a multiple.
#[inline(always)]
fn is_f16(x: f32) -> bool {
    let magnitude = x.abs();
    let is_multiple = (magnitude + 0.5) - 0.5 == magnitude;
    let is_short = magnitude.to_bits() & 0x1fff == 0;
    (if magnitude < 1.0 / 16384.0 { is_multiple } else { is_short }) & (magnitude <= 65504.0)
}

/// The number of significant bits that a format has at exponent `e`, with the implicit one.
fn significant_bits(mantissa_bits: u32, min_exponent: i32, max_exponent: i32, e: i32) -> i32 {
    if e > max_exponent {
        return 0;
    }
    let full = mantissa_bits as i32 + 1;
    // Below the smallest normal the spacing stays the same, and there are fewer and fewer bits.
    (full - (min_exponent - e).max(0)).max(0)
}

impl StoredPrecision {
    /// Mantissa bits, least and greatest exponent of a storage whose values can be finer than a grid.
    fn shape(self) -> (u32, i32, i32) {
        match self {
            StoredPrecision::F16 => (10, -14, 15),
            _ => (23, -126, 127),
        }
    }

    /// The exponent of the distance to the next stored value, at exponent `e`.
    pub(crate) fn spacing_exponent(self, e: i32) -> i32 {
        let (mantissa_bits, min_exponent, _) = self.shape();
        e.max(min_exponent) - mantissa_bits as i32
    }
}

/// Bits of evidence that one finite nonzero value on `grid` gives.
pub(crate) fn evidence_at(stored: StoredPrecision, grid: Minifloat, e: i32) -> u64 {
    let (mantissa_bits, min_exponent, max_exponent) = stored.shape();
    let available = significant_bits(mantissa_bits, min_exponent, max_exponent, e);
    let allowed = significant_bits(grid.mantissa_bits(), grid.min_exponent(), grid.max_exponent(), e);
    (available - allowed).max(0) as u64
}

/// The evidence Σ max(0, available − allowed), in bits, of the finite nonzero values, all of which lie on `grid`.
pub(crate) fn evidence_bits(values: Counted<'_>, stored: StoredPrecision, grid: Minifloat) -> f64 {
    let of_part = |part: &[f32]| {
        let histogram = Exponents::of(part);
        histogram.iter().map(|(e, n)| n * evidence_at(stored, grid, e)).sum::<u64>()
    };
    let total: u64 = match values {
        Counted::Each(_) | Counted::Pieces(_) => {
            let mut total = 0;
            values.each_piece(CHUNK, |values| {
                total += values.par_chunks(CHUNK).map(of_part).sum::<u64>();
                true
            });
            total
        }
        Counted::Codes(codes) => codes
            .iter()
            .filter(|(x, _)| *x != 0.0 && x.is_finite())
            .map(|(x, n)| n * evidence_at(stored, grid, exponent(*x)))
            .sum(),
    };
    total as f64
}

/// The evidence, in bits, that values have as few significant bits as the one of these `distinct` magnitudes that has
/// most: what storage has beyond that, less the bits that name the number. Values without structure reach b bits with a
/// probability of at most 2^−b.
pub(crate) fn evidence_of_few_bits(distinct: &[f32], stored: StoredPrecision) -> f64 {
    let significant = |x: f32| exponent(x) - last_bit(x) + 1;
    let most = distinct.iter().copied().map(significant).max().unwrap_or(0);
    let (mantissa_bits, min_exponent, max_exponent) = stored.shape();
    let available = |x: f32| significant_bits(mantissa_bits, min_exponent, max_exponent, exponent(x));
    let forced: i32 = distinct.iter().map(|&x| (available(x) - most).max(0)).sum();
    f64::from(forced) - libm::log2(f64::from(mantissa_bits + 1))
}

/// The number of finite nonzero values for each exponent.
struct Exponents([u32; Self::LEN]);

impl Exponents {
    /// The number of exponents of F32, subnormals included: −149 to 127.
    const LEN: usize = 277;
    const LEAST: i32 = -149;

    fn of(values: &[f32]) -> Exponents {
        let mut counts = [0; Self::LEN];
        for &x in values.iter().filter(|x| **x != 0.0 && x.is_finite()) {
            counts[(exponent(x) - Self::LEAST) as usize] += 1;
        }
        Exponents(counts)
    }

    fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        (Self::LEAST..).zip(self.0).filter(|(_, n)| *n > 0).map(|(e, n)| (e, u64::from(n)))
    }
}

/// The exponent ⌊log2 |x|⌋ of a finite nonzero value.
pub(crate) fn exponent(x: f32) -> i32 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    match magnitude >> 23 {
        0 => -149 + (31 - magnitude.leading_zeros() as i32),
        biased => biased as i32 - 127,
    }
}

/// The distinct magnitudes among the finite nonzero values, if they are few; `None` if they are many. A value that
/// occurs a thousand times is one coincidence, not a thousand.
pub(crate) fn few_distinct(values: Counted<'_>) -> Option<Vec<f32>> {
    match values {
        Counted::Codes(codes) => {
            let mut distinct = Vec::with_capacity(FEW);
            add_few(&mut distinct, codes.iter().map(|(x, _)| *x)).then_some(distinct)
        }
        Counted::Each(_) | Counted::Pieces(_) => {
            let (mut distinct, mut are_few) = (Vec::with_capacity(FEW), true);
            values.each_piece(CHUNK, |values| {
                are_few = add_few(&mut distinct, values.iter().copied());
                are_few
            });
            are_few.then_some(distinct)
        }
    }
}

/// Adds the magnitudes that are not yet among `distinct`. Returns whether they are still few.
fn add_few(distinct: &mut Vec<f32>, values: impl Iterator<Item = f32>) -> bool {
    for x in values.map(f32::abs).filter(|x| *x != 0.0 && x.is_finite()) {
        if !distinct.contains(&x) {
            if distinct.len() == FEW {
                return false;
            }
            distinct.push(x);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_of_one_value_is_what_the_drawing_says() {
        let at = |grid, e| evidence_at(StoredPrecision::F32, grid, e);
        assert_eq!(at(Minifloat::Bf16, 0), 16);
        assert_eq!(at(Minifloat::Tf32, -100), 13);
        assert_eq!(at(Minifloat::F16, 3), 13);
        assert_eq!(at(Minifloat::F16, -24), 23, "one bit left of eleven");
        assert_eq!(at(Minifloat::Bf16, -130), 16, "both formats lose the same bits");
        assert_eq!(at(Minifloat::Bf16, -149), 1);
        let at = |grid, e| evidence_at(StoredPrecision::F16, grid, e);
        assert_eq!((at(Minifloat::Bf16, 0), at(Minifloat::Bf16, -20), at(Minifloat::Tf32, 0)), (3, 0, 0));
    }

    #[test]
    fn a_value_is_on_f16_where_casting_leaves_it_alone() {
        use numerics::Rounding;
        // Every sign and exponent, with every number of bits at either end of the significand, and some in between.
        let ends = (0..24).flat_map(|k| [(1u32 << k) - 1, !((1u32 << k) - 1) & 0x7f_ffff, 1 << k & 0x7f_ffff]);
        let between = (0..64u32).map(|i| i.wrapping_mul(2_654_435_761) >> 9);
        let fractions: Vec<u32> = ends.chain(between).collect();
        for sign_and_exponent in (0..512u32).filter(|e| e & 0xff != 0xff) {
            for fraction in &fractions {
                let x = f32::from_bits(sign_and_exponent << 23 | fraction);
                let cast = Minifloat::F16.cast(Rounding::Rne, x);
                assert_eq!(is_f16(x), cast.to_bits() == x.to_bits(), "{x:e}");
            }
        }
    }

    #[test]
    fn exponents_of_the_ends_of_f32_are_found() {
        assert_eq!(exponent(f32::from_bits(1)), -149);
        assert_eq!(exponent(-f32::MIN_POSITIVE), -126);
        assert_eq!(exponent(f32::MIN_POSITIVE.next_down()), -127);
        assert_eq!((exponent(1.0), exponent(1.999), exponent(f32::MAX)), (0, 0, 127));
    }

    #[test]
    fn a_scan_counts_each_kind_of_value_once() {
        let values = [0.0, -0.0, 1.0, 1.0 + 1.0 / 256.0, 1e-10, f32::NAN, f32::INFINITY, 1e6];
        let scan = Scan::of(&values, 0);
        let expected = Scan { n: 8, zeros: 2, nonfinite: 2, off_bf16: 3, off_f16: 2, off_tf32: 2, unlike_first: 7 };
        assert_eq!(scan, expected);
    }
}
