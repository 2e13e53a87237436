//! Seeded random numbers for the values of a tensor. The position of a value decides which numbers it gets; the thread
//! that works on it never does.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::RngCore;
use stats::rng::{fnv1a, mix64, nth, symmetric_unit};

/// The number of values that share one stream where a scheme has no groups of its own.
pub(crate) const STREAM_CHUNK: usize = 1 << 16;

/// PCG's default stream constant. Streams differ in their state only, since generators that differ in this constant
/// alone may be correlated.
const PCG_STREAM: u128 = 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96;

/// The generator for one part (a chunk or a row) of one tensor under one seed.
pub(crate) fn stream(seed: u64, tensor: &str, part: u64) -> Pcg64 {
    // One hash of seed, part and name, mixed twice for 128 bits.
    let h = fnv1a(seed.to_le_bytes().into_iter().chain(part.to_le_bytes()).chain(tensor.bytes()));
    let (high, low) = (mix64(h), nth(h, 1));
    Pcg64::new(u128::from(high) << 64 | u128::from(low), PCG_STREAM)
}

/// Consecutive values that draw from one stream.
pub(crate) struct Chunk<'v> {
    /// The number of the chunk in the tensor.
    pub(crate) number: u64,
    /// The number of values of the chunk that come before `values`.
    pub(crate) skipped: usize,
    pub(crate) values: &'v mut [f32],
}

/// Splits `values`, the tensor's from its `start`-th on, into the chunks of [`STREAM_CHUNK`] values that they belong
/// to.
pub(crate) fn chunks(values: &mut [f32], start: usize) -> Vec<Chunk<'_>> {
    let (number, skipped) = (start / STREAM_CHUNK, start % STREAM_CHUNK);
    let (first, rest) = values.split_at_mut((STREAM_CHUNK - skipped).min(values.len()));
    let rest = rest.chunks_mut(STREAM_CHUNK).map(|values| (values, 0));
    let of_chunk = |(i, (values, skipped)): (usize, _)| Chunk { number: (number + i) as u64, skipped, values };
    std::iter::once((first, skipped)).chain(rest).enumerate().map(of_chunk).collect()
}

/// One random number for each position of a tensor: the output of SplitMix64 with that number, under a seed made of
/// `seed` and the tensor's name.
#[derive(Clone, Copy)]
pub(crate) struct Draws {
    start: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64, tensor: &str) -> Self {
        Draws { start: mix64(fnv1a(seed.to_le_bytes().into_iter().chain(tensor.bytes()))) }
    }

    /// 32 random bits for a position.
    #[inline(always)]
    pub(crate) fn bits(self, place: usize) -> u32 {
        (nth(self.start, place as u64) >> 32) as u32
    }

    /// A random number in [0, 1) for a position, on a grid of 2^32 points.
    #[inline(always)]
    pub(crate) fn unit(self, place: usize) -> f64 {
        f64::from(self.bits(place)) / 4_294_967_296.0
    }
}

/// A source of standard normal deviates by Marsaglia's polar method, with the same bits on every machine.
pub(crate) struct Gaussian {
    rng: Pcg64,
    spare: Option<f64>,
}

impl Gaussian {
    pub(crate) fn new(rng: Pcg64) -> Self {
        Gaussian { rng, spare: None }
    }

    pub(crate) fn draw(&mut self) -> f64 {
        if let Some(g) = self.spare.take() {
            return g;
        }
        loop {
            let (u, v) = (self.symmetric_uniform(), self.symmetric_uniform());
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let scale = (-2.0 * libm::log(s) / s).sqrt();
                self.spare = Some(v * scale);
                return u * scale;
            }
        }
    }

    /// A random number in [−1, 1), on a grid of 2^53 points.
    fn symmetric_uniform(&mut self) -> f64 {
        symmetric_unit(self.rng.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_other_seeds_names_and_parts_differ() {
        let first = |seed, name, part| stream(seed, name, part).next_u64();
        let base = first(1, "blk.0.ffn_norm.weight", 0);
        assert_ne!(base, first(2, "blk.0.ffn_norm.weight", 0));
        assert_ne!(base, first(1, "blk.1.ffn_norm.weight", 0));
        assert_ne!(base, first(1, "blk.0.ffn_norm.weight", 1));
    }

    #[test]
    fn the_first_draws_are_pinned_so_that_old_runs_can_be_reproduced() {
        // Worked out by a second implementation, in Python integers.
        let mut rng = stream(1, "blk.0.ffn_norm.weight", 0);
        assert_eq!([rng.next_u64(), rng.next_u64()], [2_505_486_426_023_053_375, 5_548_052_169_732_818_332]);
        let mut g = Gaussian::new(stream(1, "output.weight", 3));
        // One ulp below the value that glibc's logarithm gives: the reason for not using the system's.
        assert_eq!([g.draw().to_bits(), g.draw().to_bits()], [0x3ff2_b9ed_f402_e696, 0x3ff9_9f37_6fd3_49da]);
    }

    #[test]
    fn the_draw_of_a_place_is_pinned_so_that_old_runs_can_be_reproduced() {
        // Worked out by a second implementation, in Python integers.
        let draws = Draws::new(3, "blk.0.ffn_up.weight");
        let bits = [0, 1, 2, 1 << 20].map(|place| draws.bits(place));
        assert_eq!(bits, [0xa870_a6dd, 0x064a_8396, 0x64ee_3eaa, 0x37ce_ac76]);
        assert_eq!(draws.unit(0), f64::from(0xa870_a6ddu32) / 2f64.powi(32));
    }

    #[test]
    fn gaussian_draws_have_the_moments_of_a_standard_normal() {
        let mut g = Gaussian::new(stream(7, "x", 0));
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|_| g.draw()).collect();
        let moment = |p: i32| draws.iter().map(|x| x.powi(p)).sum::<f64>() / f64::from(n);
        // Standard errors: 1/√n = 0.0022, √(2/n) = 0.0032, √(15/n) = 0.0087, √(96/n) = 0.022; the bounds are four of
        // them.
        assert!(moment(1).abs() < 0.009, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.013, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.035, "third moment {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.09, "fourth moment {}", moment(4));
    }
}
