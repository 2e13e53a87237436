//! Integers in their obvious form: whole steps from zero, from the least value, or around a zero point.

use super::rounding::Roll;
use super::scale::{held_scale, held_within};
use crate::format::ScaleFormat;
use crate::hold::error::FakeQuantError;
use crate::hold::fake_quantize::TensorContext;

impl Roll {
    /// The quotient of a value and its scale, where it stands for a whole number that number.
    pub(super) fn steps(self, quotient: f32) -> f64 {
        f64::from(self.kept(quotient, |q| q.fract() == 0.0))
    }

    pub(super) fn integer(self, s: f64, place: usize) -> f64 {
        let below = s.abs().floor();
        let up = self.goes_up(s.abs() - below, below % 2.0 == 0.0, place);
        (below + f64::from(u8::from(up))).copysign(s)
    }
}

/// Whether values lie on the levels nearest to them, up to what rounding a scale does: 2^−21 of the greatest magnitude, and
/// far less than a step.
fn on_grid(values: impl Iterator<Item = f32>, greatest: f32, d: f32, nearest: impl Fn(f32) -> f32) -> bool {
    let near = (greatest / 2f32.powi(21)).min(d / 16.0);
    let is_minus_zero = |x: f32| x == 0.0 && x.is_sign_negative();
    values.into_iter().all(|x| (nearest(x) - x).abs() <= near && !is_minus_zero(x))
}

/// Asymmetric integers. `whole` says whether groups lie within rows or tiles, and so always come whole.
pub(super) fn asymmetric(
    bits: u8,
    (scale, whole): (ScaleFormat, bool),
    roll: Roll,
    values: &[f32],
    group: &[usize],
    out: &mut [f32],
    ctx: &TensorContext<'_>,
) -> Result<(), FakeQuantError> {
    let qmax = ((1u32 << bits) - 1) as f32;
    let finite = || group.iter().map(|&i| values[i]).filter(|x| x.is_finite());
    let (min, max) = match finite().next() {
        None => return Ok(()),
        Some(_) => (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max)),
    };
    if (max - min).is_infinite() {
        return Err(FakeQuantError::RangeOverflow { tensor: ctx.name.to_owned(), min, max });
    }
    let (span, min) = (max - min, held_scale(scale, min));
    let d = held_within(scale, span / qmax, |d| min + qmax * d);
    let nearest = |x: f32| min + f64::from((x - min) / d).clamp(0.0, f64::from(qmax)).round_ties_even() as f32 * d;
    if whole && d != 0.0 && on_grid(finite(), min.abs().max((min + qmax * d).abs()), d, nearest) {
        return Ok(());
    }
    for &i in group {
        let steps = if d == 0.0 { 0.0 } else { roll.steps((values[i] - min) / d).clamp(0.0, f64::from(qmax)) };
        out[i] = min + roll.integer(steps, i) as f32 * d;
    }
    Ok(())
}

/// Integers with a zero point; `whole` as for asymmetric ones.
pub(super) fn zero_point(
    bits: u8,
    (scale, whole): (ScaleFormat, bool),
    roll: Roll,
    values: &[f32],
    group: &[usize],
    out: &mut [f32],
    ctx: &TensorContext<'_>,
) -> Result<(), FakeQuantError> {
    let qmax = f64::from((1u32 << bits) - 1);
    let finite = || group.iter().map(|&i| values[i]).filter(|x| x.is_finite());
    let (least, greatest) = (finite().fold(0.0, f32::min), finite().fold(0.0, f32::max));
    if (greatest - least).is_infinite() {
        let (min, max) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        return Err(FakeQuantError::RangeOverflow { tensor: ctx.name.to_owned(), min, max });
    }
    let zero = |d: f32| if d == 0.0 { 0.0 } else { f64::from(-least / d).min(qmax).round_ties_even() };
    let first_and_last = |d: f32| [zero(d), qmax - zero(d)].map(|q| q as f32 * d);
    let top = |d: f32| first_and_last(d).into_iter().fold(0.0, f32::max);
    let d = held_within(scale, (greatest - least) / qmax as f32, top);
    let z = zero(d);
    let nearest = |x: f32| f64::from(x / d).clamp(-z, qmax - z).round_ties_even() as f32 * d;
    if whole && d != 0.0 && on_grid(finite(), top(d), d, nearest) {
        return Ok(());
    }
    for &i in group {
        let steps = if d == 0.0 { 0.0 } else { roll.steps(values[i] / d).clamp(-z, qmax - z) };
        // Zero is +0 whatever the sign of the value that became zero.
        out[i] = roll.integer(steps, i) as f32 * d + 0.0;
    }
    Ok(())
}
