//! Number formats: which values a format has, and what it makes of a value or of a group of values.
//!
//! ```text
//! stream ──▶ rounding ──▶ exmy ──▶ minifloat ──▶ scale ──▶ group ──▶ scaled · integer · codebook · nvfp4
//! (draws)                   └────▶ mx                      (trait)   (one kernel for each kind of format)
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `exmy`, `minifloat` | small floats by their fields; faster casts for BF16, F16 and TF32 |
//! | `integer`, `codebook`, `nvfp4`, `scaled` | the kinds of format that have a scale for each group, with their drawings and kernels |
//! | `mx` | the OCP MX formats, which are small floats or integers with an E8M0 scale |
//! | `codebook_table` | a codebook that a user writes in a text file |
//! | `ggml` | the table of ggml's types; ggml's own functions quantize to them |
//! | `rounding`, `stream` | how a value between two levels is rounded, and the random draws of stochastic rounding |
//! | `scale`, `exponent` | the formats that a scale can be stored in; powers of two and exponents |
//! | `group` | a group of values with one scale: its range, the positions of its values, and the trait of a kernel |
//!
//! Nothing here knows schemes or tensors.

pub(crate) mod codebook;
pub(crate) mod codebook_table;
pub(crate) mod exmy;
mod exponent;
pub(crate) mod ggml;
pub(crate) mod group;
pub(crate) mod integer;
mod minifloat;
pub(crate) mod mx;
pub(crate) mod nvfp4;
pub(crate) mod rounding;
pub(crate) mod scale;
pub(crate) mod scaled;
pub(crate) mod stream;

pub use codebook::CodebookFormat;
pub use codebook_table::{CodebookTable, CodebookTableError, MAX_ENTRIES};
pub use exmy::{ExMy, Specials};
use ggml::GgmlFormat;
pub use integer::Symmetry;
pub use minifloat::Minifloat;
pub use mx::{MX_BLCK_SIZE, MxElement, MxFormat};
pub use nvfp4::NVFP4_BLCK_SIZE;
pub(crate) use rounding::DEFAULT_SEED;
pub use rounding::{Rounding, RoundingMode};
pub use scale::ScaleFormat;

/// A number format with everything but its scales: what [`Scheme::format`](crate::Scheme::format) returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// A small float: a plain cast, or a scaled one when the scheme has a granularity.
    Minifloat {
        /// The fields of the float.
        exmy: ExMy,
        /// How values are rounded.
        rounding: RoundingMode,
    },
    /// `intN`: integers with a scale, always with a granularity.
    Int {
        /// N, from 2 to 16.
        bits: u8,
        /// Where the levels lie, around zero or from the least to the greatest value.
        symmetry: Symmetry,
        /// How values are rounded.
        rounding: RoundingMode,
    },
    /// The nearest entry of a built-in table, always with a granularity.
    Codebook(&'static CodebookFormat),
    /// The nearest entry of the table in the scheme's file, always with a granularity.
    Table,
    /// One of the OCP MX formats.
    Mx {
        /// The row of the table of MX formats.
        format: &'static MxFormat,
        /// How the elements are rounded.
        rounding: RoundingMode,
    },
    /// NVFP4, NVIDIA's four-bit format with scales in two levels.
    Nvfp4 {
        /// How the elements are rounded.
        rounding: RoundingMode,
    },
    /// One of ggml's own types.
    Ggml(&'static GgmlFormat),
    /// A control that leaves values as they are.
    Identity,
    /// A control that moves each value by one ulp of F32, up or down.
    Jitter {
        /// The seed of the coin that decides up or down.
        seed: u64,
    },
    /// A control that adds Gaussian noise of a given energy.
    Noise {
        /// The ratio of signal to noise, in dB.
        sqnr_db: f64,
        /// The seed of the noise.
        seed: u64,
    },
    /// A control that permutes the values of each group.
    Shuffle {
        /// The seed of the permutation.
        seed: u64,
    },
    /// A control that makes every value +0.0.
    Zero,
}
