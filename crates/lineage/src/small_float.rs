//! Small floats with power-of-two scales: every value of the tensor has few significant bits.

use crate::census::StoredPrecision;
use crate::grid::exponent;
use crate::lattice;
use crate::values::TensorValues;
use std::collections::BTreeSet;

/// A tensor whose values are all floats of few significant bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmallFloat {
    /// The number of significant bits, with the implicit one.
    pub significant_bits: u32,
    /// The most binades that occur within a block of 32 values.
    pub octaves: u32,
    /// The evidence: the bits that the grid forces to zero.
    pub evidence_bits: f64,
    /// The number of distinct values, zero among them; `None` where there are many.
    pub levels: Option<u32>,
    /// The number of values. All of them were read.
    pub n: u64,
}

/// The most significant bits of a small float.
const MAX_SMALL_FLOAT_BITS: u32 = 4;

/// The number of values of a block in which binades are counted.
const BLOCK: usize = 32;

/// The number of distinct magnitudes that are enough evidence.
const MAX_DISTINCT: usize = 256;

impl SmallFloat {
    pub(crate) fn of(values: TensorValues<'_>) -> Option<SmallFloat> {
        let telling = |x: &f32| *x != 0.0 && x.is_finite();
        let mut significant_bits = 0;
        values.each_piece(BLOCK, |piece| {
            // Nearly every tensor fails here, at one of its first values.
            (0..piece.len()).map(|i| piece.at(i)).filter(telling).all(|x| {
                significant_bits = significant_bits.max(significant(x));
                significant_bits <= MAX_SMALL_FLOAT_BITS
            })
        });
        if !(1..=MAX_SMALL_FLOAT_BITS).contains(&significant_bits) {
            return None;
        }
        let available = match values.stored() {
            StoredPrecision::F16 => 11,
            StoredPrecision::Bf16 => 8,
            _ => 24,
        };
        let (mut octaves, mut fixed_point) = (0, true);
        let (mut distinct, mut levels) = (BTreeSet::new(), BTreeSet::new());
        let mut look_at_block = |block: &[f32]| {
            let exponents = block.iter().filter(|x| telling(x)).map(|x| exponent(*x));
            let (least, most) = exponents.fold((i32::MAX, i32::MIN), |(a, b), e| (a.min(e), b.max(e)));
            if least <= most {
                octaves = octaves.max((most - least + 1) as u32);
            }
            // Multiples of one spacing up to twice 2^bits (−8 … 7 have three bits) are a lattice, which says more.
            let spacing = most.saturating_sub(significant_bits as i32);
            fixed_point &= block.iter().all(|x| !telling(x) || last_bit(*x) >= spacing);
            if distinct.len() < MAX_DISTINCT {
                distinct.extend(block.iter().filter(|x| telling(x)).map(|x| x.abs().to_bits()));
                // −0 and +0 are one number.
                levels.extend(block.iter().filter(|x| x.is_finite()).map(|x| (x + 0.0).to_bits()));
            }
        };
        values.each_piece(BLOCK, |piece| {
            piece.restored().chunks(BLOCK).for_each(&mut look_at_block);
            true
        });
        // A magnitude that occurs often is one coincidence.
        let evidence_bits = f64::from(available - significant_bits) * distinct.len() as f64;
        let n = values.len() as u64;
        (!fixed_point && evidence_bits >= lattice::MIN_LATTICE_EVIDENCE_BITS).then_some(SmallFloat {
            significant_bits,
            octaves,
            evidence_bits,
            levels: (distinct.len() < MAX_DISTINCT).then_some(levels.len() as u32),
            n,
        })
    }

    /// The formats with this many significant bits that reach over this many binades.
    pub fn like(&self) -> &'static str {
        small_float_name(self.significant_bits, self.octaves)
    }
}

/// The formats with this many significant bits that reach over this many binades.
pub(crate) fn small_float_name(significant_bits: u32, octaves: u32) -> &'static str {
    match (significant_bits, octaves) {
        (1, _) => "power-of-two",
        (2, ..=4) => "E2M1",
        (2, _) => "two-bit float",
        (3, ..=9) => "E3M2 or E5M2",
        (3, _) => "E5M2",
        (_, ..=6) => "E2M3 or E4M3",
        _ => "E4M3",
    }
}

/// The number of significant bits of a finite nonzero value.
fn significant(x: f32) -> u32 {
    (exponent(x) - last_bit(x) + 1) as u32
}

/// The exponent of the last bit that is set.
pub(crate) fn last_bit(x: f32) -> i32 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let (biased, fraction) = ((magnitude >> 23) as i32, magnitude & 0x007f_ffff);
    let significand = if biased == 0 { fraction } else { fraction | 0x0080_0000 };
    significand.trailing_zeros() as i32 + biased.max(1) - 127 - 23
}
