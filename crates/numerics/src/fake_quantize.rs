//! Fake quantization: values become what they would read as after being held in the scheme's format.

use crate::codebook::Codebook;
use crate::codec::{BlockCodec, CodecError};
use crate::exmy::{ExMy, Scaled};
use crate::groups::{self, GroupKernel, Range, RangeOverflow};
use crate::integer::{Asymmetric, Symmetric};
use crate::minifloat::Minifloat;
use crate::mx::{MX_BLCK_SIZE, MxElement};
use crate::nvfp4::{NVFP4_BLCK_SIZE, Nvfp4};
use crate::rounding::{Rounding, RoundingMode, with_rounding};
use crate::scale::ScaleFormat;
use crate::scheme::{Format, Granularity, Nonfinite, Scheme, Symmetry};
use crate::{control, ggml};
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
        let kept = self.set_aside_nonfinite(values, ctx)?;
        let groups_of = self.granularity.unwrap_or(Granularity::Tensor);
        match self.format {
            Format::Identity => {}
            Format::Minifloat { exmy, rounding } if self.granularity.is_none() => cast(exmy, rounding, values, ctx),
            Format::Minifloat { exmy, rounding } => with_rounding!(rounding, ctx.name, round => {
                self.by_group(&Scaled::new(exmy, self.scale, round), groups_of, values, ctx)?
            }),
            Format::Int { bits, symmetry: Symmetry::Sym, rounding } => with_rounding!(rounding, ctx.name, round => {
                self.by_group(&Symmetric::new(bits, self.scale, round), groups_of, values, ctx)?
            }),
            Format::Int { bits, symmetry: Symmetry::Asym, rounding } => with_rounding!(rounding, ctx.name, round => {
                self.by_group(&Asymmetric::new(bits, self.scale, round), groups_of, values, ctx)?
            }),
            Format::Codebook(codebook) => {
                self.by_group(&Codebook::new(codebook, self.scale), groups_of, values, ctx)?;
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
            Format::Ggml(format) => ggml::apply(format, values, ctx, codec)?,
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

    fn by_group<K: GroupKernel>(
        &self,
        kernel: &K,
        granularity: Granularity,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
    ) -> Result<(), FakeQuantError> {
        groups::apply(kernel, granularity, self.clip, values, ctx.n_per_row).map_err(|RangeOverflow { min, max }| {
            FakeQuantError::RangeOverflow { tensor: ctx.name.to_owned(), min, max }
        })
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

fn all_finite(values: &[f32]) -> bool {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    values.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7fff_ffff)) < INFINITY
}
