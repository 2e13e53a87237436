//! Converter transforms x = fl(f(g)) of BF16 values g. The checkpoint had g, and the converter added a constant or took
//! −exp before it wrote F32. The result is off every grid.
//!
//! A value counts as evidence only where the grid forces bits to zero:
//!
//! ```text
//! need(x) = exponent of the BF16 spacing at g − exponent of the stored spacing at x, at least 0
//! ```
//!
//! Very close to c nearly every F32 is c plus some BF16 (need = 0), so noise around 1 proves nothing.

use crate::census::StoredPrecision;
use crate::coded::Counted;
use crate::grid::exponent;
use crate::small_float::last_bit;
use numerics::{Minifloat, Rounding};
use std::fmt;

/// The least evidence, in bits, for believing an offset.
pub const MIN_OFFSET_EVIDENCE_BITS: f64 = 48.0;

/// The least share of the values that must have an offset, and of those that could fail to have it.
const MIN_PASS_RATE: f64 = 0.98;

/// A constant that a converter adds to BF16 weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// The name as it is printed, such as `1`, `1/5` or `5^-1.5`; empty where the value itself is printed.
    pub name: &'static str,
    /// The value in F32, in which converters add.
    pub value: f32,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            "" => write!(f, "{} + BF16", self.value),
            name => write!(f, "{name} + BF16"),
        }
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

/// What a converter did to BF16 weights before it wrote them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transform {
    /// The converter added a constant.
    Plus(Offset),
    /// The converter took −exp, as for the `ssm_a` of Mamba and similar models.
    NegExp,
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transform::Plus(offset) => offset.fmt(f),
            Transform::NegExp => f.write_str("-exp(BF16)"),
        }
    }
}

/// How well one transform explains a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TransformFit {
    pub(crate) transform: Transform,
    /// The number of finite values that are the transform of a BF16 value.
    pub(crate) hits: u64,
    pub(crate) evidence_bits: f64,
}

/// The transform with the most evidence; `None` if none passes.
///
/// All values are counted and must agree. But the distinct values alone must be enough evidence: a value that occurs a
/// thousand times is one coincidence. The first [`CHUNK`](crate::grid::CHUNK) values are enough for that, and norms are
/// shorter.
pub(crate) fn best_fit(values: Counted<'_>, stored: StoredPrecision) -> Option<TransformFit> {
    let distinct = values.some_distinct();
    let fit = |transform: Transform, name_bits: f64| {
        let look = |x: f32, n: u64| match transform {
            Transform::Plus(offset) => look_at_offset(x, n, stored, offset.value),
            Transform::NegExp => look_at_neg_exp(x, n),
        };
        // The few distinct values come first: nearly every transform fails on them for nearly every tensor.
        let few = Counts::of(Counted::Each(&distinct), look);
        let is_believed = few.is_believable() && few.evidence_bits(name_bits) >= MIN_OFFSET_EVIDENCE_BITS;
        let all = is_believed.then(|| Counts::of(values, look)).filter(Counts::is_believable)?;
        Some(TransformFit { transform, hits: all.hits, evidence_bits: all.evidence_bits(name_bits) })
    };
    let known_bits = libm::log2(KNOWN_OFFSETS.len() as f64 + 1.0);
    let known = KNOWN_OFFSETS.map(|offset| (Transform::Plus(offset), known_bits));
    let neg_exp = (stored == StoredPrecision::F32).then_some((Transform::NegExp, known_bits));
    let found =
        dyadic_candidates(&distinct).into_iter().map(|(offset, bits)| (Transform::Plus(offset), known_bits + bits));
    let fits = known.into_iter().chain(neg_exp).chain(found).filter_map(|(transform, bits)| fit(transform, bits));
    fits.reduce(|best, next| if next.evidence_bits > best.evidence_bits { next } else { best })
}

/// Constants that no converter is known to add must be multiples of two to the minus this.
const FINEST_DYADIC: i32 = 8;
/// The share of the values from which such a constant is read.
const FINEST_SHARE: f64 = 0.02;

/// Constants that the values themselves suggest, with the bits that it takes to name each. c + g has fine bits where g
/// is small, so the values whose last bit is finest lie around c.
fn dyadic_candidates(distinct: &[f32]) -> Vec<(Offset, f64)> {
    let mut by_last_bit: Vec<(i32, f32)> =
        distinct.iter().filter(|x| **x != 0.0 && x.is_finite()).map(|&x| (last_bit(x), x)).collect();
    by_last_bit.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    by_last_bit.truncate(((by_last_bit.len() as f64 * FINEST_SHARE) as usize).max(1));
    by_last_bit.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
    let Some(median) = by_last_bit.get(by_last_bit.len() / 2).map(|(_, x)| f64::from(*x)) else { return Vec::new() };
    let mut candidates: Vec<(Offset, f64)> = Vec::new();
    for places in 0..=FINEST_DYADIC {
        let steps = (median * libm::exp2(places.into())).round();
        let value = (steps * libm::exp2((-places).into())) as f32;
        let is_new = candidates.iter().map(|(c, _)| c).chain(&KNOWN_OFFSETS).all(|c| c.value != value);
        if value != 0.0 && is_new && value.abs() <= MAX_DYADIC {
            // The name consists of the sign, the places and the multiple.
            let bits = 1.0 + libm::log2(f64::from(FINEST_DYADIC + 1)) + libm::log2(steps.abs() + 1.0);
            candidates.push((Offset { name: "", value }, bits));
        }
    }
    candidates
}

/// The largest constant that is tried.
const MAX_DYADIC: f32 = 1024.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    hits: u64,
    misses: u64,
    /// The number of values whose bits the grid forces to zero somewhere.
    constrained: u64,
    constrained_misses: u64,
    /// Σ need over those of them that are hits.
    forced_bits: u64,
}

impl Counts {
    fn of(values: Counted<'_>, look: impl Fn(f32, u64) -> Counts + Sync) -> Counts {
        let [hits, misses, constrained, constrained_misses, forced_bits] = values.sum_u64(|x, n| {
            let Counts { hits, misses, constrained, constrained_misses, forced_bits } = look(x, n);
            [hits, misses, constrained, constrained_misses, forced_bits]
        });
        Counts { hits, misses, constrained, constrained_misses, forced_bits }
    }

    /// The counts of a value that is, or is not, the transform of a BF16 value, where the grid forces `need` bits.
    fn one(hit: bool, need: i32, n: u64) -> Counts {
        let constrained = need >= 1;
        Counts {
            hits: u64::from(hit) * n,
            misses: u64::from(!hit) * n,
            constrained: u64::from(constrained) * n,
            constrained_misses: u64::from(constrained && !hit) * n,
            forced_bits: if constrained && hit { need as u64 * n } else { 0 },
        }
    }

    fn is_believable(&self) -> bool {
        let tolerated = |of: u64| (of as f64 * (1.0 - MIN_PASS_RATE)) as u64;
        self.misses <= tolerated(self.hits + self.misses) && self.constrained_misses <= tolerated(self.constrained)
    }

    /// The bits that describing the tensor by this transform saves: the forced bits of the hits, less the bits to name
    /// the transform and the values that miss. Values that lie anywhere save b bits with a probability of at most 2^−b
    /// (Kraft). This also bounds the binomial tail of the hits.
    fn evidence_bits(&self, name_bits: f64) -> f64 {
        let misses = self.constrained_misses;
        let names = libm::log2((self.constrained + 1) as f64) + name_bits;
        self.forced_bits as f64 - log2_choose(self.constrained, misses) - names
    }
}

/// log2 of the number of ways to choose `k` of `n`.
fn log2_choose(n: u64, k: u64) -> f64 {
    (0..k.min(n - k)).map(|i| libm::log2((n - i) as f64 / (i + 1) as f64)).sum()
}

fn look_at_offset(x: f32, n: u64, stored: StoredPrecision, offset: f32) -> Counts {
    if !x.is_finite() {
        return Counts::default();
    }
    let g = Minifloat::Bf16.cast(Rounding::Rne, (f64::from(x) - f64::from(offset)) as f32);
    let hit = stored.hold(g + offset) == x;
    let need = match g == 0.0 || x == 0.0 {
        true => 0,
        false => bf16_spacing_exponent(g) - stored.spacing_exponent(exponent(x)),
    };
    Counts::one(hit, need, n)
}

/// The error that a converter's exponential function may have, in ulps of F32.
const EXP_ULPS: f64 = 1.0;

fn look_at_neg_exp(x: f32, n: u64) -> Counts {
    if !x.is_finite() {
        return Counts::default();
    }
    if x >= 0.0 {
        return Counts::one(false, 1, n);
    }
    let g = Minifloat::Bf16.cast(Rounding::Rne, libm::log(-f64::from(x)) as f32);
    let ulp = libm::exp2(StoredPrecision::F32.spacing_exponent(exponent(x)).into());
    let hit = (f64::from(x) + libm::exp(f64::from(g))).abs() <= (0.5 + EXP_ULPS) * ulp;
    // One step of g moves exp(g) by this much; three neighbouring F32 values are allowed within it.
    let step = -f64::from(x) * libm::exp2(bf16_spacing_exponent(g).into());
    let need = if g == 0.0 { 0 } else { libm::floor(libm::log2(step / (ulp * (1.0 + 2.0 * EXP_ULPS)))) as i32 };
    Counts::one(hit, need, n)
}

fn bf16_spacing_exponent(g: f32) -> i32 {
    if g.is_infinite() {
        return 0;
    }
    exponent(g).max(Minifloat::Bf16.min_exponent()) - Minifloat::Bf16.mantissa_bits() as i32
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
        let counts = |x| look_at_offset(x, 1, StoredPrecision::F32, KNOWN_OFFSETS[0].value);
        assert_eq!(counts(1.5), Counts { hits: 1, constrained: 1, forced_bits: 15, ..Default::default() });
        assert_eq!(counts(1.0f32.next_up()), Counts { hits: 1, ..Default::default() });
        assert_eq!(counts(1.0), Counts { hits: 1, ..Default::default() });
        assert_eq!(counts(0.0), Counts { hits: 1, ..Default::default() });
        assert_eq!(counts(1.5f32.next_up()).constrained_misses, 1);
    }
}
