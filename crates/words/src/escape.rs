//! Foreign text made harmless. There is one writer for each language that text ends in, all over the table of
//! [`crate::invisible`].
//!
//! Names, metadata and generated text come from files, so they are data. No writer here passes on a control character
//! or an invisible character. Each writer also escapes what would be markup in its own language.
//!
//! | writer | for |
//! |---|---|
//! | [`escape_terminal`], [`escape_short`] | a terminal; the result of the first can be read back |
//! | [`escape_json`], [`JsonOut`] | JSON that is shown on a terminal; the same document |
//! | [`printable`] | the base of the writers below, and HTML before its own escaping |
//! | [`escape_xml`] | text and attributes of XML and SVG |
//! | [`escape_markdown`], [`escape_markdown_line_start`], [`escape_markdown_code`] | Markdown as GitHub renders it |
//! | [`escape_csv`] | one field of CSV |

mod csv;
mod json;
mod markdown;
mod terminal;
mod xml;

pub use csv::escape_csv;
pub use json::{JsonOut, escape_json};
pub use markdown::{escape_markdown, escape_markdown_code, escape_markdown_line_start, longest_run};
pub use terminal::{escape_short, escape_terminal};
pub use xml::escape_xml;

use crate::invisible::is_dangerous;
use std::fmt::Write as _;

/// Text with every dangerous character written as `\n`, `\r`, `\t` or `\u{…}`. A name can then neither break a line nor
/// reorder or hide the text around it. A backslash stays as it is.
///
/// ```
/// assert_eq!(words::printable("a\u{202e}b"), "a\\u{202e}b");
/// assert_eq!(words::printable("C:\\models"), "C:\\models");
/// ```
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) { push_code(&mut out, c) } else { out.push(c) }
    }
    out
}

/// Appends the escape of a dangerous character. It is the same for every writer but JSON's.
fn push_code(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Writing to a String cannot fail.
        c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invisible::dangerous;
    use proptest::prelude::*;

    type Writer = (&'static str, fn(&str) -> String);

    /// Every function through which foreign text leaves the program.
    const WRITERS: [Writer; 11] = [
        ("escape_terminal", |text| escape_terminal(text)),
        ("escape_short", |text| escape_short(text)),
        ("escape_json", |text| escape_json(&as_json(text)).into_owned()),
        ("JsonOut", through_json_out),
        ("printable", printable),
        ("escape_xml", escape_xml),
        ("escape_markdown", escape_markdown),
        ("escape_markdown_line_start", |text| escape_markdown_line_start(&escape_markdown(text))),
        ("escape_markdown_code", |text| escape_markdown_code(text, false)),
        ("escape_markdown_code in a table", |text| escape_markdown_code(text, true)),
        ("escape_csv", escape_csv),
    ];

    fn as_json(text: &str) -> String {
        serde_json::to_string(text).expect("a string is JSON")
    }

    fn through_json_out(text: &str) -> String {
        use std::io::Write as _;
        let mut out = Vec::new();
        JsonOut::new(&mut out).write_all(as_json(text).as_bytes()).expect("memory takes all");
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn no_writer_lets_a_dangerous_character_through() {
        for c in dangerous() {
            // The character is at the start, in the middle and at the end of a name.
            let name = format!("{c}a{c}b{c}");
            for (writer, write) in WRITERS {
                let out = write(&name);
                assert!(!out.contains(c), "{writer} lets U+{:04X} through: {out:?}", u32::from(c));
                assert!(out.contains('a') && out.contains('b'), "{writer} loses text: {out:?}");
            }
        }
    }

    #[test]
    fn every_writer_leaves_ordinary_names_as_they_are() {
        for text in ["blk.0.attn_q.weight", "naïve Größe", "日本語", "▁the", "😀", "Q4_K-M.gguf"] {
            for (writer, write) in WRITERS {
                let out = write(text);
                let bare = out.trim_matches(|c| matches!(c, '"' | '`'));
                let wanted = if writer.starts_with("escape_markdown") { bare.replace("\\_", "_") } else { bare.into() };
                assert_eq!(wanted, text, "{writer}");
            }
        }
    }

    #[test]
    fn control_and_bidirectional_characters_are_made_visible() {
        assert_eq!(printable("a\nb\u{202e}c\u{1b}[31m"), "a\\nb\\u{202e}c\\u{1b}[31m");
    }

    proptest! {
        #[test]
        fn nothing_printable_breaks_a_line(text in any::<String>()) {
            let breaks = printable(&text).contains(['\n', '\r', '\u{2028}', '\u{85}']);
            prop_assert!(!breaks);
            prop_assert!(!escape_markdown_code(&text, true).contains('\n'));
        }
    }
}
