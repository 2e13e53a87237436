//! The mean over tokens with its uncertainty.

/// The number of windows below which the clustered standard error is itself too uncertain to print.
pub const MIN_CHUNKS_FOR_SE: usize = 8;

/// Why an estimate cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// There are no values.
    #[error("no values to estimate from")]
    Empty,
    /// A value is NaN or infinite.
    #[error("value {index} of window {chunk} is not finite")]
    NonFinite {
        /// The number of the window, counted from 0.
        chunk: usize,
        /// The index of the value in its window.
        index: usize,
    },
    /// Two samples that should be paired differ in length.
    #[error("paired samples differ in length: {left} and {right}")]
    Unpaired {
        /// The length of the first sample.
        left: usize,
        /// The length of the second sample.
        right: usize,
    },
}

/// A mean over tokens with its uncertainty, in the unit of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean: Σ values / number of values.
    pub mean: f64,
    /// The standard error with windows as the independent units; `None` below [`MIN_CHUNKS_FOR_SE`] windows.
    pub se: Option<f64>,
    /// The standard error as if all tokens were independent; 0 for a single value.
    pub se_iid: f64,
    /// The number of values.
    pub n: usize,
    /// The number of windows with at least one value.
    pub n_chunks: usize,
}

/// The sum of the values in the order given.
pub fn sum(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |total, &value| total + value)
}

/// The mean over all tokens of `chunks`, `[n_chunks][tokens of that window]`. Windows may differ in length, and empty
/// windows are ignored.
///
/// The clustered error treats the mean as the ratio of two sums over windows, Σ S_c / Σ n_c, and linearises it: `se² =
/// C/(C−1) · Σ (S_c − mean·n_c)² / N²` over the C windows.
///
/// # Errors
/// When there are no values, or one is not finite.
///
/// # Source
/// Cochran, *Sampling Techniques*, 3rd ed., §9.7 (ratio estimate for clusters of unequal size).
pub fn mean<C: AsRef<[f64]>>(chunks: &[C]) -> Result<Mean, StatsError> {
    for (chunk, values) in chunks.iter().enumerate() {
        if let Some(index) = values.as_ref().iter().position(|value| !value.is_finite()) {
            return Err(StatsError::NonFinite { chunk, index });
        }
    }
    let chunks: Vec<&[f64]> = chunks.iter().map(AsRef::as_ref).filter(|values| !values.is_empty()).collect();
    let n: usize = chunks.iter().map(|values| values.len()).sum();
    if n == 0 {
        return Err(StatsError::Empty);
    }
    let totals: Vec<f64> = chunks.iter().map(|values| sum(values)).collect();
    let mean = sum(&totals) / n as f64;

    let n_chunks = chunks.len();
    let se = (n_chunks >= MIN_CHUNKS_FOR_SE).then(|| {
        let squares: Vec<f64> =
            chunks.iter().zip(&totals).map(|(values, total)| (total - mean * values.len() as f64).powi(2)).collect();
        (n_chunks as f64 / (n_chunks - 1) as f64 * sum(&squares)).sqrt() / n as f64
    });
    let deviations: Vec<f64> =
        chunks.iter().flat_map(|values| values.iter()).map(|value| (value - mean).powi(2)).collect();
    let se_iid = if n > 1 { (sum(&deviations) / (n - 1) as f64 / n as f64).sqrt() } else { 0.0 };
    Ok(Mean { mean, se, se_iid, n, n_chunks })
}

/// The differences `variant − reference`, token by token.
///
/// # Errors
/// When the lengths differ, because the two were not measured on the same tokens.
pub fn paired_differences(variant: &[f64], reference: &[f64]) -> Result<Vec<f64>, StatsError> {
    if variant.len() != reference.len() {
        return Err(StatsError::Unpaired { left: variant.len(), right: reference.len() });
    }
    Ok(variant.iter().zip(reference).map(|(v, r)| v - r).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;

    /// The size of two roundings of f64 on numbers of order one.
    const TOLERANCE: f64 = 1e-15;

    #[test]
    fn unequal_chunks_weigh_by_their_tokens() {
        // The totals are 3, 3 and 4 over 2 + 1 + 2 tokens. The mean is 10/5 = 2, not the mean of window means 2.17.
        let estimate = mean(&[vec![1.0, 2.0], vec![3.0], vec![2.0, 2.0]]).expect("finite values");
        assert_eq!(estimate.mean, 2.0);
        // Σ (x − 2)² = 1 + 0 + 1 + 0 + 0 = 2; 2 / 4 / 5 = 0.1.
        assert!((estimate.se_iid - 0.1_f64.sqrt()).abs() < TOLERANCE);
        assert_eq!((estimate.n, estimate.n_chunks, estimate.se), (5, 3, None));
    }

    #[test]
    fn clustered_error_follows_the_ratio_formula_by_hand() {
        // Eight windows: four of one token with value 0, four of two tokens with values 1, 1. N = 12, Σ = 8, mean 2/3.
        // Residuals: 0 − 2/3 and 2 − 4/3 = 2/3: Σ e² = 8 · 4/9 = 32/9. se² = 8/7 · 32/9 / 144.
        let chunks: Vec<Vec<f64>> = (0..8).map(|c| if c % 2 == 0 { vec![0.0] } else { vec![1.0, 1.0] }).collect();
        let estimate = mean(&chunks).expect("finite values");
        let by_hand = (8.0_f64 / 7.0 * 32.0 / 9.0 / 144.0).sqrt();
        assert!((estimate.se.expect("eight chunks") - by_hand).abs() < TOLERANCE);
    }

    #[test]
    fn seven_chunks_give_no_clustered_error_and_eight_do() {
        let chunks: Vec<Vec<f64>> = (0..8).map(|c| vec![f64::from(c)]).collect();
        assert_eq!(mean(&chunks[..7]).expect("finite").se, None);
        assert!(mean(&chunks).expect("finite").se.is_some());
    }

    #[test]
    fn empty_chunks_do_not_count_as_chunks() {
        let mut chunks: Vec<Vec<f64>> = (0..7).map(|c| vec![f64::from(c)]).collect();
        chunks.push(vec![]);
        let estimate = mean(&chunks).expect("finite");
        assert_eq!((estimate.n_chunks, estimate.se), (7, None));
    }

    #[test]
    fn nothing_and_non_finite_values_are_refused_with_their_place() {
        assert_eq!(mean::<Vec<f64>>(&[]), Err(StatsError::Empty));
        assert_eq!(mean(&[Vec::<f64>::new()]), Err(StatsError::Empty));
        assert_eq!(mean(&[vec![1.0], vec![2.0, f64::NAN]]), Err(StatsError::NonFinite { chunk: 1, index: 1 }));
    }

    #[test]
    fn differences_need_the_same_tokens() {
        assert_eq!(paired_differences(&[1.0, 2.5], &[0.5, 2.5]), Ok(vec![0.5, 0.0]));
        assert_eq!(paired_differences(&[1.0], &[]), Err(StatsError::Unpaired { left: 1, right: 0 }));
    }

    /// The sum of twelve uniform numbers minus 6, which has mean 0 and variance 1 and is nearly normal.
    fn normal(rng: &mut SplitMix64) -> f64 {
        (0..12).map(|_| rng.next_unit()).sum::<f64>() - 6.0
    }

    #[test]
    fn clustered_interval_covers_where_the_iid_interval_does_not() {
        // Tokens share their window's level, with correlation 0.2 within a window. The true mean is 0, and 40 windows
        // have 20–39 tokens each.
        let mut noise = SplitMix64::new(1);
        let (mut clustered, mut iid) = (0, 0);
        const RUNS: usize = 1_000;
        for _ in 0..RUNS {
            let chunks: Vec<Vec<f64>> = (0..40)
                .map(|c| {
                    let level = 0.5 * normal(&mut noise);
                    (0..20 + c % 20).map(|_| level + normal(&mut noise)).collect()
                })
                .collect();
            let estimate = mean(&chunks).expect("finite");
            // 2.02 is Student's t at 97.5 % with 39 degrees of freedom.
            clustered += usize::from(estimate.mean.abs() < 2.02 * estimate.se.expect("40 chunks"));
            iid += usize::from(estimate.mean.abs() < 2.02 * estimate.se_iid);
        }
        // The binomial spread of 1,000 runs at 0.95 is 0.007: three of them to either side, and the formula's
        // small-sample bias.
        assert!((920..=975).contains(&clustered), "clustered interval covered {clustered} of {RUNS}");
        assert!(iid < 700, "i.i.d. interval covered {iid} of {RUNS}: the simulation has no clustering to find");
    }
}
