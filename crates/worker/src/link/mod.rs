//! Connections to a worker: jobs go in, events come out, and a worker that dies says its last words.

mod oom;
mod process;
mod thread;

pub use process::ProcessWorkers;
pub use thread::{EventLines, JobLines, OpenModel, SharedCodec, ThreadWorkers};

use crate::protocol::{Event, Job};
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

/// A worker that is gone, or can no longer be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker is gone: {what}{}{}; {}{}", ended(.status), told(.cause), spoken(.last_words), kept(.log))]
pub struct WorkerDied {
    /// What was noticed, such as `it ended`.
    pub what: String,
    /// How the process ended, in the system's words; `None` for a worker without a process of its own.
    pub status: Option<String>,
    /// Why it ended, where that was established.
    pub cause: Option<DeathCause>,
    /// The most telling line of the end of its standard error; empty when it said nothing.
    pub last_words: String,
    /// The file that holds all that it said, where no run keeps a log.
    pub log: Option<PathBuf>,
}

/// Why a worker ended. Stated only when it was established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathCause {
    /// assay itself stopped it.
    StoppedByAssay,
    /// An allocation failed: its last line says so.
    AllocationFailed,
    /// The kernel's out-of-memory killer ended a process while it ran, and it was ended by that signal.
    OomKiller,
    /// It said what it should not have said, so nobody listens to it any more.
    OutOfTurn,
}

impl Advice for WorkerDied {
    fn hint(&self) -> Option<Hint> {
        match &self.cause {
            Some(DeathCause::AllocationFailed | DeathCause::OomKiller) => Some(Hint::LimitMemory),
            Some(DeathCause::OutOfTurn) => Some(Hint::Bug),
            Some(DeathCause::StoppedByAssay) => None,
            None => self.status.is_some().then_some(Hint::CheckEngine),
        }
    }
}

impl WorkerDied {
    /// A worker that went on, but said what it should not have said.
    pub fn out_of_turn(what: &str) -> WorkerDied {
        WorkerDied { cause: Some(DeathCause::OutOfTurn), ..WorkerDied::misunderstood(what) }
    }

    /// A worker that could not be started or heard, or whose end has no status.
    pub fn misunderstood(what: &str) -> WorkerDied {
        WorkerDied { what: what.to_owned(), status: None, cause: None, last_words: String::new(), log: None }
    }
}

fn ended(status: &Option<String>) -> String {
    status.as_ref().map_or_else(String::new, |status| format!(" ({status})"))
}

fn told(cause: &Option<DeathCause>) -> &'static str {
    match cause {
        None | Some(DeathCause::OutOfTurn) => "",
        Some(DeathCause::StoppedByAssay) => ", stopped by assay",
        Some(DeathCause::AllocationFailed) => ", because memory could not be allocated",
        Some(DeathCause::OomKiller) => ", while the kernel's out-of-memory killer ended a process",
    }
}

fn spoken(last_words: &str) -> String {
    if last_words.is_empty() { "it said nothing".into() } else { format!("its last words: {last_words}") }
}

fn kept(log: &Option<PathBuf>) -> String {
    log.as_ref().map_or_else(String::new, |path| format!("; all that it said is in {}", path.display()))
}

/// A running worker.
pub trait WorkerLink {
    /// Hands over a job.
    ///
    /// # Errors
    /// When the worker is gone.
    fn send(&mut self, job: &Job) -> Result<(), WorkerDied>;

    /// Waits for the next event.
    ///
    /// # Errors
    /// When the worker is gone, or what it says is no event.
    fn recv(&mut self) -> Result<Event, WorkerDied>;

    /// From now on, and for all that was said before, standard error goes to this file.
    fn log_to(&mut self, _path: &Path) {}

    /// Stops the worker and frees what it holds; what it said can still be logged.
    fn end(&mut self) {}
}

/// Starts workers.
pub trait LinkFactory {
    /// A fresh worker.
    ///
    /// # Errors
    /// When none can be started.
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied>;
}
