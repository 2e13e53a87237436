//! A worker with a model and a text: what everything that measures begins with, outside a run.

use crate::failure::{Exit, Failure};
use crate::worker;
use anyhow::anyhow;
use eval::{EngineInfo, EngineSettings};
use lab::protocol::{Event, Job, SchemeFilePath};
use lab::{Corpus, LinkFactory, RunError, WorkerDied, WorkerLink};
use std::path::PathBuf;

/// What a worker is opened with.
pub struct Wanted<'a> {
    /// The file to open; of a split model the first.
    pub model: PathBuf,
    /// What it is called in errors.
    pub name: &'a str,
    /// Pinned settings.
    pub settings: EngineSettings,
    /// Threads; 0 for one per core.
    pub n_threads: usize,
    /// Memory that it may take; `None` for what there is.
    pub max_memory_bytes: Option<u64>,
    /// Files that schemes name, for it to read.
    pub files: Vec<SchemeFilePath>,
}

/// A worker that has loaded a model.
pub struct Session {
    /// To it.
    pub link: Box<dyn WorkerLink>,
    /// What it has loaded.
    pub info: EngineInfo,
    name: String,
    n_ctx: u32,
}

impl Session {
    /// Starts a worker and has it load the model.
    ///
    /// # Errors
    /// When it dies, or the engine refuses the model.
    pub fn open(wanted: Wanted<'_>) -> Result<Session, Failure> {
        let died = |died| worker_died(wanted.name, died);
        let mut link = worker::workers()?.start().map_err(died)?;
        let n_ctx = wanted.settings.n_ctx;
        let Wanted { model, settings, n_threads, max_memory_bytes, files, .. } = wanted;
        link.send(&Job::Open { model, settings, n_threads, max_memory_bytes }).map_err(died)?;
        let info = match link.recv().map_err(died)? {
            Event::Opened { info } => info,
            other => return Err(unexpected(other, wanted.name, wanted.name)),
        };
        if !files.is_empty() {
            link.send(&Job::SchemeFiles { files }).map_err(died)?;
            match link.recv().map_err(died)? {
                Event::SchemeFilesRead => {}
                other => return Err(unexpected(other, wanted.name, wanted.name)),
            }
        }
        Ok(Session { link, info, name: wanted.name.to_owned(), n_ctx })
    }

    /// Cuts a text into windows; the bytes of text that the scored tokens of each stand for.
    ///
    /// # Errors
    /// When the worker dies, or the text fills no window.
    pub fn cut(&mut self, corpus: &Corpus) -> Result<Vec<u64>, Failure> {
        let died = |died| worker_died(&self.name, died);
        self.link.send(&Job::Corpus { text: corpus.text.clone() }).map_err(died)?;
        match self.link.recv().map_err(died)? {
            Event::Tokenized { n_tokens, chunk_scored_bytes, .. } if chunk_scored_bytes.is_empty() => {
                let (corpus, model, n_ctx) = (corpus.name.clone(), self.name.clone(), self.n_ctx);
                Err(RunError::ShortText { corpus, model, n_tokens, n_ctx }.into())
            }
            Event::Tokenized { chunk_scored_bytes, .. } => Ok(chunk_scored_bytes),
            other => {
                let about_text = format!("{} with the tokenizer of {}", corpus.name, self.name);
                Err(unexpected(other, &about_text, &self.name))
            }
        }
    }

    /// An error for an event that answers nothing that was asked, or says that it cannot be answered.
    pub fn unexpected(&self, event: Event) -> Failure {
        unexpected(event, &self.name, &self.name)
    }

    /// Whether the worker left the weights as they were; otherwise what it measured is not to be believed.
    ///
    /// # Errors
    /// When their hashes differ: exit 3.
    pub fn restored(&self, weights_before: &str, weights_after: &str) -> Result<(), Failure> {
        if weights_before == weights_after {
            return Ok(());
        }
        let error = anyhow!(
            "{}: the weights are not as they were before, results are withheld\nhint: this is a fault of assay; please report it",
            self.name
        );
        Err(Failure { exit: Exit::ControlFailed, error })
    }

    /// An error for a worker that is gone.
    pub fn died(&self, died: WorkerDied) -> Failure {
        worker_died(&self.name, died)
    }
}

fn worker_died(name: &str, died: WorkerDied) -> Failure {
    let error = RunError::Worker { model: name.to_owned(), died };
    Failure { exit: Exit::Engine, error: error.into() }
}

fn unexpected(event: Event, about: &str, name: &str) -> Failure {
    match event {
        Event::Failed { why, hint, input } => {
            let exit = if input { Exit::BadInput } else { Exit::Engine };
            let error = RunError::Refused { model: about.to_owned(), why, hint, input };
            Failure { exit, error: error.into() }
        }
        other => {
            let start: String = format!("{other:?}").chars().take(200).collect();
            worker_died(name, WorkerDied { last_words: format!("it answered out of turn: {start}") })
        }
    }
}
