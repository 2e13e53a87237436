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
pub mod reference;
mod scheme;

mod format {
    pub(crate) mod codebook;
    pub(crate) mod codebook_table;
    pub(crate) mod exmy;
    pub mod ggml;
    pub(crate) mod integer;
    pub(crate) mod minifloat;
    pub(crate) mod mx;
    pub(crate) mod nvfp4;
    pub(crate) mod rounding;
    pub(crate) mod scale;
    pub(crate) mod stream;
}
mod hold {
    pub(crate) mod clip;
    pub(crate) mod control;
    pub(crate) mod fake_quantize;
    pub(crate) mod groups;
    pub(crate) mod holder;
    pub(crate) mod kernel;
    pub(crate) mod observer;
    pub(crate) mod part;
    mod saturation;
}

pub use format::ggml;
use format::{codebook, codebook_table, exmy, integer, minifloat, mx, nvfp4, rounding, scale, stream};
use hold::{clip, control, fake_quantize, groups, holder, observer, part as together};
pub use scheme::table as formats;
use scheme::{file as scheme_file, grammar, imatrix, page as formats_page};

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
