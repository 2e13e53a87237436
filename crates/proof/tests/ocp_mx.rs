//! The MX formats against the conversion of the OCP Microscaling Formats specification 1.0, section 6.3.

use numerics::{PlainCodec, Scheme, TensorContext};
use proof::oracle::ocp_mx::{ELEMENTS, convert_rows};

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
        let theirs = convert_rows(format, &values, 80);
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
