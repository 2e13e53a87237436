//! Number formats: what a value becomes when it is held in one, and how far that is from where it was.
//!
//! The flow:
//!
//! ```text
//! "int8@row:asym" ── grammar ──▶ Scheme ── fake_quantize(values, TensorContext, BlockCodec) ──▶ values
//!                                  │                                                             │
//!                               formats (one table of what exists)          difference(reference, values) ──▶ Difference
//! ```
//!
//! - [`Scheme`] is a format with granularity and options; [`str::parse`] reads it and `Display` prints it canonically.
//! - [`formats::FORMATS`] is the one table of formats; each family has a file: `minifloat`, `integer`, `control`, [`ggml`].
//! - [`BlockCodec`] is what is needed from ggml; [`PlainCodec`] does its plain floats without any C++.
//! - [`reference`](mod@reference) is the obvious scalar form of every scheme of our own; the fast paths are compared with it for ever.
//! - [`Difference`] is what the values of one tensor lost.
//!
//! Every result is the same bits whatever the number of threads, and on every machine: seeds are
//! arguments, sums run in a fixed order in f64, and no system mathematics library is used.

mod codec;
mod control;
mod difference;
mod fake_quantize;
pub mod formats;
pub mod ggml;
mod grammar;
mod groups;
mod integer;
mod minifloat;
pub mod reference;
mod scheme;
mod stream;

pub use codec::{BlockCodec, BlockLayout, CodecError, PlainCodec};
pub use difference::{Difference, DifferenceSums, difference};
pub use fake_quantize::{FakeQuantError, TensorContext};
pub use grammar::SchemeError;
pub use minifloat::{Minifloat, Rounding};
pub use scheme::{Format, Granularity, Nonfinite, Scheme, Symmetry};
