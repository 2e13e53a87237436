//! What happens to the values of a tensor: a scheme looks at it, then quantizes it, at once or piece by piece.
//!
//! ```text
//! Scheme ── observer ──▶ Observer ── see (all values, `passes` times) ──▶ holder ──▶ Holder ── hold (a piece) ──▶ values
//!                           │                                                          │
//!                           └─ what it learns is Known                                 └─ groups ──▶ kernel ──▶ format
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `part` | which parts of a tensor can be quantized alone |
//! | `error`, `check` | what can go wrong, and what is checked before values change |
//! | `kernel` | which kernel a scheme has, and an object-safe view of it |
//! | `clip` | the choice of the range that a scale covers |
//! | `groups` | going through a tensor group by group |
//! | `control`, `ggml` | what schemes without a kernel do: controls and ggml's own types |
//! | `holder`, `observer` | quantizing a piece, and the passes over the tensor that this needs |
//! | `fake_quantize` | both for a whole tensor in memory |
//! | `saturation` | counting values beyond the format's range |
//!
//! Each file uses only those above it in this table.
//!
//! Words for parts of a tensor, from the whole to one value:
//!
//! | word | what it is |
//! |---|---|
//! | [`Observer`](observer::Observer) | a scheme that reads a whole tensor, as often as it must, before any of it is quantized |
//! | [`TensorFacts`](holder::TensorFacts) | what it has learned then: nothing, the ranges of groups that run through the tensor, or the factor of the noise |
//! | [`Holder`](holder::Holder) | the same scheme with that knowledge; it quantizes any piece of the tensor |
//! | [`Together`](part::Together) | the values that a scheme must have at the same time: a run of values, rows, or the whole tensor |
//! | [`Piece`](part::Piece) | the values at hand: where they start in the tensor, and how long their rows are |
//! | [`GroupParts`](groups::GroupParts) | the values that a piece has of each group that runs through the tensor |
//! | [`RangeKeys`](crate::format::group::RangeKeys) | the least and the greatest value of a group while it is still being read |
//! | [`Places`](crate::format::group::Places) | the positions in the tensor of the values of one group |

pub(crate) mod check;
pub(crate) mod clip;
pub(crate) mod control;
pub(crate) mod error;
pub(crate) mod fake_quantize;
mod ggml;
pub(crate) mod groups;
pub(crate) mod holder;
pub(crate) mod kernel;
pub(crate) mod observer;
pub(crate) mod part;
mod saturation;

/// About how many values one thread works on at a time.
pub(crate) const BATCH: usize = 1 << 16;
