//! What a scheme says: a number format with a granularity and options, valid by construction.
//!
//! ```text
//! "int8@row:asym" ── grammar ──▶ Scheme ── print ──▶ "int8@row:asym"   (canonical: equal schemes print alike)
//!                       ▲
//!                     table ── page ──▶ docs/formats.md
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `mod` | [`Scheme`] and its options; the bits that a value takes under it |
//! | `granularity` | which values share a scale |
//! | `table` | the one table of formats |
//! | `grammar`, `print` | the parser and the printer |
//! | `page` | the page on formats, written from the table |
//! | `file`, `imatrix` | files that a scheme names, and the importance matrices that one can contain |
//!
//! What a scheme does to values is in `hold`.

pub(crate) mod file;
pub(crate) mod grammar;
mod granularity;
pub(crate) mod imatrix;
pub(crate) mod page;
mod print;
pub(crate) mod table;

use crate::format::ggml::{GgmlFormat, ImatrixUse};
use crate::format::{Format, MX_BLCK_SIZE, NVFP4_BLCK_SIZE, ScaleFormat, Symmetry};
use file::{FileContents, SchemeFile};
pub use granularity::Granularity;
use serde::{Deserialize, Serialize};

/// Bits of the scale of a super-block.
const SUPER_SCALE_BITS: u32 = 16;

/// A scheme, which is written `FORMAT[@GRANULARITY][:OPTION…]`.
///
/// Parsing makes it, so it is always valid. `Display` prints it canonically: `scheme.to_string().parse()` gives the
/// same scheme, and equal schemes print alike. In JSON it is a string.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scheme {
    pub(crate) format: Format,
    pub(crate) granularity: Option<Granularity>,
    pub(crate) scale: ScaleFormat,
    pub(crate) clip: Clip,
    pub(crate) file: Option<SchemeFile>,
    pub(crate) nonfinite: Nonfinite,
}

/// How the range that a scale covers is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Clip {
    /// The range of all values, so that none is clamped.
    #[default]
    Absmax,
    /// The range that gives the least sum of squared errors, among hundredths (0.01 to 1.00) of the greatest magnitude;
    /// the greater of two that give the same.
    Mse,
    /// Up to the Q-th percentile of the magnitudes by nearest rank: the ⌈Q/100·n⌉-th least of n. Q is above 0 and below
    /// 100.
    Quantile(f64),
}

/// What a scheme does with NaN and infinity in its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Nonfinite {
    /// They are an error that names the tensor and the index.
    #[default]
    Error,
    /// They stay as they are and take no part in any scale.
    Keep,
}

impl Scheme {
    /// The `identity` control, which leaves values as they are.
    pub fn identity() -> Self {
        Scheme::plain(Format::Identity)
    }

    /// The `jitter` control, which moves each value by one ulp, with this seed.
    pub fn jitter(seed: u64) -> Self {
        Scheme::plain(Format::Jitter { seed })
    }

    /// The `zero` control, which makes every value +0.0.
    pub fn zero() -> Self {
        Scheme::plain(Format::Zero)
    }

    /// A scheme that says nothing but its format.
    pub(crate) fn plain(format: Format) -> Self {
        let scale = default_scale(format);
        Scheme { format, granularity: None, scale, clip: Clip::Absmax, file: None, nonfinite: Nonfinite::Error }
    }

    /// The number format with everything but its scales.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Which values share a scale; `None` where the format has no scale or its own granularity.
    pub fn granularity(&self) -> Option<Granularity> {
        self.granularity
    }

    /// The format of the scale, where there is one to choose.
    pub fn scale(&self) -> ScaleFormat {
        self.scale
    }

    /// How the range that the scale covers is chosen.
    pub fn clip(&self) -> Clip {
        self.clip
    }

    /// What the scheme does with NaN and infinity.
    pub fn nonfinite(&self) -> Nonfinite {
        self.nonfinite
    }

    /// The same scheme with another rule for NaN and infinity.
    #[must_use]
    pub fn with_nonfinite(self, nonfinite: Nonfinite) -> Scheme {
        Scheme { nonfinite, ..self }
    }

    /// The same scheme in another ggml type. It loses its importance matrix where that type uses none.
    #[must_use]
    pub fn in_ggml(&self, format: &'static GgmlFormat) -> Scheme {
        let file = self.file.clone().filter(|_| format.imatrix != ImatrixUse::Ignored);
        Scheme { file, ..Scheme::plain(Format::Ggml(format)) }.with_nonfinite(self.nonfinite)
    }

    /// The ggml type, for schemes that go through a codec's `quantize`; `None` for all others.
    pub fn ggml_format(&self) -> Option<&'static GgmlFormat> {
        match self.format {
            Format::Ggml(format) => Some(format),
            _ => None,
        }
    }

    /// Bits that a value of a tensor would take if it were stored in this format, scales and minima included. The
    /// tensor has `n` values in rows of `n_per_row`. Controls count as F32, except `zero`, which takes no bits. NaN for
    /// a codebook whose file was not read.
    pub fn bits_per_weight(&self, n: u64, n_per_row: u64) -> f64 {
        const F32_BITS: u32 = 32;
        let shared = |granularity: Granularity, bits: u32| match n_per_row {
            0 => 0.0,
            _ if n == 0 => 0.0,
            _ => f64::from(bits) * granularity.groups(n / n_per_row, n_per_row) as f64 / n as f64,
        };
        let super_blocks = self.granularity.filter(|_| self.scale == ScaleFormat::F16Hier).map_or(0.0, |g| {
            let n = g.super_block().map_or(Granularity::Tensor, Granularity::block);
            shared(n, SUPER_SCALE_BITS)
        });
        let scales = |each: u32| self.granularity.map_or(0.0, |g| shared(g, each * self.scale.bits())) + super_blocks;
        match self.format {
            Format::Minifloat { exmy, .. } => f64::from(exmy.bits()) + scales(1),
            Format::Int { bits, symmetry: Symmetry::Sym | Symmetry::FullRange, .. } => f64::from(bits) + scales(1),
            Format::Int { bits, symmetry: Symmetry::Asym, .. } => f64::from(bits) + scales(2),
            Format::Int { bits, symmetry: Symmetry::ZeroPoint, .. } => {
                let zero_points = self.granularity.map_or(0.0, |g| shared(g, u32::from(bits)));
                f64::from(bits) + scales(1) + zero_points
            }
            Format::Codebook(codebook) => f64::from(codebook.bits()) + scales(1),
            Format::Table => {
                self.file.as_ref().and_then(SchemeFile::table).map_or(f64::NAN, |t| f64::from(t.bits()) + scales(1))
            }
            Format::Mx { format, .. } => f64::from(format.element_bits()) + shared(Granularity::block(MX_BLCK_SIZE), 8),
            Format::Nvfp4 { .. } => {
                4.0 + shared(Granularity::block(NVFP4_BLCK_SIZE), 8) + shared(Granularity::Tensor, F32_BITS)
            }
            Format::Ggml(format) => format.bits_per_weight(),
            Format::Identity | Format::Jitter { .. } | Format::Noise { .. } | Format::Shuffle { .. } => {
                f64::from(F32_BITS)
            }
            Format::Zero => 0.0,
        }
    }
}

impl Scheme {
    /// The file that the scheme names, if there is one.
    pub fn file(&self) -> Option<&SchemeFile> {
        self.file.as_ref()
    }

    /// The same scheme with the contents of its file, and the BLAKE3 of that file in hexadecimal. Contents of another
    /// kind are ignored.
    #[must_use]
    pub fn with_contents(&self, blake3: &str, contents: FileContents) -> Scheme {
        let file = self.file.clone().map(|file| file.with_contents(blake3, contents));
        Scheme { file, ..self.clone() }
    }

    /// The scheme in canonical form for people and shells, with `shown(name)` in place of the name of its file.
    pub fn with_file_shown(&self, shown: impl FnOnce(&str) -> String) -> String {
        let file = self.file.clone().map(|file| SchemeFile::named(file.option(), &shown(file.name())));
        Scheme { file, ..self.clone() }.to_string()
    }
}

/// The granularity of a format that needs one where the scheme gives none.
pub(crate) fn default_granularity(format: Format) -> Option<Granularity> {
    match format {
        Format::Codebook(codebook) => Some(Granularity::block(codebook.blck_size)),
        _ => None,
    }
}

/// The format of the scale where the scheme gives none.
pub(crate) fn default_scale(format: Format) -> ScaleFormat {
    match format {
        Format::Codebook(codebook) => codebook.scale,
        _ => ScaleFormat::F32,
    }
}
