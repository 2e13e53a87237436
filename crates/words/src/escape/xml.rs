//! Escapes text for XML, SVG and HTML.

use super::printable;

/// Text for XML text and attribute values: [`printable`], with markup as character references.
///
/// ```
/// assert_eq!(words::escape_xml("<a b='c'>"), "&lt;a b=&#39;c&#39;&gt;");
/// ```
pub fn escape_xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Controls and noncharacters, which XML 1.0 does not allow at all, are dangerous and therefore escaped.
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_xml_does_not_allow_is_written_out() {
        assert_eq!(escape_xml("a\u{fffe}\u{ffff}\u{0}b"), "a\\u{fffe}\\u{ffff}\\u{0}b");
    }

    proptest! {
        #[test]
        fn xml_text_never_opens_a_tag_or_closes_an_attribute(text in "\\PC*|.*") {
            let out = escape_xml(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
        }
    }
}
