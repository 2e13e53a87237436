//! Counting the values beyond a format's range, compared with plain loops over the blocks.

use numerics::{PlainCodec, Scheme, TensorContext, difference};

const N_PER_ROW: usize = 96;

/// Some values of each binade from 2^−6 to 2^3, and two large ones in each row.
fn values() -> Vec<f32> {
    let value = |i: usize| {
        let u = (i as u32).wrapping_mul(2_654_435_761) >> 8;
        let magnitude = (1.0 + (u & 0xffff) as f32 / 65_536.0) * ((u >> 16 & 7) as f32 - 4.0).exp2();
        let sign = if u >> 20 & 1 == 0 { 1.0 } else { -1.0 };
        match i % N_PER_ROW {
            17 => 40.0,
            18 => -39.7,
            _ => sign * magnitude,
        }
    };
    (0..40 * N_PER_ROW).map(value).collect()
}

fn saturated(scheme: &str, values: &[f32]) -> Option<u64> {
    let scheme: Scheme = scheme.parse().expect("a scheme");
    let ctx = TensorContext { name: "t", n_per_row: if values.len() < N_PER_ROW { values.len() } else { N_PER_ROW } };
    let mut same = values.to_vec();
    let n = scheme.saturated(&mut same, &ctx).expect("finite values");
    assert!(same.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits()), "{scheme} changed a value");
    n
}

#[test]
fn a_cast_counts_beyond_half_a_step_after_its_largest_value() {
    let around = [448.0, 464.0, 464.1, -470.0, -1e9, 1.0];
    assert_eq!(saturated("fp8_e4m3", &around), Some(3));
    assert_eq!(saturated("fp4_e2m1", &[6.0, 7.0, 7.1, -8.0]), Some(2));
    let around = [65_504.0, 65_519.0, 65_520.0, 65_521.0, -7e4];
    assert_eq!((saturated("f16", &around), saturated("f16:trunc", &around)), (Some(0), Some(2)));
    let mut held = around.to_vec();
    let ctx = TensorContext { name: "t", n_per_row: 5 };
    "f16".parse::<Scheme>().unwrap().fake_quantize(&mut held, &ctx, &PlainCodec).unwrap();
    assert_eq!(difference(&around, &held).overflowed, 3, "a tie goes to infinity as well");
    assert_eq!(saturated("bf16:trunc", &[f32::MAX, 1.0]), Some(1));
}

#[test]
fn what_a_scheme_counts_is_what_a_plain_loop_over_its_blocks_counts() {
    let values = values();
    // The step of a block, and the first and the last of its multiples between which no value is clamped.
    type Block<'a> = &'a dyn Fn(&[f32]) -> (f64, f64, f64);
    let absmax = |block: &[f32]| block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let greatest = |block: &[f32]| {
        let most = block.iter().copied().fold(0.0, f32::max);
        if most == absmax(block) { most } else { -absmax(block) }
    };
    let f16 = |x: f32| f64::from(half::f16::from_f32(x).to_f32());
    let percentile = |block: &[f32], percent: f64| {
        let mut sorted: Vec<f32> = block.iter().map(|x| x.abs()).collect();
        sorted.sort_by(f32::total_cmp);
        sorted[(percent / 100.0 * sorted.len() as f64).ceil() as usize - 1]
    };
    let e8m0 = |block: &[f32], exponent: f64| (f64::from(absmax(block)).log2().floor() - exponent).exp2();
    let cases: [(&str, usize, Block<'_>, bool); 9] = [
        ("int8@row", 96, &|b| (f64::from(absmax(b) / 127.0), -127.5, 127.5), false),
        ("int4@row:clip=p90", 96, &|b| (f64::from(percentile(b, 90.0) / 7.0), -7.5, 7.5), true),
        ("int4@block32:clip=p80:trunc", 32, &|b| (f64::from(percentile(b, 80.0) / 7.0), -7.5, 7.5), true),
        ("int4@block32:scale=f16", 32, &|b| (f16(absmax(b) / 7.0), -7.5, 7.5), false),
        ("int4@block32:fullrange", 32, &|b| (f64::from(greatest(b) / -8.0), -8.5, 7.5), true),
        ("mxfp4", 32, &|b| (e8m0(b, 2.0), -7.0, 7.0), true),
        ("mxfp8_e4m3", 32, &|b| (e8m0(b, 8.0), -464.0, 464.0), true),
        ("mxint8", 32, &|b| (e8m0(b, 6.0), -127.5, 127.5), true),
        ("iq4_nl", 32, &|b| (f16(greatest(b) / -127.0), -127.0 - 11.5, 113.0 + 12.0), true),
    ];
    for (scheme, n, of, some) in cases {
        let rows = values.chunks(N_PER_ROW).flat_map(|row| row.chunks(n));
        let counts = rows.map(|block| {
            let (step, first, last) = of(block);
            let beyond = |x: &&f32| !(first..=last).contains(&(f64::from(**x) / step));
            block.iter().filter(beyond).count() as u64
        });
        let wanted: u64 = counts.sum();
        assert_eq!(saturated(scheme, &values), Some(wanted), "{scheme}");
        assert_eq!(wanted > 0, some, "{scheme}: {wanted}");
    }
}

#[test]
fn a_range_chosen_by_its_error_is_tried_and_not_counted() {
    // With three levels, one value of 4 among ones is given up.
    let mut values = vec![1.0f32; 95];
    values.push(4.0);
    assert_eq!(saturated("int2@row:clip=mse", &values), Some(1));
}

#[test]
fn formats_without_a_largest_value_saturate_nothing_and_ggml_does_not_tell() {
    let values = values();
    for scheme in ["identity", "zero", "jitter", "noise(30)", "shuffle"] {
        assert_eq!(saturated(scheme, &values), Some(0), "{scheme}");
    }
    assert_eq!(saturated("q4_0", &values), None);
    assert_eq!(saturated("mxfp4", &[0.0; 32]), Some(0));
    let mut odd = [f32::INFINITY, 500.0, f32::NAN, 1.0];
    let ctx = TensorContext { name: "t", n_per_row: 4 };
    let keeps: Scheme = "fp8_e4m3:nonfinite=keep".parse().unwrap();
    assert_eq!(keeps.saturated(&mut odd, &ctx), Ok(Some(1)));
    assert!("fp8_e4m3".parse::<Scheme>().unwrap().saturated(&mut odd, &ctx).is_err());
    assert_eq!(Scheme::identity().saturated(&mut odd, &ctx), Ok(Some(0)));
}
