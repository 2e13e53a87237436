//! Small floats with a scale for each group: value = cast(x / d)·d.

use super::exmy::{CastGrid, ExMy, SIGN};
use super::group::{GroupKernel, Places, Range, RangeOverflow};
use super::rounding::Round;
use super::scale::{Levels, ScaleFormat};

/// The kernel of a small float with a scale d: value = cast(x / d)·d, clamped to ±largest·d.
///
/// The quotient of a group's largest value may exceed the largest finite value, since d is rounded. For d = 0 the
/// result is 0 with the sign of x.
pub(crate) struct Scaled<R> {
    grid: CastGrid,
    /// Quotients beyond this magnitude count as beyond the format's range.
    beyond: f32,
    levels: Levels,
    scale: ScaleFormat,
    round: R,
}

impl<R: Round> Scaled<R> {
    pub(crate) fn new(format: ExMy, scale: ScaleFormat, round: R) -> Self {
        let levels = Levels { largest: format.largest(), max_exponent: format.max_exponent(), fraction_bits: 0 };
        Scaled { grid: CastGrid::of(format).saturating(), beyond: format.beyond(), levels, scale, round }
    }
}

impl<R: Round> GroupKernel for Scaled<R> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, range: Range) -> Result<f32, RangeOverflow> {
        Ok(self.scale.step(range.absmax(), self.levels))
    }

    fn largest(&self) -> f32 {
        self.levels.largest
    }

    #[inline(always)]
    fn apply(&self, d: f32, values: &mut [f32], at: Places) {
        if d == 0.0 {
            return values.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & SIGN));
        }
        let lost = self.scale.lost();
        for (i, x) in values.iter_mut().enumerate() {
            *x = self.grid.cast_quotient(self.round, *x / d, lost, at.of(i)) * d;
        }
    }

    #[inline(always)]
    fn is_beyond(&self, d: f32, x: f32) -> bool {
        d != 0.0 && (x / d).abs() > self.beyond
    }
}
