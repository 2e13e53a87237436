//! Numbers as text, formatted the same everywhere: a stated number of significant digits, no SI prefixes, no locale.
//!
//! The first part has the building blocks ([`number`], [`count`] …). The second has one function for each kind of number
//! that assay shows, so that the terminal and the report print the same quantity with the same digits.

use crate::escape::escape_terminal;

/// The magnitude below which a number is printed in scientific notation.
const SCIENTIFIC_BELOW: f64 = 1e-3;
/// The magnitude from which on a number is printed in scientific notation.
const SCIENTIFIC_FROM: f64 = 1e7;
/// The ratio from which on [`times`] prints scientific notation.
const TIMES_SCIENTIFIC_FROM: f64 = 1e5;

/// `x` with `digits` significant digits: `0.00637`, `2.31e-5`, `25.5854`. Exact zero is `0`.
///
/// All digits before the point are shown, grouped by thousands as those of [`count`] are.
///
/// Non-finite values are named, never hidden: `NaN`, `inf`, `-inf`.
///
/// ```
/// assert_eq!(words::number(0.006374, 3), "0.00637");
/// assert_eq!(words::number(2.314e-5, 3), "2.31e-5");
/// assert_eq!(words::number(2602.4, 5), "2,602.4");
/// ```
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
    // The formatter rounds once, in scientific form, and the exponent is read after rounding: 9.996 to three digits is
    // 10.0, not 10.00.
    let scientific = format!("{x:.*e}", digits - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if x.abs() < SCIENTIFIC_BELOW || x.abs() >= SCIENTIFIC_FROM {
        return scientific;
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    let plain = format!("{x:.decimals$}");
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    match whole.strip_prefix('-') {
        Some(whole) => format!("-{}{fraction}", grouped(whole)),
        None => format!("{}{fraction}", grouped(whole)),
    }
}

/// Decimal digits grouped by thousands.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number as [`number`] prints it, with a `+` before positive values. It is for differences.
///
/// ```
/// assert_eq!(words::signed(0.25, 2), "+0.25");
/// ```
pub fn signed(x: f64, digits: usize) -> String {
    let text = number(x, digits);
    if x > 0.0 { format!("+{text}") } else { text }
}

/// A whole number with its digits grouped by thousands.
///
/// ```
/// assert_eq!(words::count(2990), "2,990");
/// ```
pub fn count(n: u64) -> String {
    grouped(&n.to_string())
}

/// A part of a whole, both as counts.
///
/// ```
/// assert_eq!(words::of(2990, 11520), "2,990 of 11,520");
/// ```
pub fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", count(part), count(whole))
}

/// The first `most` of some names, escaped for a terminal, and how many more there are.
///
/// ```
/// assert_eq!(words::named(["a", "b"], 2), "a, b");
/// assert_eq!(words::named(["a", "b\n", "c", "d"], 2), "a, b\\n and 2 more");
/// ```
pub fn named<S: AsRef<[u8]>>(names: impl IntoIterator<Item = S>, most: usize) -> String {
    let names: Vec<String> = names.into_iter().map(escape_terminal).collect();
    let shown = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {} more", count(more as u64)),
    }
}

/// A number of things, whose name takes an `s` unless there is one.
///
/// ```
/// assert_eq!(words::plural(1_usize, "window"), "1 window");
/// assert_eq!(words::plural(2990_u64, "window"), "2,990 windows");
/// ```
pub fn plural<N: Number>(n: N, one: &str) -> String {
    match n.as_u64() {
        1 => format!("1 {one}"),
        n => format!("{} {one}s", count(n)),
    }
}

/// A type that counts things.
pub trait Number: Copy {
    /// The number of things that this value stands for.
    fn as_u64(self) -> u64;
}

impl Number for usize {
    fn as_u64(self) -> u64 {
        self as u64
    }
}

impl Number for u64 {
    fn as_u64(self) -> u64 {
        self
    }
}

impl Number for u32 {
    fn as_u64(self) -> u64 {
        self.into()
    }
}

impl<N: Number> Number for &N {
    fn as_u64(self) -> u64 {
        (*self).as_u64()
    }
}

/// A number rounded to a whole one, for approximate quantities.
///
/// ```
/// assert_eq!(words::whole(4.13), "4");
/// ```
pub fn whole(x: f64) -> String {
    format!("{x:.0}")
}

/// The shortest digits that read back as the same double, for tables that programs read.
///
/// ```
/// assert_eq!(words::exact(0.1), "0.1");
/// assert_eq!(words::exact(2.314e-5), "2.314e-5");
/// ```
pub fn exact(x: f64) -> String {
    format!("{x:?}")
}

/// The shortest digits that read back as the same float. Whole numbers have no decimal point.
///
/// ```
/// assert_eq!(words::exact_f32(0.1), "0.1");
/// assert_eq!(words::exact_f32(1.0), "1");
/// assert_eq!(words::exact_f32(1e-9), "1e-9");
/// ```
pub fn exact_f32(x: f32) -> String {
    let digits = format!("{x:?}");
    digits.strip_suffix(".0").unwrap_or(&digits).to_owned()
}

/// Bytes as lower-case hexadecimal digits, for hashes.
///
/// ```
/// assert_eq!(words::hex(&[0, 255]), "00ff");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A share in whole percent, for approximate quantities.
///
/// ```
/// assert_eq!(words::about_percent(0.499), "50 %");
/// ```
pub fn about_percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// A power of ten, for the ticks of a logarithmic axis.
///
/// ```
/// assert_eq!([0, 1, -5].map(words::decade), ["1", "10", "1e-5"]);
/// ```
pub fn decade(exponent: i32) -> String {
    match exponent {
        0 => "1".into(),
        1 => "10".into(),
        e => format!("1e{e}"),
    }
}

/// A divergence in nats, without the unit, with three significant digits. Exactly zero is `0`, because that is a
/// finding.
///
/// ```
/// assert_eq!(words::divergence(2.7296e-5), "2.73e-5");
/// ```
pub fn divergence(nats: f64) -> String {
    number(nats, 3)
}

/// A divergence in nats, with its unit.
///
/// ```
/// assert_eq!(words::nats(0.006371), "0.00637 nats");
/// ```
pub fn nats(value: f64) -> String {
    format!("{} nats", divergence(value))
}

/// A difference of two measured values, such as Δ ln PPL, with three significant digits and a sign.
///
/// ```
/// assert_eq!(words::difference(-0.000238), "-2.38e-4");
/// ```
pub fn difference(x: f64) -> String {
    signed(x, 3)
}

/// A standard error with two significant digits.
///
/// ```
/// assert_eq!(words::standard_error(1.337e-6), "1.3e-6");
/// ```
pub fn standard_error(se: f64) -> String {
    number(se, 2)
}

/// The standard error after a value; empty where there is none.
///
/// ```
/// assert_eq!(words::plus_minus(Some(1.337e-6)), " ± 1.3e-6");
/// assert_eq!(words::plus_minus(None), "");
/// ```
pub fn plus_minus(se: Option<f64>) -> String {
    se.map_or(String::new(), |se| format!(" ± {}", standard_error(se)))
}

/// The ratio of two quantities, with three significant digits as [`number`] prints them. From a hundred thousand on it is
/// in scientific notation, because the digits after the third would be made up.
///
/// ```
/// assert_eq!(words::times(48.591), "48.6 ×");
/// assert_eq!(words::times(2602.3), "2,602 ×");
/// assert_eq!(words::times(1_234_567.0), "1.23e6 ×");
/// ```
pub fn times(ratio: f64) -> String {
    if ratio.is_finite() && ratio >= TIMES_SCIENTIFIC_FROM {
        return format!("{ratio:.2e} ×");
    }
    format!("{} ×", number(ratio, 3))
}

/// A perplexity, or its logarithm in nats a token, with six significant digits.
///
/// ```
/// assert_eq!(words::perplexity(37.882112), "37.8821");
/// ```
pub fn perplexity(x: f64) -> String {
    number(x, 6)
}

/// The ratio of a variant's perplexity to its reference's, with seven significant digits because it is close to 1.
///
/// ```
/// assert_eq!(words::perplexity_ratio(0.99970961), "0.9997096");
/// ```
pub fn perplexity_ratio(x: f64) -> String {
    number(x, 7)
}

/// An entropy in nats, without the unit. It has four significant digits, because readers compare two of them for a
/// shift.
///
/// ```
/// assert_eq!(words::entropy(2.34567), "2.346");
/// ```
pub fn entropy(nats: f64) -> String {
    number(nats, 4)
}

/// The p value of a result, with three significant digits, so that a small one is not shown as zero.
///
/// ```
/// assert_eq!(words::p_value(0.00012), "1.20e-4");
/// ```
pub fn p_value(p: f64) -> String {
    number(p, 3)
}

/// A distance between values (largest difference, relative RMSE, 1 − cosine), with three significant digits.
///
/// ```
/// assert_eq!(words::deviation(0.002953), "0.00295");
/// ```
pub fn deviation(x: f64) -> String {
    number(x, 3)
}

/// A ratio of energies in decibels, without the unit, with two decimals.
///
/// ```
/// assert_eq!(words::decibels(50.594), "50.59");
/// ```
pub fn decibels(x: f64) -> String {
    format!("{x:.2}")
}

/// The bits that a weight takes or a byte of text costs, with four decimals, which is enough for every block format.
///
/// ```
/// assert_eq!(words::bits(2.0625), "2.0625");
/// ```
pub fn bits(x: f64) -> String {
    format!("{x:.4}")
}

/// An estimate of the bits a value that the values of a tensor need, with three significant digits.
///
/// ```
/// assert_eq!(words::effective_bits(4.5), "4.50");
/// ```
pub fn effective_bits(x: f64) -> String {
    number(x, 3)
}

/// The bits of evidence for a finding. They run to millions, so whole bits are enough.
///
/// ```
/// assert_eq!(words::evidence_bits(10_239.7), "10,240");
/// assert_eq!(words::evidence_bits(0.52), "0.52");
/// ```
pub fn evidence_bits(bits: f64) -> String {
    if (1.0..1e15).contains(&bits) { count(bits.round() as u64) } else { number(bits, 2) }
}

/// A share in percent with two decimals. Only exactly 1 is `100 %` and only exactly 0 is `0 %`; values close to these
/// are shown as near but not equal.
///
/// ```
/// assert_eq!(words::share(0.9839), "98.39 %");
/// assert_eq!(words::share(0.99999), "> 99.99 %");
/// ```
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

/// A size in bytes, in a binary unit.
///
/// ```
/// assert_eq!(words::bytes(1536), "1.5 KiB");
/// assert_eq!(words::bytes(512), "512 bytes");
/// ```
pub fn bytes(n: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", n as f64 / *size as f64),
        None => plural(n, "byte"),
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
            (123_456.0, 3, "123,456"),
            (-1_234.56, 6, "-1,234.56"),
            (999.96, 4, "1,000"),
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
            (123_456.0, "123,456 nats"),
        ] {
            assert_eq!(nats(value), text);
        }
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
        assert_eq!(plural(1_u64, "window"), "1 window");
        assert_eq!(plural(0_u64, "window"), "0 windows");
        assert_eq!(plural(1234_u64, "cell"), "1,234 cells");
    }

    #[test]
    fn sizes_have_one_decimal_and_few_bytes_are_counted() {
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(1023), "1,023 bytes");
        assert_eq!(bytes(98_362_432), "93.8 MiB");
    }

    #[test]
    fn evidence_that_is_huge_or_below_a_bit_keeps_two_digits() {
        assert_eq!([0.4, 1.0, 1e15, f64::INFINITY].map(evidence_bits), ["0.40", "1", "1.0e15", "inf"]);
    }

    #[test]
    fn non_finite_values_are_named_by_every_kind_of_number() {
        for (text, of) in [("NaN", f64::NAN), ("inf", f64::INFINITY)] {
            for kind in [divergence, standard_error, perplexity, entropy, p_value, deviation, decibels, bits, exact] {
                assert_eq!(kind(of), text);
            }
        }
    }
}
