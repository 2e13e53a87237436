//! Converter transforms x = fl(c + g) with g on the BF16 grid: the checkpoint held g, the converter
//! added a constant before it wrote F32, and the result is off every grid.
//!
//! A value counts as evidence only where the grid forces bits to zero:
//!
//! ```text
//! need(x) = exponent of the BF16 spacing at g − exponent of the stored spacing at x, at least 0
//! ```
//!
//! Very close to c nearly every F32 is c plus some BF16 (need = 0), so noise around 1 proves nothing.

use crate::census::StoredPrecision;
use crate::grid::{CHUNK, exponent};
use numerics::{Minifloat, Rounding};
use rayon::prelude::*;
use std::fmt;

/// An offset is believed from this many bits on.
pub const MIN_OFFSET_EVIDENCE_BITS: f64 = 48.0;

/// An offset is believed only if this share of the values has it, and of those that could fail.
const MIN_PASS_RATE: f64 = 0.98;

/// A constant that a converter adds to BF16 weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// As printed: `1`, `1/5`, `5^-1.5`.
    pub name: &'static str,
    /// In F32, in which converters add.
    pub value: f32,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} + BF16", self.name)
    }
}

/// Constants that converters are known to add.
///
/// # Source
/// llama.cpp `convert_hf_to_gguf.py`: norm weights of Gemma, Nemotron, Qwen3-Next, MiniMax and PLaMo
/// (+1), PLaMo's `post_mixer_norm` (+1/5) and `post_mlp_norm` (+1/5^1.5).
pub const KNOWN_OFFSETS: [Offset; 3] = [
    Offset { name: "1", value: 1.0 },
    Offset { name: "1/5", value: 0.2 },
    Offset { name: "5^-1.5", value: 0.089_442_72 },
];

/// How well one offset explains a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OffsetFit {
    pub(crate) offset: Offset,
    /// Finite values that are the offset plus a BF16 value.
    pub(crate) hits: u64,
    pub(crate) evidence_bits: f64,
}

/// The known offset with the most evidence, if any passes.
///
/// All values must agree and are counted, but to be believed the distinct ones must be evidence enough:
/// the same value met a thousand times is one coincidence. Those of the first [`CHUNK`] values will do,
/// and norms are shorter than that.
pub(crate) fn best_fit(values: &[f32], stored: StoredPrecision) -> Option<OffsetFit> {
    let mut distinct = values[..values.len().min(CHUNK)].to_vec();
    distinct.sort_unstable_by(f32::total_cmp);
    distinct.dedup();
    let fits = KNOWN_OFFSETS.into_iter().filter_map(|offset| {
        let all = count(values, stored, offset)?;
        let believed = count(&distinct, stored, offset)?.evidence_bits() >= MIN_OFFSET_EVIDENCE_BITS;
        believed.then(|| OffsetFit { offset, hits: all.hits, evidence_bits: all.evidence_bits() })
    });
    fits.reduce(|best, next| if next.evidence_bits > best.evidence_bits { next } else { best })
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    hits: u64,
    misses: u64,
    /// Values that the grid forces to have zero bits, and those of them that do not.
    constrained: u64,
    constrained_misses: u64,
    /// Σ need over constrained hits.
    forced_bits: u64,
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        Counts {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            constrained: self.constrained + other.constrained,
            constrained_misses: self.constrained_misses + other.constrained_misses,
            forced_bits: self.forced_bits + other.forced_bits,
        }
    }

    /// What describing the tensor by this offset saves: the forced bits of the hits, less the bits to
    /// say which offset it is and which values miss. Values that lie anywhere save b bits so with a
    /// probability of at most 2^−b (Kraft), which bounds the binomial tail of the hits as well.
    fn evidence_bits(&self) -> f64 {
        let misses = self.constrained_misses;
        let names = libm::log2((self.constrained + 1) as f64) + libm::log2(KNOWN_OFFSETS.len() as f64);
        self.forced_bits as f64 - log2_choose(self.constrained, misses) - names
    }
}

/// log2 of the number of ways to choose `k` of `n`.
fn log2_choose(n: u64, k: u64) -> f64 {
    (0..k.min(n - k)).map(|i| libm::log2((n - i) as f64 / (i + 1) as f64)).sum()
}

/// Counts over all values, or `None` as soon as too many miss for the offset to be believed.
fn count(values: &[f32], stored: StoredPrecision, offset: Offset) -> Option<Counts> {
    let tolerated = |of: u64| (of as f64 * (1.0 - MIN_PASS_RATE)) as u64;
    let mut counts = Counts::default();
    // Parts in order, each spread over the threads: whether to go on does not depend on their number.
    for part in values.chunks(16 * CHUNK) {
        let of_part =
            part.par_chunks(CHUNK).map(|p| count_chunk(p, stored, offset)).reduce(Counts::default, Counts::plus);
        counts = counts.plus(of_part);
        if counts.misses > tolerated(values.len() as u64) {
            return None;
        }
    }
    let believable = counts.misses <= tolerated(counts.hits + counts.misses)
        && counts.constrained_misses <= tolerated(counts.constrained);
    believable.then_some(counts)
}

fn count_chunk(values: &[f32], stored: StoredPrecision, offset: Offset) -> Counts {
    let mut counts = Counts::default();
    for &x in values.iter().filter(|x| x.is_finite()) {
        let g = Minifloat::Bf16.cast(Rounding::Rne, (f64::from(x) - f64::from(offset.value)) as f32);
        let hit = stored.hold(g + offset.value) == x;
        let need = match g == 0.0 || x == 0.0 {
            true => 0,
            false => bf16_spacing_exponent(g) - stored.spacing_exponent(exponent(x)),
        };
        counts.hits += u64::from(hit);
        counts.misses += u64::from(!hit);
        if need >= 1 {
            counts.constrained += 1;
            counts.constrained_misses += u64::from(!hit);
            counts.forced_bits += if hit { need as u64 } else { 0 };
        }
    }
    counts
}

fn bf16_spacing_exponent(g: f32) -> i32 {
    if g.is_infinite() {
        return 0;
    }
    exponent(g).max(Minifloat::Bf16.min_exponent()) - Minifloat::Bf16.mantissa_bits() as i32
}

impl StoredPrecision {
    /// An F32 value as it reads back from storage.
    fn hold(self, x: f32) -> f32 {
        match self {
            StoredPrecision::F16 => Minifloat::F16.cast(Rounding::Rne, x),
            _ => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_what_f32_arithmetic_gives() {
        assert_eq!(KNOWN_OFFSETS[1].value, 1.0 / 5.0);
        assert_eq!(KNOWN_OFFSETS[2].value, (1.0 / 5.0f64.powf(1.5)) as f32);
    }

    #[test]
    fn choosing_matches_pascals_triangle() {
        assert_eq!(log2_choose(10, 0), 0.0);
        assert!((log2_choose(10, 3) - 120f64.log2()).abs() < 1e-12);
        assert!((log2_choose(10, 7) - 120f64.log2()).abs() < 1e-12);
    }

    #[test]
    fn one_plus_a_half_forces_fifteen_bits_and_one_plus_an_ulp_none() {
        let counts = |x| count_chunk(&[x], StoredPrecision::F32, KNOWN_OFFSETS[0]);
        assert_eq!(counts(1.5), Counts { hits: 1, constrained: 1, forced_bits: 15, ..Default::default() });
        assert_eq!(counts(1.0f32.next_up()), Counts { hits: 1, ..Default::default() });
        assert_eq!(counts(1.0), Counts { hits: 1, ..Default::default() });
        assert_eq!(counts(0.0), Counts { hits: 1, ..Default::default() });
        assert_eq!(counts(1.5f32.next_up()).constrained_misses, 1);
    }
}
