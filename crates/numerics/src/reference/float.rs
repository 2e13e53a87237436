//! Small floats in their obvious form: the nearest value that the format has.

use super::rounding::Roll;
use crate::format::stream::Draws;
use crate::format::{ExMy, Rounding, RoundingMode, Specials};

impl Roll {
    /// Rounds the quotient of a value and its scale.
    pub(super) fn scaled_float(self, exmy: ExMy, quotient: f32, place: usize) -> f32 {
        self.float(exmy, self.kept(quotient, |q| cast(exmy, Rounding::Trunc, q) == q), place)
    }

    /// Rounds x to the format. Codes of one sign ascend with their values, so a binary search finds the two around x.
    pub(super) fn float(self, exmy: ExMy, x: f32, place: usize) -> f32 {
        let magnitude = f64::from(x.abs());
        let last = exmy.largest_code();
        let (mut low, mut high) = (0u32, last + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if exmy.decode(middle) <= magnitude { low = middle } else { high = middle }
        }
        let (below, above) = (exmy.decode(low), exmy.decode(low + 1));
        let fraction = (magnitude - below) / (above - below);
        // Beyond its largest code the format is taken to have one more.
        let code =
            if fraction >= 1.0 { last + 1 } else { low + u32::from(self.goes_up(fraction, low % 2 == 0, place)) };
        let overflows = code > last && self.mode != RoundingMode::Value(Rounding::Trunc);
        let value = match exmy.specials() {
            Specials::Ieee if overflows => f64::INFINITY,
            _ => exmy.decode(code.min(last)),
        };
        (value as f32).copysign(x)
    }
}

/// [`ExMy::cast`] in its obvious form.
pub fn cast(format: ExMy, rounding: Rounding, x: f32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    Roll { mode: RoundingMode::Value(rounding), draws: Draws::new(0, ""), lost: 0 }.float(format, x, 0)
}
