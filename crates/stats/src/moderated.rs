//! How far the mean of a few chunks may be from that of all, said with more than those few.
//!
//! Three chunks tell the variance of a chunk's mean with two degrees of freedom, and Student's quantile at the level that a sweep
//! of thirty needs is then 27 times the normal's. But a chunk has hundreds of tokens, and a sweep hundreds of pairs of cells:
//!
//! - each chunk is cut into [`PARTS`] stretches; if they were independent, the variance of a chunk's mean would be w, their
//!   variance over their number, with n · PARTS − 1 degrees of freedom;
//! - they are not: passages differ as wholes. The *design effect* b / w, where b is the variance of the chunks' means, says how
//!   much, and every pair tells it: its typical size, and how far pairs really differ in it;
//! - the variance of a pair is b with its n − 1 degrees of freedom and w times the design effect with ν, weighted by them. ν is small
//!   where pairs differ more in their design effect than chance alone would have it, and never more than w itself has.
//!
//! # Source
//! Moderated t: Smyth, *Linear models and empirical Bayes methods…*, Stat. Appl. Genet. Mol. Biol. 3 (2004), sections 6.1 and 6.2,
//! here with w for the prior's place as Law et al. (Genome Biol. 15, 2014) have a trend; design effect: Kish, *Survey Sampling*
//! (1965), chapter 5.

use statrs::function::gamma::digamma;

/// Stretches of a chunk.
pub const PARTS: usize = 5;

/// One cell's values over the tokens of one chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkSample {
    mean: f64,
    /// Means of stretches of the chunk, in order; `None` for a chunk of fewer tokens.
    parts: Option<[f64; PARTS]>,
}

impl ChunkSample {
    /// Of the values of a chunk's tokens, in their order; the mean of none is NaN.
    pub fn of(values: &[f64]) -> ChunkSample {
        let mean = |values: &[f64]| crate::sum(values) / values.len() as f64;
        let part = |i: usize| mean(&values[i * values.len() / PARTS..(i + 1) * values.len() / PARTS]);
        ChunkSample { mean: mean(values), parts: (values.len() >= PARTS).then(|| std::array::from_fn(part)) }
    }

    /// Mean over all tokens.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.mean.is_finite()
    }

    /// Nothing but zeros, as far as parts tell.
    pub(crate) fn is_zero(&self) -> bool {
        self.mean == 0.0 && self.parts.is_none_or(|parts| parts.iter().all(|part| *part == 0.0))
    }

    /// Less `share` of another's.
    pub(crate) fn less(&self, other: &ChunkSample, share: f64) -> ChunkSample {
        let parts = self.parts.zip(other.parts);
        ChunkSample {
            mean: self.mean - share * other.mean,
            parts: parts.map(|(x, y)| std::array::from_fn(|i| x[i] - share * y[i])),
        }
    }
}

/// What n chunks say of a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) n: f64,
    pub(crate) mean: f64,
    /// Variance of the chunks' means, n − 1 degrees of freedom.
    pub(crate) between: f64,
    /// What it would be if parts were independent, n · PARTS − 1 degrees of freedom; 0 where nothing is known of parts.
    pub(crate) within: f64,
}

impl Spread {
    /// Sums run in the order given.
    pub(crate) fn of(chunks: impl Iterator<Item = ChunkSample> + Clone) -> Spread {
        let n = chunks.clone().count() as f64;
        let (mean, between) = mean_and_variance(chunks.clone().map(|chunk| chunk.mean));
        let of_parts = chunks.clone().all(|chunk| chunk.parts.is_some());
        let parts = chunks.flat_map(|chunk| chunk.parts.unwrap_or_default());
        let within = if of_parts { mean_and_variance(parts).1 / PARTS as f64 } else { 0.0 };
        Spread { n, mean, between, within }
    }
}

fn mean_and_variance(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().fold(0.0, |total, x| total + x) / n;
    let squares = values.fold(0.0, |total, x| total + (x - mean).powi(2));
    (mean, squares / (n - 1.0).max(1.0))
}

/// Fewer of them say nothing of how they differ.
const FEWEST: usize = 3;

/// What many spreads over the same chunks say of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moderation {
    /// Degrees of freedom of a variance between chunks.
    df_between: f64,
    /// ν, of a design effect that is common to all; 0 leaves every spread to itself.
    df_common: f64,
    /// b / w as it is typical, at least 1.
    design_effect: f64,
}

impl Moderation {
    /// Learned from spreads over the same number of chunks.
    pub(crate) fn of(spreads: &[Spread]) -> Moderation {
        let n = spreads.first().map_or(0.0, |spread| spread.n);
        let (df_between, df_within) = (n - 1.0, n * PARTS as f64 - 1.0);
        let alone = Moderation { df_between, df_common: 0.0, design_effect: 1.0 };
        let told = spreads.iter().filter(|spread| spread.between > 0.0 && spread.within > 0.0);
        // ln F less its mean, were the design effect 1 (Smyth's e).
        let centre = |df: f64| digamma(df / 2.0) - (df / 2.0).ln();
        let logs = told.map(|spread| (spread.between / spread.within).ln() - centre(df_between) + centre(df_within));
        if df_between < 1.0 || logs.clone().count() < FEWEST {
            return alone;
        }
        let (mean, variance) = mean_and_variance(logs);
        let by_chance = trigamma(df_between / 2.0) + trigamma(df_within / 2.0);
        let df = 2.0 * trigamma_inverse(variance - by_chance);
        let shift = if df.is_finite() { centre(df) } else { 0.0 };
        Moderation { df_between, df_common: df.min(df_within), design_effect: (mean + shift).exp().max(1.0) }
    }

    /// Degrees of freedom of [`deviation`](Self::deviation).
    pub(crate) fn df(&self) -> f64 {
        self.df_between + self.df_common
    }

    /// Standard deviation of a chunk's mean.
    pub(crate) fn deviation(&self, spread: &Spread) -> f64 {
        // Without parts, or with equal ones, a spread says all there is itself; fewer degrees of freedom than are said would be its.
        if spread.within == 0.0 {
            return spread.between.sqrt();
        }
        let common = self.design_effect * spread.within;
        ((self.df_between * spread.between + self.df_common * common) / self.df()).sqrt()
    }
}

/// ψ′(x) for x > 0, to 1e-12: recurrence up to 20, then the asymptotic series.
///
/// # Source
/// Abramowitz and Stegun, 6.4.6 and 6.4.12.
fn trigamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 20.0 {
        below += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    below + 1.0 / x + y / 2.0 + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y / 30.0)))
}

/// The x of ψ′(x) = y; infinite for y ≤ 0.
fn trigamma_inverse(y: f64) -> f64 {
    if y.is_nan() || y <= 0.0 {
        return f64::INFINITY;
    }
    // ψ′ falls from ∞ to 0; the middle of exponents finds any size.
    let (mut low, mut high) = (1e-6f64, 1e12f64);
    for _ in 0..200 {
        let middle = (low * high).sqrt();
        if trigamma(middle) > y { low = middle } else { high = middle }
    }
    (low * high).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigamma_has_its_known_values_and_its_inverse() {
        let pi_squared = std::f64::consts::PI.powi(2);
        assert!((trigamma(1.0) - pi_squared / 6.0).abs() < 1e-12);
        assert!((trigamma(0.5) - pi_squared / 2.0).abs() < 1e-12);
        for x in [0.01, 0.5, 1.0, 7.3, 1e4] {
            assert!((trigamma_inverse(trigamma(x)) / x - 1.0).abs() < 1e-6, "{x}");
        }
        assert_eq!((trigamma_inverse(0.0), trigamma_inverse(-1.0)), (f64::INFINITY, f64::INFINITY));
    }

    #[test]
    fn a_chunk_is_cut_into_stretches_of_about_equal_length() {
        let values: Vec<f64> = (0..12).map(f64::from).collect();
        let sample = ChunkSample::of(&values);
        assert_eq!(sample.mean(), 5.5);
        // 0 1 | 2 3 | 4 5 6 | 7 8 | 9 10 11
        assert_eq!(sample.parts, Some([0.5, 2.5, 5.0, 7.5, 10.0]));
        assert_eq!(ChunkSample::of(&values[..4]).parts, None);
        assert!(!ChunkSample::of(&[]).is_finite());
    }

    fn spread(between: f64, within: f64) -> Spread {
        Spread { n: 5.0, mean: 0.0, between, within }
    }

    #[test]
    fn spreads_that_agree_lend_each_other_all_that_parts_know() {
        let all: Vec<Spread> = (0..50).map(|i| spread(2.0 + 0.01 * f64::from(i), 1.0)).collect();
        let moderation = Moderation::of(&all);
        assert_eq!(moderation.df(), 4.0 + 24.0);
        // About 2.25, up by the mean of ln χ² with 4 and with 24 degrees of freedom: e^0.270 and e^−0.042.
        assert!((moderation.design_effect - 2.25 * 0.228f64.exp()).abs() < 0.02, "{}", moderation.design_effect);
        let (mine, common) = (all[0].between, moderation.design_effect);
        assert!((moderation.deviation(&all[0]).powi(2) - (4.0 * mine + 24.0 * common) / 28.0).abs() < 1e-12);
    }

    #[test]
    fn spreads_that_differ_far_more_than_chance_are_left_to_themselves() {
        let all: Vec<Spread> = (0..40).map(|i| spread(10f64.powi(i % 9 - 4), 1.0)).collect();
        let moderation = Moderation::of(&all);
        assert!(moderation.df_common < 0.5, "{moderation:?}");
    }

    #[test]
    fn without_parts_or_with_few_spreads_it_is_students_own() {
        for spreads in [vec![spread(2.0, 0.0); 9], vec![spread(2.0, 1.0); 2]] {
            let moderation = Moderation::of(&spreads);
            assert_eq!((moderation.df(), moderation.deviation(&spreads[0])), (4.0, 2f64.sqrt()));
        }
    }
}
