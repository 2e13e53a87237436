//! The survey of one tensor: everything that its values say, in as few passes as possible.

use crate::census::{Effective, TensorCensus, census_counted};
use crate::coded::{Counted, count_codes};
use crate::distribution::{Distribution, distribution_counted};
use crate::rows::{RowGrids, row_grids_of};
use crate::search::{Search, search_values};
use crate::values::TensorValues;

/// What was found out about one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The effective precision, exact.
    pub census: TensorCensus,
    /// The grid of blocks, from a sample.
    pub search: Search,
    /// The distribution of the values, exact; `None` where no value is finite.
    pub distribution: Option<Distribution>,
    /// The rows with a coarser precision than the tensor, exact.
    pub rows: RowGrids,
}

impl Survey {
    /// Bits that a value takes on the coarsest grid that it is shown to lie on. For a grid of blocks these are the bits
    /// that name a level, without scales; otherwise those of the float format. They are never more than storage has,
    /// and storage's own where nothing shows. `None` for quantized storage, which tells them itself.
    pub fn effective_bits(&self) -> Option<f64> {
        let of_float = |effective| match effective {
            Effective::F32 => Some(32.0),
            Effective::Tf32 => Some(19.0),
            Effective::F16 | Effective::Bf16 | Effective::Transformed(_) => Some(16.0),
            Effective::NotDecided => None,
        };
        let float = of_float(self.census.effective)?;
        Some(self.search.bits().map_or(float, |bits| bits.min(float)))
    }
}

/// Surveys `values`, `[n / n_per_row][n_per_row]`. Two-byte values are counted in place and never restored as a whole;
/// the answer is the same as for restored values. Values that are read piece by piece give the same answer too, bit for
/// bit, in several passes.
pub fn survey(values: TensorValues<'_>, n_per_row: usize) -> Survey {
    let codes = count_codes(values);
    let counted = match (values, &codes) {
        (TensorValues::Restored(values, _), _) => Counted::Each(values),
        (TensorValues::Pieces(pieces), None) => Counted::Pieces(pieces),
        (_, codes) => Counted::Codes(codes.as_deref().unwrap_or_default()),
    };
    let census = census_counted(counted, values.stored());
    // The search has too little work for several threads; the rest has enough.
    let (search, (distribution, rows)) = rayon::join(
        || search_values(values, n_per_row, &census),
        || (distribution_counted(values, counted, n_per_row), row_grids_of(values, n_per_row)),
    );
    Survey { census, search, distribution, rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pieces, StoredPrecision, census, distribution, row_grids, search};

    /// A value in −1 … 1 that uses all bits.
    fn noise(i: usize) -> f32 {
        let bits = (i as u32).wrapping_mul(2_654_435_761).rotate_left(7).wrapping_mul(2_246_822_519);
        f32::from_bits(0x4000_0000 | bits & 0x007f_ffff) - 3.0
    }

    #[test]
    fn effective_bits_are_those_of_the_coarsest_grid_that_shows() {
        let noisy: Vec<f32> = (0..96 * 64).map(noise).collect();
        let bits = |values: &[f32], stored| survey(TensorValues::Restored(values, stored), 64).effective_bits();
        assert_eq!(bits(&noisy, StoredPrecision::F32), Some(32.0));
        assert_eq!(bits(&noisy, StoredPrecision::Quantized), None);
        let coarse: Vec<f32> = noisy.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
        assert_eq!(bits(&coarse, StoredPrecision::F32), Some(16.0));
        let of_block = |block: &[f32]| block.iter().map(|x| (x * 7.0).round() * block[0].abs()).collect::<Vec<f32>>();
        let steps: Vec<f32> = noisy.chunks(32).flat_map(of_block).collect();
        assert_eq!(bits(&steps, StoredPrecision::F32), Some(4.0), "−7 … 7 of a step");
    }

    /// Values in memory that are given piece by piece.
    #[derive(Debug)]
    struct Given<'a>(TensorValues<'a>);

    impl Pieces for Given<'_> {
        fn n(&self) -> usize {
            self.0.len()
        }

        fn stored(&self) -> StoredPrecision {
            self.0.stored()
        }

        fn look(&self, range: std::ops::Range<usize>, look: &mut dyn FnMut(TensorValues<'_>)) {
            let bytes = 2 * range.start..2 * range.end;
            look(match self.0 {
                TensorValues::Restored(values, stored) => TensorValues::Restored(&values[range], stored),
                TensorValues::F16(values) => TensorValues::F16(&values[bytes]),
                TensorValues::Bf16(values) => TensorValues::Bf16(&values[bytes]),
                TensorValues::Pieces(_) => unreachable!("values in memory"),
            });
        }
    }

    #[test]
    fn a_tensor_that_is_read_in_pieces_says_what_it_says_in_memory_to_the_bit() {
        // More than one piece, of rows that do not divide it.
        let n_per_row = 96;
        let n = n_per_row * 50_000;
        let noisy: Vec<f32> = (0..n).map(noise).collect();
        let mut spoilt = noisy.clone();
        spoilt[70] = f32::NAN;
        spoilt[n_per_row * 3..n_per_row * 5].fill(0.0);
        spoilt.copy_within(n_per_row * 7..n_per_row * 8, n_per_row * 49_000);
        let steps: Vec<f32> =
            noisy.chunks(32).flat_map(|b| b.iter().map(|x| (x * 8.0).round() * (b[0].abs() / 8.0))).collect();
        let coarse: Vec<f32> = noisy.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
        // Few significant bits over many binades, so that every value is looked at for small floats.
        let small: Vec<f32> = (0..n).map(|i| (1.0 + (i % 8) as f32 / 8.0) * (2f32).powi((i / 8 % 9) as i32)).collect();
        for made in [&noisy, &spoilt, &steps, &coarse, &small] {
            let f16: Vec<u8> = made.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
            let bf16: Vec<u8> = made.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
            for values in [
                TensorValues::Restored(made, StoredPrecision::F32),
                TensorValues::Restored(made, StoredPrecision::Quantized),
                TensorValues::F16(&f16),
                TensorValues::Bf16(&bf16),
            ] {
                let pieces = Given(values);
                // Values that are NaN are not equal, but their words are.
                let said = |survey: Survey| format!("{survey:?}");
                assert_eq!(said(survey(TensorValues::Pieces(&pieces), n_per_row)), said(survey(values, n_per_row)));
            }
            let in_memory = distribution(made, n_per_row);
            let pieces = Given(TensorValues::Restored(made, StoredPrecision::F32));
            assert_eq!(crate::distribution_of_pieces(&pieces, n_per_row), in_memory);
        }
    }

    #[test]
    fn two_byte_values_say_what_they_say_when_restored() {
        let noisy: Vec<f32> = (0..96 * 64).map(noise).collect();
        let mut spoilt = noisy.clone();
        spoilt[70] = f32::NAN;
        spoilt[64 * 3..64 * 5].fill(0.0);
        spoilt.copy_within(64 * 7..64 * 8, 64 * 20);
        let steps: Vec<f32> =
            noisy.chunks(32).flat_map(|b| b.iter().map(|x| (x * 8.0).round() * (b[0] / 8.0))).collect();
        let coarse: Vec<f32> = noisy.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
        for made in [&noisy, &spoilt, &steps, &coarse] {
            let f16: Vec<u8> = made.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
            let bf16: Vec<u8> = made.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
            for values in [TensorValues::F16(&f16), TensorValues::Bf16(&bf16)] {
                let restored = values.restored();
                let found = survey(values, 64);
                let wanted = census(&restored, values.stored());
                assert_eq!(found.census, wanted);
                assert_eq!(found.search, search(&restored, 64, &wanted));
                assert_eq!(found.rows, row_grids(&restored, 64, values.stored()));
                let (found, wanted) = (found.distribution.unwrap(), distribution(&restored, 64).unwrap());
                // The sums run in another order; all counts are the same.
                assert!((found.mean - wanted.mean).abs() < 1e-12 && (found.std - wanted.std).abs() < 1e-12);
                assert!((found.kurtosis - wanted.kurtosis).abs() < 1e-9);
                let (mean, std, kurtosis) = (wanted.mean, wanted.std, wanted.kurtosis);
                assert_eq!(Distribution { mean, std, kurtosis, ..found }, wanted);
            }
        }
        let none = survey(TensorValues::Restored(&[], StoredPrecision::F32), 0);
        assert_eq!((none.census.n, none.distribution), (0, None));
    }
}
