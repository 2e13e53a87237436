//! The uncertainty of a mean over a few windows, estimated from more than those few windows.
//!
//! Three windows estimate the variance of a window's mean with two degrees of freedom. Student's quantile at the level
//! that a sweep of thirty cells needs is then 27 times the normal's. But a window has hundreds of tokens, and a sweep
//! has hundreds of pairs of cells:
//!
//! - Each window is cut into [`PARTS`] stretches. If stretches were independent, the variance of a window's mean would
//!   be w: the variance of the stretches' means over their number, with n · PARTS − 1 degrees of freedom.
//! - Stretches are not independent, since passages differ as wholes. The *design effect* b / w, where b is the variance
//!   of the windows' means, measures this. Every pair of cells gives one estimate of it; together they give its typical
//!   size, and how much pairs really differ in it.
//! - The variance of a pair is the weighted mean of b, with its n − 1 degrees of freedom, and of w times the design
//!   effect, with ν. ν is small where pairs differ more in their design effect than chance explains. It is never more
//!   than the degrees of freedom of w.
//!
//! What pairs have in common steadies the variance and buys no degrees of freedom: all pairs see the same windows, and if
//! those happen to be alike, b is too small for all of them at once. So the quantile is that of n windows, n − 1.
//!
//! # Source
//! Moderated t: Smyth, *Linear models and empirical Bayes methods…*, Stat. Appl. Genet. Mol. Biol. 3 (2004), sections
//! 6.1 and 6.2; here w takes the place of the prior, as a trend does in Law et al. (Genome Biol. 15, 2014). Design
//! effect: Kish, *Survey Sampling* (1965), chapter 5.

use statrs::function::gamma::digamma;

/// The number of stretches that a window is cut into.
pub const PARTS: usize = 5;

/// The values of one cell over the tokens of one window, summarized as means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkSample {
    mean: f64,
    /// The means of the stretches of the window, in order; `None` for a window with fewer tokens than stretches.
    parts: Option<[f64; PARTS]>,
}

impl ChunkSample {
    /// The sample of a window whose tokens have these values, in order. Its mean is NaN when there are no values.
    pub fn of(values: &[f64]) -> ChunkSample {
        let mean = |values: &[f64]| crate::sum(values) / values.len() as f64;
        let part = |i: usize| mean(&values[i * values.len() / PARTS..(i + 1) * values.len() / PARTS]);
        ChunkSample { mean: mean(values), parts: (values.len() >= PARTS).then(|| std::array::from_fn(part)) }
    }

    /// The mean over all tokens of the window, in the unit of the values.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.mean.is_finite()
    }

    /// Whether all values are zero, as far as the means of stretches show.
    pub(crate) fn is_zero(&self) -> bool {
        self.mean == 0.0 && self.parts.is_none_or(|parts| parts.iter().all(|part| *part == 0.0))
    }

    /// This sample minus `share` times another.
    pub(crate) fn less(&self, other: &ChunkSample, share: f64) -> ChunkSample {
        let parts = self.parts.zip(other.parts);
        ChunkSample {
            mean: self.mean - share * other.mean,
            parts: parts.map(|(x, y)| std::array::from_fn(|i| x[i] - share * y[i])),
        }
    }
}

/// What n windows say about a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) n: f64,
    pub(crate) mean: f64,
    /// The variance of the windows' means, with n − 1 degrees of freedom.
    pub(crate) between: f64,
    /// The same variance if stretches were independent, with n · PARTS − 1 degrees of freedom; 0 where there are no
    /// stretches.
    pub(crate) within: f64,
}

impl Spread {
    /// The spread of these windows. Sums run in the order given.
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

/// The smallest number of spreads that shows how much they differ.
const FEWEST: usize = 3;

/// What many spreads over the same windows show about each of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moderation {
    /// The number of degrees of freedom of a variance between windows.
    df_between: f64,
    /// The number of degrees of freedom ν of the common design effect; 0 means that every spread is used alone.
    df_common: f64,
    /// The typical value of b / w, at least 1.
    design_effect: f64,
}

impl Moderation {
    /// Learns the moderation from spreads over the same number of windows.
    pub(crate) fn of(spreads: &[Spread]) -> Moderation {
        let n = spreads.first().map_or(0.0, |spread| spread.n);
        let (df_between, df_within) = (n - 1.0, n * PARTS as f64 - 1.0);
        let alone = Moderation { df_between, df_common: 0.0, design_effect: 1.0 };
        let told = spreads.iter().filter(|spread| spread.between > 0.0 && spread.within > 0.0);
        // The mean of ln F for a design effect of 1 (Smyth's e).
        let centre = |df: f64| digamma(df / 2.0) - libm::log(df / 2.0);
        let logs =
            told.map(|spread| libm::log(spread.between / spread.within) - centre(df_between) + centre(df_within));
        if df_between < 1.0 || logs.clone().count() < FEWEST {
            return alone;
        }
        let (mean, variance) = mean_and_variance(logs);
        let by_chance = trigamma(df_between / 2.0) + trigamma(df_within / 2.0);
        let df = 2.0 * trigamma_inverse(variance - by_chance);
        let shift = if df.is_finite() { centre(df) } else { 0.0 };
        Moderation { df_between, df_common: df.min(df_within), design_effect: libm::exp(mean + shift).max(1.0) }
    }

    /// The number of degrees of freedom of [`deviation`](Self::deviation): those of the windows.
    pub(crate) fn df(&self) -> f64 {
        self.df_between
    }

    /// The standard deviation of a window's mean, in the unit of the values.
    pub(crate) fn deviation(&self, spread: &Spread) -> f64 {
        // Without stretches, or with equal ones, a spread has only its own variance.
        if spread.within == 0.0 {
            return spread.between.sqrt();
        }
        let common = self.design_effect * spread.within;
        let (own, shared) = (self.df_between, self.df_common);
        ((own * spread.between + shared * common) / (own + shared)).sqrt()
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

/// The x with ψ′(x) = y; infinite for y ≤ 0.
fn trigamma_inverse(y: f64) -> f64 {
    if y.is_nan() || y <= 0.0 {
        return f64::INFINITY;
    }
    // ψ′ falls from ∞ to 0; halving the exponent finds an x of any size.
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
        assert_eq!((moderation.df(), moderation.df_common), (4.0, 24.0));
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
