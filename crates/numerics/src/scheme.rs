//! A scheme: a number format with granularity and options, valid by construction.

use crate::ggml::GgmlFormat;
use crate::minifloat::{Minifloat, Rounding};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;

/// Seed of a control whose scheme names none.
pub const DEFAULT_SEED: u64 = 1;

/// `FORMAT[@GRANULARITY][:OPTION…]`. Made by parsing; printed canonically, so that
/// `scheme.to_string().parse()` gives the same scheme and equal schemes print alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scheme {
    pub(crate) format: Format,
    pub(crate) granularity: Option<Granularity>,
    pub(crate) nonfinite: Nonfinite,
}

/// What values are held in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// A plain cast, or a scaled one when the scheme has a granularity.
    Minifloat {
        /// Which.
        minifloat: Minifloat,
        /// How.
        rounding: Rounding,
    },
    /// `intN`, always with a granularity.
    Int {
        /// N, 2 to 16.
        bits: u8,
        /// Around zero or from least to greatest.
        symmetry: Symmetry,
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
        Scheme { format: Format::Identity, granularity: None, nonfinite: Nonfinite::Error }
    }

    /// The `jitter` control.
    pub fn jitter(seed: u64) -> Self {
        Scheme { format: Format::Jitter { seed }, granularity: None, nonfinite: Nonfinite::Error }
    }

    /// What values are held in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Which values share a scale; `None` where the format has none or its own.
    pub fn granularity(&self) -> Option<Granularity> {
        self.granularity
    }

    /// What happens to NaN and infinity.
    pub fn nonfinite(&self) -> Nonfinite {
        self.nonfinite
    }

    /// The ggml type, for schemes that go through a codec's `quantize`.
    pub fn ggml_format(&self) -> Option<&'static GgmlFormat> {
        match self.format {
            Format::Ggml(format) => Some(format),
            _ => None,
        }
    }

    /// Bits a value of an `n`-value tensor in rows of `n_per_row` would take if stored in this format,
    /// F32 scales and minima included. Controls are stored as F32, but for `zero`, which takes none.
    pub fn bits_per_weight(&self, n: u64, n_per_row: u64) -> f64 {
        const F32_BITS: f64 = 32.0;
        let scales = |each: f64| match self.granularity {
            None => 0.0,
            Some(_) if n == 0 || n_per_row == 0 => 0.0,
            Some(granularity) => {
                let rows = n / n_per_row;
                let groups = match granularity {
                    Granularity::Tensor => 1,
                    Granularity::Row => rows,
                    Granularity::Col => n_per_row,
                    Granularity::Block(b) => rows * n_per_row.div_ceil(u64::from(b.get())),
                };
                each * groups as f64 / n as f64
            }
        };
        match self.format {
            Format::Minifloat { minifloat, .. } => f64::from(minifloat.bits()) + scales(F32_BITS),
            Format::Int { bits, symmetry: Symmetry::Sym } => f64::from(bits) + scales(F32_BITS),
            Format::Int { bits, symmetry: Symmetry::Asym } => f64::from(bits) + scales(2.0 * F32_BITS),
            Format::Ggml(format) => format.bits_per_weight(),
            Format::Identity | Format::Jitter { .. } | Format::Noise { .. } => F32_BITS,
            Format::Zero => 0.0,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Minifloat { minifloat, .. } => f.write_str(minifloat.name())?,
            Format::Int { bits, .. } => write!(f, "int{bits}")?,
            Format::Ggml(format) => {
                let prefix = if format.bare { "" } else { "ggml:" };
                write!(f, "{prefix}{}", format.name.to_ascii_lowercase())?;
            }
            Format::Identity => f.write_str("identity")?,
            Format::Jitter { .. } => f.write_str("jitter")?,
            Format::Noise { sqnr_db, .. } => write!(f, "noise({sqnr_db})")?,
            Format::Zero => f.write_str("zero")?,
        }
        if let Some(granularity) = self.granularity {
            write!(f, "@{granularity}")?;
        }
        match self.format {
            Format::Minifloat { rounding: Rounding::Trunc, .. } => f.write_str(":trunc")?,
            Format::Int { symmetry: Symmetry::Asym, .. } => f.write_str(":asym")?,
            Format::Jitter { seed } | Format::Noise { seed, .. } if seed != DEFAULT_SEED => write!(f, ":seed={seed}")?,
            _ => {}
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
    }

    #[test]
    fn a_scheme_is_a_string_in_json() {
        let scheme: Scheme = serde_json::from_str("\"INT8@Row:asym\"").unwrap();
        assert_eq!(serde_json::to_string(&scheme).unwrap(), "\"int8@row:asym\"");
        assert!(serde_json::from_str::<Scheme>("\"int8\"").unwrap_err().to_string().contains("granularity"));
    }
}
