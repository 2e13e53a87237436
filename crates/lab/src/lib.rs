//! The method: what is asked, what is run, what it amounts to.
//!
//! ```text
//! Plan ── prepare ──▶ Prepared (files hashed, target found) ── run ──▶ RunRecord
//!                                                               │
//!   expand → cells → phases → protocol jobs ⇄ worker (link)     │
//!                                   │                           │
//!                             samples → store → evidence → verdict, controls → record
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`plan`], [`apply`] | the question; presets; `SELECTOR=SCHEME` |
//! | [`scheme_files`], `imatrix_file` | files that schemes name: importance matrices, codebooks |
//! | `selector`, `target_role`, `layer_set` | which tensors, by role, name, expression and layer |
//! | `target`, `activation_role` | what that means in a model: weights, single uses of one, nodes of the graph |
//! | [`cell`] | from a plan to cells with keys |
//! | [`protocol`], [`link`], [`worker`] | what is said to a worker process, how, and what it does |
//! | [`memory`] | what a measurement needs of main memory, and what is given up when it does not fit |
//! | [`model_file`] | census and prediction, before anything runs |
//! | `scorable` | whether a file can be scored at all |
//! | [`file_rewrite`], `file_header`, `rewrite_error`, `pipeline` | a new file from an old one, with tensors held in schemes |
//! | [`file_diff`], [`tensor_values`] | two files, value by value; values in pieces |
//! | `side_by_side` | whole tensors, read and looked at by as many threads as there are |
//! | [`runner`], [`run_event`] | the run, and the stream of what happens in it |
//! | [`sweep`] | one scheme on every layer singly, all of it or as a race |
//! | [`store`], [`lock`], [`journal`] | the run folder |
//! | [`evidence`], [`verdict`], `controls`, `conclude` | samples to numbers to judgement: pure functions |
//! | [`record`], [`phrase`] | the finished run as plain data; its numbers in words |

mod activation_role;
pub mod apply;
pub mod cell;
mod conclude;
mod controls;
pub mod evidence;
pub mod file_diff;
mod file_header;
pub mod file_rewrite;
mod imatrix_file;
pub mod journal;
mod layer_set;
pub mod link;
pub mod lock;
mod measure;
pub mod memory;
pub mod model_file;
pub mod phrase;
mod pipeline;
pub mod plan;
pub mod protocol;
pub mod record;
mod rewrite_error;
pub mod run_event;
pub mod runner;
pub mod scheme_files;
mod scorable;
mod selector;
mod side_by_side;
pub mod store;
pub mod sweep;
mod target;
mod target_role;
pub mod tensor_values;
pub mod thread_link;
pub mod verdict;
pub mod worker;

pub use activation_role::ActivationRole;
pub use apply::{Apply, ApplyError};
pub use layer_set::LayerSet;
pub use link::{LinkFactory, ProcessWorkers, WorkerDied, WorkerLink};
pub use plan::{Corpus, PRESETS, Plan, PlanError, Preset};
pub use run_event::RunEvent;
pub use runner::{Prepared, RunError, prepare, run};
pub use scheme_files::{SchemeFileError, SchemeFiles};
pub use scorable::{NotScorable, check_scorable};
pub use selector::{Selection, Selector, SelectorError, n_layer};
pub use side_by_side::{Held, side_by_side};
pub use store::StoreError;
pub use target::{Target, Targets, is_tied};
pub use target_role::{TargetRole, TensorId};
pub use thread_link::ThreadWorkers;
