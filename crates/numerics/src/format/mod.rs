//! Number formats.

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

/// What values are held in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// A plain cast, or a scaled one when the scheme has a granularity.
    Minifloat {
        /// Which.
        exmy: ExMy,
        /// How.
        rounding: RoundingMode,
    },
    /// `intN`, always with a granularity.
    Int {
        /// N, 2 to 16.
        bits: u8,
        /// Around zero or from least to greatest.
        symmetry: Symmetry,
        /// How.
        rounding: RoundingMode,
    },
    /// The nearest entry of a table, always with a granularity.
    Codebook(&'static CodebookFormat),
    /// The nearest entry of the table in the scheme's file, always with a granularity.
    Table,
    /// One of the OCP MX formats.
    Mx {
        /// Which.
        format: &'static MxFormat,
        /// Of the elements.
        rounding: RoundingMode,
    },
    /// NVIDIA's two-level four-bit format.
    Nvfp4 {
        /// Of the elements.
        rounding: RoundingMode,
    },
    /// One of ggml's own types.
    Ggml(&'static GgmlFormat),
    /// Control: values stay as they are.
    Identity,
    /// Control: one ulp of F32 up or down.
    Jitter {
        /// Of the coin.
        seed: u64,
    },
    /// Control: Gaussian noise of a given energy.
    Noise {
        /// Signal to noise in dB.
        sqnr_db: f64,
        /// Of the draws.
        seed: u64,
    },
    /// Control: the values of each group in another order.
    Shuffle {
        /// Of the order.
        seed: u64,
    },
    /// Control: every value +0.0.
    Zero,
}
