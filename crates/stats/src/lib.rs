//! Statistics of per-token scores that come in windows of `n_ctx` tokens, and the workspace's one seeded generator.
//!
//! ```text
//! scores by window ─▶ mean (clustered and i.i.d. standard error) · quantile · paired_differences
//! a mean           ─▶ Mean::exp, by the delta method
//! right answers    ─▶ Proportion (Wilson's interval) · PairedOutcomes (McNemar's test)
//! cells by window  ─▶ race: which cells have the largest means, with as few windows as that takes
//! seed             ─▶ rng: numbers, permutations
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `mean` | [`mean`], [`paired_differences`] and the errors of all estimates |
//! | `quantile` | [`sort_finite`], [`quantile`] |
//! | `delta` | [`Mean::exp`], by the delta method |
//! | `proportion` | [`Proportion`], [`PairedOutcomes`], [`wilson`] and [`mcnemar`], for shares of right answers |
//! | `race` | [`race`], with the variances from `moderated` and the quantiles from `student_t` |
//! | [`rng`] | SplitMix64 and what is computed from it |
//!
//! Names in the code say chunk, which is llama.cpp's word for a window. All sums run in the order given, in f64, so
//! equal input gives equal bits.

mod delta;
mod mean;
mod moderated;
mod proportion;
mod quantile;
mod race;
pub mod rng;
mod student_t;

pub use delta::FunctionOfMean;
pub use mean::{MIN_CHUNKS_FOR_SE, Mean, StatsError, mean, paired_differences, sum};
pub use moderated::{ChunkSample, PARTS};
pub use proportion::{PairedOutcomes, Proportion, Z_95, mcnemar, wilson};
pub use quantile::{quantile, sort_finite};
pub use race::{Race, RaceRule, Standing, race};
pub use student_t::upper_quantile;
