//! Numbers as text: a stated number of significant digits, no SI prefixes, no locale.

/// Below this magnitude a number is printed in scientific notation.
const SCIENTIFIC_BELOW: f64 = 1e-3;
/// From this magnitude on, too.
const SCIENTIFIC_FROM: f64 = 1e7;

/// `x` with `digits` significant digits: `0.00637`, `2.31e-5`, `25.5854`. Exact zero is `0`.
///
/// Non-finite values are named, never hidden: `NaN`, `inf`, `-inf`.
pub fn number(x: f64, digits: usize) -> String {
    if x == 0.0 {
        return "0".into();
    }
    if !x.is_finite() {
        return if x.is_nan() {
            "NaN".into()
        } else if x > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    let digits = digits.max(1);
    // Let the formatter round once, in scientific form, and read the exponent after rounding: 9.996 to
    // three digits is 10.0, not 10.00.
    let scientific = format!("{x:.*e}", digits - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if x.abs() < SCIENTIFIC_BELOW || x.abs() >= SCIENTIFIC_FROM {
        return scientific;
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    format!("{x:.decimals$}")
}

/// As [`number`], with a `+` before positive values: for differences.
pub fn signed(x: f64, digits: usize) -> String {
    let text = number(x, digits);
    if x > 0.0 { format!("+{text}") } else { text }
}

/// A count with thousands separators: `11,520`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `part of whole`: `2,990 of 11,520`.
pub fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", count(part), count(whole))
}

/// A share in percent. Only an exact 1 is `100 %` and only an exact 0 is `0 %`; everything between
/// keeps clear of both, however close.
pub fn percent(share: f64) -> String {
    if !(0.0..=1.0).contains(&share) {
        return format!("{} %", number(share * 100.0, 4));
    }
    lab::phrase::share(share)
}

/// A ratio, as in `1.19 ×`.
pub fn times(ratio: f64) -> String {
    format!("{} ×", number(ratio, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn significant_digits_are_kept_whatever_the_magnitude() {
        for (x, digits, text) in [
            (0.006_374, 3, "0.00637"),
            (2.314e-5, 3, "2.31e-5"),
            (25.585_353, 6, "25.5854"),
            (9.996, 3, "10.0"),
            (0.000_999_9, 2, "1.0e-3"),
            (123_456.0, 3, "123456"),
            (1.0, 3, "1.00"),
            (-0.001_8, 2, "-0.0018"),
            (1e-300, 2, "1.0e-300"),
            (2.5e7, 2, "2.5e7"),
        ] {
            assert_eq!(number(x, digits), text, "{x} to {digits} digits");
        }
    }

    #[test]
    fn zero_of_either_sign_is_zero_and_the_non_finite_is_named() {
        assert_eq!(number(0.0, 3), "0");
        assert_eq!(number(-0.0, 3), "0");
        assert_eq!(number(f64::NAN, 3), "NaN");
        assert_eq!(number(f64::NEG_INFINITY, 3), "-inf");
        assert_eq!(signed(f64::INFINITY, 3), "+inf");
        assert_eq!(signed(0.0, 3), "0");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(268_098_176), "268,098,176");
        assert_eq!(of(2_990, 11_520), "2,990 of 11,520");
    }

    #[test]
    fn a_share_prints_as_all_or_nothing_only_when_it_is() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(1.0 - 1e-9), "> 99.99 %");
        assert_eq!(percent(0.9557), "95.57 %");
        assert_eq!(percent(1e-9), "< 0.01 %");
        assert_eq!(percent(0.0), "0 %");
    }
}
