//! The page on formats, written from the tables. docs/formats.md is this text; a test compares the two.

use super::Scheme;
use super::table::{FORMATS, Family, FormatInfo, Granularities, codebooks};
use crate::format::ScaleFormat;
use crate::format::ggml::GGML_FORMATS;
use std::fmt::Write;

const HEAD: &str = "\
# Formats

<!-- Written by `numerics::formats::page` from its tables; a test compares. To write it again:
     ASSAY_UPDATE_DOCS=1 cargo test -p assay-numerics --test formats_page -->

A scheme is `FORMAT[@GRANULARITY][:OPTION…]`. It means the same and is printed the same in the command line, in plans, in stores and in
reports. `assay schemes` prints these tables.

";

const GRANULARITY: &str = "
## Granularity: which values share a scale

| | |
|---|---|
| `@tensor` | all values of a tensor, over all its matrices (experts) |
| `@row` | one output channel: `ne[0]` contiguous values |
| `@col` | one input channel, across all rows of all matrices |
| `@blockN` | N contiguous values of a row; the last block of a row may be shorter |
| `@NxM` | N rows by M contiguous values; the last tiles may be shorter; rows are counted through all matrices of a tensor |

A minifloat without granularity is a plain cast. With one, `d = absmax / largest finite value` and a value becomes `cast(x / d)·d`.

Finite values stay finite under every scale: where rounding `d` up would take the largest value beyond F32, `d` becomes the next lower
scale under which that value is finite.

The FNUZ types of some accelerators are `e4m3:finite:bias=8` (largest 240) and `e5m2:finite:bias=16`. They have the same values, except
that −0 stays −0 and values beyond the largest are clamped to it.

## Options

| option | |
|---|---|
| `rne` | to nearest, ties to even (default) |
| `trunc` | towards zero; under a scale in F32 a quotient that is the F32 beside a level is that level, since rounding the scale alone may move it so far |
| `away` | to nearest, ties away from zero (IEEE 754 roundTiesToAway, C's `roundf`) |
| `stochastic(SEED)` | away from zero with the probability that keeps the mean; the draw depends on seed (1 if not given), tensor name and place; levels under a scale in F32 stay as with `trunc` |
| `sym`, `asym` | integers: around zero (default), or from the least to the greatest value |
| `zeropoint` | integers: from the least to the greatest value; the range is extended to include zero, which is a level |
| `fullrange` | integers: around zero with the additional level of two's complement, on which the value of greatest magnitude lies |
| `ieee`, `fn`, `finite`, `bias=N` | `eXmY`: the meaning of its last codes, and its bias |
| `clip=absmax` | the scale covers all values (default) |
| `clip=mse` | the scale covers the hundredth of the greatest magnitude that gives the least squared error |
| `clip=pQ` | the scale covers the Q-th percentile of the magnitudes, by nearest rank; where the scale has a sign (`fullrange`, `iq4_nl`), the cut range decides it, so that with both ends cut the first level is the positive end's |
| `imatrix=FILE` | ggml's types: an importance matrix of llama-imatrix, GGUF or legacy, entries matched to tensors by name |
| `table=FILE` | `codebook`: the entries. Stores name both kinds of file by their hash instead of the path (`imatrix=blake3-…`) |
| `nonfinite=keep` | NaN and infinity stay as they are and take no part in a scale; without this option they are an error |
| `seed=N` | the seed of a control (1 if not given) |

`asym` and `zeropoint` take only `clip=absmax` and scales in F32, F16 or BF16. `scale=` and `clip=` need a granularity.

## Applied a second time

What these schemes gave stays as it is, so that a tensor on their grid is `NO-OP` in the census, in a run and in its verdict: plain casts;
`mx…`; with scales in F32 and `clip=absmax` integers around zero, codebooks, and floats of at most 10 mantissa bits whose largest value is
below 2^64, in every rounding; `asym`, `zeropoint` of up to 8 bits (both with `@row`, `@blockN` and `@NxM`) and `nvfp4`, to nearest. The
formulas of the last three give a scale that differs in its last places the second time. So a group (of `nvfp4` a block) whose values all lie on levels, up to
2^−21 of the greatest magnitude (of `nvfp4` of each value), is left alone.

The others may move values again, because the scale is made of ends that moved: `clip=pQ`, `clip=mse`, other scales, floats that reach as
far as F32, `asym` and `zeropoint` with `@tensor`, `@col`, `trunc` or `stochastic`, `nvfp4` with these two, a `zeropoint` range with an end
halfway between two levels (which is common from 12 bits on), ggml's types. What they would change is counted as a change.

## Scales

Scales are F32 unless `scale=` says something else:

| scale | bits | |
|---|---:|---|
";

impl FormatInfo {
    /// Bits per weight of the example, scales included, for a tensor of 4096 rows of 4096 values; `None` where the
    /// contents of a file decide.
    pub fn example_bits(&self) -> Option<f64> {
        const N: u64 = 4096;
        let bits = self.example.parse::<Scheme>().ok().map(|scheme| scheme.bits_per_weight(N * N, N));
        bits.filter(|bits| bits.is_finite())
    }

    /// Whether `@` may follow the name, in the words of the page and of listings.
    pub fn granularity_in_words(&self) -> &'static str {
        match self.granularity() {
            Granularities::None => "none",
            Granularities::Default => "optional, has a default",
            Granularities::Optional => "optional",
            Granularities::Required => "required",
        }
    }
}

impl Family {
    /// The name of the family, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Family::Minifloat => "minifloat",
            Family::Integer => "integer",
            Family::Codebook => "codebook",
            Family::Block => "block",
            Family::Ggml => "ggml",
            Family::Control => "control",
        }
    }
}

fn scale_in_words(scale: ScaleFormat) -> &'static str {
    match scale {
        ScaleFormat::F32 => "as computed",
        ScaleFormat::F16 => "rounded to nearest even, at most 65504",
        ScaleFormat::Bf16 => "rounded to nearest even",
        ScaleFormat::E8m0 => {
            "exponent of absmax less that of the format's largest value (OCP MX); values beyond are clamped"
        }
        ScaleFormat::Pow2 => "least power of two not below the step, so that no value is clamped",
        ScaleFormat::F16Hier => {
            "six bits that multiply an F16 scale (16 bits), which as many whole blocks share as fit into 256 values; \
             `@blockN` only, formats around zero"
        }
    }
}

/// The text of docs/formats.md.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    out.push_str(
        "| format | bits | bits per weight | what it is | `@` | options | rounding | overflow | source |\n\
         |---|---:|---:|---|---|---|---|---|---|\n",
    );
    for f in FORMATS {
        let example = match f.example_bits() {
            Some(bits) if f.example == f.name => words::bits(bits),
            Some(bits) => format!("{} (`{}`)", words::bits(bits), f.example),
            None => String::new(),
        };
        let options = f.options().iter().map(|o| format!("`{o}`")).collect::<Vec<_>>().join(" ");
        let (name, bits, granularity) = (f.name, f.bits(), f.granularity_in_words());
        let cells = [&f.parameters(), granularity, &options, f.rounding(), f.overflow(), f.source].join(" | ");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{name}` | {bits} | {example} | {cells} |");
    }
    out.push_str(
        "\nBits per weight include scales, for a tensor of 4096 rows of 4096 values. Every format takes `nonfinite=keep`.\n",
    );
    out.push_str(GRANULARITY);
    for (name, scale) in ScaleFormat::ALL {
        let _ = writeln!(out, "| `{name}` | {} | {} |", scale.bits(), scale_in_words(scale));
    }
    out.push_str("\n## Codebooks\n\n| codebook | entries |\n|---|---|\n");
    for codebook in codebooks() {
        let entries = codebook.entries.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "| `{}` | {entries} |", codebook.name);
    }
    out.push_str(
        "\n## ggml's types\n\nggml's own functions quantize to these types, so that the bits are llama.cpp's. The bare name works where no standard has the same name.\n\n\
         | scheme | values per block | bytes | bits per weight | `imatrix=` |\n|---|---:|---:|---:|---|\n",
    );
    for f in GGML_FORMATS {
        let prefix = if f.bare { "" } else { "ggml:" };
        let name = f.name.to_ascii_lowercase();
        let (bits, imatrix) = (f.bits_per_weight(), f.imatrix.name());
        let _ = writeln!(
            out,
            "| `{prefix}{name}` | {} | {} | {} | {imatrix} |",
            f.blck_size,
            f.type_size,
            words::bits(bits)
        );
    }
    out
}
