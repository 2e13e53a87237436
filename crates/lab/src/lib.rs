//! The method: what is asked, what is run, and what the result is.
//!
//! ```text
//! Plan ── prepare ──▶ PreparedRun (files hashed, target found) ── run ──▶ RunRecord
//!                                                               │
//!   expand → cells → stages → jobs ⇄ worker                     │
//!                               │                               │
//!                         samples → store → judge ──────────────┘
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`plan`] | the question, its presets, and the cells that answer it |
//! | [`run`](mod@run) | the run: it hashes files, measures stages, stores everything at once, and makes the record |
//! | [`judge`] | from samples to numbers to judgement, by pure functions |
//! | [`ask`] | one function for each question, for fronts |
//! | `text_notes` | what a reader should know of the text and the windows |
//! | [`sweep`] | one scheme on each layer alone, as a whole sweep or as a race |

pub mod ask;
pub mod judge;
pub mod plan;
pub mod run;
pub mod sweep;
mod text_notes;

pub use plan::{Corpus, PRESETS, Plan, PlanError, Preset};
pub use run::{PreparedRun, RunError, prepare, run};
