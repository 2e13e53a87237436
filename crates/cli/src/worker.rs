//! `assay worker`: the hidden process that owns the engine. llama.cpp aborts on some bad models; an
//! abort here costs a cell, not the run.

use crate::failure::{Exit, Failure, Outcome};
use eval::{Engine, EngineError, EngineSettings};
use lab::ProcessWorkers;
use llama::{GgmlCodec, LlamaEngine};
use std::io::{self, BufWriter};
use std::path::Path;

/// Runs `assay worker`: jobs come on standard input, events go to standard output, until the input ends.
pub fn run() -> Outcome {
    let served = lab::worker::serve(&open, &GgmlCodec, io::stdin().lines(), BufWriter::new(io::stdout()));
    match served {
        Ok(()) => Ok(Exit::Done),
        // Whoever asked has gone: there is nobody left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure { exit: Exit::Engine, error: error.into() }),
    }
}

fn open(model: &Path, settings: &EngineSettings, n_threads: usize) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(LlamaEngine::open(model, settings, n_threads)?))
}

/// Starts this very program as a worker.
pub fn workers() -> Result<ProcessWorkers, Failure> {
    Ok(ProcessWorkers { program: std::env::current_exe()?, args: vec!["worker".into()] })
}
