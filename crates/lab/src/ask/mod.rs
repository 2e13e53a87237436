//! One function for each question: from a typed request to an answer of [`record::answer`].
//!
//! ```text
//! front: words, options ─▶ request ─▶ ask ─▶ session with a worker
//!        progress ◀──────── AskEvent ◀─┤
//!        text, JSON, exit ◀─ answer, or AskError with its kind
//! ```
//!
//! | module | question |
//! |---|---|
//! | [`eval`](mod@eval) | what perplexity does a model have, and how far is a variant from it? |
//! | [`task`](mod@task) | how many multiple-choice tasks does it get right? |
//! | [`chat`](mod@chat) | what does it reply to prompts? |
//! | [`sweep`](mod@sweep) | which layers suffer most from a scheme? |
//! | [`census`](mod@census) | what precision do the values of a file really have, and what would schemes change? |
//! | [`quantize`](mod@quantize) | write a new file with some tensors quantized |
//! | [`diff`](mod@diff) | how far apart are two files? |
//! | [`inspect`](mod@inspect) | what does a file contain, what do selectors match in it, and what schemes exist? |
//! | [`run`](mod@run) | does it matter, with all controls? And what is the result of a run, and how far has it come? |
//! | [`doctor`](mod@doctor) | can this machine and this build do all that? |
//! | [`variant`], [`error`], `residual` | shared by these: the variant, the errors, the control of a trace |
//!
//! This module does not know any command line: a front words the requests, the progress and the advice.

pub mod census;
pub mod chat;
pub mod diff;
pub mod doctor;
pub mod error;
pub mod eval;
pub mod inspect;
pub mod quantize;
mod residual;
pub mod run;
pub mod sweep;
pub mod task;
pub mod variant;

pub use self::census::{CensusRequest, census};
pub use self::chat::{ChatRequest, chat};
pub use self::diff::{DiffRequest, diff};
pub use self::doctor::{DoctorRequest, doctor};
pub use self::error::{AskError, AskErrorKind, NeedsVariant};
pub use self::eval::{EvalRequest, eval};
pub use self::inspect::{inspect, schemes, selectors};
pub use self::quantize::{QuantizeEvent, QuantizeRequest, quantize};
pub use self::run::{
    Ran, RunHeard, RunOutcome, RunQuestion, RunRequest, finished_run, report_folder, run, run_answer, status,
};
pub use self::sweep::{RaceRequest, SweepRequest, sweep};
pub use self::task::{TaskFile, TaskKind, TaskRequest, UnknownTask, task};
pub use self::variant::{Conditions, VariantRequest};

use record::{MemoryPlan, Note};
use worker::WorkerDied;

/// An event while a question is answered.
#[derive(Debug)]
pub enum AskEvent<'a> {
    /// The request was checked against the model's file, and measuring begins.
    Begun {
        /// The file name of the model.
        model: &'a str,
        /// The largest number of parts to measure: windows, tasks, conversations or layers.
        parts: usize,
    },
    /// A variant edits the whole of a matrix that is both lookup table and output head.
    BothUses,
    /// The text has fewer windows than were asked for; all of it is used.
    FewerWindows {
        /// The number of windows that were asked for.
        wanted: usize,
        /// The number of windows in the text, which are all used.
        used: usize,
    },
    /// Tasks are taken from a file.
    TasksTaken {
        /// The name of the file.
        file: &'a str,
        /// The number of tasks that are scored.
        n: usize,
        /// The number of tasks in the file.
        n_in_file: usize,
    },
    /// The main memory that the measurement needs.
    Memory(&'a MemoryPlan),
    /// Something that changes no number but that the user should know.
    Note(&'a Note),
    /// Attention is compared; the scores are measured after it.
    ComparingAttention,
    /// A worker died, and another one continues with what is left.
    WorkerDied(&'a WorkerDied),
    /// The progress in units of about equal size.
    Progress {
        /// The number of units that are done.
        done: usize,
        /// The number of all units, as far as it is known.
        total: usize,
    },
}

/// The listener for events while a question is answered.
pub type Hear<'a> = dyn FnMut(AskEvent<'_>) + 'a;
