//! Groups of values that share a scale: how they lie in a tensor, what is measured in each, and how
//! the work is spread over threads without the result depending on them.

use crate::scheme::Granularity;
use rayon::prelude::*;

/// Values one thread works on at a time.
const BATCH: usize = 1 << 16;

/// The least and greatest finite value of a group; both 0 when it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) min: f32,
    pub(crate) max: f32,
}

impl Range {
    pub(crate) fn absmax(self) -> f32 {
        self.min.abs().max(self.max.abs())
    }
}

/// A group's greatest less its least value is beyond F32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RangeOverflow {
    pub(crate) min: f32,
    pub(crate) max: f32,
}

/// What a scheme with a scale does to one group.
pub(crate) trait GroupKernel: Sync {
    /// What the group shares.
    type Scale: Copy + Send + Sync;

    fn scale(&self, range: Range) -> Result<Self::Scale, RangeOverflow>;

    /// Quantizes and restores in place. Non-finite values may become anything: the caller puts them back.
    fn apply(&self, scale: Self::Scale, values: &mut [f32]);
}

/// Runs a kernel over all groups of `values`, rows of `n_per_row`.
///
/// # Errors
/// The first group, in order of position, that has no scale.
pub(crate) fn apply<K: GroupKernel>(
    kernel: &K,
    granularity: Granularity,
    values: &mut [f32],
    n_per_row: usize,
) -> Result<(), RangeOverflow> {
    match granularity {
        Granularity::Tensor => {
            let keys: Vec<Keys> = values.par_chunks(BATCH).map(Keys::of).collect();
            let scale = kernel.scale(keys.into_iter().fold(Keys::EMPTY, Keys::merge).range())?;
            values.par_chunks_mut(BATCH).for_each(|part| kernel.apply(scale, part));
            Ok(())
        }
        Granularity::Row => blocks(kernel, values, n_per_row, n_per_row),
        Granularity::Block(n) => blocks(kernel, values, n_per_row, n.get() as usize),
        Granularity::Col => {
            let rows = values.len() / n_per_row;
            let mut columns = transposed(values, n_per_row);
            let result = blocks(kernel, &mut columns, rows, rows);
            values.copy_from_slice(&transposed(&columns, rows));
            result
        }
    }
}

/// Blocks start anew in each row; a row's last block may be short.
fn blocks<K: GroupKernel>(
    kernel: &K,
    values: &mut [f32],
    n_per_row: usize,
    n_per_block: usize,
) -> Result<(), RangeOverflow> {
    let rows_at_once = (BATCH / n_per_row).max(1);
    let results: Vec<_> = values
        .par_chunks_mut(rows_at_once * n_per_row)
        .map(|rows| {
            for row in rows.chunks_mut(n_per_row) {
                for block in row.chunks_mut(n_per_block) {
                    let scale = kernel.scale(Keys::of(block).range())?;
                    kernel.apply(scale, block);
                }
            }
            Ok(())
        })
        .collect();
    results.into_iter().collect()
}

/// `[rows][n_per_row]` → `[n_per_row][rows]`.
pub(crate) fn transposed(values: &[f32], n_per_row: usize) -> Vec<f32> {
    let rows = values.len() / n_per_row;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(rows).enumerate().for_each(|(col, column)| {
        for (row, x) in column.iter_mut().enumerate() {
            *x = values[row * n_per_row + col];
        }
    });
    out
}

/// Least and greatest value as integers that order as the floats do: an integer fold vectorises,
/// a float one may not, and the order of −0 and +0 is settled.
#[derive(Clone, Copy)]
struct Keys {
    min: i32,
    max: i32,
}

impl Keys {
    const EMPTY: Keys = Keys { min: i32::MAX, max: i32::MIN };

    fn of(values: &[f32]) -> Keys {
        let keys = values.iter().fold(Keys::EMPTY, |k, x| {
            let key = ordered(x.to_bits());
            Keys { min: k.min.min(key), max: k.max.max(key) }
        });
        if keys.min > ordered(f32::NEG_INFINITY.to_bits()) && keys.max < ordered(f32::INFINITY.to_bits()) {
            return keys;
        }
        // Only under `:nonfinite=keep`, where such values take no part in the scale.
        values.iter().filter(|x| x.is_finite()).fold(Keys::EMPTY, |k, x| {
            let key = ordered(x.to_bits());
            Keys { min: k.min.min(key), max: k.max.max(key) }
        })
    }

    fn merge(self, other: Keys) -> Keys {
        Keys { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn range(self) -> Range {
        if self.min > self.max {
            return Range { min: 0.0, max: 0.0 };
        }
        // The map is its own inverse.
        let value = |key: i32| f32::from_bits(ordered(key as u32) as u32);
        Range { min: value(self.min), max: value(self.max) }
    }
}

/// F32 bits → an integer that orders as the value does (−NaN < −∞ < … < −0 < +0 < … < ∞ < NaN).
#[inline(always)]
fn ordered(bits: u32) -> i32 {
    let bits = bits as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_that_of_the_finite_values_in_any_order() {
        let range = |v: &[f32]| Keys::of(v).range();
        assert_eq!(range(&[3.0, -7.5, 0.0, 1e-40]), Range { min: -7.5, max: 3.0 });
        assert_eq!(range(&[f32::NAN, 2.0, f32::NEG_INFINITY, 1.0]), Range { min: 1.0, max: 2.0 });
        assert_eq!(range(&[-f32::NAN]), Range { min: 0.0, max: 0.0 });
        assert_eq!(range(&[f32::MAX, f32::MIN]).absmax(), f32::MAX);
        assert_eq!(range(&[0.0, -0.0]).min.to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn transposing_twice_restores_the_tensor() {
        let v: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(transposed(&v, 4)[..4], [0.0, 4.0, 8.0, 1.0]);
        assert_eq!(transposed(&transposed(&v, 4), 3), v);
    }
}
