//! Text that came from a file is data: made visible here, and inert in each output language.

use std::fmt::Write as _;

/// Control characters, line separators and bidirectional controls written as `\u{…}`, so that a name
/// can neither break a line nor reorder what is read around it.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

/// Format characters that reorder or hide text (Unicode TR 36 and TR 39), and the line separators.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// For XML text and attribute values.
pub fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Legal in Rust, not in XML 1.0.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

/// For a run of Markdown text, in or out of a table. Markup, HTML, math and links come out as the
/// characters they are; an underscore inside a word is left alone, since it means nothing there.
pub fn markdown(text: &str) -> String {
    let text = printable(text);
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    for (i, &c) in chars.iter().enumerate() {
        let word = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric());
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', c]),
            '_' if !(word(i.checked_sub(1)) && word(Some(i + 1))) => out.extend(['\\', c]),
            // `https://` and `www.` are links to GitHub without any brackets.
            ':' if chars.get(i + 1) == Some(&'/') => out.push_str("\\:"),
            '.' if i >= 3 && chars[i - 3..i].iter().all(|c| c.eq_ignore_ascii_case(&'w')) => out.push_str("\\."),
            _ => out.push(c),
        }
    }
    out
}

/// Escaped Markdown that stands at the start of a line, where a few more characters mean something:
/// headings, lists, rules.
pub fn markdown_line_start(escaped: &str) -> String {
    let digits = escaped.len() - escaped.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let marks = &escaped[digits..];
    let is_list_number = digits > 0 && marks.starts_with(['.', ')']);
    let is_mark = digits == 0 && marks.starts_with(['#', '+', '-', '=']);
    if is_list_number || is_mark { format!("{}\\{}", &escaped[..digits], marks) } else { escaped.to_string() }
}

/// A Markdown code span: the fence is longer than any run of backticks within. In a table the pipe is
/// escaped as well, which GitHub's tables undo even inside code.
pub fn markdown_code(text: &str, in_table: bool) -> String {
    let text = printable(text);
    if text.trim().is_empty() {
        return "(blank)".into();
    }
    let fence = "`".repeat(longest_run(&text, '`') + 1);
    let text = if in_table { text.replace('|', "\\|") } else { text };
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The length of the longest run of `of` in `text`.
pub fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

/// One CSV field (RFC 4180) of text. A spreadsheet would run a field that begins like a formula, so such a
/// field gets a leading apostrophe; numbers are not written through here.
pub fn csv_text(text: &str) -> String {
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
    use proptest::prelude::*;

    #[test]
    fn markup_html_links_and_math_come_out_as_plain_characters() {
        assert_eq!(markdown("a|b"), "a\\|b");
        assert_eq!(markdown("<img src=x>"), "&lt;img src=x&gt;");
        assert_eq!(markdown("[x](y)"), "\\[x\\](y)");
        assert_eq!(markdown("https://e.x"), "https\\://e.x");
        assert_eq!(markdown("www.e.x"), "www\\.e.x");
        assert_eq!(markdown_line_start("# no heading"), "\\# no heading");
        assert_eq!(markdown_line_start("1. no list"), "1\\. no list");
        assert_eq!(markdown_line_start("- no list"), "\\- no list");
        assert_eq!(markdown_line_start("12 values"), "12 values");
        assert_eq!(markdown("$x$ *y* _z_ ffn_norm"), "\\$x\\$ \\*y\\* \\_z\\_ ffn_norm");
    }

    #[test]
    fn a_code_span_outlasts_its_backticks_and_a_table_survives_its_pipes() {
        assert_eq!(markdown_code("a`b", false), "``a`b``");
        assert_eq!(markdown_code("`", false), "`` ` ``");
        assert_eq!(markdown_code("a|b", true), "`a\\|b`");
        assert_eq!(markdown_code("a|b", false), "`a|b`");
        assert_eq!(markdown_code("", false), "(blank)");
    }

    #[test]
    fn control_and_bidirectional_characters_are_made_visible() {
        assert_eq!(printable("a\nb\u{202e}c\u{1b}[31m"), "a\\u{a}b\\u{202e}c\\u{1b}[31m");
    }

    #[test]
    fn a_field_that_begins_like_a_formula_is_text() {
        assert_eq!(csv_text("=1+1"), "'=1+1");
        assert_eq!(csv_text("@cmd,x"), "\"'@cmd,x\"");
        assert_eq!(csv_text("  =1"), "'  =1");
        assert_eq!(csv_text("plain_name"), "plain_name");
        assert_eq!(csv_text("a\"b"), "\"a\"\"b\"");
    }

    proptest! {
        #[test]
        fn xml_text_never_opens_a_tag_or_closes_an_attribute(text in "\\PC*|.*") {
            let out = xml(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
        }

        #[test]
        fn nothing_printable_breaks_a_line(text in any::<String>()) {
            let breaks = printable(&text).contains(['\n', '\r', '\u{2028}', '\u{85}']);
            prop_assert!(!breaks);
            prop_assert!(!markdown_code(&text, true).contains('\n'));
        }

        #[test]
        fn every_pipe_in_a_markdown_table_is_escaped(text in any::<String>()) {
            for out in [markdown(&text), markdown_code(&text, true)] {
                let bytes = out.as_bytes();
                for (i, &b) in bytes.iter().enumerate() {
                    if b == b'|' {
                        prop_assert!(i > 0 && bytes[i - 1] == b'\\');
                    }
                }
            }
        }
    }
}
