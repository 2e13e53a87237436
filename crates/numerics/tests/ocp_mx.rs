//! The MX formats against the conversion of the OCP Microscaling Formats specification 1.0, section 6.3,
//! written here a second time from its text: in f64, with logarithms and powers, and nothing of the crate.

use numerics::{PlainCodec, Scheme, TensorContext};

/// An element format as the tables of section 5.3 have it.
struct Element {
    scheme: &'static str,
    /// Exponent of the largest normal value.
    emax: i32,
    /// Exponent of the smallest normal value, below which the spacing stays; the integer has one spacing.
    emin: i32,
    /// Bits below the binary point at that exponent.
    mantissa_bits: i32,
    max: f64,
}

const ELEMENTS: [Element; 6] = [
    Element { scheme: "mxfp4", emax: 2, emin: 0, mantissa_bits: 1, max: 6.0 },
    Element { scheme: "mxfp6_e2m3", emax: 2, emin: 0, mantissa_bits: 3, max: 7.5 },
    Element { scheme: "mxfp6_e3m2", emax: 4, emin: -2, mantissa_bits: 2, max: 28.0 },
    Element { scheme: "mxfp8_e4m3", emax: 8, emin: -6, mantissa_bits: 3, max: 448.0 },
    Element { scheme: "mxfp8_e5m2", emax: 15, emin: -14, mantissa_bits: 2, max: 57_344.0 },
    // Two's complement with an implicit scale of 2^−6: 1.984375 at most, and one spacing everywhere.
    Element { scheme: "mxint8", emax: 0, emin: 0, mantissa_bits: 6, max: 127.0 / 64.0 },
];

/// floor(log2 x), which `log2` alone misses by rounding just below a power of two.
fn exponent(x: f64) -> i32 {
    let guess = x.log2().floor() as i32;
    (guess - 1..=guess + 1).rev().find(|&e| 2f64.powi(e) <= x).expect("a guess that is off by one at most")
}

fn element(format: &Element, v: f64) -> f64 {
    if v == 0.0 {
        return 0.0;
    }
    let e = if format.scheme == "mxint8" { 0 } else { exponent(v.abs()).max(format.emin) };
    let spacing = 2f64.powi(e - format.mantissa_bits);
    ((v / spacing).round_ties_even() * spacing).clamp(-format.max, format.max)
}

fn convert(format: &Element, block: &[f32]) -> Vec<f32> {
    let greatest = block.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max);
    if greatest == 0.0 {
        return vec![0.0; block.len()];
    }
    let shared = (exponent(greatest) - format.emax).clamp(-127, 127);
    let x = 2f64.powi(shared);
    block.iter().map(|&v| (element(format, f64::from(v) / x) * x) as f32).collect()
}

fn by_assay(scheme: &str, values: &[f32], n_per_row: usize) -> Vec<f32> {
    let mut out = values.to_vec();
    let ctx = TensorContext { name: "blk.0.ffn_up.weight", n_per_row };
    scheme.parse::<Scheme>().unwrap().fake_quantize(&mut out, &ctx, &PlainCodec).unwrap();
    out
}

/// Blocks of every kind that matters, 32 values each but the last of a row of 80.
fn rows() -> Vec<f32> {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut values = Vec::new();
    for row in 0..4000u32 {
        let scale = 2f32.powi(next() as i32 % 100);
        values.extend((0..80u32).map(|i| match row % 8 {
            // Any finite pattern.
            0 => f32::from_bits(next() & 0xbfff_ffff),
            1 => (f32::from(next() as u16) / 32_768.0 - 1.0) * scale,
            // Small multiples of a power of two: ties everywhere.
            2 => (f32::from(next() as u8) - 127.5) * scale,
            3 => f32::from(next() as u8 % 64) / 32.0 * scale,
            // One outlier, a constant, zeros of both signs, subnormals.
            4 if i == row % 80 => 1000.0,
            4 => f32::from(next() as u8) / 300.0,
            5 => 0.75 * scale,
            6 if i % 7 == 0 => f32::from_bits(next() & 0x807f_ffff),
            6 => 0.0f32.copysign(f32::from(next() as u8) - 128.0),
            // Just below a power of two, where the scale's exponent turns.
            _ => (2f32.powi(i as i32 % 5)).next_down() * scale,
        }));
    }
    values
}

#[test]
fn every_mx_format_equals_the_conversion_of_the_specification() {
    let values = rows();
    for format in &ELEMENTS {
        let ours = by_assay(format.scheme, &values, 80);
        let theirs: Vec<f32> = values
            .chunks(80)
            .flat_map(|row| row.chunks(32).flat_map(|b| convert(format, b)).collect::<Vec<_>>())
            .collect();
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            // Only the sign of a zero is left open by the specification.
            assert!(a == b, "{} value {i}: {:e} became {a:e}, by the specification {b:e}", format.scheme, values[i]);
        }
    }
}

#[test]
fn a_block_worked_out_by_hand() {
    // Greatest magnitude 7: exponent 2, as is E2M1's, so X = 1. 7 is beyond 6; 2.5 and 5 are ties.
    let mut block = vec![0.0f32; 32];
    block[..8].copy_from_slice(&[7.0, -2.5, 5.0, 0.25, 0.26, -0.74, 3.5, 1.25]);
    assert_eq!(by_assay("mxfp4", &block, 32)[..8], [6.0, -2.0, 4.0, 0.0, 0.5, -0.5, 4.0, 1.0]);
    // Exponent 2 and the integer's 0: X = 4, steps of 4/64, up to 127/64·4 = 7.9375.
    block[0] = 7.97;
    assert_eq!(by_assay("mxint8", &block, 32)[..4], [7.9375, -2.5, 5.0, 0.25]);
    // The larger block scale of one outlier takes its neighbours along: X = 2^10/2^2.
    block[0] = 1024.0;
    assert_eq!(by_assay("mxfp4", &block, 32)[..3], [1024.0, -0.0, 0.0]);
}
