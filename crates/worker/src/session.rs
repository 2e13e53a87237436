//! The one session with a worker: it opens a model, cuts a text into windows, and takes events until a job is done.
//!
//! A caller gives a job and receives its events. This module alone decides what it means when an event is out of turn,
//! the worker dies during a job, or the weights differ from what they were before.

use crate::link::{LinkFactory, WorkerDied, WorkerLink};
use crate::protocol::{BUILD, Event, Job};
use files::SchemeFilePath;
use record::{EngineInfo, EngineSettings};
use std::path::{Path, PathBuf};
use words::{Advice, Hint, count, plural};

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// The path of the model file, or of the first file of a split model.
    pub model: PathBuf,
    /// The name of the model in error messages.
    pub name: String,
    /// The pinned settings of the engine.
    pub settings: EngineSettings,
    /// The number of threads; 0 means one per core.
    pub n_threads: usize,
    /// The main memory that the worker may use, in bytes. `None` means that there is no limit.
    pub max_memory_bytes: Option<u64>,
    /// The files that schemes name. The worker reads them again.
    pub files: Vec<SchemeFilePath>,
}

/// A text cut into windows by the model's tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutText {
    /// The length of the text in tokens, BOS included.
    pub n_tokens: usize,
    /// The hash of the tokens of each window.
    pub window_blake3: Vec<String>,
}

/// The work that the worker was doing when it died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InHand {
    /// The worker was not working on a cell or the reference.
    Nothing,
    /// The reference, on this window (or conversation, or task).
    Reference(usize),
    /// A cell, by its key, on this window (or conversation, or task).
    Cell(String, usize),
}

/// Why a session ended or a job was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// The worker is gone.
    #[error("{name}: {died}")]
    Died {
        /// The name of the model.
        name: String,
        /// How the worker ended.
        died: Box<WorkerDied>,
        /// The work that it was doing.
        in_hand: InHand,
    },
    /// The worker cannot do what was asked.
    #[error("{about}: {why}")]
    Refused {
        /// The name of the model, and of the text where the text is at fault.
        about: String,
        /// The reason in one line.
        why: String,
        /// What the user can do about it. `None` when there is no advice.
        hint: Option<Hint>,
        /// Whether the user's input is at fault rather than the engine.
        input: bool,
    },
    /// The text does not fill one window.
    #[error("{text}: {} with the tokenizer of {name}, wanted at least one window of {}", plural(.n_tokens, "token"), count((*.n_ctx).into()))]
    ShortText {
        /// The name of the text.
        text: String,
        /// The name of the model.
        name: String,
        /// The number of tokens found.
        n_tokens: usize,
        /// The length of a window, in tokens.
        n_ctx: u32,
    },
    /// The weights differ from what they were before the job. Nothing that was measured can be trusted, so the results
    /// are withheld.
    #[error("{name}: the weights are not as they were before, results are withheld")]
    NotRestored {
        /// The name of the model.
        name: String,
        /// The hash over the touched weights before the job.
        before: String,
        /// The hash over the same weights after the job.
        after: String,
    },
}

impl Advice for SessionError {
    fn hint(&self) -> Option<Hint> {
        match self {
            SessionError::Died { died, .. } => died.hint(),
            SessionError::Refused { hint, .. } => hint.clone(),
            SessionError::ShortText { .. } => Some(Hint::LongerText),
            SessionError::NotRestored { .. } => Some(Hint::Bug),
        }
    }
}

impl SessionError {
    /// Whether the user's input is at fault, rather than the engine.
    pub fn is_input(&self) -> bool {
        match self {
            SessionError::Refused { input, .. } => *input,
            SessionError::ShortText { .. } => true,
            SessionError::Died { .. } | SessionError::NotRestored { .. } => false,
        }
    }
}

/// A worker that has loaded a model.
pub struct Session {
    link: Box<dyn WorkerLink>,
    /// The engine and the model that it has loaded.
    pub info: EngineInfo,
    name: String,
    n_ctx: u32,
}

impl Session {
    /// Starts a worker, which loads the model and the files that schemes name.
    ///
    /// # Errors
    /// When the worker dies, or the engine refuses the model or a file.
    pub fn open(workers: &dyn LinkFactory, request: &SessionRequest) -> Result<Session, SessionError> {
        let name = request.name.clone();
        let died = |died| SessionError::Died { name: name.clone(), died: Box::new(died), in_hand: InHand::Nothing };
        let mut link = workers.start().map_err(died)?;
        link.send(&Job::Open {
            build: BUILD.into(),
            model: request.model.clone(),
            settings: request.settings.clone(),
            n_threads: request.n_threads,
            max_memory_bytes: request.max_memory_bytes,
        })
        .map_err(died)?;
        let info = match link.recv().map_err(died)? {
            Event::Opened { info } => info,
            Event::Failed { why, hint, input } => {
                // The engine knows the file by its path, and the error begins with the name of the model.
                let path = format!("{}: ", request.model.display());
                let why = why.strip_prefix(&path).unwrap_or(&why).to_owned();
                return Err(SessionError::Refused { about: name, why, hint, input });
            }
            other => return Err(unexpected(other, &name, &name, InHand::Nothing)),
        };
        if !request.files.is_empty() {
            link.send(&Job::SchemeFiles { files: request.files.clone() }).map_err(died)?;
            match link.recv().map_err(died)? {
                Event::SchemeFilesRead => {}
                other => return Err(unexpected(other, &name, &name, InHand::Nothing)),
            }
        }
        Ok(Session { link, info, name, n_ctx: request.settings.n_ctx })
    }

    /// Cuts a text into windows of the model's tokens. With `special`, special tokens that are spelled in the text are
    /// read as those tokens.
    ///
    /// # Errors
    /// When the worker dies, or the text does not fill a window.
    pub fn cut(&mut self, text_name: &str, text: &str, special: bool) -> Result<CutText, SessionError> {
        let died =
            |died| SessionError::Died { name: self.name.clone(), died: Box::new(died), in_hand: InHand::Nothing };
        self.link.send(&Job::Corpus { text: text.to_owned(), special }).map_err(died)?;
        match self.link.recv().map_err(died)? {
            Event::Tokenized { n_tokens, n_chunks, chunk_blake3 } => {
                if n_chunks == 0 || chunk_blake3.len() != n_chunks {
                    let (text, name, n_ctx) = (text_name.to_owned(), self.name.clone(), self.n_ctx);
                    return Err(SessionError::ShortText { text, name, n_tokens, n_ctx });
                }
                Ok(CutText { n_tokens, window_blake3: chunk_blake3 })
            }
            other => {
                let about = format!("{text_name}, with the tokenizer of {}", self.name);
                Err(unexpected(other, &about, &self.name, InHand::Nothing))
            }
        }
    }

    /// Runs a job. `sink` receives every event of the job, in order. If `sink` fails, the session ends.
    ///
    /// # Errors
    /// When the worker dies, refuses the job, sends an event that was not asked for, or leaves the weights in another
    /// state than before. Also the errors of `sink`.
    pub fn hear<E: From<SessionError>>(
        &mut self,
        job: &Job,
        sink: &mut dyn FnMut(Event) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut in_hand = InHand::Nothing;
        let died = |name: &str, died, in_hand: &InHand| SessionError::Died {
            name: name.to_owned(),
            died: Box::new(died),
            in_hand: in_hand.clone(),
        };
        self.link.send(job).map_err(|gone| died(&self.name, gone, &in_hand))?;
        loop {
            let event = self.link.recv().map_err(|gone| died(&self.name, gone, &in_hand))?;
            if !job.asks_for(&event) {
                return Err(unexpected(event, &self.name, &self.name, in_hand).into());
            }
            if let Event::Started { cell, chunk } = &event {
                in_hand = match cell {
                    Some(key) => InHand::Cell(key.clone(), *chunk),
                    None => InHand::Reference(*chunk),
                };
            }
            let hashes = match &event {
                Event::Measured { weights_before, weights_after } => {
                    Some((weights_before.clone(), weights_after.clone()))
                }
                _ => None,
            };
            sink(event)?;
            match hashes {
                None => {}
                Some((before, after)) if before == after => return Ok(()),
                Some((before, after)) => {
                    return Err(SessionError::NotRestored { name: self.name.clone(), before, after }.into());
                }
            }
        }
    }

    /// The name of the model in error messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the worker's standard error to this file from now on, and also what came before.
    pub fn log_to(&mut self, path: &Path) {
        self.link.log_to(path);
    }

    /// Stops the worker and frees its memory. What it wrote can still be logged.
    pub fn end(&mut self) {
        self.link.end();
    }
}

/// The error for an event that does not answer the job, or that says that the job cannot be done.
fn unexpected(event: Event, about: &str, name: &str, in_hand: InHand) -> SessionError {
    match event {
        Event::Failed { why, hint, input } => SessionError::Refused { about: about.to_owned(), why, hint, input },
        other => {
            let start: String = format!("{other:?}").chars().take(200).collect();
            let died = WorkerDied::out_of_turn(&format!("it said something that was not asked for: {start}"));
            SessionError::Died { name: name.to_owned(), died: Box::new(died), in_hand }
        }
    }
}
