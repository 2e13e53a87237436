//! Rows on a coarser float grid than their tensor: embedding rows that training never touched keep the precision in
//! which they were first written.

use crate::census::StoredPrecision;
use crate::coded::Counted;
use crate::grid::{self, MIN_GRID_EVIDENCE_BITS};
use crate::values::TensorValues;
use numerics::{Minifloat, Rounding};
use rayon::prelude::*;
use words::about_percent;

/// The numbers of rows of one tensor that lie on a float grid each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowGrids {
    /// The number of rows that could have shown a grid: finite, and not all zeros.
    pub rows: u64,
    /// The number of rows on the BF16 grid.
    pub bf16: u64,
    /// The number of rows on the F16 grid that are not on the BF16 grid.
    pub f16: u64,
}

/// Reads every value of every row of `values`, `[n / n_per_row][n_per_row]`. A row counts only where its own distinct
/// values are enough evidence, and enough for having read every row.
pub fn row_grids(values: &[f32], n_per_row: usize, stored: StoredPrecision) -> RowGrids {
    row_grids_of(TensorValues::Restored(values, stored), n_per_row)
}

pub(crate) fn row_grids_of(values: TensorValues<'_>, n_per_row: usize) -> RowGrids {
    let stored = values.stored();
    let n_rows = values.len().checked_div(n_per_row).unwrap_or(0);
    let wanted = MIN_GRID_EVIDENCE_BITS + libm::log2(n_rows.max(1) as f64);
    let none = RowGrids { rows: 0, bf16: 0, f16: 0 };
    if !matches!(stored, StoredPrecision::F32 | StoredPrecision::F16) || n_rows == 0 {
        return none;
    }
    let of_row = |values: TensorValues<'_>, row: usize| {
        let range = row * n_per_row..(row + 1) * n_per_row;
        let of_row = || range.clone().map(|i| values.at(i));
        if !matches!(values.are_finite_and_zero(range.clone()), (true, false)) {
            return none;
        }
        let lies_on = |on: Minifloat| {
            // Nearly every row fails here, at one of its first values.
            of_row().all(|x| on.cast(Rounding::Rne, x) == x) && {
                let row: Vec<f32> = of_row().collect();
                let distinct = grid::few_distinct(Counted::Each(&row));
                grid::evidence_bits(Counted::Each(distinct.as_deref().unwrap_or(&row)), stored, on) >= wanted
            }
        };
        let bf16 = lies_on(Minifloat::Bf16);
        let f16 = !bf16 && stored == StoredPrecision::F32 && lies_on(Minifloat::F16);
        RowGrids { rows: 1, bf16: bf16.into(), f16: f16.into() }
    };
    let plus = |a: RowGrids, b: RowGrids| RowGrids { rows: a.rows + b.rows, bf16: a.bf16 + b.bf16, f16: a.f16 + b.f16 };
    let mut found = none;
    values.each_piece(n_per_row, |piece| {
        let rows = 0..piece.len() / n_per_row;
        found = plus(found, rows.into_par_iter().map(|row| of_row(piece, row)).reduce(|| none, plus));
        true
    });
    found
}

impl RowGrids {
    /// A note such as `75 % of rows are F16 (96 of 128)`; `None` where no row is coarser than the others, or all are.
    pub fn note(&self) -> Option<String> {
        let of = |n: u64, grid: &str| {
            (n > 0 && n < self.rows).then(|| {
                format!("{} of rows are {grid} ({n} of {})", about_percent(n as f64 / self.rows as f64), self.rows)
            })
        };
        match (of(self.bf16, "BF16"), of(self.f16, "F16")) {
            (Some(a), Some(b)) => Some(format!("{a}, {b}")),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value that uses all 24 bits.
    fn noise(i: usize) -> f32 {
        let bits = (i as u32).wrapping_mul(2_654_435_761).rotate_left(7).wrapping_mul(2_246_822_519);
        f32::from_bits(0x3f00_0000 | bits & 0x007f_ffff) - 0.73
    }

    #[test]
    fn three_rows_in_four_that_were_never_updated_are_seen() {
        let values: Vec<f32> = (0..128 * 32)
            .map(|i| if (i / 32) % 4 == 0 { noise(i) } else { Minifloat::F16.cast(Rounding::Rne, noise(i)) })
            .collect();
        let rows = row_grids(&values, 32, StoredPrecision::F32);
        assert_eq!(rows, RowGrids { rows: 128, bf16: 0, f16: 96 });
        assert_eq!(rows.note().as_deref(), Some("75 % of rows are F16 (96 of 128)"));
    }

    #[test]
    fn rows_of_noise_of_zeros_and_of_one_value_show_nothing() {
        let noisy: Vec<f32> = (0..64 * 64).map(noise).collect();
        assert_eq!(row_grids(&noisy, 64, StoredPrecision::F32), RowGrids { rows: 64, bf16: 0, f16: 0 });
        let flat: Vec<f32> = (0..64 * 64).map(|i| if i < 2048 { 0.0 } else { 1.5 }).collect();
        assert_eq!(row_grids(&flat, 64, StoredPrecision::F32), RowGrids { rows: 32, bf16: 0, f16: 0 });
        assert_eq!(row_grids(&[], 0, StoredPrecision::F32).note(), None);
    }
}
