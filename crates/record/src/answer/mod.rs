//! What questions come to: one plain type a command, printed as it is by `--json`.
//!
//! Each answer begins with the number of its format. The number is raised when a key is added, renamed or given another
//! meaning; see docs/schemas for the keys. Every number in an answer is finite.

mod chat;
mod eval;
mod sweep;
mod task;

pub use chat::{CHAT_FORMAT, ChatAnswer, ChatExchange, ChatReply};
pub use eval::{ChangedTarget, EVAL_FORMAT, EvalAnswer, EvalSettings, HeadAttention, LayerResidual};
pub use sweep::{LayerStanding, RaceTerms, SWEEP_FORMAT, SweepAnswer, SweepSettings, SweptLayer};
pub use task::{TASK_FORMAT, TaskAnswer, TaskScores, TaskSettings};
