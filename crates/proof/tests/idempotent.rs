//! Which schemes leave alone what they gave: every scheme of every row of the table, twice over inputs of every kind.

use numerics::formats::{FORMATS, Family};
use numerics::{
    Clip, Format, Granularity, PlainCodec, Rounding, RoundingMode, ScaleFormat, Scheme, Symmetry, TensorContext,
};
use proof::formats::rows;
use proof::inputs::Draw;

/// Weights in 24 rows of 512: uniform ones, heavy-tailed ones, ones of one sign and of blocks of unequal size.
fn weights() -> Vec<f32> {
    let mut draw = Draw::new(31);
    let row = |row: usize, draw: &mut Draw| -> Vec<f32> {
        let of = |i: usize, u: f32| match row % 4 {
            0 => u * 0.05,
            1 => u * u * u * 2.0,
            2 => 1.0 + u * 0.3,
            _ => u * 2f32.powi((i / 16 % 5) as i32 - 2),
        };
        (0..512).map(|i| of(i, draw.unit())).collect()
    };
    (0..24).flat_map(|i| row(i, &mut draw)).collect()
}

fn held(scheme: &Scheme, values: &[f32]) -> Vec<f32> {
    let mut out = values.to_vec();
    let ctx = TensorContext { name: "blk.0.ffn_up.weight", n_per_row: 512 };
    scheme.fake_quantize(&mut out, &ctx, &PlainCodec).unwrap();
    out
}

/// The number of values that a second application changes.
fn changed_again(scheme: &Scheme, values: &[f32]) -> usize {
    let once = held(scheme, values);
    once.iter().zip(held(scheme, &once)).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
}

/// Whether docs/formats.md says that what the scheme gave stays as it is.
fn is_said_to_stay(scheme: &Scheme) -> bool {
    let to_nearest = |rounding| matches!(rounding, RoundingMode::Value(Rounding::Rne | Rounding::Away));
    let plain = scheme.scale() == ScaleFormat::F32 && scheme.clip() == Clip::Absmax;
    match scheme.format() {
        Format::Minifloat { .. } if scheme.granularity().is_none() => true,
        Format::Minifloat { exmy, .. } => plain && exmy.mantissa_bits() <= 10 && exmy.largest() < 2f32.powi(64),
        Format::Int { symmetry: Symmetry::Sym | Symmetry::FullRange, .. } | Format::Codebook(_) | Format::Table => {
            plain
        }
        Format::Int { bits, symmetry, rounding } => {
            let in_parts = matches!(scheme.granularity(), Some(Granularity::Tensor | Granularity::Col));
            let may_tie = symmetry == Symmetry::ZeroPoint && bits > 8;
            plain && to_nearest(rounding) && !in_parts && !may_tie
        }
        Format::Mx { .. } => true,
        Format::Nvfp4 { rounding } => to_nearest(rounding),
        _ => false,
    }
}

#[test]
fn what_schemes_gave_stays_where_the_page_says_so() {
    let (values, mut stay) = (weights(), 0);
    for row in FORMATS.iter().filter(|row| !matches!(row.family(), Family::Ggml | Family::Control)) {
        for scheme in rows::schemes(row).unwrap().iter().filter(|scheme| is_said_to_stay(scheme)) {
            assert_eq!(changed_again(scheme, &values), 0, "{scheme}");
            stay += 1;
        }
    }
    assert!(stay > 500, "{stay}");
}

#[test]
fn what_the_page_leaves_out_may_move_again() {
    for scheme in [
        "iq4_nl@row:clip=p90:scale=f32",
        "int12@row:scale=f16",
        "int8@block16:scale=f16hier",
        "e7m22@row",
        "int4@col:zeropoint",
        "int4@col:asym",
        "int8@row:zeropoint:trunc",
        "int16@block16:zeropoint",
        "nvfp4:trunc",
    ] {
        let scheme: Scheme = scheme.parse().unwrap();
        assert!(!is_said_to_stay(&scheme) && changed_again(&scheme, &weights()) > 0, "{scheme}");
    }
}
