//! Scales: the step of a group, rounded to the format that the scale is stored in.

use super::exponent::{floor_log2, pow2};
use super::minifloat::Minifloat;
use super::rounding::Rounding;
use std::fmt;

/// The format that a group's scale is stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScaleFormat {
    /// F32: the scale as computed.
    #[default]
    F32,
    /// F16: rounded to nearest even and clamped to 65504.
    F16,
    /// BF16: rounded to nearest even and clamped to the largest finite value.
    Bf16,
    /// E8M0: a power of two by the rule of the OCP MX specification. Its exponent is that of the group's greatest
    /// magnitude less that of the format's, clamped to −127…127. Values beyond the format's largest are then clamped to
    /// it.
    E8m0,
    /// The least power of two from 2^−126 to 2^127 that is not below the step, so that no value is clamped.
    Pow2,
    /// Two levels, as in ggml's K types: an F16 scale for each 256 values, and for each block among them an integer of
    /// six bits that multiplies it.
    F16Hier,
}

/// What a scale needs to know of a format's values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    /// The greatest magnitude of the format.
    pub(crate) largest: f32,
    /// The exponent of `largest`.
    pub(crate) max_exponent: i32,
    /// For integers that stand for fixed-point numbers: how many bits are after the point. The stored scale is
    /// 2^fraction_bits times the step.
    pub(crate) fraction_bits: i32,
}

impl Levels {
    /// The levels of a format with this greatest magnitude and no fraction bits.
    pub(crate) fn up_to(largest: f32) -> Levels {
        Levels { largest, max_exponent: floor_log2(largest), fraction_bits: 0 }
    }
}

impl ScaleFormat {
    /// All formats of a scale, with their names.
    pub const ALL: [(&'static str, ScaleFormat); 6] = [
        ("f32", ScaleFormat::F32),
        ("f16", ScaleFormat::F16),
        ("bf16", ScaleFormat::Bf16),
        ("e8m0", ScaleFormat::E8m0),
        ("pow2", ScaleFormat::Pow2),
        ("f16hier", ScaleFormat::F16Hier),
    ];

    /// Bits that one scale takes; for `F16Hier` without the F16 scale above it.
    pub fn bits(self) -> u32 {
        match self {
            ScaleFormat::F32 => 32,
            ScaleFormat::F16 | ScaleFormat::Bf16 => 16,
            ScaleFormat::E8m0 | ScaleFormat::Pow2 => 8,
            ScaleFormat::F16Hier => 6,
        }
    }

    /// How many units in the last place rounding may take from the quotient of a level and its scale. A scale in F32 is
    /// rounded, and so are its products and quotients; with the other scales those of most formats are exact.
    pub(crate) fn lost(self) -> u32 {
        u32::from(self == ScaleFormat::F32)
    }

    /// The step of a group whose greatest magnitude is `absmax`; 0 when `absmax` is 0 or too small for a scale.
    pub(crate) fn step(self, absmax: f32, levels: Levels) -> f32 {
        match self {
            _ if absmax == 0.0 => 0.0,
            ScaleFormat::E8m0 => {
                let stored = floor_log2(absmax) - (levels.max_exponent - levels.fraction_bits);
                pow2(stored.clamp(-127, 127) - levels.fraction_bits)
            }
            // A format that has only small values may need a scale beyond F32.
            _ => self.within((absmax / levels.largest).min(f32::MAX), |d| d * levels.largest),
        }
    }

    /// The computed scale `d` as this format stores it. Rounding `d` up may take the format's largest value beyond F32:
    /// then the result is the next lower scale under which `top(scale)`, the value of the largest level, is finite.
    #[inline(always)]
    pub(crate) fn within(self, d: f32, top: impl Fn(f32) -> f32) -> f32 {
        let mut held = self.hold(d);
        while !top(held).is_finite() {
            held = self.lower(held);
        }
        held
    }

    /// The next stored scale below a positive one.
    fn lower(self, d: f32) -> f32 {
        match self {
            ScaleFormat::F32 | ScaleFormat::F16Hier => d.next_down(),
            // F16 has ten bits of mantissa and BF16 seven; no scale that is lowered is subnormal.
            ScaleFormat::F16 => f32::from_bits(d.to_bits() - (1 << 13)),
            ScaleFormat::Bf16 => f32::from_bits(d.to_bits() - (1 << 16)),
            ScaleFormat::E8m0 | ScaleFormat::Pow2 => d / 2.0,
        }
    }

    /// The computed scale `d` as this format stores it. Scales of `F16Hier` stay as computed until all scales of a
    /// super-block are known (see [`SuperScale`]).
    pub(crate) fn hold(self, d: f32) -> f32 {
        let saturated = |format: Minifloat| {
            let cast = format.cast(Rounding::Rne, d);
            if cast.is_infinite() { format.largest().copysign(d) } else { cast }
        };
        match self {
            ScaleFormat::F32 | ScaleFormat::F16Hier => d,
            ScaleFormat::F16 => saturated(Minifloat::F16),
            ScaleFormat::Bf16 => saturated(Minifloat::Bf16),
            ScaleFormat::E8m0 | ScaleFormat::Pow2 if d == 0.0 => 0.0,
            ScaleFormat::E8m0 | ScaleFormat::Pow2 => {
                let floor = floor_log2(d);
                pow2((floor + i32::from(pow2(floor) < d)).clamp(-126, 127))
            }
        }
    }
}

/// What the values of a group share: a scale, or a scale with a minimum or a zero point.
pub(crate) trait GroupScale: Copy + Send + Sync {
    /// Rounds the scales of a super-block's blocks to two levels, once all of them are known. `largest` is the largest
    /// level that a scale multiplies.
    fn hold_in_two_levels(scales: &mut [Self], largest: f32);
}

impl GroupScale for f32 {
    fn hold_in_two_levels(scales: &mut [f32], largest: f32) {
        let above = SuperScale::over(scales);
        scales.iter_mut().for_each(|d| *d = above.hold(*d, largest));
    }
}

impl GroupScale for (f32, f32) {
    /// Minima and zero points stay as they are: schemes that have them have no scales in two levels.
    fn hold_in_two_levels(_: &mut [(f32, f32)], _: f32) {}
}

/// The F16 scale of a super-block, D = f16(greatest d / 63). A block's scale is stored as rne(d / D)·D.
struct SuperScale(f32);

impl SuperScale {
    /// The greatest integer of a block's scale.
    const MAX: f32 = 63.0;

    /// The super-scale of blocks with these scales, none of which is negative.
    fn over(steps: &[f32]) -> SuperScale {
        let greatest = steps.iter().fold(0.0f32, |m, d| m.max(*d));
        SuperScale(ScaleFormat::F16.hold(greatest / Self::MAX))
    }

    /// A block's scale as it is stored; under the next lower integer where `largest` times the scale would be beyond
    /// F32.
    fn hold(&self, d: f32, largest: f32) -> f32 {
        if self.0 == 0.0 {
            return 0.0;
        }
        let mut q = (d / self.0).min(Self::MAX).round_ties_even();
        while !(q * self.0 * largest).is_finite() {
            q -= 1.0;
        }
        q * self.0
    }
}

impl fmt::Display for ScaleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ScaleFormat::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_levels_of_scales_are_what_was_worked_out_by_hand() {
        // D = 6.3/63 = 0.1, in F16 0.0999755859375 = 819/8192.
        let above = SuperScale::over(&[0.5, 6.3, 0.04]);
        assert_eq!(above.0, 819.0 / 8192.0);
        // 0.5/D = 5.0012; 6.3/D = 63.015, clamped to 63; 0.04/D = 0.4001 is lost.
        let held = [0.5, 6.3, 0.04].map(|d| above.hold(d, 7.0));
        assert_eq!(held, [5.0, 63.0, 0.0].map(|q| q * 819.0 / 8192.0));
        assert_eq!(SuperScale::over(&[0.0, 0.0]).hold(0.0, 7.0), 0.0);
        assert_eq!(SuperScale::over(&[1e-9]).hold(1e-9, 7.0), 0.0, "too small for F16");
        assert_eq!(SuperScale::over(&[f32::MAX]).hold(f32::MAX, 7.0), 63.0 * 65_504.0);
        // 1.01 is stored as 63·D, D = f16(1.01/63) = 0.016036987…; 1.0103 times F32's largest value is beyond F32, so
        // it becomes 62·D.
        let above = SuperScale::over(&[1.01]);
        assert_eq!(above.hold(1.01, f32::MAX / 1.0101), 62.0 * above.0);
    }

    #[test]
    fn the_largest_value_of_a_format_stays_finite_under_every_scale() {
        for (_, format) in ScaleFormat::ALL {
            for largest in [1.0, 7.0, 31.0, 127.0, 448.0, 32_767.0, 57_344.0, 3e38, 1e-37] {
                for absmax in [f32::MAX, f32::MAX.next_down(), 1e38, 1.0, f32::from_bits(1)] {
                    let d = format.step(absmax, Levels::up_to(largest));
                    assert!((d * largest).is_finite(), "{format}: {absmax:e} over {largest:e} gave {d:e}");
                }
            }
        }
        // MAX/127 rounds up, and 127 times that is beyond MAX.
        let d = ScaleFormat::F32.step(f32::MAX, Levels::up_to(127.0));
        assert_eq!(d, (f32::MAX / 127.0).next_down());
        assert!((f32::MAX - 127.0 * d) / f32::MAX < 1e-7);
        // 2^121 < MAX/127 ≤ 2^122, and 127·2^122 is beyond.
        assert_eq!(ScaleFormat::Pow2.step(f32::MAX, Levels::up_to(127.0)), pow2(121));
    }

    #[test]
    fn scales_are_what_was_worked_out_by_hand() {
        let int8 = Levels::up_to(127.0);
        assert_eq!(ScaleFormat::F32.step(254.0, int8), 2.0);
        // 100/127 = 0.7874…: F16 has a spacing of 2^−11 there, BF16 of 2^−8.
        assert_eq!(ScaleFormat::F16.step(100.0, int8), 1613.0 / 2048.0);
        assert_eq!(ScaleFormat::Bf16.step(100.0, int8), 202.0 / 256.0);
        // 2^6 ≤ 100 < 2^7 and 2^6 ≤ 127 < 2^7.
        assert_eq!(ScaleFormat::E8m0.step(100.0, int8), 1.0);
        assert_eq!(ScaleFormat::E8m0.step(128.0, int8), 2.0);
        assert_eq!(ScaleFormat::E8m0.step(127.9, int8), 1.0, "cuts off: 127.9 is clamped to 127");
        assert_eq!(ScaleFormat::Pow2.step(127.9, int8), 2.0, "does not");
        assert_eq!(ScaleFormat::Pow2.step(127.0, int8), 1.0);
        assert_eq!(ScaleFormat::F16.step(f32::MAX, int8), 65_504.0);
        assert_eq!(ScaleFormat::F16.step(1e-6, int8), 0.0, "too small for F16");
        assert_eq!(ScaleFormat::E8m0.step(1e-45, int8), pow2(-127));
        for (_, format) in ScaleFormat::ALL {
            assert_eq!(format.step(0.0, int8), 0.0);
        }
    }
}
