//! Text from files, made safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with everything that could steer a terminal or mislead a reader written out.
///
/// Control characters (so also escape sequences such as OSC), line and paragraph separators,
/// bidirectional controls and invisible characters become `\n`, `\t`, `\r` or `\u{1b}`; bytes that
/// are not UTF-8 become `\xff`; a backslash is doubled, so the result can be read back.
pub fn escape_terminal(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() || is_invisible(c) => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Most bytes of a name in a message.
const SHORT: usize = 200;

/// [`escape_terminal`] of a key or name in a message: what is too long for a line is cut, and how long it is is said.
pub(crate) fn escape_short(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    if bytes.len() <= SHORT {
        return escape_terminal(bytes);
    }
    // Not within a character, where it is UTF-8.
    let end = (SHORT - 3..=SHORT).rev().find(|&end| bytes[end] & 0xc0 != 0x80).unwrap_or(SHORT);
    format!("{}… ({} bytes)", escape_terminal(&bytes[..end]), bytes.len())
}

/// JSON with everything that could steer a terminal or mislead a reader as `\u` escapes: the same document, since such characters
/// stand in its strings alone.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let steers = |c: char| (c.is_control() && !c.is_ascii_whitespace()) || is_invisible(c);
    if !json.contains(steers) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if steers(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Characters that change how others are shown, or are not shown at all (Unicode categories Cf, Zl
/// and Zp, fillers, noncharacters).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{115f}' | '\u{1160}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
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
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(escape_short("a".repeat(200)), "a".repeat(200));
        assert_eq!(escape_short("ä".repeat(150)), format!("{}… (300 bytes)", "ä".repeat(100)));
        assert_eq!(escape_short(format!("x{}", "ä".repeat(150))), format!("x{}… (301 bytes)", "ä".repeat(99)));
        assert_eq!(escape_short([0xbf; 300]), format!("{}… (300 bytes)", "\\xbf".repeat(200)));
    }

    #[test]
    fn json_keeps_its_meaning_and_steers_nothing() {
        let json = "{\n  \"name\": \"\\u001b\u{9b}31m\u{202e}\u{e0001}\u{7f} größer\"\n}\n";
        let safe = "{\n  \"name\": \"\\u001b\\u009b31m\\u202e\\udb40\\udc01\\u007f größer\"\n}\n";
        assert_eq!(escape_json(json), safe);
        assert!(matches!(escape_json("{\"a\": 1}\n"), Cow::Borrowed(_)));
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
