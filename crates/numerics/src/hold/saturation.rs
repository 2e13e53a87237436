//! Saturation: values that a format clamps to its largest value because they lie beyond it.
//!
//! A value counts when it is farther out than the last level of its group by more than half of the step that would come
//! next. Rounding alone does not bring it to that level:
//!
//! ```text
//! levels   …  384   416   448 │ (480)      fp8_e4m3: beyond 464
//! x                          460 470       460 is rounded to 448; 470 is clamped to it and counts
//! ```
//!
//! Casts to IEEE formats go to infinity beyond that point instead, which [`difference`](crate::difference) counts as
//! `overflowed`; truncation clamps. A scale that is made from the greatest magnitude leaves no value beyond it, except
//! by the rounding of the scale itself: E8M0's, that of a coarse scale, or a clipped range's.

use super::error::{FakeQuantError, beyond_f32};
use super::fake_quantize::TensorContext;
use super::groups;
use super::holder::{Holder, TensorFacts};
use super::part::Piece;
use crate::format::codebook::Codebook;
use crate::format::group::{GroupKernel, Places, Range, RangeOverflow};
use crate::format::integer::{Asymmetric, FullRange, Symmetric, ZeroPoint};
use crate::format::mx::MxElement;
use crate::format::nvfp4::Nvfp4;
use crate::format::rounding::AnyRounding;
use crate::format::scaled::Scaled;
use crate::format::{ExMy, Format, Rounding, RoundingMode, ScaleFormat, Specials, Symmetry};
use crate::scheme::Scheme;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

impl Scheme {
    /// Counts the `values`, `[n / n_per_row][n_per_row]`, that lie beyond the format's largest value for them and would
    /// be clamped to it. `None` for ggml's types, whose functions do not tell. `values` stay as they are.
    ///
    /// # Errors
    /// As for [`fake_quantize`](Self::fake_quantize).
    pub fn saturated(&self, values: &mut [f32], ctx: &TensorContext<'_>) -> Result<Option<u64>, FakeQuantError> {
        if matches!(self.format, Format::Ggml(_)) {
            return Ok(None);
        }
        // As in fake quantization: `identity` checks nothing.
        if values.is_empty() || self.format == Format::Identity {
            return Ok(Some(0));
        }
        ctx.rows(values.len())?;
        self.set_aside_nonfinite(values, ctx.name, 0)?;
        let piece = Piece::whole(ctx.n_per_row);
        let place = Place { tensor: ctx.name, n_per_row: ctx.n_per_row, piece, known: &TensorFacts::Nothing };
        self.beyond(values, place).map(Some)
    }

    /// Counts the saturated values of a piece.
    fn beyond(&self, values: &mut [f32], place: Place<'_>) -> Result<u64, FakeQuantError> {
        let Place { tensor, known, .. } = place;
        // The rounding matters only where the range is chosen by its error.
        let saturated = match self.format {
            Format::Minifloat { exmy, rounding } if self.granularity.is_none() => beyond_cast(exmy, rounding, values),
            Format::Minifloat { exmy, rounding } => {
                let round = AnyRounding::new(rounding, tensor);
                self.count(Scaled::new(exmy, self.scale, round), values, place)?
            }
            Format::Int { bits, symmetry, rounding } => {
                let round = AnyRounding::new(rounding, tensor);
                match symmetry {
                    Symmetry::Sym => self.count(Symmetric::new(bits, self.scale, round), values, place)?,
                    Symmetry::Asym => self.count(Asymmetric::new(bits, self.scale, round), values, place)?,
                    Symmetry::ZeroPoint => self.count(ZeroPoint::new(bits, self.scale, round), values, place)?,
                    Symmetry::FullRange => self.count(FullRange::new(bits, self.scale, round), values, place)?,
                }
            }
            Format::Codebook(codebook) => self.count(Codebook::new(codebook.entries, self.scale), values, place)?,
            Format::Table => {
                let table = self.table().ok_or_else(|| self.not_read(tensor))?;
                self.count(Codebook::new(table.entries(), self.scale), values, place)?
            }
            Format::Mx { format, rounding } => {
                let round = AnyRounding::new(rounding, tensor);
                match format.element {
                    MxElement::Float(float) => {
                        self.count(Scaled::new(float, ScaleFormat::E8m0, round), values, place)?
                    }
                    MxElement::Int8 => self.count(Symmetric::mxint8(round), values, place)?,
                }
            }
            Format::Nvfp4 { rounding } => {
                let round = AnyRounding::new(rounding, tensor);
                let range = match known {
                    TensorFacts::Ranges(_, ranges) => ranges.first().copied().unwrap_or(Range::NONE),
                    TensorFacts::Nothing | TensorFacts::Gain(_) => Range::of(values),
                };
                let kernel = Nvfp4::new(range.absmax(), round);
                self.count(kernel, values, place)?
            }
            // These have no largest value.
            Format::Ggml(_)
            | Format::Identity
            | Format::Jitter { .. }
            | Format::Noise { .. }
            | Format::Shuffle { .. }
            | Format::Zero => 0,
        };
        Ok(saturated)
    }

    fn count<K: GroupKernel>(
        &self,
        kernel: K,
        values: &mut [f32],
        Place { tensor, n_per_row, piece, known }: Place<'_>,
    ) -> Result<u64, FakeQuantError> {
        let (counted, grouping) = (Counted::new(kernel), self.grouping());
        match known {
            TensorFacts::Ranges(granularity, ranges) if grouping.granularity == *granularity => {
                let ranges = piece.ranges(n_per_row, *granularity, ranges);
                groups::apply_within(&counted, *granularity, ranges, values, piece)
            }
            _ => groups::apply(&counted, grouping, values, piece),
        }
        .map_err(|overflow| beyond_f32(overflow, tensor))?;
        Ok(counted.n())
    }
}

impl Holder<'_> {
    /// [`Scheme::saturated`] for a piece: the tensor's values from its `start`-th on. The counts of all pieces add up to
    /// that of the tensor.
    ///
    /// # Errors
    /// As for [`hold`](Self::hold).
    pub fn saturated(&self, start: usize, values: &mut [f32]) -> Result<Option<u64>, FakeQuantError> {
        let scheme = self.scheme;
        if matches!(scheme.format, Format::Ggml(_)) {
            return Ok(None);
        }
        if values.is_empty() || scheme.format == Format::Identity {
            return Ok(Some(0));
        }
        let piece = scheme.piece(scheme.together(), self.tensor, self.shape, start, values.len())?;
        scheme.set_aside_nonfinite(values, self.tensor, start)?;
        let place = Place { tensor: self.tensor, n_per_row: self.shape.n_per_row, piece, known: &self.known };
        scheme.beyond(values, place).map(Some)
    }
}

/// Where values stand in a tensor, and what is known of the tensor.
#[derive(Clone, Copy)]
struct Place<'a> {
    tensor: &'a str,
    n_per_row: usize,
    piece: Piece,
    known: &'a TensorFacts,
}

/// Counts the values beyond the range of a plain cast.
fn beyond_cast(exmy: ExMy, rounding: RoundingMode, values: &[f32]) -> u64 {
    let to_infinity = exmy.specials() == Specials::Ieee && rounding != RoundingMode::Value(Rounding::Trunc);
    let beyond = exmy.beyond();
    match to_infinity {
        true => 0,
        false => values.par_iter().filter(|x| x.is_finite() && x.abs() > beyond).count() as u64,
    }
}

/// A kernel that counts what another would clamp to its last levels, and leaves values as they are.
struct Counted<K> {
    kernel: K,
    n: AtomicU64,
}

impl<K> Counted<K> {
    fn new(kernel: K) -> Self {
        Counted { kernel, n: AtomicU64::new(0) }
    }

    fn n(self) -> u64 {
        self.n.into_inner()
    }
}

impl<K: GroupKernel> GroupKernel for Counted<K> {
    type Scale = K::Scale;

    fn scale(&self, range: Range) -> Result<K::Scale, RangeOverflow> {
        self.kernel.scale(range)
    }

    fn largest(&self) -> f32 {
        self.kernel.largest()
    }

    #[inline(always)]
    fn apply(&self, scale: K::Scale, values: &mut [f32], _: Places) {
        let n = values.iter().filter(|x| x.is_finite() && self.kernel.is_beyond(scale, **x)).count();
        if n > 0 {
            self.n.fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    fn try_out(&self, scale: K::Scale, values: &mut [f32], at: Places) {
        self.kernel.try_out(scale, values, at);
    }

    #[inline(always)]
    fn is_beyond(&self, scale: K::Scale, x: f32) -> bool {
        self.kernel.is_beyond(scale, x)
    }
}
