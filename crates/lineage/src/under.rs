//! What lies under quantized storage: the scale of a block still tells the precision of the weights that it was
//! computed from.
//!
//! ```text
//! Q4_0  d = max / −8      Q5_0  d = max / −16     Q8_0  d = absmax / 127      in F32, then stored as F16
//! Q4_1, Q5_1  m = min
//! ```
//!
//! With weights in BF16 the numerator has 8 significant bits. So of the 1024 F16 values of an octave the scale can only
//! take 128, which gives 3 bits of evidence for each distinct scale. Quantizers that search for the scale (k-quants,
//! importance matrices) leave no such trace, and then nothing is claimed.
//!
//! # Source
//! `quantize_row_q4_0_ref`, `_q4_1_ref`, `_q5_0_ref`, `_q5_1_ref`, `_q8_0_ref` (ggml-quants.c).

use numerics::{Minifloat, Rounding};
use words::whole;

/// The least evidence, in bits, for believing a source precision.
pub const MIN_UNDER_EVIDENCE_BITS: f64 = 48.0;

/// What the scales of a quantized tensor say about the weights before quantization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Under {
    /// Every block has a scale that BF16 weights give.
    Bf16 {
        /// The number of blocks. All of them agree.
        blocks: u64,
        /// The evidence: 3 bits for each distinct scale.
        evidence_bits: f64,
    },
    /// The scales were read and no coarser source shows.
    NotShown {
        /// The number of blocks with a scale that BF16 weights could give.
        agree: u64,
        /// The number of blocks that could have disagreed.
        blocks: u64,
    },
    /// The scales of this type tell nothing, for this reason.
    NotDecidable(&'static str),
}

/// Where a block stores what is derived from one weight, and what that weight was divided by.
struct Trace {
    type_size: usize,
    at: usize,
    divisor: f32,
}

fn trace(ty: &str) -> Option<Trace> {
    let (type_size, at, divisor) = match ty.to_ascii_lowercase().as_str() {
        "q4_0" => (18, 0, -8.0),
        "q4_1" => (20, 2, 1.0),
        "q5_0" => (22, 0, -16.0),
        "q5_1" => (24, 2, 1.0),
        "q8_0" => (34, 0, 127.0),
        _ => return None,
    };
    Some(Trace { type_size, at, divisor })
}

/// Reads the scales of a tensor of ggml type `ty` from all its `bytes`.
pub fn under(ty: &str, bytes: &[u8]) -> Under {
    let mut scales = BlockScales::of_type(ty);
    scales.add(bytes);
    scales.finish()
}

/// The scales of a quantized tensor, counted piece by piece.
pub struct BlockScales {
    /// Where the scales are; `None` for types that keep no trace of the source.
    trace: Option<Trace>,
    /// The number of blocks with each F16 scale, by its bits without the sign.
    counts: Vec<u64>,
}

impl BlockScales {
    /// No scales yet, of ggml type `ty`.
    pub fn of_type(ty: &str) -> BlockScales {
        BlockScales { trace: trace(ty), counts: vec![0; 1 << 15] }
    }

    /// Whether the type keeps a trace of the source, so that its bytes are worth reading.
    pub fn can_tell(&self) -> bool {
        self.trace.is_some()
    }

    /// Counts the scales of whole blocks.
    pub fn add(&mut self, bytes: &[u8]) {
        let Some(trace) = &self.trace else { return };
        for block in bytes.chunks_exact(trace.type_size) {
            let bits = u16::from_le_bytes([block[trace.at], block[trace.at + 1]]) & 0x7fff;
            self.counts[usize::from(bits)] += 1;
        }
    }

    /// What all the scales say.
    pub fn finish(&self) -> Under {
        let Some(trace) = &self.trace else {
            return Under::NotDecidable(
                "this type's scales are searched for or coded, so they keep no trace of the source",
            );
        };
        let agrees = |bits: u16| {
            let d = f16_to_f32(bits);
            let source = Minifloat::Bf16.cast(Rounding::Rne, d * trace.divisor);
            Minifloat::F16.cast(Rounding::Rne, source / trace.divisor) == d
        };
        // Among F16's subnormals there are too few bits, and zero, infinity and NaN are not evidence.
        let telling = || (0x0400..0x7c00u16).map(|bits| (bits, self.counts[usize::from(bits)])).filter(|(_, n)| *n > 0);
        let blocks: u64 = telling().map(|(_, n)| n).sum();
        let agree: u64 = telling().filter(|(bits, _)| agrees(*bits)).map(|(_, n)| n).sum();
        let evidence_bits = 3.0 * telling().count() as f64;
        match agree == blocks && evidence_bits >= MIN_UNDER_EVIDENCE_BITS {
            true => Under::Bf16 { blocks, evidence_bits },
            false if blocks == 0 || agree == blocks => Under::NotDecidable("too few distinct scales"),
            false => Under::NotShown { agree, blocks },
        }
    }
}

/// The value of a positive normal F16.
fn f16_to_f32(bits: u16) -> f32 {
    f32::from_bits((u32::from(bits) << 13) + ((127 - 15) << 23))
}

impl Under {
    /// The answer in words, to follow the stored type.
    pub fn note(&self) -> String {
        match self {
            Under::Bf16 { blocks, evidence_bits } => format!(
                "all {blocks} block scales are ones that BF16 weights give ({} bits of evidence): \
                 a BF16 source lies under it",
                whole(*evidence_bits)
            ),
            Under::NotShown { agree, blocks } => {
                format!("no coarser source shows in its scales ({agree} of {blocks} are ones that BF16 weights give)")
            }
            Under::NotDecidable(why) => format!("not decidable: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deterministic value in 0.5 … 1 that uses all bits of the significand.
    fn noise(i: u32) -> f32 {
        let bits = i.wrapping_mul(2_654_435_761).rotate_left(9).wrapping_mul(2_246_822_519);
        f32::from_bits(0x3f00_0000 | bits & 0x007f_ffff)
    }

    /// Blocks of a type with the scales that its reference quantizer would give them; the codes do not matter here.
    fn blocks(ty: &str, source: impl Fn(u32) -> f32) -> Vec<u8> {
        let trace = trace(ty).unwrap();
        (0..200)
            .flat_map(|i| {
                let scale = Minifloat::F16.cast(Rounding::Rne, source(i) / trace.divisor);
                let mut block = vec![0xaa; trace.type_size];
                let bits = half::f16::from_f32(scale).to_le_bytes();
                block[trace.at..trace.at + 2].copy_from_slice(&bits);
                block
            })
            .collect()
    }

    #[test]
    fn scales_made_from_bf16_weights_are_told_from_scales_made_from_finer_ones() {
        for ty in ["q4_0", "Q4_1", "q5_0", "q5_1", "q8_0"] {
            let bf16 = under(ty, &blocks(ty, |i| Minifloat::Bf16.cast(Rounding::Rne, noise(i))));
            assert!(matches!(bf16, Under::Bf16 { blocks: 200, .. }), "{ty}: {bf16:?}");
            for finer in [|i| noise(i), |i| Minifloat::F16.cast(Rounding::Rne, noise(i))] {
                let found = under(ty, &blocks(ty, finer));
                let Under::NotShown { agree, blocks } = found else { panic!("{ty}: {found:?}") };
                assert!(blocks == 200 && (5..60).contains(&agree), "one in eight by chance; {ty}: {agree}");
            }
        }
    }

    #[test]
    fn scales_that_are_counted_piece_by_piece_say_the_same() {
        let bytes = blocks("q4_0", noise);
        let mut scales = BlockScales::of_type("q4_0");
        bytes.chunks(18 * 7).for_each(|piece| scales.add(piece));
        assert_eq!(scales.finish(), under("q4_0", &bytes));
    }

    #[test]
    fn one_scale_repeated_and_types_without_a_trace_are_not_decidable() {
        assert!(matches!(under("q8_0", &blocks("q8_0", |_| 0.75)), Under::NotDecidable("too few distinct scales")));
        assert!(matches!(under("q4_0", &[]), Under::NotDecidable(_)));
        assert!(under("q4_K", &[0; 144]).note().starts_with("not decidable: "));
    }

    #[test]
    fn a_normal_f16_reads_as_what_it_is() {
        for bits in 0x0400..0x7c00u16 {
            assert_eq!(f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
        }
    }
}
