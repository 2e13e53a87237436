//! What a tensor's values say about their precision and origin, judged by evidence in bits.
//!
//! The flow:
//!
//! ```text
//! values, StoredPrecision ── scan ──▶ counts ── histogram (where all lie on a grid) ──▶ evidence
//!                                       │                                                 │
//!                                       └── offsets (where not all lie on BF16) ──────────┴──▶ TensorCensus
//! values, TensorCensus ── sample ── tables, lattices, few levels, each against surrogates ──▶ Search
//! bytes of a quantized tensor ── scales ──▶ Under
//! TensorCensus of each norm and of each other tensor ──▶ NormRescaling
//! values, Scheme ── fake_quantize, exactly ──▶ Prediction
//! ```
//!
//! | function | what it answers |
//! |---|---|
//! | [`survey`] | all of the following for one tensor; two-byte values are read in place |
//! | [`census`] | on which float grid a tensor lies, and whether it is a converter's transform of BF16. It reads every value, so its counts are exact |
//! | [`search`] | on which grid of blocks a tensor lies: integer lattice, codebook, small float. It reads a sample, and claims only what surrogates, blocks made to look alike, do not show as well |
//! | [`rescaled_norms`] | whether the norms of a file have another precision than its other floats |
//! | [`undecided`] | which questions stay open, whatever was found |
//! | [`under`] | what the scales of a quantized tensor tell about its source |
//! | [`distribution`], [`row_grids`] | how all values are spread, and which rows are coarser than the rest |
//! | [`predict`] | how many values a scheme would change, by running it |
//!
//! A tensor that is too large for memory is given as [`Pieces`]. It is read in several passes, one piece at a time, and the
//! answers have the same bits. Beside a piece, or a row if that is larger, memory holds 32 bytes for each row.
//!
//! "Lies on a grid" is a statement about values, and nothing more is claimed. A false alarm is worse than a miss. What
//! values cannot tell is "not decidable", with the reason.

mod census;
mod coded;
mod distinct;
mod distribution;
mod few_levels;
mod grid;
mod interval;
mod lattice;
mod offset;
mod predict;
mod rescaled;
mod rows;
mod sample;
mod scaled_float;
mod search;
mod small_float;
mod survey;
mod table;
mod undecided;
mod under;
mod values;

pub use census::{Effective, StoredPrecision, TensorCensus, census};
pub use distribution::{Distribution, OUTLIER_SIGMAS, distribution, distribution_of_pieces};
pub use few_levels::FewLevels;
pub use grid::MIN_GRID_EVIDENCE_BITS;
pub use lattice::{
    BlockCount, Lattice, MAX_SURROGATE_SHARE, MIN_HIT_SHARE, MIN_LATTICE_EVIDENCE_BITS, Requantized, ScaleClass,
};
pub use offset::{KNOWN_OFFSETS, MIN_OFFSET_EVIDENCE_BITS, Offset, Transform};
pub use predict::{Prediction, predict};
pub use rescaled::{NormRescaling, rescaled_norms};
pub use rows::{RowGrids, row_grids};
pub use sample::{Axis, BlockExtent};
pub use scaled_float::ScaledFloat;
pub use search::{BlockGrid, Search, article, search};
pub use small_float::SmallFloat;
pub use survey::{Survey, survey};
pub use table::{CODEBOOKS, Codebook, TableGrid};
pub use undecided::{Undecided, undecided};
pub use under::{BlockScales, MIN_UNDER_EVIDENCE_BITS, Under, under};
pub use values::{Pieces, TensorValues};
