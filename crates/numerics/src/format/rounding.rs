//! Rounding: to which of its two neighbours in a format a value goes.

use super::stream::Draws;
use std::fmt;

/// A rounding that depends on the value alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To the nearest, ties to even (IEEE 754 roundTiesToEven).
    #[default]
    Rne,
    /// Towards zero, never to infinity (IEEE 754 roundTowardZero).
    Trunc,
    /// To the nearest, ties away from zero (IEEE 754 roundTiesToAway, C's `roundf`).
    Away,
}

/// The seed of a scheme that names none.
pub const DEFAULT_SEED: u64 = 1;

/// How the values of a tensor are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoundingMode {
    /// Each value is rounded by itself.
    Value(Rounding),
    /// Each value is rounded away from zero with the probability that keeps the mean. The draw depends on the seed, the
    /// tensor's name and the value's position in the tensor.
    Stochastic {
        /// The seed of the draws.
        seed: u64,
    },
}

impl Default for RoundingMode {
    fn default() -> Self {
        RoundingMode::Value(Rounding::Rne)
    }
}

impl fmt::Display for RoundingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoundingMode::Value(Rounding::Rne) => f.write_str("rne"),
            RoundingMode::Value(Rounding::Trunc) => f.write_str("trunc"),
            RoundingMode::Value(Rounding::Away) => f.write_str("away"),
            RoundingMode::Stochastic { seed: DEFAULT_SEED } => f.write_str("stochastic"),
            RoundingMode::Stochastic { seed } => write!(f, "stochastic({seed})"),
        }
    }
}

/// 1.5·2^23. Adding it to a value below 2^22 rounds that value to an integer, ties to even, and subtracting it again is
/// exact. Unlike `round_ties_even` it vectorises without SSE4.1.
const ROUNDER: f32 = 12_582_912.0;

/// A rounding as the kernels use it. Each rounding is a type of its own, so that every loop is compiled for it.
///
/// `place` is the position of the value in its tensor; only stochastic rounding uses it.
pub(crate) trait Round: Copy + Send + Sync {
    /// Whether a value beyond the largest one is clamped to it even where the format has infinities.
    #[inline(always)]
    fn towards_zero(self) -> bool {
        false
    }

    /// Whether a value just beside a level may go to another level.
    #[inline(always)]
    fn may_lose_a_level(self) -> bool {
        false
    }

    /// One of the two integers next to `s`, for |s| < 2^22.
    fn integer(self, s: f32, place: usize) -> f32;

    /// [`integer`](Self::integer) of a quotient of which rounding may have taken up to `lost` units in the last place. It
    /// stands for a whole number that lies so close to it.
    #[inline(always)]
    fn whole(self, s: f32, lost: u32, place: usize) -> f32 {
        if lost > 0 && self.may_lose_a_level() {
            let (below, kept) = (TowardsZero.integer(s, place), TowardsZero.integer(raised(s, lost), place));
            if kept != below || lowered(s, lost).abs() <= below.abs() {
                return kept;
            }
        }
        self.integer(s, place)
    }

    /// The number to add to the bits of a magnitude before its lowest `shift` bits are dropped, for 1 ≤ shift ≤ 23.
    fn carry(self, bits: u32, shift: u32, place: usize) -> u32;
}

/// `s` with a magnitude that is greater by some units in the last place.
#[inline(always)]
pub(crate) fn raised(s: f32, ulps: u32) -> f32 {
    f32::from_bits(s.to_bits().wrapping_add(ulps))
}

/// `s` with a magnitude that is less by some units in the last place; NaN where it would be below zero.
#[inline(always)]
pub(crate) fn lowered(s: f32, ulps: u32) -> f32 {
    f32::from_bits(s.to_bits().wrapping_sub(ulps))
}

/// [`Rounding::Rne`] as a type.
#[derive(Clone, Copy)]
pub(crate) struct NearestEven;

impl Round for NearestEven {
    #[inline(always)]
    fn integer(self, s: f32, _: usize) -> f32 {
        s + ROUNDER - ROUNDER
    }

    #[inline(always)]
    fn carry(self, bits: u32, shift: u32, _: usize) -> u32 {
        (1 << (shift - 1)) - 1 + ((bits >> shift) & 1)
    }
}

/// [`Rounding::Trunc`] as a type.
#[derive(Clone, Copy)]
pub(crate) struct TowardsZero;

impl Round for TowardsZero {
    #[inline(always)]
    fn towards_zero(self) -> bool {
        true
    }

    #[inline(always)]
    fn may_lose_a_level(self) -> bool {
        true
    }

    #[inline(always)]
    fn integer(self, s: f32, _: usize) -> f32 {
        s as i32 as f32
    }

    #[inline(always)]
    fn carry(self, _: u32, _: u32, _: usize) -> u32 {
        0
    }
}

/// [`Rounding::Away`] as a type.
#[derive(Clone, Copy)]
pub(crate) struct NearestAway;

impl Round for NearestAway {
    #[inline(always)]
    fn integer(self, s: f32, _: usize) -> f32 {
        // Not s + 0.5: the largest F32 below one half would become 1.
        let towards_zero = s as i32 as f32;
        towards_zero + if (s - towards_zero).abs() >= 0.5 { 1.0f32.copysign(s) } else { 0.0 }
    }

    #[inline(always)]
    fn carry(self, _: u32, shift: u32, _: usize) -> u32 {
        1 << (shift - 1)
    }
}

/// [`RoundingMode::Stochastic`] as a type, with the draws of one tensor.
#[derive(Clone, Copy)]
pub(crate) struct Stochastic(pub(crate) Draws);

impl Round for Stochastic {
    #[inline(always)]
    fn may_lose_a_level(self) -> bool {
        true
    }

    #[inline(always)]
    fn integer(self, s: f32, place: usize) -> f32 {
        let towards_zero = s as i32 as f32;
        let fraction = f64::from((s - towards_zero).abs());
        // An integer has the fraction 0, which no draw is below.
        let moves = self.0.unit(place) < fraction;
        towards_zero + if moves { 1.0f32.copysign(s) } else { 0.0 }
    }

    #[inline(always)]
    fn carry(self, _: u32, shift: u32, place: usize) -> u32 {
        // Carries if the draw is below the fraction, as in `integer`.
        !self.0.bits(place) >> (32 - shift)
    }
}

/// A rounding that is looked up for each value. It is slower than the others and compiled only once. It is only for
/// kernels that clamp whatever lies beyond their last level.
#[derive(Clone, Copy)]
pub(crate) enum AnyRounding {
    Even(NearestEven),
    TowardsZero(TowardsZero),
    Away(NearestAway),
    Stochastic(Stochastic),
}

impl AnyRounding {
    /// The rounding `mode` for the tensor of this name.
    pub(crate) fn new(mode: RoundingMode, tensor: &str) -> Self {
        match mode {
            RoundingMode::Value(Rounding::Rne) => AnyRounding::Even(NearestEven),
            RoundingMode::Value(Rounding::Trunc) => AnyRounding::TowardsZero(TowardsZero),
            RoundingMode::Value(Rounding::Away) => AnyRounding::Away(NearestAway),
            RoundingMode::Stochastic { seed } => AnyRounding::Stochastic(Stochastic(Draws::new(seed, tensor))),
        }
    }
}

impl Round for AnyRounding {
    #[inline(always)]
    fn towards_zero(self) -> bool {
        matches!(self, AnyRounding::TowardsZero(_))
    }

    #[inline(always)]
    fn may_lose_a_level(self) -> bool {
        matches!(self, AnyRounding::TowardsZero(_) | AnyRounding::Stochastic(_))
    }

    #[inline(always)]
    fn integer(self, s: f32, place: usize) -> f32 {
        match self {
            AnyRounding::Even(round) => round.integer(s, place),
            AnyRounding::TowardsZero(round) => round.integer(s, place),
            AnyRounding::Away(round) => round.integer(s, place),
            AnyRounding::Stochastic(round) => round.integer(s, place),
        }
    }

    #[inline(always)]
    fn carry(self, bits: u32, shift: u32, place: usize) -> u32 {
        match self {
            AnyRounding::Even(round) => round.carry(bits, shift, place),
            AnyRounding::TowardsZero(round) => round.carry(bits, shift, place),
            AnyRounding::Away(round) => round.carry(bits, shift, place),
            AnyRounding::Stochastic(round) => round.carry(bits, shift, place),
        }
    }
}

/// Compiles `$body` twice, for rounding to nearest even and for all other roundings, and runs the form that `$mode`
/// asks for. One form for each rounding would double the code.
macro_rules! with_rounding {
    ($mode:expr, $tensor:expr, $round:ident => $body:expr) => {
        match $mode {
            $crate::format::rounding::RoundingMode::Value($crate::format::rounding::Rounding::Rne) => {
                let $round = $crate::format::rounding::NearestEven;
                $body
            }
            other => {
                let $round = $crate::format::rounding::AnyRounding::new(other, $tensor);
                $body
            }
        }
    };
}
pub(crate) use with_rounding;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_integer_in_reach_rounds_as_its_rule_says() {
        for i in -131_072..131_072 {
            let s = i as f32 / 2.0;
            assert_eq!(NearestEven.integer(s, 0), s.round_ties_even());
            assert_eq!(NearestAway.integer(s, 0), s.round());
            assert_eq!(TowardsZero.integer(s, 0), s.trunc());
        }
    }

    #[test]
    fn the_largest_value_below_one_half_does_not_become_one() {
        let s = 0.5f32.next_down();
        assert_eq!(s, 0.499_999_97);
        assert_eq!((NearestAway.integer(s, 0), NearestEven.integer(s, 0)), (0.0, 0.0));
        assert_eq!(NearestAway.integer(-s, 0), 0.0);
    }

    #[test]
    fn stochastic_rounding_keeps_the_mean_and_leaves_integers() {
        let round = Stochastic(Draws::new(3, "t"));
        let n = 40_000;
        let mean = (0..n).map(|i| f64::from(round.integer(-2.25, i))).sum::<f64>() / n as f64;
        // Standard error √(0.25·0.75/n) = 0.0022; the bound is five of them.
        assert!((mean + 2.25).abs() < 0.011, "{mean}");
        assert!((0..1000).all(|i| round.integer(7.0, i) == 7.0 && round.integer(0.0, i) == 0.0));
        let carried = (0..n).filter(|&i| (0b11 + round.carry(0b11, 3, i)) >> 3 == 1).count() as f64;
        // 3/8 of the draws carry, with a standard error of 0.0024; the bound is five of them.
        assert!((carried / n as f64 - 0.375).abs() < 0.012, "{carried}");
    }
}
