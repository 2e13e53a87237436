//! From a finished run to documents: Markdown, self-contained HTML, CSV and SVG figures.
//!
//! [`record::RunRecord`] → [`content`] (what is said, once) → [`document`] (blocks) →
//! [`markdown`] and [`html`] (how it looks) → [`write()`] (files).
//!
//! [`figure`] draws, [`csv`] tabulates the cells. The crate `words` is the only place where a number becomes text, and
//! the only place where foreign text becomes printable. Nothing here measures, judges or knows an engine; nothing here
//! reads a clock, a path or a host, so equal records give equal bytes.

pub mod content;
pub mod csv;
pub mod document;
pub mod figure;
pub mod html;
pub mod markdown;
pub mod write;

pub use write::{ReportError, write};
