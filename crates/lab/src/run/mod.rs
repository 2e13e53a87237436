//! The run: a census, then step by step through a worker. Everything is stored at once.
//!
//! ```text
//! prepare: files hashed, target found             writes nothing
//! run:     engine facts (from the lock, or a worker), lock, store
//!          for each model: census → for each step: measure what is outstanding → gate
//!          record
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`identity`] | the plan on its files, and the identity of the run |
//! | [`outstanding`] | what is left to measure, as a pure function of plan and store |
//! | `measure` | hands the outstanding work to a worker, and stores the results |
//! | `conclude` | from finished cells to the record, by pure functions |
//! | [`model_file`] | a model as read from its file, and its census |
//!
//! A run that was killed continues where it was. A finished one is only read.

use crate::ask::AskErrorKind;
use crate::judge::controls::FILE_UNCHANGED;
use crate::plan::cells::{ModelKey, PlanTarget, expand};
use crate::plan::gate::{Decision, FinishedSoFar};
use crate::plan::stage::steps;
use crate::plan::{Plan, PlanError};
use crate::run::conclude::Ended;
use crate::run::identity::ask_engine;
use crate::run::measure::{Bench, Outlet};
use crate::run::model_file::ModelFileError;
use crate::text_notes;
use numerics::BlockCodec;
use record::RECORD_FORMAT;
use record::sentence::census_of;
use record::store::lock::RunIdentity;
use record::store::{self, Store, StoreError, StoredFault};
use record::{FaultFound, RunEvent, RunRecord};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use words::{Advice, Hint};
use worker::memory::TooLittleMemory;
use worker::{LinkFactory, Session, SessionError};

pub(crate) mod conclude;
pub mod identity;
pub(crate) mod measure;
pub mod model_file;
pub mod outstanding;

pub use identity::{PreparedRun, prepare};

/// Why a run ended without a record.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan cannot be used.
    #[error(transparent)]
    Plan(Box<PlanError>),
    /// A model file cannot be used.
    #[error(transparent)]
    Model(Box<ModelFileError>),
    /// Two models are the same file.
    #[error(
        "{} and {}: the same file, wanted each model once (blake3 {file_blake3})", .first.display(), .second.display()
    )]
    SameModel {
        /// The path of the file as first given.
        first: PathBuf,
        /// The path of the file as given again.
        second: PathBuf,
        /// The blake3 hash of both.
        file_blake3: String,
    },
    /// The run folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The weights alone do not fit into the allowed memory.
    #[error("{model}: memory: {source}")]
    Memory {
        /// The name of the model.
        model: String,
        /// The memory that is needed and the limit.
        source: TooLittleMemory,
    },
    /// The worker died, or refused the model or the text.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The worker's engine is not the one that the run was begun with.
    #[error("{model}: the worker says {found}, the run was begun with {wanted}")]
    OtherEngine {
        /// The name of the model.
        model: String,
        /// The engine that the worker reported.
        found: String,
        /// The engine that the run was begun with.
        wanted: String,
    },
}

impl Advice for RunError {
    fn hint(&self) -> Option<Hint> {
        match self {
            RunError::Plan(error) => error.hint(),
            RunError::Model(error) => error.hint(),
            RunError::SameModel { .. } => Some(Hint::words("name it only once")),
            RunError::Store(error) => error.hint(),
            RunError::Memory { source, .. } => source.hint(),
            RunError::Session(error) => error.hint(),
            RunError::OtherEngine { .. } => Some(Hint::words("use one and the same assay for the run and its workers")),
        }
    }
}

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> Self {
        RunError::Plan(Box::new(error))
    }
}

impl From<ModelFileError> for RunError {
    fn from(error: ModelFileError) -> Self {
        RunError::Model(Box::new(error))
    }
}

impl RunError {
    /// The party that is at fault.
    pub fn kind(&self) -> AskErrorKind {
        let is_input = match self {
            RunError::Plan(_) | RunError::Model(_) | RunError::SameModel { .. } | RunError::Memory { .. } => true,
            RunError::Session(error) => return AskErrorKind::of_session(error),
            RunError::Store(error) => error.is_input(),
            RunError::OtherEngine { .. } => false,
        };
        if is_input { AskErrorKind::Input } else { AskErrorKind::Engine }
    }
}

/// How a front asks for the same run again: from its plan, its identity and the number of windows of the whole-target cells.
/// Files are named without their folders.
pub type Repeat<'a> = dyn Fn(&Plan, &RunIdentity, usize) -> String + 'a;

/// Runs, resumes or re-reads the run in `dir` and writes its record there. The record has what `repeat` says.
///
/// # Errors
/// When the run cannot come to a conclusion. Failed cells, failed controls and dead workers are part of the record
/// instead.
pub fn run(
    prepared: &PreparedRun,
    dir: &Path,
    workers: &dyn LinkFactory,
    codec: &dyn BlockCodec,
    repeat: &Repeat<'_>,
    sink: &mut dyn FnMut(&RunEvent),
) -> Result<RunRecord, RunError> {
    let PreparedRun { plan, models, identity, .. } = prepared;
    let there = store::peek(dir)?;
    if let Some(difference) = there.as_ref().and_then(|lock| lock.identity.difference(identity)) {
        // Another program may have worded its question differently, so its version comes first.
        store::peek_current(dir)?;
        return Err(StoreError::OtherRun { path: dir.into(), difference }.into());
    }
    if let Err(error) = store::check_writable(dir) {
        return if there.is_some() && store::is_finished(dir) { reread(dir, sink) } else { Err(error.into()) };
    }
    let censuses = models.iter().map(|model| model.census(plan, codec)).collect::<Result<Vec<_>, _>>()?;
    let resumed = there.is_some();
    let (lock, mut sessions) = match there {
        Some(lock) => (lock, Vec::new()),
        None => ask_engine(prepared, workers)?,
    };
    let store = Store::open(dir, &lock)?;
    for (index, session) in sessions.iter_mut().enumerate() {
        session.log_to(&store.worker_log(index));
    }
    // The worker of a single model continues. With several models, each worker ended after it had answered.
    let mut session = sessions.pop().filter(|_| models.len() == 1);
    let faults = store.faults()?;
    let command = repeat(plan, identity, lock.chunks);

    let mut outlet = Outlet::new(store, sink);
    let mut benches = Vec::new();
    for (index, (model, census)) in models.iter().zip(&censuses).enumerate() {
        let engine = &lock.engines[index];
        let key = ModelKey {
            file_blake3: &model.locked.file_blake3,
            engine_build: &identity.engine_build,
            settings: &plan.settings,
            chunk_blake3: &engine.chunk_blake3,
        };
        let target = PlanTarget { tensors: &model.tensors, chosen: &model.target, parts: &model.parts };
        let cells = expand(plan, target, key, lock.chunks);
        let steps = steps(&plan.stages, plan.layer_chunks, lock.chunks);
        benches.push(Bench::new(index, prepared, engine, key, census, steps, cells, &outlet.store, &faults)?);
    }
    outlet.say(RunEvent::Begun {
        id: prepared.id(),
        command: command.clone(),
        resumed,
        cells: benches.iter().map(Bench::n_cells).sum(),
        finished: benches.iter().map(Bench::n_finished).sum(),
        chunks: lock.chunks,
        keys: benches.iter().flat_map(Bench::keys).collect::<BTreeSet<_>>().into_iter().collect(),
    })?;
    for bench in &mut benches {
        bench.name_unusable(&mut outlet)?;
    }
    if lock.chunks < plan.chunks {
        outlet.say(RunEvent::FewerChunks { wanted: plan.chunks, used: lock.chunks })?;
    }

    let mut records = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let Some((bench, later)) = benches[index..].split_first_mut() else { continue };
        let (census, question) = (&censuses[index], &identity.question);
        let summary = census_of(question, &census.rows, census.n_nodes, &census.fallbacks);
        outlet.say(RunEvent::Census { model: prepared.name(index).into(), summary })?;
        let mut notes = text_notes::of_text(&plan.corpus, &model.special_tokens());
        for note in &notes {
            outlet.say(RunEvent::Note { model: prepared.name(index).into(), note: note.clone() })?;
        }
        notes.extend(worker::beyond_training(plan.settings.n_ctx, lock.engines[index].info.n_ctx_train));
        if let Some(note) = plan.target.leaves_out(&model.tensors) {
            outlet.say(RunEvent::Note { model: prepared.name(index).into(), note })?;
        }
        outlet.later = later.iter().map(Bench::passes_left).sum();
        measure_steps(bench, workers, session.take(), &mut outlet)?;
        if bench.has_measured() {
            let (before, after) = (model.locked.file_blake3.clone(), model.rehash()?);
            if before != after {
                let found = FaultFound::FileChanged { before, after };
                bench.add_fault(StoredFault { model: index, control: FILE_UNCHANGED.into(), found }, &mut outlet)?;
            }
        }
        let record = Ended {
            name: prepared.name(index),
            model,
            census: &censuses[index],
            engine: &lock.engines[index],
            notes,
            cells: bench.records(),
            samples: bench.samples(),
            controls: bench.controls(),
        }
        .record();
        for verdict in &record.verdicts {
            outlet.say(RunEvent::Verdict {
                model: record.name.clone(),
                arm: verdict.arm,
                verdict: verdict.verdict,
                why: verdict.why.clone(),
            })?;
        }
        records.push(record);
    }

    let controls_ok = records.iter().all(|model| model.controls.iter().all(|control| control.ok));
    let record = RunRecord {
        format: RECORD_FORMAT,
        assay_version: identity.assay_version.clone(),
        id: prepared.id(),
        question: identity.question.clone(),
        corpus: identity.corpus.clone(),
        settings: plan.settings.clone(),
        chunks: lock.chunks,
        layer_chunks: plan.layer_chunks.min(lock.chunks),
        jitter_seeds: plan.jitter_seeds.clone(),
        models: records,
        controls_ok,
        reproduce: command,
    };
    outlet.store.write_run(&record)?;
    let cells = record.models.iter().flat_map(|model| &model.cells);
    let failed_cells = cells.filter(|judged| judged.cell.lack().is_some()).count();
    outlet.say(RunEvent::Finished { controls_ok, failed_cells })?;
    Ok(record)
}

/// The record of a finished run in a folder that can only be read.
fn reread(dir: &Path, sink: &mut dyn FnMut(&RunEvent)) -> Result<RunRecord, RunError> {
    let record = store::read_run(dir)?;
    let cells = record.models.iter().flat_map(|model| &model.cells);
    let keys: BTreeSet<String> = cells.map(|judged| judged.cell.key.clone()).collect();
    let cells = keys.len();
    sink(&RunEvent::Begun {
        id: record.id.clone(),
        command: record.reproduce.clone(),
        resumed: true,
        cells,
        finished: cells,
        chunks: record.chunks,
        keys: keys.into_iter().collect(),
    });
    Ok(record)
}

/// Measures what is left of the method on one model, and asks the gate after every step.
fn measure_steps(
    bench: &mut Bench<'_>,
    workers: &dyn LinkFactory,
    mut session: Option<Session>,
    outlet: &mut Outlet<'_>,
) -> Result<(), RunError> {
    for (index, step) in bench.steps().to_vec().into_iter().enumerate() {
        if !bench.has_cells_in(&step) {
            continue;
        }
        bench.measure(index, workers, &mut session, outlet)?;
        let Some(gate) = step.gate else { continue };
        let Decision { go_on, why } = gate.decide(&FinishedSoFar { controls: &bench.controls() });
        outlet.say(RunEvent::Gate { model: bench.model().into(), after: step.name, go_on, why })?;
        if !go_on {
            break;
        }
    }
    Ok(())
}
