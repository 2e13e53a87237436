//! The parts of a measurement as values, so that a planted fault can replace any of them.
//!
//! ```text
//! run ──jobs──▶ worker ──▶ [faulty engine] ──▶ [tap of the checks] ──▶ engine
//!  ▲              │ codec
//!  └────events────┘            read_tensor, written, folder, quantizer, scorer, key
//! ```

use eval::{Engine, EngineError, EngineSettings};
use files::rewrite::Rewrite;
use gguf::{GgufError, GgufFile, TensorInfo};
use lab::plan::cells::ModelKey;
use lab::{Plan, RunError};
use numerics::BlockCodec;
use proof::tap::Tap;
use proof::{Fast, Pipeline, Quantizer, Scorer, Scores};
use record::RunRecord;
use record::{Base, Edit};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use worker::link::{EventLines, JobLines, OpenModel, SharedCodec};
use worker::protocol::{Event, Job};
use worker::{LinkFactory, ThreadWorkers, WorkerDied, WorkerLink};

/// Changes a worker's event on its way back, drops it, or makes more of it. Each worker has a filter of its own.
pub type EventFilter = Box<dyn FnMut(Event) -> Vec<Event> + Send>;

/// Reads a tensor's bytes from its file.
type ReadTensor = Arc<dyn Fn(&GgufFile, &TensorInfo) -> Result<Vec<u8>, GgufError> + Send + Sync>;
/// Does something to a file or folder once it is written.
type OnPath = Arc<dyn Fn(&Path) + Send + Sync>;
/// Names a cell by everything that determines its numbers.
type KeyOf = Arc<dyn Fn(&ModelKey<'_>, &Base, &[Edit], &[usize]) -> String + Send + Sync>;

/// The parts of a measurement. [`Parts::new`] has those of [`proof::OwnPipeline`].
#[derive(Clone)]
pub struct Parts {
    /// Opens the engine. The checks' tap is below whatever a fault puts around it.
    pub open: OpenModel,
    /// The conversions of ggml.
    pub codec: SharedCodec,
    /// The implementation of the schemes.
    pub quantizer: Arc<dyn Quantizer + Send + Sync>,
    /// The way from logits to scores to a record.
    pub scorer: Arc<dyn Scorer + Send + Sync>,
    /// Changes a job on its way to the worker.
    pub jobs: Arc<dyn Fn(Job) -> Job + Send + Sync>,
    /// Makes the filter of one worker's events.
    pub events: Arc<dyn Fn() -> EventFilter + Send + Sync>,
    /// Reads a tensor from the container.
    pub read_tensor: ReadTensor,
    /// Damages a file that `assay quantize` has written.
    pub written: OnPath,
    /// Damages the folder of a finished run before it is used again.
    pub folder: OnPath,
    /// Makes the names of cells.
    pub key: KeyOf,
    /// What the engine itself was given and gave.
    pub tap: Tap,
}

impl Parts {
    /// The parts that the program uses, with a tap on the engine.
    pub fn new(open: OpenModel, codec: SharedCodec) -> Parts {
        let tap = Tap::default();
        Parts {
            open: tap.on(open),
            codec,
            quantizer: Arc::new(Fast),
            scorer: Arc::new(Scores),
            jobs: Arc::new(|job| job),
            events: Arc::new(|| Box::new(|event| vec![event])),
            read_tensor: Arc::new(|file, tensor| file.read_tensor(tensor)),
            written: Arc::new(|_| {}),
            folder: Arc::new(|_| {}),
            key: Arc::new(|model, base, edits, windows| model.of_cell(base, edits, windows)),
            tap,
        }
    }
}

impl Pipeline for Parts {
    fn open_engine(
        &self,
        model: &Path,
        settings: &EngineSettings,
        n_threads: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        (self.open)(model, settings, n_threads)
    }

    fn workers(&self) -> &dyn LinkFactory {
        self
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    fn codec(&self) -> &dyn BlockCodec {
        &*self.codec
    }

    fn quantizer(&self) -> &dyn Quantizer {
        &*self.quantizer
    }

    fn read_tensor(&self, file: &GgufFile, tensor: &TensorInfo) -> Result<Vec<u8>, GgufError> {
        (self.read_tensor)(file, tensor)
    }

    fn write_file(&self, rewrite: &Rewrite<'_>, path: &Path) -> Result<(), String> {
        rewrite.write(path, false, self.codec(), &mut |_, _| {}).map_err(|error| error.to_string())?;
        (self.written)(path);
        Ok(())
    }

    fn run(&self, plan: &Plan, engine_build: &str, folder: &Path) -> Result<RunRecord, RunError> {
        if record::store::is_finished(folder) {
            (self.folder)(folder);
        }
        let prepared = lab::prepare(plan.clone(), engine_build)?;
        lab::run(&prepared, folder, self, self.codec(), &|plan, _, _| plan.name.clone(), &mut |_| {})
    }

    fn cell_key(&self, model: &ModelKey<'_>, base: &Base, edits: &[Edit], windows: &[usize]) -> String {
        (self.key)(model, base, edits, windows)
    }
}

impl LinkFactory for Parts {
    /// A worker in a thread, whose lines pass the faults inside that thread: an event is changed while the engine's last
    /// pass is the one that the event is about.
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied> {
        let (open, codec) = (self.open.clone(), self.codec.clone());
        let (change, events) = (self.jobs.clone(), self.events.clone());
        let serve = move |jobs: JobLines, to_caller: EventLines| {
            let jobs = jobs.map(|line| changed(&line?, &*change));
            let events = Filtered { line: Vec::new(), filter: events(), to_caller };
            worker::serve(&|path, settings, n| open(path, settings, n), &*codec, jobs, events)
        };
        ThreadWorkers::serving(serve).start()
    }
}

/// The line of a job after the change.
fn changed(line: &str, change: &dyn Fn(Job) -> Job) -> io::Result<String> {
    let job = change(serde_json::from_str(line)?);
    Ok(serde_json::to_string(&job)?)
}

/// A worker's lines, filtered as events on their way to the caller.
struct Filtered<W> {
    line: Vec<u8>,
    filter: EventFilter,
    to_caller: W,
}

impl<W: Write> Write for Filtered<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let event = serde_json::from_slice(&self.line)?;
                self.line.clear();
                for event in (self.filter)(event) {
                    serde_json::to_writer(&mut self.to_caller, &event)?;
                    self.to_caller.write_all(b"\n")?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to_caller.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(why: &str) -> Vec<u8> {
        let event = Event::Failed { why: why.into(), hint: None, input: true };
        [serde_json::to_vec(&event).expect("JSON"), b"\n".to_vec()].concat()
    }

    #[test]
    fn a_filter_sees_whole_events_and_may_drop_and_double_them() {
        let filter: EventFilter = Box::new(|event| match &event {
            Event::Failed { why, .. } if why == "dropped" => vec![],
            Event::Failed { why, .. } if why == "doubled" => vec![event.clone(), event],
            _ => vec![event],
        });
        let mut lines = Filtered { line: Vec::new(), filter, to_caller: Vec::new() };
        let said = [line("dropped"), line("doubled"), line("kept")].concat();
        for part in said.chunks(7) {
            lines.write_all(part).expect("written");
        }
        assert_eq!(lines.to_caller, [line("doubled"), line("doubled"), line("kept")].concat());
    }

    #[test]
    fn a_job_is_changed_on_its_way() {
        let to_other = |_| Job::Corpus { text: "other".into(), special: false };
        let line = serde_json::to_string(&Job::Corpus { text: "one".into(), special: false }).expect("JSON");
        let found: Job = serde_json::from_str(&changed(&line, &to_other).expect("a line")).expect("a job");
        assert_eq!(found, to_other(found.clone()));
    }
}
