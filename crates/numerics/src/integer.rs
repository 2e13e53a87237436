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
//! q is an integer, so zero is +0.0 whatever the sign of x.

use crate::groups::{GroupKernel, Range, RangeOverflow};

/// 1.5·2^23: adding it to a value of less than 2^22 rounds that to an integer, ties to even, and
/// taking it away again is exact. Unlike `round_ties_even` it vectorises without SSE4.1.
const ROUNDER: f32 = 12_582_912.0;

pub(crate) struct Symmetric {
    pub(crate) qmax: f32,
}

impl Symmetric {
    pub(crate) fn new(bits: u8) -> Self {
        Symmetric { qmax: ((1u32 << (bits - 1)) - 1) as f32 }
    }
}

impl GroupKernel for Symmetric {
    type Scale = f32;

    fn scale(&self, range: Range) -> Result<f32, RangeOverflow> {
        Ok(range.absmax() / self.qmax)
    }

    fn apply(&self, d: f32, values: &mut [f32]) {
        if d == 0.0 {
            return values.fill(0.0);
        }
        for x in values {
            // Clamping to an integer before rounding is clamping after it.
            let q = (*x / d).clamp(-self.qmax, self.qmax) + ROUNDER - ROUNDER;
            *x = q * d;
        }
    }
}

pub(crate) struct Asymmetric {
    pub(crate) qmax: f32,
}

impl Asymmetric {
    pub(crate) fn new(bits: u8) -> Self {
        Asymmetric { qmax: ((1u32 << bits) - 1) as f32 }
    }
}

impl GroupKernel for Asymmetric {
    /// d and min.
    type Scale = (f32, f32);

    fn scale(&self, Range { min, max }: Range) -> Result<(f32, f32), RangeOverflow> {
        let span = max - min;
        if span.is_infinite() {
            return Err(RangeOverflow { min, max });
        }
        Ok((span / self.qmax, min))
    }

    fn apply(&self, (d, min): (f32, f32), values: &mut [f32]) {
        if d == 0.0 {
            return values.fill(min + 0.0);
        }
        for x in values {
            let q = ((*x - min) / d).clamp(0.0, self.qmax) + ROUNDER - ROUNDER;
            *x = min + q * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_of_a_small_row_gives_the_values_worked_out_by_hand() {
        let kernel = Symmetric::new(8);
        let d = kernel.scale(Range { min: -2.0, max: 254.0 }).unwrap();
        assert_eq!(d, 2.0);
        let mut v = [254.0, -2.0, 1.0, 3.0, -1.0, -0.5, 5.0, 0.0];
        kernel.apply(d, &mut v);
        // 1/2 and 3/2 are ties: to 0 and to 2. −1/2 goes to zero without its sign.
        assert_eq!(v, [254.0, -2.0, 0.0, 4.0, 0.0, 0.0, 4.0, 0.0]);
        assert!(v.iter().all(|x| x.to_bits() != (-0.0f32).to_bits()));
    }

    #[test]
    fn asymmetric_int2_spans_from_the_least_to_the_greatest_value() {
        let kernel = Asymmetric::new(2);
        let scale = kernel.scale(Range { min: 10.0, max: 16.0 }).unwrap();
        assert_eq!(scale, (2.0, 10.0));
        let mut v = [10.0, 10.9, 11.0, 13.0, 15.1, 16.0];
        kernel.apply(scale, &mut v);
        assert_eq!(v, [10.0, 10.0, 10.0, 14.0, 16.0, 16.0]);
    }

    #[test]
    fn the_rounder_rounds_every_half_integer_in_reach_to_even() {
        for i in -131_072..131_072 {
            let x = i as f32 / 2.0;
            assert_eq!(x + ROUNDER - ROUNDER, x.round_ties_even());
        }
    }

    #[test]
    fn a_span_beyond_f32_has_no_scale() {
        assert!(Asymmetric::new(8).scale(Range { min: f32::MIN, max: f32::MAX }).is_err());
        assert!(Symmetric::new(8).scale(Range { min: f32::MIN, max: f32::MAX }).is_ok());
    }
}
