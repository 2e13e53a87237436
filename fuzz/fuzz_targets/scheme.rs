//! Any text is a scheme or refused; a scheme prints what parses to it again, and quantizes any finite values.

#![no_main]

use libfuzzer_sys::fuzz_target;
use numerics::{PlainCodec, Scheme, TensorContext, difference};

/// Ordinary values, zeros of both signs, subnormals and the largest of F32; three rows and a half of a block each.
const VALUES: [f32; 48] = {
    let mut values = [0.0; 48];
    let mut i = 0;
    while i < 48 {
        values[i] = (i as f32 - 20.0) * 0.37;
        i += 1;
    }
    values[1] = -0.0;
    values[5] = 1e-45;
    values[6] = -1e-39;
    values[17] = f32::MAX;
    values[40] = -3e38;
    values
};

fuzz_target!(|text: &str| {
    let scheme: Scheme = match text.parse() {
        Ok(scheme) => scheme,
        Err(error) => {
            let said = format!("{error}");
            assert!(said.lines().skip(1).all(|line| line.starts_with("hint: ")), "{said:?}");
            assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
            return;
        }
    };
    let printed = scheme.to_string();
    let again: Scheme = printed.parse().unwrap_or_else(|e| panic!("{text:?} prints {printed:?}: {e}"));
    assert_eq!(again, scheme, "{text:?} prints {printed:?}");
    assert_eq!(again.to_string(), printed, "{text:?}");
    let bits = scheme.bits_per_weight(48, 16);
    // What a codebook takes is known when its file has been read.
    assert!(bits >= 0.0 || (bits.is_nan() && scheme.file().is_some()), "{printed}: {bits} bits");

    let mut values = VALUES;
    let context = TensorContext { name: "blk.0.attn_q.weight", n_per_row: 16 };
    if scheme.fake_quantize(&mut values, &context, &PlainCodec).is_ok() {
        let found = difference(&VALUES, &values);
        assert!(!values.iter().any(|x| x.is_nan()), "{printed}: {values:?}");
        assert_eq!(found.n, 48);
    }
});
