//! Shares of right answers: intervals and tests.

use statrs::distribution::{Binomial, DiscreteCDF};

/// Wilson's interval for a share of `hits` in `n` trials, `z` standard deviations to either side; 0 to 1 for no trial.
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

/// The p-value of McNemar's exact two-sided test: the chance of a split as uneven as `gained` and `lost`, or more so,
/// when either is equally likely. 1 when both are 0.
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
        // 10 of 20, z = 2: centre 0.5; half width 2·√(0.25/20 + 0.2/80) / 1.2 = 2·√0.015 / 1.2.
        let (low, high) = wilson(10, 20, 2.0);
        let half = 2.0 * 0.015f64.sqrt() / 1.2;
        assert!((low - (0.5 - half)).abs() < 1e-12 && (high - (0.5 + half)).abs() < 1e-12);
        let (low, high) = wilson(0, 10, 2.0);
        assert!(low.abs() < 1e-12 && high > 0.2);
        assert_eq!(wilson(0, 0, 2.0), (0.0, 1.0));
    }

    #[test]
    fn mcnemars_test_by_hand() {
        // 1 against 5: 2·(1 + 6)/64.
        assert!((mcnemar(1, 5) - 14.0 / 64.0).abs() < 1e-12);
        assert_eq!(mcnemar(1, 5), mcnemar(5, 1));
        assert_eq!((mcnemar(0, 0), mcnemar(3, 3)), (1.0, 1.0));
    }
}
