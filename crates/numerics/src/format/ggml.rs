//! ggml's own types as schemes: quantized and restored by ggml's functions through [`BlockCodec`],
//! so that the bits are llama.cpp's.

/// A ggml type that tensors can be quantized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GgmlFormat {
    /// Upstream spelling, as `ggml_type_name` prints it.
    pub name: &'static str,
    /// Values in a block.
    pub blck_size: usize,
    /// Bytes of a block.
    pub type_size: usize,
    /// The bare name (without `ggml:`) means this type; false where a standard has the same name.
    pub bare: bool,
    /// What an importance matrix is to its quantizer.
    pub imatrix: ImatrixUse,
}

/// What an importance matrix is to the quantizer of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImatrixUse {
    /// It is not looked at.
    Ignored,
    /// It decides which errors matter; without it the values themselves do.
    Optional,
    /// Nothing goes without.
    Required,
}

impl ImatrixUse {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            ImatrixUse::Ignored => "none",
            ImatrixUse::Optional => "optional",
            ImatrixUse::Required => "required",
        }
    }
}

impl GgmlFormat {
    /// Realised bits a value takes, scales included.
    pub fn bits_per_weight(&self) -> f64 {
        (self.type_size * 8) as f64 / self.blck_size as f64
    }

    /// The type of that name in either case, without `ggml:`.
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

/// Every type that `ggml_quantize_chunk` writes, and the plain floats. Block shapes are a copy of
/// `type_traits`, used for listings and held to the container's table by a test; the kernels go by
/// [`BlockCodec::layout`].
///
/// # Source
/// ggml.c, `type_traits` and `ggml_quantize_chunk`; ggml-common.h for the block structs.
pub const GGML_FORMATS: &[GgmlFormat] = &[
    // `f16` and `bf16` are the minifloats' names; the conversions agree, but only these go through ggml.
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
