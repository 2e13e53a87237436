//! Rounding in its obvious form: whether a value between two levels goes to the lower or the upper one.

use crate::format::stream::Draws;
use crate::format::{Rounding, RoundingMode};
use crate::hold::fake_quantize::TensorContext;

/// A rounding, with the draws of stochastic rounding.
#[derive(Clone, Copy)]
pub(super) struct Roll {
    pub(super) mode: RoundingMode,
    pub(super) draws: Draws,
    /// How many F32 a quotient may lie before the level that it stands for.
    pub(super) lost: u32,
}

impl Roll {
    pub(super) fn new(mode: RoundingMode, ctx: &TensorContext<'_>, lost: u32) -> Roll {
        let seed = match mode {
            RoundingMode::Stochastic { seed } => seed,
            RoundingMode::Value(_) => 0,
        };
        Roll { mode, draws: Draws::new(seed, ctx.name), lost }
    }

    /// A quotient, or the level that it stands for: one at most `lost` F32 away, where the rounding might go to another.
    pub(super) fn kept(self, quotient: f32, is_level: impl Fn(f32) -> bool) -> f32 {
        let bits = quotient.to_bits();
        let next = |ulps| [bits.wrapping_add(ulps), bits.wrapping_sub(ulps)].map(f32::from_bits);
        match self.mode {
            RoundingMode::Value(Rounding::Rne | Rounding::Away) => quotient,
            RoundingMode::Value(Rounding::Trunc) | RoundingMode::Stochastic { .. } => {
                (1..=self.lost).flat_map(next).find(|&level| is_level(level)).unwrap_or(quotient)
            }
        }
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
