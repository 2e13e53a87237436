//! The identity of a run: the plan, its files, what the engine reports about them, and the lock.

use crate::plan::{Plan, PlanError, resolve};
use crate::run::model_file::ModelFile;
use crate::run::{RunError, SessionError};
use files::scheme_files;
use record::store::lock::{LockedEngine, LockedModel, PlanLock, RunIdentity};
use record::{Arm, CorpusRecord, MemoryNeeds};
use select::TensorId;
use worker::{LinkFactory, Session, SessionRequest, memory};

/// A plan whose files were opened and hashed and contain the target.
#[derive(Debug)]
pub struct PreparedRun {
    pub(super) plan: Plan,
    pub(super) models: Vec<ModelFile>,
    pub(super) identity: RunIdentity,
    names: Vec<String>,
}

impl PreparedRun {
    /// The id of the run, which equal runs share. The default run folder is `runs/<id>`.
    pub fn id(&self) -> String {
        self.identity.id()
    }

    /// The plan that was prepared.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The models in the order of the plan.
    pub fn models(&self) -> &[ModelFile] {
        &self.models
    }

    /// The name of model `index` in events and in the record.
    pub(crate) fn name(&self, index: usize) -> &str {
        &self.names[index]
    }
}

/// Checks a plan against its files. It writes nothing and starts no worker.
///
/// # Errors
/// When the plan's numbers, a file or the target in it cannot be used, or two models are the same file.
pub fn prepare(plan: Plan, engine_build: &str) -> Result<PreparedRun, RunError> {
    plan.check()?;
    if plan.allow_fallback && plan.scheme.ggml_format().is_none() {
        return Err(PlanError::NoFallback { scheme: plan.scheme.to_string() }.into());
    }
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
    let names = identity.model_names();
    Ok(PreparedRun { plan, models, identity, names })
}

impl Plan {
    /// The identity of a run of this plan on these files with this engine.
    pub fn identity(&self, models: Vec<LockedModel>, engine_build: &str) -> RunIdentity {
        RunIdentity {
            assay_version: env!("CARGO_PKG_VERSION").into(),
            engine_build: engine_build.into(),
            question: self.question(),
            positive: self.positive.to_string(),
            arms: self.arms.clone(),
            chunks: self.chunks,
            layer_chunks: self.layer_chunks,
            jitter_seeds: self.jitter_seeds.clone(),
            stages: resolve::unless_method(&self.stages),
            allow_fallback: self.allow_fallback,
            settings: self.settings.clone(),
            corpus: CorpusRecord {
                name: self.corpus.name.clone(),
                blake3: blake3::hash(self.corpus.text.as_bytes()).to_hex().to_string(),
                bytes: self.corpus.text.len() as u64,
                special: self.corpus.special,
            },
            models,
        }
    }
}

/// Loads every model once before anything is written. A model or a text that cannot be used then leaves no trace.
pub(super) fn ask_engine(
    prepared: &PreparedRun,
    workers: &dyn LinkFactory,
) -> Result<(PlanLock, Vec<Session>), RunError> {
    let mut engines = Vec::new();
    let mut sessions = Vec::new();
    for index in 0..prepared.models.len() {
        require_memory(prepared, index)?;
        let (mut session, engine) = open(prepared, index, workers)?;
        if prepared.models.len() > 1 {
            // Several models may not fit into memory at once.
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

/// Refuses a model whose weights do not fit the budget, before it is loaded. Only the engine knows what else a
/// measurement needs, and it refuses for itself.
fn require_memory(prepared: &PreparedRun, index: usize) -> Result<(), RunError> {
    let (plan, file) = (&prepared.plan, &prepared.models[index]);
    let is_restored = |tensor: &&TensorId| !tensor.holds_no_weights() && !record::is_f32(&tensor.ty);
    let values = |tensor: &TensorId| tensor.ne.iter().product::<u64>();
    let in_f32: u64 = file.tensors.iter().filter(is_restored).map(|tensor| values(tensor).saturating_mul(4)).sum();
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

/// A worker that has loaded a model and cut the text, and what it reported about both.
pub(crate) fn open(
    prepared: &PreparedRun,
    index: usize,
    workers: &dyn LinkFactory,
) -> Result<(Session, LockedEngine), RunError> {
    match open_once(prepared, index, workers) {
        // A worker that dies is started once more.
        Err(RunError::Session(SessionError::Died { .. })) => open_once(prepared, index, workers),
        done => done,
    }
}

fn open_once(
    prepared: &PreparedRun,
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
    let cut = session.cut(&plan.corpus.name, &plan.corpus.text, plan.corpus.special)?;
    let info = session.info.clone();
    Ok((session, LockedEngine { info, n_tokens: cut.n_tokens, chunk_blake3: cut.window_blake3 }))
}
