//! The values of a tensor in place: restored to F32, or in the two bytes in which they are stored.

use crate::census::StoredPrecision;
use crate::grid;
use multiversion::multiversion;
use numerics::{Minifloat, Rounding};
use std::ops::Range;

/// The values of one tensor, `[n_rows][n_per_row]`, read in place.
#[derive(Clone, Copy, Debug)]
pub enum TensorValues<'a> {
    /// Values restored to F32, from any storage.
    Restored(&'a [f32], StoredPrecision),
    /// F16 values, little-endian; an odd last byte is not a value.
    F16(&'a [u8]),
    /// BF16 values, little-endian; an odd last byte is not a value.
    Bf16(&'a [u8]),
}

impl TensorValues<'_> {
    /// The number of values.
    pub fn len(self) -> usize {
        match self {
            TensorValues::Restored(values, _) => values.len(),
            TensorValues::F16(bytes) | TensorValues::Bf16(bytes) => bytes.len() / 2,
        }
    }

    /// Whether there are no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The precision that the values are stored in.
    pub fn stored(self) -> StoredPrecision {
        match self {
            TensorValues::Restored(_, stored) => stored,
            TensorValues::F16(_) => StoredPrecision::F16,
            TensorValues::Bf16(_) => StoredPrecision::Bf16,
        }
    }

    /// The value at `index`, which is less than [`len`](TensorValues::len).
    pub(crate) fn at(self, index: usize) -> f32 {
        match self {
            TensorValues::Restored(values, _) => values[index],
            TensorValues::F16(bytes) => f16_to_f32(code_at(bytes, index)),
            TensorValues::Bf16(bytes) => bf16_to_f32(code_at(bytes, index)),
        }
    }

    /// Whether all values of `range` are finite, and whether all are zeros. Their magnitudes are compared as integers,
    /// which keep the order and put infinity and NaN last.
    pub(crate) fn are_finite_and_zero(self, range: Range<usize>) -> (bool, bool) {
        let of_codes = |bytes: &[u8]| greatest_code(&bytes[2 * range.start..2 * range.end]).into();
        let (most, infinity) = match self {
            TensorValues::Restored(values, _) => (greatest_magnitude(&values[range]), grid::INFINITY),
            TensorValues::F16(bytes) => (of_codes(bytes), 0x7c00),
            TensorValues::Bf16(bytes) => (of_codes(bytes), grid::INFINITY >> 16),
        };
        (most < infinity, most == 0)
    }

    /// All values in F32.
    pub(crate) fn restored(self) -> Vec<f32> {
        (0..self.len()).map(|i| self.at(i)).collect()
    }
}

/// The greatest of these two-byte codes, without their signs.
#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2", "aarch64+neon"))]
fn greatest_code(bytes: &[u8]) -> u16 {
    let codes = bytes.as_chunks().0.iter().map(|code| u16::from_le_bytes(*code) & 0x7fff);
    codes.fold(0, u16::max)
}

/// The bits of the greatest magnitude.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn greatest_magnitude(values: &[f32]) -> u32 {
    values.iter().map(|x| x.to_bits() & 0x7fff_ffff).fold(0, u32::max)
}

fn code_at(bytes: &[u8], index: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]])
}

/// The value of an F16 code.
pub(crate) fn f16_to_f32(code: u16) -> f32 {
    let magnitude = u32::from(code & 0x7fff);
    let sign = u32::from(code & 0x8000) << 16;
    let bits = match magnitude {
        // Infinity and NaN keep their payload.
        0x7c00.. => 0x7f80_0000 | (magnitude & 0x3ff) << 13,
        0x0400.. => (magnitude << 13) + ((127 - 15) << 23),
        // Subnormals are multiples of 2^−24.
        _ => (magnitude as f32 * (1.0 / (1u32 << 24) as f32)).to_bits(),
    };
    f32::from_bits(sign | bits)
}

/// The value of a BF16 code.
pub(crate) fn bf16_to_f32(code: u16) -> f32 {
    f32::from_bits(u32::from(code) << 16)
}

impl StoredPrecision {
    /// An F32 value as it reads back from this storage.
    pub(crate) fn hold(self, x: f32) -> f32 {
        match self {
            StoredPrecision::F16 => Minifloat::F16.cast(Rounding::Rne, x),
            StoredPrecision::Bf16 => Minifloat::Bf16.cast(Rounding::Rne, x),
            StoredPrecision::F32 | StoredPrecision::Quantized => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_sixteen_bits_has_the_value_that_half_gives_it() {
        for code in 0..=u16::MAX {
            assert_eq!(
                f16_to_f32(code).to_bits() & 0xffbf_ffff,
                half::f16::from_bits(code).to_f32().to_bits() & 0xffbf_ffff
            );
            assert_eq!(
                bf16_to_f32(code).to_bits() & 0xffbf_ffff,
                half::bf16::from_bits(code).to_f32().to_bits() & 0xffbf_ffff
            );
        }
    }

    #[test]
    fn values_are_read_where_they_lie() {
        let bytes: Vec<u8> = [1.0f32, -2.5, 0.0].iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        let values = TensorValues::F16(&bytes);
        assert_eq!((values.len(), values.stored()), (3, StoredPrecision::F16));
        assert_eq!(values.restored(), [1.0, -2.5, 0.0]);
        assert_eq!(TensorValues::Bf16(&[0xc0, 0x3f, 0xff]).restored(), [1.5], "an odd byte is not a value");
    }
}
