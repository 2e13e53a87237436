//! Controls: transforms that results are compared with.

use super::groups;
use super::part::Piece;
use crate::format::stream::{Gaussian, STREAM_CHUNK, chunks, stream};
use crate::scheme::Granularity;
use rand_pcg::rand_core::RngCore;
use rayon::prelude::*;
use stats::rng::below;
use std::convert::Infallible;

/// The number of values that share one random word of [`jitter`], one bit each.
const COINS: usize = 64;

/// Moves each finite nonzero value by exactly one ulp of F32, up or down by a seeded coin. The values are the tensor's
/// from its `start`-th on.
///
/// The largest finite value moves down when its coin says up, since up is infinity.
pub(crate) fn jitter(seed: u64, tensor: &str, values: &mut [f32], start: usize) {
    chunks(values, start).into_par_iter().for_each(|chunk| {
        let mut rng = stream(seed, tensor, chunk.number);
        rng.advance((chunk.skipped / COINS) as u128);
        let skipped = chunk.skipped % COINS;
        let (head, rest) = chunk.values.split_at_mut((COINS - skipped).min(chunk.values.len()));
        for (values, skipped) in std::iter::once((head, skipped)).chain(rest.chunks_mut(COINS).map(|v| (v, 0))) {
            let mut coins = rng.next_u64() >> skipped;
            for x in values {
                *x = nudge(*x, coins & 1 == 1);
                coins >>= 1;
            }
        }
    });
}

fn nudge(x: f32, up: bool) -> f32 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let moved = if up { x.next_up() } else { x.next_down() };
    match (moved.is_finite(), up) {
        (true, _) => moved,
        (false, true) => x.next_down(),
        (false, false) => x.next_up(),
    }
}

/// Permutes the finite values of each group at random (Fisher and Yates).
pub(crate) fn shuffle(seed: u64, granularity: Granularity, tensor: &str, values: &mut [f32], piece: Piece) {
    let Ok(()) = groups::for_each::<Infallible>(granularity, values, piece, |group, at| {
        let mut rng = stream(seed, tensor, at.of(0) as u64);
        let mut finite: Vec<&mut f32> = group.iter_mut().filter(|x| x.is_finite()).collect();
        for last in (1..finite.len()).rev() {
            let pick = below(rng.next_u64(), last as u64 + 1);
            let (head, tail) = finite.split_at_mut(last);
            if let Some(other) = head.get_mut(pick as usize) {
                std::mem::swap(*other, tail[0]);
            }
        }
        Ok(())
    });
}

/// Adds Gaussian noise to each group, with the energy of the group over 10^(`sqnr_db`/10); exact except that sums are
/// rounded to F32. Every group must be complete in `values`.
pub(crate) fn noise(sqnr_db: f64, seed: u64, granularity: Granularity, tensor: &str, values: &mut [f32], piece: Piece) {
    let ratio = ratio(sqnr_db);
    match granularity {
        Granularity::Row => noise_rows(ratio, seed, tensor, values, piece, piece.width),
        Granularity::Block(n) => noise_rows(ratio, seed, tensor, values, piece, n.get() as usize),
        Granularity::Tensor => {
            let mut gain = NoiseGain::new(sqnr_db, seed, tensor);
            gain.see(values);
            add_noise(gain.finish(), seed, tensor, values, piece.start);
        }
        Granularity::Col | Granularity::Tile { .. } => {
            let Ok(()) = groups::for_each::<Infallible>(granularity, values, piece, |group, at| {
                // The first position of a column is its number.
                noise_group(ratio, &mut Gaussian::new(stream(seed, tensor, at.of(0) as u64)), group);
                Ok(())
            });
        }
    }
}

/// The energy of the noise over that of the signal.
fn ratio(sqnr_db: f64) -> f64 {
    libm::exp10(-sqnr_db / 10.0)
}

/// Finds the factor of a tensor's draws under which the noise on all of its values has the wanted energy. Energies are
/// summed in the order of the values, chunk by chunk, however many values come at a time.
pub(crate) struct NoiseGain<'a> {
    seed: u64,
    tensor: &'a str,
    ratio: f64,
    /// The number of values seen.
    seen: usize,
    /// Energies of the chunks that were seen completely.
    energies: Energies,
    /// Energies of the chunk that was seen in part, and its generator.
    open: Option<(Energies, Gaussian)>,
}

impl<'a> NoiseGain<'a> {
    pub(crate) fn new(sqnr_db: f64, seed: u64, tensor: &'a str) -> Self {
        NoiseGain { seed, tensor, ratio: ratio(sqnr_db), seen: 0, energies: Energies::default(), open: None }
    }

    /// Takes in the next values of the tensor.
    pub(crate) fn see(&mut self, values: &[f32]) {
        let (start, begun) = (self.seen, self.open.take());
        let in_first = (STREAM_CHUNK - start % STREAM_CHUNK).min(values.len());
        let (first, rest) = values.split_at(in_first);
        let (mut energies, mut gaussian) = begun.unwrap_or_else(|| (Energies::default(), self.draws(start)));
        energies.add(first, &mut gaussian);
        let mut chunks = vec![(energies, gaussian)];
        let of_chunk = |(i, values): (usize, &[f32])| {
            let mut gaussian = self.draws(start + in_first + i * STREAM_CHUNK);
            let mut energies = Energies::default();
            energies.add(values, &mut gaussian);
            (energies, gaussian)
        };
        chunks.par_extend(rest.par_chunks(STREAM_CHUNK).enumerate().map(of_chunk));
        self.seen += values.len();
        if !self.seen.is_multiple_of(STREAM_CHUNK) {
            self.open = chunks.pop();
        }
        chunks.iter().for_each(|(energies, _)| self.energies.merge(energies));
    }

    /// The generator of the chunk that the value at `place` belongs to, at the start of the chunk.
    fn draws(&self, place: usize) -> Gaussian {
        Gaussian::new(stream(self.seed, self.tensor, (place / STREAM_CHUNK) as u64))
    }

    /// The factor, after the last value.
    pub(crate) fn finish(mut self) -> f64 {
        if let Some((energies, _)) = self.open.take() {
            self.energies.merge(&energies);
        }
        self.energies.gain(self.ratio)
    }
}

/// Adds `gain` times its draw to each value. The values are the tensor's from its `start`-th on.
pub(crate) fn add_noise(gain: f64, seed: u64, tensor: &str, values: &mut [f32], start: usize) {
    chunks(values, start).into_par_iter().for_each(|chunk| {
        let mut gaussian = Gaussian::new(stream(seed, tensor, chunk.number));
        // The number of random words of a draw depends on the words, so the draws before are repeated.
        for _ in 0..chunk.skipped {
            gaussian.draw();
        }
        for x in chunk.values {
            *x = (f64::from(*x) + gain * gaussian.draw()) as f32;
        }
    });
}

/// Adds noise to groups of `n_per_block` values within rows, with one stream for each row.
fn noise_rows(ratio: f64, seed: u64, tensor: &str, values: &mut [f32], piece: Piece, n_per_block: usize) {
    let first = piece.start / piece.width;
    values.par_chunks_mut(piece.width).enumerate().for_each(|(row, values)| {
        let mut gaussian = Gaussian::new(stream(seed, tensor, (first + row) as u64));
        for block in values.chunks_mut(n_per_block) {
            noise_group(ratio, &mut gaussian, block);
        }
    });
}

fn noise_group(ratio: f64, gaussian: &mut Gaussian, values: &mut [f32]) {
    let draws: Vec<f64> = values.iter().map(|_| gaussian.draw()).collect();
    let mut energies = Energies::default();
    energies.add_drawn(values, draws.iter().copied());
    let gain = energies.gain(ratio);
    for (x, g) in values.iter_mut().zip(draws) {
        *x = (f64::from(*x) + gain * g) as f32;
    }
}

/// Sums of squares of the finite values, and of the draws that go with them.
#[derive(Clone, Copy, Default)]
struct Energies {
    signal: f64,
    drawn: f64,
}

impl Energies {
    /// Adds values, with a draw for each of them, finite or not.
    fn add(&mut self, values: &[f32], gaussian: &mut Gaussian) {
        self.add_drawn(values, values.iter().map(|_| gaussian.draw()));
    }

    fn add_drawn(&mut self, values: &[f32], draws: impl Iterator<Item = f64>) {
        for (&x, g) in values.iter().zip(draws).filter(|(x, _)| x.is_finite()) {
            let x = f64::from(x);
            self.signal += x * x;
            self.drawn += g * g;
        }
    }

    fn merge(&mut self, other: &Energies) {
        self.signal += other.signal;
        self.drawn += other.drawn;
    }

    fn gain(self, ratio: f64) -> f64 {
        if self.drawn == 0.0 { 0.0 } else { (ratio * self.signal / self.drawn).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn bumpy(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i as f32) * 0.37).sin() * 10f32.powi((i % 7) as i32 - 3)).collect()
    }

    #[test]
    fn jitter_moves_each_value_by_one_ulp_and_leaves_zeros() {
        let mut v = bumpy(70_000);
        v[5] = 0.0;
        v[6] = -0.0;
        let before = v.clone();
        jitter(1, "t", &mut v, 0);
        let mut up = 0usize;
        for (a, b) in before.iter().zip(&v) {
            if *a == 0.0 {
                assert_eq!(a.to_bits(), b.to_bits());
            } else {
                assert!(*b == a.next_up() || *b == a.next_down(), "{a:e} became {b:e}");
                up += usize::from(b > a);
            }
        }
        // A fair coin gives 35,000 ± 132; the bound is six of them.
        assert!(up.abs_diff(35_000) < 800, "{up} of 70,000 went up");
    }

    #[test]
    fn jitter_stays_finite_at_the_ends_and_may_reach_zero() {
        for seed in 0..64 {
            let mut v = [f32::MAX, f32::MIN, f32::from_bits(1)];
            jitter(seed, "t", &mut v, 0);
            assert_eq!((v[0], v[1]), (f32::MAX.next_down(), f32::MIN.next_up()));
            assert!(v[2] == 0.0 || v[2] == f32::from_bits(2));
        }
    }

    #[test]
    fn tensors_of_equal_length_get_different_coins() {
        let (mut a, mut b) = (bumpy(576), bumpy(576));
        jitter(1, "blk.0.ffn_norm.weight", &mut a, 0);
        jitter(1, "blk.1.ffn_norm.weight", &mut b, 0);
        let same = a.iter().zip(&b).filter(|(x, y)| x == y).count();
        assert!((200..376).contains(&same), "{same} of 576 coins agree");
    }

    #[test]
    fn noise_has_the_asked_for_ratio_in_every_group() {
        let (n_per_row, rows) = (100, 40);
        let original = bumpy(n_per_row * rows);
        let block = Granularity::Block(NonZeroU32::new(32).unwrap());
        let tile = Granularity::Tile { rows: NonZeroU32::new(40).unwrap(), cols: NonZeroU32::new(50).unwrap() };
        for granularity in [Granularity::Tensor, Granularity::Row, block, Granularity::Col, tile] {
            let mut v = original.clone();
            noise(20.0, 3, granularity, "t", &mut v, Piece::whole(n_per_row));
            let groups: Vec<Vec<usize>> = match granularity {
                Granularity::Tensor => vec![(0..v.len()).collect()],
                Granularity::Row => (0..rows).map(|r| (r * n_per_row..(r + 1) * n_per_row).collect()).collect(),
                Granularity::Col => (0..n_per_row).map(|c| (0..rows).map(|r| r * n_per_row + c).collect()).collect(),
                Granularity::Tile { .. } => {
                    [0, 50].map(|c| (0..v.len()).filter(|i| (c..c + 50).contains(&(i % n_per_row))).collect()).to_vec()
                }
                Granularity::Block(_) => (0..rows)
                    .flat_map(|r| {
                        [(0, 32), (32, 64), (64, 96), (96, 100)]
                            .map(|(a, b)| (r * n_per_row + a..r * n_per_row + b).collect())
                    })
                    .collect(),
            };
            for group in groups {
                let sum = |f: &dyn Fn(usize) -> f64| group.iter().map(|&i| f(i)).sum::<f64>();
                let signal = sum(&|i| f64::from(original[i]).powi(2));
                let error = sum(&|i| (f64::from(v[i]) - f64::from(original[i])).powi(2));
                let db = 10.0 * (signal / error).log10();
                assert!((db - 20.0).abs() < 1e-4, "{granularity:?}: {db} dB");
            }
        }
    }

    #[test]
    fn shuffle_permutes_within_each_group_and_leaves_nonfinite_values_in_place() {
        let n_per_row = 50;
        let mut original: Vec<f32> = (0..n_per_row * 40).map(|i| i as f32).collect();
        original[7] = f32::NAN;
        let one = |n| NonZeroU32::new(n).unwrap();
        for granularity in [
            Granularity::Tensor,
            Granularity::Row,
            Granularity::Col,
            Granularity::Block(one(16)),
            Granularity::Tile { rows: one(8), cols: one(16) },
        ] {
            let mut v = original.clone();
            shuffle(5, granularity, "t", &mut v, Piece::whole(n_per_row));
            assert!(v[7].is_nan());
            let key = |x: f32| (x as usize / n_per_row, x as usize % n_per_row);
            let mut moved = 0;
            for (i, x) in v.iter().enumerate().filter(|(_, x)| x.is_finite()) {
                let ((row, col), (from_row, from_col)) = ((i / n_per_row, i % n_per_row), key(*x));
                let same = match granularity {
                    Granularity::Tensor => true,
                    Granularity::Row => row == from_row,
                    Granularity::Col => col == from_col,
                    Granularity::Block(_) => (row, col / 16) == (from_row, from_col / 16),
                    Granularity::Tile { .. } => (row / 8, col / 16) == (from_row / 8, from_col / 16),
                };
                assert!(same, "{granularity}: {x} came to {i}");
                moved += usize::from(*x != i as f32);
            }
            // The shortest groups have two values, and half of their draws move nothing.
            assert!(moved > v.len() * 8 / 10, "{granularity}: only {moved} moved");
            let mut sorted: Vec<f32> = v.into_iter().filter(|x| x.is_finite()).collect();
            sorted.sort_by(f32::total_cmp);
            assert!(sorted.iter().copied().eq(original.iter().copied().filter(|x| x.is_finite())), "{granularity}");
        }
    }

    #[test]
    fn the_order_of_a_shuffle_is_pinned_so_that_old_runs_can_be_reproduced() {
        // Worked out by a second implementation, in Python integers.
        let mut values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        shuffle(5, Granularity::Tensor, "t", &mut values, Piece::whole(12));
        assert_eq!(values, [2.0, 5.0, 7.0, 11.0, 0.0, 8.0, 9.0, 1.0, 6.0, 3.0, 10.0, 4.0]);
    }

    #[test]
    fn every_order_of_three_values_comes_up_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            let mut v = [0.0, 1.0, 2.0];
            shuffle(seed, Granularity::Tensor, "t", &mut v, Piece::whole(3));
            *counts.entry(v.map(|x| x as u8)).or_insert(0u32) += 1;
        }
        // Each comes up 1000 times with a standard deviation of 29; the bound is five of them.
        assert!(counts.len() == 6 && counts.values().all(|n| n.abs_diff(1000) < 145), "{counts:?}");
    }
}
