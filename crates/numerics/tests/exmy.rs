//! Small floats by their values: what the specifications list, which formats exist, and where they overflow to.

use numerics::{ExMy, Minifloat, Rounding, Specials};

fn named(name: &str) -> ExMy {
    ExMy::named(name).unwrap()
}

#[test]
fn the_drawing_gives_the_values_that_the_ocp_specifications_list() {
    // Smallest subnormal, largest subnormal, smallest normal, largest finite.
    for (name, bits, values) in [
        ("fp8_e4m3", 8, [2f64.powi(-9), 0.875 * 2f64.powi(-6), 2f64.powi(-6), 448.0]),
        ("fp8_e5m2", 8, [2f64.powi(-16), 0.75 * 2f64.powi(-14), 2f64.powi(-14), 57_344.0]),
        ("fp6_e2m3", 6, [0.125, 0.875, 1.0, 7.5]),
        ("fp6_e3m2", 6, [0.0625, 0.1875, 0.25, 28.0]),
        ("fp4_e2m1", 4, [0.5, 0.5, 1.0, 6.0]),
    ] {
        let f = named(name);
        let normal = 1u32 << f.mantissa_bits();
        assert_eq!(f.bits(), bits, "{name}");
        assert_eq!([1, normal - 1, normal, f.largest_code()].map(|code| f.decode(code)), values, "{name}");
    }
    let fp4: Vec<f64> = (0..8).map(|code| named("fp4_e2m1").decode(code)).collect();
    assert_eq!(fp4, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
}

#[test]
fn wide_formats_have_the_same_limits_as_their_own_kernels() {
    for wide in Minifloat::ALL {
        let f = ExMy::from(wide);
        assert_eq!(f.name(), Some(wide.name()));
        assert_eq!(
            (f.largest(), f.min_exponent(), f.max_exponent()),
            (wide.largest(), wide.min_exponent(), wide.max_exponent())
        );
        assert_eq!((f.mantissa_bits(), f.bits()), (wide.mantissa_bits(), wide.bits()));
        for i in 0..400_000u32 {
            let x = f32::from_bits(i.wrapping_mul(0x9e37_79b1));
            for rounding in [Rounding::Rne, Rounding::Trunc] {
                let (a, b) = (f.cast(rounding, x), wide.cast(rounding, x));
                assert!(a.to_bits() == b.to_bits(), "{wide:?} {rounding:?} {x:e}: {a:e} and {b:e}");
            }
        }
    }
}

#[test]
fn a_format_beyond_f32_or_without_numbers_does_not_exist() {
    assert!(ExMy::new(8, 7, Specials::Ieee, 127).is_some());
    assert!(ExMy::new(8, 7, Specials::Ieee, 128).is_none(), "subnormals below F32's normals");
    assert!(ExMy::new(8, 7, Specials::Finite, 127).is_none(), "beyond F32's largest");
    assert!(ExMy::new(1, 2, Specials::Ieee, 0).is_none(), "nothing left but subnormals");
    assert!(ExMy::new(1, 2, Specials::Finite, 0).is_some());
    assert!(ExMy::new(3, 0, Specials::Fn, 3).is_none());
    assert!(ExMy::new(0, 3, Specials::Finite, 0).is_none() && ExMy::new(9, 3, Specials::Finite, 0).is_none());
    assert!(ExMy::new(4, 23, Specials::Ieee, 7).is_none());
    for x in 1..=8 {
        for specials in [Specials::Ieee, Specials::Fn, Specials::Finite] {
            let (least, greatest) = ExMy::biases(x, specials);
            for bias in -300..300 {
                let fits = ExMy::new(x, 1, specials, bias).is_some();
                let shape = specials != Specials::Ieee || x >= 2;
                assert_eq!(fits, shape && (least..=greatest).contains(&bias), "e{x}m1 {specials:?} {bias}");
            }
        }
    }
}

#[test]
fn overflow_is_infinite_only_where_the_format_has_infinities() {
    let at = |name, rounding, x| named(name).cast(rounding, x);
    assert_eq!(at("fp8_e5m2", Rounding::Rne, 61_439.9), 57_344.0);
    assert_eq!(at("fp8_e5m2", Rounding::Rne, 61_440.0), f32::INFINITY, "a tie with the even code, infinity");
    assert_eq!(at("fp8_e5m2", Rounding::Trunc, 1e30), 57_344.0);
    assert_eq!(at("fp8_e4m3", Rounding::Away, -1e30), -448.0);
    assert_eq!(at("fp4_e2m1", Rounding::Rne, 100.0), 6.0);
    assert_eq!(at("fp4_e2m1", Rounding::Rne, -0.25).to_bits(), (-0.0f32).to_bits(), "a tie with zero");
    assert_eq!(at("fp4_e2m1", Rounding::Away, -0.25), -0.5);
    assert_eq!(at("fp4_e2m1", Rounding::Rne, 2.5), 2.0);
    assert_eq!(at("fp4_e2m1", Rounding::Away, 2.5), 3.0);
}
