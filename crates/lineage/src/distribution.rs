//! How a tensor's values are spread, and which of its rows say nothing or say the same.

use crate::grid::CHUNK;
use rayon::prelude::*;
use std::cmp::Ordering;

/// A value is an outlier beyond this many standard deviations from the mean.
pub const OUTLIER_SIGMAS: f64 = 6.0;

/// The spread of all finite values of one tensor, exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// Finite values.
    pub n: u64,
    /// Least value.
    pub min: f32,
    /// Greatest value.
    pub max: f32,
    /// Greatest magnitude.
    pub absmax: f32,
    /// Mean.
    pub mean: f64,
    /// Standard deviation of these values (divided by n), in their unit.
    pub std: f64,
    /// Fourth central moment over the square of the second: 3 for a normal distribution. 0 where all are equal.
    pub kurtosis: f64,
    /// Values beyond [`OUTLIER_SIGMAS`] from the mean.
    pub outliers: u64,
    /// Rows.
    pub rows: u64,
    /// Rows with the bits of an earlier row.
    pub duplicate_rows: u64,
    /// Rows of zeros alone; all but the first are duplicates as well, if their signs agree.
    pub zero_rows: u64,
}

/// The spread of `values`, `[n / n_per_row][n_per_row]`; `None` where no value is finite.
pub fn distribution(values: &[f32], n_per_row: usize) -> Option<Distribution> {
    let first = Extent::of(values);
    if first.n == 0 {
        return None;
    }
    let mean = first.sum / first.n as f64;
    let (m2, m4) = central_moments(values, mean);
    let (variance, fourth) = (m2 / first.n as f64, m4 / first.n as f64);
    let std = variance.sqrt();
    let beyond = OUTLIER_SIGMAS * std;
    let rows = values.chunks(n_per_row.max(1)).len() as u64;
    Some(Distribution {
        n: first.n,
        min: first.min,
        max: first.max,
        absmax: first.max.abs().max(first.min.abs()),
        mean,
        std,
        kurtosis: if variance > 0.0 { fourth / (variance * variance) } else { 0.0 },
        outliers: count(values, |x| (f64::from(x) - mean).abs() > beyond && std > 0.0),
        rows,
        duplicate_rows: duplicate_rows(values, n_per_row.max(1)),
        zero_rows: values.par_chunks(n_per_row.max(1)).filter(|row| row.iter().all(|x| *x == 0.0)).count() as u64,
    })
}

struct Extent {
    n: u64,
    sum: f64,
    min: f32,
    max: f32,
}

impl Extent {
    /// Parts in parallel, their sums added in order, so that threads do not show.
    fn of(values: &[f32]) -> Extent {
        let none = || Extent { n: 0, sum: 0.0, min: f32::INFINITY, max: f32::NEG_INFINITY };
        let parts: Vec<Extent> = values
            .par_chunks(CHUNK)
            .map(|part| {
                part.iter().filter(|x| x.is_finite()).fold(none(), |e, &x| Extent {
                    n: e.n + 1,
                    sum: e.sum + f64::from(x),
                    min: e.min.min(x),
                    max: e.max.max(x),
                })
            })
            .collect();
        parts.into_iter().fold(none(), |a, b| Extent {
            n: a.n + b.n,
            sum: a.sum + b.sum,
            min: a.min.min(b.min),
            max: a.max.max(b.max),
        })
    }
}

/// Σ (x − mean)² and Σ (x − mean)⁴.
fn central_moments(values: &[f32], mean: f64) -> (f64, f64) {
    let parts: Vec<(f64, f64)> = values
        .par_chunks(CHUNK)
        .map(|part| {
            part.iter().filter(|x| x.is_finite()).fold((0.0, 0.0), |(m2, m4), &x| {
                let square = (f64::from(x) - mean) * (f64::from(x) - mean);
                (m2 + square, m4 + square * square)
            })
        })
        .collect();
    parts.into_iter().fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
}

fn count(values: &[f32], is: impl Fn(f32) -> bool + Sync) -> u64 {
    values.par_chunks(CHUNK).map(|part| part.iter().filter(|x| x.is_finite() && is(**x)).count() as u64).sum()
}

fn duplicate_rows(values: &[f32], n_per_row: usize) -> u64 {
    let row = |i: usize| &values[i * n_per_row..((i + 1) * n_per_row).min(values.len())];
    let mut order: Vec<(u64, usize)> =
        values.par_chunks(n_per_row).enumerate().map(|(i, row)| (fingerprint(row), i)).collect();
    // Rows of one fingerprint are then compared bit by bit, so a collision costs time and nothing else.
    order.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| compare_bits(row(a.1), row(b.1))));
    order.windows(2).filter(|w| w[0].0 == w[1].0 && compare_bits(row(w[0].1), row(w[1].1)).is_eq()).count() as u64
}

fn compare_bits(a: &[f32], b: &[f32]) -> Ordering {
    a.iter().map(|x| x.to_bits()).cmp(b.iter().map(|x| x.to_bits()))
}

/// FNV-1a over whole values.
fn fingerprint(row: &[f32]) -> u64 {
    row.iter().fold(0xcbf2_9ce4_8422_2325, |h, x| (h ^ u64::from(x.to_bits())).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_of_four_values_are_those_worked_by_hand() {
        let d = distribution(&[1.0, -1.0, 3.0, 5.0], 2).unwrap();
        assert_eq!((d.n, d.min, d.max, d.absmax, d.mean), (4, -1.0, 5.0, 5.0, 2.0));
        // Deviations −1, −3, 1, 3: squares 1 + 9 + 1 + 9, fourth powers 1 + 81 + 1 + 81.
        assert_eq!(d.std, 5f64.sqrt());
        assert!((d.kurtosis - 41.0 / 25.0).abs() < 1e-12);
        assert_eq!((d.rows, d.duplicate_rows, d.zero_rows, d.outliers), (2, 0, 0, 0));
    }

    #[test]
    fn rows_that_repeat_and_rows_of_zeros_are_counted() {
        let d = distribution(&[1.0, 2.0, 0.0, 0.0, 1.0, 2.0, 0.0, -0.0, 1.0, 2.0], 2).unwrap();
        assert_eq!((d.rows, d.duplicate_rows, d.zero_rows), (5, 2, 2), "-0 has other bits than 0");
    }

    #[test]
    fn one_value_far_out_is_an_outlier_and_constants_have_none() {
        let mut values = vec![0.0f32; 1000];
        values.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 2 == 0 { 1.0 } else { -1.0 });
        values[0] = 100.0;
        let d = distribution(&values, 10).unwrap();
        assert_eq!(d.outliers, 1);
        assert!(d.kurtosis > 100.0);
        let constant = distribution(&[0.3; 64], 8).unwrap();
        assert_eq!((constant.outliers, constant.duplicate_rows, constant.kurtosis), (0, 7, 0.0));
    }

    #[test]
    fn values_that_are_not_finite_are_left_out() {
        assert_eq!(distribution(&[f32::NAN, f32::INFINITY], 2), None);
        assert_eq!(distribution(&[], 0), None);
        assert_eq!(distribution(&[f32::NAN, 2.0], 2).map(|d| (d.n, d.min, d.max)), Some((1, 2.0, 2.0)));
    }
}
