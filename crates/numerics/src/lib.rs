//! Number formats: what a value becomes when it is quantized, and how far that is from where it was.
//!
//! The flow:
//!
//! ```text
//! "int8@row:asym" ── parse ──▶ Scheme ── fake_quantize(values, TensorContext, BlockCodec) ──▶ values
//!                                ▲                                                              │
//!                             formats (one table of what exists)       difference(reference, values) ──▶ Difference
//! ```
//!
//! The rooms; a line leads down, or along an arrow, to what a room uses (`tests/directions.rs` checks it):
//!
//! ```text
//!                 reference        every scheme in its obvious form, to compare with
//!                     │
//!                   hold           what happens to a tensor: passes, pieces, groups, kernels
//!                 ┌───┴───┐
//!               scheme    │        what a scheme says: grammar, table, page, files
//!                 │       │
//! difference ─▶ format  codec      number formats and their arithmetic · what is needed of ggml
//! ```
//!
//! | module | main types |
//! |---|---|
//! | `format` | [`ExMy`], [`Minifloat`], [`CodebookFormat`], [`MxFormat`], [`ScaleFormat`], [`RoundingMode`]; a drawing of the bits of each family; [`ggml`] |
//! | `scheme` | [`Scheme`] is a [`Format`] with [`Granularity`] and options; [`str::parse`] reads it and `Display` prints it canonically. [`formats::FORMATS`] is the one table. [`SchemeFile`] is a file that a scheme names; [`Imatrix`] and [`CodebookTable`] are what one can contain |
//! | `hold` | [`Observer`] reads a whole tensor, then [`Holder`] quantizes any piece of it; [`Together`] says what a piece must consist of. [`Scheme::fake_quantize`] does both for a tensor in memory |
//! | `codec` | [`BlockCodec`] is what is needed of ggml; [`PlainCodec`] has its plain floats without any C++ |
//! | `difference` | [`Difference`] is what the values of one tensor lost; [`DifferenceSums`] are its sums, for tensors in parts |
//! | [`reference`](mod@reference) | the obvious scalar form of every scheme of our own, which tests compare the fast paths with |
//!
//! Every result has the same bits for any number of threads and on every machine: seeds are arguments, sums run in a
//! fixed order in f64, and no system mathematics library is used.

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
pub use difference::{Difference, DifferenceSums, difference, is_other_value};
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
