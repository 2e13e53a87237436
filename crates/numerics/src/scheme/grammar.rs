//! The parser of `FORMAT[@GRANULARITY][:OPTION…]`. It ignores case, except in the names of files.

use super::file::{FileOption, SchemeFile};
use super::table::{self, FormatInfo, Granularities};
use super::{Clip, Granularity, Nonfinite, Scheme, default_granularity};
use crate::format::exmy::{MAX_EXPONENT_BITS, MAX_MANTISSA_BITS};
use crate::format::ggml::{GgmlFormat, ImatrixUse};
use crate::format::{DEFAULT_SEED, ExMy, Format, Rounding, RoundingMode, ScaleFormat, Specials, Symmetry};
use std::num::NonZeroU32;
use std::str::FromStr;
use words::{Advice, Hint};

/// Why a text is not a scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// The text is empty.
    #[error("empty scheme: wanted FORMAT[@GRANULARITY][:OPTION…]")]
    Empty,
    /// There is no format with this name.
    #[error("scheme {scheme:?}: unknown format {format:?}")]
    UnknownFormat {
        /// The scheme as given.
        scheme: String,
        /// The name that is not a format.
        format: String,
        /// Names of formats that are spelled alike.
        nearest: Vec<String>,
    },
    /// `intN` with an N that is not from 2 to 16.
    #[error("scheme {scheme:?}: found int{found}, wanted int2 to int16")]
    IntBits {
        /// The scheme as given.
        scheme: String,
        /// The N of `intN`, as given.
        found: String,
    },
    /// `noise` without a usable ratio.
    #[error("scheme {scheme:?}: found {found:?}, wanted noise(SQNR_DB) with a number of dB from −200 to 200")]
    NoiseRatio {
        /// The scheme as given.
        scheme: String,
        /// The format as given.
        found: String,
    },
    /// The format needs a granularity, and the scheme gives none.
    #[error("scheme {scheme:?}: no granularity, and {format} needs one")]
    NeedsGranularity {
        /// The scheme as given.
        scheme: String,
        /// The format as given.
        format: String,
    },
    /// The format takes no granularity, and the scheme gives one.
    #[error("scheme {scheme:?}: found {:?}, but {format} takes no granularity", format!("@{granularity}"))]
    TakesNoGranularity {
        /// The scheme as given.
        scheme: String,
        /// The format as given.
        format: String,
        /// The granularity as given.
        granularity: String,
    },
    /// A word after `@` that is not a granularity.
    #[error("scheme {scheme:?}: found granularity {found:?}, wanted tensor, row, col, blockN or NxM with N, M ≥ 1")]
    Granularity {
        /// The scheme as given.
        scheme: String,
        /// The word after `@`.
        found: String,
    },
    /// `eXmY` with fields for which there is no format that fits into F32.
    #[error("scheme {scheme:?}: found {found}, {wanted}")]
    ExMy {
        /// The scheme as given.
        scheme: String,
        /// The format as given.
        found: String,
        /// What is wrong with it, in words.
        wanted: String,
        /// What the user can write instead.
        hint: String,
    },
    /// Options that exclude each other, or that lack what they need.
    #[error("scheme {scheme:?}: the option {option:?} {why}")]
    Combination {
        /// The scheme as given.
        scheme: String,
        /// The option at fault.
        option: String,
        /// What is wrong with the option here.
        why: &'static str,
        /// What the user can write instead.
        hint: String,
    },
    /// An option that this format does not have.
    #[error("scheme {scheme:?}: {format} has no option {found:?}")]
    UnknownOption {
        /// The scheme as given.
        scheme: String,
        /// The format as given.
        format: String,
        /// The option as given.
        found: String,
        /// The options that the format has.
        options: String,
    },
    /// Two options that set the same thing.
    #[error("scheme {scheme:?}: {found:?} sets what an earlier option has set")]
    Repeated {
        /// The scheme as given.
        scheme: String,
        /// The second of the two options.
        found: String,
    },
    /// An option with a value that it cannot have.
    #[error("scheme {scheme:?}: found {found:?}, wanted {wanted}")]
    OptionValue {
        /// The scheme as given.
        scheme: String,
        /// The option as given.
        found: String,
        /// The values that the option can have.
        wanted: &'static str,
    },
}

impl Advice for SchemeError {
    fn hint(&self) -> Option<Hint> {
        Some(match self {
            SchemeError::Empty => Hint::words("for example bf16, int8@row, q4_k"),
            SchemeError::UnknownFormat { nearest, .. } if nearest.is_empty() => {
                Hint::words(format!("formats are {}", table::names_in_words()))
            }
            SchemeError::UnknownFormat { nearest, .. } => Hint::ListSchemes { near: nearest.clone() },
            SchemeError::IntBits { .. } => Hint::words("for example int4@block32 or int8@row"),
            SchemeError::NoiseRatio { .. } => Hint::words("for example noise(30)"),
            SchemeError::NeedsGranularity { format, .. } => Hint::words(format!(
                "{format}@tensor, {format}@row, {format}@col, {format}@blockN or {format}@NxM, for example {format}@block32"
            )),
            SchemeError::TakesNoGranularity { format, .. } => Hint::words(format!("write {format}")),
            SchemeError::Granularity { .. } => Hint::words("for example @row, @block32 or @128x128"),
            SchemeError::ExMy { hint, .. } | SchemeError::Combination { hint, .. } => Hint::words(hint.clone()),
            SchemeError::UnknownOption { options, .. } => Hint::words(format!("it has {options}")),
            SchemeError::Repeated { .. } => Hint::words("leave out one of the two"),
            SchemeError::OptionValue { .. } => Hint::ListSchemes { near: Vec::new() },
        })
    }
}

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(text: &str) -> Result<Self, SchemeError> {
        let text = text.trim();
        // Names of files keep their case, and lower-casing ASCII moves no byte.
        let lower = text.to_ascii_lowercase();
        if lower.is_empty() {
            return Err(SchemeError::Empty);
        }
        let parts = Parts { scheme: text, written: Parts::split(text).options, ..Parts::split(&lower) };
        let (format, row) = parse_format(&parts)?;
        let granularity = parse_granularity(&parts, row.granularity())?;
        let granularity = match format {
            // These are per tensor by default, so `@tensor` is the same scheme.
            Format::Noise { .. } | Format::Shuffle { .. } => granularity.filter(|&g| g != Granularity::Tensor),
            _ => granularity.or(default_granularity(format)),
        };
        Scheme { granularity, ..Scheme::plain(format) }.with_options(&parts, row)
    }
}

impl TryFrom<String> for Scheme {
    type Error = SchemeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The text of a scheme, split at `@` and `:`.
struct Parts<'a> {
    /// The scheme as given.
    scheme: &'a str,
    /// The name of the format, with `ggml:` in front where that was given.
    format: &'a str,
    granularity: Option<&'a str>,
    options: Vec<&'a str>,
    /// The options in the case in which they were written.
    written: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(scheme: &'a str) -> Self {
        let is_ggml = scheme.get(.."ggml:".len()).is_some_and(|start| start.eq_ignore_ascii_case("ggml:"));
        let prefix = if is_ggml { "ggml:".len() } else { 0 };
        let cut = scheme[prefix..].find(['@', ':']).map_or(scheme.len(), |i| prefix + i);
        let (format, rest) = scheme.split_at(cut);
        let mut pieces = rest.split(':');
        let granularity = pieces.next().and_then(|first| first.strip_prefix('@'));
        Parts { scheme, format, granularity, options: pieces.collect(), written: Vec::new() }
    }

    fn scheme(&self) -> String {
        self.scheme.to_owned()
    }
}

/// The format with its defaults, and its row of the table.
fn parse_format(parts: &Parts<'_>) -> Result<(Format, &'static FormatInfo), SchemeError> {
    let name = parts.format;
    let (format, row_name) = if let Some(bits) = name.strip_prefix("int").filter(|n| is_number(n)) {
        (parse_int(parts, bits)?, "intN")
    } else if let Some((x, y)) = exmy_fields(name) {
        (parse_exmy(parts, x, y)?, "eXmY")
    } else if let Some(rest) = name.strip_prefix("noise") {
        (parse_noise(parts, rest)?, "noise(SQNR_DB)")
    } else if let Some(ggml) = name.strip_prefix("ggml:") {
        (Format::Ggml(GgmlFormat::find(ggml).ok_or_else(|| unknown(parts, ggml))?), "ggml:NAME")
    } else if let Some(format) = GgmlFormat::find(name).filter(|f| f.bare) {
        (Format::Ggml(format), "ggml:NAME")
    } else {
        (table::named(name).and_then(FormatInfo::format).ok_or_else(|| unknown(parts, name))?, name)
    };
    table::named(row_name).map(|row| (format, row)).ok_or_else(|| unknown(parts, name))
}

fn parse_int(parts: &Parts<'_>, bits: &str) -> Result<Format, SchemeError> {
    match bits.parse() {
        Ok(bits @ 2..=16u8) => {
            Ok(Format::Int { bits, symmetry: Symmetry::default(), rounding: RoundingMode::default() })
        }
        _ => Err(SchemeError::IntBits { scheme: parts.scheme(), found: bits.to_owned() }),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// X and Y of `eXmY`, as written.
fn exmy_fields(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix('e')?.split_once('m').filter(|(x, y)| is_number(x) && is_number(y))
}

/// Parses `eXmY` together with the options that belong to the format, wherever they stand among the options.
fn parse_exmy(parts: &Parts<'_>, x: &str, y: &str) -> Result<Format, SchemeError> {
    let refuse = |wanted: String, hint: &str| SchemeError::ExMy {
        scheme: parts.scheme(),
        found: parts.format.to_owned(),
        wanted,
        hint: hint.to_owned(),
    };
    let exponent_bits = x.parse().ok().filter(|x| (1..=MAX_EXPONENT_BITS).contains(x));
    let mantissa_bits = y.parse().ok().filter(|&y| y <= MAX_MANTISSA_BITS);
    let (Some(exponent_bits), Some(mantissa_bits)) = (exponent_bits, mantissa_bits) else {
        let wanted = format!("wanted eXmY with X from 1 to {MAX_EXPONENT_BITS} and Y from 0 to {MAX_MANTISSA_BITS}");
        return Err(refuse(wanted, "a format must fit into F32 with its sign"));
    };
    if (exponent_bits, mantissa_bits) == (8, 0) {
        let hint = "use it for scales with :scale=e8m0, as in int8@block32:scale=e8m0";
        return Err(refuse("which is a format for scales, not for values: it has no sign and no zero".into(), hint));
    }
    let (mut specials, mut bias) = (Specials::Ieee, ExMy::default_bias(exponent_bits));
    for option in &parts.options {
        match parse_setting(option) {
            Some(Ok((_, Setting::Specials(given)))) => specials = given,
            Some(Ok((_, Setting::Bias(given)))) => bias = given,
            _ => {}
        }
    }
    let (least, greatest) = ExMy::biases(exponent_bits, specials);
    let format = ExMy::new(exponent_bits, mantissa_bits, specials, bias).ok_or_else(|| match specials {
        _ if least > greatest => refuse(
            "which reaches beyond F32 under every bias, with this meaning of its last codes".into(),
            "leave out :fn and :finite",
        ),
        _ if !(least..=greatest).contains(&bias) => refuse(
            format!("whose bias of {bias} takes it beyond F32"),
            &format!("use :bias=N with N from {least} to {greatest}"),
        ),
        _ => refuse("which has no codes left for infinity or NaN".into(), "add :finite"),
    })?;
    Ok(Format::Minifloat { exmy: format, rounding: RoundingMode::default() })
}

fn unknown(parts: &Parts<'_>, name: &str) -> SchemeError {
    SchemeError::UnknownFormat {
        scheme: parts.scheme(),
        format: parts.format.to_owned(),
        nearest: table::nearest(name),
    }
}

fn parse_noise(parts: &Parts<'_>, rest: &str) -> Result<Format, SchemeError> {
    let number = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')'));
    let sqnr_db = number.and_then(|n| n.trim_matches(' ').parse::<f64>().ok()).filter(|db| db.abs() <= 200.0);
    match sqnr_db {
        // −0 and 0 are the same ratio and must print alike.
        Some(db) => Ok(Format::Noise { sqnr_db: db + 0.0, seed: DEFAULT_SEED }),
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
    let number = |n: &str| n.parse::<NonZeroU32>().ok().filter(|_| is_number(n));
    let granularity = match text {
        "tensor" => Some(Granularity::Tensor),
        "row" => Some(Granularity::Row),
        "col" => Some(Granularity::Col),
        _ => match (text.strip_prefix("block"), text.split_once('x')) {
            (Some(n), _) => number(n).map(Granularity::Block),
            (None, Some((n, m))) => number(n).zip(number(m)).map(|(rows, cols)| Granularity::Tile { rows, cols }),
            (None, None) => None,
        },
    };
    granularity.map(Some).ok_or_else(|| SchemeError::Granularity { scheme, found: text.to_owned() })
}

/// One option of a scheme, parsed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Setting {
    Rounding(RoundingMode),
    Symmetry(Symmetry),
    Specials(Specials),
    Bias(i16),
    Scale(ScaleFormat),
    Clip(Clip),
    Seed(u64),
    Nonfinite(Nonfinite),
}

/// Parses one option. Gives its name in the table of formats and what it sets; an error with the possible values if
/// only the value is wrong; `None` for a word that is not an option of any format.
fn parse_setting(option: &str) -> Option<Result<(&'static str, Setting), &'static str>> {
    let plain = |rounding| Setting::Rounding(RoundingMode::Value(rounding));
    let setting = match option {
        "rne" => ("rne", plain(Rounding::Rne)),
        "trunc" => ("trunc", plain(Rounding::Trunc)),
        "away" => ("away", plain(Rounding::Away)),
        "ieee" => ("ieee", Setting::Specials(Specials::Ieee)),
        "fn" => ("fn", Setting::Specials(Specials::Fn)),
        "finite" => ("finite", Setting::Specials(Specials::Finite)),
        _ => match Symmetry::ALL.iter().find(|(name, _)| *name == option) {
            Some(&(name, symmetry)) => (name, Setting::Symmetry(symmetry)),
            None => return parse_valued(option),
        },
    };
    Some(Ok(setting))
}

fn parse_valued(option: &str) -> Option<Result<(&'static str, Setting), &'static str>> {
    if let Some(rest) = option.strip_prefix("stochastic") {
        let seed = match rest {
            "" => Some(DEFAULT_SEED),
            _ => rest.strip_prefix('(').and_then(|r| r.strip_suffix(')')).and_then(|n| n.trim().parse().ok()),
        };
        let setting = seed.map(|seed| ("stochastic(SEED)", Setting::Rounding(RoundingMode::Stochastic { seed })));
        return Some(setting.ok_or("stochastic or stochastic(SEED) with SEED from 0 to 18446744073709551615"));
    }
    let (key, value) = option.split_once('=')?;
    Some(match key {
        "bias" => value.parse().map(|bias| ("bias=N", Setting::Bias(bias))).map_err(|_| "bias=N with an integer N"),
        "seed" => value
            .parse()
            .map(|seed| ("seed=N", Setting::Seed(seed)))
            .map_err(|_| "seed=N with N from 0 to 18446744073709551615"),
        "nonfinite" => match value {
            "error" => Ok(("nonfinite=keep", Setting::Nonfinite(Nonfinite::Error))),
            "keep" => Ok(("nonfinite=keep", Setting::Nonfinite(Nonfinite::Keep))),
            _ => Err("nonfinite=error or nonfinite=keep"),
        },
        "scale" => ScaleFormat::ALL
            .iter()
            .find(|(name, _)| *name == value)
            .map(|&(_, format)| ("scale=FORMAT", Setting::Scale(format)))
            .ok_or("scale=f32, f16, bf16, e8m0, pow2 or f16hier"),
        "clip" => parse_clip(value)
            .map(|clip| ("clip=RANGE", Setting::Clip(clip)))
            .ok_or("clip=absmax, clip=mse or clip=pQ with Q above 0 and up to 100, such as clip=p99.9"),
        _ => return None,
    })
}

fn parse_clip(value: &str) -> Option<Clip> {
    match value {
        "absmax" => Some(Clip::Absmax),
        "mse" => Some(Clip::Mse),
        _ => match value.strip_prefix('p')?.parse::<f64>().ok().filter(|q| *q > 0.0 && *q <= 100.0)? {
            // The 100th percentile is the greatest magnitude itself.
            100.0 => Some(Clip::Absmax),
            percent => Some(Clip::Quantile(percent)),
        },
    }
}

impl Scheme {
    fn with_options(mut self, parts: &Parts<'_>, row: &FormatInfo) -> Result<Scheme, SchemeError> {
        let mut seen = Vec::new();
        for (index, &option) in parts.options.iter().enumerate() {
            let written = parts.written.get(index).copied().unwrap_or(option);
            let (scheme, found) = (parts.scheme(), written.to_owned());
            if let Some(file) = FileOption::ALL.into_iter().find(|file| row.options().contains(&file.row()))
                && let Some((_, name)) = written.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case(file.key()))
            {
                if self.file.is_some() {
                    return Err(SchemeError::Repeated { scheme, found: written.to_owned() });
                }
                // A blank at the end would be lost where the scheme ends with it.
                if name.is_empty() || name.trim() != name {
                    let wanted = "the name of a file, with no blank before or after it";
                    return Err(SchemeError::OptionValue { scheme, found: written.to_owned(), wanted });
                }
                self.file = Some(SchemeFile::named(file, name));
                continue;
            }
            let setting = match parse_setting(option) {
                Some(Ok((name, setting))) if name == "nonfinite=keep" || row.options().contains(&name) => setting,
                Some(Err(wanted)) if offers(row, option) => {
                    return Err(SchemeError::OptionValue { scheme, found, wanted });
                }
                _ => {
                    let options =
                        row.options().iter().copied().chain(["nonfinite=keep"]).collect::<Vec<_>>().join(", ");
                    return Err(SchemeError::UnknownOption { scheme, format: parts.format.to_owned(), found, options });
                }
            };
            let kind = std::mem::discriminant(&setting);
            if seen.contains(&kind) {
                return Err(SchemeError::Repeated { scheme, found });
            }
            seen.push(kind);
            self.set(setting);
        }
        self.check_combination(parts)?;
        Ok(self)
    }

    fn set(&mut self, setting: Setting) {
        match (setting, &mut self.format) {
            (
                Setting::Rounding(given),
                Format::Minifloat { rounding, .. }
                | Format::Int { rounding, .. }
                | Format::Mx { rounding, .. }
                | Format::Nvfp4 { rounding },
            ) => *rounding = given,
            (Setting::Symmetry(given), Format::Int { symmetry, .. }) => *symmetry = given,
            (Setting::Seed(given), Format::Jitter { seed } | Format::Noise { seed, .. } | Format::Shuffle { seed }) => {
                *seed = given;
            }
            (Setting::Scale(given), _) => self.scale = given,
            (Setting::Clip(given), _) => self.clip = given,
            (Setting::Nonfinite(given), _) => self.nonfinite = given,
            // `parse_exmy` has read the first two; the row of the table does not offer the others.
            (
                Setting::Specials(_)
                | Setting::Bias(_)
                | Setting::Rounding(_)
                | Setting::Symmetry(_)
                | Setting::Seed(_),
                _,
            ) => {}
        }
    }

    fn check_combination(&self, parts: &Parts<'_>) -> Result<(), SchemeError> {
        let refuse = |option: &str, why, hint: &str| {
            let (scheme, option, hint) = (parts.scheme(), option.to_owned(), hint.to_owned());
            Err(SchemeError::Combination { scheme, option, why, hint })
        };
        let given = |prefix: &str| parts.options.iter().find(|o| o.starts_with(prefix)).copied();
        if self.granularity.is_none()
            && let Some(option) = given("scale=").or(given("clip="))
        {
            let hint = format!("for example {}@row:{option}", parts.format);
            return refuse(option, "needs a granularity: a plain cast has no scale", &hint);
        }
        let (clip, scale) = (given("clip=").unwrap_or("clip"), given("scale=").unwrap_or("scale"));
        if let Format::Int { symmetry: symmetry @ (Symmetry::Asym | Symmetry::ZeroPoint), .. } = self.format {
            if self.clip != Clip::Absmax {
                return refuse(clip, "is for symmetric formats", "leave out clip, asym or zeropoint");
            }
            if matches!(self.scale, ScaleFormat::E8m0 | ScaleFormat::Pow2 | ScaleFormat::F16Hier) {
                let why = match symmetry {
                    Symmetry::Asym => "cannot store the minimum of asym",
                    _ => "is for ranges around zero",
                };
                return refuse(scale, why, "scale=f32, scale=f16 or scale=bf16");
            }
        }
        if self.scale == ScaleFormat::F16Hier {
            if self.granularity.and_then(Granularity::super_block).is_none() {
                let hint = format!("for example {}@block32:scale=f16hier", parts.format);
                return refuse(scale, "is for blocks: those of 256 values of a row share a second scale", &hint);
            }
            let has_sign = match self.format {
                Format::Codebook(codebook) => !codebook.entries.contains(&-codebook.extreme()),
                Format::Table | Format::Int { symmetry: Symmetry::FullRange, .. } => true,
                _ => false,
            };
            if has_sign {
                return refuse(scale, "cannot store the sign of this format's scales", "scale=f16");
            }
        }
        match (self.format, &self.file) {
            (Format::Table, None) => refuse(
                "table=FILE",
                "is missing: a codebook needs its entries",
                "for example codebook@block64:table=levels.txt",
            ),
            (Format::Ggml(GgmlFormat { imatrix: ImatrixUse::Ignored, .. }), Some(_)) => {
                let why = "is ignored by this type's quantizer";
                refuse(given("imatrix=").unwrap_or("imatrix"), why, "leave it out")
            }
            _ => Ok(()),
        }
    }
}

/// Whether the row has an option with the key of this one.
fn offers(row: &FormatInfo, option: &str) -> bool {
    let key = |o: &str| o.split(['=', '(']).next().unwrap_or_default().to_owned();
    key(option) == "nonfinite" || row.options().iter().any(|o| key(o) == key(option))
}
