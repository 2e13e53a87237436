//! Rounding in its obvious form: whether a value between two levels goes to the lower or the upper one.

use crate::format::stream::Draws;
use crate::format::{Rounding, RoundingMode};
use crate::hold::fake_quantize::TensorContext;

/// A rounding, with the draws of stochastic rounding.
#[derive(Clone, Copy)]
pub(super) struct Roll {
    pub(super) mode: RoundingMode,
    pub(super) draws: Draws,
}

impl Roll {
    pub(super) fn new(mode: RoundingMode, ctx: &TensorContext<'_>) -> Roll {
        let seed = match mode {
            RoundingMode::Stochastic { seed } => seed,
            RoundingMode::Value(_) => 0,
        };
        Roll { mode, draws: Draws::new(seed, ctx.name) }
    }

    /// Whether a magnitude goes up to the next level. It lies `fraction` of the way from one level to the next, and
    /// `even` says whether the lower level has an even code.
    pub(super) fn goes_up(self, fraction: f64, even: bool, place: usize) -> bool {
        match self.mode {
            RoundingMode::Value(Rounding::Rne) => fraction > 0.5 || (fraction == 0.5 && !even),
            RoundingMode::Value(Rounding::Trunc) => false,
            RoundingMode::Value(Rounding::Away) => fraction >= 0.5,
            RoundingMode::Stochastic { .. } => self.draws.unit(place) < fraction,
        }
    }
}
