//! Text for people and for the formats that people read: this room escapes every foreign word.
//!
//! It knows nothing of assay. Whatever it gets is a plain number or a plain string, and what it gives is text.
//!
//! | module | what it does |
//! |---|---|
//! | [`invisible`] | the one table of characters that nobody sees, or that change how others are shown |
//! | [`escape`] | foreign text made harmless for terminal, JSON, Markdown, XML and CSV, over that table |

pub mod escape;
pub mod invisible;

pub use escape::{
    JsonOut, escape_csv, escape_json, escape_markdown, escape_markdown_code, escape_markdown_line_start, escape_short,
    escape_terminal, escape_xml, longest_run, printable,
};
