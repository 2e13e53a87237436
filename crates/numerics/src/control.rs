//! Transforms for controls: what a result is held against.

use crate::groups;
use crate::scheme::Granularity;
use crate::stream::{Gaussian, STREAM_CHUNK, stream};
use rand_pcg::rand_core::RngCore;
use rayon::prelude::*;
use std::convert::Infallible;

/// Moves each finite nonzero value by exactly one ulp of F32, up or down by a seeded coin.
///
/// The largest finite value moves down when its coin says up, since up is infinity.
pub(crate) fn jitter(seed: u64, tensor: &str, values: &mut [f32]) {
    values.par_chunks_mut(STREAM_CHUNK).enumerate().for_each(|(part, values)| {
        let mut rng = stream(seed, tensor, part as u64);
        for sixty_four in values.chunks_mut(64) {
            let mut coins = rng.next_u64();
            for x in sixty_four {
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

/// Permutes the finite values of each group by a seeded draw (Fisher and Yates).
pub(crate) fn shuffle(seed: u64, granularity: Granularity, tensor: &str, values: &mut [f32], n_per_row: usize) {
    let Ok(()) = groups::for_each::<Infallible>(granularity, values, n_per_row, |group, at| {
        let mut rng = stream(seed, tensor, at.of(0) as u64);
        let mut finite: Vec<&mut f32> = group.iter_mut().filter(|x| x.is_finite()).collect();
        for last in (1..finite.len()).rev() {
            let pick = (u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64;
            let (head, tail) = finite.split_at_mut(last);
            if let Some(other) = head.get_mut(pick as usize) {
                std::mem::swap(*other, tail[0]);
            }
        }
        Ok(())
    });
}

/// Adds Gaussian noise whose energy in each group is the group's own over 10^(`sqnr_db`/10), exactly
/// up to the rounding of the sums to F32.
pub(crate) fn noise(
    sqnr_db: f64,
    seed: u64,
    granularity: Granularity,
    tensor: &str,
    values: &mut [f32],
    n_per_row: usize,
) {
    let ratio = libm::exp10(-sqnr_db / 10.0);
    match granularity {
        Granularity::Tensor => noise_tensor(ratio, seed, tensor, values),
        Granularity::Row => noise_rows(ratio, seed, tensor, values, n_per_row, n_per_row),
        Granularity::Block(n) => noise_rows(ratio, seed, tensor, values, n_per_row, n.get() as usize),
        Granularity::Col | Granularity::Tile { .. } => {
            let Ok(()) = groups::for_each::<Infallible>(granularity, values, n_per_row, |group, at| {
                // A column's first place is its number.
                noise_group(ratio, &mut Gaussian::new(stream(seed, tensor, at.of(0) as u64)), group);
                Ok(())
            });
        }
    }
}

/// One group of all values: energies first, in a fixed order, then the same draws once more.
fn noise_tensor(ratio: f64, seed: u64, tensor: &str, values: &mut [f32]) {
    let energies: Vec<(f64, f64)> = values
        .par_chunks(STREAM_CHUNK)
        .enumerate()
        .map(|(part, values)| {
            let mut gaussian = Gaussian::new(stream(seed, tensor, part as u64));
            energy(values, values.iter().map(|_| gaussian.draw()))
        })
        .collect();
    let (signal, drawn) = energies.iter().fold((0.0, 0.0), |(s, g), e| (s + e.0, g + e.1));
    let gain = gain(ratio, signal, drawn);
    values.par_chunks_mut(STREAM_CHUNK).enumerate().for_each(|(part, values)| {
        let mut gaussian = Gaussian::new(stream(seed, tensor, part as u64));
        for x in values {
            *x = (f64::from(*x) + gain * gaussian.draw()) as f32;
        }
    });
}

/// Groups of `n_per_block` within rows; one stream a row.
fn noise_rows(ratio: f64, seed: u64, tensor: &str, values: &mut [f32], n_per_row: usize, n_per_block: usize) {
    values.par_chunks_mut(n_per_row).enumerate().for_each(|(row, values)| {
        let mut gaussian = Gaussian::new(stream(seed, tensor, row as u64));
        for block in values.chunks_mut(n_per_block) {
            noise_group(ratio, &mut gaussian, block);
        }
    });
}

fn noise_group(ratio: f64, gaussian: &mut Gaussian, values: &mut [f32]) {
    let draws: Vec<f64> = values.iter().map(|_| gaussian.draw()).collect();
    let (signal, drawn) = energy(values, draws.iter().copied());
    let gain = gain(ratio, signal, drawn);
    for (x, g) in values.iter_mut().zip(draws) {
        *x = (f64::from(*x) + gain * g) as f32;
    }
}

/// Sums of squares of the finite values and of the draws that will meet them.
fn energy(values: &[f32], draws: impl Iterator<Item = f64>) -> (f64, f64) {
    values.iter().zip(draws).filter(|(x, _)| x.is_finite()).fold((0.0, 0.0), |(signal, drawn), (&x, g)| {
        let x = f64::from(x);
        (signal + x * x, drawn + g * g)
    })
}

fn gain(ratio: f64, signal: f64, drawn: f64) -> f64 {
    if drawn == 0.0 { 0.0 } else { (ratio * signal / drawn).sqrt() }
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
        jitter(1, "t", &mut v);
        let mut up = 0usize;
        for (a, b) in before.iter().zip(&v) {
            if *a == 0.0 {
                assert_eq!(a.to_bits(), b.to_bits());
            } else {
                assert!(*b == a.next_up() || *b == a.next_down(), "{a:e} became {b:e}");
                up += usize::from(b > a);
            }
        }
        // A fair coin: 35,000 ± 132; six of them.
        assert!(up.abs_diff(35_000) < 800, "{up} of 70,000 went up");
    }

    #[test]
    fn jitter_stays_finite_at_the_ends_and_may_reach_zero() {
        for seed in 0..64 {
            let mut v = [f32::MAX, f32::MIN, f32::from_bits(1)];
            jitter(seed, "t", &mut v);
            assert_eq!((v[0], v[1]), (f32::MAX.next_down(), f32::MIN.next_up()));
            assert!(v[2] == 0.0 || v[2] == f32::from_bits(2));
        }
    }

    #[test]
    fn tensors_of_equal_length_get_different_coins() {
        let (mut a, mut b) = (bumpy(576), bumpy(576));
        jitter(1, "blk.0.ffn_norm.weight", &mut a);
        jitter(1, "blk.1.ffn_norm.weight", &mut b);
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
            noise(20.0, 3, granularity, "t", &mut v, n_per_row);
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
            shuffle(5, granularity, "t", &mut v, n_per_row);
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
            // The shortest groups are two values long, and there half the draws move nothing.
            assert!(moved > v.len() * 8 / 10, "{granularity}: only {moved} moved");
            let mut sorted: Vec<f32> = v.into_iter().filter(|x| x.is_finite()).collect();
            sorted.sort_by(f32::total_cmp);
            assert!(sorted.iter().copied().eq(original.iter().copied().filter(|x| x.is_finite())), "{granularity}");
        }
    }

    #[test]
    fn every_order_of_three_values_comes_up_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            let mut v = [0.0, 1.0, 2.0];
            shuffle(seed, Granularity::Tensor, "t", &mut v, 3);
            *counts.entry(v.map(|x| x as u8)).or_insert(0u32) += 1;
        }
        // 1000 each, standard deviation 29; five of them.
        assert!(counts.len() == 6 && counts.values().all(|n| n.abs_diff(1000) < 145), "{counts:?}");
    }
}
