//! Connections to a worker: jobs go in, events come out, and a worker that dies says its last words.

mod process;

pub use process::ProcessWorkers;

use crate::protocol::{Event, Job};
use std::path::Path;

/// A worker that is gone, or can no longer be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker is gone: {last_words}")]
pub struct WorkerDied {
    /// How it ended and the end of its standard error.
    pub last_words: String,
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
