//! ggml's plain floats without any C++, compared with the `half` crate.

use half::{bf16, f16};
use numerics::{BlockCodec, CodecError, PlainCodec};

#[test]
fn every_half_precision_pattern_survives_bytes_to_f32_to_bytes() {
    for ty in ["F16", "bf16"] {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut values = vec![0.0f32; 65_536];
        PlainCodec.dequantize(ty, &bytes, &mut values).unwrap();
        let back = PlainCodec.quantize(ty, &values, 256, None).unwrap();
        for (i, (a, b)) in bytes.chunks(2).zip(back.chunks(2)).enumerate() {
            // A signalling NaN becomes quiet on the way, as with ggml.
            assert!(a == b || values[i].is_nan(), "{ty} pattern {i:#06x}");
        }
    }
}

#[test]
fn every_half_precision_pattern_is_what_half_says() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for (ty, of_half) in
        [("f16", (|h| f16::from_bits(h).to_f32()) as fn(u16) -> f32), ("bf16", |h| bf16::from_bits(h).to_f32())]
    {
        let mut values = vec![0.0f32; 65_536];
        PlainCodec.dequantize(ty, &bytes, &mut values).unwrap();
        for (x, h) in values.into_iter().zip(0..=u16::MAX) {
            let wanted = of_half(h);
            assert!(x.to_bits() == wanted.to_bits() || x.is_nan() && wanted.is_nan(), "{ty} pattern {h:#06x}: {x}");
        }
    }
}

#[test]
fn a_wrong_byte_count_and_an_unknown_type_are_errors() {
    let mut out = [0.0; 3];
    assert_eq!(
        PlainCodec.dequantize("f16", &[0; 5], &mut out),
        Err(CodecError::ByteCount { ty: "f16".into(), n: 3, found: 5, wanted: 6 })
    );
    assert!(matches!(PlainCodec.quantize("q4_0", &[1.0], 1, None), Err(CodecError::UnknownType { .. })));
    assert!(matches!(PlainCodec.quantize("f32", &[1.0], 0, None), Err(CodecError::Shape { .. })));
    assert!(PlainCodec.layout("q4_0").is_none());
}
