//! Granularity: which values share a scale.

use std::num::NonZeroU32;

/// The number of values of a super-block under `scale=f16hier`, as in ggml's K types.
const SUPER_BLOCK: u32 = 256;

/// Which values of a tensor share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// All values of the tensor.
    Tensor,
    /// One output channel: the `ne[0]` contiguous values of a row.
    Row,
    /// One input channel: a column, across all rows.
    Col,
    /// N contiguous values of a row. The last block of a row may be shorter.
    Block(NonZeroU32),
    /// `rows` output channels by `cols` contiguous values. The last tiles may be shorter. Rows are counted through all
    /// matrices of a tensor.
    Tile {
        /// The number of output channels in a tile: N of `@NxM`.
        rows: NonZeroU32,
        /// The number of contiguous values in a tile: M of `@NxM`.
        cols: NonZeroU32,
    },
}

impl Granularity {
    /// The number of values that share an F16 scale under `scale=f16hier`: as many whole blocks as fit into 256 values,
    /// at least one. `None` for a granularity other than blocks.
    pub(crate) fn super_block(self) -> Option<u32> {
        match self {
            Granularity::Block(n) => Some((SUPER_BLOCK / n.get()).max(1).saturating_mul(n.get())),
            _ => None,
        }
    }

    /// `@blockN` for an N that is known not to be 0.
    pub(crate) fn block(n: u32) -> Granularity {
        NonZeroU32::new(n).map_or(Granularity::Tensor, Granularity::Block)
    }

    /// The number of groups in a tensor of `rows` rows of `n_per_row` values.
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
