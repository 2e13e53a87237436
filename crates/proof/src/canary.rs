//! Canaries: inputs whose result shows what the machine, the compiler or a library does where a definition leaves it open.
//!
//! `a·b + c` may be rounded twice or, by a fused multiply-add, once. A C compiler may choose ("contraction"); gguf-py on
//! numpy rounds twice. The two differ in the last bit and, once quantized, in a code. Each canary below gives one bit
//! pattern for each way; no third one is possible.

use crate::check::{Area, Check, Tally};
use crate::oracle::ggml::{Contraction, quantize};
use numerics::{BlockCodec, PlainCodec, Scheme, TensorContext};
use std::hint::black_box;

/// The number 1 + 2^−12. Its square less 1 + 2^−11 is 0 when the product is rounded first, and 2^−24 when it is not.
const SQUARE: f32 = 1.0 + 1.0 / 4096.0;
const LESS: f32 = -(1.0 + 2.0 / 4096.0);
const FUSED_SQUARE: f32 = 1.0 / 16_777_216.0;

/// The end of the canary block for `q4_1`: d = 9/128/15 = 0.0046875.
const END: f32 = 9.0 / 128.0;

/// The bits of a value just below d/2. Times 1/d it is 0.5 − 1.4·2^−25. If that is rounded, it is 0.5 − 2^−25; its sum
/// with 0.5 lies halfway between 1 − 2^−24 and 1 and goes to 1. If it is not rounded, the sum is nearer to 1 − 2^−24. ggml
/// cuts off the fraction, so the code is 1 in the first case and 0 in the second.
const HALF_A_STEP: u32 = 0x3b19_9999;

/// The canary block: zeros, with the value in question at index 1 and the end of the range at index 31.
pub fn block() -> [f32; 32] {
    let mut block = [0.0f32; 32];
    block[1] = f32::from_bits(HALF_A_STEP);
    block[31] = END;
    block
}

/// Finds out how the codec's quantizers multiply and add; `None` when the canary block comes out in neither way.
pub fn of_ggml(codec: &dyn BlockCodec) -> Option<Contraction> {
    let found = codec.quantize("q4_1", &block(), 32, None).ok()?;
    [Contraction::Separate, Contraction::Fused]
        .into_iter()
        .find(|&way| quantize("q4_1", &block(), way).is_some_and(|bytes| bytes == found))
}

/// The number of canaries.
pub(crate) const N_CANARIES: usize = 4;

/// Makes the check of every canary.
pub fn checks(codec: &dyn BlockCodec, put: &mut dyn FnMut(Check)) {
    put(of_this_program());
    put(of_ggml_quantizers(codec));
    put(below_half());
    put(subnormals());
}

/// Checks that assay itself rounds twice. Otherwise stored numbers would depend on the machine that computed them.
fn of_this_program() -> Check {
    let (a, c) = (black_box(SQUARE), black_box(LESS));
    let (ours, fused) = (a * a + c, a.mul_add(a, c));
    let mut tally = Tally::default();
    tally.hold(ours == 0.0, || format!("(1 + 2^−12)² − (1 + 2^−11) is {ours:e}: products and sums are fused"));
    tally.hold(fused == FUSED_SQUARE, || format!("a fused multiply-add gives {fused:e}, wanted {FUSED_SQUARE:e}"));
    let mut check =
        tally.check(Area::Machine, "canary: assay rounds products and sums apart", &["this program", "worked by hand"]);
    if check.detail.is_empty() {
        check.detail = "(1 + 2^−12)² − (1 + 2^−11) is 0; fused it would be 2^−24".into();
    }
    check
}

/// Checks that ggml's quantizers multiply and add in one of the two ways, and says which.
fn of_ggml_quantizers(codec: &dyn BlockCodec) -> Check {
    let name = "canary: ggml's quantizers, fused or not";
    let mut tally = Tally::default();
    let answers =
        [Contraction::Separate, Contraction::Fused].map(|way| quantize("q4_1", &block(), way).unwrap_or_default());
    tally.hold(answers[0] != answers[1], || {
        "the canary cannot tell the two ways apart: both give the same block".into()
    });
    let way = of_ggml(codec);
    tally.hold(way.is_some(), || {
        let found = codec.quantize("q4_1", &block(), 32, None);
        format!("ggml gives {found:02x?}, wanted {:02x?} (rounded twice) or {:02x?} (fused)", answers[0], answers[1])
    });
    let mut check = tally.check(Area::Machine, name, &["ggml", "q4_1 both ways"]);
    match way {
        Some(Contraction::Separate) => {
            check.detail = "rounded twice: the code of the canary is 1; bytes equal gguf-py's".into();
        }
        Some(Contraction::Fused) => {
            check.detail = "fused: the code of the canary is 0; single codes may differ from gguf-py's".into();
        }
        None => {}
    }
    check
}

/// Checks that the largest F32 below one half is rounded to 0; floor(x + 0.5) would make it 1.
fn below_half() -> Check {
    let mut tally = Tally::default();
    for (scheme, wanted) in [("int8@row", 0.0f32), ("int8@row:away", 0.0), ("int8@row:trunc", 0.0)] {
        let mut values = [127.0f32, crate::inputs::BELOW_HALF];
        let ctx = TensorContext { name: "canary", n_per_row: 2 };
        let held = scheme
            .parse::<Scheme>()
            .map_err(|error| error.to_string())
            .and_then(|scheme| scheme.fake_quantize(&mut values, &ctx, &PlainCodec).map_err(|error| error.to_string()));
        tally.hold(held.is_ok() && values[1] == wanted, || format!("{scheme}: 0.49999997 steps became {}", values[1]));
    }
    tally.check(Area::Machine, "canary: 0.49999997 is rounded down", &["this program", "worked by hand"])
}

/// Checks that subnormals are kept: a processor that flushes them to zero loses the smallest values of every format.
fn subnormals() -> Check {
    let mut tally = Tally::default();
    let smallest = black_box(f32::from_bits(1));
    tally.hold(smallest * black_box(2.0) == f32::from_bits(2), || {
        "2 · 2^−149 is not 2^−148: subnormals are flushed".into()
    });
    tally
        .hold(black_box(f32::MIN_POSITIVE) / black_box(2.0) > 0.0, || "2^−126 / 2 is 0: subnormals are flushed".into());
    tally.check(Area::Machine, "canary: subnormals are kept", &["this program", "worked by hand"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_block_tells_the_two_ways_apart_in_one_code() {
        let [separate, fused] =
            [Contraction::Separate, Contraction::Fused].map(|way| quantize("q4_1", &block(), way).expect("q4_1"));
        let differing: Vec<usize> = (0..20).filter(|&i| separate[i] != fused[i]).collect();
        // Byte 4 + 1 holds the codes of values 1 and 17.
        assert_eq!(differing, [5]);
        assert_eq!((separate[5] & 15, fused[5] & 15), (1, 0));
    }
}
