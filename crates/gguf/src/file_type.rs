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

/// `LLAMA_FTYPE_GUESSED`, a bit of the value: the type was not stated but guessed from the tensors.
const GUESSED: u64 = 1024;

/// The numbers of file types that llama.cpp once had and no longer supports.
const REMOVED: [u64; 6] = [4, 5, 6, 33, 34, 35];

/// Whether a value of `general.file_type` is a number that llama.cpp no longer supports.
///
/// # Source
/// The lines of `enum llama_ftype` that are comments, in `include/llama.h` of the pinned engine.
pub fn is_removed_file_type(value: u64) -> bool {
    REMOVED.contains(&(value & !GUESSED))
}

/// Whether a value of `general.file_type` is the number of a file whose matrices are mostly of this type.
pub fn is_file_type_of(value: u64, ty: GgmlType) -> bool {
    file_type_of(ty).is_some_and(|number| u64::from(number) == value & !GUESSED)
}

/// What a value of `general.file_type` means: the name of the mixture, and the type that most of its matrices have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileType {
    /// The name in llama-quantize, such as `Q4_K_M`.
    pub name: &'static str,
    /// The type of most matrices.
    pub ty: GgmlType,
}

/// The meaning of a value of `general.file_type`. `None` for values that llama.cpp does not know or no longer supports.
///
/// # Source
/// `enum llama_ftype` in `include/llama.h` and `llama_ftype_get_default_type` in `src/llama-quant.cpp` of the pinned
/// engine. A test in crate `files` reads both and compares. The second has no type for NVFP4, which llama-quantize does not
/// make.
pub fn file_type(value: u64) -> Option<FileType> {
    use GgmlType::*;
    let (name, ty) = match value & !GUESSED {
        0 => ("F32", F32),
        1 => ("F16", F16),
        2 => ("Q4_0", Q4_0),
        3 => ("Q4_1", Q4_1),
        7 => ("Q8_0", Q8_0),
        8 => ("Q5_0", Q5_0),
        9 => ("Q5_1", Q5_1),
        10 => ("Q2_K", Q2_K),
        11 => ("Q3_K_S", Q3_K),
        12 => ("Q3_K_M", Q3_K),
        13 => ("Q3_K_L", Q3_K),
        14 => ("Q4_K_S", Q4_K),
        15 => ("Q4_K_M", Q4_K),
        16 => ("Q5_K_S", Q5_K),
        17 => ("Q5_K_M", Q5_K),
        18 => ("Q6_K", Q6_K),
        19 => ("IQ2_XXS", IQ2_XXS),
        20 => ("IQ2_XS", IQ2_XS),
        21 => ("Q2_K_S", Q2_K),
        22 => ("IQ3_XS", IQ3_S),
        23 => ("IQ3_XXS", IQ3_XXS),
        24 => ("IQ1_S", IQ1_S),
        25 => ("IQ4_NL", IQ4_NL),
        26 => ("IQ3_S", IQ3_S),
        27 => ("IQ3_M", IQ3_S),
        28 => ("IQ2_S", IQ2_XS),
        29 => ("IQ2_M", IQ2_S),
        30 => ("IQ4_XS", IQ4_XS),
        31 => ("IQ1_M", IQ1_M),
        32 => ("BF16", BF16),
        36 => ("TQ1_0", TQ1_0),
        37 => ("TQ2_0", TQ2_0),
        38 => ("MXFP4_MOE", MXFP4),
        39 => ("NVFP4", NVFP4),
        40 => ("Q1_0", Q1_0),
        41 => ("Q2_0", Q2_0),
        _ => return None,
    };
    Some(FileType { name, ty })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_that_of_a_type_whether_stated_or_guessed() {
        assert!(is_file_type_of(7, GgmlType::Q8_0) && is_file_type_of(1024 + 7, GgmlType::Q8_0));
        // llama-quantize stores most matrices of such a file in IQ2_XS.
        assert!(
            is_file_type_of(28, GgmlType::IQ2_S) && file_type(28).is_some_and(|stated| stated.ty == GgmlType::IQ2_XS)
        );
        assert!(!is_file_type_of(7, GgmlType::Q4_0) && !is_file_type_of(999, GgmlType::Q8_0));
    }
}
