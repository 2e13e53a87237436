//! Text for people and for the formats that people read. This room formats every number and escapes all foreign text.
//!
//! It does not know anything about assay. Its input is plain numbers and strings, and its output is text. It also has
//! the one type of the advice that goes with errors, which every room may give and the fronts word.
//!
//! | module | what it does |
//! |---|---|
//! | [`number`](mod@number) | numbers, counts, shares and sizes as text: each kind of number looks the same everywhere |
//! | [`size`] | sizes as people type them (`8G`) |
//! | [`date`] | dates and times of day as text |
//! | [`near`] | the names that a mistyped one may have meant |
//! | [`shell`] | words for a POSIX shell |
//! | [`advice`] | advice on an error, as a value that a front words |
//! | [`lines`] | text that is built line by line |
//! | [`invisible`] | the one table of characters that are invisible or change how others are shown |
//! | [`escape`] | foreign text made harmless for terminal, JSON, Markdown, XML and CSV, over that table |

pub mod advice;
pub mod date;
pub mod escape;
pub mod invisible;
pub mod lines;
pub mod near;
pub mod number;
pub mod shell;
pub mod size;

pub use advice::{Advice, Hint};
pub use date::utc;
pub use escape::{
    JsonOut, escape_csv, escape_json, escape_markdown, escape_markdown_code, escape_markdown_line_start, escape_short,
    escape_terminal, escape_xml, longest_run, printable,
};
pub use lines::{Lines, first_line};
pub use near::{edit_distance, nearest};
pub use number::{
    Number, about_percent, bits, bytes, count, decade, decibels, deviation, difference, divergence, effective_bits,
    entropy, evidence_bits, exact, exact_f32, hex, named, nats, number, of, p_value, perplexity, perplexity_ratio,
    plural, plus_minus, share, signed, standard_error, times, whole,
};
pub use shell::quoted;
pub use size::parse_size;
