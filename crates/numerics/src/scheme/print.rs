//! The printer of schemes. It prints canonically: defaults are left out, and options come in a fixed order.

use super::{Clip, Granularity, Nonfinite, Scheme, default_granularity, default_scale};
use crate::format::{DEFAULT_SEED, ExMy, Format, RoundingMode, Specials, Symmetry};
use std::fmt;

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

impl fmt::Display for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clip::Absmax => f.write_str("absmax"),
            Clip::Mse => f.write_str("mse"),
            // A tiny number written out would take hundreds of digits.
            Clip::Quantile(percent) if *percent < 1e-6 => write!(f, "p{percent:e}"),
            Clip::Quantile(percent) => write!(f, "p{percent}"),
        }
    }
}

impl fmt::Display for ExMy {
    /// The part before `@`; `ExMy::options` gives the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "e{}m{}", self.exponent_bits(), self.mantissa_bits()),
        }
    }
}

impl ExMy {
    /// The options that complete the part before `@`, such as `:finite:bias=8`; empty for a float with a name.
    pub(crate) fn options(self) -> String {
        if self.name().is_some() {
            return String::new();
        }
        let mut options = match self.specials() {
            Specials::Ieee => String::new(),
            Specials::Fn => ":fn".to_owned(),
            Specials::Finite => ":finite".to_owned(),
        };
        if !self.has_default_bias() {
            options.push_str(&format!(":bias={}", self.bias()));
        }
        options
    }
}

impl From<Scheme> for String {
    fn from(scheme: Scheme) -> String {
        scheme.to_string()
    }
}
