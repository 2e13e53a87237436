//! The process that owns the engine: what is said to it, how, and what it does.
//!
//! ```text
//! session ──Job──▶ link (a process, a thread) ──▶ serve ──▶ engine, schemes, metrics
//!     ▲                                             │
//!     └───────────────────Event─────────────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`protocol`] | jobs and events, one JSON object a line |
//! | [`serve`](mod@serve), `loaded`, `edit`, `jobs`, `job_error` | the loop that serves jobs, the model with what is swapped in it, one edit, jobs of their own, why one failed |
//! | [`memory`] | what is given up when a measurement does not fit |
//! | [`link`] | connections to a worker |
//! | [`session`] | the one session: opens a model, and hears what is said until a job is done |

mod edit;
mod job_error;
mod jobs;
pub mod link;
mod loaded;
pub mod memory;
pub mod protocol;
pub mod serve;
pub mod session;

pub use link::{DeathCause, LinkFactory, ProcessWorkers, ThreadWorkers, WorkerDied, WorkerLink};
pub use protocol::{CellSpec, ChunkWork, Event, Job};
pub use serve::serve;
pub use session::{CutText, InHand, Session, SessionError, SessionRequest};
