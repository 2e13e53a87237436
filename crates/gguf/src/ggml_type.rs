//! One table of facts per ggml type: id in the file, upstream name, values per block, bytes per block.
//!
//! # Source
//! `enum ggml_type` in `ggml/include/ggml.h`, `type_traits` in `ggml/src/ggml.c` and the `block_*`
//! structs in `ggml/src/ggml-common.h` of the pinned engine.

use crate::foreign::fork_type;
use std::fmt;

struct Traits {
    ty: GgmlType,
    name: &'static str,
    blck_size: u64,
    type_size: u64,
}

macro_rules! ggml_types {
    ($($variant:ident = $id:literal, $name:literal, $blck_size:literal, $type_size:literal;)*) => {
        /// A ggml tensor type, in upstream spelling.
        #[allow(non_camel_case_types, missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum GgmlType { $($variant = $id,)* }

        static TRAITS: &[Traits] = &[$(Traits {
            ty: GgmlType::$variant,
            name: $name,
            blck_size: $blck_size,
            type_size: $type_size,
        },)*];

        impl GgmlType {
            /// Every type, by ascending id.
            pub const ALL: &'static [GgmlType] = &[$(GgmlType::$variant,)*];

            fn traits(self) -> &'static Traits {
                const INDEX_OF_ID: [u8; 43] = {
                    let mut index_of_id = [u8::MAX; 43];
                    let mut index = 0;
                    $(
                        index_of_id[$id] = index;
                        index += 1;
                    )*
                    let _ = index;
                    index_of_id
                };
                &TRAITS[usize::from(INDEX_OF_ID[self as usize])]
            }
        }
    };
}

ggml_types! {
//  variant = id, name, values per block, bytes per block;
    F32     =  0, "f32",       1,   4;
    F16     =  1, "f16",       1,   2;
    Q4_0    =  2, "q4_0",     32,  18;
    Q4_1    =  3, "q4_1",     32,  20;
    Q5_0    =  6, "q5_0",     32,  22;
    Q5_1    =  7, "q5_1",     32,  24;
    Q8_0    =  8, "q8_0",     32,  34;
    Q8_1    =  9, "q8_1",     32,  36;
    Q2_K    = 10, "q2_K",    256,  84;
    Q3_K    = 11, "q3_K",    256, 110;
    Q4_K    = 12, "q4_K",    256, 144;
    Q5_K    = 13, "q5_K",    256, 176;
    Q6_K    = 14, "q6_K",    256, 210;
    Q8_K    = 15, "q8_K",    256, 292;
    IQ2_XXS = 16, "iq2_xxs", 256,  66;
    IQ2_XS  = 17, "iq2_xs",  256,  74;
    IQ3_XXS = 18, "iq3_xxs", 256,  98;
    IQ1_S   = 19, "iq1_s",   256,  50;
    IQ4_NL  = 20, "iq4_nl",   32,  18;
    IQ3_S   = 21, "iq3_s",   256, 110;
    IQ2_S   = 22, "iq2_s",   256,  82;
    IQ4_XS  = 23, "iq4_xs",  256, 136;
    I8      = 24, "i8",        1,   1;
    I16     = 25, "i16",       1,   2;
    I32     = 26, "i32",       1,   4;
    I64     = 27, "i64",       1,   8;
    F64     = 28, "f64",       1,   8;
    IQ1_M   = 29, "iq1_m",   256,  56;
    BF16    = 30, "bf16",      1,   2;
    TQ1_0   = 34, "tq1_0",   256,  54;
    TQ2_0   = 35, "tq2_0",   256,  66;
    MXFP4   = 39, "mxfp4",    32,  17;
    NVFP4   = 40, "nvfp4",    64,  36;
    Q1_0    = 41, "q1_0",    128,  18;
    Q2_0    = 42, "q2_0",     64,  18;
}

/// Ids that once were types and mean nothing to a current engine.
const REMOVED: [(u32, &str); 8] = [
    (4, "q4_2"),
    (5, "q4_3"),
    (31, "q4_0_4_4"),
    (32, "q4_0_4_8"),
    (33, "q4_0_8_8"),
    (36, "iq4_nl_4_4"),
    (37, "iq4_nl_4_8"),
    (38, "iq4_nl_8_8"),
];

/// Why an id names no type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GgmlTypeIdError {
    /// The type existed once, and upstream has removed it.
    #[error("{id} ({name}), which upstream has removed{}", of_fork(*.id, ", or "))]
    Removed {
        /// The id that the file states.
        id: u32,
        /// The name that the type had.
        name: &'static str,
    },
    /// The pinned ggml does not know the id.
    #[error("{id}{}", of_fork(*.id, ""))]
    Unknown {
        /// The id that the file states.
        id: u32,
    },
}

/// The type that a fork writes under this id, if one is known.
fn of_fork(id: u32, before: &str) -> String {
    match fork_type(id) {
        Some(known) if before.is_empty() => format!(" ({known})"),
        Some(known) => format!("{before}{known}"),
        None => String::new(),
    }
}

impl GgmlType {
    /// The type with this id in a GGUF file.
    ///
    /// # Errors
    /// When the id was removed upstream or never existed.
    pub fn from_id(id: u32) -> Result<Self, GgmlTypeIdError> {
        if let Some(&(id, name)) = REMOVED.iter().find(|(removed, _)| *removed == id) {
            return Err(GgmlTypeIdError::Removed { id, name });
        }
        Self::ALL.iter().copied().find(|ty| ty.id() == id).ok_or(GgmlTypeIdError::Unknown { id })
    }

    /// The type of this name, in any case: `q4_K`, `Q4_K` and `q4_k` name the same type. `None` when no type has the
    /// name.
    pub fn from_name(name: &str) -> Option<Self> {
        TRAITS.iter().find(|t| t.name.eq_ignore_ascii_case(name)).map(|t| t.ty)
    }

    /// The id that stands for the type in a file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The name in upstream's spelling, such as `q4_K` or `bf16`.
    pub fn name(self) -> &'static str {
        self.traits().name
    }

    /// The number of values in a block; 1 for a type that stores every value on its own.
    pub fn blck_size(self) -> u64 {
        self.traits().blck_size
    }

    /// The number of bytes that a block takes.
    pub fn type_size(self) -> u64 {
        self.traits().type_size
    }

    /// Whether several values share a block, so that no value can be read alone.
    pub fn is_quantized(self) -> bool {
        self.blck_size() > 1
    }

    /// Whether the type stores one integer per value.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }

    /// The number of bits per weight, with the bits of the scales.
    pub fn bits_per_weight(self) -> f64 {
        (self.type_size() * 8) as f64 / self.blck_size() as f64
    }

    /// The number of bytes that `n` values take. `None` when `n` is not a whole number of blocks or the product
    /// overflows.
    pub fn bytes_of(self, n: u64) -> Option<u64> {
        if !n.is_multiple_of(self.blck_size()) {
            return None;
        }
        (n / self.blck_size()).checked_mul(self.type_size())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a block in bytes, added up field by field from the drawings in `ggml-common.h`.
    fn fields_of_block(ty: GgmlType) -> (u64, u64) {
        use GgmlType::*;
        const F16: u64 = 2;
        const QK_K: u64 = 256;
        match ty {
            GgmlType::F32 | I32 => (1, 4),
            GgmlType::F16 | BF16 | I16 => (1, 2),
            I8 => (1, 1),
            I64 | F64 => (1, 8),
            Q4_0 | IQ4_NL => (32, F16 + 32 / 2),
            Q4_1 => (32, F16 + F16 + 32 / 2),
            Q5_0 => (32, F16 + 32 / 8 + 32 / 2),
            Q5_1 => (32, F16 + F16 + 32 / 8 + 32 / 2),
            Q8_0 => (32, F16 + 32),
            Q8_1 => (32, F16 + F16 + 32),
            Q2_K => (QK_K, QK_K / 16 + QK_K / 4 + F16 + F16),
            Q3_K => (QK_K, QK_K / 8 + QK_K / 4 + 12 + F16),
            Q4_K => (QK_K, F16 + F16 + 12 + QK_K / 2),
            Q5_K => (QK_K, F16 + F16 + 12 + QK_K / 8 + QK_K / 2),
            Q6_K => (QK_K, QK_K / 2 + QK_K / 4 + QK_K / 16 + F16),
            Q8_K => (QK_K, 4 + QK_K + 2 * (QK_K / 16)),
            IQ2_XXS => (QK_K, F16 + 2 * (QK_K / 8)),
            IQ2_XS => (QK_K, F16 + 2 * (QK_K / 8) + QK_K / 32),
            IQ2_S => (QK_K, F16 + QK_K / 4 + QK_K / 32 + QK_K / 32),
            IQ3_XXS => (QK_K, F16 + 3 * (QK_K / 8)),
            IQ3_S => (QK_K, F16 + QK_K / 4 + QK_K / 32 + QK_K / 8 + QK_K / 64),
            IQ1_S => (QK_K, F16 + QK_K / 8 + 2 * (QK_K / 32)),
            IQ1_M => (QK_K, QK_K / 8 + QK_K / 16 + QK_K / 32),
            IQ4_XS => (QK_K, F16 + 2 + QK_K / 64 + QK_K / 2),
            TQ1_0 => (QK_K, (QK_K - 4 * QK_K / 64) / 5 + QK_K / 64 + F16),
            TQ2_0 => (QK_K, QK_K / 4 + F16),
            MXFP4 => (32, 1 + 32 / 2),
            NVFP4 => (64, 64 / 16 + 64 / 2),
            Q1_0 => (128, F16 + 128 / 8),
            Q2_0 => (64, F16 + 64 / 4),
        }
    }

    #[test]
    fn every_block_is_as_large_as_the_sum_of_its_fields() {
        for &ty in GgmlType::ALL {
            assert_eq!((ty.blck_size(), ty.type_size()), fields_of_block(ty), "{ty}");
        }
    }

    #[test]
    fn every_id_below_the_count_is_a_type_or_removed_and_none_beyond_is() {
        for id in 0..43 {
            match GgmlType::from_id(id) {
                Ok(ty) => assert_eq!(ty.id(), id),
                Err(GgmlTypeIdError::Removed { id: found, .. }) => assert_eq!(found, id),
                Err(unknown) => panic!("id {id}: {unknown}"),
            }
        }
        for id in [43, 44, 1000, u32::MAX] {
            assert_eq!(GgmlType::from_id(id), Err(GgmlTypeIdError::Unknown { id }));
        }
        assert_eq!(GgmlType::ALL.len() + REMOVED.len(), 43);
    }

    #[test]
    fn names_are_upstream_spelling_and_found_in_any_case() {
        assert_eq!(GgmlType::Q4_K.to_string(), "q4_K");
        for &ty in GgmlType::ALL {
            assert_eq!(GgmlType::from_name(ty.name()), Some(ty));
            assert_eq!(GgmlType::from_name(&ty.name().to_uppercase()), Some(ty));
        }
        assert_eq!(GgmlType::from_name("q4_2"), None);
    }

    #[test]
    fn bytes_of_refuses_part_blocks_and_overflow() {
        assert_eq!(GgmlType::Q4_K.bytes_of(512), Some(288));
        assert_eq!(GgmlType::Q4_K.bytes_of(511), None);
        assert_eq!(GgmlType::F64.bytes_of(u64::MAX), None);
        assert_eq!(GgmlType::Q4_K.bits_per_weight(), 4.5);
    }
}
