//! A scheme: a number format with granularity and options, valid by construction.

pub(crate) mod file;
pub(crate) mod grammar;
pub(crate) mod imatrix;
pub(crate) mod page;
pub mod table;

use crate::clip::Clip;
use crate::codebook::CodebookFormat;
use crate::exmy::ExMy;
use crate::ggml::GgmlFormat;
use crate::mx::{MX_BLCK_SIZE, MxFormat};
use crate::nvfp4::NVFP4_BLCK_SIZE;
use crate::rounding::RoundingMode;
use crate::scale::ScaleFormat;
use crate::scheme_file::SchemeFile;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;

/// Values of a super-block of `scale=f16hier`, as of ggml's K types.
const SUPER_BLOCK: u32 = 256;

/// Bits of its own scale.
const SUPER_SCALE_BITS: u32 = 16;

/// Seed of a control whose scheme names none.
pub const DEFAULT_SEED: u64 = 1;

/// `FORMAT[@GRANULARITY][:OPTION…]`. Made by parsing; printed canonically, so that
/// `scheme.to_string().parse()` gives the same scheme and equal schemes print alike.
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

/// Where an integer's levels lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Symmetry {
    /// ±(2^(N−1) − 1) steps around zero.
    #[default]
    Sym,
    /// 2^N − 1 steps from the least to the greatest value.
    Asym,
    /// The same over a range that includes zero, which is a level: an integer of N bits is stored for it.
    ZeroPoint,
    /// −2^(N−1) to 2^(N−1) − 1 steps, the value of greatest magnitude on the first.
    FullRange,
}

impl Symmetry {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Symmetry); 4] = [
        ("sym", Symmetry::Sym),
        ("asym", Symmetry::Asym),
        ("zeropoint", Symmetry::ZeroPoint),
        ("fullrange", Symmetry::FullRange),
    ];

    /// As an option.
    pub fn name(self) -> &'static str {
        Symmetry::ALL.iter().find(|(_, symmetry)| *symmetry == self).map_or("", |(name, _)| name)
    }
}

/// Which values share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// All.
    Tensor,
    /// One output channel: `ne[0]` contiguous values.
    Row,
    /// One input channel, across all rows.
    Col,
    /// N contiguous values of a row; a row's last block may be shorter.
    Block(NonZeroU32),
    /// `rows` output channels by `cols` contiguous values; the last tiles may be shorter. Rows are
    /// counted through all matrices of a tensor.
    Tile {
        /// N of `@NxM`.
        rows: NonZeroU32,
        /// M of `@NxM`.
        cols: NonZeroU32,
    },
}

impl Granularity {
    /// Values that share an F16 scale under `scale=f16hier`: as many whole blocks as 256 values hold, at least one.
    pub(crate) fn super_block(self) -> Option<u32> {
        match self {
            Granularity::Block(n) => Some((SUPER_BLOCK / n.get()).max(1).saturating_mul(n.get())),
            _ => None,
        }
    }

    /// `@blockN` for an N that is known to be one.
    pub(crate) fn block(n: u32) -> Granularity {
        NonZeroU32::new(n).map_or(Granularity::Tensor, Granularity::Block)
    }

    /// Groups of a tensor of `rows` rows of `n_per_row`.
    fn groups(self, rows: u64, n_per_row: u64) -> u64 {
        match self {
            Granularity::Tensor => 1,
            Granularity::Row => rows,
            Granularity::Col => n_per_row,
            Granularity::Block(n) => rows * n_per_row.div_ceil(u64::from(n.get())),
            Granularity::Tile { rows: n, cols: m } => {
                rows.div_ceil(u64::from(n.get())) * n_per_row.div_ceil(u64::from(m.get()))
            }
        }
    }
}

/// What happens to NaN and infinity in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Nonfinite {
    /// An error that names tensor and index.
    #[default]
    Error,
    /// They stay as they are and take no part in any scale.
    Keep,
}

impl Scheme {
    /// The `identity` control.
    pub fn identity() -> Self {
        Scheme::plain(Format::Identity)
    }

    /// The `jitter` control.
    pub fn jitter(seed: u64) -> Self {
        Scheme::plain(Format::Jitter { seed })
    }

    /// The `zero` control.
    pub fn zero() -> Self {
        Scheme::plain(Format::Zero)
    }

    /// A format with nothing else said.
    pub(crate) fn plain(format: Format) -> Self {
        let scale = default_scale(format);
        Scheme { format, granularity: None, scale, clip: Clip::Absmax, file: None, nonfinite: Nonfinite::Error }
    }

    /// What values are held in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Which values share a scale; `None` where the format has none or its own.
    pub fn granularity(&self) -> Option<Granularity> {
        self.granularity
    }

    /// What holds the scale, where there is one to choose.
    pub fn scale(&self) -> ScaleFormat {
        self.scale
    }

    /// Which range the scale covers.
    pub fn clip(&self) -> Clip {
        self.clip
    }

    /// What happens to NaN and infinity.
    pub fn nonfinite(&self) -> Nonfinite {
        self.nonfinite
    }

    /// The same scheme with another answer to NaN and infinity.
    #[must_use]
    pub fn with_nonfinite(self, nonfinite: Nonfinite) -> Scheme {
        Scheme { nonfinite, ..self }
    }

    /// The same scheme in another ggml type; without its importance matrix where that type uses none.
    #[must_use]
    pub fn in_ggml(&self, format: &'static GgmlFormat) -> Scheme {
        let file = self.file.clone().filter(|_| format.imatrix != crate::ggml::ImatrixUse::Ignored);
        Scheme { file, ..Scheme::plain(Format::Ggml(format)) }.with_nonfinite(self.nonfinite)
    }

    /// The ggml type, for schemes that go through a codec's `quantize`.
    pub fn ggml_format(&self) -> Option<&'static GgmlFormat> {
        match self.format {
            Format::Ggml(format) => Some(format),
            _ => None,
        }
    }

    /// Bits a value of an `n`-value tensor in rows of `n_per_row` would take if stored in this format,
    /// scales and minima included. Controls are stored as F32, but for `zero`, which takes none. NaN for a table that
    /// was not read.
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

/// The granularity of a format that needs one and is given none.
pub(crate) fn default_granularity(format: Format) -> Option<Granularity> {
    match format {
        Format::Codebook(codebook) => Some(Granularity::block(codebook.blck_size)),
        _ => None,
    }
}

/// What holds the scale when nothing is said.
pub(crate) fn default_scale(format: Format) -> ScaleFormat {
    match format {
        Format::Codebook(codebook) => codebook.scale,
        _ => ScaleFormat::F32,
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Minifloat { exmy, .. } => write!(f, "{exmy}")?,
            Format::Int { bits, .. } => write!(f, "int{bits}")?,
            Format::Codebook(codebook) => f.write_str(codebook.name)?,
            Format::Table => f.write_str("codebook")?,
            Format::Mx { format, .. } => f.write_str(format.name)?,
            Format::Nvfp4 { .. } => f.write_str("nvfp4")?,
            Format::Ggml(format) => {
                let prefix = if format.bare { "" } else { "ggml:" };
                write!(f, "{prefix}{}", format.name.to_ascii_lowercase())?;
            }
            Format::Identity => f.write_str("identity")?,
            Format::Jitter { .. } => f.write_str("jitter")?,
            Format::Noise { sqnr_db, .. } => write!(f, "noise({sqnr_db})")?,
            Format::Shuffle { .. } => f.write_str("shuffle")?,
            Format::Zero => f.write_str("zero")?,
        }
        if let Some(granularity) = self.granularity.filter(|_| self.granularity != default_granularity(self.format)) {
            write!(f, "@{granularity}")?;
        }
        match self.format {
            Format::Minifloat { exmy, .. } => f.write_str(&exmy.options())?,
            Format::Int { symmetry, .. } if symmetry != Symmetry::Sym => write!(f, ":{}", symmetry.name())?,
            _ => {}
        }
        match self.format {
            Format::Minifloat { rounding, .. }
            | Format::Int { rounding, .. }
            | Format::Mx { rounding, .. }
            | Format::Nvfp4 { rounding }
                if rounding != RoundingMode::default() =>
            {
                write!(f, ":{rounding}")?;
            }
            Format::Jitter { seed } | Format::Noise { seed, .. } | Format::Shuffle { seed } if seed != DEFAULT_SEED => {
                write!(f, ":seed={seed}")?;
            }
            _ => {}
        }
        if self.scale != default_scale(self.format) {
            write!(f, ":scale={}", self.scale)?;
        }
        if self.clip != Clip::Absmax {
            write!(f, ":clip={}", self.clip)?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{}={}", file.option().key(), file.identity())?;
        }
        match self.nonfinite {
            Nonfinite::Error => Ok(()),
            Nonfinite::Keep => f.write_str(":nonfinite=keep"),
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Granularity::Tensor => f.write_str("tensor"),
            Granularity::Row => f.write_str("row"),
            Granularity::Col => f.write_str("col"),
            Granularity::Block(n) => write!(f, "block{n}"),
            Granularity::Tile { rows, cols } => write!(f, "{rows}x{cols}"),
        }
    }
}

impl From<Scheme> for String {
    fn from(scheme: Scheme) -> String {
        scheme.to_string()
    }
}

impl TryFrom<String> for Scheme {
    type Error = crate::SchemeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_per_weight_counts_the_scales_of_short_blocks_too() {
        let bpw = |s: &str, n, n_per_row| s.parse::<Scheme>().unwrap().bits_per_weight(n, n_per_row);
        assert_eq!(bpw("bf16", 576, 576), 16.0);
        assert_eq!(bpw("int4@block32", 64, 64), 5.0);
        assert_eq!(bpw("int4@block32:asym", 64, 64), 6.0);
        assert_eq!(bpw("int8@row", 200, 100), 8.32);
        // 100 = 32 + 32 + 32 + 4: four scales a row.
        assert_eq!(bpw("int4@block32", 200, 100), 4.0 + 8.0 * 32.0 / 200.0);
        assert_eq!(bpw("q4_k", 256, 256), 4.5);
        assert_eq!(bpw("mxfp4", 64, 64), 4.25);
        assert_eq!(bpw("mxfp8_e5m2", 100, 100), 8.0 + 4.0 * 8.0 / 100.0);
        assert_eq!(bpw("nvfp4", 64, 64), 4.0 + 0.5 + 0.5);
        assert_eq!(bpw("nf4", 128, 128), 4.5);
        assert_eq!(bpw("iq4_nl", 64, 64), 4.5);
        assert_eq!(bpw("fp8_e4m3@128x128:scale=bf16", 256 * 192, 192), 8.0 + 4.0 * 16.0 / (256.0 * 192.0));
        assert_eq!(bpw("int4@block32:scale=e8m0", 64, 64), 4.25);
        // As Q4_K without its minima: eight scales of six bits and one of sixteen.
        assert_eq!(bpw("int4@block32:scale=f16hier", 512, 256), 4.0 + (8.0 * 6.0 + 16.0) / 256.0);
        assert_eq!(bpw("int4@block16:scale=f16hier", 512, 512), 4.0 + (16.0 * 6.0 + 16.0) / 256.0);
        assert_eq!(bpw("int4@block512:scale=f16hier", 512, 512), 4.0 + (6.0 + 16.0) / 512.0);
        assert_eq!(bpw("int4@block32:zeropoint:scale=f16", 64, 64), 4.0 + (16.0 + 4.0) / 32.0);
        assert_eq!(bpw("int4@block32:fullrange", 64, 64), 5.0);
        assert!(bpw("codebook@row:table=t.txt", 64, 64).is_nan());
    }

    #[test]
    fn a_scheme_is_a_string_in_json() {
        let scheme: Scheme = serde_json::from_str("\"INT8@Row:asym\"").unwrap();
        assert_eq!(serde_json::to_string(&scheme).unwrap(), "\"int8@row:asym\"");
        assert!(serde_json::from_str::<Scheme>("\"int8\"").unwrap_err().to_string().contains("granularity"));
    }
}
