//! `assay worker`: the hidden process that owns the engine. llama.cpp aborts on some bad models; in a process of its
//! own, an abort costs one cell and not the run.

use crate::failure::{Exit, Failure, Outcome};
use crate::{parent, threads};
use eval::{Engine, EngineError, EngineSettings};
use llama::{GgmlCodec, LlamaEngine};
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;
use worker::ProcessWorkers;

/// Runs `assay worker` until its input ends. Jobs come on standard input. Events go to what standard output was when
/// the process began.
pub fn run() -> Outcome {
    let events = own_descriptor_for_events().map_err(failed)?;
    let served = ::worker::serve(&open, &GgmlCodec, jobs_until_the_end()?, BufWriter::new(events));
    match served {
        Ok(()) => Ok(Exit::Done),
        // The caller has gone, so nobody can be told.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: io::Error) -> Failure {
    Failure { exit: Exit::Engine, ..Failure::from(error) }
}

/// The pipe to the caller, under a descriptor of its own. Standard output becomes standard error, so that what a
/// library prints goes to the worker's log and never among the events.
pub fn own_descriptor_for_events() -> io::Result<File> {
    let events = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    Ok(File::from(events))
}

/// The lines of standard input, read by a thread of their own. When they end, the caller has gone, and a worker must
/// not go on computing for minutes.
fn jobs_until_the_end() -> Result<impl Iterator<Item = io::Result<String>>, Failure> {
    let (sender, receiver) = mpsc::channel();
    threads::spawn("jobs", move || {
        for line in io::stdin().lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
        // A worker without work now ends by itself.
        drop(sender);
        parent::is_gone();
    })?;
    Ok(receiver.into_iter())
}

fn open(model: &Path, settings: &EngineSettings, n_threads: usize) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(LlamaEngine::open(model, settings, n_threads)?))
}

/// Starts this same program as a worker.
pub fn workers() -> Result<ProcessWorkers, Failure> {
    Ok(ProcessWorkers { program: std::env::current_exe()?, args: vec!["worker".into()] })
}
