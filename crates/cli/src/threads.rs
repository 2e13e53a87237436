//! Threads, which the system may refuse (`ulimit -u`, `pids.max`, no memory for their stacks). A refusal is an error with an
//! exit code, and never a panic.

use crate::failure::{Exit, Failure};
use anyhow::anyhow;
use std::fmt::Display;
use std::thread::{Builder, JoinHandle};

/// Starts the threads that all parallel work of this process shares, one for each core. Without this call, the first parallel
/// work would start them, and would panic if it could not.
///
/// # Errors
/// When the system refuses a thread.
pub fn start_pool() -> Result<(), Failure> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| refused(&error))
}

/// Starts a thread of its own.
///
/// # Errors
/// When the system refuses it.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    Builder::new().name(name.into()).spawn(work).map_err(|error| refused(&error))
}

fn refused(error: &dyn Display) -> Failure {
    let hint = "raise the limit on processes and threads (ulimit -u, pids.max) or on memory (ulimit -v)";
    Failure { exit: Exit::Engine, error: anyhow!("the system refuses a thread: {error}"), hint: Some(hint.into()) }
}
