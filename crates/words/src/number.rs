//! Numbers as text, the same in every place that shows them: a stated number of significant digits, no SI prefixes, no locale.

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

/// `2,990`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `part of whole`: `2,990 of 11,520`.
pub fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", count(part), count(whole))
}

/// A ratio, as in `1.19 ×`.
pub fn times(ratio: f64) -> String {
    format!("{} ×", number(ratio, 3))
}

/// Three significant digits with the unit: `0.00637 nats`, `2.29e-5 nats`, exactly 0 as `0 nats`.
pub fn nats(value: f64) -> String {
    format!("{} nats", number(value, 3))
}

/// A share in percent, two decimals: `98.39 %`. Only an exact 1 is `100 %` and only an exact 0 is `0 %`; what comes
/// close keeps clear of both.
pub fn share(value: f64) -> String {
    if !(0.0..=1.0).contains(&value) {
        return format!("{} %", number(100.0 * value, 4));
    }
    if value == 1.0 || value == 0.0 {
        return format!("{} %", 100.0 * value);
    }
    match format!("{:.2}", 100.0 * value).as_str() {
        "100.00" => "> 99.99 %".into(),
        "0.00" => "< 0.01 %".into(),
        percent => format!("{percent} %"),
    }
}

/// `1 window`, `2,990 windows`.
pub fn plural(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", count(n as u64)) }
}

/// A size in a binary unit: `1.5 KiB`, `512 bytes`.
pub fn bytes(n: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", n as f64 / *size as f64),
        None => format!("{n} bytes"),
    }
}

/// Longest part of a failure that goes into a sentence, characters.
const MAX_LINE: usize = 200;

/// The first line of a failure, for a sentence; a worker's last words run over many.
pub fn first_line(failure: &str) -> String {
    let line = failure.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into(),
    }
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
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (11_520, "11,520"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn nats_keep_three_digits_and_an_exact_zero() {
        for (value, text) in [
            (0.0, "0 nats"),
            (0.006371, "0.00637 nats"),
            (-0.5, "-0.500 nats"),
            (2.29e-5, "2.29e-5 nats"),
            (12.345, "12.3 nats"),
            (123_456.0, "123456 nats"),
        ] {
            assert_eq!(nats(value), text);
        }
    }

    #[test]
    fn of_a_failure_one_short_line_is_told() {
        assert_eq!(first_line("\nabort: GGML_ASSERT(n > 0)\nat ggml.c:1"), "abort: GGML_ASSERT(n > 0)");
        assert_eq!(first_line(""), "");
        let told = first_line(&"ü".repeat(5000));
        assert!(told.ends_with('…') && told.chars().count() == MAX_LINE + 1, "{told}");
    }

    #[test]
    fn a_share_is_100_only_when_it_is_all() {
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.99999), "> 99.99 %");
        assert_eq!(share(0.9839), "98.39 %");
        assert_eq!(share(1e-9), "< 0.01 %");
        assert_eq!(share(0.0), "0 %");
        assert_eq!(share(f64::NAN), "NaN %");
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!(plural(1, "window"), "1 window");
        assert_eq!(plural(0, "window"), "0 windows");
        assert_eq!(plural(1234, "cell"), "1,234 cells");
    }
}
