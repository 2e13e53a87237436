//! The one table of formats: what the grammar knows and what each does.

use crate::ggml::GGML_FORMATS;
use crate::scheme::Scheme;

pub use crate::formats_page::page;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatInfo {
    /// As written in a scheme; capitals stand for numbers and names.
    pub name: &'static str,
    /// Which kernels.
    pub family: Family,
    /// What a value takes without its share of a scale.
    pub bits: &'static str,
    /// What the name or the format itself says: fields, range, block.
    pub parameters: &'static str,
    /// Whether `@` may follow.
    pub granularity: Granularities,
    /// Options beside `:nonfinite=keep`.
    pub options: &'static [&'static str],
    /// How a value between two of the format's is treated when nothing is said.
    pub rounding: &'static str,
    /// What becomes of a value beyond the largest.
    pub overflow: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    /// A scheme of this row, for listings: its bits per weight, scales included, are
    /// [`FormatInfo::example_bits`].
    pub example: &'static str,
}

impl FormatInfo {
    /// Bits per weight of the example, scales included, for a tensor of 4096 rows of 4096; `None` where a file decides.
    pub fn example_bits(&self) -> Option<f64> {
        const N: u64 = 4096;
        let bits = self.example.parse::<Scheme>().ok().map(|scheme| scheme.bits_per_weight(N * N, N));
        bits.filter(|bits| bits.is_finite())
    }
}

/// Which kernels a format goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Small floats.
    Minifloat,
    /// Integers with scales.
    Integer,
    /// Tables of values.
    Codebook,
    /// Blocks with shared scales, by a standard.
    Block,
    /// ggml's own types.
    Ggml,
    /// Transforms that results are held against.
    Control,
}

/// Whether a granularity may follow a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularities {
    /// The format has none, or its own.
    None,
    /// It has one, and another may be given.
    Default,
    /// It may be given.
    Optional,
    /// It must be given.
    Required,
}

const ROUNDINGS: [&str; 4] = ["rne", "trunc", "away", "stochastic(SEED)"];
const ROUNDED: &[&str] = &ROUNDINGS;
const SCALED: &[&str] = &[ROUNDINGS[0], ROUNDINGS[1], ROUNDINGS[2], ROUNDINGS[3], "scale=FORMAT", "clip=RANGE"];
const ANY_FLOAT: &[&str] = &[
    "ieee",
    "fn",
    "finite",
    "bias=N",
    ROUNDINGS[0],
    ROUNDINGS[1],
    ROUNDINGS[2],
    ROUNDINGS[3],
    "scale=FORMAT",
    "clip=RANGE",
];
const INTEGER: &[&str] = &[
    "sym",
    "asym",
    "zeropoint",
    "fullrange",
    ROUNDINGS[0],
    ROUNDINGS[1],
    ROUNDINGS[2],
    ROUNDINGS[3],
    "scale=FORMAT",
    "clip=RANGE",
];
const TABLE: &[&str] = &["scale=FORMAT", "clip=RANGE"];
const FILE_TABLE: &[&str] = &["table=FILE", "scale=FORMAT", "clip=RANGE"];
const SEED: &[&str] = &["seed=N"];

const NEAREST: &str = "nearest even";
const TO_INFINITY: &str = "to infinity as IEEE 754 rounds; trunc and @ hold it at the largest value";
const HELD: &str = "held at the largest value";
const OFP8: &str = "OCP 8-bit Floating Point Specification (OFP8) 1.0";
const MX: &str = "OCP Microscaling Formats (MX) Specification 1.0";

const fn float(
    name: &'static str,
    bits: &'static str,
    parameters: &'static str,
    overflow: &'static str,
    source: &'static str,
) -> FormatInfo {
    FormatInfo {
        name,
        family: Family::Minifloat,
        bits,
        parameters,
        granularity: Granularities::Optional,
        options: SCALED,
        rounding: NEAREST,
        overflow,
        source,
        example: name,
    }
}

const fn codebook(name: &'static str, parameters: &'static str, source: &'static str) -> FormatInfo {
    FormatInfo {
        name,
        family: Family::Codebook,
        bits: "4",
        parameters,
        granularity: Granularities::Default,
        options: TABLE,
        rounding: "nearest entry, a tie to the even index",
        overflow: "held at the last entry",
        source,
        example: name,
    }
}

const fn block(
    name: &'static str,
    bits: &'static str,
    parameters: &'static str,
    overflow: &'static str,
    source: &'static str,
) -> FormatInfo {
    FormatInfo {
        name,
        family: Family::Block,
        bits,
        parameters,
        granularity: Granularities::None,
        options: ROUNDED,
        rounding: NEAREST,
        overflow,
        source,
        example: name,
    }
}

const fn control(
    name: &'static str,
    granularity: Granularities,
    options: &'static [&'static str],
    rounding: &'static str,
) -> FormatInfo {
    FormatInfo {
        name,
        family: Family::Control,
        bits: "32",
        parameters: "",
        granularity,
        options,
        rounding,
        overflow: "",
        source: "control",
        example: name,
    }
}

/// Every format of the grammar. ggml's types are one row here and a table of their own in
/// [`GGML_FORMATS`].
pub const FORMATS: &[FormatInfo] = &[
    float("bf16", "16", "1-8-7, bias 127", TO_INFINITY, "upper half of F32; ggml_compute_fp32_to_bf16"),
    float("f16", "16", "1-5-10, bias 15, largest 65504", TO_INFINITY, "IEEE 754-2019 binary16"),
    float("tf32", "19", "1-8-10, bias 127", TO_INFINITY, "NVIDIA TensorFloat-32"),
    float("fp8_e4m3", "8", "1-4-3, bias 7, largest 448, no infinity", HELD, OFP8),
    float("fp8_e5m2", "8", "1-5-2, bias 15, largest 57344", TO_INFINITY, OFP8),
    float("fp6_e2m3", "6", "1-2-3, bias 1, largest 7.5, all codes finite", HELD, MX),
    float("fp6_e3m2", "6", "1-3-2, bias 3, largest 28, all codes finite", HELD, MX),
    float("fp4_e2m1", "4", "1-2-1, bias 1, largest 6, all codes finite", HELD, MX),
    FormatInfo {
        options: ANY_FLOAT,
        example: "e3m4",
        ..float(
            "eXmY",
            "1 + X + Y",
            "X 1 to 8, Y 0 to 22, bias 2^(X−1) − 1; ieee (default): infinity and NaN, fn: one NaN, finite: numbers only",
            "ieee as f16; fn and finite hold it at the largest value",
            "IEEE 754-2019 and OFP8, generalised",
        )
    },
    FormatInfo {
        name: "intN",
        family: Family::Integer,
        bits: "N",
        parameters: "N 2 to 16; sym: ±(2^(N−1) − 1) steps of absmax / (2^(N−1) − 1), asym: 2^N − 1 steps from min to max, \
                     zeropoint: the same with zero a level, fullrange: −2^(N−1) to 2^(N−1) − 1, the greatest magnitude on the first",
        granularity: Granularities::Required,
        options: INTEGER,
        rounding: NEAREST,
        overflow: HELD,
        source: "absmax or min-max scaling; ONNX QuantizeLinear (zeropoint); quantize_row_q4_0_ref (fullrange)",
        example: "int8@row",
    },
    codebook("nf4", "16 normal quantiles, ±1; blocks of 64", "Dettmers et al., QLoRA (2023), appendix E; bitsandbytes"),
    codebook(
        "fp4",
        "15 values of bitsandbytes' FP4, ±1 (not E2M1: fp4_e2m1); blocks of 64",
        "bitsandbytes dDequantizeFP4Tree",
    ),
    codebook(
        "iq4_nl",
        "16 integers, −127 to 113; blocks of 32 with an F16 scale; ggml searches its scale: ggml:iq4_nl",
        "kvalues_iq4nl in ggml-common.h",
    ),
    FormatInfo {
        name: "codebook",
        family: Family::Codebook,
        bits: "1 to 8",
        parameters: "2 to 256 entries from a text file: numbers with blanks, commas or line ends between them, # begins a comment",
        granularity: Granularities::Required,
        options: FILE_TABLE,
        rounding: "nearest entry, a tie to the even index",
        overflow: "held at the last entry",
        source: "the file; its hash stands for it wherever a scheme is stored",
        example: "codebook@block64:table=FILE",
    },
    block("mxfp4", "4", "32 fp4_e2m1 and an E8M0 scale", HELD, MX),
    block("mxfp6_e2m3", "6", "32 fp6_e2m3 and an E8M0 scale", HELD, MX),
    block("mxfp6_e3m2", "6", "32 fp6_e3m2 and an E8M0 scale", HELD, MX),
    block("mxfp8_e4m3", "8", "32 fp8_e4m3 and an E8M0 scale", HELD, MX),
    block("mxfp8_e5m2", "8", "32 fp8_e5m2 and an E8M0 scale", HELD, MX),
    block("mxint8", "8", "32 integers of ±127 and an E8M0 scale", HELD, MX),
    block(
        "nvfp4",
        "4",
        "16 fp4_e2m1 and an fp8_e4m3 scale; an F32 scale for the tensor",
        HELD,
        "NVIDIA, Pretraining Large Language Models with NVFP4 (arXiv 2509.25149)",
    ),
    FormatInfo {
        name: "ggml:NAME",
        family: Family::Ggml,
        bits: "by type",
        parameters: "see the table of ggml's types",
        granularity: Granularities::None,
        options: &["imatrix=FILE"],
        rounding: "ggml's own functions",
        overflow: "ggml's own functions",
        source: "ggml_quantize_chunk and to_float of ggml's type_traits",
        example: "q4_k",
    },
    control("identity", Granularities::None, &[], "values stay"),
    control("jitter", Granularities::None, SEED, "one ulp of F32 up or down"),
    FormatInfo {
        example: "noise(30)",
        ..control("noise(SQNR_DB)", Granularities::Optional, SEED, "adds Gaussian noise of that energy")
    },
    control("shuffle", Granularities::Optional, SEED, "permutes the values of each group"),
    FormatInfo { bits: "0", ..control("zero", Granularities::None, &[], "every value +0") },
];

/// All names in one line, for hints.
pub fn names_in_words() -> String {
    let rows = FORMATS.iter().filter(|f| f.family != Family::Ggml).map(|f| f.name);
    let names: Vec<&str> = rows.collect();
    format!("{} and ggml's types (q4_0, q4_k, …)", names.join(", "))
}

/// Up to three names of formats and bare ggml types that `word` may have meant.
pub(crate) fn nearest(word: &str) -> Vec<String> {
    let ints = (2..=16).map(|n| format!("int{n}"));
    let formats = FORMATS.iter().filter(|f| !f.name.contains(char::is_uppercase) && f.family != Family::Ggml);
    let names = formats.map(|f| f.name.to_owned());
    let ggml = GGML_FORMATS.iter().filter(|f| f.bare).map(|f| f.name.to_ascii_lowercase());
    let mut scored: Vec<(f64, String)> = names
        .chain(ints)
        .chain(ggml)
        .map(|name| (strsim::normalized_damerau_levenshtein(word, &name), name))
        .filter(|(score, _)| *score >= 0.5)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mx::MxElement;
    use crate::scheme::{Format, Granularity};

    /// What is typed here as text is what the kernels go by.
    #[test]
    fn bits_and_blocks_of_a_row_are_those_of_its_format() {
        let mut held = 0;
        for row in FORMATS {
            let scheme: Scheme = row.example.parse().expect(row.name);
            let bits = match scheme.format() {
                Format::Minifloat { exmy, .. } if row.name != "eXmY" => exmy.bits(),
                Format::Codebook(codebook) => codebook.bits,
                Format::Mx { format, .. } => match format.element {
                    MxElement::Float(float) => float.bits(),
                    MxElement::Int8 => 8,
                },
                Format::Nvfp4 { .. } => 4,
                _ => continue,
            };
            held += 1;
            assert_eq!(row.bits, bits.to_string(), "{}", row.name);
            let n_per_block = match scheme.format() {
                Format::Mx { .. } => Some(crate::mx::MX_BLCK_SIZE),
                Format::Nvfp4 { .. } => Some(crate::nvfp4::NVFP4_BLCK_SIZE),
                _ => match scheme.granularity() {
                    Some(Granularity::Block(n)) if row.family == Family::Codebook => Some(n.get()),
                    _ => None,
                },
            };
            if let Some(n) = n_per_block {
                assert!(
                    row.parameters.contains(&n.to_string()),
                    "{}: {} says nothing of {n}",
                    row.name,
                    row.parameters
                );
            }
        }
        assert!(held >= 18, "only {held} rows were held against their formats");
    }
}
