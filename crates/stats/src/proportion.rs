//! Intervals and tests for shares of right answers.

use statrs::distribution::{Binomial, DiscreteCDF};

/// The number of standard deviations to either side that contain 95 % of a normal distribution, as in llama-perplexity.
pub const Z_95: f64 = 1.959_963_984_54;

/// The share of trials that succeeded, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proportion {
    /// The number of trials that succeeded.
    pub hits: usize,
    /// The number of all trials.
    pub n: usize,
    /// The share hits / n; NaN when there are no trials.
    pub share: f64,
    /// The lower end of Wilson's interval.
    pub low: f64,
    /// The upper end of Wilson's interval.
    pub high: f64,
}

impl Proportion {
    /// The share of `true` among trials.
    pub fn of(trials: &[bool]) -> Proportion {
        let (hits, n) = (trials.iter().filter(|right| **right).count(), trials.len());
        let (low, high) = wilson(hits, n, Z_95);
        Proportion { hits, n, share: hits as f64 / n as f64, low, high }
    }
}

/// The same trials under two conditions, a reference and a variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedOutcomes {
    /// The number of trials that succeeded only under the variant.
    pub gained: usize,
    /// The number of trials that succeeded only under the reference.
    pub lost: usize,
    /// The p value of McNemar's test, exact and two-sided.
    pub p: f64,
}

impl PairedOutcomes {
    /// Compares trial by trial. Trials beyond the end of the shorter list are ignored.
    pub fn of(reference: &[bool], variant: &[bool]) -> PairedOutcomes {
        let pairs = || reference.iter().zip(variant);
        let gained = pairs().filter(|(reference, variant)| !**reference && **variant).count();
        let lost = pairs().filter(|(reference, variant)| **reference && !**variant).count();
        PairedOutcomes { gained, lost, p: mcnemar(gained, lost) }
    }
}

/// Wilson's interval for a share of `hits` in `n` trials, `z` standard deviations to either side; 0 to 1 when there are
/// no trials.
///
/// # Source
/// Wilson 1927, "Probable inference, the law of succession, and statistical inference".
pub fn wilson(hits: usize, n: usize, z: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (p, n) = (hits as f64 / n as f64, n as f64);
    let zz = z * z / n;
    let half = z * (p * (1.0 - p) / n + zz / (4.0 * n)).sqrt();
    ((p + zz / 2.0 - half) / (1.0 + zz), (p + zz / 2.0 + half) / (1.0 + zz))
}

/// The p value of McNemar's exact two-sided test: the probability of a split at least as uneven as `gained` and `lost`
/// when either outcome is equally likely. It is 1 when both are 0.
///
/// # Source
/// McNemar 1947; the exact form is the sign test.
pub fn mcnemar(gained: usize, lost: usize) -> f64 {
    let fewer = gained.min(lost) as u64;
    match Binomial::new(0.5, (gained + lost) as u64) {
        Ok(split) if gained + lost > 0 => (2.0 * split.cdf(fewer)).min(1.0),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilsons_interval_by_hand() {
        // For 10 of 20 and z = 2, the centre is 0.5 and the half width is 2·√(0.25/20 + 0.2/80) / 1.2 = 2·√0.015 / 1.2.
        let (low, high) = wilson(10, 20, 2.0);
        let half = 2.0 * 0.015f64.sqrt() / 1.2;
        assert!((low - (0.5 - half)).abs() < 1e-12 && (high - (0.5 + half)).abs() < 1e-12);
        let (low, high) = wilson(0, 10, 2.0);
        assert!(low.abs() < 1e-12 && high > 0.2);
        assert_eq!(wilson(0, 0, 2.0), (0.0, 1.0));
    }

    /// R's `qnorm(0.975)` is 1.959963984540054.
    #[test]
    fn a_proportion_has_wilsons_interval_at_95_percent() {
        let found = Proportion::of(&[true, false, true, true]);
        assert_eq!((found.hits, found.n, found.share), (3, 4, 0.75));
        assert_eq!((found.low, found.high), wilson(3, 4, 1.959_963_984_54));
        assert!((Z_95 - 1.959_963_984_540_054).abs() < 1e-12);
    }

    #[test]
    fn paired_outcomes_count_changes_only() {
        let reference = [true, true, false, false, false, false];
        let variant = [true, false, true, true, true, false];
        let found = PairedOutcomes::of(&reference, &variant);
        assert_eq!((found.gained, found.lost), (3, 1));
        // For 1 of 4 the p value is 2·(1 + 4)/16.
        assert!((found.p - 10.0 / 16.0).abs() < 1e-12);
        let turned = PairedOutcomes::of(&variant, &reference);
        assert_eq!((turned.gained, turned.lost, turned.p), (1, 3, found.p));
    }

    #[test]
    fn mcnemars_test_by_hand() {
        // For 1 against 5 the p value is 2·(1 + 6)/64.
        assert!((mcnemar(1, 5) - 14.0 / 64.0).abs() < 1e-12);
        assert_eq!(mcnemar(1, 5), mcnemar(5, 1));
        assert_eq!((mcnemar(0, 0), mcnemar(3, 3)), (1.0, 1.0));
    }
}
