//! The one table of formats: what the grammar knows, what each format is and where it is defined.
//!
//! ```text
//! row   name · kind (the definition itself) · note · source · example
//!                │
//!                ├─▶ Format, for the grammar and the kernels
//!                └─▶ bits, parameters, options, rounding, overflow, for listings and pages
//! ```
//!
//! A new format of an existing kind is one more row. A new kind of format is a variant of [`Kind`], its facts in this
//! file, and a file with its kernel in `format`.

use crate::format::codebook::{CodebookFormat, FP4, IQ4_NL, NF4};
use crate::format::ggml::GGML_FORMATS;
use crate::format::mx::{MX_BLCK_SIZE, MxElement, MxFormat};
use crate::format::{DEFAULT_SEED, ExMy, Format, NVFP4_BLCK_SIZE, RoundingMode, ScaleFormat, Specials};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FormatInfo {
    /// The name in a scheme; capitals stand for numbers and names.
    pub name: &'static str,
    /// The kind of format, with its definition.
    pub kind: Kind,
    /// What the kind does not say about the format.
    note: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    /// A scheme of this row, for listings. [`FormatInfo::example_bits`] are its bits per weight, scales included.
    pub example: &'static str,
}

/// A kind of format, with what defines a format of that kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A small float with a name of its own.
    Float(ExMy),
    /// Any small float, by its fields: `eXmY`.
    AnyFloat,
    /// Integers with a scale for each group.
    Integer,
    /// A built-in table of values.
    Codebook(CodebookFormat),
    /// A table of values from a file.
    Table,
    /// Blocks with an E8M0 scale.
    Mx(MxFormat),
    /// Blocks with scales in two levels.
    Nvfp4,
    /// One of ggml's own types.
    Ggml,
    /// A control: a transform that results are compared with.
    Control(Control),
}

/// A control, and what a scheme can say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Control {
    /// The format with its default seed; `None` where the name alone does not give it.
    format: Option<Format>,
    granularity: Granularities,
    has_seed: bool,
    bits: u32,
}

/// A family of formats, which are checked in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Small floats, with or without a scale for each group.
    Minifloat,
    /// Integers with a scale for each group.
    Integer,
    /// Tables of values, built in or from a file.
    Codebook,
    /// Blocks with shared scales, defined by a standard.
    Block,
    /// The types of ggml.
    Ggml,
    /// Transforms that results are compared with.
    Control,
}

/// Whether a granularity may follow the name of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularities {
    /// The format has no granularity, or a fixed one.
    None,
    /// The format has a default granularity, and a scheme may give another.
    Default,
    /// A scheme may give a granularity.
    Optional,
    /// A scheme must give a granularity.
    Required,
}

const ROUNDED: &[&str] = &["rne", "trunc", "away", "stochastic(SEED)"];
const SCALED: &[&str] = &["rne", "trunc", "away", "stochastic(SEED)", "scale=FORMAT", "clip=RANGE"];
const ANY_FLOAT: &[&str] =
    &["ieee", "fn", "finite", "bias=N", "rne", "trunc", "away", "stochastic(SEED)", "scale=FORMAT", "clip=RANGE"];
const INTEGER: &[&str] = &[
    "sym",
    "asym",
    "zeropoint",
    "fullrange",
    "rne",
    "trunc",
    "away",
    "stochastic(SEED)",
    "scale=FORMAT",
    "clip=RANGE",
];

impl FormatInfo {
    /// The family of the format.
    pub fn family(&self) -> Family {
        match self.kind {
            Kind::Float(_) | Kind::AnyFloat => Family::Minifloat,
            Kind::Integer => Family::Integer,
            Kind::Codebook(_) | Kind::Table => Family::Codebook,
            Kind::Mx(_) | Kind::Nvfp4 => Family::Block,
            Kind::Ggml => Family::Ggml,
            Kind::Control(_) => Family::Control,
        }
    }

    /// Bits that a value takes, without its share of a scale, as text.
    pub fn bits(&self) -> String {
        match self.kind {
            Kind::Float(exmy) => exmy.bits().to_string(),
            Kind::AnyFloat => "1 + X + Y".into(),
            Kind::Integer => "N".into(),
            Kind::Codebook(codebook) => codebook.bits().to_string(),
            Kind::Table => "1 to 8".into(),
            Kind::Mx(format) => format.element_bits().to_string(),
            Kind::Nvfp4 => ExMy::FP4_E2M1.bits().to_string(),
            Kind::Ggml => "by type".into(),
            Kind::Control(control) => control.bits.to_string(),
        }
    }

    /// Fields, range and blocks: what the format is, in one line.
    pub fn parameters(&self) -> String {
        let kind = match self.kind {
            Kind::Float(exmy) => {
                let (x, y, bias, largest) =
                    (exmy.exponent_bits(), exmy.mantissa_bits(), exmy.bias(), in_words(exmy.largest()));
                let specials = match exmy.specials() {
                    Specials::Ieee => "",
                    Specials::Fn => ", no infinity",
                    Specials::Finite => ", all codes finite",
                };
                format!("1-{x}-{y}, bias {bias}, largest {largest}{specials}")
            }
            Kind::Codebook(CodebookFormat { entries, blck_size, scale, .. }) => {
                let held_in = match scale {
                    ScaleFormat::F32 => String::new(),
                    scale => format!(" with a scale in {scale}"),
                };
                format!("{} entries; blocks of {blck_size}{held_in}", entries.len())
            }
            Kind::Mx(MxFormat { element: MxElement::Float(exmy), .. }) => {
                format!("{MX_BLCK_SIZE} {exmy} and an E8M0 scale")
            }
            Kind::Mx(MxFormat { element: MxElement::Int8, .. }) => {
                format!("{MX_BLCK_SIZE} integers of ±127 and an E8M0 scale")
            }
            Kind::Nvfp4 => {
                let (value, scale) = (ExMy::FP4_E2M1, ExMy::FP8_E4M3);
                format!("{NVFP4_BLCK_SIZE} {value} and an {scale} scale; an F32 scale for the tensor")
            }
            Kind::AnyFloat | Kind::Integer | Kind::Table | Kind::Ggml | Kind::Control(_) => String::new(),
        };
        let parts: Vec<&str> = [kind.as_str(), self.note].into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("; ")
    }

    /// Whether `@` may follow the name.
    pub fn granularity(&self) -> Granularities {
        match self.kind {
            Kind::Float(_) | Kind::AnyFloat => Granularities::Optional,
            Kind::Integer | Kind::Table => Granularities::Required,
            Kind::Codebook(_) => Granularities::Default,
            Kind::Mx(_) | Kind::Nvfp4 | Kind::Ggml => Granularities::None,
            Kind::Control(control) => control.granularity,
        }
    }

    /// The options of the format beside `:nonfinite=keep`.
    pub fn options(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Float(_) => SCALED,
            Kind::AnyFloat => ANY_FLOAT,
            Kind::Integer => INTEGER,
            Kind::Codebook(_) => &["scale=FORMAT", "clip=RANGE"],
            Kind::Table => &["table=FILE", "scale=FORMAT", "clip=RANGE"],
            Kind::Mx(_) | Kind::Nvfp4 => ROUNDED,
            Kind::Ggml => &["imatrix=FILE"],
            Kind::Control(Control { has_seed, .. }) => {
                if has_seed {
                    &["seed=N"]
                } else {
                    &[]
                }
            }
        }
    }

    /// The default rounding of a value between two levels, in words.
    pub fn rounding(&self) -> &'static str {
        match self.kind {
            Kind::Float(_) | Kind::AnyFloat | Kind::Integer | Kind::Mx(_) | Kind::Nvfp4 => "nearest even",
            Kind::Codebook(_) | Kind::Table => "nearest entry, a tie to the even index",
            Kind::Ggml => "ggml's own functions",
            Kind::Control(_) => "",
        }
    }

    /// What happens to a value beyond the largest, in words.
    pub fn overflow(&self) -> &'static str {
        match self.kind {
            Kind::Float(exmy) if exmy.specials() == Specials::Ieee => {
                "to infinity, as IEEE 754 rounds; trunc and @ clamp to the largest value"
            }
            Kind::AnyFloat => "ieee as for f16; fn and finite clamp to the largest value",
            Kind::Float(_) | Kind::Integer | Kind::Mx(_) | Kind::Nvfp4 => "clamped to the largest value",
            Kind::Codebook(_) | Kind::Table => "clamped to the last entry",
            Kind::Ggml => "ggml's own functions",
            Kind::Control(_) => "",
        }
    }

    /// The format with its defaults; `None` where the name alone does not give it.
    pub(crate) fn format(&'static self) -> Option<Format> {
        let rounding = RoundingMode::default();
        match &self.kind {
            Kind::Float(exmy) => Some(Format::Minifloat { exmy: *exmy, rounding }),
            Kind::Codebook(codebook) => Some(Format::Codebook(codebook)),
            Kind::Table => Some(Format::Table),
            Kind::Mx(format) => Some(Format::Mx { format, rounding }),
            Kind::Nvfp4 => Some(Format::Nvfp4 { rounding }),
            Kind::Control(control) => control.format,
            Kind::AnyFloat | Kind::Integer | Kind::Ggml => None,
        }
    }
}

/// A largest value as text: plain below a million, with a power of ten from there on.
fn in_words(largest: f32) -> String {
    if largest < 1e6 { largest.to_string() } else { format!("{largest:e}") }
}

const fn row(name: &'static str, kind: Kind, note: &'static str, source: &'static str) -> FormatInfo {
    FormatInfo { name, kind, note, source, example: name }
}

const fn float(name: &'static str, exmy: ExMy, source: &'static str) -> FormatInfo {
    row(name, Kind::Float(exmy), "", source)
}

const fn codebook(
    name: &'static str,
    entries: &'static [f32],
    (blck_size, scale): (u32, ScaleFormat),
    note: &'static str,
    source: &'static str,
) -> FormatInfo {
    row(name, Kind::Codebook(CodebookFormat { name, entries, blck_size, scale }), note, source)
}

const fn mx(name: &'static str, element: MxElement) -> FormatInfo {
    row(name, Kind::Mx(MxFormat { name, element }), "", MX)
}

const fn control(name: &'static str, control: Control, note: &'static str) -> FormatInfo {
    row(name, Kind::Control(control), note, "control")
}

const fn plain(format: Option<Format>) -> Control {
    Control { format, granularity: Granularities::None, has_seed: false, bits: 32 }
}

const fn seeded(format: Option<Format>, granularity: Granularities) -> Control {
    Control { format, granularity, has_seed: true, bits: 32 }
}

const OFP8: &str = "OCP 8-bit Floating Point Specification (OFP8) 1.0";
const MX: &str = "OCP Microscaling Formats (MX) Specification 1.0";
const SEED: u64 = DEFAULT_SEED;

/// Every format of the grammar. ggml's types are one row here and have a table of their own, [`GGML_FORMATS`].
pub const FORMATS: &[FormatInfo] = &[
    float("bf16", ExMy::BF16, "upper half of F32; ggml_compute_fp32_to_bf16"),
    float("f16", ExMy::F16, "IEEE 754-2019 binary16"),
    float("tf32", ExMy::TF32, "NVIDIA TensorFloat-32"),
    float("fp8_e4m3", ExMy::FP8_E4M3, OFP8),
    float("fp8_e5m2", ExMy::FP8_E5M2, OFP8),
    float("fp6_e2m3", ExMy::FP6_E2M3, MX),
    float("fp6_e3m2", ExMy::FP6_E3M2, MX),
    float("fp4_e2m1", ExMy::FP4_E2M1, MX),
    FormatInfo {
        example: "e3m4",
        ..row(
            "eXmY",
            Kind::AnyFloat,
            "X 1 to 8, Y 0 to 22, bias 2^(X−1) − 1; ieee (default): infinity and NaN, fn: one NaN, finite: numbers only",
            "IEEE 754-2019 and OFP8, generalised",
        )
    },
    FormatInfo {
        example: "int8@row",
        ..row(
            "intN",
            Kind::Integer,
            "N 2 to 16; sym: ±(2^(N−1) − 1) steps of absmax / (2^(N−1) − 1), asym: 2^N − 1 steps from min to max, \
             zeropoint: the same with zero as a level, fullrange: −2^(N−1) to 2^(N−1) − 1 steps, the greatest magnitude on the first",
            "absmax or min-max scaling; ONNX QuantizeLinear (zeropoint); quantize_row_q4_0_ref (fullrange)",
        )
    },
    codebook(
        "nf4",
        &NF4,
        (64, ScaleFormat::F32),
        "normal quantiles, ±1",
        "Dettmers et al., QLoRA (2023), appendix E; bitsandbytes create_normal_map and dQuantizeNF4",
    ),
    codebook(
        "fp4",
        &FP4,
        (64, ScaleFormat::F32),
        "bitsandbytes' FP4, ±1 (not E2M1: fp4_e2m1)",
        "bitsandbytes dDequantizeFP4Tree; its code 1 is 1/192",
    ),
    codebook(
        "iq4_nl",
        &IQ4_NL,
        (32, ScaleFormat::F16),
        "integers, −127 to 113; ggml:iq4_nl is the type whose scale ggml searches for",
        "kvalues_iq4nl in ggml-common.h",
    ),
    FormatInfo {
        example: "codebook@block64:table=FILE",
        ..row(
            "codebook",
            Kind::Table,
            "2 to 256 entries from a text file: numbers with blanks, commas or line ends between them, # begins a comment",
            "the file; stores name it by its hash",
        )
    },
    mx("mxfp4", MxElement::Float(ExMy::FP4_E2M1)),
    mx("mxfp6_e2m3", MxElement::Float(ExMy::FP6_E2M3)),
    mx("mxfp6_e3m2", MxElement::Float(ExMy::FP6_E3M2)),
    mx("mxfp8_e4m3", MxElement::Float(ExMy::FP8_E4M3)),
    mx("mxfp8_e5m2", MxElement::Float(ExMy::FP8_E5M2)),
    mx("mxint8", MxElement::Int8),
    row("nvfp4", Kind::Nvfp4, "", "NVIDIA, Pretraining Large Language Models with NVFP4 (arXiv 2509.25149)"),
    FormatInfo {
        example: "q4_k",
        ..row(
            "ggml:NAME",
            Kind::Ggml,
            "see the table of ggml's types",
            "ggml_quantize_chunk and to_float of ggml's type_traits",
        )
    },
    control("identity", plain(Some(Format::Identity)), "leaves values as they are"),
    control(
        "jitter",
        seeded(Some(Format::Jitter { seed: SEED }), Granularities::None),
        "moves each value one ulp of F32 up or down",
    ),
    FormatInfo {
        example: "noise(30)",
        ..control(
            "noise(SQNR_DB)",
            seeded(None, Granularities::Optional),
            "adds Gaussian noise that gives this ratio of signal to noise",
        )
    },
    control(
        "shuffle",
        seeded(Some(Format::Shuffle { seed: SEED }), Granularities::Optional),
        "permutes the values of each group",
    ),
    control("zero", Control { bits: 0, ..plain(Some(Format::Zero)) }, "makes every value +0"),
];

/// The row with this name.
pub(crate) fn named(name: &str) -> Option<&'static FormatInfo> {
    FORMATS.iter().find(|row| row.name == name)
}

/// The small floats that have a name, with their names.
pub fn floats() -> impl Iterator<Item = (&'static str, ExMy)> {
    FORMATS.iter().filter_map(|row| match row.kind {
        Kind::Float(exmy) => Some((row.name, exmy)),
        _ => None,
    })
}

/// The built-in tables of values.
pub fn codebooks() -> impl Iterator<Item = &'static CodebookFormat> {
    FORMATS.iter().filter_map(|row| match &row.kind {
        Kind::Codebook(codebook) => Some(codebook),
        _ => None,
    })
}

impl ExMy {
    /// The small float with this name, such as `fp8_e4m3`.
    pub fn named(name: &str) -> Option<ExMy> {
        floats().find(|(known, _)| *known == name).map(|(_, exmy)| exmy)
    }

    /// The name of the float, where it has one other than `eXmY`.
    pub fn name(self) -> Option<&'static str> {
        floats().find(|(_, exmy)| *exmy == self).map(|(name, _)| name)
    }
}

/// All names in one line, for hints.
pub fn names_in_words() -> String {
    let rows = FORMATS.iter().filter(|f| f.kind != Kind::Ggml).map(|f| f.name);
    let names: Vec<&str> = rows.collect();
    format!("{} and ggml's types (q4_0, q4_k, …)", names.join(", "))
}

/// Names that other projects use, with the names of this table.
const ALSO_CALLED: [(&str, &str); 8] = [
    ("float16", "f16"),
    ("fp16", "f16"),
    ("half", "f16"),
    ("bfloat16", "bf16"),
    ("float8", "fp8_e4m3"),
    ("float8_e4m3fn", "fp8_e4m3"),
    ("float8_e5m2", "fp8_e5m2"),
    ("tensorfloat32", "tf32"),
];

/// Up to three names of formats or bare ggml types that `word` may stand for.
pub(crate) fn nearest(word: &str) -> Vec<String> {
    let ints = (2..=16).map(|n| format!("int{n}"));
    let formats = FORMATS.iter().filter(|f| !f.name.contains(char::is_uppercase) && f.kind != Kind::Ggml);
    let names = formats.map(|f| f.name.to_owned());
    let ggml = GGML_FORMATS.iter().filter(|f| f.bare).map(|f| f.name.to_ascii_lowercase());
    if let Some((_, name)) = ALSO_CALLED.iter().find(|(other, _)| *other == word) {
        return vec![(*name).to_owned()];
    }
    // A name that begins with the word comes before one that is spelled alike.
    let score = |name: &str| match name.starts_with(word) {
        true => 1.0,
        false => strsim::normalized_damerau_levenshtein(word, name),
    };
    let mut scored: Vec<(f64, String)> =
        names.chain(ints).chain(ggml).map(|name| (score(&name), name)).filter(|(score, _)| *score >= 0.5).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Scheme;
    use super::*;

    #[test]
    fn names_stand_for_one_format_each_and_what_a_row_is_its_name_gives() {
        for (i, row) in FORMATS.iter().enumerate() {
            assert!(FORMATS[..i].iter().all(|other| other.name != row.name), "{} twice", row.name);
            if let Some(format) = row.format() {
                let scheme: Scheme = row.example.parse().expect(row.name);
                assert_eq!(scheme.format(), format, "{}", row.name);
                assert!(row.example == row.name || row.kind == Kind::Table, "{}", row.name);
            }
        }
        let exmys: Vec<ExMy> = floats().map(|(_, exmy)| exmy).collect();
        assert!(exmys.iter().enumerate().all(|(i, exmy)| !exmys[..i].contains(exmy)), "one float, two names");
    }

    #[test]
    fn a_row_says_what_its_format_is() {
        let said = |name: &str| {
            let row = named(name).expect(name);
            (row.bits(), row.parameters(), row.overflow())
        };
        let clamped = "clamped to the largest value";
        assert_eq!(said("fp8_e4m3"), ("8".into(), "1-4-3, bias 7, largest 448, no infinity".into(), clamped));
        assert_eq!(said("mxfp6_e3m2").1, "32 fp6_e3m2 and an E8M0 scale");
        assert_eq!(said("nvfp4").1, "16 fp4_e2m1 and an fp8_e4m3 scale; an F32 scale for the tensor");
        let (bits, parameters, overflow) = said("iq4_nl");
        assert_eq!((bits.as_str(), overflow), ("4", "clamped to the last entry"));
        assert!(parameters.starts_with("16 entries; blocks of 32 with a scale in f16; integers"), "{parameters}");
        assert!(said("bf16").1.ends_with("largest 3.3895314e38") && said("bf16").2.starts_with("to infinity"));
    }
}
