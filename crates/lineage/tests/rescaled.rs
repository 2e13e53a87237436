//! Norms of another precision than the rest of their file, on tensors that the test made.

#[path = "made/stored.rs"]
mod stored;

use lineage::{NormRescaling, StoredPrecision, TensorCensus, census, rescaled_norms};
use rand_pcg::Pcg64;
use stored::{gaussian, half, store};

use StoredPrecision::{Bf16, F16, F32, Quantized};

const N: usize = 896;

/// Values of a norm or a bias.
fn draw(seed: u64, mean: f64, sigma: f64) -> Vec<f32> {
    let mut rng = Pcg64::new(seed.into(), 1);
    (0..N).map(|_| (mean + sigma * gaussian(&mut rng)) as f32).collect()
}

/// Norms or biases in the precision that `round` gives them, stored in F32.
fn several(n: u64, mean: f64, round: impl Fn(&[f32]) -> Vec<f32>) -> Vec<TensorCensus> {
    (0..n).map(|seed| census(&round(&draw(seed, mean, 0.2)), F32)).collect()
}

fn bf16(values: &[f32]) -> Vec<f32> {
    store(values, Bf16)
}

fn f16(values: &[f32]) -> Vec<f32> {
    store(values, F16)
}

/// BF16 values over a factor for each channel, computed in F16.
fn scaled(values: &[f32]) -> Vec<f32> {
    let factors = draw(99, 1.5, 0.3);
    bf16(values).iter().zip(factors).map(|(x, s)| half(x / half(s))).collect()
}

#[test]
fn norms_that_were_rescaled_in_f16_beside_bf16_floats_are_found_with_the_odds() {
    let mut norms = several(48, 1.0, scaled);
    norms.extend(several(1, 1.0, bf16));
    let found = rescaled_norms(&norms, &several(72, 0.0, bf16)).expect("a pattern");
    let NormRescaling { norms, values, off_bf16, others, evidence_bits } = found;
    assert_eq!((norms, values, others), (48, 48 * 896, 73));
    assert!((0.8..0.95).contains(&(off_bf16 as f64 / values as f64)), "{off_bf16} of {values}");
    // Three bits for each magnitude of the others: a few hundred of 896 values.
    assert!(evidence_bits <= 3.0 * 73.0 * 896.0 && evidence_bits > 3.0 * 73.0 * 100.0, "{evidence_bits}");
}

#[test]
fn the_pattern_shows_in_f16_storage_too_and_quantized_or_bf16_storage_says_nothing() {
    let in_f16 = |values: &[f32]| census(values, F16);
    let norms: Vec<TensorCensus> = (0..4).map(|seed| in_f16(&scaled(&draw(seed, 1.0, 0.2)))).collect();
    let mut others: Vec<TensorCensus> = (10..14).map(|seed| in_f16(&bf16(&draw(seed, 0.0, 0.2)))).collect();
    others.push(census(&draw(20, 0.0, 0.02), Quantized));
    assert!(rescaled_norms(&norms, &others).is_some_and(|found| found.others == 4));
    let silent = [census(&bf16(&draw(21, 0.0, 0.2)), Bf16), census(&draw(22, 0.0, 0.02), Quantized)];
    assert_eq!(rescaled_norms(&norms, &silent), None, "nothing to compare with");
}

#[test]
fn files_of_one_precision_and_of_other_mixtures_raise_no_alarm() {
    let one_plus = |values: &[f32]| bf16(values).iter().map(|g| g + 1.0).collect::<Vec<f32>>();
    let as_is = |values: &[f32]| values.to_vec();
    type Round<'a> = &'a dyn Fn(&[f32]) -> Vec<f32>;
    let mixtures: [(&str, Round<'_>, Round<'_>); 8] = [
        ("all F32", &as_is, &as_is),
        ("all BF16", &bf16, &bf16),
        ("all F16", &f16, &f16),
        ("F32 norms beside BF16", &as_is, &bf16),
        ("1 + BF16 norms beside BF16", &one_plus, &bf16),
        ("F16 norms beside F32", &f16, &as_is),
        ("BF16 norms beside F16", &bf16, &f16),
        ("constant norms beside BF16", &|values| vec![1.0; values.len()], &bf16),
    ];
    for (name, norm, other) in mixtures {
        assert_eq!(rescaled_norms(&several(24, 1.0, norm), &several(24, 0.0, other)), None, "{name}");
    }
    let (mut norms, others) = (several(24, 1.0, bf16), several(24, 0.0, bf16));
    let mut edited = bf16(&draw(50, 1.0, 0.2));
    edited[..9].copy_from_slice(&f16(&draw(51, 1.0, 0.2))[..9]);
    norms.extend([census(&edited, F32), census(&edited, F32)]);
    assert_eq!(rescaled_norms(&norms, &others), None, "a few values of BF16 norms differ");
    assert_eq!(rescaled_norms(&several(1, 1.0, scaled), &others), None, "one norm is not a pattern");
    assert_eq!(rescaled_norms(&[], &[]), None);
}
