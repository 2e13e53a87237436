//! Estimates from per-token scores that come in chunks (windows of `n_ctx` tokens).
//!
//! scores by chunk → [`mean`] (clustered and i.i.d. standard error) · [`quantile`] · [`paired_differences`]
//! a mean → [`Mean::exp`], by the delta method
//! right answers → [`Proportion`] (Wilson's interval), [`PairedOutcomes`] (McNemar's test)
//! cells by chunk → [`race`]: which of them are the largest, with as few chunks as that takes
//!
//! All sums run in the order given, in f64: equal input gives equal bits.

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
