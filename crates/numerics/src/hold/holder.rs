//! Quantizing any piece of a tensor as it would be quantized in the whole.

use super::error::{FakeQuantError, beyond_f32};
use super::groups::{self, cast};
use super::kernel::AnyKernel;
use super::part::Piece;
use super::{control, ggml};
use crate::codec::BlockCodec;
use crate::format::Format;
use crate::format::group::Range;
use crate::scheme::imatrix::{Importance, TensorShape};
use crate::scheme::{Granularity, Scheme};

/// What a scheme must know about a whole tensor before it can quantize a piece of it.
#[derive(Clone, Debug)]
pub(crate) enum TensorFacts {
    /// The scheme needs to know nothing.
    Nothing,
    /// The ranges of the groups that run through the tensor: one for the tensor, or one for each column.
    Ranges(Granularity, Vec<Range>),
    /// The factor of the noise that the scheme adds.
    Gain(f64),
}

/// A scheme that knows what it must about one tensor, and can quantize any piece of it. An
/// [`Observer`](crate::Observer) makes it.
pub struct Holder<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) tensor: &'a str,
    pub(super) shape: TensorShape,
    pub(super) known: TensorFacts,
    kernel: Option<Box<dyn AnyKernel + 'a>>,
    importance: Option<Importance<'a>>,
}

impl<'a> Holder<'a> {
    pub(crate) fn new(
        scheme: &'a Scheme,
        tensor: &'a str,
        shape: TensorShape,
        known: TensorFacts,
    ) -> Result<Self, FakeQuantError> {
        let ranges = match &known {
            TensorFacts::Ranges(_, ranges) => ranges.as_slice(),
            TensorFacts::Nothing | TensorFacts::Gain(_) => &[],
        };
        let kernel = scheme.kernel(tensor, ranges.first().copied().unwrap_or(Range::NONE))?;
        if let Some(kernel) = &kernel {
            // A range without a scale is an error now, not when half of the tensor is done.
            ranges.iter().try_for_each(|&range| kernel.check(range)).map_err(|error| beyond_f32(error, tensor))?;
        }
        let importance = scheme.importance(tensor, shape)?;
        Ok(Holder { scheme, tensor, shape, known, kernel, importance })
    }

    /// Replaces `values`, the tensor's from its `start`-th on, by what they become in the scheme. The bits are the same
    /// whichever pieces the tensor is cut into. [`Scheme::together`] says what a piece must consist of.
    ///
    /// # Errors
    /// When a value is not finite and the scheme has no `:nonfinite=keep` (its index counts from the tensor's first
    /// value), when `values` are not such a piece, when an asymmetric span is beyond F32, or when the codec fails. Only
    /// the first two leave `values` as they were.
    pub fn hold(&self, start: usize, values: &mut [f32], codec: &dyn BlockCodec) -> Result<(), FakeQuantError> {
        let Holder { scheme, tensor, .. } = *self;
        if values.is_empty() || scheme.format == Format::Identity {
            return Ok(());
        }
        let piece = scheme.piece(scheme.together(), tensor, self.shape, start, values.len())?;
        let kept = scheme.set_aside_nonfinite(values, tensor, start)?;
        let grouping = scheme.grouping();
        match (scheme.format, &self.kernel, &self.known) {
            // The blocks of NVFP4 have scales of their own beside the tensor's.
            (_, Some(kernel), TensorFacts::Ranges(granularity, ranges)) if grouping.granularity == *granularity => {
                let ranges = piece.ranges(self.shape.n_per_row, *granularity, ranges);
                groups::apply_within(&**kernel, *granularity, ranges, values, piece)
                    .map_err(|overflow| beyond_f32(overflow, tensor))?;
            }
            (_, Some(kernel), _) => {
                groups::apply(&**kernel, grouping, values, piece).map_err(|overflow| beyond_f32(overflow, tensor))?;
            }
            (Format::Minifloat { exmy, rounding }, ..) => cast(exmy, rounding, values, tensor, start),
            (Format::Ggml(format), ..) => {
                ggml::apply(scheme, format, values, tensor, piece, self.importance, codec)?;
            }
            (Format::Jitter { seed }, ..) => control::jitter(seed, tensor, values, start),
            (Format::Noise { seed, .. }, _, TensorFacts::Gain(gain)) => {
                control::add_noise(*gain, seed, tensor, values, start);
            }
            (Format::Noise { sqnr_db, seed }, ..) => {
                control::noise(sqnr_db, seed, grouping.granularity, tensor, values, piece);
            }
            (Format::Shuffle { seed }, ..) => control::shuffle(seed, grouping.granularity, tensor, values, piece),
            (Format::Zero, ..) => values.fill(0.0),
            (
                Format::Identity
                | Format::Int { .. }
                | Format::Codebook(_)
                | Format::Table
                | Format::Mx { .. }
                | Format::Nvfp4 { .. },
                ..,
            ) => {}
        }
        for (index, value) in kept {
            values[index] = value;
        }
        Ok(())
    }
}

impl Scheme {
    /// Checks whether a tensor of this shape can be quantized, as far as that does not depend on its values: block
    /// sizes, importance matrices, files that were read.
    ///
    /// # Errors
    /// As for [`Holder::hold`].
    pub fn fits(&self, tensor: &str, shape: TensorShape, codec: &dyn BlockCodec) -> Result<(), FakeQuantError> {
        self.kernel(tensor, Range::NONE)?;
        let importance = self.importance(tensor, shape)?;
        match self.format {
            // The codec is asked with a row of zeros.
            Format::Ggml(format) if shape.n_per_row > 0 => {
                let mut row = vec![0.0; shape.n_per_row];
                ggml::apply(self, format, &mut row, tensor, Piece::whole(shape.n_per_row), importance, codec)
            }
            _ => Ok(()),
        }
    }
}
