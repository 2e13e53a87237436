//! Fake quantization from outside: the fast paths against the reference and against an integer oracle, and the promises
//! about order, threads and bad input.

use numerics::{
    CodebookTable, FakeQuantError, FileContents, Imatrix, PlainCodec, Scheme, TensorContext, TensorShape, difference,
    reference,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use words::{Advice, Hint};

const SCHEMES: &[&str] = &[
    "bf16",
    "bf16:trunc",
    "f16",
    "f16:trunc",
    "tf32",
    "tf32:trunc",
    "bf16@row",
    "f16@tensor",
    "f16@block32",
    "f16@col:trunc",
    "tf32@block7",
    "int2@tensor",
    "int3@block32",
    "int4@block32",
    "int5@col",
    "int8@row",
    "int8@tensor",
    "int16@row",
    "int2@block16:asym",
    "int4@block32:asym",
    "int8@row:asym",
    "int8@col:asym",
    "int16@tensor:asym",
    "zero",
    "identity",
    "bf16:away",
    "f16:stochastic",
    "tf32:away",
    "bf16:stochastic(3)",
    "fp8_e4m3",
    "fp8_e4m3:trunc",
    "fp8_e5m2",
    "fp8_e5m2:away",
    "fp8_e5m2:stochastic(2)",
    "fp6_e2m3",
    "fp6_e3m2:away",
    "fp4_e2m1",
    "fp4_e2m1:stochastic(9)",
    "e3m0:finite",
    "e3m0:finite:bias=4",
    "e1m3:finite",
    "e5m10:fn:bias=20",
    "e7m22",
    "e8m1:stochastic",
    "e4m3:bias=120:trunc",
    "e6m4:bias=-60:away",
    "fp8_e4m3@row",
    "fp8_e5m2@tensor:trunc",
    "fp6_e2m3@col:away",
    "fp4_e2m1@block16:stochastic(5)",
    "fp4_e2m1@3x5:scale=f16",
    "fp8_e4m3@2x16:scale=bf16:clip=p90",
    "fp4_e2m1@block32:clip=mse",
    "bf16@tensor:clip=p50",
    "e3m0@row:finite:scale=pow2",
    "int8@row:trunc",
    "int4@block32:away",
    "int4@3x7",
    "int3@2x100:stochastic(4)",
    "int4@col:stochastic",
    "int8@tensor:scale=f16",
    "int4@block32:scale=bf16",
    "int8@block16:scale=e8m0",
    "int5@row:scale=pow2",
    "int4@tensor:clip=mse",
    "int3@row:clip=mse:stochastic(2)",
    "int4@block32:clip=p99",
    "int2@col:clip=p75:scale=f16",
    "int4@block32:asym:scale=f16",
    "int8@row:asym:away",
    "int6@2x9:asym:trunc:scale=bf16",
    "int4@row:asym:stochastic",
    "int8@row:zeropoint",
    "int4@block32:zeropoint:scale=f16",
    "int2@3x5:zeropoint:away",
    "int16@tensor:zeropoint:scale=bf16",
    "int3@col:zeropoint:stochastic(8)",
    "int8@row:fullrange",
    "int2@block16:fullrange:trunc",
    "int4@block32:fullrange:scale=f16:clip=mse",
    "int5@2x9:fullrange:scale=pow2:clip=p90",
    "int16@tensor:fullrange:stochastic(4)",
    "int4@block8:scale=f16hier",
    "int4@block32:scale=f16hier:clip=mse",
    "int2@block300:scale=f16hier",
    "fp4_e2m1@block3:scale=f16hier:stochastic(2)",
    "nf4@block16:scale=f16hier",
    "nf4",
    "nf4@row:scale=bf16",
    "nf4@2x3:clip=mse",
    "fp4@block16",
    "fp4@tensor:scale=e8m0",
    "iq4_nl",
    "iq4_nl@col:scale=f32",
    "iq4_nl@row:clip=p80:scale=pow2",
    "mxfp4",
    "mxfp6_e2m3",
    "mxfp6_e3m2:trunc",
    "mxfp8_e4m3",
    "mxfp8_e5m2:stochastic",
    "mxint8",
    "mxint8:away",
    "nvfp4",
    "nvfp4:stochastic(6)",
    "shuffle@row",
];

/// Plain casts. A value of the format is its own image under every rounding.
const CASTS: &[&str] = &[
    "bf16",
    "bf16:trunc",
    "f16",
    "f16:trunc",
    "tf32",
    "tf32:away",
    "f16:stochastic",
    "fp8_e4m3:stochastic",
    "fp8_e5m2",
    "fp6_e3m2:trunc",
    "fp4_e2m1:away",
    "e3m0:finite",
    "e7m22",
];

fn quantized(scheme: &str, values: &[f32], n_per_row: usize) -> Result<Vec<f32>, FakeQuantError> {
    let mut out = values.to_vec();
    let ctx = TensorContext { name: "blk.0.ffn_norm.weight", n_per_row };
    scheme.parse::<Scheme>().unwrap().fake_quantize(&mut out, &ctx, &PlainCodec).map(|()| out)
}

fn plainly(scheme: &str, values: &[f32], n_per_row: usize) -> Result<Vec<f32>, FakeQuantError> {
    let ctx = TensorContext { name: "blk.0.ffn_norm.weight", n_per_row };
    let scheme: Scheme = scheme.parse().unwrap();
    reference::fake_quantize(&scheme, values, &ctx).map(|out| out.expect("not one of ggml's"))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// A value of a kind that breaks kernels: any bit pattern, ties, subnormals, ±max, zeros.
fn hard_value() -> impl Strategy<Value = f32> {
    let any_finite = any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite());
    let sign = |x: f32, minus: bool| if minus { -x } else { x };
    prop_oneof![
        3 => any_finite,
        4 => -1.0f32..1.0,
        2 => (any::<i16>(), any::<bool>()).prop_map(move |(k, minus)| sign(f32::from(k) / 2.0, minus)),
        1 => (0u32..0x0080_0000, any::<bool>()).prop_map(move |(b, minus)| sign(f32::from_bits(b), minus)),
        1 => (any::<u16>(), any::<bool>()).prop_map(|(h, up)| f32::from_bits(u32::from(h & 0xbf7f) << 16 | if up { 0x8000 } else { 0x7fff })),
        1 => prop_oneof![Just(0.0f32), Just(-0.0), Just(1.0), Just(f32::MAX), Just(f32::MIN), Just(65_504.0), Just(65_520.0)],
    ]
}

/// Rows of any length with the contents that matter: anything, a constant, zeros with one outlier.
fn hard_tensor() -> impl Strategy<Value = (Vec<f32>, usize)> {
    (1usize..80, 1usize..5).prop_flat_map(|(n_per_row, rows)| {
        let n = n_per_row * rows;
        let values = prop_oneof![
            4 => prop::collection::vec(hard_value(), n),
            2 => prop::collection::vec(-1.0f32..1.0, n),
            1 => hard_value().prop_map(move |x| vec![x; n]),
            1 => (hard_value(), 0..n).prop_map(move |(x, at)| { let mut v = vec![0.0; n]; v[at] = x; v }),
        ];
        (values, Just(n_per_row))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_fast_path_gives_the_references_bits((values, n_per_row) in hard_tensor(), pick in 0..SCHEMES.len()) {
        let scheme = SCHEMES[pick];
        match (quantized(scheme, &values, n_per_row), plainly(scheme, &values, n_per_row)) {
            (Ok(fast), Ok(plain)) => {
                for (i, (f, p)) in fast.iter().zip(&plain).enumerate() {
                    prop_assert!(f.to_bits() == p.to_bits(), "{} value {}: {:e} became {:e}, reference {:e}", scheme, i, values[i], f, p);
                }
            }
            (Err(FakeQuantError::RangeOverflow { .. }), Err(FakeQuantError::RangeOverflow { .. })) => {}
            (fast, plain) => prop_assert!(false, "{}: {:?} against {:?}", scheme, fast, plain),
        }
    }

    #[test]
    fn kept_nonfinite_values_stay_and_do_not_move_the_others((values, n_per_row) in hard_tensor(), at in any::<prop::sample::Index>(), pick in 0..SCHEMES.len()) {
        let mut values = values;
        let at = at.index(values.len());
        values[at] = f32::from_bits(0xffc1_2345);
        let scheme = format!("{}:nonfinite=keep", SCHEMES[pick]);
        match (quantized(&scheme, &values, n_per_row), plainly(&scheme, &values, n_per_row)) {
            (Ok(fast), Ok(plain)) => {
                prop_assert_eq!(fast[at].to_bits(), 0xffc1_2345);
                prop_assert_eq!(bits(&fast), bits(&plain), "{}", scheme);
            }
            (fast, plain) => prop_assert_eq!(fast.is_err(), plain.is_err(), "{}", scheme),
        }
    }

    #[test]
    fn a_symmetric_integer_is_within_half_a_step_and_the_largest_value_is_kept(values in prop::collection::vec(-8.0f32..8.0, 64), bits in 2u32..=16) {
        let out = quantized(&format!("int{bits}@tensor"), &values, 64).unwrap();
        let qmax = f64::from((1u32 << (bits - 1)) - 1);
        let absmax = values.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
        let d = absmax / qmax;
        // d, the quotient and the product are each rounded to F32 once.
        let slack = 4.0 * absmax * f64::from(f32::EPSILON);
        for (x, y) in values.iter().zip(&out) {
            prop_assert!((f64::from(*x) - f64::from(*y)).abs() <= d / 2.0 + slack, "{} became {}", x, y);
            let q = f64::from(*y) / d;
            prop_assert!((q - q.round()).abs() <= 1e-6 * qmax && q.abs() <= qmax * (1.0 + 1e-6), "{} is not a level", y);
        }
    }

    #[test]
    fn casting_twice_changes_nothing_more((values, n_per_row) in hard_tensor(), pick in any::<prop::sample::Index>()) {
        let scheme = pick.get(CASTS);
        let once = quantized(scheme, &values, n_per_row).unwrap();
        let twice = quantized(&format!("{scheme}:nonfinite=keep"), &once, n_per_row).unwrap();
        prop_assert_eq!(bits(&once), bits(&twice));
    }
}

/// 64 rows of 512 weights that are drawn uniformly and lie on no grid.
fn weights() -> Vec<f32> {
    (0..64 * 512).map(|i: u32| (i.wrapping_mul(0x9e37_79b1) >> 8) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}

#[test]
fn truncation_keeps_the_greatest_value_of_a_group_on_the_last_level() {
    for (scheme, n_per_group) in [
        ("int8@block7:trunc", 7),
        ("int8@row:trunc", 512),
        ("int4@block32:trunc", 32),
        ("int8@row:stochastic", 512),
        ("fp8_e4m3@row:trunc", 512),
        ("fp8_e4m3@block16:stochastic", 16),
        ("fp6_e2m3@block32:trunc", 32),
    ] {
        let values = weights();
        let held = quantized(scheme, &values, 512).unwrap();
        for (row, held) in values.chunks(512).zip(held.chunks(512)) {
            for (group, held) in row.chunks(n_per_group).zip(held.chunks(n_per_group)) {
                let greatest = group.iter().map(|x| x.abs()).fold(0.0, f32::max);
                let kept = group.iter().zip(held).filter(|(x, _)| x.abs() == greatest).map(|(_, y)| y.abs());
                kept.for_each(|y| assert!((y / greatest - 1.0).abs() < 1e-6, "{scheme}: {greatest:e} became {y:e}"));
            }
        }
    }
}

#[test]
fn truncating_twice_changes_nothing_more() {
    for scheme in [
        "int8@row:trunc",
        "int8@row:fullrange:trunc",
        "int4@block32:trunc",
        "int16@col:trunc",
        "fp8_e4m3@row:trunc",
        "fp8_e5m2@block16:stochastic",
        "int8@3x7:stochastic",
    ] {
        let once = quantized(scheme, &weights(), 512).unwrap();
        let twice = quantized(scheme, &once, 512).unwrap();
        assert_eq!(once.iter().zip(&twice).filter(|(a, b)| a != b).count(), 0, "{scheme}");
    }
}

#[test]
fn a_scale_without_rounding_truncates_what_lies_below_a_level() {
    // d is 1, a power of two: 126.99999 is below 127 and nothing was lost.
    let held = |scheme: &str| quantized(scheme, &[127.0, 127f32.next_down(), 64.0], 3).unwrap();
    assert_eq!(held("int8@row:trunc:scale=pow2"), [127.0, 126.0, 64.0]);
    assert_eq!(held("int8@row:trunc"), [127.0, 127.0, 64.0]);
}

/// The text of an error, with its advice on a line of its own.
fn told(error: &(impl std::fmt::Display + Advice)) -> String {
    match error.hint() {
        Some(Hint::Words(words)) => format!("{error}\nhint: {words}"),
        Some(hint) => format!("{error}\nhint: {hint:?}"),
        None => error.to_string(),
    }
}

/// F32 rounds nothing where the integers are at most 2^11 and d is a power of two. There, integer arithmetic alone gives
/// the symmetric definition.
#[test]
fn symmetric_integers_agree_with_integer_arithmetic_where_f32_is_exact() {
    for bits in 2..=8u32 {
        let qmax = (1i64 << (bits - 1)) - 1;
        for shift in 0..=4u32 {
            let top = qmax << shift;
            let xs: Vec<i64> = (-top..=top).collect();
            let values: Vec<f32> = xs.iter().map(|&x| x as f32 / 64.0).collect();
            let out = quantized(&format!("int{bits}@tensor"), &values, values.len()).unwrap();
            for (&x, y) in xs.iter().zip(&out) {
                // Nearest multiple of 2^shift, ties to the even quotient.
                let (floor, rest) = (x >> shift, x & ((1 << shift) - 1));
                let half = (1i64 << shift) / 2;
                let up = rest > half || (rest == half && shift > 0 && floor % 2 != 0);
                let expected = ((floor + i64::from(up)) << shift) as f32 / 64.0;
                assert_eq!(*y, expected, "int{bits}, {x}/64");
            }
        }
    }
}

#[test]
fn blocks_start_anew_in_each_row_and_the_last_may_be_short() {
    // Rows of 5 in blocks of 2: |1 2|3 4|8|. int2 has the levels −absmax, 0, absmax.
    let values = [1.0, 2.0, 3.0, 4.0, 8.0, 0.1, -0.3, 0.0, 0.0, -5.0];
    let out = quantized("int2@block2", &values, 5).unwrap();
    assert_eq!(out, [0.0, 2.0, 4.0, 4.0, 8.0, 0.0, -0.3, 0.0, 0.0, -5.0]);
}

#[test]
fn columns_share_a_scale_across_rows() {
    let out = quantized("int2@col", &[1.0, 10.0, -4.0, 4.0], 2).unwrap();
    assert_eq!(out, [0.0, 10.0, -4.0, 0.0]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let n_per_row = 1000;
    let values: Vec<f32> = (0..400 * n_per_row).map(|i| ((i as f32) * 0.7).sin() * (i % 13) as f32).collect();
    let extra = ["shuffle", "shuffle@block7", "jitter", "noise(20)", "noise(20)@row", "noise(20)@block32", "ggml:f16"];
    for scheme in SCHEMES.iter().chain(&extra) {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let out = quantized(scheme, &values, n_per_row).unwrap();
                let d = difference(&values, &out);
                (bits(&out), format!("{d:?}"))
            })
        };
        let (one, three) = (with(1), with(3));
        assert!(one.0 == three.0, "{scheme}: bits differ");
        assert_eq!(one.1, three.1, "{scheme}");
    }
}

#[test]
fn nonfinite_input_is_an_error_that_names_tensor_and_index_and_changes_nothing() {
    let mut values = vec![1.1f32; 200_000];
    values[150_001] = f32::NEG_INFINITY;
    values[150_002] = f32::NAN;
    let before = bits(&values);
    let ctx = TensorContext { name: "blk.3.attn_q.weight", n_per_row: 1000 };
    for scheme in ["bf16", "int8@row", "mxfp4", "nvfp4", "nf4", "jitter", "noise(20)", "shuffle", "zero", "ggml:f16"] {
        let error = scheme.parse::<Scheme>().unwrap().fake_quantize(&mut values, &ctx, &PlainCodec).unwrap_err();
        let text = told(&error);
        assert!(
            text.contains("blk.3.attn_q.weight") && text.contains("value 150001 is -inf") && text.contains("\nhint: "),
            "{text}"
        );
        assert_eq!(bits(&values), before);
    }
    let ggml = quantized("ggml:f16:nonfinite=keep", &values, 1000).unwrap();
    assert!(ggml[150_002].is_nan() && ggml[150_001] == f32::NEG_INFINITY && ggml[0] == 1.099_609_4);
}

#[test]
fn values_that_are_not_whole_rows_and_impossible_spans_are_errors() {
    assert!(matches!(quantized("bf16", &[1.0; 5], 2), Err(FakeQuantError::Shape { n: 5, n_per_row: 2, .. })));
    assert!(matches!(quantized("bf16", &[1.0; 5], 0), Err(FakeQuantError::Shape { .. })));
    assert!(matches!(quantized("int8@row:asym", &[f32::MAX, f32::MIN], 2), Err(FakeQuantError::RangeOverflow { .. })));
    assert!(matches!(quantized("q4_0", &[1.0; 32], 32), Err(FakeQuantError::Codec { .. })));
    assert_eq!(quantized("int8@row", &[], 0).unwrap(), Vec::<f32>::new());
}

#[test]
fn ggmls_plain_floats_equal_our_casts() {
    let values: Vec<f32> =
        (0..300_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1))).filter(|x| x.is_finite()).collect();
    for name in ["bf16", "f16"] {
        let (ours, ggmls) =
            (quantized(name, &values, 1).unwrap(), quantized(&format!("ggml:{name}"), &values, 1).unwrap());
        assert_eq!(bits(&ours), bits(&ggmls), "{name}");
    }
    assert_eq!(bits(&quantized("ggml:f32", &values, 1).unwrap()), bits(&values));
}

/// A codec with one type, which stores 4 values in a block and needs an importance matrix.
struct Demanding;

impl numerics::BlockCodec for Demanding {
    fn layout(&self, _: &str) -> Option<numerics::BlockLayout> {
        Some(numerics::BlockLayout { blck_size: 4, type_size: 2, requires_imatrix: true })
    }
    fn dequantize(&self, _: &str, _: &[u8], _: &mut [f32]) -> Result<(), numerics::CodecError> {
        unreachable!("nothing was quantized")
    }
    fn quantize(&self, _: &str, _: &[f32], _: usize, _: Option<&[f32]>) -> Result<Vec<u8>, numerics::CodecError> {
        unreachable!("ggml would abort here")
    }
}

fn scheme_with_table(options: &str, table: &str) -> Scheme {
    let scheme: Scheme = format!("codebook{options}:table=levels.txt").parse().unwrap();
    let table = CodebookTable::parse(table).unwrap();
    scheme.with_contents("0123456789abcdef0123456789abcdef0123456789abcdef", FileContents::Table(Arc::new(table)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_codebook_from_a_file_gives_the_references_bits(
        (values, n_per_row) in hard_tensor(),
        mut entries in prop::collection::btree_set(-1000i32..1000, 1..200),
        options in prop_oneof![Just("@row"), Just("@block16:clip=mse"), Just("@3x7:scale=f16"), Just("@tensor:scale=e8m0")],
    ) {
        entries.insert(1000);
        let text: Vec<String> = entries.iter().map(|e| format!("{}", *e as f32 / 16.0)).collect();
        let scheme = scheme_with_table(options, &text.join(", "));
        let ctx = TensorContext { name: "t", n_per_row };
        let mut fast = values.clone();
        scheme.fake_quantize(&mut fast, &ctx, &PlainCodec).unwrap();
        let plain = reference::fake_quantize(&scheme, &values, &ctx).unwrap().unwrap();
        prop_assert_eq!(bits(&fast), bits(&plain));
    }
}

#[test]
fn a_file_codebook_with_the_entries_of_nf4_is_nf4() {
    let entries: Vec<String> =
        numerics::formats::codebooks().next().expect("a row").entries.iter().map(f32::to_string).collect();
    let scheme = scheme_with_table("@block64", &entries.join("\n"));
    let values: Vec<f32> = (0..4096).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
    let mut held = values.clone();
    scheme.fake_quantize(&mut held, &TensorContext { name: "t", n_per_row: 1024 }, &PlainCodec).unwrap();
    assert_eq!(bits(&held), bits(&quantized("nf4", &values, 1024).unwrap()));
    assert_eq!(scheme.bits_per_weight(4096, 1024), 4.5);
}

#[test]
fn a_scheme_goes_by_what_is_in_its_file_once_that_is_known() {
    let read = scheme_with_table("@row", "-1 0 1");
    assert_eq!(read.to_string(), "codebook@row:table=blake3-0123456789abcdef0123456789abcdef");
    assert_eq!(read.with_file_shown(|name| format!("../{name}")), "codebook@row:table=../levels.txt");
    let elsewhere: Scheme = "codebook@row:table=other/levels.txt".parse().unwrap();
    assert_ne!(elsewhere, read);
    let contents = read.file().and_then(|file| file.contents()).cloned().unwrap();
    assert_eq!(elsewhere.with_contents("0123456789abcdef0123456789abcdef", contents.clone()), read);
    // As from a store: with the identity in place of the name.
    let stored: Scheme = read.to_string().parse().unwrap();
    assert_eq!(stored.with_contents("0123456789abcdef0123456789abcdef", contents.clone()), read);
    // Contents of another kind are ignored, and a scheme whose file was not read cannot be used.
    let imatrix = "q4_k:imatrix=f".parse::<Scheme>().unwrap().with_contents("00", contents);
    for scheme in [imatrix, elsewhere] {
        let error = scheme
            .fake_quantize(&mut [1.0; 256], &TensorContext { name: "t", n_per_row: 256 }, &PlainCodec)
            .unwrap_err();
        assert!(matches!(error, FakeQuantError::FileNotRead { .. }), "{error}");
    }
}

/// A codec with one type, which stores for each value the importance that came with it: what reaches ggml is what is
/// read back.
struct Telling;

impl numerics::BlockCodec for Telling {
    fn layout(&self, _: &str) -> Option<numerics::BlockLayout> {
        Some(numerics::BlockLayout { blck_size: 2, type_size: 8, requires_imatrix: false })
    }
    fn dequantize(&self, _: &str, bytes: &[u8], out: &mut [f32]) -> Result<(), numerics::CodecError> {
        PlainCodec.dequantize("f32", bytes, out)
    }
    fn quantize(
        &self,
        _: &str,
        x: &[f32],
        n_per_row: usize,
        imatrix: Option<&[f32]>,
    ) -> Result<Vec<u8>, numerics::CodecError> {
        let Some(importances) = imatrix else { return PlainCodec.quantize("f32", x, n_per_row, None) };
        assert_eq!(importances.len(), n_per_row);
        Ok(x.chunks(n_per_row).flat_map(|_| importances).flat_map(|i| i.to_le_bytes()).collect())
    }
}

#[test]
fn every_row_gets_the_importances_of_its_matrix_whichever_rows_are_handed_over() {
    // Three experts of 5 rows of 2.
    let (shape, importances) =
        (TensorShape { n_per_row: 2, rows: 5, n_matrices: 3 }, [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let imatrix = Imatrix::new(BTreeMap::from([("exps".to_owned(), importances.to_vec())]));
    let scheme: Scheme = "q4_k:imatrix=f".parse().unwrap();
    let scheme = scheme.with_contents("ab", FileContents::Imatrix(Arc::new(imatrix)));
    let ctx = TensorContext { name: "exps", n_per_row: 2 };
    let wanted: Vec<f32> = (0..15).flat_map(|row| importances[row / 5 * 2..row / 5 * 2 + 2].to_vec()).collect();
    for (first, rows) in [(0, 15), (0, 5), (5, 5), (3, 7), (14, 1)] {
        let mut values = vec![9.0; rows * 2];
        let holder = scheme.observer("exps", shape).and_then(|observer| observer.holder()).unwrap();
        holder.hold(first * 2, &mut values, &Telling).unwrap();
        assert_eq!(values, wanted[first * 2..(first + rows) * 2], "{rows} rows from {first}");
    }
    let refusal = |name: &str, n: usize| {
        let ctx = TensorContext { name, n_per_row: 2 };
        scheme.fake_quantize(&mut vec![9.0; n], &ctx, &Telling).map(drop).map_err(|error| told(&error)).unwrap_err()
    };
    // A whole tensor counts as three matrices if its rows can be divided so; the extents in the file decide.
    let mut values = vec![9.0; 30];
    scheme.fake_quantize(&mut values, &ctx, &Telling).unwrap();
    assert_eq!(values, wanted);
    assert!(refusal("exps", 28).contains("has 6 values for it, wanted 1 times a row of 2"), "{}", refusal("exps", 28));
    assert!(scheme.importance("exps", TensorShape::of(&[2, 3, 5])).is_err());
    // A tensor without an entry is quantized without importances, as llama-quantize does.
    let mut values = vec![9.0; 2];
    scheme.fake_quantize(&mut values, &TensorContext { name: "token_embd.weight", n_per_row: 2 }, &Telling).unwrap();
    assert_eq!(values, [9.0; 2]);
    assert!(scheme.no_importance("token_embd.weight").is_some() && scheme.no_importance("exps").is_none());
}

#[test]
fn what_ggml_would_abort_on_is_refused_before_it_is_called() {
    let refusal = |n_per_row: usize| {
        let mut values = vec![1.0; n_per_row];
        let ctx = TensorContext { name: "output_norm.weight", n_per_row };
        let scheme: Scheme = "iq2_xs".parse().unwrap();
        scheme.fake_quantize(&mut values, &ctx, &Demanding).map(drop).map_err(|error| told(&error)).unwrap_err()
    };
    let partial = refusal(6);
    assert!(partial.contains("blocks of 4 values, which do not divide a row of 6\nhint: "), "{partial}");
    let imatrix = refusal(8);
    assert!(imatrix.contains("hint: name a file written by llama-imatrix, iq2_xs:imatrix=FILE"), "{imatrix}");
    assert!(
        imatrix.contains("\"output_norm.weight\": ggml type iq2_xs cannot") && imatrix.contains("\nhint: "),
        "{imatrix}"
    );
}
