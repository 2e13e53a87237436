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

// Until every front names the rooms themselves.
pub use files::diff as file_diff;
pub use files::pieces as tensor_values;
pub use files::rewrite as file_rewrite;
pub use files::{Held, NotScorable, SchemeFileError, SchemeFiles, check_scorable, scheme_files, side_by_side};
pub use judge::{evidence, verdict};
/// Cells and their keys.
pub mod cell {
    pub use crate::plan::cells::*;
    pub use record::Cell;
}
pub use record;
pub use record::RunEvent;
pub use record::event as run_event;
pub use record::store::{self, StoreError, journal, lock};
pub use run as runner;
pub use run::model_file;
pub use select::apply;
pub use select::selector::SelectorError;
pub use select::{
    ActivationRole, Apply, ApplyError, LayerSet, Selection, Selector, Target, TargetRole, Targets, TensorId, is_tied,
    n_layer,
};
pub use words as phrase;
pub use worker::link;
pub use worker::{LinkFactory, ProcessWorkers, ThreadWorkers, WorkerDied, WorkerLink};
/// What a measurement needs of main memory.
pub mod memory {
    pub use record::memory::*;
    pub use worker::memory::*;
}
/// The worker and what is said to it.
pub mod protocol {
    pub use files::SchemeFilePath;
    pub use record::*;
    pub use worker::protocol::*;
}
pub use {files, select, worker};
