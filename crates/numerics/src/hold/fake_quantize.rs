//! Fake quantization: values become what they would read as after being held in the scheme's format.

use crate::codebook_table::CodebookTable;
use crate::codec::{BlockCodec, CodecError};
use crate::exmy::ExMy;
use crate::groups::{BATCH, RangeOverflow};
use crate::imatrix::{Imatrix, ImatrixError, Importance, TensorShape};
use crate::minifloat::Minifloat;
use crate::rounding::{Rounding, RoundingMode, with_rounding};
use crate::scheme::{Format, Nonfinite, Scheme};
use crate::scheme_file::SchemeFile;
use crate::together::Together;
use multiversion::multiversion;
use rayon::prelude::*;

/// What a scheme needs to know about a tensor beside its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorContext<'a> {
    /// GGUF name: for messages, and mixed into seeds so that tensors of equal length get other draws.
    pub name: &'a str,
    /// `ne[0]`, the contiguous extent.
    pub n_per_row: usize,
}

impl TensorContext<'_> {
    /// How many rows `n` values are.
    pub(crate) fn rows(&self, n: usize) -> Result<usize, FakeQuantError> {
        match n.checked_div(self.n_per_row) {
            Some(rows) if rows * self.n_per_row == n => Ok(rows),
            _ => Err(FakeQuantError::Shape { tensor: self.name.to_owned(), n, n_per_row: self.n_per_row }),
        }
    }
}

/// Why a tensor could not be fake-quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FakeQuantError {
    /// NaN or infinity where the scheme does not keep them.
    #[error(
        "tensor {tensor:?}: value {index} is {value}, wanted finite values\n\
         hint: add :nonfinite=keep to the scheme to leave such values as they are"
    )]
    Nonfinite {
        /// GGUF name.
        tensor: String,
        /// Of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The values are not whole rows.
    #[error("tensor {tensor:?}: {n} values are not whole rows of {n_per_row}")]
    Shape {
        /// GGUF name.
        tensor: String,
        /// Values.
        n: usize,
        /// Extent of a row.
        n_per_row: usize,
    },
    /// A group's span is beyond F32, so an asymmetric scale does not exist.
    #[error(
        "tensor {tensor:?}: a group spans {min:e} to {max:e}, and the difference is beyond F32\n\
         hint: :sym has no such limit"
    )]
    RangeOverflow {
        /// GGUF name.
        tensor: String,
        /// Least value of the group.
        min: f32,
        /// Greatest value of the group.
        max: f32,
    },
    /// The importance matrix does not fit.
    #[error("tensor {tensor:?}, importance matrix {file:?}: {source}")]
    Imatrix {
        /// GGUF name.
        tensor: String,
        /// As the scheme names it.
        file: String,
        /// Why.
        source: ImatrixError,
    },
    /// A scheme that is used before what is in its file is known.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} names a file that has not been read\nhint: this is a fault of assay; please report it"
    )]
    FileNotRead {
        /// GGUF name.
        tensor: String,
        /// The scheme.
        scheme: String,
    },
    /// Values that the scheme cannot hold without others.
    #[error(
        "tensor {tensor:?}: {n} values from value {start} on are no part that {scheme:?} can hold by itself, wanted {wanted}\n\
         hint: this is a fault of assay; please report it"
    )]
    Part {
        /// GGUF name.
        tensor: String,
        /// The scheme.
        scheme: String,
        /// Place of the first value.
        start: usize,
        /// Values.
        n: usize,
        /// What the scheme can hold.
        wanted: Together,
    },
    /// A scheme that is used before it has seen what it must know of all values.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} has not seen all values as often as it must\n\
         hint: this is a fault of assay; please report it"
    )]
    NotSeen {
        /// GGUF name.
        tensor: String,
        /// The scheme.
        scheme: String,
    },
    /// There is no memory for what is to be known of each column.
    #[error(
        "tensor {tensor:?}: no memory for what is to be known of {n} columns\nhint: free memory, or choose a scheme that goes row by row"
    )]
    Memory {
        /// GGUF name.
        tensor: String,
        /// Columns.
        n: usize,
    },
    /// ggml could not hold it.
    #[error("tensor {tensor:?}: {source}")]
    Codec {
        /// GGUF name.
        tensor: String,
        /// Why.
        source: CodecError,
    },
}

impl Scheme {
    /// Replaces `values`, `[n / n_per_row][n_per_row]`, by what they become in this scheme.
    ///
    /// Where the scheme has an importance matrix, the tensor is taken to have as many matrices as that says, if its rows
    /// can be shared out so; who knows the extents checks them with [`importance`](Self::importance).
    ///
    /// The result is the same bits for any number of threads. Values whose format overflows become
    /// infinite and are counted by [`difference`](crate::difference) as `overflowed`.
    ///
    /// # Errors
    /// Non-finite input without `:nonfinite=keep`, values that are not whole rows, an asymmetric span
    /// beyond F32, or a codec that fails. Only the first two leave `values` as they were.
    pub fn fake_quantize(
        &self,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
        codec: &dyn BlockCodec,
    ) -> Result<(), FakeQuantError> {
        if values.is_empty() || self.format == Format::Identity {
            return Ok(());
        }
        let shape = self.shape_of(values.len(), ctx)?;
        let mut observer = self.observer(ctx.name, shape)?;
        for _ in 0..self.passes(shape) {
            observer.see(values)?;
        }
        observer.holder()?.hold(0, values, codec)
    }

    /// The shape of a whole tensor of which only values and rows are known.
    fn shape_of(&self, n: usize, ctx: &TensorContext<'_>) -> Result<TensorShape, FakeQuantError> {
        let rows = ctx.rows(n)?;
        let entry = self.file.as_ref().and_then(SchemeFile::imatrix).and_then(|i| i.entries().get(ctx.name));
        let n_matrices = entry.and_then(|entry| entry.len().checked_div(ctx.n_per_row)).unwrap_or(1);
        Ok(match n_matrices > 0 && rows.is_multiple_of(n_matrices) {
            true => TensorShape { n_per_row: ctx.n_per_row, rows: rows / n_matrices, n_matrices },
            false => TensorShape::matrix(ctx.n_per_row, rows),
        })
    }

    /// The importances that the scheme's file has for a tensor; `None` when the scheme names no importance matrix.
    ///
    /// # Errors
    /// When it has none for this tensor, or those of another shape.
    pub fn importance(&self, tensor: &str, shape: TensorShape) -> Result<Option<Importance<'_>>, FakeQuantError> {
        let (Format::Ggml(_), Some(file)) = (self.format, &self.file) else { return Ok(None) };
        let imatrix: &Imatrix = file.imatrix().ok_or_else(|| self.not_read(tensor))?;
        let failed =
            |source| FakeQuantError::Imatrix { tensor: tensor.to_owned(), file: file.name().to_owned(), source };
        imatrix.of_tensor(tensor, shape).map(Some).map_err(failed)
    }

    /// The codebook of the scheme's file.
    pub(crate) fn table(&self) -> Option<&CodebookTable> {
        self.file.as_ref().and_then(SchemeFile::table)
    }

    pub(crate) fn not_read(&self, tensor: &str) -> FakeQuantError {
        FakeQuantError::FileNotRead { tensor: tensor.to_owned(), scheme: self.to_string() }
    }

    /// Checks that values, of which the first is the tensor's `start`-th, are finite. Under `:nonfinite=keep` returns what
    /// has to be put back; ggml gets zeros in those places, since its functions assume finite input.
    pub(crate) fn set_aside_nonfinite(
        &self,
        values: &mut [f32],
        tensor: &str,
        start: usize,
    ) -> Result<Vec<(usize, f32)>, FakeQuantError> {
        if self.nonfinite == Nonfinite::Error {
            return refuse_nonfinite(values, tensor, start).map(|()| Vec::new());
        }
        if values.par_chunks(BATCH).all(all_finite) {
            return Ok(Vec::new());
        }
        let kept: Vec<(usize, f32)> = values.iter().copied().enumerate().filter(|(_, x)| !x.is_finite()).collect();
        if matches!(self.format, Format::Ggml(_)) {
            for &(index, _) in &kept {
                values[index] = 0.0;
            }
        }
        Ok(kept)
    }
}

/// The error, if there is a value that is not finite; the first value is the tensor's `start`-th.
pub(crate) fn refuse_nonfinite(values: &[f32], tensor: &str, start: usize) -> Result<(), FakeQuantError> {
    if values.par_chunks(BATCH).all(all_finite) {
        return Ok(());
    }
    match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((i, &value)) => Err(FakeQuantError::Nonfinite { tensor: tensor.to_owned(), index: start + i, value }),
    }
}

pub(crate) fn beyond_f32(RangeOverflow { min, max }: RangeOverflow, tensor: &str) -> FakeQuantError {
    FakeQuantError::RangeOverflow { tensor: tensor.to_owned(), min, max }
}

/// A plain cast of every value, the first of which is the tensor's `start`-th; the wide formats have kernels of their own.
pub(crate) fn cast(exmy: ExMy, rounding: RoundingMode, values: &mut [f32], tensor: &str, start: usize) {
    let wide = Minifloat::ALL.into_iter().find(|&m| ExMy::from(m) == exmy);
    if let (Some(minifloat), RoundingMode::Value(rounding @ (Rounding::Rne | Rounding::Trunc))) = (wide, rounding) {
        return values.par_chunks_mut(BATCH).for_each(|part| minifloat.cast_slice(rounding, part));
    }
    with_rounding!(rounding, tensor, round => {
        values.par_chunks_mut(BATCH).enumerate().for_each(|(i, part)| exmy.cast_slice(round, part, start + i * BATCH));
    });
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn all_finite(values: &[f32]) -> bool {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    values.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7fff_ffff)) < INFINITY
}
