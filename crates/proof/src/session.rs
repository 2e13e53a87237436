//! A worker with a model and a text, asked to measure.

use eval::{EngineInfo, EngineSettings};
use lab::protocol::{Base, CellSpec, ChunkWork, Event, Job, ReferenceSample, Sample};
use lab::{LinkFactory, WorkerLink};
use std::path::Path;

/// An open worker, which has a model and a text.
pub(crate) struct Session {
    link: Box<dyn WorkerLink>,
    pub(crate) info: EngineInfo,
    pub(crate) chunk_blake3: Vec<String>,
}

impl Session {
    /// Opens the model in a fresh worker and has it cut the text into windows.
    pub(crate) fn open(
        workers: &dyn LinkFactory,
        model: &Path,
        settings: &EngineSettings,
        n_threads: usize,
        text: &str,
    ) -> Result<Session, String> {
        Session::open_within(workers, model, settings, n_threads, None, text)
    }

    /// As [`open`](Session::open), within a memory budget.
    pub(crate) fn open_within(
        workers: &dyn LinkFactory,
        model: &Path,
        settings: &EngineSettings,
        n_threads: usize,
        max_memory_bytes: Option<u64>,
        text: &str,
    ) -> Result<Session, String> {
        let mut link = workers.start().map_err(|died| died.to_string())?;
        link.send(&Job::Open { model: model.into(), settings: settings.clone(), n_threads, max_memory_bytes })
            .map_err(|died| died.to_string())?;
        let info = match link.recv().map_err(|died| died.to_string())? {
            Event::Opened { info } => info,
            other => return Err(why(other)),
        };
        link.send(&Job::Corpus { text: text.into() }).map_err(|died| died.to_string())?;
        match link.recv().map_err(|died| died.to_string())? {
            Event::Tokenized { chunk_blake3, .. } => Ok(Session { link, info, chunk_blake3 }),
            other => Err(why(other)),
        }
    }

    /// Measures these cells on the first `chunks` windows and returns every event.
    pub(crate) fn measure(&mut self, base: &Base, cells: &[CellSpec], chunks: usize) -> Result<Vec<Event>, String> {
        self.work(base, cells, chunks, false)
    }

    /// As [`measure`](Session::measure), with the hidden state behind each layer compared with the reference's.
    pub(crate) fn trace(&mut self, base: &Base, cells: &[CellSpec], chunks: usize) -> Result<Vec<Event>, String> {
        self.work(base, cells, chunks, true)
    }

    fn work(&mut self, base: &Base, cells: &[CellSpec], chunks: usize, trace: bool) -> Result<Vec<Event>, String> {
        let work = (0..chunks).map(|chunk| ChunkWork { chunk, cells: (0..cells.len()).collect() }).collect();
        let job = Job::Measure { base: base.clone(), cells: cells.to_vec(), chunks: work, trace };
        self.link.send(&job).map_err(|died| died.to_string())?;
        let mut events = Vec::new();
        loop {
            match self.link.recv().map_err(|died| died.to_string())? {
                event @ Event::Failed { .. } => return Err(why(event)),
                Event::CellFailed { cell, why } => return Err(format!("cell {cell}: {why}")),
                event => {
                    let ends = matches!(event, Event::Measured { .. });
                    events.push(event);
                    if ends {
                        return Ok(events);
                    }
                }
            }
        }
    }
}

fn why(event: Event) -> String {
    match event {
        Event::Failed { why, .. } => why,
        other => format!("it answered out of turn: {}", format!("{other:?}").chars().take(200).collect::<String>()),
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
