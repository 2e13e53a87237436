//! `general.file_type`: the type that most of a file's matrices have, numbered as in llama.cpp.

use crate::ggml_type::GgmlType;

/// The metadata key of the file type, whose value is a u32.
pub const GENERAL_FILE_TYPE: &str = "general.file_type";
/// The metadata key of the version of the quantization formats, whose value is a u32.
pub const GENERAL_QUANTIZATION_VERSION: &str = "general.quantization_version";
/// The version of the quantization formats in every current file (`GGML_QNT_VERSION`).
pub const GGML_QNT_VERSION: u32 = 2;

/// The `llama_ftype` of a file whose matrices are mostly of this type. `None` where llama.cpp has no such file. Where
/// several mixtures bear the name of one type, it is the mixture that is nearest to that type alone.
///
/// # Source
/// `enum llama_ftype` in `include/llama.h` of the pinned engine.
pub fn file_type_of(ty: GgmlType) -> Option<u32> {
    use GgmlType::*;
    Some(match ty {
        GgmlType::F32 => 0,
        F16 => 1,
        Q4_0 => 2,
        Q4_1 => 3,
        Q8_0 => 7,
        Q5_0 => 8,
        Q5_1 => 9,
        Q2_K => 10,
        Q3_K => 11,
        Q4_K => 14,
        Q5_K => 16,
        Q6_K => 18,
        IQ2_XXS => 19,
        IQ2_XS => 20,
        IQ3_XXS => 23,
        IQ1_S => 24,
        IQ4_NL => 25,
        IQ3_S => 26,
        IQ2_S => 28,
        IQ4_XS => 30,
        IQ1_M => 31,
        BF16 => 32,
        TQ1_0 => 36,
        TQ2_0 => 37,
        MXFP4 => 38,
        NVFP4 => 39,
        Q1_0 => 40,
        Q2_0 => 41,
        Q8_1 | Q8_K | I8 | I16 | I32 | I64 | F64 => return None,
    })
}
