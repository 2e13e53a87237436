//! From samples to numbers to judgement: pure functions.
//!
//! | module | holds |
//! |---|---|
//! | [`evidence`] | from samples to a cell's numbers and its chain of evidence |
//! | `controls` | the controls of a run, and whether they hold |
//! | [`verdict`] | what a cell's chain of evidence amounts to |

pub(crate) mod controls;
pub mod evidence;
pub mod verdict;
