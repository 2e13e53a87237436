//! From samples to numbers to judgement. All functions are pure.
//!
//! | module | contents |
//! |---|---|
//! | [`evidence`] | from samples to a cell's numbers and its chain of evidence |
//! | `controls` | the controls of a run, and whether they hold |
//! | [`verdict`] | the verdict on a cell from its chain of evidence |

pub(crate) mod controls;
pub mod evidence;
pub mod verdict;
