//! NVFP4: values that were worked out by hand, the ends of F32, and tensors that are NVFP4 already.

use numerics::{PlainCodec, Scheme, TensorContext};

fn held(values: &[f32], n_per_row: usize) -> Vec<f32> {
    let mut held = values.to_vec();
    let ctx = TensorContext { name: "t", n_per_row };
    "nvfp4".parse::<Scheme>().unwrap().fake_quantize(&mut held, &ctx, &PlainCodec).unwrap();
    held
}

#[test]
fn a_tensor_that_uses_the_whole_range_has_the_values_worked_out_by_hand() {
    // The greatest magnitude is 2688 = 6·448, so both factors of the tensor are 1. The first row's scale is 448: 5/448 and
    // the tie 112/448 = 0.25 go to zero, 700/448 = 1.5625 to 1.5. The second row's is 3/6 = 0.5, an E4M3 number: steps of
    // 0.25 up to 3.
    let values = [-2688.0, 5.0, 112.0, 112.1, 700.0, 3.0, 0.3, -0.1, 0.0, 0.0];
    assert_eq!(held(&values, 5), [-2688.0, 0.0, 0.0, 224.0, 672.0, 3.0, 0.25, -0.0, 0.0, 0.0]);
}

#[test]
fn extreme_tensors_stay_finite() {
    for absmax in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), 0.0] {
        let held = held(&[absmax, -absmax, absmax / 2.0, 0.0], 4);
        assert!(held.iter().all(|x| x.is_finite()), "{absmax:e}: {held:?}");
    }
}

#[test]
fn a_tensor_that_is_nvfp4_stays_bit_for_bit() {
    // Without it 93 % of the values move by a unit in the last place, since the second s_dec is another F32.
    for seed in 1..40u32 {
        let draw = |i: u32| ((i ^ seed).wrapping_mul(0x9e37_79b1) >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
        let values: Vec<f32> = (0..4096).map(|i| draw(i * 41) * (1.0 + seed as f32 / 7.0)).collect();
        let once = held(&values, 512);
        assert!(once.iter().zip(held(&once, 512)).all(|(a, b)| a.to_bits() == b.to_bits()), "{seed}");
    }
}
