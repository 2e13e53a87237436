//! Small floats with power-of-two scales: few significant bits in every value of the tensor.

use crate::census::StoredPrecision;
use crate::grid::exponent;
use crate::lattice;
use crate::values::Values;
use std::collections::BTreeSet;

/// All values are floats of few significant bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmallFloat {
    /// Significant bits, the implicit one included.
    pub significant_bits: u32,
    /// Binades met within a block of 32, at most.
    pub octaves: u32,
    /// Bits that the grid forces to zero.
    pub evidence_bits: f64,
    /// Values, all looked at.
    pub n: u64,
}

/// A grid of more significant bits than this is no small float.
const MAX_SMALL_FLOAT_BITS: u32 = 4;

/// A block in which binades are counted.
const BLOCK: usize = 32;

/// As many distinct magnitudes are evidence enough.
const MAX_DISTINCT: usize = 256;

impl SmallFloat {
    pub(crate) fn of(values: Values<'_>) -> Option<SmallFloat> {
        let telling = |x: &f32| *x != 0.0 && x.is_finite();
        let mut significant_bits = 0;
        for x in (0..values.len()).map(|i| values.at(i)).filter(telling) {
            significant_bits = significant_bits.max(significant(x));
            // Nearly every tensor ends here, at one of its first values.
            if significant_bits > MAX_SMALL_FLOAT_BITS {
                return None;
            }
        }
        // Among ones and minus ones, or powers of two, the significand says nothing.
        if significant_bits < 2 {
            return None;
        }
        let available = match values.stored() {
            StoredPrecision::F16 => 11,
            StoredPrecision::Bf16 => 8,
            _ => 24,
        };
        let (mut octaves, mut fixed_point) = (0, true);
        let mut distinct = BTreeSet::new();
        let restored = values.restored();
        for block in restored.chunks(BLOCK) {
            let exponents = block.iter().filter(|x| telling(x)).map(|x| exponent(*x));
            let (least, most) = exponents.fold((i32::MAX, i32::MIN), |(a, b), e| (a.min(e), b.max(e)));
            if least <= most {
                octaves = octaves.max((most - least + 1) as u32);
            }
            // Whole multiples of one spacing up to twice 2^bits (−8 … 7 have three) are a lattice, which says more.
            let spacing = most.saturating_sub(significant_bits as i32);
            fixed_point &= block.iter().all(|x| !telling(x) || last_bit(*x) >= spacing);
            if distinct.len() < MAX_DISTINCT {
                distinct.extend(block.iter().filter(|x| telling(x)).map(|x| x.abs().to_bits()));
            }
        }
        // A magnitude met often is one coincidence.
        let evidence_bits = f64::from(available - significant_bits) * distinct.len() as f64;
        let n = values.len() as u64;
        (!fixed_point && evidence_bits >= lattice::MIN_LATTICE_EVIDENCE_BITS).then_some(SmallFloat {
            significant_bits,
            octaves,
            evidence_bits,
            n,
        })
    }

    /// Formats with so many significant bits that reach over so many binades.
    pub fn like(&self) -> &'static str {
        small_float_name(self.significant_bits, self.octaves)
    }
}

/// Formats with so many significant bits that reach over so many binades.
pub(crate) fn small_float_name(significant_bits: u32, octaves: u32) -> &'static str {
    match (significant_bits, octaves) {
        (2, ..=4) => "E2M1",
        (2, _) => "two-bit float",
        (3, ..=9) => "E3M2 or E5M2",
        (3, _) => "E5M2",
        (_, ..=6) => "E2M3 or E4M3",
        _ => "E4M3",
    }
}

/// Significant bits of a finite nonzero value.
fn significant(x: f32) -> u32 {
    (exponent(x) - last_bit(x) + 1) as u32
}

/// Exponent of the last bit that is set.
pub(crate) fn last_bit(x: f32) -> i32 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let (biased, fraction) = ((magnitude >> 23) as i32, magnitude & 0x007f_ffff);
    let significand = if biased == 0 { fraction } else { fraction | 0x0080_0000 };
    significand.trailing_zeros() as i32 + biased.max(1) - 127 - 23
}
