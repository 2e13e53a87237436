//! Integers with a scale for each group.
//!
//! ```text
//!     N bits a value     one a group                       codes of int4 that are used
//! ┌─┬─────────────────┐  ┌─────┐               sym        1001 … 1111 0000 0001 … 0111   −7 … 7
//! │s│ q, two's compl. │  │  d  │               fullrange  1000 … 1111 0000 0001 … 0111   −8 … 7
//! └─┴─────────────────┘  └─────┘
//! ┌───────────────────┐  ┌─────┬─────────┐     asym       0000 … 1111   0 … 15 over min
//! │   q, unsigned     │  │  d  │ min or z│     zeropoint  0000 … 1111   0 … 15, z of them below 0
//! └───────────────────┘  └─────┴─────────┘
//! ```
//!
//! Symmetric, qmax = 2^(N−1) − 1, all arithmetic in F32:
//!
//! ```text
//! d = absmax / qmax      q = rne(x / d) clamped to ±qmax      value = q·d        (d = 0 → 0)
//! ```
//!
//! Asymmetric, qmax = 2^N − 1:
//!
//! ```text
//! d = (max − min) / qmax   q = rne((x − min) / d) clamped to 0…qmax   value = min + q·d   (d = 0 → min)
//! ```
//!
//! Zero point, qmax = 2^N − 1, over the range from min(min, 0) to max(max, 0):
//!
//! ```text
//! d = range / qmax   z = rne(−least / d)   q = (rne(x / d) + z) clamped to 0…qmax   value = (q − z)·d   (d = 0 → 0)
//! ```
//!
//! Full range, qmax = 2^(N−1), m the value of greatest magnitude (the positive one of two):
//!
//! ```text
//! d = m / −qmax   q = rne(x / d) clamped to −qmax…qmax − 1   value = q·d   (d = 0 → 0)
//! ```
//!
//! Rounding d up near F32's largest value may make the value of the largest q infinite: d is then the next lower scale
//! under which it is finite. q is an integer, so zero is +0.0 whatever the sign of x. Where the scale is stored in
//! another format, d (and min) are rounded to it before anything is divided by them. Other roundings take the place of
//! rne, except for z. A scale in F32 is itself rounded, so that the quotient of a value on a level may be the F32 beside a
//! whole number: `trunc` and `stochastic` take it for that number, and the greatest value stays a level.
//!
//! A group whose values all lie on levels of an asymmetric or zero-point grid, up to the rounding of d, stays as it is: a
//! second d, made from the ends of what the first gave, may differ by that much. `@tensor` and `@col` do not ask, since
//! their groups come in parts.
//!
//! # Source
//! Zero point: ONNX `QuantizeLinear` with the ranges of PyTorch's `MinMaxObserver`. Full range: the sign of
//! `quantize_row_q4_0_ref` in ggml-quants.c.

use super::group::{GroupKernel, Places, Range, RangeOverflow, lie_on};
use super::rounding::{NearestEven, Round};
use super::scale::{Levels, ScaleFormat};

/// Where an integer's levels lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Symmetry {
    /// ±(2^(N−1) − 1) steps around zero.
    #[default]
    Sym,
    /// 2^N − 1 steps from the least to the greatest value.
    Asym,
    /// 2^N − 1 steps over a range that is extended to include zero. Zero is a level, stored as an integer of N bits.
    ZeroPoint,
    /// −2^(N−1) to 2^(N−1) − 1 steps around zero, with the value of greatest magnitude on the first level.
    FullRange,
}

impl Symmetry {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Symmetry); 4] = [
        ("sym", Symmetry::Sym),
        ("asym", Symmetry::Asym),
        ("zeropoint", Symmetry::ZeroPoint),
        ("fullrange", Symmetry::FullRange),
    ];

    /// The name of the option in a scheme.
    pub fn name(self) -> &'static str {
        Symmetry::ALL.iter().find(|(_, symmetry)| *symmetry == self).map_or("", |(name, _)| name)
    }
}

/// Whether q lies more than half a step beyond the first or the last integer.
#[inline(always)]
fn is_beyond(q: f32, first: f32, last: f32) -> bool {
    q < first - 0.5 || q > last + 0.5
}

/// The kernel of integers around zero: ±(2^(N−1) − 1) steps.
pub(crate) struct Symmetric<R> {
    qmax: f32,
    levels: Levels,
    scale: ScaleFormat,
    round: R,
}

impl<R: Round> Symmetric<R> {
    pub(crate) fn new(bits: u8, scale: ScaleFormat, round: R) -> Self {
        let qmax = ((1u32 << (bits - 1)) - 1) as f32;
        Symmetric { qmax, levels: Levels::up_to(qmax), scale, round }
    }

    /// The kernel of MXINT8's elements: integers of ±127, counted in sixty-fourths.
    pub(crate) fn mxint8(round: R) -> Self {
        let kernel = Symmetric::new(8, ScaleFormat::E8m0, round);
        Symmetric { levels: Levels { fraction_bits: 6, ..kernel.levels }, ..kernel }
    }
}

impl<R: Round> GroupKernel for Symmetric<R> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, range: Range) -> Result<f32, RangeOverflow> {
        Ok(self.scale.step(range.absmax(), self.levels))
    }

    fn largest(&self) -> f32 {
        self.qmax
    }

    #[inline(always)]
    fn apply(&self, d: f32, values: &mut [f32], at: Places) {
        if d == 0.0 {
            return values.fill(0.0);
        }
        let lost = self.scale.lost();
        for (i, x) in values.iter_mut().enumerate() {
            // Clamping to an integer before rounding gives the same as clamping after it.
            let q = self.round.whole((*x / d).clamp(-self.qmax, self.qmax), lost, at.of(i));
            *x = q * d;
        }
    }

    #[inline(always)]
    fn is_beyond(&self, d: f32, x: f32) -> bool {
        d != 0.0 && is_beyond(x / d, -self.qmax, self.qmax)
    }
}

/// The kernel of full-range integers: −2^(N−1) to 2^(N−1) − 1 steps.
pub(crate) struct FullRange<R> {
    symmetric: Symmetric<R>,
}

impl<R: Round> FullRange<R> {
    pub(crate) fn new(bits: u8, scale: ScaleFormat, round: R) -> Self {
        let qmax = (1u32 << (bits - 1)) as f32;
        FullRange { symmetric: Symmetric { qmax, levels: Levels::up_to(qmax), scale, round } }
    }
}

impl<R: Round> GroupKernel for FullRange<R> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, range: Range) -> Result<f32, RangeOverflow> {
        let d = self.symmetric.scale(range)?;
        Ok(if range.absmax() > range.max { d } else { -d })
    }

    fn largest(&self) -> f32 {
        self.symmetric.qmax
    }

    #[inline(always)]
    fn apply(&self, d: f32, values: &mut [f32], at: Places) {
        if d == 0.0 {
            return values.fill(0.0);
        }
        let Symmetric { qmax, round, scale, .. } = self.symmetric;
        for (i, x) in values.iter_mut().enumerate() {
            *x = round.whole((*x / d).clamp(-qmax, qmax - 1.0), scale.lost(), at.of(i)) * d + 0.0;
        }
    }

    #[inline(always)]
    fn is_beyond(&self, d: f32, x: f32) -> bool {
        let qmax = self.symmetric.qmax;
        d != 0.0 && is_beyond(x / d, -qmax, qmax - 1.0)
    }
}

/// The kernel of integers with a zero point: 2^N − 1 steps, one of which is zero.
pub(crate) struct ZeroPoint<R> {
    qmax: f32,
    scale: ScaleFormat,
    round: R,
}

impl<R: Round> ZeroPoint<R> {
    pub(crate) fn new(bits: u8, scale: ScaleFormat, round: R) -> Self {
        ZeroPoint { qmax: ((1u32 << bits) - 1) as f32, scale, round }
    }
}

impl<R: Round> GroupKernel for ZeroPoint<R> {
    /// d and z of the drawing above.
    type Scale = (f32, f32);

    #[inline(always)]
    fn scale(&self, Range { min, max }: Range) -> Result<(f32, f32), RangeOverflow> {
        let (least, greatest) = (min.min(0.0), max.max(0.0));
        let span = greatest - least;
        if span.is_infinite() {
            return Err(RangeOverflow { min, max });
        }
        let zero_point = |d: f32| if d == 0.0 { 0.0 } else { (-least / d).min(self.qmax).round_ties_even() };
        let greatest = |d: f32| zero_point(d).max(self.qmax - zero_point(d));
        let d = self.scale.within(span / self.qmax, |d| greatest(d) * d);
        Ok((d, zero_point(d)))
    }

    #[inline(always)]
    fn apply(&self, (d, z): (f32, f32), values: &mut [f32], at: Places) {
        if d == 0.0 {
            return values.fill(0.0);
        }
        for (i, x) in values.iter_mut().enumerate() {
            // q − z. Clamping to integers before rounding gives the same as clamping after it.
            *x = self.round.whole((*x / d).clamp(-z, self.qmax - z), self.scale.lost(), at.of(i)) * d + 0.0;
        }
    }

    #[inline(always)]
    fn is_on_grid(&self, (d, z): (f32, f32), values: &[f32]) -> bool {
        let level = |x: f32| NearestEven.integer((x / d).clamp(-z, self.qmax - z), 0) * d;
        d != 0.0 && lie_on(values, z.max(self.qmax - z) * d, d, level)
    }

    #[inline(always)]
    fn is_beyond(&self, (d, z): (f32, f32), x: f32) -> bool {
        d != 0.0 && is_beyond(x / d, -z, self.qmax - z)
    }
}

/// The kernel of integers over the range of the group: 2^N − 1 steps from its least value.
pub(crate) struct Asymmetric<R> {
    qmax: f32,
    scale: ScaleFormat,
    round: R,
}

impl<R: Round> Asymmetric<R> {
    pub(crate) fn new(bits: u8, scale: ScaleFormat, round: R) -> Self {
        Asymmetric { qmax: ((1u32 << bits) - 1) as f32, scale, round }
    }
}

impl<R: Round> GroupKernel for Asymmetric<R> {
    /// d and min of the drawing above.
    type Scale = (f32, f32);

    #[inline(always)]
    fn scale(&self, Range { min, max }: Range) -> Result<(f32, f32), RangeOverflow> {
        let span = max - min;
        if span.is_infinite() {
            return Err(RangeOverflow { min, max });
        }
        let min = self.scale.hold(min);
        Ok((self.scale.within(span / self.qmax, |d| min + self.qmax * d), min))
    }

    #[inline(always)]
    fn apply(&self, (d, min): (f32, f32), values: &mut [f32], at: Places) {
        if d == 0.0 {
            return values.fill(min + 0.0);
        }
        for (i, x) in values.iter_mut().enumerate() {
            let q = self.round.whole(((*x - min) / d).clamp(0.0, self.qmax), self.scale.lost(), at.of(i));
            *x = min + q * d;
        }
    }

    #[inline(always)]
    fn is_on_grid(&self, (d, min): (f32, f32), values: &[f32]) -> bool {
        let level = |x: f32| min + NearestEven.integer(((x - min) / d).clamp(0.0, self.qmax), 0) * d;
        d != 0.0 && lie_on(values, min.abs().max((min + self.qmax * d).abs()), d, level)
    }

    #[inline(always)]
    fn is_beyond(&self, (d, min): (f32, f32), x: f32) -> bool {
        d != 0.0 && is_beyond((x - min) / d, 0.0, self.qmax)
    }
}
