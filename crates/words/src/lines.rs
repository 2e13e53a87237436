//! Text that is built line by line, and the one line of a long text that goes into a sentence.

use std::fmt::{Display, Write as _};

/// Text that is built from whole lines.
///
/// ```
/// let mut out = words::Lines::new();
/// out.line("two models");
/// out.line(format_args!("KLD {}", 0.5));
/// assert_eq!(out.into_string(), "two models\nKLD 0.5\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(String);

impl Lines {
    /// An empty text.
    pub fn new() -> Self {
        Lines::default()
    }

    /// Adds a line and a newline.
    pub fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// Adds text as it is, such as a table that ends its own lines.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// The text so far.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole text.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// The largest number of characters of a failure that go into a sentence.
const MAX_LINE: usize = 200;

/// The first line of a failure that is not blank, for a sentence. The last words of a worker run over many lines.
///
/// ```
/// assert_eq!(words::first_line("\nabort: n > 0\nat ggml.c:1"), "abort: n > 0");
/// ```
pub fn first_line(failure: &str) -> String {
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
    fn of_a_failure_one_short_line_is_told() {
        assert_eq!(first_line("\nabort: GGML_ASSERT(n > 0)\nat ggml.c:1"), "abort: GGML_ASSERT(n > 0)");
        assert_eq!(first_line(""), "");
        let told = first_line(&"ü".repeat(5000));
        assert!(told.ends_with('…') && told.chars().count() == MAX_LINE + 1, "{told}");
    }

    #[test]
    fn lines_end_and_text_stays_as_it_is() {
        let mut out = Lines::new();
        out.text("a table\n");
        out.line("");
        out.line(7);
        assert_eq!(out.as_str(), "a table\n\n7\n");
    }
}
