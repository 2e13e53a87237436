//! What a measurement is made of, part by part, with every boundary between rooms open: there a planted fault is put in,
//! and there the true state of affairs can be listened to.
//!
//! ```text
//! runner ──jobs──▶ worker ──▶ engine ──▶ [tap: tokens and logits as the engine itself has them]
//!    ▲               │ codec
//!    └────events─────┘            weights, written, folder, quantizer, scorer, keys
//! ```

use crate::quantizer::{Fast, Quantizer};
use crate::scorer::{Scorer, Scores};
use crate::tap::Tap;
use eval::{Engine, EngineError, EngineSettings};
use gguf::{GgufError, GgufFile, TensorInfo};
use lab::cell::ModelKey;
use lab::protocol::{Base, Edit, Event, Job};
use lab::{LinkFactory, WorkerDied, WorkerLink};
use numerics::BlockCodec;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Opens a model.
pub type OpenModel = Arc<dyn Fn(&Path, &EngineSettings, usize) -> Result<Box<dyn Engine>, EngineError> + Send + Sync>;
/// ggml's conversions.
pub type SharedCodec = Arc<dyn BlockCodec + Send + Sync>;
/// What becomes of an event on its way to the runner; one for each worker.
pub type EventFilter = Box<dyn FnMut(Event) -> Vec<Event> + Send>;

/// Reads a tensor's bytes from its file.
type ReadTensor = Arc<dyn Fn(&GgufFile, &TensorInfo) -> Result<Vec<u8>, GgufError> + Send + Sync>;
/// What becomes of a file or folder once it is written.
type OnPath = Arc<dyn Fn(&Path) + Send + Sync>;
/// Names a cell by all that determines its numbers.
type KeyOf = Arc<dyn Fn(&ModelKey<'_>, &Base, &[Edit], &[usize]) -> String + Send + Sync>;

/// The parts. [`Parts::new`] has those that the program uses.
#[derive(Clone)]
pub struct Parts {
    /// The engine.
    pub open: OpenModel,
    /// ggml.
    pub codec: SharedCodec,
    /// Schemes.
    pub quantizer: Arc<dyn Quantizer + Send + Sync>,
    /// Scores.
    pub scorer: Arc<dyn Scorer + Send + Sync>,
    /// Runner to worker.
    pub jobs: Arc<dyn Fn(Job) -> Job + Send + Sync>,
    /// Worker to runner.
    pub events: Arc<dyn Fn() -> EventFilter + Send + Sync>,
    /// The container.
    pub weights: ReadTensor,
    /// After `assay quantize` has written a file.
    pub written: OnPath,
    /// Between two runs into one folder.
    pub folder: OnPath,
    /// Keys of cells.
    pub key: KeyOf,
    /// What the engine itself was given and gave.
    pub tap: Tap,
}

impl Parts {
    /// The parts that the program uses, with a tap on the engine.
    pub fn new(open: OpenModel, codec: SharedCodec) -> Parts {
        let tap = Tap::default();
        Parts {
            open: tap.clone().on(open),
            codec,
            quantizer: Arc::new(Fast),
            scorer: Arc::new(Scores),
            jobs: Arc::new(|job| job),
            events: Arc::new(|| Box::new(|event| vec![event])),
            weights: Arc::new(|file, tensor| file.read_tensor(tensor)),
            written: Arc::new(|_| {}),
            folder: Arc::new(|_| {}),
            key: Arc::new(|model, base, edits, chunks| model.of_cell(base, edits, chunks)),
            tap,
        }
    }
}

impl LinkFactory for Parts {
    /// A worker in a thread of this process: the same loop, spoken to in the same lines.
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied> {
        let (to_worker, lines) = channel::<String>();
        let (to_runner, events) = channel::<Event>();
        let (open, codec, filter) = (self.open.clone(), self.codec.clone(), (self.events)());
        std::thread::spawn(move || {
            let out = EventLines { line: Vec::new(), filter, to_runner };
            let lines = lines.into_iter().map(Ok::<String, io::Error>);
            // Fails only when the runner is gone, and then there is nobody to tell.
            drop(lab::worker::serve(&|path, settings, n| open(path, settings, n), &*codec, lines, out));
        });
        Ok(Box::new(InProcess { to_worker: Some(to_worker), events, jobs: self.jobs.clone() }))
    }
}

/// Lines as the worker writes them, taken as events and handed on.
struct EventLines {
    line: Vec<u8>,
    filter: EventFilter,
    to_runner: Sender<Event>,
}

impl Write for EventLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let event = serde_json::from_slice(&self.line).map_err(io::Error::other)?;
            self.line.clear();
            for event in (self.filter)(event) {
                self.to_runner.send(event).map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct InProcess {
    /// Ends the worker when dropped.
    to_worker: Option<Sender<String>>,
    events: Receiver<Event>,
    jobs: Arc<dyn Fn(Job) -> Job + Send + Sync>,
}

fn gone() -> WorkerDied {
    WorkerDied::misunderstood("it ended")
}

impl WorkerLink for InProcess {
    fn send(&mut self, job: &Job) -> Result<(), WorkerDied> {
        let line = serde_json::to_string(&(self.jobs)(job.clone())).map_err(|_| gone())?;
        self.to_worker.as_ref().ok_or_else(gone)?.send(line).map_err(|_| gone())
    }

    fn recv(&mut self) -> Result<Event, WorkerDied> {
        self.events.recv().map_err(|_| gone())
    }

    fn end(&mut self) {
        self.to_worker = None;
    }
}
