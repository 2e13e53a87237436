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

mod codec;
mod difference;
mod format;
mod hold;
pub mod reference;
mod scheme;

/// The table of formats, and the page that is written from it.
pub mod formats {
    pub use crate::scheme::page::page;
    pub use crate::scheme::table::{
        Control, FORMATS, Family, FormatInfo, Granularities, Kind, codebooks, floats, names_in_words,
    };
}

/// The table of ggml's types.
pub mod ggml {
    pub use crate::format::ggml::{GGML_FORMATS, GgmlFormat, ImatrixUse};
}

pub use codec::{BlockCodec, BlockLayout, CodecError, PlainCodec};
pub use difference::{Difference, DifferenceSums, difference};
pub use format::{
    CodebookFormat, CodebookTable, CodebookTableError, ExMy, Format, MAX_ENTRIES, MX_BLCK_SIZE, Minifloat, MxElement,
    MxFormat, NVFP4_BLCK_SIZE, Rounding, RoundingMode, ScaleFormat, Specials, Symmetry,
};
pub use hold::error::FakeQuantError;
pub use hold::fake_quantize::TensorContext;
pub use hold::holder::Holder;
pub use hold::observer::Observer;
pub use hold::part::Together;
pub use scheme::file::{FileContents, FileOption, SchemeFile};
pub use scheme::grammar::SchemeError;
pub use scheme::imatrix::{Imatrix, ImatrixError, Importance, TensorShape};
pub use scheme::{Clip, Granularity, Nonfinite, Scheme};
