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
//! - [`formats::FORMATS`] is the one table of formats; each family has a file, with a drawing of its bits where it has
//!   any: `exmy` (and `minifloat`, its fast casts), `integer`, `codebook` (and `codebook_table`), `mx`, `nvfp4`, `control`, [`ggml`].
//! - What the families share: `groups` (granularity), `scale`, `clip`, `rounding`; `kernels` says which of them a scheme has.
//! - [`Observer`] learns what must be known of a whole tensor, and [`Holder`] holds any piece of it then; in memory the
//!   piece is the tensor. [`Together`] says what a piece is made up of.
//! - [`SchemeFile`] is a file that a scheme names, [`Imatrix`] and [`CodebookTable`] what can be in one.
//! - [`BlockCodec`] is what is needed from ggml; [`PlainCodec`] does its plain floats without any C++.
//! - [`reference`](mod@reference) is the obvious scalar form of every scheme of our own; the fast paths are compared with it for ever.
//! - [`Difference`] is what the values of one tensor lost.
//!
//! Every result is the same bits whatever the number of threads, and on every machine: seeds are
//! arguments, sums run in a fixed order in f64, and no system mathematics library is used.

mod clip;
mod codebook;
mod codebook_table;
mod codec;
mod control;
mod difference;
mod exmy;
mod fake_quantize;
pub mod formats;
mod formats_page;
pub mod ggml;
mod grammar;
mod groups;
mod holder;
mod imatrix;
mod integer;
mod kernels;
mod minifloat;
mod mx;
mod nvfp4;
mod observer;
pub mod reference;
mod rounding;
mod saturation;
mod scale;
mod scheme;
mod scheme_file;
mod stream;
mod together;

pub use clip::Clip;
pub use codebook::CodebookFormat;
pub use codebook_table::{CodebookTable, CodebookTableError, MAX_ENTRIES};
pub use codec::{BlockCodec, BlockLayout, CodecError, PlainCodec};
pub use difference::{Difference, DifferenceSums, difference};
pub use exmy::{ExMy, Specials};
pub use fake_quantize::{FakeQuantError, TensorContext};
pub use grammar::SchemeError;
pub use holder::Holder;
pub use imatrix::{Imatrix, ImatrixError, Importance, TensorShape};
pub use minifloat::Minifloat;
pub use mx::{MX_BLCK_SIZE, MxElement, MxFormat};
pub use nvfp4::NVFP4_BLCK_SIZE;
pub use observer::Observer;
pub use rounding::{Rounding, RoundingMode};
pub use scale::ScaleFormat;
pub use scheme::{Format, Granularity, Nonfinite, Scheme, Symmetry};
pub use scheme_file::{FileContents, FileOption, SchemeFile};
pub use together::Together;
