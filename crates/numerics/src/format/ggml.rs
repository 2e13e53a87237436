//! The table of ggml's own types. ggml's functions quantize to them, through a [`BlockCodec`](crate::BlockCodec), so
//! that the bits are llama.cpp's.

/// A ggml type that tensors can be quantized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GgmlFormat {
    /// The upstream spelling, as `ggml_type_name` prints it.
    pub name: &'static str,
    /// The number of values in a block.
    pub blck_size: usize,
    /// The number of bytes of a block.
    pub type_size: usize,
    /// Whether the bare name, without `ggml:`, means this type; false where a standard has the same name.
    pub bare: bool,
    /// How the type's quantizer uses an importance matrix.
    pub imatrix: ImatrixUse,
}

/// How the quantizer of a type uses an importance matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImatrixUse {
    /// The quantizer ignores it.
    Ignored,
    /// It decides which errors matter most; without it the values themselves do.
    Optional,
    /// The quantizer does not work without it.
    Required,
}

impl ImatrixUse {
    /// The use in one word.
    pub fn name(self) -> &'static str {
        match self {
            ImatrixUse::Ignored => "none",
            ImatrixUse::Optional => "optional",
            ImatrixUse::Required => "required",
        }
    }
}

impl GgmlFormat {
    /// Bits that a value takes where the type is stored, scales included.
    pub fn bits_per_weight(&self) -> f64 {
        (self.type_size * 8) as f64 / self.blck_size as f64
    }

    /// The type with this name, in upper or lower case, without `ggml:`.
    pub fn find(name: &str) -> Option<&'static GgmlFormat> {
        GGML_FORMATS.iter().find(|f| f.name.eq_ignore_ascii_case(name))
    }
}

const fn ty(name: &'static str, blck_size: usize, type_size: usize) -> GgmlFormat {
    GgmlFormat { name, blck_size, type_size, bare: true, imatrix: ImatrixUse::Optional }
}

const fn no_imatrix(format: GgmlFormat) -> GgmlFormat {
    GgmlFormat { imatrix: ImatrixUse::Ignored, ..format }
}

const fn needs_imatrix(format: GgmlFormat) -> GgmlFormat {
    GgmlFormat { imatrix: ImatrixUse::Required, ..format }
}

const fn standards_name(format: GgmlFormat) -> GgmlFormat {
    GgmlFormat { bare: false, ..format }
}

/// Every type that `ggml_quantize_chunk` writes, and the plain floats. The block shapes are a copy of `type_traits`,
/// for listings; a test compares them with the container's table. Kernels go by
/// [`BlockCodec::layout`](crate::BlockCodec::layout).
///
/// # Source
/// ggml.c, `type_traits` and `ggml_quantize_chunk`; ggml-common.h for the block structs.
pub const GGML_FORMATS: &[GgmlFormat] = &[
    // `f16` and `bf16` are names of small floats. The conversions agree, but only these rows go through ggml.
    standards_name(no_imatrix(ty("f32", 1, 4))),
    standards_name(no_imatrix(ty("f16", 1, 2))),
    standards_name(no_imatrix(ty("bf16", 1, 2))),
    no_imatrix(ty("q1_0", 128, 18)),
    no_imatrix(ty("q2_0", 64, 18)),
    ty("q4_0", 32, 18),
    ty("q4_1", 32, 20),
    ty("q5_0", 32, 22),
    ty("q5_1", 32, 24),
    no_imatrix(ty("q8_0", 32, 34)),
    ty("q2_K", 256, 84),
    ty("q3_K", 256, 110),
    ty("q4_K", 256, 144),
    ty("q5_K", 256, 176),
    ty("q6_K", 256, 210),
    no_imatrix(ty("tq1_0", 256, 54)),
    no_imatrix(ty("tq2_0", 256, 66)),
    needs_imatrix(ty("iq1_s", 256, 50)),
    ty("iq1_m", 256, 56),
    needs_imatrix(ty("iq2_xxs", 256, 66)),
    needs_imatrix(ty("iq2_xs", 256, 74)),
    ty("iq2_s", 256, 82),
    ty("iq3_xxs", 256, 98),
    ty("iq3_s", 256, 110),
    standards_name(ty("iq4_nl", 32, 18)),
    ty("iq4_xs", 256, 136),
    standards_name(no_imatrix(ty("mxfp4", 32, 17))),
    standards_name(no_imatrix(ty("nvfp4", 64, 36))),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{BlockCodec, PlainCodec};

    #[test]
    fn the_table_has_each_name_once_and_finds_it_in_either_case() {
        for (i, f) in GGML_FORMATS.iter().enumerate() {
            assert_eq!(GgmlFormat::find(&f.name.to_uppercase()), Some(f));
            assert!(GGML_FORMATS[i + 1..].iter().all(|g| !g.name.eq_ignore_ascii_case(f.name)));
        }
        assert_eq!(GgmlFormat::find("q4_k").unwrap().bits_per_weight(), 4.5);
        assert_eq!(GgmlFormat::find("q6_K").unwrap().bits_per_weight(), 6.5625);
    }

    #[test]
    fn plain_floats_agree_with_the_plain_codec_on_their_shape() {
        for name in ["f32", "f16", "bf16"] {
            let (ours, theirs) = (GgmlFormat::find(name).unwrap(), PlainCodec.layout(name).unwrap());
            assert_eq!((ours.blck_size, ours.type_size), (theirs.blck_size, theirs.type_size));
        }
    }
}
