//! Parses sizes as people type them.

/// Reads `8G`, `800M`, `1.5GiB` or plain bytes; units are powers of 1024.
///
/// ```
/// assert_eq!(words::parse_size("8G"), Ok(8 << 30));
/// ```
///
/// # Errors
/// When the text is not a number with one of the units K, M, G and T, or is less than a byte, or 10^18 bytes or more. The message says what was
/// found or wanted.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("found the unit {unit:?}, wanted K, M, G or T")),
    };
    let number: f64 = number.parse().map_err(|_| "wanted a number and a unit, such as 8G or 800M".to_string())?;
    let bytes = number * (1u64 << shift) as f64;
    match bytes {
        1e18.. => Err("found more than any machine has, wanted less than 900000T".into()),
        1.0.. => Ok(bytes as u64),
        _ => Err("wanted a size of at least one byte".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_binary_units() {
        for (text, bytes) in [("8G", 8 << 30), ("800M", 800 << 20), ("1.5GiB", 3 << 29), ("12kb", 12 << 10), ("7", 7)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1G", "8X", "0", "1.2.3M", "1e99"] {
            assert!(parse_size(text).is_err(), "{text:?} was accepted");
        }
    }
}
