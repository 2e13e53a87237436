//! What fake quantization needs from ggml, as a trait, so that everything else is tested without C++.

use half::{bf16, f16};
use multiversion::multiversion;
use std::fmt;
use words::{Advice, Hint};

/// The shape of a ggml type's block, as in `ggml_type_traits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    /// The number of values in a block.
    pub blck_size: usize,
    /// The number of bytes of a block.
    pub type_size: usize,
    /// Whether ggml needs an importance matrix to quantize to the type.
    pub requires_imatrix: bool,
}

impl BlockLayout {
    /// The number of bytes of a row of `n_per_row` values; `None` when the row is not whole blocks.
    pub fn row_size(&self, n_per_row: usize) -> Option<usize> {
        n_per_row.is_multiple_of(self.blck_size).then(|| n_per_row / self.blck_size * self.type_size)
    }
}

/// ggml's own conversions between F32 and its types.
///
/// `ty` is the upstream spelling of a type (`q4_K`), in upper or lower case.
pub trait BlockCodec: Sync {
    /// The block shape of a type; `None` when the codec does not have the type.
    fn layout(&self, ty: &str) -> Option<BlockLayout>;

    /// Converts `bytes` of type `ty` to exactly `out.len()` values in F32.
    ///
    /// # Errors
    /// When the type is unknown or cannot be restored, or the number of bytes is wrong.
    fn dequantize(&self, ty: &str, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError>;

    /// Converts `values`, in rows of `n_per_row`, to bytes of type `ty`. `imatrix` has `n_per_row` importances, the
    /// same for each row.
    ///
    /// # Errors
    /// When the type is unknown or cannot be quantized to, the rows are not whole blocks, or the type needs an
    /// importance matrix and there is none.
    fn quantize(
        &self,
        ty: &str,
        values: &[f32],
        n_per_row: usize,
        imatrix: Option<&[f32]>,
    ) -> Result<Vec<u8>, CodecError>;
}

/// Why a codec could not convert values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The codec does not have the type.
    UnknownType {
        /// The name of the type as given.
        ty: String,
    },
    /// The codec has the type, but not this direction.
    Unsupported {
        /// The name of the type.
        ty: String,
        /// What is missing, in words.
        what: String,
    },
    /// The rows are not whole blocks.
    PartialBlock {
        /// The name of the type.
        ty: String,
        /// The number of values in a block.
        blck_size: usize,
        /// The number of values in a row.
        n_per_row: usize,
    },
    /// The number of bytes does not fit the number of values.
    ByteCount {
        /// The name of the type.
        ty: String,
        /// The number of values.
        n: usize,
        /// The number of bytes given.
        found: usize,
        /// The number of bytes that `n` values take.
        wanted: usize,
    },
    /// The values are not whole rows, or there is not one importance for each value of a row.
    Shape {
        /// The name of the type.
        ty: String,
        /// What has the wrong length.
        what: &'static str,
        /// The number of values given.
        found: usize,
        /// The wanted number of values, in words.
        wanted: String,
    },
    /// The values are so large that the type's search for a scale would fail.
    BeyondSearch {
        /// The name of the type.
        ty: String,
        /// What was found, and what the search can take, in words.
        what: String,
    },
    /// ggml needs an importance matrix for this type, and there is none.
    RequiresImatrix {
        /// The name of the type.
        ty: String,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::UnknownType { ty } => write!(f, "the codec has no ggml type {ty:?}"),
            CodecError::Unsupported { ty, what } | CodecError::BeyondSearch { ty, what } => {
                write!(f, "ggml type {ty}: {what}")
            }
            CodecError::PartialBlock { ty, blck_size, n_per_row } => {
                write!(f, "ggml type {ty} has blocks of {blck_size} values, which do not divide a row of {n_per_row}")
            }
            CodecError::ByteCount { ty, n, found, wanted } => {
                write!(f, "ggml type {ty}: {n} values take {wanted} bytes, found {found}")
            }
            CodecError::Shape { ty, what, found, wanted } => {
                write!(f, "ggml type {ty}: {what} has {found} values, wanted {wanted}")
            }
            CodecError::RequiresImatrix { ty } => {
                write!(f, "ggml type {ty} cannot be quantized to without an importance matrix")
            }
        }
    }
}

impl Advice for CodecError {
    fn hint(&self) -> Option<Hint> {
        match self {
            CodecError::PartialBlock { .. } => Some(Hint::words(
                "choose a type with smaller blocks; llama-quantize would fall back to one without asking",
            )),
            CodecError::BeyondSearch { .. } => {
                Some(Hint::words("choose a type whose scales are not searched for, such as q3_K or iq4_xs"))
            }
            CodecError::RequiresImatrix { ty } => Some(Hint::words(format!(
                "name a file written by llama-imatrix, {ty}:imatrix=FILE; iq1_m, iq2_s, iq3_xxs and q2_k need none"
            ))),
            CodecError::UnknownType { .. }
            | CodecError::Unsupported { .. }
            | CodecError::ByteCount { .. }
            | CodecError::Shape { .. } => None,
        }
    }
}

/// ggml's plain floats (`f32`, `f16`, `bf16`) without ggml, for tests and tools that are built without C++.
///
/// # Source
/// `ggml_fp32_to_fp16`, `ggml_compute_fp32_to_bf16` (ggml-impl.h): nearest even, overflow to infinity.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainCodec;

#[derive(Clone, Copy)]
enum Plain {
    F32,
    F16,
    Bf16,
}

impl Plain {
    const NAMES: [(&'static str, Plain, usize); 3] =
        [("f32", Plain::F32, 4), ("f16", Plain::F16, 2), ("bf16", Plain::Bf16, 2)];

    fn find(ty: &str) -> Option<(Plain, usize)> {
        Self::NAMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(ty)).map(|&(_, plain, size)| (plain, size))
    }
}

impl BlockCodec for PlainCodec {
    fn layout(&self, ty: &str) -> Option<BlockLayout> {
        Plain::find(ty).map(|(_, type_size)| BlockLayout { blck_size: 1, type_size, requires_imatrix: false })
    }

    fn dequantize(&self, ty: &str, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        let (plain, size) = Plain::find(ty).ok_or_else(|| CodecError::UnknownType { ty: ty.into() })?;
        let wanted = out.len() * size;
        if bytes.len() != wanted {
            return Err(CodecError::ByteCount { ty: ty.into(), n: out.len(), found: bytes.len(), wanted });
        }
        match plain {
            Plain::F32 => {
                let words = bytes.as_chunks::<4>().0;
                out.iter_mut().zip(words).for_each(|(o, &b)| *o = f32::from_le_bytes(b));
            }
            Plain::F16 => widen_f16(bytes.as_chunks().0, out),
            Plain::Bf16 => widen_bf16(bytes.as_chunks().0, out),
        }
        Ok(())
    }

    fn quantize(
        &self,
        ty: &str,
        values: &[f32],
        n_per_row: usize,
        _imatrix: Option<&[f32]>,
    ) -> Result<Vec<u8>, CodecError> {
        let (plain, size) = Plain::find(ty).ok_or_else(|| CodecError::UnknownType { ty: ty.into() })?;
        if !values.is_empty() && (n_per_row == 0 || !values.len().is_multiple_of(n_per_row)) {
            return Err(CodecError::Shape {
                ty: ty.into(),
                what: "the tensor",
                found: values.len(),
                wanted: format!("whole rows of {n_per_row}"),
            });
        }
        let mut bytes = Vec::with_capacity(values.len() * size);
        for &x in values {
            match plain {
                Plain::F32 => bytes.extend_from_slice(&x.to_le_bytes()),
                Plain::F16 => bytes.extend_from_slice(&f16::from_f32(x).to_le_bytes()),
                Plain::Bf16 => bytes.extend_from_slice(&bf16::from_f32(x).to_le_bytes()),
            }
        }
        Ok(bytes)
    }
}

/// Converts F16 to F32, exactly; NaNs become quiet, as with the processor's own conversion and ggml's.
///
/// The loop has no branch, so that it vectorises. A multiplication corrects the exponent of a normal number. The
/// mantissa of a subnormal counts units in the last place of 0.5.
///
/// # Source
/// `ggml_compute_fp16_to_fp32` in ggml-impl.h, after M. Dukhan's FP16 library.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn widen_f16(words: &[[u8; 2]], out: &mut [f32]) {
    const EXPONENT_112: u32 = 0xe0 << 23;
    const TWO_POW_MINUS_112: f32 = f32::from_bits((127 - 112) << 23);
    const HALF: u32 = 126 << 23;
    /// Twice the bits of the least normal number, in the upper half of a word.
    const LEAST_NORMAL: u32 = 1 << 27;
    for (o, &b) in out.iter_mut().zip(words) {
        let word = u32::from(u16::from_le_bytes(b)) << 16;
        let magnitude = word << 1;
        let normal = f32::from_bits((magnitude >> 4).wrapping_add(EXPONENT_112)) * TWO_POW_MINUS_112;
        let subnormal = f32::from_bits((magnitude >> 17) | HALF) - 0.5;
        let bits = if magnitude < LEAST_NORMAL { subnormal.to_bits() } else { normal.to_bits() };
        *o = f32::from_bits((word & 0x8000_0000) | bits);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn widen_bf16(words: &[[u8; 2]], out: &mut [f32]) {
    for (o, &b) in out.iter_mut().zip(words) {
        *o = f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16);
    }
}
