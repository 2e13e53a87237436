//! What a tensor's values say about their precision and origin, judged by evidence in bits.
//!
//! The flow:
//!
//! ```text
//! values, StoredPrecision ── scan ──▶ counts ── histogram (only where a grid holds all) ──▶ evidence
//!                                       │                                                     │
//!                                       └── offsets (only where BF16 does not) ───────────────┴──▶ TensorCensus
//! values, Scheme ── fake_quantize, exactly ──▶ Prediction
//! ```
//!
//! - [`census`] says on which float grid a tensor lies, and whether it is a converter's constant plus
//!   BF16. It looks at every value: a count it gives is exact.
//! - [`predict`] says how many values a scheme would change, by running it.
//!
//! "Lies on a grid" is a statement about values and is all that is claimed; a false alarm is worse
//! than a miss. Integer lattices, codebooks and what lies under quantized storage are not looked at yet.

mod census;
mod grid;
mod offset;
mod predict;

pub use census::{Effective, StoredPrecision, TensorCensus, census};
pub use grid::MIN_GRID_EVIDENCE_BITS;
pub use offset::{KNOWN_OFFSETS, MIN_OFFSET_EVIDENCE_BITS, Offset};
pub use predict::{Prediction, predict};
