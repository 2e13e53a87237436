//! Why a job failed, or one cell of it, and the event that reports it to the caller.

use crate::edit::EditError;
use crate::loaded::ValuesError;
use crate::protocol::Event;
use crate::serve::CellError;
use eval::EngineError;
use std::fmt::Display;
use std::io;
use words::{Advice, Hint};

/// Why a whole job failed.
#[derive(Debug)]
pub(crate) enum JobError {
    /// Nobody reads the events any more.
    Gone(io::Error),
    /// The request is at fault.
    Input { why: String, hint: Option<Hint> },
    /// The engine is at fault.
    Engine(EngineError),
    /// Weights of the model file are not finite, so nothing that is computed with them is.
    NonfiniteWeights(String),
    /// The edit of the only variant cannot be made.
    Edit(EditError),
}

impl JobError {
    /// An error of the request, with advice.
    pub(crate) fn input(why: impl Into<String>, hint: Hint) -> JobError {
        JobError::Input { why: why.into(), hint: Some(hint) }
    }

    /// An error of the request, made from another error.
    pub(crate) fn refused(error: &(impl Display + Advice)) -> JobError {
        JobError::Input { why: error.to_string(), hint: error.hint() }
    }

    /// An error of a request that assay itself should not have made.
    pub(crate) fn impossible(why: impl Into<String>) -> JobError {
        JobError::input(why, Hint::Bug)
    }

    /// The event that reports the error.
    ///
    /// # Errors
    /// When nobody reads the events any more.
    pub(crate) fn event(self) -> Result<Event, io::Error> {
        let (why, hint, input) = match self {
            JobError::Gone(error) => return Err(error),
            JobError::Input { why, hint } => (why, hint, true),
            JobError::Engine(error) => {
                let input = matches!(error, EngineError::Unsupported { .. } | EngineError::NoSuchNode { .. });
                (error.to_string(), error.hint(), input)
            }
            JobError::NonfiniteWeights(why) => (why, Some(Hint::NonfiniteTensors), false),
            JobError::Edit(error) => (error.to_string(), error.hint(), false),
        };
        Ok(Event::Failed { why, hint, input })
    }
}

impl From<io::Error> for JobError {
    fn from(error: io::Error) -> Self {
        JobError::Gone(error)
    }
}

impl From<EngineError> for JobError {
    fn from(error: EngineError) -> Self {
        JobError::Engine(error)
    }
}

impl From<EditError> for JobError {
    fn from(error: EditError) -> Self {
        JobError::Edit(error)
    }
}

impl From<ValuesError> for JobError {
    fn from(error: ValuesError) -> Self {
        match error {
            ValuesError::Engine(error) => JobError::Engine(error),
            error => JobError::refused(&error),
        }
    }
}

impl Advice for EditError {
    fn hint(&self) -> Option<Hint> {
        match self {
            EditError::Engine(error) => error.hint(),
            EditError::Codec(error) => error.hint(),
            EditError::FakeQuant(error) => error.hint(),
            EditError::Companion(error) => error.hint(),
            EditError::Scheme(_) => None,
        }
    }
}

impl Advice for CellError {
    fn hint(&self) -> Option<Hint> {
        match self {
            CellError::Engine(error) => error.hint(),
            CellError::Edit(error) => error.hint(),
            CellError::Routing { .. } => Some(Hint::CheckEngine),
            CellError::NonFinite { .. } | CellError::NonFiniteTask { .. } => None,
        }
    }
}

impl CellError {
    /// The event that reports that this cell failed. The other cells go on.
    pub(crate) fn of_cell(&self, key: &str) -> Event {
        let nonfinite = matches!(self, CellError::NonFinite { .. } | CellError::NonFiniteTask { .. });
        Event::CellFailed { cell: key.to_owned(), why: self.to_string(), hint: self.hint(), nonfinite }
    }
}
