//! What quantizing a tensor costs: each format on one core beside a copy of the same buffer, ggml's types on all cores beside
//! ggml's own functions on one. `make bench-formats` runs this and puts the ratios, and those to numpy and gguf-py, in a table.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use llama::GgmlCodec;
use numerics::{BlockCodec, Scheme, TensorContext};
use rayon::ThreadPoolBuilder;

/// 64 MiB of F32 in rows of 4096: beyond every cache.
const N: usize = 1 << 24;
const N_PER_ROW: usize = 4096;
/// ggml's searches take up to a microsecond a value.
const N_GGML: usize = 1 << 21;

const ONE_CORE: &[&str] = &[
    "bf16",
    "bf16:trunc",
    "f16",
    "tf32",
    "fp8_e4m3",
    "fp8_e4m3@row",
    "fp8_e5m2@row",
    "fp4_e2m1@block32",
    "int8@row",
    "int8@tensor",
    "int4@block32",
    "int4@block32:asym",
    "int4@block32:scale=f16hier",
    "nf4",
    "mxfp4",
    "mxfp8_e4m3",
    "mxint8",
    "nvfp4",
];
const ALL_CORES: &[&str] = &["q4_0", "q8_0", "q4_K", "q6_K", "iq4_xs"];

fn main() {
    divan::main();
}

/// Sums of uniform numbers: most near zero, some far out, as weights are.
fn weights(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (uniform() + uniform() + uniform() + uniform()) * 0.05).collect()
}

/// Reads the buffer once and writes another of its size, both there already: what a ratio to memcpy is to.
#[divan::bench(sample_count = 15, sample_size = 1)]
fn memcpy(bencher: Bencher) {
    let from = weights(N);
    let mut to = vec![1.0f32; N];
    bencher.counter(BytesCount::of_many::<f32>(N)).bench_local(|| black_box(&mut to).copy_from_slice(black_box(&from)));
}

/// In place, its look for NaN and infinity included.
#[divan::bench(args = ONE_CORE, sample_count = 9, sample_size = 1)]
fn one_core(bencher: Bencher, scheme: &str) {
    let scheme: Scheme = scheme.parse().expect("a scheme");
    let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let values = weights(N);
    let ctx = TensorContext { name: "blk.0.ffn_up.weight", n_per_row: N_PER_ROW };
    bencher
        .counter(BytesCount::of_many::<f32>(N))
        .with_inputs(|| values.clone())
        .bench_local_refs(|values| pool.install(|| scheme.fake_quantize(values, &ctx, &GgmlCodec)));
}

/// To blocks, on all cores.
#[divan::bench(args = ALL_CORES, sample_count = 7, sample_size = 1)]
fn ggml_all_cores(bencher: Bencher, ty: &str) {
    let values = weights(N_GGML * 4);
    bencher
        .counter(BytesCount::of_many::<f32>(values.len()))
        .bench_local(|| GgmlCodec.quantize(ty, black_box(&values), N_PER_ROW, None));
}

/// To blocks and back, on all cores, as a scheme does it.
#[divan::bench(args = ALL_CORES, sample_count = 7, sample_size = 1)]
fn ggml_scheme(bencher: Bencher, ty: &str) {
    let scheme: Scheme = ty.parse().expect("a scheme");
    let values = weights(N_GGML * 4);
    let ctx = TensorContext { name: "blk.0.ffn_up.weight", n_per_row: N_PER_ROW };
    bencher
        .counter(BytesCount::of_many::<f32>(values.len()))
        .with_inputs(|| values.clone())
        .bench_local_refs(|values| scheme.fake_quantize(values, &ctx, &GgmlCodec));
}

/// `ggml_quantize_chunk` on one thread, in place of as many as there are cores.
#[divan::bench(args = ALL_CORES, sample_count = 7, sample_size = 1)]
fn ggml_quantize_chunk(bencher: Bencher, ty: &str) {
    let values = weights(1 << 20);
    bencher
        .counter(BytesCount::of_many::<f32>(values.len()))
        .bench_local(|| llama::quantize_chunk(ty, black_box(&values), N_PER_ROW));
}
