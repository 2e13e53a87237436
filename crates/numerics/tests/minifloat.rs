//! BF16, F16 and TF32 against the half crate, on millions of patterns and every tie.

use half::{bf16, f16};
use numerics::{Minifloat, Rounding};

/// The bit of the sign.
const SIGN: u32 = 1 << 31;

#[test]
fn every_bf16_and_f16_pattern_is_a_fixed_point_of_its_cast() {
    for bits in 0..=u16::MAX {
        let cases =
            [(Minifloat::Bf16, bf16::from_bits(bits).to_f32()), (Minifloat::F16, f16::from_bits(bits).to_f32())];
        for (format, x) in cases {
            for rounding in [Rounding::Rne, Rounding::Trunc] {
                let y = format.cast(rounding, x);
                assert_eq!(y.to_bits(), x.to_bits(), "{format:?} {rounding:?} {bits:#06x}");
            }
        }
    }
}

/// F32 bit patterns from a multiplicative walk through all 2^32, and the neighbours of every tie.
fn hard_patterns() -> impl Iterator<Item = f32> {
    let walk = (0..2_000_000u32).map(|i| i.wrapping_mul(0x9e37_79b1));
    let around = |bits: u32| [bits.wrapping_sub(1), bits, bits.wrapping_add(1)];
    let bf16_ties = (0..=u16::MAX).flat_map(move |h| around(u32::from(h) << 16 | 0x8000));
    let f16_points = (0..0x7c01u16).flat_map(move |h| {
        let (a, b) = (f16::from_bits(h).to_f64(), f16::from_bits(h + 1).to_f64());
        let b = if b.is_finite() { b } else { 65_536.0 };
        let tie = (((a + b) / 2.0) as f32).to_bits();
        around(tie).into_iter().chain(around(tie | SIGN))
    });
    walk.chain(bf16_ties).chain(f16_points).map(f32::from_bits).filter(|x| x.is_finite())
}

#[test]
fn millions_of_f32_patterns_and_all_ties_round_as_the_half_crate_does() {
    for x in hard_patterns() {
        let (b, h) = (Minifloat::Bf16.cast(Rounding::Rne, x), Minifloat::F16.cast(Rounding::Rne, x));
        assert_eq!(b.to_bits(), bf16::from_f32(x).to_f32().to_bits(), "bf16 {x:e} {:#010x}", x.to_bits());
        assert_eq!(h.to_bits(), f16::from_f32(x).to_f32().to_bits(), "f16 {x:e} {:#010x}", x.to_bits());
    }
}

#[test]
fn truncation_is_the_nearest_value_of_the_format_that_is_not_farther_from_zero() {
    for x in hard_patterns().step_by(7) {
        for format in Minifloat::ALL {
            let (t, r) = (format.cast(Rounding::Trunc, x), format.cast(Rounding::Rne, x));
            assert_eq!(t.to_bits(), format.cast(Rounding::Rne, t).to_bits(), "{format:?} {x:e}: not of the format");
            assert!(t.abs() <= x.abs() && t.is_sign_negative() == x.is_sign_negative(), "{format:?} {x:e}");
            // Nearest rounding gives either the truncated value or the next one away from zero.
            assert!(r.abs() >= t.abs() && (r == t || r.abs() > x.abs()), "{format:?} {x:e}");
        }
    }
}

#[test]
fn known_answers_hold() {
    let bf16 = |x| Minifloat::Bf16.cast(Rounding::Rne, x);
    assert_eq!(bf16(1.0 + 1.0 / 256.0), 1.0, "tie to even, down");
    assert_eq!(bf16(1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0, "tie to even, up");
    assert_eq!(bf16(std::f32::consts::PI), 3.140_625);
    assert_eq!(bf16(f32::MAX), f32::INFINITY, "overflow by rounding");
    assert_eq!(Minifloat::Bf16.cast(Rounding::Trunc, f32::MAX), Minifloat::Bf16.largest());
    let f16 = |x| Minifloat::F16.cast(Rounding::Rne, x);
    assert_eq!(f16(65_519.996), 65_504.0);
    assert_eq!(f16(65_520.0), f32::INFINITY);
    assert_eq!(f16(-65_520.0), f32::NEG_INFINITY);
    assert_eq!(Minifloat::F16.cast(Rounding::Trunc, 1e9), 65_504.0);
    assert_eq!(f16(2.0f32.powi(-25)), 0.0, "tie between 0 and the smallest subnormal");
    assert_eq!(f16(-1e-9).to_bits(), (-0.0f32).to_bits(), "the sign of a zero stays");
    assert_eq!(Minifloat::Tf32.cast(Rounding::Rne, 1.0 + 1.0 / 2048.0), 1.0);
    assert_eq!(Minifloat::F16.largest(), 65_504.0);
    assert_eq!(Minifloat::Bf16.largest(), bf16::MAX.to_f32());
}
