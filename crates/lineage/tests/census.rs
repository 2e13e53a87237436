//! The census on tensors whose origin is known because the test made them.

use half::{bf16, f16};
use lineage::{Effective, KNOWN_OFFSETS, StoredPrecision, Transform, census, predict};
use numerics::{PlainCodec, Scheme, TensorContext};
use proptest::prelude::*;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::RngCore;

/// A roughly normal value from twelve uniform ones, which uses every bit of the significand.
fn gaussian(rng: &mut Pcg64) -> f64 {
    (0..12).map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0
}

fn gaussians(seed: u64, n: usize, mean: f64, sigma: f64) -> Vec<f32> {
    let mut rng = Pcg64::new(seed.into(), 1);
    (0..n).map(|_| (mean + sigma * gaussian(&mut rng)) as f32).collect()
}

fn to_bf16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&x| bf16::from_f32(x).to_f32()).collect()
}

fn to_f16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&x| f16::from_f32(x).to_f32()).collect()
}

fn effective(values: &[f32], stored: StoredPrecision) -> String {
    census(values, stored).effective.to_string()
}

use StoredPrecision::{Bf16, F16, F32, Quantized};

#[test]
fn values_rounded_to_a_grid_are_found_on_it() {
    let values = gaussians(1, 640, 0.3, 0.2);
    assert_eq!(effective(&values, F32), "F32");
    assert_eq!(effective(&to_bf16(&values), F32), "BF16");
    assert_eq!(effective(&to_f16(&values), F32), "F16");
    assert_eq!(effective(&to_f16(&values), F16), "F16");
    assert_eq!(effective(&to_bf16(&to_f16(&values)), F16), "BF16");
    let wide: Vec<f32> = values.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_e000) * 1e30).collect();
    let tf32: Vec<f32> = wide.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_e000)).collect();
    assert_eq!(effective(&tf32, F32), "TF32", "beyond the range of F16");
    let tiny: Vec<f32> = to_f16(&gaussians(1, 640, 0.0, 1e-5));
    assert_eq!(effective(&tiny, F32), "F16", "subnormals of F16");
}

#[test]
fn evidence_is_the_sum_of_forced_bits() {
    let values: Vec<f32> = (0..100).map(|i| 1.0 + i as f32 / 128.0).collect();
    let c = census(&values, F32);
    assert_eq!((c.effective, c.evidence_bits, c.on_grid), (Effective::Bf16, 1600.0, 100));
    let mut halves = to_f16(&gaussians(2, 1000, 1.0, 0.1));
    let found = census(&halves, F32).evidence_bits;
    halves.sort_unstable_by(f32::total_cmp);
    halves.dedup();
    assert_eq!(found, 13.0 * halves.len() as f64, "a magnitude that occurs twice is one coincidence");
}

#[test]
fn evidence_grows_by_what_one_more_magnitude_says_however_often_magnitudes_occur() {
    // Numbers of BF16 at 32,768 places: each of them 16 bits in F32, 3 in F16.
    let of = |distinct: usize, stored| {
        let values: Vec<f32> = (0..32_768).map(|i| 1.0 + (i % distinct) as f32 / 128.0).collect();
        census(&values, stored).evidence_bits
    };
    for distinct in [15, 16, 17, 18, 40, 100] {
        assert_eq!(of(distinct, F32), 16.0 * distinct as f64, "{distinct}");
    }
    assert_eq!((of(17, F16), of(100, F16)), (51.0, 300.0));
    // Counts are some forty whole numbers.
    let counts: Vec<f32> = (0..32_768u32).map(|i| (5 + (i * i) % 41) as f32).collect();
    let found = census(&counts, F32).evidence_bits;
    assert!((16.0 * 15.0..=16.0 * 41.0).contains(&found), "{found}");
}

#[test]
fn one_value_off_the_grid_is_enough_to_leave_it() {
    let mut values = to_bf16(&gaussians(3, 200_000, 0.0, 1.0));
    values[137_011] = values[137_011].next_up();
    let c = census(&values, F32);
    assert_eq!((c.effective, c.on_bf16, c.on_grid), (Effective::F32, 199_999, 200_000));
    assert!(c.note().contains("NOT a no-op here (1 of 200,000 values"), "{}", c.note());
}

#[test]
fn a_converters_constant_is_found_with_its_name() {
    for (offset, printed) in KNOWN_OFFSETS.iter().zip(["1 + BF16", "1/5 + BF16", "5^-1.5 + BF16"]) {
        for (mean, sigma) in [(0.0, 0.5), (3.0, 2.0), (-0.4, 0.3), (20.0, 15.0)] {
            let values: Vec<f32> = to_bf16(&gaussians(4, 640, mean, sigma)).iter().map(|g| g + offset.value).collect();
            let c = census(&values, F32);
            assert_eq!(c.effective.to_string(), printed, "mean {mean}");
            assert_eq!((c.transform, c.on_grid), (Some(Transform::Plus(*offset)), 640));
        }
    }
    let values: Vec<f32> = to_bf16(&gaussians(4, 640, 0.0, 0.5)).iter().map(|g| g + 1.0).collect();
    let note = census(&values, F32).note();
    assert!(
        note.starts_with("stored F32, = 1 + BF16 (640 of 640): BF16 fake quantization is NOT a no-op here"),
        "{note}"
    );
}

#[test]
fn a_constant_that_no_converter_is_known_to_add_is_read_from_the_values() {
    for (constant, printed) in [(0.625, "0.625 + BF16"), (-0.5, "-0.5 + BF16"), (3.0, "3 + BF16")] {
        let values: Vec<f32> = to_bf16(&gaussians(4, 2000, 0.0, 0.3)).iter().map(|g| g + constant).collect();
        let c = census(&values, F32);
        assert_eq!((c.effective.to_string().as_str(), c.on_grid), (printed, 2000), "{}", c.note());
    }
    for seed in 0..60 {
        let c = census(&gaussians(seed, 2000, 0.6, 0.3), F32);
        assert_eq!(c.transform, None, "{}", c.note());
    }
}

#[test]
fn the_exponential_of_a_mamba_converter_is_found_with_either_neighbour_of_its_result() {
    let logs = to_bf16(&gaussians(6, 640, 1.4, 0.6));
    for slip in [-1i32, 0, 1] {
        let off = |x: f32| if slip == 0 { x } else { f32::from_bits(x.to_bits().wrapping_add_signed(slip)) };
        let values: Vec<f32> = logs.iter().map(|g| off(-(f64::from(*g).exp() as f32))).collect();
        let c = census(&values, F32);
        assert_eq!((c.transform, c.on_grid), (Some(Transform::NegExp), 640), "slip {slip}: {}", c.note());
        assert_eq!(c.effective.to_string(), "-exp(BF16)");
    }
    for seed in 0..60 {
        let values: Vec<f32> = gaussians(seed, 640, 1.4, 0.6).iter().map(|g| -g.exp()).collect();
        assert_eq!(census(&values, F32).transform, None, "seed {seed}");
    }
}

#[test]
fn f16_values_around_one_are_f16_and_not_one_plus_bf16() {
    for sigma in [0.02, 0.1, 0.5] {
        assert_eq!(effective(&to_f16(&gaussians(5, 640, 1.0, sigma)), F32), "F16", "sigma {sigma}");
    }
}

#[test]
fn a_few_f16_values_around_one_repeated_often_are_f16_too() {
    let few: Vec<f32> = [515.0, 517.0, 700.0, 999.0, 1027.0, 1101.0].iter().map(|k| k / 1024.0 + 0.6).collect();
    let values: Vec<f32> = to_f16(&few).iter().copied().cycle().take(6000).collect();
    assert_eq!(effective(&values, F32), "F16");
}

#[test]
fn noise_around_one_is_never_one_plus_bf16() {
    for seed in 0..40 {
        for exponent in 0..=24 {
            let values = gaussians(seed, 640, 1.0, 2f64.powi(-exponent));
            let c = census(&values, F32);
            assert_eq!(c.transform, None, "seed {seed}, sigma 2^-{exponent}: {}", c.note());
        }
    }
}

#[test]
fn ones_that_moved_by_a_few_ulps_prove_nothing() {
    let values: Vec<f32> = (0..1000).map(|i| f32::from_bits(1.0f32.to_bits() + i % 7)).collect();
    assert_eq!(effective(&values, F32), "F32");
    // One repeated value off BF16, constrained by one bit: the same coincidence a thousand times.
    let x = 1.0 + 2f32.powi(-16) + 2f32.powi(-22);
    assert_eq!(effective(&vec![x; 1000], F32), "F32");
}

#[test]
fn constants_zeros_and_too_few_values_are_not_called_bf16_though_bf16_is_a_noop() {
    let ones = census(&[1.0; 576], F32);
    assert_eq!((ones.effective, ones.constant, ones.evidence_bits), (Effective::F32, Some(1.0), 16.0));
    assert!(ones.note().contains("one value (16 bits of evidence, 40 wanted): BF16 fake quantization is a no-op"));
    let zeros = census(&[0.0, -0.0, 0.0], F32);
    assert_eq!((zeros.zeros, zeros.constant, zeros.effective), (3, None, Effective::F32));
    assert!(zeros.note().contains("every value is zero: BF16 fake quantization is a no-op"), "{}", zeros.note());
    assert_eq!(effective(&[1.5, 0.75], F32), "F32");
    assert_eq!(effective(&[1.5, 0.75, 1.25], F32), "BF16", "three values are 48 bits");
    assert_eq!(effective(&[1.5, -1.5, 0.75, -0.75], F32), "F32", "a sign makes no new value");
    assert_eq!(census(&[], F32).note(), "no values");
}

#[test]
fn stored_bf16_is_bf16_without_evidence_and_quantized_storage_is_not_decided() {
    let values = to_bf16(&gaussians(6, 100, 0.0, 1.0));
    let c = census(&values, Bf16);
    assert_eq!((c.effective, c.evidence_bits, c.on_grid), (Effective::Bf16, 0.0, 100));
    assert_eq!(c.note(), "stored BF16, so BF16 by storage: BF16 fake quantization is a no-op here");
    let c = census(&values, Quantized);
    assert_eq!((c.effective.to_string(), c.on_grid, c.n), ("not decided".into(), 0, 100));
    assert!(c.note().starts_with("not decidable: "));
}

#[test]
fn nonfinite_values_are_left_out_and_said_so() {
    let mut values = to_bf16(&gaussians(7, 1000, 0.0, 1.0));
    values[3] = f32::NAN;
    values[4] = f32::NEG_INFINITY;
    let c = census(&values, F32);
    assert_eq!((c.effective, c.nonfinite, c.on_grid), (Effective::Bf16, 2, 998));
    assert!(c.note().ends_with("; 2 non-finite values left out"), "{}", c.note());
    assert!(census(&[f32::NAN; 4], F32).note().contains("no value is finite"));
}

#[test]
fn types_of_ggml_map_to_what_they_store() {
    let of = StoredPrecision::of_ggml_type;
    assert_eq!(
        (of("F32"), of("f16"), of("bf16"), of("q4_K"), of("i32")),
        (Some(F32), Some(F16), Some(Bf16), Some(Quantized), None)
    );
}

#[test]
fn the_note_speaks_in_the_agreed_words() {
    let values = to_bf16(&gaussians(8, 36_864, 0.0, 1.0));
    assert_eq!(
        census(&values, F32).note(),
        "stored F32, effectively BF16 (100 % of 36,864 values, exact): BF16 fake quantization is a no-op here"
    );
    assert!(
        census(&gaussians(8, 640, 0.0, 1.0), F32)
            .note()
            .contains("no grid coarser than storage found (640 values, exact)")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn f32_noise_of_any_scale_and_centre_is_f32(seed in any::<u64>(), n in 4usize..2000, mean in -4.0f64..4.0, exponent in -20i32..8) {
        let values = gaussians(seed, n, mean, 2f64.powi(exponent));
        let c = census(&values, F32);
        prop_assert_eq!(c.effective, Effective::F32, "{}", c.note());
    }

    #[test]
    fn the_census_agrees_with_what_the_scheme_then_changes(seed in any::<u64>(), n in 1usize..500, kind in 0..4) {
        let values = gaussians(seed, n, 0.0, 1.0);
        let values = match kind {
            0 => values,
            1 => to_bf16(&values),
            2 => to_f16(&values),
            _ => to_bf16(&values).iter().map(|g| g + 1.0).collect(),
        };
        let c = census(&values, F32);
        let ctx = TensorContext { name: "t", n_per_row: n };
        for (scheme, on) in [("bf16", c.on_bf16), ("f16", c.on_f16), ("tf32", c.on_tf32)] {
            let p = predict(&scheme.parse::<Scheme>().unwrap(), &values, &ctx, &PlainCodec).unwrap();
            prop_assert_eq!(p.n - p.changed, on, "{}", scheme);
            prop_assert_eq!(p.noop, p.changed == 0);
            prop_assert_eq!(c.note().contains("BF16 fake quantization is a no-op"), c.on_bf16 == c.n, "{}", c.note());
        }
    }
}
