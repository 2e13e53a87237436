//! Connections to a worker: jobs go in and events come out. A worker that dies leaves its last words.

mod kept;
mod oom;
mod process;
mod thread;

pub use process::ProcessWorkers;
pub use thread::{EventLines, JobLines, OpenModel, SharedCodec, ThreadWorkers};

use crate::protocol::{Event, Job};
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

/// A worker that is gone or no longer follows the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", said(self))]
pub struct WorkerDied {
    /// What was noticed, such as `it ended`, or why it cannot be started.
    pub what: String,
    /// How the process ended, in the system's words. `None` for a worker without a process of its own.
    pub status: Option<String>,
    /// Why the worker ended. `None` when that is not known.
    pub cause: Option<DeathCause>,
    /// The most telling line at the end of its standard error. It is empty when the worker wrote nothing.
    pub last_words: String,
    /// The file with all of its standard error. `None` when a run keeps the log.
    pub log: Option<PathBuf>,
}

/// Why a worker ended. It is stated only when it is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathCause {
    /// It never lived: the system did not start it.
    NotStarted,
    /// assay itself stopped the worker.
    StoppedByAssay,
    /// An allocation failed, as the worker's last line says.
    AllocationFailed,
    /// The kernel's out-of-memory killer ended a process while the worker ran, and the worker ended by that signal.
    OomKiller,
    /// SIGKILL ended it, and assay did not send it. Whoever did is not known.
    Killed,
    /// The worker sent an event that it should not have sent, so nobody listens to it any more.
    OutOfTurn,
}

impl Advice for WorkerDied {
    fn hint(&self) -> Option<Hint> {
        match &self.cause {
            Some(DeathCause::AllocationFailed | DeathCause::OomKiller) => Some(Hint::LimitMemory),
            Some(DeathCause::OutOfTurn) => Some(Hint::Bug),
            // The engine has no part in it, so nothing that is known would help.
            Some(DeathCause::StoppedByAssay | DeathCause::Killed) => None,
            Some(DeathCause::NotStarted) => Some(Hint::words(
                "it needs a process, threads and memory of its own, which limits of the system may deny (ulimit -a, pids.max)",
            )),
            None => self.status.is_some().then_some(Hint::CheckEngine),
        }
    }
}

impl WorkerDied {
    /// The report on a worker that the system did not start.
    pub fn not_started(what: &str) -> WorkerDied {
        WorkerDied { cause: Some(DeathCause::NotStarted), ..WorkerDied::misunderstood(what) }
    }

    /// The death of a worker that still ran but sent an event that it should not have sent.
    pub fn out_of_turn(what: &str) -> WorkerDied {
        WorkerDied { cause: Some(DeathCause::OutOfTurn), ..WorkerDied::misunderstood(what) }
    }

    /// The death of a worker that was not understood, or whose end has no status.
    pub fn misunderstood(what: &str) -> WorkerDied {
        WorkerDied { what: what.to_owned(), status: None, cause: None, last_words: String::new(), log: None }
    }
}

fn said(died: &WorkerDied) -> String {
    let WorkerDied { what, status, cause, last_words, log } = died;
    match cause {
        Some(DeathCause::NotStarted) => format!("the worker cannot be started: {what}"),
        _ => {
            let (ended, told, spoken) = (ended(status), told(cause), spoken(last_words));
            format!("the worker is gone: {what}{ended}{told}; {spoken}{}", kept(log))
        }
    }
}

fn ended(status: &Option<String>) -> String {
    status.as_ref().map_or_else(String::new, |status| format!(" ({status})"))
}

fn told(cause: &Option<DeathCause>) -> &'static str {
    match cause {
        None | Some(DeathCause::OutOfTurn | DeathCause::NotStarted | DeathCause::Killed) => "",
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
    /// Sends a job to the worker.
    ///
    /// # Errors
    /// When the worker is gone.
    fn send(&mut self, job: &Job) -> Result<(), WorkerDied>;

    /// Waits for the next event.
    ///
    /// # Errors
    /// When the worker is gone, or what it sends is not an event.
    fn recv(&mut self) -> Result<Event, WorkerDied>;

    /// Writes standard error to this file from now on, and also what came before.
    fn log_to(&mut self, _path: &Path) {}

    /// Stops the worker and frees its memory. What it wrote can still be logged.
    fn end(&mut self) {}
}

/// A source of workers.
pub trait LinkFactory {
    /// Starts a fresh worker.
    ///
    /// # Errors
    /// When no worker can be started.
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied>;
}
