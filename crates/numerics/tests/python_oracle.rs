//! Formats against numpy and ml_dtypes, through scripts/hold-with-numpy.py and the Python of `.tools`. The tests are
//! skipped with a message where that is missing.

#[path = "../../gguf/tests/support/skip.rs"]
mod skip;

use numerics::{ExMy, Format, PlainCodec, Scheme, TensorContext};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The number of random patterns beside the exhaustive ones; fewer in an unoptimised build.
const RANDOM: u32 = if cfg!(debug_assertions) { 200_000 } else { 10_000_000 };

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What the oracle makes of `values`; `None` without Python.
fn oracle(format: &str, values: &[f32]) -> Option<Vec<f32>> {
    let python = root().join(".tools/bin/python");
    let can = Command::new(&python).args(["-c", "import numpy, ml_dtypes"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        skip::skipped("no .tools/bin/python with numpy and ml_dtypes; scripts/setup-tools.sh installs it");
        return None;
    }
    let mut child = Command::new(python)
        .arg(root().join("scripts/hold-with-numpy.py"))
        .arg(format)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{format}: the oracle failed");
    let held: Vec<f32> = output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert_eq!(held.len(), values.len(), "{format}");
    Some(held)
}

fn by_assay(scheme: &str, values: &[f32], n_per_row: usize) -> Vec<f32> {
    let mut out = values.to_vec();
    let ctx = TensorContext { name: "output.weight", n_per_row };
    scheme.parse::<Scheme>().unwrap().fake_quantize(&mut out, &ctx, &PlainCodec).unwrap();
    out
}

fn patterns() -> impl Iterator<Item = f32> {
    let bf16 = (0..=u16::MAX).map(|h| f32::from_bits(u32::from(h) << 16));
    let f16 = (0..=u16::MAX).map(|h| half::f16::from_bits(h).to_f32());
    let random = (0..RANDOM).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1) ^ (i >> 7)));
    bf16.chain(f16).chain(random).filter(|x| x.is_finite())
}

/// Every value of a format of up to 16 bits and every middle of two, with their neighbours in F32.
fn corners(exmy: ExMy) -> Vec<f32> {
    let mut corners = Vec::new();
    for code in 0..=exmy.largest_code() {
        let (here, next) = (exmy.decode(code), exmy.decode(code + 1));
        for x in [here as f32, ((here + next) / 2.0) as f32] {
            corners.extend([x, x.next_up(), x.next_down(), -x, -x.next_up(), -x.next_down()]);
        }
    }
    corners.retain(|x| x.is_finite());
    corners
}

#[test]
fn minifloats_equal_ml_dtypes_on_all_16_bit_patterns_all_ties_and_random_values() {
    for (scheme, dtype) in [
        ("fp4_e2m1", "float4_e2m1fn"),
        ("fp6_e2m3", "float6_e2m3fn"),
        ("fp6_e3m2", "float6_e3m2fn"),
        ("fp8_e4m3", "float8_e4m3fn"),
        ("fp8_e5m2", "float8_e5m2"),
        ("e4m3", "float8_e4m3"),
        ("e3m4", "float8_e3m4"),
        ("e4m3:finite:bias=8", "float8_e4m3fnuz"),
        ("e5m2:finite:bias=16", "float8_e5m2fnuz"),
        ("e4m3:finite:bias=11", "float8_e4m3b11fnuz"),
        ("f16", "float16"),
        ("bf16", "bfloat16"),
    ] {
        let Format::Minifloat { exmy, .. } = scheme.parse::<Scheme>().unwrap().format() else { unreachable!() };
        let values: Vec<f32> = patterns().chain(corners(exmy)).collect();
        let Some(theirs) = oracle(&format!("cast:{dtype}"), &values) else { return };
        let ours = by_assay(scheme, &values, 1);
        for ((x, a), b) in values.iter().zip(&ours).zip(&theirs) {
            // ml_dtypes overflows to NaN where there is no infinity; we clamp to the largest value.
            let held = b.is_nan() && a.abs() == exmy.largest() && x.abs() > exmy.largest();
            // The `uz` formats have no negative zero.
            let zeros = dtype.ends_with("uz") && *a == 0.0 && *b == 0.0;
            assert!(a.to_bits() == b.to_bits() || held || zeros, "{scheme}: {x:e} became {a:e}, by {dtype} {b:e}");
        }
    }
}

/// Rows of 64 values whose scales lie far apart, some with one outlier, zeros, or a single level.
fn rows(n_rows: usize) -> Vec<f32> {
    let mut state = 11u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut values = Vec::new();
    for row in 0..n_rows {
        let scale = 2f32.powi((row % 21) as i32 - 10);
        values.extend((0..64).map(|i| match row % 6 {
            0 if i < 32 => 0.0,
            1 if i == 40 => 30.0 * scale,
            2 => 0.3 * scale,
            3 => (next() * 64.0).round() / 16.0 * scale,
            _ => next() * scale,
        }));
    }
    values
}

#[test]
fn block_formats_equal_a_second_implementation_in_numpy() {
    let values = rows(20_000);
    for (scheme, oracles) in [
        ("mxfp4", "mx:float4_e2m1fn"),
        ("mxfp6_e2m3", "mx:float6_e2m3fn"),
        ("mxfp6_e3m2", "mx:float6_e3m2fn"),
        ("mxfp8_e4m3", "mx:float8_e4m3fn"),
        ("mxfp8_e5m2", "mx:float8_e5m2"),
        ("mxint8", "mx:int8"),
        ("nvfp4", "nvfp4"),
    ] {
        let Some(theirs) = oracle(oracles, &values) else { return };
        for ((x, a), b) in values.iter().zip(by_assay(scheme, &values, 64)).zip(theirs) {
            // The sign of a zero is left open.
            assert!(a == b, "{scheme}: {x:e} became {a:e}, by numpy {b:e}");
        }
    }
}

#[test]
fn integers_equal_numpy_with_the_quotient_in_float64_but_next_to_a_tie() {
    let values = rows(5_000);
    for (scheme, bits, n) in
        [("int8@row", 8, 64), ("int4@block32", 4, 32), ("int2@block16", 2, 16), ("int16@row", 16, 64)]
    {
        let Some(theirs) = oracle(&format!("int:{bits}:{n}"), &values) else { return };
        let ours = by_assay(scheme, &values, 64);
        let qmax = f64::from((1u32 << (bits - 1)) - 1);
        for (group, (a, b)) in values.chunks(n).zip(ours.chunks(n).zip(theirs.chunks(n))) {
            let absmax = group.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let d = f64::from(absmax / qmax as f32);
            for ((x, a), b) in group.iter().zip(a).zip(b) {
                let steps = f64::from(*x) / d;
                // The quotient in F32 is off by half an ulp of up to qmax steps; a step itself is known to an ulp.
                let tie = (steps.abs().fract() - 0.5).abs() <= qmax * f64::from(f32::EPSILON);
                let one_step = (f64::from(*a) - f64::from(*b)).abs() <= d * 1.01;
                assert!(a == b || (tie && one_step), "{scheme}: {x:e} became {a:e}, by numpy {b:e}");
            }
        }
    }
}
