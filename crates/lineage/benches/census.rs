//! The cost of reading every value, on all cores, beside reading the same buffer. `make bench-census` runs this and
//! puts the ratios in a table.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use lineage::{StoredPrecision, TensorValues, census, distribution, row_grids, survey};
use rayon::prelude::*;

/// The number of values, beyond every cache: 256 MiB of F32, 128 MiB of two bytes each.
const N: usize = 1 << 26;
const N_PER_ROW: usize = 4096;

fn main() {
    divan::main();
}

/// Sums of uniform numbers: most are near zero and some far out, as weights are.
fn weights(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (uniform() + uniform() + uniform() + uniform()) * 0.05).collect()
}

fn halves(of: impl Fn(f32) -> [u8; 2]) -> Vec<u8> {
    weights(N).into_iter().flat_map(of).collect()
}

/// Reads the buffer once and keeps nothing: the denominator of ratios to reading.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn read(bencher: Bencher) {
    let values = weights(N);
    let any = |part: &[f32]| part.iter().fold(0, |any, x| any | x.to_bits());
    bencher
        .counter(BytesCount::of_many::<f32>(N))
        .bench_local(|| black_box(&values).par_chunks(1 << 16).map(any).reduce(|| 0, |a, b| a | b));
}

/// The float grids of F32: counts on and off each, and the search for a converter's constant.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn float_grids(bencher: Bencher) {
    let values = weights(N);
    let look = || census(black_box(&values), StoredPrecision::F32);
    bencher.counter(BytesCount::of_many::<f32>(N)).bench_local(look);
}

/// The moments, and rows that repeat.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn spread(bencher: Bencher) {
    let values = weights(N);
    bencher.counter(BytesCount::of_many::<f32>(N)).bench_local(|| distribution(black_box(&values), N_PER_ROW));
}

/// Rows on a coarser grid.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn rows(bencher: Bencher) {
    let values = weights(N);
    let look = || row_grids(black_box(&values), N_PER_ROW, StoredPrecision::F32);
    bencher.counter(BytesCount::of_many::<f32>(N)).bench_local(look);
}

/// The whole survey of F32.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn survey_f32(bencher: Bencher) {
    let values = weights(N);
    let look = || survey(TensorValues::Restored(black_box(&values), StoredPrecision::F32), N_PER_ROW);
    bencher.counter(BytesCount::of_many::<f32>(N)).bench_local(look);
}

/// The whole survey of F16 in place.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn survey_f16(bencher: Bencher) {
    let bytes = halves(|x| half::f16::from_f32(x).to_le_bytes());
    let look = || survey(TensorValues::F16(black_box(&bytes)), N_PER_ROW);
    bencher.counter(BytesCount::of_many::<u16>(N)).bench_local(look);
}

/// The whole survey of BF16 in place.
#[divan::bench(sample_count = 9, sample_size = 1)]
fn survey_bf16(bencher: Bencher) {
    let bytes = halves(|x| half::bf16::from_f32(x).to_le_bytes());
    let look = || survey(TensorValues::Bf16(black_box(&bytes)), N_PER_ROW);
    bencher.counter(BytesCount::of_many::<u16>(N)).bench_local(look);
}
