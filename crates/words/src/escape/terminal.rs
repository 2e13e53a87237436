//! Escapes text for a terminal.

use super::push_code;
use crate::invisible::{is_dangerous, selects_form};
use std::fmt::Write as _;

/// Text in which everything that could steer a terminal or mislead a reader is escaped.
///
/// Control characters (and so escape sequences such as OSC) and invisible characters become `\n`, `\t`, `\r` or
/// `\u{1b}`. Bytes that are not UTF-8 become `\xff`. A backslash is doubled, so the result can be read back. A
/// variation selector stays where it is drawn ([`selects_form`]), because replies of models are full of them.
///
/// ```
/// assert_eq!(words::escape_terminal("\u{1b}[31mred"), "\\u{1b}[31mred");
/// assert_eq!(words::escape_terminal(b"a\xff"), "a\\xff");
/// assert_eq!(words::escape_terminal("I ❤\u{fe0f} q4_0\u{fe0f}"), "I ❤\u{fe0f} q4_0\\u{fe0f}");
/// ```
pub fn escape_terminal(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut before = '\0';
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if is_dangerous(c) && !selects_form(before, c, chars.peek().copied()) => push_code(&mut out, c),
                c => out.push(c),
            }
            before = c;
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The largest number of bytes of a name that a message quotes.
const SHORT: usize = 200;

/// [`escape_terminal`] for a key or name in a message. A name that is too long for a line is cut, and its length is
/// given.
///
/// ```
/// assert!(words::escape_short("a".repeat(300)).ends_with("a… (300 bytes)"));
/// ```
pub fn escape_short(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    if bytes.len() <= SHORT {
        return escape_terminal(bytes);
    }
    // The cut is not within a UTF-8 character.
    let end = (SHORT - 3..=SHORT).rev().find(|&end| bytes[end] & 0xc0 != 0x80).unwrap_or(SHORT);
    format!("{}… ({} bytes)", escape_terminal(&bytes[..end]), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        assert_eq!(escape_terminal("\x1b[31mred\x1b]0;title\x07"), "\\u{1b}[31mred\\u{1b}]0;title\\u{7}");
        assert_eq!(escape_terminal("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(escape_terminal("a\nb\tc\r"), "a\\nb\\tc\\r");
    }

    #[test]
    fn what_misleads_a_reader_is_written_out() {
        assert_eq!(escape_terminal("abc\u{202e}fdp.exe"), "abc\\u{202e}fdp.exe");
        assert_eq!(escape_terminal("zero\u{200b}width\u{feff}"), "zero\\u{200b}width\\u{feff}");
    }

    #[test]
    fn a_variation_selector_stays_behind_the_emoji_that_it_applies_to() {
        for text in ["❤\u{fe0f}", "✔\u{fe0e} done", "1\u{fe0f}\u{20e3}"] {
            assert_eq!(escape_terminal(text), text);
        }
        assert_eq!(escape_terminal("blk.1\u{fe0f}.x"), "blk.1\\u{fe0f}.x");
        assert_eq!(escape_terminal("❤\u{fe0f}\u{fe0f}\u{200d}"), "❤\u{fe0f}\\u{fe0f}\\u{200d}");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(escape_short("a".repeat(200)), "a".repeat(200));
        assert_eq!(escape_short("ä".repeat(150)), format!("{}… (300 bytes)", "ä".repeat(100)));
        assert_eq!(escape_short(format!("x{}", "ä".repeat(150))), format!("x{}… (301 bytes)", "ä".repeat(99)));
        assert_eq!(escape_short([0xbf; 300]), format!("{}… (300 bytes)", "\\xbf".repeat(200)));
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_visible_and_backslashes_stay_distinct() {
        assert_eq!(escape_terminal(b"a\xff\xfeb\\xff"), "a\\xff\\xfeb\\\\xff");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["blk.0.attn_q.weight", "naïve Größe", "日本語", "▁the", "😀"] {
            assert_eq!(escape_terminal(text), text);
        }
    }
}
