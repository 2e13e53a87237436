//! The distribution of a tensor's values, and its rows that are zero or repeat.

use crate::census::StoredPrecision;
use crate::coded::Counted;
use crate::grid::{CHUNK, INFINITY};
use crate::values::{Pieces, TensorValues};
use multiversion::multiversion;
use rayon::prelude::*;

/// The number of standard deviations from the mean beyond which a value is an outlier.
pub const OUTLIER_SIGMAS: f64 = 6.0;

/// The distribution of all finite values of one tensor, exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// The number of finite values.
    pub n: u64,
    /// The least finite value.
    pub min: f32,
    /// The greatest finite value.
    pub max: f32,
    /// The greatest finite magnitude.
    pub absmax: f32,
    /// The mean, in the unit of the values.
    pub mean: f64,
    /// The standard deviation of these values (divided by n), in their unit.
    pub std: f64,
    /// The fourth central moment over the square of the second: 3 for a normal distribution, 0 where all values are
    /// equal.
    pub kurtosis: f64,
    /// The number of values that are more than [`OUTLIER_SIGMAS`] standard deviations from the mean.
    pub outliers: u64,
    /// The number of rows.
    pub rows: u64,
    /// The number of rows with the same bits as an earlier row.
    pub duplicate_rows: u64,
    /// The number of rows that are all zeros. All but the first are also duplicates, if their signs agree.
    pub zero_rows: u64,
}

/// The distribution of `values`, `[n / n_per_row][n_per_row]`; `None` where no value is finite.
pub fn distribution(values: &[f32], n_per_row: usize) -> Option<Distribution> {
    distribution_counted(TensorValues::Restored(values, StoredPrecision::F32), Counted::Each(values), n_per_row)
}

/// [`distribution`] of restored values that are read piece by piece.
pub fn distribution_of_pieces(pieces: &dyn Pieces, n_per_row: usize) -> Option<Distribution> {
    distribution_counted(TensorValues::Pieces(pieces), Counted::Pieces(pieces), n_per_row)
}

/// [`distribution`] of `values` in any storage; `counted` are their counts.
pub(crate) fn distribution_counted(
    values: TensorValues<'_>,
    counted: Counted<'_>,
    n_per_row: usize,
) -> Option<Distribution> {
    let first = Range::of(counted);
    if first.n == 0 {
        return None;
    }
    let mean = first.sum / first.n as f64;
    let (m2, m4) = central_moments(counted, mean);
    let (variance, fourth) = (m2 / first.n as f64, m4 / first.n as f64);
    let std = variance.sqrt();
    let beyond = OUTLIER_SIGMAS * std;
    let is_outlier = |x: f32| x.is_finite() && std > 0.0 && (f64::from(x) - mean).abs() > beyond;
    let outliers = match is_outlier(first.min) || is_outlier(first.max) {
        true => counted.sum_u64(|x, n| [u64::from(is_outlier(x)) * n])[0],
        false => 0,
    };
    let rows = Rows::of(values, n_per_row.max(1));
    Some(Distribution {
        n: first.n,
        min: first.min,
        max: first.max,
        absmax: first.max.abs().max(first.min.abs()),
        mean,
        std,
        kurtosis: if variance > 0.0 { fourth / (variance * variance) } else { 0.0 },
        outliers,
        rows: rows.n,
        duplicate_rows: rows.duplicates,
        zero_rows: rows.zeros,
    })
}

#[derive(Clone, Copy)]
struct Range {
    n: u64,
    sum: f64,
    min: f32,
    max: f32,
}

impl Range {
    const NONE: Range = Range { n: 0, sum: 0.0, min: f32::INFINITY, max: f32::NEG_INFINITY };

    fn of(counted: Counted<'_>) -> Range {
        match counted {
            Counted::Each(_) | Counted::Pieces(_) => {
                let of_part = |part: &[f32]| {
                    let (n, min, max) = least_and_most(part);
                    Range { n: n.into(), sum: 0.0, min, max }
                };
                let (mut range, mut sum) = (Range::NONE, [0.0]);
                counted.each_piece(ABREAST * CHUNK, |values| {
                    range = range.plus(values.par_chunks(CHUNK).map(of_part).reduce(|| Range::NONE, Range::plus));
                    sum = add_sums(sum, values, |x| [x]);
                    true
                });
                Range { sum: sum[0], ..range }
            }
            Counted::Codes(codes) => codes
                .iter()
                .filter(|(x, _)| x.is_finite())
                .fold(Range::NONE, |r, &(x, n)| r.plus(Range { n, sum: f64::from(x) * n as f64, min: x, max: x })),
        }
    }

    fn plus(self, other: Range) -> Range {
        Range {
            n: self.n + other.n,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// The number of finite values among at most [`CHUNK`] values, and the least and the greatest of them.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn least_and_most(values: &[f32]) -> (u32, f32, f32) {
    // As integers that order as the values do: the order of negative floats is reversed.
    let place = |bits: u32| (bits ^ ((bits as i32) >> 31) as u32 >> 1) as i32;
    let (mut n, mut least, mut most) = (0, i32::MAX, i32::MIN);
    for x in values {
        let bits = x.to_bits();
        let finite = bits & 0x7fff_ffff < INFINITY;
        n += u32::from(finite);
        least = least.min(if finite { place(bits) } else { i32::MAX });
        most = most.max(if finite { place(bits) } else { i32::MIN });
    }
    let value = |place: i32| f32::from_bits((place ^ ((place >> 31) as u32 >> 1) as i32) as u32);
    match n {
        0 => (0, f32::INFINITY, f32::NEG_INFINITY),
        // −0 becomes 0.
        _ => (n, value(least) + 0.0, value(most) + 0.0),
    }
}

/// The sums Σ (x − mean)² and Σ (x − mean)⁴ over the finite values.
fn central_moments(counted: Counted<'_>, mean: f64) -> (f64, f64) {
    let squared = |x: f64| (x - mean) * (x - mean);
    let [m2, m4] = match counted {
        Counted::Each(_) | Counted::Pieces(_) => {
            let mut moments = [0.0; 2];
            counted.each_piece(ABREAST * CHUNK, |values| {
                moments = add_sums(moments, values, |x| [squared(x), squared(x) * squared(x)]);
                true
            });
            moments
        }
        Counted::Codes(codes) => codes.iter().filter(|(x, _)| x.is_finite()).fold([0.0; 2], |sums, &(x, n)| {
            let (square, n) = (squared(x.into()), n as f64);
            plus(sums, [n * square, n * square * square])
        }),
    };
    (m2, m4)
}

/// The number of parts that are summed side by side: one after the other, every addition would wait for the one before.
const ABREAST: usize = 8;

/// Adds `of` over the finite values to `sum`: in order within each part of [`CHUNK`] values, and then the parts in order.
/// So neither threads nor vectors nor pieces change the last digit.
fn add_sums<const N: usize>(sum: [f64; N], values: &[f32], of: impl Fn(f64) -> [f64; N] + Sync) -> [f64; N] {
    let several = |values: &[f32]| -> Vec<[f64; N]> {
        match values.len() == ABREAST * CHUNK {
            true => sum_abreast(values, &of).to_vec(),
            false => values.chunks(CHUNK).map(|part| sum_part(part, &of)).collect(),
        }
    };
    let parts: Vec<Vec<[f64; N]>> = values.par_chunks(ABREAST * CHUNK).map(several).collect();
    parts.into_iter().flatten().fold(sum, plus)
}

fn plus<const N: usize>(mut sum: [f64; N], more: [f64; N]) -> [f64; N] {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    sum
}

/// What one value adds to the sums: nothing where it is not finite.
#[inline(always)]
fn term<const N: usize>(x: f32, of: &impl Fn(f64) -> [f64; N]) -> [f64; N] {
    let terms = of(x.into());
    if x.is_finite() { terms } else { [0.0; N] }
}

fn sum_part<const N: usize>(part: &[f32], of: &impl Fn(f64) -> [f64; N]) -> [f64; N] {
    part.iter().fold([0.0; N], |sum, &x| plus(sum, term(x, of)))
}

/// [`sum_part`] of each of [`ABREAST`] parts of [`CHUNK`] values.
fn sum_abreast<const N: usize>(values: &[f32], of: &impl Fn(f64) -> [f64; N]) -> [[f64; N]; ABREAST] {
    let parts: [&[f32]; ABREAST] = std::array::from_fn(|i| &values[i * CHUNK..(i + 1) * CHUNK]);
    let mut sums = [[0.0; N]; ABREAST];
    for i in 0..CHUNK {
        for (sum, part) in sums.iter_mut().zip(&parts) {
            *sum = plus(*sum, term(part[i], of));
        }
    }
    sums
}

/// Counts of rows that are zero, or that repeat an earlier one.
struct Rows {
    n: u64,
    duplicates: u64,
    zeros: u64,
}

impl Rows {
    fn of(values: TensorValues<'_>, n_per_row: usize) -> Rows {
        let mut looked_at: Vec<(u64, bool)> = Vec::new();
        values.each_piece(n_per_row, |piece| {
            let (bytes, size, magnitude) = stored_bytes(piece);
            let rows = bytes.par_chunks(size.saturating_mul(n_per_row).max(1));
            looked_at.par_extend(rows.map(|row| fingerprint(row, magnitude)));
            true
        });
        let zeros = looked_at.iter().filter(|(_, is_zero)| *is_zero).count() as u64;
        let order: Vec<(u64, usize)> = looked_at.iter().zip(0..).map(|((print, _), i)| (*print, i)).collect();
        let n = order.len() as u64;
        let duplicates = match values {
            TensorValues::Pieces(pieces) => duplicates_in_pieces(pieces, n_per_row, order),
            _ => duplicates_in_memory(values, n_per_row, order),
        };
        Rows { n, duplicates, zeros }
    }
}

/// The bytes of values in memory, the number of bytes of each, and a mask for eight bytes that leaves out the signs.
/// Values that are not in memory have none.
fn stored_bytes(values: TensorValues<'_>) -> (&[u8], usize, u64) {
    match values {
        TensorValues::Restored(values, _) => (bytemuck::cast_slice(values), 4, 0x7fff_ffff_7fff_ffff),
        TensorValues::F16(bytes) | TensorValues::Bf16(bytes) => {
            (&bytes[..bytes.len() / 2 * 2], 2, 0x7fff_7fff_7fff_7fff)
        }
        TensorValues::Pieces(_) => (&[], 1, 0),
    }
}

/// The number of rows that repeat an earlier one; `order` are the fingerprints and places of all rows. Rows with the same
/// fingerprint are compared byte by byte, so that a collision costs only time.
fn duplicates_in_memory(values: TensorValues<'_>, n_per_row: usize, mut order: Vec<(u64, usize)>) -> u64 {
    let (bytes, size, _) = stored_bytes(values);
    let row_size = size.saturating_mul(n_per_row);
    let row = |i: usize| &bytes[i * row_size..((i + 1) * row_size).min(bytes.len())];
    order.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| row(a.1).cmp(row(b.1))));
    order.windows(2).filter(|w| w[0].0 == w[1].0 && row(w[0].1) == row(w[1].1)).count() as u64
}

/// [`duplicates_in_memory`] of a tensor that is not in memory: rows with the same fingerprint are read again.
fn duplicates_in_pieces(pieces: &dyn Pieces, n_per_row: usize, mut order: Vec<(u64, usize)>) -> u64 {
    order.par_sort_unstable();
    let mut duplicates = 0;
    for alike in order.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
        // Nearly always one row and its copies.
        let mut different: Vec<Vec<u8>> = Vec::new();
        for &(_, row) in alike {
            let start = row * n_per_row;
            pieces.look(start..(start + n_per_row).min(pieces.n()), &mut |values| {
                let (bytes, ..) = stored_bytes(values);
                match different.iter().any(|known| known == bytes) {
                    true => duplicates += 1,
                    false => different.push(bytes.to_vec()),
                }
            });
        }
    }
    duplicates
}

/// A hash of a row, and whether every value of it is ±0. The hash is FNV-1a over eight bytes at a time, in four lanes
/// that do not wait for each other.
fn fingerprint(row: &[u8], magnitude: u64) -> (u64, bool) {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut lanes = [0xcbf2_9ce4_8422_2325u64, 1, 2, 3];
    let mut any = 0;
    let mut eat = |lane: &mut u64, word: u64| {
        any |= word & magnitude;
        *lane = (*lane ^ word).wrapping_mul(PRIME);
    };
    let word = |bytes: &[u8]| {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(eight)
    };
    let mut fours = row.chunks_exact(32);
    for four in &mut fours {
        lanes.iter_mut().zip(four.chunks_exact(8)).for_each(|(lane, bytes)| eat(lane, word(bytes)));
    }
    fours.remainder().chunks(8).for_each(|bytes| eat(&mut lanes[0], word(bytes)));
    // The high bits of a product depend on all bits below; the shift brings them down again.
    let print = lanes.iter().fold(row.len() as u64, |print, lane| (print ^ lane ^ (lane >> 29)).wrapping_mul(PRIME));
    (print, any == 0)
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
    fn sums_side_by_side_have_the_bits_of_one_value_after_the_other() {
        let value = |i: usize| f32::from_bits((i as u32).wrapping_mul(2_654_435_761) & 0xbfff_ffff);
        let mut values: Vec<f32> = (0..(ABREAST + 1) * CHUNK + 77).map(value).collect();
        values[5] = f32::NAN;
        values[CHUNK + 1] = f32::NEG_INFINITY;
        let d = distribution(&values, 1000).unwrap();
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        let (least, most) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        assert_eq!((d.n, d.min, d.max), (finite().count() as u64, least, most));
        let parts = |of: &dyn Fn(f64) -> f64| {
            let of_part = |part: &[f32]| part.iter().filter(|x| x.is_finite()).fold(0.0, |sum, &x| sum + of(x.into()));
            values.chunks(CHUNK).map(of_part).fold(0.0, |sum, part| sum + part)
        };
        let mean = parts(&|x| x) / d.n as f64;
        let variance = parts(&|x| (x - mean) * (x - mean)) / d.n as f64;
        assert_eq!((d.mean, d.std), (mean, variance.sqrt()));
        assert_eq!(distribution(&[0.0, -0.0], 2).map(|d| (d.min.to_bits(), d.max.to_bits())), Some((0, 0)));
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
