//! The process that owns the engine: the messages to and from it, how they travel, and the work it does.
//!
//! ```text
//! session ──Job──▶ link (a process, a thread) ──▶ serve ──▶ engine, schemes, metrics
//!     ▲                                             │
//!     └───────────────────Event─────────────────────┘
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`protocol`] | jobs and events, one JSON object a line |
//! | [`serve`](mod@serve), `loaded`, `edit`, `jobs`, `job_error` | the loop that serves jobs, the loaded model with its swapped weights, one edit, the other kinds of jobs, why a job failed |
//! | [`memory`], [`available`] | the choices that make a measurement fit in memory, and the memory that is free to use |
//! | [`link`] | connections to a worker |
//! | [`session`] | the one session: it opens a model and takes events until a job is done |

pub mod available;
mod edit;
mod job_error;
mod jobs;
pub mod link;
mod loaded;
pub mod memory;
pub mod protocol;
pub mod serve;
pub mod session;

pub use available::{AvailableMemory, MemoryBound, available_memory};
pub use link::{DeathCause, LinkFactory, ProcessWorkers, ThreadWorkers, WorkerDied, WorkerLink};
pub use loaded::beyond_training;
pub use protocol::{CellSpec, ChunkWork, Event, Job};
pub use serve::serve;
pub use session::{CutText, InHand, Session, SessionError, SessionRequest};
