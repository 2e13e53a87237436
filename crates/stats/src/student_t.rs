//! Quantiles and tail probabilities of Student's t distribution, far out in the tail.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The value that a Student t variable with `df` degrees of freedom exceeds with probability `tail`, 0 < `tail` ≤ 1/2.
/// It is infinite where there is no such value (no degree of freedom, a tail of 0).
pub fn upper_quantile(tail: f64, df: f64) -> f64 {
    let positive = |x: f64| x.is_finite() && x > 0.0;
    match StudentsT::new(0.0, 1.0, df) {
        Ok(t) if positive(df) && positive(tail) => {
            // The lower tail is used by symmetry, because 1 − tail would lose the digits of a small tail.
            let q = -t.inverse_cdf(tail.min(0.5));
            if q.is_nan() { f64::INFINITY } else { q.max(0.0) }
        }
        _ => f64::INFINITY,
    }
}

/// The probability that a Student t variable with `df` degrees of freedom exceeds `t`; 1 where it is not defined.
pub fn upper_tail(t: f64, df: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, df) {
        // The lower tail is used by symmetry, as above.
        Ok(student) if !t.is_nan() => student.cdf(-t),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From closed forms: one degree of freedom is the Cauchy distribution, cot(π·tail); two has
    /// (1 − 2·tail) / √(2·tail·(1 − tail)).
    #[test]
    fn quantiles_with_one_and_two_degrees_of_freedom_have_closed_forms() {
        for tail in [0.4, 0.05, 0.001, 1e-5] {
            let cauchy = 1.0 / (std::f64::consts::PI * tail).tan();
            let two = (1.0 - 2.0 * tail) / (2.0 * tail * (1.0 - tail)).sqrt();
            for (df, wanted) in [(1.0, cauchy), (2.0, two)] {
                let found = upper_quantile(tail, df);
                assert!((found / wanted - 1.0).abs() < 1e-6, "tail {tail}, df {df}: {found}, wanted {wanted}");
            }
        }
    }

    /// From printed tables (Fisher and Yates): t(0.0005, 10) = 4.587, t(0.025, 19) = 2.093.
    #[test]
    fn quantiles_agree_with_printed_tables() {
        assert!((upper_quantile(0.0005, 10.0) - 4.587).abs() < 5e-4);
        assert!((upper_quantile(0.025, 19.0) - 2.093).abs() < 5e-4);
    }

    #[test]
    fn tails_are_those_of_the_quantiles() {
        for df in [2.0, 4.5, 28.0] {
            for tail in [0.4, 0.05, 1e-3, 1e-6] {
                let found = upper_tail(upper_quantile(tail, df), df);
                assert!((found / tail - 1.0).abs() < 1e-6, "{tail} at {df}: {found}");
            }
            assert!((upper_tail(-1.0, df) + upper_tail(1.0, df) - 1.0).abs() < 1e-12);
        }
        assert_eq!(upper_tail(1.0, 0.0), 1.0);
    }

    #[test]
    fn what_cannot_be_said_is_infinite() {
        assert_eq!(upper_quantile(0.05, 0.0), f64::INFINITY);
        assert_eq!(upper_quantile(0.0, 5.0), f64::INFINITY);
    }
}
