//! Escapes text for CSV.

use super::printable;

/// One CSV field (RFC 4180) with this text. Numbers are not written through this function.
///
/// A spreadsheet would run a field that begins like a formula, so such a field gets a leading apostrophe.
///
/// ```
/// assert_eq!(words::escape_csv("=1+1"), "'=1+1");
/// assert_eq!(words::escape_csv("a,b"), "\"a,b\"");
/// ```
pub fn escape_csv(text: &str) -> String {
    let text = printable(text);
    let text = if text.trim_start().starts_with(['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠']) {
        format!("'{text}")
    } else {
        text
    };
    if text.contains([',', '"', '\n', '\r', ';', '\t']) || text != text.trim() {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_begins_like_a_formula_is_text() {
        assert_eq!(escape_csv("=1+1"), "'=1+1");
        assert_eq!(escape_csv("@cmd,x"), "\"'@cmd,x\"");
        assert_eq!(escape_csv("  =1"), "'  =1");
        assert_eq!(escape_csv("plain_name"), "plain_name");
        assert_eq!(escape_csv("a\"b"), "\"a\"\"b\"");
    }
}
