//! Sessions with a worker, and what their errors mean for the exit code.

use crate::failure::{Exit, Failure};
use crate::worker::workers;
use lab::Corpus;
use lab::run::session_hint;
use worker::{CutText, Event, Job, Session, SessionError, SessionRequest};

/// Starts a worker of this very program and has it load a model.
///
/// # Errors
/// When the worker dies, or the engine refuses the model.
pub fn open(request: &SessionRequest) -> Result<Session, Failure> {
    Session::open(&workers()?, request).map_err(failed)
}

/// Cuts a text into windows.
///
/// # Errors
/// When the worker dies, or the text fills no window.
pub fn cut(session: &mut Session, corpus: &Corpus) -> Result<CutText, Failure> {
    session.cut(&corpus.name, &corpus.text).map_err(failed)
}

/// Has a job done; `sink` takes in its events.
///
/// # Errors
/// When the worker dies, refuses the job or leaves the weights changed, and the errors of `sink`.
pub fn hear(
    session: &mut Session,
    job: &Job,
    sink: &mut dyn FnMut(Event) -> Result<(), Failure>,
) -> Result<(), Failure> {
    /// Keeps the exit code of a session's error apart from that of the sink's.
    struct Heard(Failure);
    impl From<SessionError> for Heard {
        fn from(error: SessionError) -> Self {
            Heard(failed(error))
        }
    }
    session.hear(job, &mut |event| sink(event).map_err(Heard)).map_err(|Heard(failure)| failure)
}

/// The failure that a session's error is.
pub fn failed(error: SessionError) -> Failure {
    let exit = match &error {
        SessionError::NotRestored { .. } => Exit::ControlFailed,
        error if error.is_input() => Exit::BadInput,
        _ => Exit::Engine,
    };
    let hint = session_hint(&error);
    Failure { exit, error: anyhow::anyhow!("{error}{hint}") }
}
