//! The parser of `FORMAT[@GRANULARITY][:OPTION…]`. Case is ignored; the printer is in `scheme`.

use crate::formats::{self, FORMATS, Granularities};
use crate::ggml::GgmlFormat;
use crate::minifloat::{Minifloat, Rounding};
use crate::scheme::{DEFAULT_SEED, Format, Granularity, Nonfinite, Scheme, Symmetry};
use std::num::NonZeroU32;
use std::str::FromStr;

/// Why a text is not a scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// Nothing there.
    #[error("empty scheme: wanted FORMAT[@GRANULARITY][:OPTION…]\nhint: for example bf16, int8@row, q4_k")]
    Empty,
    /// No such format.
    #[error("scheme {scheme:?}: unknown format {format:?}\nhint: {}", did_you_mean(nearest))]
    UnknownFormat {
        /// As given.
        scheme: String,
        /// The part at fault.
        format: String,
        /// Names that are near.
        nearest: Vec<String>,
    },
    /// A format of the grammar that this version does not have.
    #[error("scheme {scheme:?}: the format {format:?} is not built in this version\nhint: {hint}")]
    NotBuilt {
        /// As given.
        scheme: String,
        /// The part at fault.
        format: String,
        /// What there is.
        hint: String,
    },
    /// An option of the grammar that this version does not have.
    #[error("scheme {scheme:?}: the option {option:?} is not built in this version\nhint: {hint}")]
    OptionNotBuilt {
        /// As given.
        scheme: String,
        /// The part at fault.
        option: String,
        /// What there is.
        hint: String,
    },
    /// `intN` with another N.
    #[error("scheme {scheme:?}: found int{found}, wanted int2 to int16")]
    IntBits {
        /// As given.
        scheme: String,
        /// N.
        found: String,
    },
    /// `noise` without a ratio that can be used.
    #[error(
        "scheme {scheme:?}: found {found:?}, wanted noise(SQNR_DB) with a number of dB from −200 to 200\n\
         hint: for example noise(30)"
    )]
    NoiseRatio {
        /// As given.
        scheme: String,
        /// The part at fault.
        found: String,
    },
    /// `intN` needs to know which values share a scale.
    #[error(
        "scheme {scheme:?}: no granularity, and {format} needs one\n\
         hint: {format}@tensor, {format}@row, {format}@col or {format}@blockN, for example {format}@block32"
    )]
    NeedsGranularity {
        /// As given.
        scheme: String,
        /// Format.
        format: String,
    },
    /// The format has none, or its own.
    #[error("scheme {scheme:?}: found @{granularity}, but {format} takes no granularity\nhint: write {format}")]
    TakesNoGranularity {
        /// As given.
        scheme: String,
        /// Format.
        format: String,
        /// The part at fault.
        granularity: String,
    },
    /// Not a granularity.
    #[error("scheme {scheme:?}: found granularity {found:?}, wanted tensor, row, col or blockN with N ≥ 1")]
    Granularity {
        /// As given.
        scheme: String,
        /// The part at fault.
        found: String,
    },
    /// `@NxM`.
    #[error(
        "scheme {scheme:?}: the granularity @{found} is not built in this version\n\
         hint: @tensor, @row, @col or @blockN"
    )]
    GranularityNotBuilt {
        /// As given.
        scheme: String,
        /// The part at fault.
        found: String,
    },
    /// Not an option of this format.
    #[error("scheme {scheme:?}: {format} has no option {found:?}\nhint: it has {options}")]
    UnknownOption {
        /// As given.
        scheme: String,
        /// Format.
        format: String,
        /// The part at fault.
        found: String,
        /// What it has.
        options: String,
    },
    /// Two options of a kind.
    #[error("scheme {scheme:?}: {found:?} sets what an earlier option has set")]
    Repeated {
        /// As given.
        scheme: String,
        /// The second one.
        found: String,
    },
    /// An option with a value that cannot be used.
    #[error("scheme {scheme:?}: found {found:?}, wanted {wanted}")]
    OptionValue {
        /// As given.
        scheme: String,
        /// The part at fault.
        found: String,
        /// What could stand there.
        wanted: &'static str,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => format!("formats are {}", formats::built_names()),
        names => format!("did you mean {}? `assay schemes` lists all", names.join(", ")),
    }
}

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(text: &str) -> Result<Self, SchemeError> {
        let lower = text.trim().to_ascii_lowercase();
        if lower.is_empty() {
            return Err(SchemeError::Empty);
        }
        let parts = Parts::split(&lower);
        let (format, rules) = parse_format(&parts)?;
        let granularity = parse_granularity(&parts, rules)?;
        Scheme { format, granularity, nonfinite: Nonfinite::Error }.with_options(&parts)
    }
}

/// A scheme's text, cut at `@` and `:`.
struct Parts<'a> {
    scheme: &'a str,
    /// With `ggml:` in front where that was given.
    format: &'a str,
    granularity: Option<&'a str>,
    options: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(scheme: &'a str) -> Self {
        let prefix = if scheme.starts_with("ggml:") { "ggml:".len() } else { 0 };
        let cut = scheme[prefix..].find(['@', ':']).map_or(scheme.len(), |i| prefix + i);
        let (format, rest) = scheme.split_at(cut);
        let mut pieces = rest.split(':');
        let granularity = pieces.next().and_then(|first| first.strip_prefix('@'));
        Parts { scheme, format, granularity, options: pieces.collect() }
    }

    fn scheme(&self) -> String {
        self.scheme.to_owned()
    }
}

fn parse_format(parts: &Parts<'_>) -> Result<(Format, Granularities), SchemeError> {
    let name = parts.format;
    if let Some(minifloat) = Minifloat::ALL.into_iter().find(|m| m.name() == name) {
        return Ok((Format::Minifloat { minifloat, rounding: Rounding::default() }, Granularities::Optional));
    }
    if let Some(bits) = name.strip_prefix("int").filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
        return match bits.parse() {
            Ok(bits @ 2..=16u8) => Ok((Format::Int { bits, symmetry: Symmetry::default() }, Granularities::Required)),
            _ => Err(SchemeError::IntBits { scheme: parts.scheme(), found: bits.to_owned() }),
        };
    }
    match name {
        "identity" => return Ok((Format::Identity, Granularities::None)),
        "jitter" => return Ok((Format::Jitter { seed: DEFAULT_SEED }, Granularities::None)),
        "zero" => return Ok((Format::Zero, Granularities::None)),
        _ => {}
    }
    if let Some(rest) = name.strip_prefix("noise") {
        return parse_noise(parts, rest);
    }
    if let Some(ggml) = name.strip_prefix("ggml:") {
        return match GgmlFormat::find(ggml) {
            Some(format) => Ok((Format::Ggml(format), Granularities::None)),
            None => Err(unknown(parts, ggml)),
        };
    }
    if let Some(format) = GgmlFormat::find(name).filter(|f| f.bare) {
        return Ok((Format::Ggml(format), Granularities::None));
    }
    if FORMATS.iter().any(|f| !f.built && f.name == name) || is_exmy(name) {
        let hint = match GgmlFormat::find(name) {
            Some(_) => format!("bare {name} is the standard's format; for ggml's write ggml:{name}"),
            None => format!("formats are {}", formats::built_names()),
        };
        return Err(SchemeError::NotBuilt { scheme: parts.scheme(), format: name.to_owned(), hint });
    }
    Err(unknown(parts, name))
}

fn unknown(parts: &Parts<'_>, name: &str) -> SchemeError {
    SchemeError::UnknownFormat {
        scheme: parts.scheme(),
        format: parts.format.to_owned(),
        nearest: formats::nearest(name),
    }
}

/// `e4m3`, and the like.
fn is_exmy(name: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix('e').and_then(|rest| rest.split_once('m')).is_some_and(|(e, m)| digits(e) && digits(m))
}

fn parse_noise(parts: &Parts<'_>, rest: &str) -> Result<(Format, Granularities), SchemeError> {
    let number = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')'));
    let sqnr_db = number.and_then(|n| n.trim().parse::<f64>().ok()).filter(|db| db.abs() <= 200.0);
    match sqnr_db {
        // −0 and 0 are one ratio and must print alike.
        Some(db) => Ok((Format::Noise { sqnr_db: db + 0.0, seed: DEFAULT_SEED }, Granularities::Optional)),
        None => Err(SchemeError::NoiseRatio { scheme: parts.scheme(), found: parts.format.to_owned() }),
    }
}

fn parse_granularity(parts: &Parts<'_>, rules: Granularities) -> Result<Option<Granularity>, SchemeError> {
    let (scheme, format) = (parts.scheme(), parts.format.to_owned());
    let Some(text) = parts.granularity else {
        return match rules {
            Granularities::Required => Err(SchemeError::NeedsGranularity { scheme, format }),
            _ => Ok(None),
        };
    };
    if rules == Granularities::None {
        return Err(SchemeError::TakesNoGranularity { scheme, format, granularity: text.to_owned() });
    }
    let granularity = match text {
        "tensor" => Some(Granularity::Tensor),
        "row" => Some(Granularity::Row),
        "col" => Some(Granularity::Col),
        _ => text
            .strip_prefix("block")
            .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|n| n.parse::<NonZeroU32>().ok())
            .map(Granularity::Block),
    };
    let tile = text.split_once('x').is_some_and(|(a, b)| a.parse::<u32>().is_ok() && b.parse::<u32>().is_ok());
    match granularity {
        None if tile => Err(SchemeError::GranularityNotBuilt { scheme, found: text.to_owned() }),
        None => Err(SchemeError::Granularity { scheme, found: text.to_owned() }),
        // Noise is per tensor when nothing is said, so saying it is the same scheme.
        Some(Granularity::Tensor) if parts.format.starts_with("noise") => Ok(None),
        some => Ok(some),
    }
}

/// Options of the grammar that come later, by their name before `=` or `(`.
const LATER_OPTIONS: &[&str] = &["away", "stochastic", "scale", "clip", "bias", "fn", "ieee", "imatrix"];

impl Scheme {
    fn with_options(mut self, parts: &Parts<'_>) -> Result<Scheme, SchemeError> {
        let mut format_option_seen = false;
        let mut nonfinite_seen = false;
        for &option in &parts.options {
            let scheme = parts.scheme();
            let found = option.to_owned();
            if let Some(value) = option.strip_prefix("nonfinite=") {
                if std::mem::replace(&mut nonfinite_seen, true) {
                    return Err(SchemeError::Repeated { scheme, found });
                }
                self.nonfinite = match value {
                    "error" => Nonfinite::Error,
                    "keep" => Nonfinite::Keep,
                    _ => {
                        return Err(SchemeError::OptionValue {
                            scheme,
                            found,
                            wanted: "nonfinite=error or nonfinite=keep",
                        });
                    }
                };
                continue;
            }
            if !self.set_format_option(option, &scheme)? {
                let name = option.split(['=', '(']).next().unwrap_or(option);
                let options = self.options_in_words().to_owned();
                return Err(match LATER_OPTIONS.contains(&name) {
                    true => {
                        let hint = format!("{} has {options}", parts.format);
                        SchemeError::OptionNotBuilt { scheme, option: found, hint }
                    }
                    false => SchemeError::UnknownOption { scheme, format: parts.format.to_owned(), found, options },
                });
            }
            if std::mem::replace(&mut format_option_seen, true) {
                return Err(SchemeError::Repeated { scheme, found });
            }
        }
        Ok(self)
    }

    /// Sets an option of this format; false when it has no such option. No format has two kinds yet.
    fn set_format_option(&mut self, option: &str, scheme: &str) -> Result<bool, SchemeError> {
        match (&mut self.format, option) {
            (Format::Minifloat { rounding, .. }, "rne") => *rounding = Rounding::Rne,
            (Format::Minifloat { rounding, .. }, "trunc") => *rounding = Rounding::Trunc,
            (Format::Int { symmetry, .. }, "sym") => *symmetry = Symmetry::Sym,
            (Format::Int { symmetry, .. }, "asym") => *symmetry = Symmetry::Asym,
            (Format::Jitter { seed } | Format::Noise { seed, .. }, _) => {
                let Some(value) = option.strip_prefix("seed=") else { return Ok(false) };
                *seed = value.parse().map_err(|_| SchemeError::OptionValue {
                    scheme: scheme.to_owned(),
                    found: option.to_owned(),
                    wanted: "seed=N with N from 0 to 18446744073709551615",
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn options_in_words(&self) -> &'static str {
        match self.format {
            Format::Minifloat { .. } => "rne, trunc, nonfinite=keep",
            Format::Int { .. } => "sym, asym, nonfinite=keep",
            Format::Jitter { .. } | Format::Noise { .. } => "seed=N, nonfinite=keep",
            Format::Ggml(_) | Format::Identity | Format::Zero => "nonfinite=keep",
        }
    }
}
