//! The method: what is asked, what is run, what it amounts to.
//!
//! ```text
//! Plan ── prepare ──▶ Prepared (files hashed, target found) ── run ──▶ RunRecord
//!                                                               │
//!   expand → cells → stages → jobs ⇄ worker                     │
//!                               │                               │
//!                         samples → store → judge ──────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | the question, its presets, and the cells it becomes |
//! | [`run`](mod@run) | the run: files hashed, stages measured, everything kept as it comes, the record |
//! | [`judge`] | samples to numbers to judgement: pure functions |
//! | [`ask`] | one function a question, for fronts |
//! | [`sweep`] | one scheme on every layer singly, all of it or as a race |

pub mod ask;
pub mod judge;
pub mod plan;
pub mod run;
pub mod sweep;

pub use plan::{Corpus, PRESETS, Plan, PlanError, Preset};
pub use run::{Prepared, RunError, prepare, run};
