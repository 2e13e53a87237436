//! The different values of a tensor with their counts. Two-byte storage has at most 65,536 codes. One pass counts them, and everything that does
//! not depend on positions is then computed once for each code instead of once for each value.

use crate::census::StoredPrecision;
use crate::grid::{CHUNK, Scan};
use crate::values::{Pieces, TensorValues, bf16_to_f32, f16_to_f32};
use rayon::prelude::*;

/// The values of a tensor, one by one or counted.
#[derive(Clone, Copy)]
pub(crate) enum Counted<'a> {
    /// Every value once, in order.
    Each(&'a [f32]),
    /// Every value once, in order, piece by piece. The pieces are restored.
    Pieces(&'a dyn Pieces),
    /// The different codes with their counts, in the order of the codes. −0 and +0 are two codes.
    Codes(&'a [(f32, u64)]),
}

/// The number of codes that one thread counts at a time; the counts fit into 32 bits.
const CODES_AT_ONCE: usize = 1 << 24;

/// The value of every code that occurs, with its count; `None` for values that are restored already.
pub(crate) fn count_codes(values: TensorValues<'_>) -> Option<Vec<(f32, u64)>> {
    let restore: fn(u16) -> f32 = match (values, values.stored()) {
        (TensorValues::Restored(..), _) => return None,
        (_, StoredPrecision::F16) => f16_to_f32,
        (_, StoredPrecision::Bf16) => bf16_to_f32,
        _ => return None,
    };
    let mut counts = vec![0u64; 1 << 16];
    values.each_piece(1, |piece| {
        let (TensorValues::F16(bytes) | TensorValues::Bf16(bytes)) = piece else { return false };
        let whole = &bytes[..bytes.len() / 2 * 2];
        let parts: Vec<Vec<u32>> = whole.par_chunks(2 * CODES_AT_ONCE).map(count_part).collect();
        for part in parts {
            counts.iter_mut().zip(part).for_each(|(sum, n)| *sum += u64::from(n));
        }
        true
    });
    let met = (0..=u16::MAX).zip(counts).filter(|(_, n)| *n > 0);
    Some(met.map(|(code, n)| (restore(code), n)).collect())
}

fn count_part(bytes: &[u8]) -> Vec<u32> {
    // Two tables in turn: a code that occurs twice in a row would otherwise wait for its own count.
    let (mut even, mut odd) = (vec![0u32; 1 << 16], vec![0u32; 1 << 16]);
    let mut fours = bytes.chunks_exact(8);
    for four in &mut fours {
        let codes = u64::from_le_bytes([four[0], four[1], four[2], four[3], four[4], four[5], four[6], four[7]]);
        even[(codes & 0xffff) as usize] += 1;
        odd[(codes >> 16 & 0xffff) as usize] += 1;
        even[(codes >> 32 & 0xffff) as usize] += 1;
        odd[(codes >> 48) as usize] += 1;
    }
    for two in fours.remainder().chunks_exact(2) {
        even[usize::from(u16::from_le_bytes([two[0], two[1]]))] += 1;
    }
    even.iter_mut().zip(odd).for_each(|(sum, n)| *sum += n);
    even
}

impl Counted<'_> {
    /// Calls `look` with all restored values in order, in pieces of whole units of `unit` values, until it returns false.
    /// Codes are not restored.
    pub(crate) fn each_piece(self, unit: usize, mut look: impl FnMut(&[f32]) -> bool) {
        match self {
            Counted::Each(values) => {
                look(values);
            }
            Counted::Pieces(pieces) => TensorValues::Pieces(pieces).each_piece(unit, |piece| match piece {
                TensorValues::Restored(values, _) => look(values),
                _ => false,
            }),
            Counted::Codes(_) => {}
        }
    }

    /// Sums `of(value, count)` over all values. Parts are added in order.
    pub(crate) fn sum_u64<const N: usize>(self, of: impl Fn(f32, u64) -> [u64; N] + Sync) -> [u64; N] {
        let plus = |mut a: [u64; N], b: [u64; N]| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        let of_part = |part: &[f32]| part.iter().fold([0; N], |sum, &x| plus(sum, of(x, 1)));
        match self {
            Counted::Each(_) | Counted::Pieces(_) => {
                let mut sum = [0; N];
                self.each_piece(CHUNK, |values| {
                    sum = plus(sum, values.par_chunks(CHUNK).map(of_part).reduce(|| [0; N], plus));
                    true
                });
                sum
            }
            Counted::Codes(codes) => codes.iter().fold([0; N], |sum, &(x, n)| plus(sum, of(x, n))),
        }
    }

    pub(crate) fn scan(self) -> Scan {
        match self {
            Counted::Each(_) | Counted::Pieces(_) => {
                let (mut scan, first) = (Scan::default(), self.first().map_or(0, f32::to_bits));
                self.each_piece(CHUNK, |values| {
                    scan = scan.plus(Scan::of(values, first));
                    true
                });
                scan
            }
            Counted::Codes(codes) => codes.iter().fold(Scan::default(), |scan, &(x, n)| {
                // With a single code all values are alike; otherwise some differ from the first one.
                let unlike_first = u64::from(codes.len() > 1) * n;
                scan.plus(Scan { unlike_first, ..Scan::of_one(x, n) })
            }),
        }
    }

    /// One of the values: the first, where all are counted.
    pub(crate) fn first(self) -> Option<f32> {
        match self {
            Counted::Each(values) => values.first().copied(),
            Counted::Pieces(pieces) => (pieces.n() > 0).then(|| TensorValues::Pieces(pieces).at(0)),
            Counted::Codes(codes) => codes.first().map(|(x, _)| *x),
        }
    }

    /// The different values in ascending order; for many values only those of the first [`CHUNK`].
    pub(crate) fn some_distinct(self) -> Vec<f32> {
        let mut distinct: Vec<f32> = match self {
            Counted::Each(values) => values[..values.len().min(CHUNK)].to_vec(),
            Counted::Pieces(pieces) => {
                let mut first = Vec::new();
                pieces.look(0..pieces.n().min(CHUNK), &mut |values| first = values.restored());
                first
            }
            Counted::Codes(codes) => codes.iter().map(|(x, _)| *x).collect(),
        };
        distinct.sort_unstable_by(f32::total_cmp);
        distinct.dedup();
        distinct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_counted_with_none_left_over() {
        let values: Vec<f32> = (0..1003).map(|i| ((i * i) % 17) as f32 - 3.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        let codes = count_codes(TensorValues::F16(&bytes)).unwrap();
        assert_eq!(codes.iter().map(|(_, n)| n).sum::<u64>(), 1003);
        for &(x, n) in &codes {
            assert_eq!(values.iter().filter(|v| **v == x).count() as u64, n, "{x}");
        }
        assert_eq!(count_codes(TensorValues::Restored(&values, StoredPrecision::F32)), None);
    }

    #[test]
    fn a_scan_of_codes_is_the_scan_of_their_values_but_for_the_first() {
        let values = [0.0, -0.0, 1.0, 1.0 + 1.0 / 1024.0, 6e-8, f32::NAN, f32::INFINITY, 60000.0, 1.0];
        let bytes: Vec<u8> = values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        let codes = count_codes(TensorValues::F16(&bytes)).unwrap();
        let restored = TensorValues::F16(&bytes).restored();
        let (of_codes, of_values) = (Counted::Codes(&codes).scan(), Counted::Each(&restored).scan());
        assert_eq!(Scan { unlike_first: of_values.unlike_first, ..of_codes }, of_values);
        assert!(of_codes.unlike_first > 0);
    }
}
