//! Which values share a scale.

use std::num::NonZeroU32;

/// Values of a super-block of `scale=f16hier`, as of ggml's K types.
const SUPER_BLOCK: u32 = 256;

/// Which values share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// All.
    Tensor,
    /// One output channel: `ne[0]` contiguous values.
    Row,
    /// One input channel, across all rows.
    Col,
    /// N contiguous values of a row; a row's last block may be shorter.
    Block(NonZeroU32),
    /// `rows` output channels by `cols` contiguous values; the last tiles may be shorter. Rows are
    /// counted through all matrices of a tensor.
    Tile {
        /// N of `@NxM`.
        rows: NonZeroU32,
        /// M of `@NxM`.
        cols: NonZeroU32,
    },
}

impl Granularity {
    /// Values that share an F16 scale under `scale=f16hier`: as many whole blocks as 256 values hold, at least one.
    pub(crate) fn super_block(self) -> Option<u32> {
        match self {
            Granularity::Block(n) => Some((SUPER_BLOCK / n.get()).max(1).saturating_mul(n.get())),
            _ => None,
        }
    }

    /// `@blockN` for an N that is known to be one.
    pub(crate) fn block(n: u32) -> Granularity {
        NonZeroU32::new(n).map_or(Granularity::Tensor, Granularity::Block)
    }

    /// Groups of a tensor of `rows` rows of `n_per_row`.
    pub(super) fn groups(self, rows: u64, n_per_row: u64) -> u64 {
        match self {
            Granularity::Tensor => 1,
            Granularity::Row => rows,
            Granularity::Col => n_per_row,
            Granularity::Block(n) => rows * n_per_row.div_ceil(u64::from(n.get())),
            Granularity::Tile { rows: n, cols: m } => {
                rows.div_ceil(u64::from(n.get())) * n_per_row.div_ceil(u64::from(m.get()))
            }
        }
    }
}
