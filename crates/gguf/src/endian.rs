//! Byte order: which one a file has, and how to turn blocks into the other.

use crate::ggml_type::GgmlType;

/// The byte order of the numbers in a file. The magic and the strings are the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endian {
    /// The least significant byte comes first, as in nearly every file.
    #[default]
    Little,
    /// The most significant byte comes first, as in files made for s390x and older PowerPC.
    Big,
}

impl Endian {
    /// The name of the byte order, `little` or `big`.
    pub fn name(self) -> &'static str {
        match self {
            Endian::Little => "little",
            Endian::Big => "big",
        }
    }
}

/// The fields of a block whose numbers have more than one byte: the first byte, the bytes of one number, and how many
/// numbers there are. `None` for `iq2_xxs`, `iq3_xxs` and `iq1_m`: ggml reads bytes of these blocks through wider types
/// than the struct has, so their byte order is not defined.
///
/// # Source
/// The `block_*` structs of `ggml/src/ggml-common.h`.
fn fields(ty: GgmlType) -> Option<&'static [(usize, usize, usize)]> {
    use GgmlType::*;
    Some(match ty {
        I8 | MXFP4 | NVFP4 => &[],
        F16 | BF16 | I16 => &[(0, 2, 1)],
        GgmlType::F32 | I32 => &[(0, 4, 1)],
        I64 | F64 => &[(0, 8, 1)],
        Q4_0 | Q5_0 | Q8_0 | Q1_0 | Q2_0 | IQ4_NL | IQ2_S | IQ3_S => &[(0, 2, 1)],
        Q4_1 | Q5_1 | Q8_1 | Q4_K | Q5_K | IQ4_XS => &[(0, 2, 2)],
        Q2_K => &[(80, 2, 2)],
        Q3_K => &[(108, 2, 1)],
        Q6_K => &[(208, 2, 1)],
        Q8_K => &[(0, 4, 1), (260, 2, 16)],
        TQ1_0 => &[(52, 2, 1)],
        TQ2_0 => &[(64, 2, 1)],
        IQ2_XS => &[(0, 2, 33)],
        IQ1_S => &[(0, 2, 1), (34, 2, 8)],
        IQ2_XXS | IQ3_XXS | IQ1_M => return None,
    })
}

/// Turns whole blocks from one byte order into the other, in place. Returns `false` when the byte order of the type is
/// not defined.
pub(crate) fn swap_blocks(ty: GgmlType, bytes: &mut [u8]) -> bool {
    let Some(fields) = fields(ty) else { return false };
    for block in bytes.chunks_exact_mut(ty.type_size() as usize) {
        for &(start, width, count) in fields {
            block[start..start + width * count].chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_lies_in_its_block_and_swapping_twice_is_nothing() {
        for &ty in GgmlType::ALL {
            let whole: Vec<u8> = (0..2 * ty.type_size()).map(|i| i as u8).collect();
            let mut swapped = whole.clone();
            if swap_blocks(ty, &mut swapped) {
                assert_eq!(swapped == whole, fields(ty) == Some(&[]), "{ty}");
                swap_blocks(ty, &mut swapped);
            }
            assert_eq!(swapped, whole, "{ty}");
        }
    }

    #[test]
    fn scales_turn_and_quants_stay() {
        let mut block: Vec<u8> = (0..18).collect();
        assert!(swap_blocks(GgmlType::Q4_0, &mut block));
        assert_eq!(block, [&[1, 0], &(2..18).collect::<Vec<u8>>()[..]].concat());
        let mut block = vec![0; 210];
        block[208] = 0x3c;
        assert!(swap_blocks(GgmlType::Q6_K, &mut block));
        assert_eq!(block[208..], [0, 0x3c]);
    }
}
