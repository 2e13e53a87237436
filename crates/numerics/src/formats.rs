//! The one table of formats: what the grammar knows, what is built, and what each does.

use crate::ggml::GGML_FORMATS;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatInfo {
    /// As written in a scheme; `N` and `X`, `Y` stand for numbers.
    pub name: &'static str,
    /// Which kernels.
    pub family: Family,
    /// What a value takes when stored, scales included.
    pub bits: &'static str,
    /// Whether `@` may follow.
    pub granularity: Granularities,
    /// Options beside `:nonfinite=keep`, the default first.
    pub options: &'static [&'static str],
    /// How values between two levels, and beyond the last, are treated.
    pub rounding: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    /// Can be used now.
    pub built: bool,
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
    /// It may be given.
    Optional,
    /// It must be given.
    Required,
}

const fn built(
    name: &'static str,
    family: Family,
    bits: &'static str,
    granularity: Granularities,
    options: &'static [&'static str],
    rounding: &'static str,
    source: &'static str,
) -> FormatInfo {
    FormatInfo { name, family, bits, granularity, options, rounding, source, built: true }
}

const fn later(name: &'static str, family: Family) -> FormatInfo {
    FormatInfo {
        name,
        family,
        bits: "",
        granularity: Granularities::None,
        options: &[],
        rounding: "",
        source: "",
        built: false,
    }
}

const ROUNDING: &[&str] = &["rne", "trunc"];
const IEEE: &str = "nearest even, overflow to infinity; trunc towards zero, no overflow; scaled (@) saturates";

/// Every format of the grammar, built or not. ggml's types are one row here and a table of their own
/// in [`GGML_FORMATS`].
pub const FORMATS: &[FormatInfo] = &[
    built(
        "bf16",
        Family::Minifloat,
        "16",
        Granularities::Optional,
        ROUNDING,
        IEEE,
        "upper half of F32; ggml_compute_fp32_to_bf16",
    ),
    built("f16", Family::Minifloat, "16", Granularities::Optional, ROUNDING, IEEE, "IEEE 754-2019 binary16"),
    built(
        "tf32",
        Family::Minifloat,
        "19",
        Granularities::Optional,
        ROUNDING,
        IEEE,
        "NVIDIA TensorFloat-32: 8 exponent, 10 mantissa bits",
    ),
    built(
        "intN",
        Family::Integer,
        "N + 32 (sym) or 64 (asym) a group",
        Granularities::Required,
        &["sym", "asym"],
        "nearest even, saturates",
        "absmax or min-max scaling, F32 scales; N = 2 to 16",
    ),
    built(
        "ggml:NAME",
        Family::Ggml,
        "by type",
        Granularities::None,
        &[],
        "ggml's own functions",
        "ggml_quantize_chunk and to_float of ggml's type_traits",
    ),
    built("identity", Family::Control, "32", Granularities::None, &[], "values stay", "control"),
    built("jitter", Family::Control, "32", Granularities::None, &["seed=N"], "one ulp of F32 up or down", "control"),
    built(
        "noise(SQNR_DB)",
        Family::Control,
        "32",
        Granularities::Optional,
        &["seed=N"],
        "adds Gaussian noise of that energy",
        "control",
    ),
    built("zero", Family::Control, "0", Granularities::None, &[], "every value +0", "control"),
    later("fp8_e4m3", Family::Minifloat),
    later("fp8_e5m2", Family::Minifloat),
    later("fp6_e2m3", Family::Minifloat),
    later("fp6_e3m2", Family::Minifloat),
    later("fp4_e2m1", Family::Minifloat),
    later("eXmY", Family::Minifloat),
    later("nf4", Family::Codebook),
    later("iq4_nl", Family::Codebook),
    later("mxfp4", Family::Block),
    later("mxfp6_e2m3", Family::Block),
    later("mxfp6_e3m2", Family::Block),
    later("mxfp8_e4m3", Family::Block),
    later("mxfp8_e5m2", Family::Block),
    later("mxint8", Family::Block),
    later("nvfp4", Family::Block),
    later("shuffle", Family::Control),
];

/// What can be written today, in one line: for hints.
pub fn built_names() -> String {
    let rows = FORMATS.iter().filter(|f| f.built && f.family != Family::Ggml).map(|f| f.name);
    let names: Vec<&str> = rows.collect();
    format!("{} and ggml's types (q4_0, q4_k, …)", names.join(", "))
}

/// Up to three names of formats and bare ggml types that `word` may have meant.
pub(crate) fn nearest(word: &str) -> Vec<String> {
    let ints = (2..=16).map(|n| format!("int{n}"));
    let formats = FORMATS.iter().filter(|f| f.built && f.name != "intN" && f.family != Family::Ggml);
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
