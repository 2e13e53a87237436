//! The values of a tensor in place: restored to F32, or in the two bytes in which they are stored. Those of a tensor that
//! is too large for memory are read piece by piece.

use crate::census::StoredPrecision;
use crate::grid;
use multiversion::multiversion;
use numerics::{Minifloat, Rounding};
use std::fmt;
use std::ops::Range;

/// The number of values of a piece, if the work has no other unit. It is a multiple of the parts over which sums run, so
/// that sums have the same bits piece by piece.
const PIECE_VALUES: usize = 1 << 22;

/// A tensor that is not in memory as a whole.
pub trait Pieces: Sync + fmt::Debug {
    /// The number of values.
    fn n(&self) -> usize;

    /// The precision that the values are stored in.
    fn stored(&self) -> StoredPrecision;

    /// Reads the values of `range` and calls `look` with them: in two bytes where they are stored in F16 or BF16,
    /// otherwise restored. Where they cannot be read, `look` is not called. The implementer remembers why, and nothing
    /// that was found out about the tensor counts.
    fn look(&self, range: Range<usize>, look: &mut dyn FnMut(TensorValues<'_>));
}

/// The values of one tensor, `[n_rows][n_per_row]`, read in place.
#[derive(Clone, Copy, Debug)]
pub enum TensorValues<'a> {
    /// Values restored to F32, from any storage.
    Restored(&'a [f32], StoredPrecision),
    /// F16 values, little-endian; an odd last byte is not a value.
    F16(&'a [u8]),
    /// BF16 values, little-endian; an odd last byte is not a value.
    Bf16(&'a [u8]),
    /// Values that are read piece by piece. The pieces themselves are of the other kinds.
    Pieces(&'a dyn Pieces),
}

impl TensorValues<'_> {
    /// The number of values.
    pub fn len(self) -> usize {
        match self {
            TensorValues::Restored(values, _) => values.len(),
            TensorValues::F16(bytes) | TensorValues::Bf16(bytes) => bytes.len() / 2,
            TensorValues::Pieces(pieces) => pieces.n(),
        }
    }

    /// Calls `look` with all values in order: once where they are in memory, otherwise with pieces of whole units of
    /// `unit` values, until it returns false.
    pub(crate) fn each_piece(self, unit: usize, mut look: impl FnMut(TensorValues<'_>) -> bool) {
        let TensorValues::Pieces(pieces) = self else {
            look(self);
            return;
        };
        let unit = unit.max(1);
        let piece = (PIECE_VALUES / unit).max(1).saturating_mul(unit);
        let mut goes_on = true;
        for start in (0..pieces.n()).step_by(piece) {
            let range = start..start.saturating_add(piece).min(pieces.n());
            pieces.look(range, &mut |values| goes_on = look(values));
            if !goes_on {
                return;
            }
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
            TensorValues::Pieces(pieces) => pieces.stored(),
        }
    }

    /// The value at `index`, which is less than [`len`](TensorValues::len).
    pub(crate) fn at(self, index: usize) -> f32 {
        match self {
            TensorValues::Restored(values, _) => values[index],
            TensorValues::F16(bytes) => f16_to_f32(code_at(bytes, index)),
            TensorValues::Bf16(bytes) => bf16_to_f32(code_at(bytes, index)),
            TensorValues::Pieces(pieces) => {
                let mut value = 0.0;
                pieces.look(index..index + 1, &mut |values| value = values.at(0));
                value
            }
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
            TensorValues::Pieces(pieces) => {
                let (n, mut found) = (range.len(), (false, false));
                pieces.look(range, &mut |values| found = values.are_finite_and_zero(0..n));
                return found;
            }
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
