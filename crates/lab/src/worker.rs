//! The worker's side of the [`protocol`](crate::protocol): one model, one job at a time, events as they happen.
//!
//! A measure job works in rounds of as many windows as the engine takes side by side. In each round the reference runs
//! once, and its logits stay in memory; then every cell runs on the same windows with its edits swapped in, and is
//! undone. Memory beyond the model is the logits of one round and the weights of one cell.

use crate::protocol::{
    ActivationEvidence, Arm, Base, Carrier, CellSpec, ChunkWork, Edit, Event, Job, ReferenceSample, Sample,
    TensorEvidence,
};
use eval::window::{first_scored, windows, without_trailing_newline};
use eval::{Engine, EngineError, EngineSettings, NonFinite, Prefix, ReferenceWindow, Token, VariantScores};
use numerics::{BlockCodec, CodecError, FakeQuantError, Scheme, TensorContext, difference};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Edited weights kept between rounds; what does not fit is computed anew in each.
const KEPT_EDITS_BYTES: usize = 512 << 20;

/// Opens a model: path, settings, threads.
pub type OpenEngine<'a> = dyn Fn(&Path, &EngineSettings, usize) -> Result<Box<dyn Engine>, EngineError> + 'a;

/// Serves jobs until `lines` ends: one JSON object a line in, one a line out.
///
/// # Errors
/// When `lines` or `output` fails; whoever asked is gone then.
pub fn serve(
    open: &OpenEngine<'_>,
    codec: &dyn BlockCodec,
    lines: impl Iterator<Item = io::Result<String>>,
    output: impl Write,
) -> io::Result<()> {
    let mut worker = Worker { codec, output, loaded: None };
    for line in lines {
        let answer = match serde_json::from_str::<Job>(&line?) {
            Ok(job) => worker.work(open, job),
            Err(error) => Err(JobError::Input {
                why: format!("a job that cannot be read: {error}"),
                hint: "runner and worker must be the same version of assay".into(),
            }),
        };
        match answer {
            Ok(()) => {}
            Err(JobError::Gone(error)) => return Err(error),
            Err(JobError::Input { why, hint }) => worker.say(&Event::Failed { why, hint, input: true })?,
            Err(JobError::Engine(EngineError::Unsupported { what, hint })) => {
                worker.say(&Event::Failed { why: what, hint, input: true })?;
            }
            Err(JobError::Engine(error)) => {
                let hint = "`assay doctor` checks the engine; of a run, worker-N.stderr in its folder has all that llama.cpp said";
                let hint = hint.into();
                worker.say(&Event::Failed { why: error.to_string(), hint, input: false })?;
            }
        }
    }
    Ok(())
}

/// Why a whole job failed.
#[derive(Debug)]
enum JobError {
    /// Nobody listens any more.
    Gone(io::Error),
    /// The request is at fault.
    Input { why: String, hint: String },
    /// The engine is.
    Engine(EngineError),
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

/// Why one cell failed; the others go on.
#[derive(Debug, thiserror::Error)]
enum CellError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    FakeQuant(#[from] FakeQuantError),
    #[error("{0}")]
    Scheme(String),
    #[error("chunk {chunk}: {source}")]
    NonFinite { chunk: usize, source: NonFinite },
}

/// A model with a text cut into windows.
struct Loaded {
    engine: Box<dyn Engine>,
    settings: EngineSettings,
    /// ggml type of each weight in the file.
    stored: BTreeMap<String, String>,
    windows: Vec<Vec<Token>>,
    /// Names of swapped weights, in order: undone from the end.
    swapped: Vec<String>,
    /// Whether starting from a recorded prefix gave the bits of a full pass on this model; `None` until tried.
    prefix_is_exact: Option<bool>,
}

struct Worker<'a, W> {
    codec: &'a dyn BlockCodec,
    output: W,
    loaded: Option<Loaded>,
}

/// An edit ready to be swapped in.
#[derive(Clone)]
struct Prepared {
    tensor: String,
    ty: String,
    bytes: Arc<Vec<u8>>,
}

/// A cell of the job in hand.
struct ActiveCell<'j> {
    spec: &'j CellSpec,
    /// First layer whose weights it touches, as far as names tell; the prefix before it is the reference's.
    first_layer: usize,
    prepared: Option<Vec<Prepared>>,
    /// Whether `prepared` stays in memory between rounds.
    kept: bool,
    applied: bool,
    failed: bool,
}

impl<W: Write> Worker<'_, W> {
    fn say(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, event)?;
        self.output.write_all(b"\n")?;
        self.output.flush()
    }

    fn work(&mut self, open: &OpenEngine<'_>, job: Job) -> Result<(), JobError> {
        match job {
            Job::Open { model, settings, n_threads } => {
                self.loaded = None;
                let engine = open(&model, &settings, n_threads)?;
                let info = engine.info().clone();
                let stored = engine.weights().iter().map(|w| (w.name.clone(), w.ty.clone())).collect();
                self.loaded = Some(Loaded {
                    engine,
                    settings,
                    stored,
                    windows: Vec::new(),
                    swapped: Vec::new(),
                    prefix_is_exact: None,
                });
                self.say(&Event::Opened { info })?;
            }
            Job::Corpus { text } => {
                let loaded = self.loaded.as_mut().ok_or_else(no_model)?;
                let event = loaded.cut(&text)?;
                self.say(&event)?;
            }
            Job::Measure { base, cells, chunks } => self.measure(&base, &cells, &chunks)?,
        }
        Ok(())
    }

    fn measure(&mut self, base: &Base, cells: &[CellSpec], chunks: &[ChunkWork]) -> Result<(), JobError> {
        let mut loaded = self.loaded.take().ok_or_else(no_model)?;
        let result = self.measure_on(&mut loaded, base, cells, chunks);
        self.loaded = Some(loaded);
        result
    }

    fn measure_on(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        cells: &[CellSpec],
        chunks: &[ChunkWork],
    ) -> Result<(), JobError> {
        check(loaded, cells, chunks)?;
        let in_f32 = loaded.held_in_f32(base, self.codec);
        let touched: BTreeSet<&str> = cells
            .iter()
            .flat_map(|c| &c.edits)
            .map(|e| e.tensor.as_str())
            .chain(in_f32.iter().map(String::as_str))
            .collect();
        let weights_before = loaded.hash_of(&touched)?;
        let rounds = loaded.hold_in_f32(&in_f32, self.codec).and_then(|()| self.rounds(loaded, base, cells, chunks));
        loaded.unwind(0)?;
        rounds?;
        let weights_after = loaded.hash_of(&touched)?;
        self.say(&Event::Measured { weights_before, weights_after })?;
        Ok(())
    }

    fn rounds(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        cells: &[CellSpec],
        chunks: &[ChunkWork],
    ) -> Result<(), JobError> {
        let mut active: Vec<ActiveCell<'_>> = cells.iter().map(ActiveCell::new).collect();
        let mut kept_bytes = 0usize;
        let width = loaded.engine.n_parallel().max(1);
        let mut references: Vec<Mutex<ReferenceWindow>> = Vec::new();
        references.resize_with(width, Mutex::default);
        for round in rounds_of(chunks, width) {
            let first_pass: Vec<String> = touched_for_the_first_time(&active, round);
            self.reference(loaded, round, &references, &first_pass)?;
            let reference_hashes: HashMap<String, String> =
                loaded.engine.watched(0).into_iter().map(|w| (w.tensor, w.blake3)).collect();
            if loaded.prefix_is_exact.is_none() && !cells.is_empty() {
                loaded.prefix_is_exact = Some(prefix_is_exact(loaded, round, &references));
            }
            for &index in &round[0].cells {
                let cell = &mut active[index];
                if cell.failed {
                    continue;
                }
                let spec = cell.spec;
                self.say(&Event::Started { cell: Some(spec.key.clone()), chunk: round[0].chunk })?;
                let depth = loaded.swapped.len();
                let scored = self.cell(loaded, base, cell, round, &references, &reference_hashes, &mut kept_bytes);
                loaded.unwind(depth)?;
                match scored {
                    Ok(samples) => {
                        for sample in samples {
                            self.say(&Event::Sample(sample))?;
                        }
                    }
                    Err(CellOrGone::Gone(error)) => return Err(JobError::Gone(error)),
                    Err(CellOrGone::Cell(error)) => {
                        cell.failed = true;
                        self.say(&Event::CellFailed { cell: spec.key.clone(), why: error.to_string() })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The reference on the windows of a round. Its logits stay in `references`.
    fn reference(
        &mut self,
        loaded: &mut Loaded,
        round: &[ChunkWork],
        references: &[Mutex<ReferenceWindow>],
        watch: &[String],
    ) -> Result<(), JobError> {
        for work in round {
            self.say(&Event::Started { cell: None, chunk: work.chunk })?;
        }
        loaded.engine.watch(watch);
        let n_ctx = loaded.settings.n_ctx as usize;
        let n_vocab = loaded.engine.info().n_vocab;
        let inputs: Vec<&[Token]> = round.iter().map(|w| loaded.windows[w.chunk].as_slice()).collect();
        let failures: Mutex<BTreeMap<usize, NonFinite>> = Mutex::default();
        // Hidden states are recorded for cells to start from; without cells there is nobody to use them.
        let record = loaded.prefix_is_exact != Some(false) && !round[0].cells.is_empty();
        let prefix = if record { Prefix::Record } else { Prefix::Full };
        let hashes: Mutex<BTreeMap<usize, String>> = Mutex::default();
        loaded.engine.decode(&inputs, first_scored(n_ctx), prefix, &|slot, logits| {
            let targets = &inputs[slot][first_scored(n_ctx) + 1..];
            if let Err(bad) = lock(&references[slot]).set(logits, n_vocab, targets) {
                lock(&failures).insert(slot, bad);
            }
            let hash = hash_of_values(&logits[..targets.len() * n_vocab]);
            lock(&hashes).insert(slot, hash);
        })?;
        if let Some((slot, bad)) = lock(&failures).first_key_value() {
            let why = format!("the untouched model: chunk {}: {bad}", round[*slot].chunk);
            return Err(JobError::Engine(EngineError::Failed(why)));
        }
        for ((work, reference), logits_blake3) in round.iter().zip(references).zip(lock(&hashes).values().cloned()) {
            let nll = lock(reference).nll();
            self.say(&Event::Reference(ReferenceSample { chunk: work.chunk, nll, logits_blake3 }))?;
        }
        Ok(())
    }

    /// One cell on the windows of a round: edits in, decode, score. The caller takes the edits out again.
    #[expect(clippy::too_many_arguments, reason = "the round's state, spelled out")]
    fn cell(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        cell: &mut ActiveCell<'_>,
        round: &[ChunkWork],
        references: &[Mutex<ReferenceWindow>],
        reference_hashes: &HashMap<String, String>,
        kept_bytes: &mut usize,
    ) -> Result<Vec<Sample>, CellOrGone> {
        let first_time = !cell.applied;
        let mut evidence = Vec::new();
        let prepared = match cell.prepared.take() {
            Some(prepared) => prepared,
            None => {
                let mut prepared = Vec::with_capacity(cell.spec.edits.len());
                for edit in &cell.spec.edits {
                    let (edit, found) = prepare(loaded, base, edit, self.codec)?;
                    prepared.push(edit);
                    evidence.push(found);
                }
                prepared
            }
        };
        for (index, edit) in prepared.iter().enumerate() {
            loaded.swap(edit)?;
            if first_time {
                let (ty, bytes) = loaded.engine.read_weight(&edit.tensor)?;
                evidence[index].read_back = ty == edit.ty && bytes == *edit.bytes;
            }
        }
        if first_time {
            cell.applied = true;
            let applied = Event::Applied { cell: cell.spec.key.clone(), tensors: evidence };
            self.say(&applied).map_err(CellOrGone::Gone)?;
        }
        let bytes: usize = prepared.iter().map(|p| p.bytes.len()).sum();
        if first_time && *kept_bytes + bytes <= KEPT_EDITS_BYTES {
            *kept_bytes += bytes;
            cell.kept = true;
        }
        if cell.kept {
            cell.prepared = Some(prepared);
        }

        let names: Vec<String> = cell.spec.edits.iter().map(|e| e.tensor.clone()).collect();
        loaded.engine.watch(if first_time { &names } else { &[] });
        let n_ctx = loaded.settings.n_ctx as usize;
        let n_layer = loaded.engine.info().n_layer;
        let prefix = match (loaded.prefix_is_exact, cell.first_layer.min(n_layer)) {
            (Some(true), layer @ 1..) => Prefix::Reuse(layer),
            _ => Prefix::Full,
        };
        let inputs: Vec<&[Token]> = round.iter().map(|w| loaded.windows[w.chunk].as_slice()).collect();
        let scores: Mutex<BTreeMap<usize, Result<VariantScores, NonFinite>>> = Mutex::default();
        loaded.engine.decode(&inputs, first_scored(n_ctx), prefix, &|slot, logits| {
            let scored = lock(&references[slot]).compare(logits);
            lock(&scores).insert(slot, scored);
        })?;
        let activations = first_time.then(|| {
            let seen = loaded.engine.watched(0);
            let changed = seen.iter().filter(|w| reference_hashes.get(&w.tensor) != Some(&w.blake3)).count();
            ActivationEvidence { watched: seen.len(), changed }
        });
        let mut samples = Vec::with_capacity(round.len());
        for (slot, scored) in scores.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let chunk = round[slot].chunk;
            let scores = scored.map_err(|source| CellError::NonFinite { chunk, source })?;
            samples.push(Sample {
                cell: cell.spec.key.clone(),
                chunk,
                nll: scores.nll,
                nll_ref: lock(&references[slot]).nll(),
                kld: scores.kld,
                same_top: scores.same_top,
                logits_changed: scores.logits_changed,
                activations: if slot == 0 { activations.clone() } else { None },
            });
        }
        Ok(samples)
    }
}

/// A cell's failure, or that nobody listens any more.
enum CellOrGone {
    Cell(CellError),
    Gone(io::Error),
}

impl<E: Into<CellError>> From<E> for CellOrGone {
    fn from(error: E) -> Self {
        CellOrGone::Cell(error.into())
    }
}

impl<'j> ActiveCell<'j> {
    fn new(spec: &'j CellSpec) -> Self {
        let first_layer = spec.edits.iter().map(|e| first_layer_of(&e.tensor)).min().unwrap_or(0);
        ActiveCell { spec, first_layer, prepared: None, kept: false, applied: false, failed: false }
    }
}

/// First layer that a weight can act in: its own, or 0 where the name tells none. The head and its norm come after every
/// layer, and every model has fewer than `usize::MAX`.
fn first_layer_of(tensor: &str) -> usize {
    if tensor.starts_with("output.") || tensor.starts_with("output_norm.") {
        return usize::MAX;
    }
    tensor
        .strip_prefix("blk.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|layer| layer.parse().ok())
        .unwrap_or(0)
}

/// Rounds of up to `width` windows that have the same cells to be measured.
fn rounds_of(chunks: &[ChunkWork], width: usize) -> impl Iterator<Item = &[ChunkWork]> {
    chunks.chunk_by(|a, b| a.cells == b.cells).flat_map(move |same| same.chunks(width))
}

/// Tensors of the cells that meet their first window in this round.
fn touched_for_the_first_time(active: &[ActiveCell<'_>], round: &[ChunkWork]) -> Vec<String> {
    let touched: BTreeSet<&str> = round[0]
        .cells
        .iter()
        .map(|&index| &active[index])
        .filter(|cell| !cell.applied && !cell.failed)
        .flat_map(|cell| &cell.spec.edits)
        .map(|edit| edit.tensor.as_str())
        .collect();
    touched.into_iter().map(str::to_string).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_model() -> JobError {
    JobError::Input { why: "no model is open".into(), hint: "send an `open` job first".into() }
}

/// Refuses a job that names what is not there, before anything is swapped.
fn check(loaded: &Loaded, cells: &[CellSpec], chunks: &[ChunkWork]) -> Result<(), JobError> {
    let wrong =
        |why: String| JobError::Input { why, hint: "the runner asked for something impossible; report it".into() };
    for work in chunks {
        if work.chunk >= loaded.windows.len() {
            return Err(wrong(format!("chunk {}: the text has {} windows", work.chunk, loaded.windows.len())));
        }
        if let Some(index) = work.cells.iter().find(|&&index| index >= cells.len()) {
            return Err(wrong(format!("cell {index}: the job has {} cells", cells.len())));
        }
    }
    Ok(())
}

/// Whether a pass that starts from the recorded hidden state of the middle layer has the bits of the full pass.
fn prefix_is_exact(loaded: &mut Loaded, round: &[ChunkWork], references: &[Mutex<ReferenceWindow>]) -> bool {
    let middle = loaded.engine.info().n_layer / 2;
    if middle == 0 {
        return false;
    }
    loaded.engine.watch(&[]);
    let n_ctx = loaded.settings.n_ctx as usize;
    let inputs: Vec<&[Token]> = round.iter().map(|w| loaded.windows[w.chunk].as_slice()).collect();
    let differing = Mutex::new(0usize);
    let run = loaded.engine.decode(&inputs, first_scored(n_ctx), Prefix::Reuse(middle), &|slot, logits| {
        let reference = lock(&references[slot]);
        let same = reference.logits().iter().zip(logits).all(|(a, b)| a.to_bits() == b.to_bits());
        *lock(&differing) += usize::from(!same);
    });
    let verdict = match run {
        Ok(()) => *lock(&differing) == 0,
        Err(_) => false,
    };
    if !verdict {
        eprintln!(
            "assay worker: starting from a recorded prefix does not give the bits of a full pass on this model; every pass is full"
        );
    }
    verdict
}

fn hash_of_values(values: &[f32]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytemuck::cast_slice(values));
    hasher.finalize().to_hex().to_string()
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

impl Loaded {
    /// Cuts the text into windows as llama-perplexity does, and says what they are.
    fn cut(&mut self, text: &str) -> Result<Event, JobError> {
        let n_ctx = self.settings.n_ctx as usize;
        let tokens = self.engine.tokenize(without_trailing_newline(text))?;
        self.windows = windows(&tokens, n_ctx, self.engine.info().bos).map_err(|error| JobError::Input {
            why: error.to_string(),
            hint: format!("give a longer text, or a shorter window than --ctx {n_ctx}"),
        })?;
        let chunk_blake3 = self
            .windows
            .iter()
            .map(|window| {
                let bytes: Vec<u8> = window.iter().flat_map(|t| t.to_le_bytes()).collect();
                blake3::hash(&bytes).to_hex().to_string()
            })
            .collect();
        let scored = |window: &Vec<Token>| {
            window[first_scored(n_ctx) + 1..].iter().map(|&t| self.engine.piece_len(t) as u64).sum()
        };
        let chunk_scored_bytes = self.windows.iter().map(scored).collect();
        Ok(Event::Tokenized { n_tokens: tokens.len(), n_chunks: self.windows.len(), chunk_blake3, chunk_scored_bytes })
    }

    /// Weights that the reference holds in F32 though they are stored in another type.
    fn held_in_f32(&self, base: &Base, codec: &dyn BlockCodec) -> Vec<String> {
        let carried: BTreeSet<&str> = base.carried.iter().map(String::as_str).collect();
        self.engine
            .weights()
            .iter()
            .filter(|w| base.arm == Arm::Exact || carried.contains(w.name.as_str()))
            .filter(|w| !w.ty.eq_ignore_ascii_case("f32") && is_numeric(codec, &w.ty))
            .map(|w| w.name.clone())
            .collect()
    }

    fn hold_in_f32(&mut self, names: &[String], codec: &dyn BlockCodec) -> Result<(), JobError> {
        for name in names {
            let (ty, stored) = self.engine.read_weight(name)?;
            let failed = |why: String| EngineError::Failed(format!("{name}: {why}"));
            // Dequantized straight into the bytes to be swapped in: a token embedding in F32 is too large to hold twice.
            let mut bytes = vec![0u8; self.n_values(name) * size_of::<f32>()];
            let values: &mut [f32] =
                bytemuck::try_cast_slice_mut(&mut bytes).map_err(|error| failed(error.to_string()))?;
            codec.dequantize(&ty, &stored, values).map_err(|error| failed(error.to_string()))?;
            self.swap(&Prepared { tensor: name.clone(), ty: "f32".into(), bytes: Arc::new(bytes) })?;
        }
        Ok(())
    }

    fn swap(&mut self, edit: &Prepared) -> Result<(), EngineError> {
        self.engine.swap_weight(&edit.tensor, &edit.ty, edit.bytes.clone())?;
        self.swapped.push(edit.tensor.clone());
        Ok(())
    }

    /// Undoes swaps until `depth` are left.
    fn unwind(&mut self, depth: usize) -> Result<(), EngineError> {
        while self.swapped.len() > depth {
            if let Some(name) = self.swapped.pop() {
                self.engine.restore_weight(&name)?;
            }
        }
        Ok(())
    }

    /// Hash over names, types and bytes now in place.
    fn hash_of(&self, names: &BTreeSet<&str>) -> Result<String, JobError> {
        let mut hasher = blake3::Hasher::new();
        for name in names {
            // A target that the graph does not use is judged DEAD later; it has no bytes in the engine.
            match self.engine.read_weight(name) {
                Ok((ty, bytes)) => {
                    hasher.update(name.as_bytes()).update(b"\0").update(ty.as_bytes()).update(b"\0").update(&bytes);
                }
                Err(EngineError::NoSuchWeight(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn n_values(&self, name: &str) -> usize {
        let info = self.engine.weights().iter().find(|w| w.name == name);
        info.map_or(0, |w| w.ne.iter().product::<u64>() as usize)
    }

    /// Type now in place, and the values it holds.
    fn values_of(&self, name: &str, codec: &dyn BlockCodec) -> Result<(String, Vec<f32>), CellError> {
        let (ty, bytes) = self.engine.read_weight(name)?;
        let mut values = vec![0.0f32; self.n_values(name)];
        codec.dequantize(&ty, &bytes, &mut values)?;
        Ok((ty, values))
    }
}

/// Types that hold numbers of a model rather than indices: integers pass through every scheme.
fn is_numeric(codec: &dyn BlockCodec, ty: &str) -> bool {
    codec.layout(ty).is_some() && !matches!(ty, "i8" | "i16" | "i32" | "i64" | "f64")
}

/// Computes what an edit puts in place, and what that changes against the reference.
fn prepare(
    loaded: &Loaded,
    base: &Base,
    edit: &Edit,
    codec: &dyn BlockCodec,
) -> Result<(Prepared, TensorEvidence), CellError> {
    let name = &edit.tensor;
    let info = loaded.engine.weights().iter().find(|w| w.name == *name);
    let info = info.ok_or_else(|| EngineError::NoSuchWeight(name.clone()))?;
    let (n_per_row, consumers) = (info.ne[0] as usize, info.consumers);
    let stored = loaded.stored.get(name).ok_or_else(|| EngineError::NoSuchWeight(name.clone()))?;
    let scheme: Scheme = edit.scheme.parse().map_err(|error| CellError::Scheme(format!("{error}")))?;

    let (type_base, reference) = loaded.values_of(name, codec)?;
    let mut asked = reference.clone();
    scheme.fake_quantize(&mut asked, &TensorContext { name, n_per_row }, codec)?;
    let scheme_did = difference(&reference, &asked);

    // Blocks that nothing was asked of are copied: quantizing them again might not give them back.
    let untouched = scheme_did.changed == 0 && scheme_did.zero_sign == 0;
    let (ty, bytes, held) = match edit.carrier {
        Carrier::Keep if untouched => {
            let (_, bytes) = loaded.engine.read_weight(name)?;
            (type_base.clone(), bytes, asked.clone())
        }
        Carrier::Keep => {
            let blocks = codec.quantize(stored, &asked, n_per_row, None)?;
            let mut held = vec![0.0; asked.len()];
            codec.dequantize(stored, &blocks, &mut held)?;
            match base.arm {
                Arm::Native => (stored.clone(), blocks, held),
                // What the carrier holds, read by the kernels of the exact arm.
                Arm::Exact => ("f32".into(), bytes_of(&held), held),
            }
        }
        Carrier::F32 => ("f32".into(), bytes_of(&asked), asked.clone()),
    };
    let carrier_rounded = asked.iter().zip(&held).filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
    let overall = difference(&reference, &held);
    let changed_bytes = reference
        .iter()
        .zip(&held)
        .map(|(a, b)| a.to_le_bytes().iter().zip(b.to_le_bytes()).filter(|(x, y)| **x != *y).count() as u64)
        .sum();
    let evidence = TensorEvidence {
        tensor: name.clone(),
        type_base,
        type_variant: ty.clone(),
        n: reference.len() as u64,
        changed: scheme_did.changed,
        zero_sign: scheme_did.zero_sign,
        carrier_rounded,
        rel_rmse: if overall.rel_rmse.is_finite() { overall.rel_rmse } else { f64::MAX },
        changed_bytes,
        read_back: false,
        consumers,
    };
    Ok((Prepared { tensor: name.clone(), ty, bytes: Arc::new(bytes) }, evidence))
}
