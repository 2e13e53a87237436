//! Fake quantization: values become what they would read as after being held in the scheme's format.

use crate::codebook::Codebook;
use crate::codebook_table::CodebookTable;
use crate::codec::{BlockCodec, CodecError};
use crate::exmy::{ExMy, Scaled};
use crate::groups::{self, GroupKernel, Range, RangeOverflow};
use crate::imatrix::{Imatrix, ImatrixError, Importance, TensorShape};
use crate::integer::{Asymmetric, FullRange, Symmetric, ZeroPoint};
use crate::minifloat::Minifloat;
use crate::mx::{MX_BLCK_SIZE, MxElement};
use crate::nvfp4::{NVFP4_BLCK_SIZE, Nvfp4};
use crate::rounding::{Rounding, RoundingMode, with_rounding};
use crate::scale::ScaleFormat;
use crate::scheme::{Format, Granularity, Nonfinite, Scheme, Symmetry};
use crate::scheme_file::SchemeFile;
use crate::{control, ggml};
use multiversion::multiversion;
use rayon::prelude::*;

/// Values one thread works on at a time.
const BATCH: usize = 1 << 16;

/// What a scheme needs to know about a tensor beside its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorContext<'a> {
    /// GGUF name: for messages, and mixed into seeds so that tensors of equal length get other draws.
    pub name: &'a str,
    /// `ne[0]`, the contiguous extent.
    pub n_per_row: usize,
}

/// Which rows of which tensor values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The first of them, counted through all matrices.
    pub first: usize,
    /// Of the whole tensor.
    pub shape: TensorShape,
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
        self.fake_quantize_rows(values, ctx, Rows { first: 0, shape: self.shape_of(values.len(), ctx) }, codec)
    }

    /// [`fake_quantize`](Self::fake_quantize) of some rows of a tensor, or of a tensor of several matrices: where they
    /// stand decides which importances are theirs. Formats that look beyond a row must get all of them.
    ///
    /// # Errors
    /// As `fake_quantize`.
    pub fn fake_quantize_rows(
        &self,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
        rows: Rows,
        codec: &dyn BlockCodec,
    ) -> Result<(), FakeQuantError> {
        if values.is_empty() || self.format == Format::Identity {
            return Ok(());
        }
        let importance = self.importance(ctx.name, rows.shape)?;
        let kept = self.set_aside_nonfinite(values, ctx)?;
        let groups_of = self.granularity.unwrap_or(Granularity::Tensor);
        match self.format {
            Format::Identity => {}
            Format::Minifloat { exmy, rounding } if self.granularity.is_none() => cast(exmy, rounding, values, ctx),
            Format::Minifloat { exmy, rounding } => with_rounding!(rounding, ctx.name, round => {
                self.by_scaled_group(&Scaled::new(exmy, self.scale, round), groups_of, values, ctx)?
            }),
            Format::Int { bits, symmetry, rounding } => with_rounding!(rounding, ctx.name, round => match symmetry {
                Symmetry::Sym => {
                    self.by_scaled_group(&Symmetric::new(bits, self.scale, round), groups_of, values, ctx)?
                }
                Symmetry::Asym => self.by_group(&Asymmetric::new(bits, self.scale, round), groups_of, values, ctx)?,
                Symmetry::ZeroPoint => self.by_group(&ZeroPoint::new(bits, self.scale, round), groups_of, values, ctx)?,
                Symmetry::FullRange => self.by_group(&FullRange::new(bits, self.scale, round), groups_of, values, ctx)?,
            }),
            Format::Codebook(codebook) => {
                self.by_scaled_group(&Codebook::new(codebook.entries, self.scale), groups_of, values, ctx)?;
            }
            Format::Table => {
                let table = self.table().ok_or_else(|| self.not_read(ctx.name))?;
                self.by_group(&Codebook::new(table.entries(), self.scale), groups_of, values, ctx)?;
            }
            Format::Mx { format, rounding } => with_rounding!(rounding, ctx.name, round => {
                let blocks = Granularity::block(MX_BLCK_SIZE);
                match format.element {
                    MxElement::Float(float) => {
                        self.by_group(&Scaled::new(float, ScaleFormat::E8m0, round), blocks, values, ctx)?
                    }
                    MxElement::Int8 => self.by_group(&Symmetric::mxint8(round), blocks, values, ctx)?,
                }
            }),
            Format::Nvfp4 { rounding } => with_rounding!(rounding, ctx.name, round => {
                let kernel = Nvfp4::new(Range::of(values).absmax(), round);
                self.by_group(&kernel, Granularity::block(NVFP4_BLCK_SIZE), values, ctx)?
            }),
            Format::Ggml(format) => ggml::apply(format, values, ctx, importance, rows.first, codec)?,
            Format::Jitter { seed } => control::jitter(seed, ctx.name, values),
            Format::Noise { sqnr_db, seed } => {
                control::noise(sqnr_db, seed, groups_of, ctx.name, values, ctx.n_per_row);
            }
            Format::Shuffle { seed } => control::shuffle(seed, groups_of, ctx.name, values, ctx.n_per_row),
            Format::Zero => values.fill(0.0),
        }
        for (index, value) in kept {
            values[index] = value;
        }
        Ok(())
    }

    /// The shape of a whole tensor of which only values and rows are known.
    fn shape_of(&self, n: usize, ctx: &TensorContext<'_>) -> TensorShape {
        let rows = n.checked_div(ctx.n_per_row).unwrap_or_default();
        let entry = self.file.as_ref().and_then(SchemeFile::imatrix).and_then(|i| i.entries().get(ctx.name));
        let n_matrices = entry.and_then(|entry| entry.len().checked_div(ctx.n_per_row)).unwrap_or(1);
        match n_matrices > 0 && rows.is_multiple_of(n_matrices) {
            true => TensorShape { n_per_row: ctx.n_per_row, rows: rows / n_matrices, n_matrices },
            false => TensorShape::matrix(ctx.n_per_row, rows),
        }
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

    /// With a scale that may be held in two levels.
    pub(crate) fn by_scaled_group<K: GroupKernel<Scale = f32>>(
        &self,
        kernel: &K,
        granularity: Granularity,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
    ) -> Result<(), FakeQuantError> {
        match (self.scale, granularity, granularity.super_block()) {
            (ScaleFormat::F16Hier, Granularity::Block(n), Some(n_per_super)) => {
                let extents = (n.get() as usize, n_per_super as usize);
                groups::apply_in_super_blocks(kernel, extents, self.clip, values, ctx.n_per_row)
                    .map_err(|overflow| beyond_f32(overflow, ctx))
            }
            _ => self.by_group(kernel, granularity, values, ctx),
        }
    }

    pub(crate) fn by_group<K: GroupKernel>(
        &self,
        kernel: &K,
        granularity: Granularity,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
    ) -> Result<(), FakeQuantError> {
        groups::apply(kernel, granularity, self.clip, values, ctx.n_per_row)
            .map_err(|overflow| beyond_f32(overflow, ctx))
    }

    /// Checks shape and finiteness. Under `:nonfinite=keep` returns what has to be put back; ggml gets
    /// zeros in those places, since its functions assume finite input.
    pub(crate) fn set_aside_nonfinite(
        &self,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
    ) -> Result<Vec<(usize, f32)>, FakeQuantError> {
        if ctx.n_per_row == 0 || !values.len().is_multiple_of(ctx.n_per_row) {
            return Err(FakeQuantError::Shape {
                tensor: ctx.name.to_owned(),
                n: values.len(),
                n_per_row: ctx.n_per_row,
            });
        }
        if values.par_chunks(BATCH).all(all_finite) {
            return Ok(Vec::new());
        }
        let kept: Vec<(usize, f32)> = values.iter().copied().enumerate().filter(|(_, x)| !x.is_finite()).collect();
        if self.nonfinite == Nonfinite::Error {
            let (index, value) = kept[0];
            return Err(FakeQuantError::Nonfinite { tensor: ctx.name.to_owned(), index, value });
        }
        if matches!(self.format, Format::Ggml(_)) {
            for &(index, _) in &kept {
                values[index] = 0.0;
            }
        }
        Ok(kept)
    }
}

fn beyond_f32(RangeOverflow { min, max }: RangeOverflow, ctx: &TensorContext<'_>) -> FakeQuantError {
    FakeQuantError::RangeOverflow { tensor: ctx.name.to_owned(), min, max }
}

/// A plain cast of every value; the wide formats have kernels of their own.
fn cast(exmy: ExMy, rounding: RoundingMode, values: &mut [f32], ctx: &TensorContext<'_>) {
    let wide = Minifloat::ALL.into_iter().find(|&m| ExMy::from(m) == exmy);
    if let (Some(minifloat), RoundingMode::Value(rounding @ (Rounding::Rne | Rounding::Trunc))) = (wide, rounding) {
        return values.par_chunks_mut(BATCH).for_each(|part| minifloat.cast_slice(rounding, part));
    }
    with_rounding!(rounding, ctx.name, round => {
        values.par_chunks_mut(BATCH).enumerate().for_each(|(i, part)| exmy.cast_slice(round, part, i * BATCH));
    });
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn all_finite(values: &[f32]) -> bool {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    values.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7fff_ffff)) < INFINITY
}
