//! A [`Document`] as one HTML file: no script, no network, light and dark, fit for print.

use crate::document::{Block, Document, Span};
use crate::figure::STYLE;
use askama::Template;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    document: &'a Document,
    page_style: &'a str,
    figure_style: &'a str,
}

/// The functions that the template may call.
mod filters {
    /// Text without dangerous characters ([`words::printable`]); askama escapes it for HTML afterwards.
    pub(super) fn printable(text: impl AsRef<str>, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(words::printable(text.as_ref()))
    }
}

const PAGE_STYLE: &str = include_str!("../templates/report.css");

/// The document as a page.
///
/// # Errors
/// When the template cannot be rendered.
pub fn render(document: &Document) -> Result<String, askama::Error> {
    let page = Page { document, page_style: PAGE_STYLE, figure_style: STYLE }.render()?;
    // Loops in the template leave blank lines behind.
    let mut out = String::with_capacity(page.len());
    for line in page.lines().filter(|line| !line.trim().is_empty()) {
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}
