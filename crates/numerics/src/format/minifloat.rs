//! Fast casts for the wide small floats: BF16, F16 and TF32. All other formats, and rounding away from zero, go through
//! [`ExMy`].

use super::exmy::ExMy;
use super::rounding::{NearestAway, Rounding};
use multiversion::multiversion;

/// A binary float format that is narrower than F32.
///
/// A finite value is ±s·2^(e − mantissa_bits) with an integer s < 2^(mantissa_bits + 1) and `min_exponent` ≤ e ≤
/// `max_exponent`. Below 2^`min_exponent` the spacing stays the same (subnormals).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Minifloat {
    /// bfloat16: sign, 8 exponent bits, 7 mantissa bits.
    Bf16,
    /// IEEE 754 binary16: sign, 5 exponent bits, 10 mantissa bits.
    F16,
    /// NVIDIA's TensorFloat-32: sign, 8 exponent bits, 10 mantissa bits, stored in 32.
    Tf32,
}

impl Minifloat {
    /// All formats of this type.
    pub const ALL: [Minifloat; 3] = [Minifloat::Bf16, Minifloat::F16, Minifloat::Tf32];

    /// The name of the format in a scheme.
    pub fn name(self) -> &'static str {
        match self {
            Minifloat::Bf16 => "bf16",
            Minifloat::F16 => "f16",
            Minifloat::Tf32 => "tf32",
        }
    }

    /// The number of stored bits of the significand, without the implicit one.
    pub fn mantissa_bits(self) -> u32 {
        match self {
            Minifloat::Bf16 => 7,
            Minifloat::F16 | Minifloat::Tf32 => 10,
        }
    }

    /// The exponent of the smallest normal value.
    pub fn min_exponent(self) -> i32 {
        match self {
            Minifloat::Bf16 | Minifloat::Tf32 => -126,
            Minifloat::F16 => -14,
        }
    }

    /// The exponent of the largest finite value.
    pub fn max_exponent(self) -> i32 {
        match self {
            Minifloat::Bf16 | Minifloat::Tf32 => 127,
            Minifloat::F16 => 15,
        }
    }

    /// Bits that a value takes where the format is stored.
    pub fn bits(self) -> u32 {
        match self {
            Minifloat::Bf16 | Minifloat::F16 => 16,
            Minifloat::Tf32 => 19,
        }
    }

    /// The largest finite value.
    pub fn largest(self) -> f32 {
        let exponent = (self.max_exponent() + 127) as u32;
        let mantissa = (1u32 << self.mantissa_bits()) - 1;
        f32::from_bits(exponent << 23 | mantissa << (23 - self.mantissa_bits()))
    }

    /// Rounds one value to the format. NaN stays NaN and infinity stays infinity.
    #[inline]
    pub fn cast(self, rounding: Rounding, x: f32) -> f32 {
        if !x.is_finite() {
            return x;
        }
        match (self, rounding) {
            (Minifloat::Bf16, Rounding::Rne) => drop_bits_rne::<16>(x),
            (Minifloat::Bf16, Rounding::Trunc) => drop_bits::<16>(x),
            (Minifloat::Tf32, Rounding::Rne) => drop_bits_rne::<13>(x),
            (Minifloat::Tf32, Rounding::Trunc) => drop_bits::<13>(x),
            (Minifloat::F16, Rounding::Rne) => f16_rne(x),
            (Minifloat::F16, Rounding::Trunc) => f16_trunc(x),
            (_, Rounding::Away) => ExMy::from(self).cast(Rounding::Away, x),
        }
    }

    /// Rounds finite values in place.
    pub(crate) fn cast_slice(self, rounding: Rounding, values: &mut [f32]) {
        cast_wide(self, rounding, values);
    }

    #[inline(always)]
    fn cast_each(self, rounding: Rounding, values: &mut [f32]) {
        // One loop for each pair, so that each vectorises.
        match (self, rounding) {
            (Minifloat::Bf16, Rounding::Rne) => each(values, drop_bits_rne::<16>),
            (Minifloat::Bf16, Rounding::Trunc) => each(values, drop_bits::<16>),
            (Minifloat::Tf32, Rounding::Rne) => each(values, drop_bits_rne::<13>),
            (Minifloat::Tf32, Rounding::Trunc) => each(values, drop_bits::<13>),
            (Minifloat::F16, Rounding::Rne) => each(values, f16_rne),
            (Minifloat::F16, Rounding::Trunc) => each(values, f16_trunc),
            (_, Rounding::Away) => ExMy::from(self).cast_slice(NearestAway, values, 0),
        }
    }
}

impl From<Minifloat> for ExMy {
    fn from(minifloat: Minifloat) -> Self {
        match minifloat {
            Minifloat::Bf16 => ExMy::BF16,
            Minifloat::F16 => ExMy::F16,
            Minifloat::Tf32 => ExMy::TF32,
        }
    }
}

/// [`Minifloat::cast_each`], compiled for several instruction sets; all give the same bits.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn cast_wide(format: Minifloat, rounding: Rounding, values: &mut [f32]) {
    format.cast_each(rounding, values);
}

#[inline(always)]
fn each(values: &mut [f32], cast: impl Fn(f32) -> f32) {
    for x in values {
        *x = cast(*x);
    }
}

/// Rounds to the upper 32 − N bits, to nearest even. A carry runs into the exponent and, past the largest finite value,
/// gives exactly infinity.
#[inline(always)]
fn drop_bits_rne<const N: u32>(x: f32) -> f32 {
    let bits = x.to_bits();
    let half = (1u32 << (N - 1)) - 1 + ((bits >> N) & 1);
    // Finite bits cannot wrap: the largest is 0xff7fffff.
    f32::from_bits(bits.wrapping_add(half) & (u32::MAX << N))
}

#[inline(always)]
fn drop_bits<const N: u32>(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & (u32::MAX << N))
}

const SIGN: u32 = 0x8000_0000;
/// 65504, the largest finite F16, as F32 bits.
const F16_LARGEST: u32 = 0x477f_e000;
/// 2^−14, the smallest normal F16, as F32 bits.
const F16_SMALLEST_NORMAL: u32 = 0x3880_0000;
/// One over the smallest subnormal F16.
const TWO_POW_24: f32 = 16_777_216.0;

#[inline(always)]
fn f16_rne(x: f32) -> f32 {
    let sign = x.to_bits() & SIGN;
    let abs = x.to_bits() & !SIGN;
    let normal = drop_bits_rne::<13>(f32::from_bits(abs)).to_bits();
    let normal = if normal > F16_LARGEST { f32::INFINITY.to_bits() } else { normal };
    // In [0.5, 1) one ulp of F32 is 2^−24, the spacing of F16's subnormals: the addition rounds.
    let subnormal = ((f32::from_bits(abs) + 0.5) - 0.5).to_bits();
    f32::from_bits(sign | if abs < F16_SMALLEST_NORMAL { subnormal } else { normal })
}

#[inline(always)]
fn f16_trunc(x: f32) -> f32 {
    let sign = x.to_bits() & SIGN;
    let abs = x.to_bits() & !SIGN;
    let normal = (abs & (u32::MAX << 13)).min(F16_LARGEST);
    // Below 2^−14 the product is below 2^10: the cast to an integer drops the fraction exactly.
    let subnormal = ((f32::from_bits(abs) * TWO_POW_24) as i32 as f32 / TWO_POW_24).to_bits();
    f32::from_bits(sign | if abs < F16_SMALLEST_NORMAL { subnormal } else { normal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_for_this_machine_gives_the_bits_of_what_is_compiled_for_any() {
        let values: Vec<f32> = (0..2_000_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1))).collect();
        for format in Minifloat::ALL {
            for rounding in [Rounding::Rne, Rounding::Trunc, Rounding::Away] {
                let (mut wide, mut plain) = (values.clone(), values.clone());
                format.cast_slice(rounding, &mut wide);
                format.cast_each(rounding, &mut plain);
                assert!(wide.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits()), "{format:?} {rounding:?}");
            }
        }
    }
}
