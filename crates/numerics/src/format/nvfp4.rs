//! NVIDIA's NVFP4: E2M1 values, an E4M3 scale for each 16 of them, and one F32 scale for the tensor.
//!
//! ```text
//! tensor  ┌────────────┐
//!         │ s_dec  f32 │
//!         └────────────┘
//! block   ┌──────────┬─────────┬─────────┬─  ─┬─────────┐
//!         │ s  e4m3  │ q1 e2m1 │ q2 e2m1 │ …  │ q16     │     value = (q · s) · s_dec
//!         └──────────┴─────────┴─────────┴─  ─┴─────────┘
//!
//! s_enc = (6·448) / absmax of the tensor     s_dec = 1 / s_enc
//! s = e4m3((absmax of the block / 6) · s_enc)      q = e2m1(x · (1 / (s · s_dec)))
//! ```
//!
//! All arithmetic is in F32 and in this order. Casts round to nearest even and saturate. Factors beyond F32 are clamped
//! to its largest value. s = 0 gives zeros. A block whose values all lie on levels, up to the rounding of the factors, stays
//! as it is: the second s_dec of a tensor that is NVFP4 may be another F32.
//!
//! # Source
//! NVIDIA, "Pretraining Large Language Models with NVFP4" (arXiv 2509.25149), appendix on quantization.

use super::exmy::{CastGrid, ExMy};
use super::group::{GroupKernel, Places, ROUNDING, Range, RangeOverflow};
use super::rounding::{NearestEven, Round};

/// The number of values that share an E4M3 scale.
pub const NVFP4_BLCK_SIZE: u32 = 16;

/// How many units in the last place the five roundings of `x · (1 / (s · s_dec))` may take from a level.
pub(crate) const LOST: u32 = 8;

/// The kernel for one tensor, whose own scale is known.
pub(crate) struct Nvfp4<R> {
    element: CastGrid,
    block_scale: CastGrid,
    largest: f32,
    /// Elements beyond this magnitude count as beyond the format's range.
    beyond: f32,
    s_enc: f32,
    s_dec: f32,
    round: R,
}

impl<R: Round> Nvfp4<R> {
    /// The kernel for a tensor with this greatest magnitude.
    pub(crate) fn new(absmax: f32, round: R) -> Self {
        let (element, block_scale) = (ExMy::FP4_E2M1, ExMy::FP8_E4M3);
        let reach = element.largest() * block_scale.largest();
        let s_enc = if absmax == 0.0 { 1.0 } else { (reach / absmax).min(f32::MAX) };
        Nvfp4 {
            element: CastGrid::of(element).saturating(),
            block_scale: CastGrid::of(block_scale).saturating(),
            largest: element.largest(),
            beyond: element.beyond(),
            s_enc,
            s_dec: 1.0 / s_enc,
            round,
        }
    }
}

impl<R> Nvfp4<R> {
    /// The factor that a block's values are multiplied by before they are rounded.
    #[inline(always)]
    fn encode(&self, s: f32) -> f32 {
        (1.0 / (s * self.s_dec)).min(f32::MAX)
    }
}

impl<R: Round> GroupKernel for Nvfp4<R> {
    /// s of the drawing above.
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, range: Range) -> Result<f32, RangeOverflow> {
        Ok(self.block_scale.cast(NearestEven, range.absmax() / self.largest * self.s_enc, 0))
    }

    #[inline(always)]
    fn apply(&self, s: f32, values: &mut [f32], at: Places) {
        if s == 0.0 {
            return values.iter_mut().for_each(|x| *x = 0.0f32.copysign(*x));
        }
        let encode = self.encode(s);
        for (i, x) in values.iter_mut().enumerate() {
            *x = self.element.cast_quotient(self.round, *x * encode, LOST, at.of(i)) * s * self.s_dec;
        }
    }

    #[inline(always)]
    fn is_on_grid(&self, s: f32, values: &[f32]) -> bool {
        let encode = self.encode(s);
        let level = |x: f32| self.element.cast(NearestEven, x * encode, 0) * s * self.s_dec;
        s != 0.0 && values.iter().filter(|x| x.is_finite()).all(|x| (level(*x) - x).abs() <= x.abs() * ROUNDING)
    }

    #[inline(always)]
    fn is_beyond(&self, s: f32, x: f32) -> bool {
        s != 0.0 && (x * self.encode(s)).abs() > self.beyond
    }
}
