//! Any small float: a sign, X exponent bits, Y mantissa bits, a bias, and what the last codes mean.
//!
//! ```text
//!  X+Y      Y       0        s = 1 → negative
//! ┌─┬──────┬────────┐        e = 0:  m · 2^(1 − bias − Y)            (zero and subnormals)
//! │s│  e   │   m    │        e > 0:  (2^Y + m) · 2^(e − bias − Y)
//! └─┴──────┴────────┘
//!    ieee    e all ones: ∞ when m = 0, else NaN               e5m2, f16, bf16
//!    fn      only e and m all ones: NaN; no ∞                 fp8_e4m3
//!    finite  every code is a number                           fp6_e2m3, fp6_e3m2, fp4_e2m1
//! ```
//!
//! # Source
//! OCP 8-bit Floating Point Specification 1.0; OCP Microscaling Formats 1.0, section 5.3; IEEE 754-2019.

use super::exponent::pow2;
use super::rounding::{NearestAway, NearestEven, Round, Rounding, TowardsZero, lowered, raised};
use multiversion::multiversion;

/// The meaning of the codes at the top of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Specials {
    /// The last exponent is for infinity and NaN; overflow goes to infinity.
    Ieee,
    /// The very last code is NaN, and there is no infinity; overflow is clamped to the largest value.
    Fn,
    /// There is neither infinity nor NaN; overflow is clamped to the largest value.
    Finite,
}

/// A float format with X exponent bits and Y mantissa bits, all values of which are exact in F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExMy {
    exponent_bits: u8,
    mantissa_bits: u8,
    bias: i16,
    specials: Specials,
}

const fn format(exponent_bits: u8, mantissa_bits: u8, specials: Specials) -> ExMy {
    ExMy { exponent_bits, mantissa_bits, bias: (1 << (exponent_bits - 1)) - 1, specials }
}

/// The most exponent bits: as many as F32 has.
pub const MAX_EXPONENT_BITS: u8 = 8;
/// The most mantissa bits: one fewer than F32 has.
pub const MAX_MANTISSA_BITS: u8 = 22;

impl ExMy {
    /// bfloat16: the upper half of F32.
    pub const BF16: ExMy = format(8, 7, Specials::Ieee);
    /// IEEE 754 binary16, half precision.
    pub const F16: ExMy = format(5, 10, Specials::Ieee);
    /// NVIDIA's TensorFloat-32.
    pub const TF32: ExMy = format(8, 10, Specials::Ieee);
    /// E4M3 of the OCP 8-bit floating point specification.
    pub const FP8_E4M3: ExMy = format(4, 3, Specials::Fn);
    /// E5M2 of the OCP 8-bit floating point specification.
    pub const FP8_E5M2: ExMy = format(5, 2, Specials::Ieee);
    /// FP6 E2M3 of the OCP MX specification.
    pub const FP6_E2M3: ExMy = format(2, 3, Specials::Finite);
    /// FP6 E3M2 of the OCP MX specification.
    pub const FP6_E3M2: ExMy = format(3, 2, Specials::Finite);
    /// FP4 E2M1 of the OCP MX specification.
    pub const FP4_E2M1: ExMy = format(2, 1, Specials::Finite);

    /// The format with these fields; `None` when there is no such format. X is from 1 to 8, Y from 0 to 22, and every
    /// value must be exact in F32 (see [`ExMy::biases`]). `ieee` and `fn` need a mantissa, and `ieee` an exponent that
    /// remains when the last one is taken.
    pub fn new(exponent_bits: u8, mantissa_bits: u8, specials: Specials, bias: i16) -> Option<Self> {
        let format = ExMy { exponent_bits, mantissa_bits, bias, specials };
        let shape = (1..=MAX_EXPONENT_BITS).contains(&exponent_bits) && mantissa_bits <= MAX_MANTISSA_BITS;
        let specials_fit = match specials {
            Specials::Ieee => exponent_bits >= 2 && mantissa_bits >= 1,
            Specials::Fn => mantissa_bits >= 1,
            Specials::Finite => true,
        };
        (shape && specials_fit && format.min_exponent() >= -126 && format.max_exponent() <= 127).then_some(format)
    }

    /// The bias by IEEE's rule: 2^(X−1) − 1.
    pub fn default_bias(exponent_bits: u8) -> i16 {
        (1i16 << exponent_bits.saturating_sub(1).min(MAX_EXPONENT_BITS)) - 1
    }

    /// Whether the bias is the one that IEEE's rule gives.
    pub(crate) fn has_default_bias(self) -> bool {
        self.bias == ExMy::default_bias(self.exponent_bits)
    }

    /// The least and the greatest bias under which all values are exact in F32. The range is empty (least > greatest)
    /// when there is no such bias.
    pub fn biases(exponent_bits: u8, specials: Specials) -> (i16, i16) {
        let last_exponent = (1i16 << exponent_bits.min(MAX_EXPONENT_BITS)) - 1 - i16::from(specials == Specials::Ieee);
        (last_exponent - 127, 127)
    }

    /// X, the number of exponent bits.
    pub fn exponent_bits(self) -> u32 {
        u32::from(self.exponent_bits)
    }

    /// Y, the number of stored bits of the significand, without the implicit one.
    pub fn mantissa_bits(self) -> u32 {
        u32::from(self.mantissa_bits)
    }

    /// The number that is subtracted from the stored exponent.
    pub fn bias(self) -> i32 {
        i32::from(self.bias)
    }

    /// The meaning of the codes at the top of the range.
    pub fn specials(self) -> Specials {
        self.specials
    }

    /// Bits that a value takes where the format is stored.
    pub fn bits(self) -> u32 {
        1 + self.exponent_bits() + self.mantissa_bits()
    }

    /// The exponent of the smallest normal value.
    pub fn min_exponent(self) -> i32 {
        1 - self.bias()
    }

    /// The exponent of the largest finite value.
    pub fn max_exponent(self) -> i32 {
        let last = (1 << self.exponent_bits) - 1 - self.bias();
        last - i32::from(self.specials == Specials::Ieee)
    }

    /// The code of the largest finite value, without its sign bit.
    pub fn largest_code(self) -> u32 {
        let all = (1u32 << (self.exponent_bits + self.mantissa_bits)) - 1;
        match self.specials {
            Specials::Finite => all,
            Specials::Fn => all - 1,
            Specials::Ieee => all - (1 << self.mantissa_bits),
        }
    }

    /// The value of a code without its sign bit, by the drawing above, as if every code were a number.
    pub fn decode(self, code: u32) -> f64 {
        let (e, m) = (code >> self.mantissa_bits, code & ((1 << self.mantissa_bits) - 1));
        let spacing = |e: i32| libm::ldexp(1.0, e - self.bias() - self.mantissa_bits() as i32);
        match e {
            0 => f64::from(m) * spacing(1),
            _ => f64::from((1 << self.mantissa_bits) + m) * spacing(e as i32),
        }
    }

    /// The largest finite value.
    pub fn largest(self) -> f32 {
        self.decode(self.largest_code()) as f32
    }

    /// The middle between the largest finite value and the value that the next code would have.
    pub(crate) fn beyond(self) -> f32 {
        let largest = self.largest_code();
        ((self.decode(largest) + self.decode(largest + 1)) / 2.0) as f32
    }

    /// Rounds one value to the format. NaN stays NaN and infinity stays infinity.
    ///
    /// # Examples
    /// ```
    /// use numerics::{ExMy, Rounding};
    /// let fp8 = ExMy::named("fp8_e4m3").expect("a format of the table");
    /// assert_eq!(fp8.cast(Rounding::Rne, 0.3), 0.3125);
    /// assert_eq!(fp8.cast(Rounding::Rne, 1e6), 448.0);
    /// ```
    pub fn cast(self, rounding: Rounding, x: f32) -> f32 {
        if !x.is_finite() {
            return x;
        }
        let grid = CastGrid::of(self);
        match rounding {
            Rounding::Rne => grid.cast(NearestEven, x, 0),
            Rounding::Trunc => grid.cast(TowardsZero, x, 0),
            Rounding::Away => grid.cast(NearestAway, x, 0),
        }
    }

    /// Rounds finite values in place; the first one is the tensor's `start`-th.
    pub(crate) fn cast_slice<R: Round>(self, round: R, values: &mut [f32], start: usize) {
        cast_wide(CastGrid::of(self), round, values, start);
    }
}

/// The loop of [`ExMy::cast_slice`], compiled for several instruction sets; all give the same bits.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn cast_wide<R: Round>(grid: CastGrid, round: R, values: &mut [f32], start: usize) {
    for (i, x) in values.iter_mut().enumerate() {
        *x = grid.cast(round, *x, start + i);
    }
}

pub(super) const SIGN: u32 = 0x8000_0000;

/// What a cast needs to know of a format, in F32's own bits.
#[derive(Clone, Copy)]
pub(crate) struct CastGrid {
    /// The number of bits of F32's significand that the format lacks.
    shift: u32,
    /// A mask for the bit that decides a tie, where the format's last bit is one of its exponent.
    parity: u32,
    smallest_normal: u32,
    /// The distance between subnormals.
    spacing: f32,
    largest: u32,
    /// The bits that a magnitude beyond the largest becomes.
    overflow: u32,
}

impl CastGrid {
    pub(crate) fn of(format: ExMy) -> CastGrid {
        let shift = 23 - format.mantissa_bits();
        // Without a mantissa the last bit of a code is the exponent's, which differs from F32's by the biases.
        let odd = format.mantissa_bits == 0 && (127 - format.bias()) % 2 != 0;
        let largest = format.largest().to_bits();
        CastGrid {
            shift,
            parity: u32::from(odd) << shift,
            smallest_normal: pow2(format.min_exponent()).to_bits(),
            spacing: pow2(format.min_exponent() - format.mantissa_bits() as i32),
            largest,
            overflow: if format.specials == Specials::Ieee { f32::INFINITY.to_bits() } else { largest },
        }
    }

    /// The same format with overflow clamped to the largest value, whatever the format has.
    pub(crate) fn saturating(mut self) -> CastGrid {
        self.overflow = self.largest;
        self
    }

    #[inline(always)]
    pub(crate) fn cast<R: Round>(&self, round: R, x: f32, place: usize) -> f32 {
        let (sign, abs) = (x.to_bits() & SIGN, x.to_bits() & !SIGN);
        // Magnitude bits order as magnitudes do, and a carry out of the significand gives the next exponent.
        let normal = (abs + round.carry(abs ^ self.parity, self.shift, place)) & (u32::MAX << self.shift);
        // The quotient is exact except far below one half.
        let steps = f32::from_bits(abs) / self.spacing;
        let subnormal = (round.integer(steps, place) * self.spacing).to_bits();
        let cast = if abs < self.smallest_normal { subnormal } else { normal };
        let beyond = if round.towards_zero() { self.largest } else { self.overflow };
        f32::from_bits(sign | if cast > self.largest { beyond } else { cast })
    }

    /// [`cast`](Self::cast) of a quotient of which rounding may have taken up to `lost` units in the last place, as in
    /// [`Round::whole`].
    #[inline(always)]
    pub(crate) fn cast_quotient<R: Round>(&self, round: R, q: f32, lost: u32, place: usize) -> f32 {
        if lost > 0 && round.may_lose_a_level() {
            let (below, kept) = (self.cast(TowardsZero, q, place), self.cast(TowardsZero, raised(q, lost), place));
            if kept != below || lowered(q, lost).abs() <= below.abs() {
                return kept;
            }
        }
        self.cast(round, q, place)
    }
}
