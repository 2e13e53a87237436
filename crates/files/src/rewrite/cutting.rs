//! How a tensor is cut into pieces. Each piece gives the same values as in the whole tensor, and memory does not grow
//! with the file.

use crate::pieces::PIECE_VALUES;
use gguf::TensorInfo;
use numerics::{DifferenceSums, Together};

/// The number of values that one core works on at a time. They stay in its cache from the first step to the last.
const BATCH_VALUES: u64 = 1 << 16;

/// The number of values that are read at once, where the scheme does not need more. That is many batches, and the
/// waiting pieces still take little memory.
const ENOUGH_VALUES: u64 = 1 << 20;

/// The pieces of a tensor, which are read one at a time, and the batches of a piece, which the cores work on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cutting {
    n: u64,
    /// The length after which pieces start anew, in values: the whole tensor, or one row if a row is itself cut.
    stretch: u64,
    /// The number of values of a piece. The last piece of a stretch may have fewer.
    piece: u64,
    /// The number of values of a batch. The last batch of a piece may have fewer.
    batch: u64,
    /// Whether a batch consists of whole rows of the tensor. Otherwise a batch is part of one row.
    whole_rows: bool,
}

impl Cutting {
    /// The cutting for a scheme that must see as much at once as `together` says, and for types whose blocks all divide
    /// `blck_size` values.
    pub(crate) fn of(tensor: &TensorInfo, together: Together, blck_size: u64) -> Cutting {
        let (n, n_per_row) = (tensor.n_elements(), tensor.n_per_row().max(1));
        let rows = |rows: u64| {
            let unit = n_per_row.saturating_mul(rows);
            Self::in_units(n, n, unit, true)
        };
        match together {
            Together::Values(values) if n_per_row > PIECE_VALUES => {
                let unit = lcm(values, blck_size);
                Self::in_units(n, n_per_row, unit, false)
            }
            Together::Values(_) => rows(1),
            Together::Rows(band) => rows(band),
            Together::Tensor => Cutting { n, stretch: n, piece: n, batch: n, whole_rows: true },
        }
    }

    fn in_units(n: u64, stretch: u64, unit: u64, whole_rows: bool) -> Cutting {
        // Where possible, the step is a multiple of the parts over which differences are summed. The sums then equal
        // those of the tensor in one piece, to the bit.
        let step = Some(lcm(unit, DifferenceSums::PART as u64)).filter(|&step| step <= PIECE_VALUES).unwrap_or(unit);
        let batch = step.saturating_mul((BATCH_VALUES / step).max(1));
        let piece = batch.saturating_mul((ENOUGH_VALUES / batch).max(1));
        Cutting { n, stretch, piece: piece.min(stretch), batch: batch.min(stretch), whole_rows }
    }

    /// The first value and the number of values of each piece, in order.
    pub(crate) fn pieces(self) -> impl Iterator<Item = (u64, u64)> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let left = self.n.checked_sub(start).filter(|&left| left > 0)?;
            let of_stretch = self.stretch - start % self.stretch;
            let n = self.piece.min(of_stretch).min(left);
            let piece = (start, n);
            start += n;
            Some(piece)
        })
    }

    pub(super) fn batch(self) -> u64 {
        self.batch.max(1)
    }

    /// The number of values in a row of a batch of `n` values.
    pub(super) fn n_per_row(self, tensor: &TensorInfo, n: usize) -> usize {
        if self.whole_rows { tensor.n_per_row() as usize } else { n }
    }

    /// The largest number of values that are read at once.
    pub(super) fn at_once(self) -> u64 {
        self.piece
    }
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a.max(1), b.max(1));
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a.max(1) / x).saturating_mul(b.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gguf::GgmlType;

    fn tensor(n_per_row: u64, rows: u64) -> TensorInfo {
        let ne = [n_per_row, rows, 1, 1];
        TensorInfo { name: "t".into(), ty: GgmlType::F32, ne, n_dims: 2, offset: 0, nbytes: 0, shard: 0 }
    }

    fn pieces(n_per_row: u64, rows: u64, together: Together, blck_size: u64) -> (Cutting, Vec<(u64, u64)>) {
        let cutting = Cutting::of(&tensor(n_per_row, rows), together, blck_size);
        (cutting, cutting.pieces().collect())
    }

    #[test]
    fn pieces_cover_a_tensor_once_and_are_what_the_scheme_needs() {
        let shapes = [(1, 1), (64, 16), (576, 49_152), (2048, 128_256), (2049, 9000), (3, 5_000_000), (9_000_000, 3)];
        for (n_per_row, rows) in shapes {
            for together in [1, 24, 256].map(Together::Values).into_iter().chain([1, 7].map(Together::Rows)) {
                let (cutting, pieces) = pieces(n_per_row, rows, together, 32);
                let mut next = 0;
                for (start, n) in pieces {
                    assert_eq!(start, next);
                    next += n;
                    let unit = match together {
                        Together::Values(values) if n_per_row > PIECE_VALUES => {
                            assert_eq!(start / n_per_row, (next - 1) / n_per_row, "within a row");
                            assert!(next % n_per_row == 0 || n % lcm(values, 32) == 0);
                            continue;
                        }
                        Together::Values(_) => n_per_row,
                        Together::Rows(band) => n_per_row * band,
                        Together::Tensor => unreachable!(),
                    };
                    assert!(
                        start % unit == 0 && (n % unit == 0 || next == n_per_row * rows),
                        "{together:?} {start} {n}"
                    );
                    assert!(n <= PIECE_VALUES || n <= unit);
                    assert!(cutting.batch() % unit == 0 || cutting.batch() == n_per_row * rows);
                }
                assert_eq!(next, n_per_row * rows);
            }
        }
    }

    #[test]
    fn usual_rows_are_cut_at_the_parts_of_the_sums() {
        for (n_per_row, wanted) in [(576, 589_824), (4864, 1_245_184), (2048, 1 << 20), (1, 1 << 20)] {
            let (cutting, _) = pieces(n_per_row, 1 << 30, Together::Values(32), 32);
            assert_eq!(cutting.at_once(), wanted, "{n_per_row}");
            assert!(cutting.batch().is_multiple_of(DifferenceSums::PART as u64));
        }
        assert_eq!(pieces(64, 100, Together::Tensor, 1).1, [(0, 6400)]);
        assert_eq!(pieces(0, 0, Together::Rows(1), 1).1, []);
        assert_eq!(pieces(64, 0, Together::Tensor, 1).1, []);
    }
}
