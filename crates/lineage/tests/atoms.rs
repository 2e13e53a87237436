//! Natural weights with one frequent value, and values that crowd around two centres: nothing but the storage limits them.

#[allow(dead_code, unused_imports, reason = "each test file uses its part")]
mod made;

use lineage::{BlockGrid, StoredPrecision, census, search};
use made::{N_PER_ROW, ROWS, Shape, gaussian, store, weights};
use rand_pcg::Pcg64;

use StoredPrecision::{Bf16, F16, F32};

/// What is found in values that nothing but their storage limits.
fn expect_nothing(name: &str, values: &[f32], stored: StoredPrecision) {
    let held = store(values, stored);
    let found = search(&held, N_PER_ROW, &census(&held, stored));
    assert!(matches!(found.grid, BlockGrid::NoneFound), "{name} in {stored}: {}", found.note());
}

/// Weights whose standard deviation is 1.
fn normal(seed: u64) -> Vec<f32> {
    weights(Shape::Gaussian, seed).iter().map(|x| x / 0.02).collect()
}

#[test]
fn a_bound_at_which_weights_were_clipped_is_one_value_and_no_codebook() {
    for (seed, bound) in [(1, 0.67), (2, 0.5), (3, 0.33)] {
        let clipped: Vec<f32> = normal(seed).iter().map(|x| 0.02 * x.clamp(-bound, bound)).collect();
        for stored in [F32, F16, Bf16] {
            expect_nothing(&format!("clipped at ±{bound} σ"), &clipped, stored);
        }
    }
    let one_sided: Vec<f32> = normal(4).iter().map(|x| x.clamp(0.0, 1.0)).collect();
    expect_nothing("clipped to 0 … 1", &one_sided, F32);
}

#[test]
fn a_constant_that_fills_half_of_the_places_is_one_value_and_no_codebook() {
    for (seed, share, fill) in [(5, 0.45, 0.0137), (6, 0.6, 0.0137), (7, 0.5, -1e4)] {
        let mut rng = Pcg64::new(u128::from(seed), 7);
        let is_filled = |rng: &mut Pcg64| (0.5 + 0.5 * libm::erf(gaussian(rng) / 2f64.sqrt())) < share;
        let filled: Vec<f32> = normal(seed).iter().map(|x| if is_filled(&mut rng) { fill } else { 0.02 * x }).collect();
        for stored in [F32, F16, Bf16] {
            expect_nothing(&format!("{share} of the places are {fill}"), &filled, stored);
        }
    }
    let padded: Vec<f32> =
        normal(8).iter().enumerate().map(|(i, x)| if i % N_PER_ROW > 300 { 1.0 } else { 0.02 * x }).collect();
    expect_nothing("rows that end in ones", &padded, F32);
}

#[test]
fn values_around_two_centres_on_which_every_level_of_the_storage_is_used_lie_on_no_other_grid() {
    let around_ones = |spread: f64, seed: u64| -> Vec<f32> {
        let mut rng = Pcg64::new(u128::from(seed), 9);
        (0..ROWS * N_PER_ROW)
            .map(|i| ((1.0 + spread * gaussian(&mut rng)) * if i % 3 == 0 { -1.0 } else { 1.0 }) as f32)
            .collect()
    };
    for (spread, stored) in [(5e-4, F16), (2e-3, F16), (0.005, Bf16), (0.01, Bf16)] {
        expect_nothing(&format!("±1 with a spread of {spread}"), &around_ones(spread, 11), stored);
    }
    let mut rng = Pcg64::new(12, 9);
    let columns: Vec<f32> = (0..ROWS * N_PER_ROW)
        .map(|i| ((1.0 + 0.02 * gaussian(&mut rng)) * if i % 2 == 0 { 0.25 } else { 4.0 }) as f32)
        .collect();
    expect_nothing("columns around 0.25 and 4", &columns, Bf16);
}

#[test]
fn codebooks_are_found_beside_all_that_all_the_same() {
    // 16 entries that no known table has, with a scale for each block of 64, as before.
    let entries: Vec<f64> = (0..16).map(|i| libm::tan(1.4 * (f64::from(i) - 7.4) / 8.0)).collect();
    let largest = entries.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    let values: Vec<f32> = weights(Shape::Gaussian, 13)
        .chunks(64)
        .flat_map(|block| {
            let absmax = f64::from(block.iter().fold(0.0f32, |a, b| a.max(b.abs())));
            let nearest = |x: f32| {
                let x = f64::from(x) * largest / absmax;
                let away = |entry: &&f64| (*entry - x).abs();
                entries.iter().min_by(|a, b| away(a).total_cmp(&away(b))).copied().unwrap_or(0.0) * absmax / largest
            };
            block.iter().map(|x| nearest(*x) as f32).collect::<Vec<f32>>()
        })
        .collect();
    for stored in [F32, F16, Bf16] {
        let held = store(&values, stored);
        let found = search(&held, N_PER_ROW, &census(&held, stored));
        assert!(matches!(found.grid, BlockGrid::FewLevels(_)), "in {stored}: {}", found.note());
    }
}
