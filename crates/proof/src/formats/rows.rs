//! From a row of the table of formats to the schemes that it stands for.

use super::held;
use super::third::NumpyQuestion;
use crate::check::Tally;
use crate::inputs::{Draw, Input};
use crate::oracle::Ladder;
use crate::python::Python;
use crate::quantizer::Quantizer;
use numerics::formats::{FormatInfo, Granularities, Kind};
use numerics::{CodebookTable, FileContents, Format, Scheme};
use std::sync::Arc;

/// The formats that are tried of a row whose name stands for many.
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
            // All of its values are so small that a group's scale would be beyond F32.
            "e2m1:finite:bias=127",
        ],
    ),
    ("codebook", &["codebook:table=levels"]),
    ("intN", &["int2", "int3", "int4", "int5", "int8", "int12", "int16"]),
];

/// The granularities with which a format is tried.
const GRANULARITIES: [&str; 5] = ["@tensor", "@row", "@col", "@block16", "@3x5"];

/// The options to write for each option of the table. Searched ranges are slow in their plain form, so that they are tried
/// with one granularity alone.
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

/// The option of scales in two levels, for blocks alone and for formats whose scales have no sign.
const TWO_LEVELS: &str = "scale=f16hier";

/// Whether a row's scales have signs: where a table is not symmetric, the greatest value of a group goes to the end that
/// reaches farthest.
fn has_signed_scales(row: &FormatInfo) -> bool {
    match row.kind {
        Kind::Codebook(codebook) => !codebook.entries.contains(&-codebook.extreme()),
        kind => kind == Kind::Table,
    }
}

/// The levels of schemes that take their codebook from a file: not symmetric, with a level at zero and one far from the
/// others.
const LEVELS: &str = "-1.5 -0.7 -0.25 -0.1 0 0.125 0.3 0.6 1 14";

/// The scheme with `LEVELS` for the contents of its file, if it names one.
///
/// # Errors
/// In words, when the levels are not a codebook.
pub fn with_levels(scheme: Scheme) -> Result<Scheme, String> {
    if scheme.file().is_none() {
        return Ok(scheme);
    }
    let table = CodebookTable::parse(LEVELS).map_err(|error| error.to_string())?;
    Ok(scheme.with_contents("00", FileContents::Table(Arc::new(table))))
}

/// Every scheme that is tried of a row: each option alone, with each granularity that the row allows.
///
/// # Errors
/// In words, when the row has an option that is not tried here, or allows something that the grammar refuses.
pub fn schemes(row: &FormatInfo) -> Result<Vec<Scheme>, String> {
    let one = [row.name];
    let formats = MANY.iter().find(|(name, _)| *name == row.name).map_or(&one[..], |(_, formats)| formats);
    let mut texts = Vec::new();
    for format in formats {
        let (name, options) = format.split_once(':').map_or((*format, String::new()), |(n, o)| (n, format!(":{o}")));
        let plain = (row.granularity() != Granularities::Required).then_some("");
        let with = match row.granularity() {
            Granularities::None => &[][..],
            _ => &GRANULARITIES,
        };
        for granularity in plain.into_iter().chain(with.iter().copied()) {
            texts.push(format!("{name}{granularity}{options}"));
            for option in row.options() {
                let (_, written) = OPTIONS
                    .iter()
                    .find(|(name, _)| name == option)
                    .ok_or_else(|| format!("{}: no check tries the option {option}", row.name))?;
                for text in *written {
                    let of_scale = text.starts_with("scale=") || text.starts_with("clip=");
                    let two_levels = granularity == "@block16" && !has_signed_scales(row);
                    if *text == TWO_LEVELS && !two_levels {
                        continue;
                    }
                    let is_unscaled = granularity.is_empty() && row.granularity() == Granularities::Optional;
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

/// The values of the comparison with the third implementation: of every size, in rows of 64.
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

/// The input of a scheme's comparison with the third implementation. A float without a scale gets its corners and any
/// bits.
fn inputs_of(scheme: &Scheme) -> Option<Input> {
    match scheme.format() {
        Format::Minifloat { exmy, .. } if scheme.granularity().is_none() => {
            let mut draw = Draw::new(3);
            let mut values = Ladder::of(exmy)?.corners();
            values.extend((0..200_000).map(|_| draw.finite()));
            Some(Input { kind: "corners", values, n_per_row: 1 })
        }
        _ => Some(rows_of_64()),
    }
}

/// Compares those schemes of a row that numpy and ml_dtypes have with theirs. `Ok` names the third implementation, with
/// the number of schemes that it has.
///
/// # Errors
/// In words, why nothing was compared.
pub fn third(
    row: &FormatInfo,
    schemes: &[Scheme],
    quantizer: &dyn Quantizer,
    python: &mut Python,
    tally: &mut Tally,
) -> Result<String, String> {
    let mut asked = 0;
    for scheme in schemes {
        let Some(input) = inputs_of(scheme) else { continue };
        let Some(question) = NumpyQuestion::of(scheme, input.n_per_row) else { continue };
        asked += 1;
        let theirs = question.ask(python, &input.values)?;
        let ours = held(quantizer, scheme, &input).map_err(|error| error.to_string())?;
        question.compare(&input.values, &ours, &theirs, tally);
    }
    if asked == 0 {
        Err(format!("numpy and ml_dtypes: they do not have {}", row.name))
    } else {
        Ok(of_schemes(&python.name("ml_dtypes"), asked, schemes.len()))
    }
}

/// The name of an implementation that has `n` of `all` schemes.
pub(super) fn of_schemes(name: &str, n: usize, all: usize) -> String {
    if n == all { name.to_owned() } else { format!("{name} ({n} of {all} schemes)") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::formats::{FORMATS, Family};

    #[test]
    fn every_row_and_every_option_of_the_table_is_tried() {
        for row in FORMATS.iter().filter(|row| !matches!(row.family(), Family::Ggml | Family::Control)) {
            let schemes = schemes(row).expect(row.name);
            assert!(schemes.len() >= row.options().len().min(4), "{}: {}", row.name, schemes.len());
        }
    }
}
