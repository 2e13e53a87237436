//! Escapes text for Markdown as GitHub renders it.

use super::printable;

/// Markdown that shows this text, in or out of a table.
///
/// Markup, HTML, math and links appear as their characters. An underscore inside a word stays as it is, because it has
/// no meaning there.
///
/// ```
/// assert_eq!(words::escape_markdown("[x](y) | *z* ffn_norm"), "\\[x\\](y) \\| \\*z\\* ffn_norm");
/// ```
pub fn escape_markdown(text: &str) -> String {
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
            // GitHub links `https://` and `www.` even without brackets.
            ':' if chars.get(i + 1) == Some(&'/') => out.push_str("\\:"),
            '.' if i >= 3 && chars[i - 3..i].iter().all(|c| c.eq_ignore_ascii_case(&'w')) => out.push_str("\\."),
            _ => out.push(c),
        }
    }
    out
}

/// Escaped Markdown for the start of a line, where a few more characters begin headings, lists or rules.
///
/// ```
/// assert_eq!(words::escape_markdown_line_start("# not a heading"), "\\# not a heading");
/// ```
pub fn escape_markdown_line_start(escaped: &str) -> String {
    let digits = escaped.len() - escaped.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let marks = &escaped[digits..];
    let is_list_number = digits > 0 && marks.starts_with(['.', ')']);
    let is_mark = digits == 0 && marks.starts_with(['#', '+', '-', '=']);
    if is_list_number || is_mark { format!("{}\\{}", &escaped[..digits], marks) } else { escaped.to_string() }
}

/// A Markdown code span, whose fence is longer than any run of backticks within.
///
/// In a table the pipe is also escaped. GitHub's tables undo this even inside code.
///
/// ```
/// assert_eq!(words::escape_markdown_code("a`b|c", true), "``a`b\\|c``");
/// ```
pub fn escape_markdown_code(text: &str, in_table: bool) -> String {
    let text = printable(text);
    if text.trim().is_empty() {
        return "(blank)".into();
    }
    let fence = "`".repeat(longest_run(&text, '`') + 1);
    let text = if in_table { text.replace('|', "\\|") } else { text };
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The length of the longest run of `of` in `text`, which determines the length of a fence.
///
/// ```
/// assert_eq!(words::longest_run("a``b`", '`'), 2);
/// ```
pub fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_html_links_and_math_come_out_as_plain_characters() {
        assert_eq!(escape_markdown("a|b"), "a\\|b");
        assert_eq!(escape_markdown("<img src=x>"), "&lt;img src=x&gt;");
        assert_eq!(escape_markdown("[x](y)"), "\\[x\\](y)");
        assert_eq!(escape_markdown("https://e.x"), "https\\://e.x");
        assert_eq!(escape_markdown("www.e.x"), "www\\.e.x");
        assert_eq!(escape_markdown_line_start("# no heading"), "\\# no heading");
        assert_eq!(escape_markdown_line_start("1. no list"), "1\\. no list");
        assert_eq!(escape_markdown_line_start("- no list"), "\\- no list");
        assert_eq!(escape_markdown_line_start("12 values"), "12 values");
        assert_eq!(escape_markdown("$x$ *y* _z_ ffn_norm"), "\\$x\\$ \\*y\\* \\_z\\_ ffn_norm");
    }

    #[test]
    fn a_code_span_outlasts_its_backticks_and_a_table_survives_its_pipes() {
        assert_eq!(escape_markdown_code("a`b", false), "``a`b``");
        assert_eq!(escape_markdown_code("`", false), "`` ` ``");
        assert_eq!(escape_markdown_code("a|b", true), "`a\\|b`");
        assert_eq!(escape_markdown_code("a|b", false), "`a|b`");
        assert_eq!(escape_markdown_code("", false), "(blank)");
    }

    proptest! {
        #[test]
        fn every_pipe_in_a_markdown_table_is_escaped(text in any::<String>()) {
            for out in [escape_markdown(&text), escape_markdown_code(&text, true)] {
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
