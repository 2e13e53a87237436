//! SplitMix64, the one generator of seeded random numbers in the workspace.
//!
//! ```text
//! state     seed + γ    seed + 2γ    seed + 3γ   …        γ = 2^64 / golden ratio, rounded to an odd integer
//!               │           │            │
//!             mix64       mix64        mix64
//!               ▼           ▼            ▼
//! output        1           2            3       …
//! ```
//!
//! An output depends only on the seed and on its own number, so [`nth`] finds it without computing the ones before it.
//! The values of a tensor can therefore be drawn in any order, by any thread. [`SplitMix64`] gives the outputs one
//! after the other.
//!
//! A seed is often a number and a name; [`fnv1a`] makes one integer of both.
//!
//! # Source
//! Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the mixing function is variant
//! 13 of Stafford's "Better bit mixing" (2011). The test vectors are those of S. Vigna's `splitmix64.c`
//! (prng.di.unimi.it).

/// γ, the number that is added to the state for each output: 2^64 over the golden ratio, rounded to an odd integer.
pub const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator that gives its outputs in order.
///
/// # Examples
/// ```
/// use stats::rng::{SplitMix64, nth};
/// let mut rng = SplitMix64::new(7);
/// assert_eq!([rng.next_u64(), rng.next_u64()], [nth(7, 1), nth(7, 2)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator whose first output is `nth(seed, 1)`.
    pub const fn new(seed: u64) -> Self {
        SplitMix64 { state: seed }
    }

    /// The next output, which has 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix64(self.state)
    }

    /// The next output as a number in [0, 1).
    pub const fn next_unit(&mut self) -> f64 {
        unit(self.next_u64())
    }
}

/// The `n`-th output of the generator with this seed, counted from 1. `n` = 0 mixes the seed itself.
#[inline(always)]
pub const fn nth(seed: u64, n: u64) -> u64 {
    mix64(seed.wrapping_add(n.wrapping_mul(GOLDEN_GAMMA)))
}

/// The output function of SplitMix64. It is a one-to-one map of 64 bits in which every input bit changes about half of
/// the output bits.
#[inline(always)]
pub const fn mix64(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 random bits as a number in [0, 1), on a grid of 2^53 points.
#[inline(always)]
pub const fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// 64 random bits as a number in [−1, 1), on a grid of 2^53 points.
#[inline(always)]
pub const fn symmetric_unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (2.0 / (1u64 << 53) as f64) - 1.0
}

/// 64 random bits as an integer below `n`, by multiplication; 0 for `n` = 0. The chances of two integers differ by at
/// most 2^−64.
#[inline(always)]
pub const fn below(bits: u64, n: u64) -> u64 {
    ((bits as u128 * n as u128) >> 64) as u64
}

/// The integers 0 … `n` − 1 in a random order that the seed determines. Every order is about equally likely.
///
/// # Source
/// The shuffle of Fisher and Yates, in the form of Durstenfeld (1964).
pub fn permutation(n: usize, seed: u64) -> Vec<usize> {
    let mut rng = SplitMix64::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let pick = below(rng.next_u64(), last as u64 + 1);
        order.swap(last, pick as usize);
    }
    order
}

/// The FNV-1a hash of some bytes, which makes one seed of numbers and names. Its 64 bits are not well mixed, so pass it
/// to [`nth`] or [`mix64`].
///
/// # Source
/// Fowler, Noll and Vo, draft-eastlake-fnv (IETF).
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_the_reference_implementation() {
        // Outputs of Vigna's splitmix64.c: for seed 1234567 as Rosetta Code lists them ("Pseudo-random
        // numbers/Splitmix64"), for seed 1477776061723855037 as the tests of the crate rand_xoshiro do, for seed 0 as
        // tests of further implementations do.
        let seed_0 = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f, 0xf88b_b8a8_724c_81ec];
        let rosetta = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        let xoshiro = [
            1_985_237_415_132_408_290,
            2_979_275_885_539_914_483,
            13_511_426_838_097_143_398,
            8_488_337_342_461_049_707,
            15_141_737_807_933_549_159,
            17_093_170_987_380_407_015,
        ];
        for (seed, wanted) in [(0, &seed_0[..]), (1_234_567, &rosetta), (1_477_776_061_723_855_037, &xoshiro)] {
            let mut rng = SplitMix64::new(seed);
            for (n, &output) in (1..).zip(wanted) {
                assert_eq!((rng.next_u64(), nth(seed, n)), (output, output), "output {n} of seed {seed}");
            }
        }
    }

    #[test]
    fn hashes_are_those_of_the_fnv_reference() {
        for (text, wanted) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv1a(text.bytes()), wanted, "{text:?}");
        }
    }

    #[test]
    fn bits_become_numbers_within_their_ranges() {
        assert_eq!((unit(0), unit(u64::MAX)), (0.0, 1.0f64.next_down()));
        assert_eq!((symmetric_unit(0), symmetric_unit(1 << 63)), (-1.0, 0.0));
        assert!(symmetric_unit(u64::MAX) < 1.0);
        assert_eq!((below(0, 7), below(u64::MAX, 7), below(u64::MAX, 0)), (0, 6, 0));
    }

    #[test]
    fn a_permutation_has_each_number_once_in_an_order_that_the_seed_decides() {
        let order = permutation(20, 1);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        assert_eq!(order, permutation(20, 1));
        assert_ne!(order, permutation(20, 2));
        assert_eq!(permutation(0, 1), Vec::<usize>::new());
        // The expected order was computed by a second implementation, in Python integers: old sweeps continue in the
        // order in which they began.
        assert_eq!(order, [9, 1, 13, 10, 0, 2, 15, 18, 5, 4, 8, 3, 6, 12, 19, 16, 7, 17, 14, 11]);
        assert_eq!(permutation(8, 0), [1, 2, 6, 5, 4, 0, 3, 7]);
        assert_eq!(permutation(5, u64::MAX), [1, 2, 0, 3, 4]);
    }
}
