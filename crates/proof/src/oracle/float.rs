//! Small floats as lists of their values.

use numerics::{ExMy, Rounding, Specials};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The magnitudes of a float format in ascending order, and one more, as if its codes went on.
#[derive(Clone, Debug)]
pub struct Ladder {
    values: Vec<f64>,
    infinity: bool,
}

/// The lists that have been made; a long one takes a while.
static MADE: LazyLock<Mutex<HashMap<ExMy, Arc<Ladder>>>> = LazyLock::new(Mutex::default);

impl Ladder {
    /// The most bits of a float that is listed.
    pub const MOST_BITS: u32 = 16;

    /// The list of a format of at most 16 bits; `None` for others. It is made once.
    pub fn of(format: ExMy) -> Option<Arc<Ladder>> {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ladder) = made.get(&format) {
            return Some(ladder.clone());
        }
        let ladder = Arc::new(Ladder::listed(format)?);
        made.insert(format, ladder.clone());
        Some(ladder)
    }

    fn listed(format: ExMy) -> Option<Ladder> {
        if format.bits() > Self::MOST_BITS {
            return None;
        }
        let (x, y, bias) = (format.exponent_bits(), format.mantissa_bits(), format.bias());
        let codes = 1u32 << (x + y);
        let finite = match format.specials() {
            Specials::Finite => codes,
            Specials::Fn => codes - 1,
            Specials::Ieee => codes - (1 << y),
        };
        // (m or 1.m) · 2^(e − bias), as IEEE 754 has it in 3.4.
        let value = |code: u32| {
            let (e, m) = (code >> y, f64::from(code % (1 << y)) / f64::from(1u32 << y));
            if e == 0 {
                m * libm::exp2(f64::from(1 - bias))
            } else {
                (1.0 + m) * libm::exp2(f64::from(e as i32 - bias))
            }
        };
        Some(Ladder { values: (0..=finite).map(value).collect(), infinity: format.specials() == Specials::Ieee })
    }

    /// The magnitudes of the format, ascending from 0.
    pub fn magnitudes(&self) -> &[f64] {
        &self.values[..self.values.len() - 1]
    }

    /// The largest magnitude.
    pub fn largest(&self) -> f64 {
        self.values[self.values.len() - 2]
    }

    /// The value to which a finite `x` is rounded.
    pub fn cast(&self, rounding: Rounding, x: f32) -> f32 {
        let magnitude = f64::from(x.abs());
        let last = self.values.len() - 1;
        let below = self.values.partition_point(|&value| value <= magnitude) - 1;
        let code = if below == last {
            last
        } else {
            let middle = (self.values[below] + self.values[below + 1]) / 2.0;
            let up = match rounding {
                Rounding::Trunc => false,
                Rounding::Away => magnitude >= middle,
                Rounding::Rne => magnitude > middle || (magnitude == middle && below % 2 == 1),
            };
            below + usize::from(up)
        };
        let held = match code == last {
            true if self.infinity && rounding != Rounding::Trunc => f64::INFINITY,
            true => self.largest(),
            false => self.values[code],
        };
        (held as f32).copysign(x)
    }

    /// Every value of the format, the middle of every two, and the F32 neighbours of both, in both signs.
    pub fn corners(&self) -> Vec<f32> {
        let mut corners = Vec::new();
        for pair in self.values.windows(2) {
            for x in [pair[0] as f32, ((pair[0] + pair[1]) / 2.0) as f32] {
                corners.extend([x, x.next_up(), x.next_down(), -x, -x.next_up(), -x.next_down()]);
            }
        }
        corners.extend([f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), 0.0, -0.0]);
        corners.retain(|x| x.is_finite());
        corners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_e2m1_is_the_specifications() {
        let ladder = Ladder::of(ExMy::FP4_E2M1).expect("four bits");
        assert_eq!(ladder.magnitudes(), [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        let fp8 = Ladder::of(ExMy::FP8_E4M3).expect("eight bits");
        assert_eq!((fp8.magnitudes().len(), fp8.largest()), (127, 448.0));
        let half = Ladder::of(ExMy::F16).expect("sixteen bits");
        assert_eq!(half.cast(Rounding::Rne, 65_519.996), 65_504.0);
        assert_eq!(half.cast(Rounding::Rne, 65_520.0), f32::INFINITY);
        assert!(Ladder::of(ExMy::TF32).is_none());
    }
}
