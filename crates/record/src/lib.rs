//! Everything that is stored, sent or printed as JSON, as plain types with versions.
//!
//! | module | contents |
//! |---|---|
//! | [`format`](mod@format) | versions of documents, looked at before anything else |
//! | [`edit`] | what is edited, in which arm, beside which reference |
//! | `stored_type` | what a stored ggml type means for its values |
//! | [`engine`] | what an engine says about itself, and the settings it is pinned to |
//! | [`metric`] | the table of metrics: columns, units, directions, keys |
//! | `metric_values` | the numbers of a measurement, by the keys of that table |
//! | [`sample`], [`evidence`] | the raw columns of one window, and what an edit did |
//! | [`sampling`] | how the tokens of an answer are chosen |
//! | [`plan`] | a plan file as typed |
//! | [`stage`] | the name of a stage, and how much of the target its cells cover |
//! | [`cell`] | a cell, and what came of it |
//! | [`reason`], [`note`], [`sentence`] | why a verdict is what it is and what a reader should know, as facts and as sentences |
//! | [`headline`] | the answer to a run's question in one short sentence |
//! | [`run`] | the finished run |
//! | [`event`], [`memory`] | what happens in a run as it happens, and what a measurement takes of main memory |
//! | [`answer`] | what each command prints as JSON |
//! | [`store`] | the run folder: samples, cells, lock, journal |

pub mod answer;
pub mod cell;
pub mod edit;
pub mod engine;
pub mod event;
pub mod evidence;
pub mod format;
pub mod headline;
pub mod memory;
pub mod metric;
mod metric_values;
pub mod note;
pub mod plan;
pub mod reason;
pub mod run;
pub mod sample;
pub mod sampling;
pub mod sentence;
pub mod stage;
pub mod store;
mod stored_type;

pub use cell::*;
pub use edit::*;
pub use engine::*;
pub use event::{GateReason, RunEvent};
pub use evidence::*;
pub use format::FormatVersion;
pub use memory::{MemoryNeeds, MemoryPlan};
pub use metric::{METRICS, Metric};
pub use metric_values::{AllMetricValues, MetricValues};
pub use note::{LeftOut, Note, SpelledToken};
pub use reason::{
    BrokenLink, Changes, ControlOutcome, EffectFacts, FaultFound, FloorFacts, Found, Reason, SeedFound, TargetValues,
    Wanted,
};
pub use run::*;
pub use sample::*;
pub use sampling::Sampling;
pub use stage::*;
pub use stored_type::{is_f32, stores_floats};
