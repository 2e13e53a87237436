//! One function a question: from a typed request to an answer of [`record::answer`].
//!
//! ```text
//! front: words, options ─▶ request ─▶ ask ─▶ session with a worker
//!        progress ◀──────── AskEvent ◀─┤
//!        text, JSON, exit ◀─ answer, or AskError with its kind
//! ```
//!
//! | module | asks |
//! |---|---|
//! | [`eval`](mod@eval) | what perplexity a model has, and how far a variant is from it |
//! | [`task`](mod@task) | how many multiple-choice tasks it gets right |
//! | [`chat`](mod@chat) | what it replies to prompts |
//! | [`sweep`](mod@sweep) | which layers suffer most from a scheme |
//! | [`variant`], [`error`], `residual` | what these share: the variant, what can go wrong, the control of a trace |
//!
//! Nothing here knows a command line: a front words the requests, the progress and the advice.

pub mod chat;
pub mod error;
pub mod eval;
mod residual;
pub mod sweep;
pub mod task;
pub mod variant;

pub use self::chat::{ChatRequest, chat};
pub use self::error::{AskError, AskErrorKind, NeedsVariant};
pub use self::eval::{EvalRequest, eval};
pub use self::sweep::{RaceRequest, SweepRequest, sweep};
pub use self::task::{TaskFile, TaskKind, TaskRequest, UnknownTask, task};
pub use self::variant::{Conditions, VariantRequest};

use record::MemoryPlan;
use worker::WorkerDied;

/// What is heard while a question is answered.
#[derive(Debug)]
pub enum AskEvent<'a> {
    /// The request is checked against the model's file, and measuring begins.
    Begun {
        /// The file name of the model.
        model: &'a str,
        /// What is measured one by one, at most: windows, tasks, conversations, layers.
        parts: usize,
    },
    /// A variant edits the whole of a matrix that is lookup table and output head in one.
    BothUses,
    /// The text has fewer windows than were asked for; all of it is used.
    FewerWindows {
        /// Asked for.
        wanted: usize,
        /// In the text.
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
    /// What the measurement takes of main memory.
    Memory(&'a MemoryPlan),
    /// Something that changes no number but should be known, in one line.
    Note(&'a str),
    /// Scores are measured; what attention heads look at is compared next.
    ComparingAttention,
    /// A worker is gone, and another one goes on with what is left.
    WorkerDied(&'a WorkerDied),
    /// Units of about equal size.
    Progress {
        /// Units that are done.
        done: usize,
        /// All units, as far as is known yet.
        total: usize,
    },
}

/// Hears what happens while a question is answered.
pub type Hear<'a> = dyn FnMut(AskEvent<'_>) + 'a;
