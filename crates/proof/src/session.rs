//! A worker with a model and a text, asked to measure.

use eval::{EngineInfo, EngineSettings};
use record::{Base, ReferenceSample, Sample};
use std::path::Path;
use worker::LinkFactory;
use worker::protocol::{CellSpec, ChunkWork, Event, Job};
use worker::{SessionError, SessionRequest};

/// An open worker, which has a model and a text.
pub(crate) struct TextSession {
    worker: worker::Session,
    pub(crate) info: EngineInfo,
    pub(crate) chunk_blake3: Vec<String>,
}

impl TextSession {
    /// Opens the model in a fresh worker and has it cut the text into windows.
    pub(crate) fn open(
        workers: &dyn LinkFactory,
        model: &Path,
        settings: &EngineSettings,
        n_threads: usize,
        text: &str,
    ) -> Result<TextSession, String> {
        TextSession::open_within(workers, model, settings, n_threads, None, text)
    }

    /// As [`open`](TextSession::open), within a memory budget.
    pub(crate) fn open_within(
        workers: &dyn LinkFactory,
        model: &Path,
        settings: &EngineSettings,
        n_threads: usize,
        max_memory_bytes: Option<u64>,
        text: &str,
    ) -> Result<TextSession, String> {
        let request = SessionRequest {
            model: model.into(),
            name: "the model".into(),
            settings: settings.clone(),
            n_threads,
            max_memory_bytes,
            files: Vec::new(),
        };
        let mut worker = worker::Session::open(workers, &request).map_err(why)?;
        let cut = worker.cut("the text", text, false).map_err(why)?;
        Ok(TextSession { info: worker.info.clone(), worker, chunk_blake3: cut.window_blake3 })
    }

    /// Measures these cells on the first `chunks` windows and returns every event.
    pub(crate) fn measure(&mut self, base: &Base, cells: &[CellSpec], chunks: usize) -> Result<Vec<Event>, String> {
        self.work(base, cells, chunks, false)
    }

    /// As [`measure`](TextSession::measure), with the hidden state behind each layer compared with the reference's.
    pub(crate) fn trace(&mut self, base: &Base, cells: &[CellSpec], chunks: usize) -> Result<Vec<Event>, String> {
        self.work(base, cells, chunks, true)
    }

    fn work(&mut self, base: &Base, cells: &[CellSpec], chunks: usize, trace: bool) -> Result<Vec<Event>, String> {
        let work = (0..chunks).map(|chunk| ChunkWork { chunk, cells: (0..cells.len()).collect() }).collect();
        let job = Job::Measure { base: base.clone(), cells: cells.to_vec(), chunks: work, trace };
        let mut events = Vec::new();
        let heard = self.worker.hear(&job, &mut |event| match event {
            Event::CellFailed { cell, why, .. } => Err(Heard::CellFailed(format!("cell {cell}: {why}"))),
            event => {
                events.push(event);
                Ok(())
            }
        });
        match heard {
            // What the hashes of the weights say is for the check to judge.
            Ok(()) | Err(Heard::Session(SessionError::NotRestored { .. })) => Ok(events),
            Err(Heard::CellFailed(why)) => Err(why),
            Err(Heard::Session(error)) => Err(why(error)),
        }
    }
}

/// Why the events of a job are not all there.
enum Heard {
    CellFailed(String),
    Session(SessionError),
}

impl From<SessionError> for Heard {
    fn from(error: SessionError) -> Self {
        Heard::Session(error)
    }
}

/// The reason alone: what was refused, without the names that a check does not have.
fn why(error: SessionError) -> String {
    match error {
        SessionError::Refused { why, .. } => why,
        SessionError::Died { died, .. } => died.to_string(),
        other => other.to_string(),
    }
}

/// The samples of the cell `key`, in the order in which they came.
pub(crate) fn samples<'e>(events: &'e [Event], key: &str) -> Vec<&'e Sample> {
    let of_cell = |event: &'e Event| match event {
        Event::Sample(sample) if sample.cell == key => Some(sample),
        _ => None,
    };
    events.iter().filter_map(of_cell).collect()
}

/// The samples of the reference, in the order in which they came.
pub(crate) fn references(events: &[Event]) -> Vec<&ReferenceSample> {
    events.iter().filter_map(|event| if let Event::Reference(sample) = event { Some(sample) } else { None }).collect()
}
