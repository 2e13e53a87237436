//! Which values of a tensor a scheme must have together; the rest can be done later, or elsewhere.

use crate::format::group::Range;
use crate::format::{Format, MX_BLCK_SIZE, NVFP4_BLCK_SIZE, ScaleFormat};
use crate::scheme::imatrix::TensorShape;
use crate::scheme::{Granularity, Scheme};
use std::fmt;

/// The values at hand, as a part of their tensor: whole rows, or some of one row, which then count as a row of their
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The index in the tensor of the first value.
    pub(crate) start: usize,
    /// The number of values of a row at hand.
    pub(crate) width: usize,
}

impl Piece {
    /// The piece that is the whole tensor.
    pub(crate) fn whole(n_per_row: usize) -> Piece {
        Piece { start: 0, width: n_per_row }
    }

    /// Of the ranges of a tensor's groups those that the piece needs: the ranges of its columns, or that of the tensor.
    pub(crate) fn ranges(self, n_per_row: usize, granularity: Granularity, ranges: &[Range]) -> &[Range] {
        match granularity {
            Granularity::Col => &ranges[self.start % n_per_row..][..self.width],
            _ => ranges,
        }
    }
}

/// The least part of a tensor that comes out alone as it would in the whole, once the [`Observer`](crate::Observer) has
/// seen all of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// This many contiguous values of a row, or any multiple of them, counted from the start of the row. The end of a
    /// row may come sooner.
    Values(u64),
    /// This many rows, or any multiple of them, counted from the first row.
    Rows(u64),
    /// The whole tensor: any value may go to any place, or a draw depends on all draws of its column before it.
    Tensor,
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Together::Values(n) => write!(f, "multiples of {n} values of a row, or whole rows"),
            Together::Rows(n) => write!(f, "multiples of {n} rows"),
            Together::Tensor => f.write_str("the whole tensor"),
        }
    }
}

impl Scheme {
    /// The values that this scheme must quantize together.
    pub fn together(&self) -> Together {
        let of_granularity = match self.granularity() {
            // The range of the tensor, or of each column, is known before.
            None | Some(Granularity::Tensor | Granularity::Col) => Together::Values(1),
            // The blocks of a row share the second scale.
            Some(Granularity::Block(_)) if self.scale() == ScaleFormat::F16Hier => Together::Rows(1),
            Some(Granularity::Block(n)) => Together::Values(n.get().into()),
            Some(Granularity::Row) => Together::Rows(1),
            Some(Granularity::Tile { rows, .. }) => Together::Rows(rows.get().into()),
        };
        match self.format() {
            Format::Minifloat { .. } | Format::Int { .. } | Format::Codebook(_) | Format::Table => of_granularity,
            Format::Mx { .. } => Together::Values(MX_BLCK_SIZE.into()),
            // The importances are those of a row's values in order.
            Format::Ggml(_) if self.file().is_some() => Together::Rows(1),
            Format::Ggml(format) => Together::Values(format.blck_size as u64),
            Format::Identity | Format::Zero | Format::Jitter { .. } => Together::Values(1),
            Format::Nvfp4 { .. } => Together::Values(NVFP4_BLCK_SIZE.into()),
            Format::Noise { .. } => match self.granularity() {
                // Each row has one stream of draws.
                Some(Granularity::Block(_)) => Together::Rows(1),
                // Each column has one stream of draws.
                Some(Granularity::Col) => Together::Tensor,
                _ => of_granularity,
            },
            Format::Shuffle { .. } => match self.granularity() {
                None | Some(Granularity::Tensor | Granularity::Col) => Together::Tensor,
                _ => of_granularity,
            },
        }
    }
}

impl Together {
    /// The piece that `n` values of a tensor from its `start`-th on are, if they are made up of such parts.
    pub(crate) fn piece(self, start: usize, n: usize, shape: TensorShape) -> Option<Piece> {
        self.fits(start, n, shape).then_some(Piece { start, width: shape.n_per_row.min(n) })
    }

    /// Whether `n` values from the `start`-th on are made up of such parts.
    fn fits(self, start: usize, n: usize, shape: TensorShape) -> bool {
        let (n_per_row, all) = (shape.n_per_row, shape.n());
        let Some(end) = start.checked_add(n).filter(|&end| end <= all && n > 0) else { return false };
        let of_rows = |rows: u64| {
            let unit = n_per_row.saturating_mul(usize::try_from(rows).unwrap_or(usize::MAX));
            start.is_multiple_of(unit) && (n.is_multiple_of(unit) || end == all)
        };
        let of_one_row = |values: u64| {
            let first = start % n_per_row;
            let last = first + n;
            let is_multiple = |n: usize| (n as u64).is_multiple_of(values);
            is_multiple(first) && (last == n_per_row || last < n_per_row && is_multiple(n))
        };
        match self {
            Together::Values(values) => of_rows(1) || of_one_row(values),
            Together::Rows(rows) => of_rows(rows),
            Together::Tensor => n == all,
        }
    }
}
