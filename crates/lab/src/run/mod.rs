//! The run: census, then stage by stage through a worker, everything kept as it comes.
//!
//! ```text
//! prepare: files hashed, target found             writes nothing
//! run:     engine facts (from the lock, or a worker), lock, store
//!          for each model: census → for each stage: measure what is missing → gate
//!          record
//! ```
//!
//! What is left to do is a pure function of plan and store, so a run that was killed goes on where it was, and a
//! finished one is only read.

use crate::judge::controls::{FILE_UNCHANGED, withholding};
use crate::plan::cells::{ModelKey, PlanTarget, expand};
use crate::plan::{Plan, PlanError};
use crate::run::measure::{Bench, Outlet, Phase};
use crate::run::model_file::{Census, ModelFile, ModelFileError};
use files::scheme_files;
use numerics::BlockCodec;
use record::Arm;
use record::MemoryNeeds;
use record::RECORD_FORMAT;
use record::RunEvent;
use record::store::lock::{LockedEngine, PlanLock, RunIdentity};
use record::store::{self, Fault, Store, StoreError};
use record::{JudgedCell, ModelRecord, RunRecord};
use select::TensorId;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use words::quoted;
use worker::memory::{self, TooLittleMemory};
use worker::{DeathCause, LinkFactory, Session, SessionError, SessionRequest};

pub mod conclude;
pub(crate) mod measure;
pub mod model_file;

/// Why a run ended without a record.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan.
    #[error(transparent)]
    Plan(Box<PlanError>),
    /// A model file.
    #[error(transparent)]
    Model(Box<ModelFileError>),
    /// One file twice.
    #[error(
        "{} and {}: the same file, wanted each model once (blake3 {file_blake3})\nhint: name it only once", .first.display(), .second.display()
    )]
    SameModel {
        /// As given.
        first: PathBuf,
        /// As given after it.
        second: PathBuf,
        /// Hash of both.
        file_blake3: String,
    },
    /// The run folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The weights alone do not fit.
    #[error("{model}: memory: {source}\nhint: {}", .source.hint())]
    Memory {
        /// Model.
        model: String,
        /// What is needed, and what is allowed.
        source: TooLittleMemory,
    },
    /// The worker died, or refused the model or the text.
    #[error("{}{}", .0, session_hint(.0))]
    Session(#[from] SessionError),
    /// The engine is not the one that was announced.
    #[error(
        "{model}: the worker says {found}, the run was begun with {wanted}\nhint: use one and the same assay for the run and its workers"
    )]
    OtherEngine {
        /// Model.
        model: String,
        /// What the worker said.
        found: String,
        /// What was announced.
        wanted: String,
    },
}

/// What can be done about an error of a session, as a line of its own.
pub fn session_hint(error: &SessionError) -> String {
    let hint = match error {
        SessionError::Died { died, .. } if died.cause.as_ref().is_some_and(DeathCause::is_memory) => {
            "--max-memory keeps a measurement within what there is"
        }
        SessionError::Died { died, .. } if died.status.is_some() => "`assay doctor` checks the engine",
        SessionError::Died { .. } | SessionError::NotRestored { .. } => "this is a bug in assay; please report it",
        SessionError::Refused { hint, .. } => hint,
        SessionError::ShortText { .. } => "give a longer text with --text, or a shorter window with --ctx",
    };
    if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") }
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
    /// 2 for bad input, 4 for an engine or disk that failed.
    pub fn exit_code(&self) -> u8 {
        let input = match self {
            RunError::Plan(_) | RunError::Model(_) | RunError::SameModel { .. } | RunError::Memory { .. } => true,
            RunError::Session(error) => error.is_input(),
            RunError::Store(error) => error.is_input(),
            RunError::OtherEngine { .. } => false,
        };
        if input { 2 } else { 4 }
    }
}

/// A plan whose files were opened, hashed and found to hold the target.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    models: Vec<ModelFile>,
    names: Vec<String>,
    identity: RunIdentity,
}

impl Prepared {
    /// A name for the run, the same for equal runs: the default run folder is `runs/<id>`.
    pub fn id(&self) -> String {
        self.identity.id()
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The models.
    pub fn models(&self) -> &[ModelFile] {
        &self.models
    }

    /// What model `index` is called in events and in the record.
    pub(crate) fn name(&self, index: usize) -> &str {
        &self.names[index]
    }
}

/// Checks a plan against its files. Writes nothing and starts nothing.
///
/// # Errors
/// When the plan's numbers, a file or the target in it cannot be used, or two models are the same file.
pub fn prepare(plan: Plan, engine_build: &str) -> Result<Prepared, RunError> {
    plan.check()?;
    let models = plan.models.iter().map(|path| ModelFile::open(path, &plan)).collect::<Result<Vec<_>, _>>()?;
    for (index, second) in models.iter().enumerate() {
        let file_blake3 = &second.locked.file_blake3;
        if let Some(first) = models[..index].iter().find(|first| first.locked.file_blake3 == *file_blake3) {
            let (first, second) = (first.path.clone(), second.path.clone());
            return Err(RunError::SameModel { first, second, file_blake3: file_blake3.clone() });
        }
    }
    let locked = models.iter().map(|model| model.locked.clone()).collect();
    let identity = plan.identity(locked, engine_build);
    Ok(Prepared { plan, models, names: identity.model_names(), identity })
}

/// Runs, resumes or re-reads the run in `dir` and writes its record there.
///
/// # Errors
/// When nothing could be concluded. Failed cells, failed controls and dead workers are part of the record instead.
pub fn run(
    prepared: &Prepared,
    dir: &Path,
    workers: &dyn LinkFactory,
    codec: &dyn BlockCodec,
    sink: &mut dyn FnMut(&RunEvent),
) -> Result<RunRecord, RunError> {
    let Prepared { plan, models, identity, .. } = prepared;
    let there = store::peek(dir)?;
    if let Some(difference) = there.as_ref().and_then(|lock| lock.identity.difference(identity)) {
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
    // A single model's worker goes on; several were ended after they had answered.
    let mut session = sessions.pop().filter(|_| models.len() == 1);
    let faults = store.faults()?;
    let command = reproduce(plan, identity, lock.chunks);

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
        benches.push(Bench::new(index, prepared, engine, key, census, cells, &outlet.store, &faults)?);
    }
    outlet.say(RunEvent::Begun {
        id: prepared.id(),
        command: command.clone(),
        resumed,
        cells: benches.iter().map(Bench::n_cells).sum(),
        finished: benches.iter().map(Bench::n_finished).sum(),
        chunks: lock.chunks,
    })?;
    if lock.chunks < plan.chunks {
        outlet.say(RunEvent::FewerChunks { wanted: plan.chunks, used: lock.chunks })?;
    }

    let mut records = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let Some((bench, later)) = benches[index..].split_first_mut() else { continue };
        outlet
            .say(RunEvent::Census { model: prepared.name(index).into(), summary: censuses[index].summary.clone() })?;
        outlet.later = later.iter().map(Bench::units_left).sum();
        stages(bench, workers, session.take(), &mut outlet)?;
        if bench.has_measured() && model.rehash()? != model.locked.file_blake3 {
            let found = "the file's hash is another one now".to_string();
            bench.add_fault(Fault { model: index, control: FILE_UNCHANGED.0.into(), found }, &mut outlet)?;
        }
        let record = model_record(model, &censuses[index], &lock.engines[index], bench, prepared);
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
    let failed_cells = cells.filter(|judged| judged.cell.failure.is_some()).count();
    outlet.say(RunEvent::Finished { controls_ok, failed_cells })?;
    Ok(record)
}

/// The record of a finished run in a folder that can only be read.
fn reread(dir: &Path, sink: &mut dyn FnMut(&RunEvent)) -> Result<RunRecord, RunError> {
    let record = store::read_run(dir)?;
    let cells = record.models.iter().flat_map(|model| &model.cells);
    let cells = cells.map(|judged| judged.cell.key.as_str()).collect::<BTreeSet<_>>().len();
    sink(&RunEvent::Begun {
        id: record.id.clone(),
        command: record.reproduce.clone(),
        resumed: true,
        cells,
        finished: cells,
        chunks: record.chunks,
    });
    Ok(record)
}

/// What is left of the method on one model, with a gate after every stage.
fn stages(
    bench: &mut Bench<'_>,
    workers: &dyn LinkFactory,
    mut session: Option<Session>,
    outlet: &mut Outlet<'_>,
) -> Result<(), RunError> {
    for phase in Phase::ALL {
        if !bench.has_cells_in(phase.stage()) {
            continue;
        }
        bench.measure(phase, workers, &mut session, outlet)?;
        let controls = bench.controls();
        let (go_on, why) = match withholding(&controls) {
            Some(control) => {
                (false, format!("{} {}: {}; results are withheld", control.name, control.outcome(), control.found))
            }
            None => (true, format!("all {} controls that can be decided so far hold", controls.len())),
        };
        outlet.say(RunEvent::Gate { model: bench.model().into(), after: phase.stage(), go_on, why })?;
        if !go_on {
            break;
        }
    }
    Ok(())
}

/// Loads every model once, before anything is written: a model or text that cannot be used leaves no trace.
fn ask_engine(prepared: &Prepared, workers: &dyn LinkFactory) -> Result<(PlanLock, Vec<Session>), RunError> {
    let mut engines = Vec::new();
    let mut sessions = Vec::new();
    for index in 0..prepared.models.len() {
        require_memory(prepared, index)?;
        let (mut session, engine) = open(prepared, index, workers)?;
        if prepared.models.len() > 1 {
            // Several loaded models at once may not fit.
            session.end();
        }
        sessions.push(session);
        engines.push(engine);
    }
    let fewest = engines.iter().map(|engine| engine.chunk_blake3.len()).min().unwrap_or(0);
    let chunks = prepared.plan.chunks.min(fewest);
    engines.iter_mut().for_each(|engine| engine.chunk_blake3.truncate(chunks));
    Ok((PlanLock::new(prepared.identity.clone(), chunks, engines), sessions))
}

/// Refuses a model whose weights do not fit the budget, before it is loaded. The rest of what a measurement takes is
/// known to the engine alone, which refuses for itself.
fn require_memory(prepared: &Prepared, index: usize) -> Result<(), RunError> {
    let (plan, file) = (&prepared.plan, &prepared.models[index]);
    let is_held = |tensor: &&TensorId| !tensor.holds_no_weights() && !tensor.ty.eq_ignore_ascii_case("f32");
    let values = |tensor: &TensorId| tensor.ne.iter().product::<u64>();
    let in_f32: u64 = file.tensors.iter().filter(is_held).map(|tensor| values(tensor).saturating_mul(4)).sum();
    let needs = MemoryNeeds {
        model_bytes: file.locked.file_bytes,
        held_in_f32_bytes: if plan.arms.contains(&Arm::Exact) { in_f32 } else { 0 },
        ..MemoryNeeds::default()
    };
    match memory::fit(&needs, plan.max_memory_bytes, 1, false) {
        Ok(_) => Ok(()),
        Err(source) => Err(RunError::Memory { model: prepared.name(index).into(), source }),
    }
}

/// A worker that has loaded a model and cut the text, and what it said of both.
pub(crate) fn open(
    prepared: &Prepared,
    index: usize,
    workers: &dyn LinkFactory,
) -> Result<(Session, LockedEngine), RunError> {
    match open_once(prepared, index, workers) {
        // Once more if it dies.
        Err(RunError::Session(SessionError::Died { .. })) => open_once(prepared, index, workers),
        done => done,
    }
}

fn open_once(
    prepared: &Prepared,
    index: usize,
    workers: &dyn LinkFactory,
) -> Result<(Session, LockedEngine), RunError> {
    let (plan, file) = (&prepared.plan, &prepared.models[index]);
    let request = SessionRequest {
        model: file.path.clone(),
        name: prepared.name(index).into(),
        settings: plan.settings.clone(),
        n_threads: plan.n_threads,
        max_memory_bytes: plan.max_memory_bytes,
        files: scheme_files::paths([&plan.scheme]),
    };
    let mut session = Session::open(workers, &request)?;
    if session.info.build != prepared.identity.engine_build {
        let (model, found) = (request.name, session.info.build.clone());
        return Err(RunError::OtherEngine { model, found, wanted: prepared.identity.engine_build.clone() });
    }
    let cut = session.cut(&plan.corpus.name, &plan.corpus.text)?;
    let info = session.info.clone();
    Ok((session, LockedEngine { info, n_tokens: cut.n_tokens, chunk_blake3: cut.window_blake3 }))
}

fn model_record(
    model: &ModelFile,
    census: &Census,
    engine: &LockedEngine,
    bench: &Bench<'_>,
    prepared: &Prepared,
) -> ModelRecord {
    let controls = bench.controls();
    let cells: Vec<JudgedCell> = conclude::judge_cells(bench.records(), bench.samples(), &controls);
    let verdicts = conclude::arm_verdicts(&cells);
    let question = &prepared.identity.question;
    let sentence = conclude::sentence((&question.target, &question.scheme), &verdicts, &cells, &controls);
    ModelRecord {
        name: bench.model().into(),
        arch: model.arch.clone(),
        file_blake3: model.locked.file_blake3.clone(),
        file_bytes: model.locked.file_bytes,
        types: model.types.clone(),
        engine: engine.info.clone(),
        precision: census.precision.clone(),
        census: census.rows.clone(),
        census_summary: census.summary.clone(),
        cells,
        controls,
        verdicts,
        sentence,
    }
}

/// The command that repeats the run, with file names but no folders; files of one name are told apart by their hash.
fn reproduce(plan: &Plan, identity: &RunIdentity, chunks: usize) -> String {
    let mut words = vec!["assay".to_string(), "run".into(), quoted(&plan.as_typed())];
    words.extend(identity.model_names().iter().map(|name| quoted(name)));
    let n_ctx = plan.settings.n_ctx;
    words.push(format!("--ctx {n_ctx} --chunks {chunks} --layer-chunks {}", plan.layer_chunks.min(chunks)));
    if plan.corpus.name != "built-in" {
        words.push(format!("--text {}", quoted(&plan.corpus.name)));
    }
    words.join(" ")
}
