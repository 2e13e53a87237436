//! From a row of the table of formats to the schemes that it stands for.

use super::held;
use crate::check::Tally;
use crate::inputs::{Draw, Input};
use crate::oracle::Ladder;
use crate::python::Python;
use crate::quantizer::Quantizer;
use numerics::formats::{FormatInfo, Granularities};
use numerics::{CodebookTable, FileContents};
use numerics::{Format, Granularity, Rounding, RoundingMode, ScaleFormat, Scheme, Symmetry};
use std::sync::Arc;

/// Formats of rows whose name stands for many.
const MANY: &[(&str, &[&str])] = &[
    (
        "eXmY",
        &[
            "e3m4",
            "e4m3",
            "e2m5:finite",
            "e5m3:fn",
            "e3m0:finite",
            "e1m3:finite",
            "e4m3:finite:bias=11",
            "e8m1",
            "e6m4:bias=-60",
            "e7m22",
        ],
    ),
    ("codebook", &["codebook:table=levels"]),
    ("intN", &["int2", "int3", "int4", "int5", "int8", "int12", "int16"]),
];

const GRANULARITIES: [&str; 5] = ["@tensor", "@row", "@col", "@block16", "@3x5"];

/// What is written for an option of the table. Searched ranges are slow in their plain form: one granularity is enough.
const OPTIONS: &[(&str, &[&str])] = &[
    ("rne", &["rne"]),
    ("trunc", &["trunc"]),
    ("away", &["away"]),
    ("stochastic(SEED)", &["stochastic", "stochastic(7)"]),
    ("scale=FORMAT", &["scale=f16", "scale=bf16", "scale=e8m0", "scale=pow2", TWO_LEVELS]),
    ("clip=RANGE", &["clip=p90", "clip=mse"]),
    ("sym", &["sym"]),
    ("asym", &["asym", "asym:scale=f16", "asym:trunc", "asym:away"]),
    ("zeropoint", &["zeropoint", "zeropoint:scale=bf16", "zeropoint:trunc", "zeropoint:away"]),
    ("fullrange", &["fullrange", "fullrange:scale=f16", "fullrange:scale=pow2", "fullrange:away"]),
    // Part of the format itself; the formats above have them.
    ("ieee", &[]),
    ("fn", &[]),
    ("finite", &[]),
    ("bias=N", &[]),
    ("table=FILE", &[]),
];

/// Scales of blocks alone, and of formats whose scales have no sign.
const TWO_LEVELS: &str = "scale=f16hier";
const SIGNED_SCALES: [&str; 2] = ["codebook", "iq4_nl"];

/// The codebook of schemes that take theirs from a file: not symmetric, with a level at zero and one far from the others.
const LEVELS: &str = "-1.5 -0.7 -0.25 -0.1 0 0.125 0.3 0.6 1 14";

/// The scheme with [`LEVELS`] for what is in its file, if it names one.
pub fn with_levels(scheme: Scheme) -> Result<Scheme, String> {
    if scheme.file().is_none() {
        return Ok(scheme);
    }
    let table = CodebookTable::parse(LEVELS).map_err(|error| error.to_string())?;
    Ok(scheme.with_contents("00", FileContents::Table(Arc::new(table))))
}

/// Every scheme that a row stands for: each option alone, with each granularity that it allows.
///
/// # Errors
/// When the row has an option that is not tried here, or allows something that the grammar refuses.
pub fn schemes(row: &FormatInfo) -> Result<Vec<Scheme>, String> {
    let one = [row.name];
    let formats = MANY.iter().find(|(name, _)| *name == row.name).map_or(&one[..], |(_, formats)| formats);
    let mut texts = Vec::new();
    for format in formats {
        let (name, options) = format.split_once(':').map_or((*format, String::new()), |(n, o)| (n, format!(":{o}")));
        let plain = (row.granularity != Granularities::Required).then_some("");
        let with = match row.granularity {
            Granularities::None => &[][..],
            _ => &GRANULARITIES,
        };
        for granularity in plain.into_iter().chain(with.iter().copied()) {
            texts.push(format!("{name}{granularity}{options}"));
            for option in row.options {
                let (_, written) = OPTIONS
                    .iter()
                    .find(|(name, _)| name == option)
                    .ok_or_else(|| format!("{}: nothing tries the option {option}", row.name))?;
                for text in *written {
                    let of_scale = text.starts_with("scale=") || text.starts_with("clip=");
                    let two_levels = granularity == "@block16" && !SIGNED_SCALES.contains(&name);
                    if *text == TWO_LEVELS && !two_levels {
                        continue;
                    }
                    let is_unscaled = granularity.is_empty() && row.granularity == Granularities::Optional;
                    if (of_scale && is_unscaled) || (text.ends_with("mse") && granularity != "@block16") {
                        continue;
                    }
                    texts.push(format!("{name}{granularity}{options}:{text}"));
                }
            }
        }
    }
    let parse = |text: &String| text.parse().map_err(|error| format!("{text}: {error}")).and_then(with_levels);
    texts.iter().map(parse).collect()
}

/// The dtypes of ml_dtypes and numpy, by scheme. A `uz` type has no negative zero.
const DTYPES: &[(&str, &str)] = &[
    ("fp4_e2m1", "float4_e2m1fn"),
    ("fp6_e2m3", "float6_e2m3fn"),
    ("fp6_e3m2", "float6_e3m2fn"),
    ("fp8_e4m3", "float8_e4m3fn"),
    ("fp8_e5m2", "float8_e5m2"),
    ("e4m3", "float8_e4m3"),
    ("e3m4", "float8_e3m4"),
    ("e4m3:finite:bias=11", "float8_e4m3b11fnuz"),
    ("f16", "float16"),
    ("bf16", "bfloat16"),
    ("mxfp4", "float4_e2m1fn"),
    ("mxfp6_e2m3", "float6_e2m3fn"),
    ("mxfp6_e3m2", "float6_e3m2fn"),
    ("mxfp8_e4m3", "float8_e4m3fn"),
    ("mxfp8_e5m2", "float8_e5m2"),
    ("mxint8", "int8"),
];

/// Values of the third comparison: of every size, in rows of 64.
fn rows_of_64() -> Input {
    let mut draw = Draw::new(11);
    let mut values = Vec::new();
    for row in 0..2000 {
        let scale = 2f32.powi(row % 21 - 10);
        values.extend((0..64).map(|i| match row % 6 {
            0 if i < 32 => 0.0,
            1 if i == 40 => 30.0 * scale,
            2 => 0.3 * scale,
            3 => (draw.unit() * 32.0).round() / 16.0 * scale,
            _ => draw.unit() * scale,
        }));
    }
    Input { kind: "rows of 64", values, n_per_row: 64 }
}

/// A row's schemes, where numpy and ml_dtypes have them, against those. `Ok` names the third implementation.
///
/// # Errors
/// Why nothing was compared.
pub fn third(
    row: &FormatInfo,
    schemes: &[Scheme],
    quantizer: &dyn Quantizer,
    python: &mut Python,
    tally: &mut Tally,
) -> Result<String, String> {
    let mut asked = 0;
    for scheme in schemes {
        let Some((kind, input)) = question(scheme) else { continue };
        asked += 1;
        let theirs = python.floats(&kind, &input.values)?;
        let ours = held(quantizer, scheme, &input).map_err(|error| error.to_string())?;
        let tie = |i: usize| next_to_a_tie(scheme, &input, i);
        tally.hold(ours.len() == theirs.len(), || format!("{scheme}: {} values from Python", theirs.len()));
        let top = match scheme.format() {
            Format::Minifloat { exmy, .. } if scheme.granularity().is_none() => Some(exmy.largest()),
            _ => None,
        };
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            let x = input.values[i];
            // ml_dtypes overflows to NaN where there is no infinity; we hold the largest value, as the table says.
            let is_held = b.is_nan() && top.is_some_and(|top| a.abs() == top && x.abs() > top);
            // The sign of a zero is left open by scaled formats, and the `uz` types have none.
            let zeros = *a == 0.0 && *b == 0.0;
            tally.hold(a.to_bits() == b.to_bits() || zeros || is_held || tie(i), || {
                format!("{scheme}: {x:e} became {a:e}, by Python {b:e}")
            });
        }
    }
    if asked == 0 {
        Err(format!("numpy and ml_dtypes: they have no {}", row.name))
    } else {
        Ok(python.name("ml_dtypes"))
    }
}

/// What to ask Python about a scheme, and with which values; `None` where it has nothing of the kind.
fn question(scheme: &Scheme) -> Option<(String, Input)> {
    let text = scheme.to_string();
    let dtype = DTYPES.iter().find(|(name, _)| *name == text).map(|(_, dtype)| *dtype);
    match scheme.format() {
        Format::Minifloat { exmy, .. } if scheme.granularity().is_none() => {
            let mut draw = Draw::new(3);
            let mut values = Ladder::of(exmy)?.corners();
            values.extend((0..200_000).map(|_| draw.finite()));
            Some((format!("cast:{}", dtype?), Input { kind: "corners", values, n_per_row: 1 }))
        }
        Format::Mx { .. } => Some((format!("mx:{}", dtype?), rows_of_64())),
        Format::Nvfp4 { rounding: RoundingMode::Value(Rounding::Rne) } => Some(("nvfp4".into(), rows_of_64())),
        Format::Int { bits, symmetry: Symmetry::Sym, rounding: RoundingMode::Value(Rounding::Rne) } => {
            let n = match scheme.granularity()? {
                Granularity::Row => 64,
                Granularity::Block(n) => n.get(),
                _ => return None,
            };
            let plain = scheme.scale() == ScaleFormat::F32 && scheme.clip() == numerics::Clip::Absmax;
            plain.then(|| (format!("int:{bits}:{n}"), rows_of_64()))
        }
        _ => None,
    }
}

/// numpy takes an integer's quotient in F64, we in F32 (as the definition says): next to a tie they may part.
fn next_to_a_tie(scheme: &Scheme, input: &Input, i: usize) -> bool {
    let Format::Int { bits, .. } = scheme.format() else { return false };
    let n = match scheme.granularity() {
        Some(Granularity::Block(n)) => n.get() as usize,
        _ => input.n_per_row,
    };
    let group = &input.values[i / n * n..][..n];
    let qmax = f64::from((1u32 << (bits - 1)) - 1);
    let absmax = group.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let steps = f64::from(input.values[i]) / f64::from(absmax / qmax as f32);
    (steps.abs().fract() - 0.5).abs() <= qmax * f64::from(f32::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::formats::{FORMATS, Family};

    #[test]
    fn every_row_and_every_option_of_the_table_is_tried() {
        for row in FORMATS.iter().filter(|row| !matches!(row.family, Family::Ggml | Family::Control)) {
            let schemes = schemes(row).expect(row.name);
            assert!(schemes.len() >= row.options.len().min(4), "{}: {}", row.name, schemes.len());
        }
    }
}
