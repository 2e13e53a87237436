//! Integers with a scale for each group.
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
//! q is an integer, so zero is +0.0 whatever the sign of x. Where another format holds the scale, d (and
//! min) are those of that format before anything is divided by them; other roundings take the place of rne.

use crate::groups::{GroupKernel, Places, Range, RangeOverflow};
use crate::rounding::Round;
use crate::scale::{Levels, ScaleFormat};

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

    /// The elements of MXINT8: integers of ±127 that stand for as many sixty-fourths.
    pub(crate) fn mxint8(round: R) -> Self {
        let kernel = Symmetric::new(8, ScaleFormat::E8m0, round);
        Symmetric { levels: Levels { fraction_bits: 6, ..kernel.levels }, ..kernel }
    }
}

impl<R: Round> GroupKernel for Symmetric<R> {
    type Scale = f32;

    fn scale(&self, range: Range) -> Result<f32, RangeOverflow> {
        Ok(self.scale.step(range.absmax(), self.levels))
    }

    fn apply(&self, d: f32, values: &mut [f32], at: Places) {
        if d == 0.0 {
            return values.fill(0.0);
        }
        for (i, x) in values.iter_mut().enumerate() {
            // Clamping to an integer before rounding is clamping after it.
            let q = self.round.integer((*x / d).clamp(-self.qmax, self.qmax), at.of(i));
            *x = q * d;
        }
    }
}

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
    /// d and min.
    type Scale = (f32, f32);

    fn scale(&self, Range { min, max }: Range) -> Result<(f32, f32), RangeOverflow> {
        let span = max - min;
        if span.is_infinite() {
            return Err(RangeOverflow { min, max });
        }
        Ok((self.scale.hold(span / self.qmax), self.scale.hold(min)))
    }

    fn apply(&self, (d, min): (f32, f32), values: &mut [f32], at: Places) {
        if d == 0.0 {
            return values.fill(min + 0.0);
        }
        for (i, x) in values.iter_mut().enumerate() {
            let q = self.round.integer(((*x - min) / d).clamp(0.0, self.qmax), at.of(i));
            *x = min + q * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::NearestEven;

    #[test]
    fn int8_of_a_small_row_gives_the_values_worked_out_by_hand() {
        let kernel = Symmetric::new(8, ScaleFormat::F32, NearestEven);
        let d = kernel.scale(Range { min: -2.0, max: 254.0 }).unwrap();
        assert_eq!(d, 2.0);
        let mut v = [254.0, -2.0, 1.0, 3.0, -1.0, -0.5, 5.0, 0.0];
        kernel.apply(d, &mut v, Places::contiguous(0));
        // 1/2 and 3/2 are ties: to 0 and to 2. −1/2 goes to zero without its sign.
        assert_eq!(v, [254.0, -2.0, 0.0, 4.0, 0.0, 0.0, 4.0, 0.0]);
        assert!(v.iter().all(|x| x.to_bits() != (-0.0f32).to_bits()));
    }

    #[test]
    fn asymmetric_int2_spans_from_the_least_to_the_greatest_value() {
        let kernel = Asymmetric::new(2, ScaleFormat::F32, NearestEven);
        let scale = kernel.scale(Range { min: 10.0, max: 16.0 }).unwrap();
        assert_eq!(scale, (2.0, 10.0));
        let mut v = [10.0, 10.9, 11.0, 13.0, 15.1, 16.0];
        kernel.apply(scale, &mut v, Places::contiguous(0));
        assert_eq!(v, [10.0, 10.0, 10.0, 14.0, 16.0, 16.0]);
    }

    #[test]
    fn a_span_beyond_f32_has_no_scale() {
        assert!(
            Asymmetric::new(8, ScaleFormat::F32, NearestEven).scale(Range { min: f32::MIN, max: f32::MAX }).is_err()
        );
        assert!(Symmetric::new(8, ScaleFormat::F32, NearestEven).scale(Range { min: f32::MIN, max: f32::MAX }).is_ok());
    }
}
