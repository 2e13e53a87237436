//! Clipping: the choice of the range that the scale of a group covers. Values beyond it are clamped to the format's
//! largest value.

use super::kernel::AnyKernel;
use crate::format::group::{Places, Range, RangeOverflow};
use crate::scheme::Clip;
use rayon::prelude::*;

/// The number of fractions of the greatest magnitude that [`Clip::Mse`] tries.
pub(crate) const CANDIDATES: u32 = 100;

/// The size of a group from which on its candidates are spread over threads.
const LARGE: usize = 1 << 15;

impl Clip {
    /// The range that this rule chooses for one group: the same bits for any number of threads.
    ///
    /// # Errors
    /// When a range that is tried has no scale.
    pub(crate) fn range(self, kernel: &dyn AnyKernel, values: &[f32], at: Places) -> Result<Range, RangeOverflow> {
        let all = Range::of(values);
        match self {
            Clip::Absmax => Ok(all),
            Clip::Quantile(percent) => Ok(all.within(percentile(values, percent))),
            Clip::Mse => {
                let mut errors = [0.0; CANDIDATES as usize];
                add_squared_errors(kernel, all, 1, values, at, &mut errors)?;
                let mut best = Best::default();
                (1..).zip(errors).for_each(|(k, error)| best.try_one(k, error));
                Ok(candidate(all, best.k))
            }
        }
    }
}

/// The `k`-th range that [`Clip::Mse`] tries, with `k` from 1 to [`CANDIDATES`].
pub(crate) fn candidate(all: Range, k: u32) -> Range {
    let share = k as f32 / CANDIDATES as f32;
    Range { min: all.min * share, max: all.max * share }
}

/// The candidate with the least error so far. Candidates are tried in ascending order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    error: f64,
    pub(crate) k: u32,
}

impl Default for Best {
    fn default() -> Self {
        Best { error: f64::INFINITY, k: CANDIDATES }
    }
}

impl Best {
    /// Takes in the error of candidate `k`. Of two with the same error the greater wins.
    pub(crate) fn try_one(&mut self, k: u32, error: f64) {
        if error <= self.error {
            *self = Best { error, k };
        }
    }
}

/// Adds to `errors[i]` the squared error of `values` under candidate `first + i`. `values` are some or all of a group
/// whose whole range is `all`.
///
/// # Errors
/// When a candidate has no scale.
pub(crate) fn add_squared_errors(
    kernel: &dyn AnyKernel,
    all: Range,
    first: u32,
    values: &[f32],
    at: Places,
    errors: &mut [f64],
) -> Result<(), RangeOverflow> {
    let add = |(i, error): (usize, &mut f64)| {
        *error = kernel.squared_error(candidate(all, first + i as u32), values, at, *error)?;
        Ok(())
    };
    match values.len() {
        LARGE.. => errors.par_iter_mut().enumerate().map(add).collect::<Vec<_>>().into_iter().collect(),
        _ => errors.iter_mut().enumerate().try_for_each(add),
    }
}

/// The percentile of the magnitudes by nearest rank, so that it is one of them; 0 when there are none.
fn percentile(values: &[f32], percent: f64) -> f32 {
    let mut magnitudes: Vec<f32> = values.iter().filter(|x| x.is_finite()).map(|x| x.abs()).collect();
    match rank(percent, magnitudes.len()) {
        None => 0.0,
        Some(index) => *magnitudes.select_nth_unstable_by(index, f32::total_cmp).1,
    }
}

/// The index, from 0, of the percentile among `n` values in ascending order; `None` when `n` is 0.
pub(crate) fn rank(percent: f64, n: usize) -> Option<usize> {
    let rank = (percent / 100.0 * n as f64).ceil() as usize;
    (n > 0).then(|| rank.clamp(1, n) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ScaleFormat;
    use crate::format::integer::Symmetric;
    use crate::format::rounding::NearestEven;

    #[test]
    fn a_percentile_is_the_magnitude_at_the_nearest_rank() {
        let values = [4.0, -1.0, f32::NAN, 3.0, -2.0, 0.0];
        for (percent, wanted) in [(100.0, 4.0), (80.0, 3.0), (80.1, 4.0), (20.0, 0.0), (1e-9, 0.0)] {
            assert_eq!(percentile(&values, percent), wanted, "p{percent}");
        }
        assert_eq!(percentile(&[f32::NAN], 50.0), 0.0);
    }

    #[test]
    fn mse_gives_up_an_outlier_that_costs_the_others_more() {
        // 1000 values at ±1 and one at 4: with three levels the ones are lost unless the four is clamped.
        let mut values = vec![1.0f32; 1000];
        values.push(4.0);
        let kernel = Symmetric::new(2, ScaleFormat::F32, NearestEven);
        let range = Clip::Mse.range(&kernel, &values, Places::contiguous(0)).unwrap();
        // Σ = 1000·(1 − c)² + (4 − c)², least at c = 1004/1001 = 1.003; in steps of 0.04: 1.00.
        assert_eq!(range.absmax(), 1.0);
    }

    #[test]
    fn mse_keeps_the_whole_range_of_values_that_are_all_levels() {
        let values: Vec<f32> = (-7..=7).map(|q| q as f32 * 0.5).collect();
        let kernel = Symmetric::new(4, ScaleFormat::F32, NearestEven);
        assert_eq!(Clip::Mse.range(&kernel, &values, Places::contiguous(0)).unwrap().absmax(), 3.5);
    }
}
