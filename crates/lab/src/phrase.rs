//! Numbers in sentences, the same in every place that shows them.

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

/// Three significant digits with the unit: `0.00637 nats`, `2.29e-5 nats`, exactly 0 as `0 nats`.
pub fn nats(value: f64) -> String {
    if value == 0.0 {
        return "0 nats".into();
    }
    let magnitude = value.abs().log10().floor();
    if (-4.0..4.0).contains(&magnitude) {
        let decimals = (2.0 - magnitude).max(0.0) as usize;
        format!("{value:.decimals$} nats")
    } else {
        format!("{value:.2e} nats")
    }
}

/// A share in percent, two decimals: `98.39 %`. Only an exact 1 is `100 %` and only an exact 0 is `0 %`; what comes
/// close keeps clear of both.
pub fn share(value: f64) -> String {
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

/// Longest part of a failure that goes into a sentence, characters.
const MAX_LINE: usize = 200;

/// The first line of a failure, for a sentence; a worker's last words run over many.
pub(crate) fn first_line(failure: &str) -> String {
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
            (123_456.0, "1.23e5 nats"),
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
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!(plural(1, "window"), "1 window");
        assert_eq!(plural(0, "window"), "0 windows");
        assert_eq!(plural(1234, "cell"), "1,234 cells");
    }
}
