//! The worker's side of the [`protocol`](crate::protocol): one model, one job at a time, and events as they happen.
//!
//! A measure job works in rounds. A round has as many windows as the engine takes side by side. In each round the
//! reference runs once, and its logits stay in memory. Then every cell runs on the same windows, with its edits swapped
//! in and its hooks set, and is undone. Besides the model, memory has the logits of one round and the weights of one
//! cell. The budget decides what else is kept ([`crate::memory`]).
//!
//! `loaded` is the model with the weights swapped in it, `edit` is what one edit does, and `jobs` has the other kinds
//! of jobs.

use crate::edit::{ActivationEdit, EditError, KeptEdits};
use crate::job_error::JobError;
use crate::jobs::Asked;
use crate::loaded::Loaded;
use crate::protocol::{BUILD, CellSpec, ChunkWork, Event, Job, build_of};
use eval::window::{first_scored, n_scored};
use eval::{
    Ask, Engine, EngineError, Hook, NonFinite, NonFiniteNode, Prefix, ReferenceWindow, RoutedLayer, RoutingError, Seen,
    Sequence, routing,
};
use numerics::BlockCodec;
use record::metric::TOKEN_BYTES;
use record::{
    ActivationEvidence, Base, Carried, Column, Columns, Edit, EditPlace, EngineSettings, MemoryPlan, Note,
    ReferenceSample, Sample, TensorEvidence, Token,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use words::{Hint, plural};

/// Opens a model, given its path, the settings and the number of threads.
pub type OpenEngine<'a> = dyn Fn(&Path, &EngineSettings, usize) -> Result<Box<dyn Engine>, EngineError> + 'a;

/// Serves jobs until `lines` ends. It reads one JSON object a line and writes one a line.
///
/// # Errors
/// When `lines` or `output` fails, because the caller is then gone.
pub fn serve(
    open: &OpenEngine<'_>,
    codec: &dyn BlockCodec,
    lines: impl Iterator<Item = io::Result<String>>,
    output: impl Write,
) -> io::Result<()> {
    let mut worker = Worker { codec, output, loaded: None, kept: KeptEdits::default() };
    for line in lines {
        let line = line?;
        let answer = match serde_json::from_str::<Job>(&line) {
            Ok(Job::Open { build, .. }) if build != BUILD => Err(other_build(&build)),
            Ok(job) => worker.work(open, job),
            Err(error) => Err(match build_of(&line) {
                Some(build) if build != BUILD => other_build(&build),
                _ => JobError::input(format!("cannot parse job: {error}"), Hint::Bug),
            }),
        };
        if let Err(error) = answer {
            worker.say(&error.event()?)?;
        }
    }
    Ok(())
}

/// The refusal of a job from another build, whose messages may mean something else.
fn other_build(build: &str) -> JobError {
    let build = words::escape_terminal(build);
    let why = format!("this worker is {BUILD}, and the program that started it is {build}");
    JobError::input(why, Hint::words("do not replace the program while it runs; start again"))
}

/// Why one cell failed. The other cells go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CellError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("window {chunk}: {source}{}", origin_clause(.origin))]
    NonFinite { chunk: usize, source: NonFinite, origin: Option<NonFiniteNode> },
    #[error("window {chunk}: {source}")]
    Routing { chunk: usize, source: RoutingError },
    #[error("task {task}: non-finite logits")]
    NonFiniteTask { task: usize },
}

/// The node in which numbers that are not finite first appeared, as the end of a sentence.
fn origin_clause(origin: &Option<NonFiniteNode>) -> String {
    origin.as_ref().map_or(String::new(), |origin| format!("; {origin}"))
}

pub(crate) struct Worker<'a, W> {
    pub(crate) codec: &'a dyn BlockCodec,
    output: W,
    loaded: Option<Loaded>,
    pub(crate) kept: KeptEdits,
}

/// A cell of the current job.
pub(crate) struct ActiveCell<'j> {
    spec: &'j CellSpec,
    applied: bool,
    failed: bool,
}

/// What all windows of a round share.
pub(crate) struct Round<'a> {
    base: &'a Base,
    work: &'a [ChunkWork],
    references: &'a [Mutex<ReferenceWindow>],
    /// The hashes of the outputs of the watched weights in the reference's pass.
    reference_hashes: &'a HashMap<String, String>,
    /// The hash of the reference's logits on each window.
    logits_blake3: &'a [String],
    /// The choices of the reference's routers on each window.
    routed: &'a [Vec<RoutedLayer>],
    trace: bool,
}

impl<'a, W: Write> Worker<'a, W> {
    pub(crate) fn say(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, event)?;
        self.output.write_all(b"\n")?;
        self.output.flush()
    }

    fn work(&mut self, open: &OpenEngine<'_>, job: Job) -> Result<(), JobError> {
        match job {
            Job::Open { model, settings, n_threads, max_memory_bytes, .. } => {
                self.loaded = None;
                self.kept = KeptEdits::default();
                let engine = open(&model, &settings, n_threads)?;
                let info = engine.info().clone();
                self.loaded = Some(Loaded::new(engine, settings, n_threads, max_memory_bytes)?);
                self.say(&Event::Opened { info })?;
            }
            Job::SchemeFiles { files } => {
                let loaded = self.loaded.as_mut().ok_or_else(no_model)?;
                for file in &files {
                    loaded.files.read_again(file).map_err(|error| JobError::refused(&error))?;
                }
                self.say(&Event::SchemeFilesRead)?;
            }
            Job::Corpus { text, special } => {
                let loaded = self.loaded.as_mut().ok_or_else(no_model)?;
                let event = loaded.cut(&text, special)?;
                self.say(&event)?;
            }
            Job::Attention { base, edits, chunks } => {
                let mut loaded = self.loaded.take().ok_or_else(no_model)?;
                let result = self.attention(&mut loaded, &base, &edits, &chunks);
                self.loaded = Some(loaded);
                result?;
            }
            Job::Chat { base, edits, template, chats, max_tokens, sampling } => {
                let mut loaded = self.loaded.take().ok_or_else(no_model)?;
                let result = self.chat(&mut loaded, &base, &edits, &Asked { template, chats, max_tokens, sampling });
                self.loaded = Some(loaded);
                result?;
            }
            Job::Choose { base, cells, tasks } => {
                let mut loaded = self.loaded.take().ok_or_else(no_model)?;
                let result = self.choose(&mut loaded, &base, &cells, &tasks);
                self.loaded = Some(loaded);
                result?;
            }
            Job::Measure { base, cells, chunks, trace } => {
                let mut loaded = self.loaded.take().ok_or_else(no_model)?;
                let result = self.measure(&mut loaded, &base, &cells, &chunks, trace);
                self.loaded = Some(loaded);
                result?;
            }
        }
        Ok(())
    }

    fn measure(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        cells: &[CellSpec],
        chunks: &[ChunkWork],
        trace: bool,
    ) -> Result<(), JobError> {
        check(loaded, cells, chunks)?;
        self.on_base(loaded, base, cells, |worker, loaded, memory| {
            worker.rounds(loaded, base, cells, chunks, trace, memory)
        })
    }

    /// Puts the weights of the reference in place while `work` runs, then says that the original weights are back.
    pub(crate) fn on_base(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        cells: &[CellSpec],
        work: impl FnOnce(&mut Self, &mut Loaded, &MemoryPlan) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        some_can_be_measured(loaded, cells)?;
        let in_f32 = loaded.held_in_f32(base, self.codec);
        let memory = loaded.memory_plan(&in_f32, cells)?;
        self.say(&Event::Memory(memory))?;
        loaded.note_unused(cells.iter().flat_map(|cell| &cell.edits));
        for note in std::mem::take(&mut loaded.notes) {
            self.say(&Event::Note { note })?;
        }
        self.kept.begin(base, memory.kept_edits_bytes);
        loaded.engine.free_contexts(memory.n_contexts);
        let touched: BTreeSet<&str> = cells
            .iter()
            .flat_map(|c| &c.edits)
            .filter(|e| e.place != EditPlace::Activation)
            .map(|e| e.tensor.as_str())
            .chain(in_f32.iter().map(Carried::tensor))
            .collect();
        let companions: Vec<String> = touched.iter().filter_map(|weight| loaded.companion(weight)).collect();
        let touched: BTreeSet<&str> = touched.into_iter().chain(companions.iter().map(String::as_str)).collect();
        let weights_before = loaded.hash_of(&touched)?;
        let worked = loaded.hold_in_f32(&in_f32, self.codec).and_then(|()| work(self, loaded, &memory));
        loaded.unwind(0)?;
        worked?;
        let weights_after = loaded.hash_of(&touched)?;
        self.say(&Event::Measured { weights_before, weights_after })?;
        Ok(())
    }

    /// Swaps the weights of a variant in. The caller must take them out again. The hooks of its passes edit its
    /// activations.
    pub(crate) fn put_in<'e>(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        edits: &'e [Edit],
    ) -> Result<Vec<ActivationEdit<'e>>, JobError>
    where
        'a: 'e,
    {
        let mut activations = Vec::new();
        for edit in edits {
            match edit.place {
                EditPlace::Activation => {
                    activations.push(ActivationEdit::new(edit, loaded, self.codec)?);
                }
                _ => {
                    self.swap_in(loaded, base, edit, false)?;
                }
            }
        }
        Ok(activations)
    }

    /// Swaps an edited weight in and says what the edit did. If `read_back` is wanted, the bytes in place are compared
    /// with the intended ones. A weight that the graph does not use stays as it is.
    pub(crate) fn swap_in(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        edit: &Edit,
        read_back: bool,
    ) -> Result<TensorEvidence, EditError> {
        let Some((prepared, mut found)) = self.kept.get(loaded, base, edit, self.codec)? else {
            return Ok(TensorEvidence::unused(&edit.tensor));
        };
        loaded.swap(&prepared)?;
        if read_back {
            let (ty, bytes) = loaded.read(&edit.tensor, edit.place)?;
            found.read_back = ty == prepared.ty && bytes == *prepared.bytes;
        }
        Ok(found)
    }

    fn rounds(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        cells: &[CellSpec],
        chunks: &[ChunkWork],
        trace: bool,
        memory: &MemoryPlan,
    ) -> Result<(), JobError> {
        let mut active: Vec<ActiveCell<'_>> = cells.iter().map(ActiveCell::new).collect();
        let width = memory.n_contexts;
        let mut references: Vec<Mutex<ReferenceWindow>> = Vec::new();
        references.resize_with(width, Mutex::default);
        for work in rounds_of(chunks, width) {
            // Hidden states are recorded so that cells can start from them or be compared with them.
            let is_useful = memory.keeps_prefix && loaded.prefix_is_exact != Some(false);
            let record = (is_useful || trace) && !work[0].cells.is_empty();
            let mut first_pass: Vec<String> = touched_for_the_first_time(&active, work);
            first_pass.retain(|tensor| loaded.stored.contains_key(tensor));
            let (seen, logits_blake3) = self.reference(loaded, work, &references, &first_pass, record)?;
            let (watched, routed): (Vec<_>, Vec<_>) = seen.into_iter().map(|seen| (seen.watched, seen.routed)).unzip();
            let reference_hashes: HashMap<String, String> =
                watched.into_iter().take(1).flatten().map(|w| (w.tensor, w.blake3)).collect();
            if record && is_useful && loaded.prefix_is_exact.is_none() {
                let is_exact = prefix_is_exact(loaded, work, &references);
                loaded.prefix_is_exact = Some(is_exact);
                if !is_exact {
                    self.say(&Event::Note { note: Note::EveryPassFull })?;
                }
            }
            let (references, reference_hashes, logits_blake3) = (&references, &reference_hashes, &logits_blake3);
            let round = Round { base, work, references, reference_hashes, logits_blake3, routed: &routed, trace };
            let may_reuse = record && !trace && loaded.prefix_is_exact == Some(true);
            for &index in &work[0].cells {
                let cell = &mut active[index];
                if cell.failed {
                    continue;
                }
                let spec = cell.spec;
                self.say(&Event::Started { cell: Some(spec.key.clone()), chunk: work[0].chunk })?;
                let depth = loaded.depth();
                let scored = self.cell(loaded, cell, &round, may_reuse);
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
                        self.say(&error.of_cell(&spec.key))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs the reference on the windows of a round. Returns what was seen of each window and the hash of its logits.
    /// The logits stay in `references`.
    fn reference(
        &mut self,
        loaded: &mut Loaded,
        round: &[ChunkWork],
        references: &[Mutex<ReferenceWindow>],
        watch: &[String],
        record: bool,
    ) -> Result<(Vec<Seen>, Vec<String>), JobError> {
        for work in round {
            self.say(&Event::Started { cell: None, chunk: work.chunk })?;
        }
        let n_vocab = loaded.engine.info().n_vocab;
        let inputs = sequences(&loaded.windows, loaded.settings.n_ctx, round);
        let failures: Mutex<BTreeMap<usize, NonFinite>> = Mutex::default();
        let prefix = if record { Prefix::Record } else { Prefix::Full };
        let hashes: Mutex<BTreeMap<usize, String>> = Mutex::default();
        let seen = loaded.engine.pass(&Ask { prefix, watch, routing: true, ..Ask::of(&inputs) }, &|slot, logits| {
            let targets = &inputs[slot].tokens[inputs[slot].first_output + 1..];
            if let Err(bad) = lock(&references[slot]).set(logits, n_vocab, targets) {
                lock(&failures).insert(slot, bad);
            }
            let hash = hash_of_values(&logits[..targets.len() * n_vocab]);
            lock(&hashes).insert(slot, hash);
        })?;
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some((slot, bad)) = failures.into_iter().next() {
            let origin = origin_in(&mut *loaded.engine, inputs[slot], &[])?;
            let why = format!("the untouched model: window {}: {bad}{}", round[slot].chunk, origin_clause(&origin));
            if let Some(weight) = loaded.nonfinite_weight(self.codec) {
                return Err(JobError::NonfiniteWeights(format!("{why}; {weight} has values that are not finite")));
            }
            return Err(JobError::Engine(EngineError::Failed(why)));
        }
        let hashes: Vec<String> = hashes.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
        for ((work, reference), logits_blake3) in round.iter().zip(references).zip(hashes.iter().cloned()) {
            let tokens = loaded.windows[work.chunk].clone();
            let mut columns = lock(reference).columns();
            columns.set(TOKEN_BYTES, Column::Counts(loaded.token_bytes(&tokens)?));
            self.say(&Event::Reference(ReferenceSample { chunk: work.chunk, tokens, logits_blake3, columns }))?;
        }
        Ok((seen, hashes))
    }

    /// Runs one cell on the windows of a round: edits in, decode, score. The caller takes the edits out again.
    fn cell(
        &mut self,
        loaded: &mut Loaded,
        cell: &mut ActiveCell<'_>,
        round: &Round<'_>,
        may_reuse: bool,
    ) -> Result<Vec<Sample>, CellOrGone> {
        let first_time = !cell.applied;
        let is_activation = |edit: &&Edit| edit.place == EditPlace::Activation;
        let activations = cell
            .spec
            .edits
            .iter()
            .filter(is_activation)
            .map(|edit| ActivationEdit::new(edit, loaded, self.codec))
            .collect::<Result<Vec<_>, _>>()?;
        let mut evidence: HashMap<(&str, EditPlace), TensorEvidence> = HashMap::new();
        for edit in cell.spec.edits.iter().filter(|edit| !is_activation(edit)) {
            let found = self.swap_in(loaded, round.base, edit, first_time)?;
            if first_time {
                evidence.insert((&edit.tensor, edit.place), found);
            }
        }
        activations.iter().for_each(ActivationEdit::observe);
        if first_time {
            cell.applied = true;
            // What an edit does to activations is known only after the first pass.
            if activations.is_empty() {
                self.say_applied(cell.spec, &evidence).map_err(CellOrGone::Gone)?;
            }
        }
        let closures: Vec<_> = activations
            .iter()
            .map(|edit| move |slot: usize, values: &mut [f32], n_per_row: usize| edit.replace(slot, values, n_per_row))
            .collect();
        let hooks: Vec<Hook<'_>> =
            activations.iter().zip(&closures).map(|(edit, replace)| Hook { node: edit.node(), replace }).collect();

        let in_graph = evidence.values().filter(|found| !found.is_unused());
        let names: BTreeSet<String> = in_graph.map(|found| found.tensor.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let n_layer = loaded.engine.info().n_layer;
        let (prefix, first_computed) = match cell.spec.first_layer.min(n_layer) {
            layer @ 1.. if may_reuse => (Prefix::Reuse(layer), layer),
            _ => (Prefix::Full, 0),
        };
        let inputs = sequences(&loaded.windows, loaded.settings.n_ctx, round.work);
        let scores: Mutex<BTreeMap<usize, Result<Columns, NonFinite>>> = Mutex::default();
        let ask = Ask { prefix, hooks: &hooks, watch: &names, trace: round.trace, routing: true, ..Ask::of(&inputs) };
        let mut passed = loaded.engine.pass(&ask, &|slot, logits| {
            let scored = lock(&round.references[slot]).compare(logits);
            lock(&scores).insert(slot, scored);
        })?;
        let seen = first_time.then(|| {
            let seen = passed.first().map_or(&[][..], |seen| &seen.watched);
            let changed = seen.iter().filter(|w| round.reference_hashes.get(&w.tensor) != Some(&w.blake3)).count();
            let mut seen = ActivationEvidence { watched: seen.len(), changed, logits_changed: None };
            for edit in &activations {
                let found = edit.evidence(0);
                seen.watched += 1;
                seen.changed += usize::from(found.changed_bytes > 0);
                evidence.insert((edit.node(), EditPlace::Activation), found.into());
            }
            seen
        });
        if first_time && !activations.is_empty() {
            self.say_applied(cell.spec, &evidence).map_err(CellOrGone::Gone)?;
        }
        let mut windows = Vec::with_capacity(round.work.len());
        for (slot, scored) in scores.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let chunk = round.work[slot].chunk;
            let columns = match scored {
                Ok(columns) => columns,
                Err(source) => {
                    let origin = origin_in(&mut *loaded.engine, inputs[slot], &hooks)?;
                    return Err(CellError::NonFinite { chunk, source, origin }.into());
                }
            };
            let n_scored = n_scored(loaded.settings.n_ctx as usize);
            let routers = routing::compare(&round.routed[slot], &passed[slot].routed, n_scored, first_computed)
                .map_err(|source| CellError::Routing { chunk, source })?;
            windows.push(Sample {
                cell: cell.spec.key.clone(),
                chunk,
                reference_blake3: round.logits_blake3[slot].clone(),
                columns,
                activations: if slot == 0 { seen.clone() } else { None },
                nodes: activations.iter().map(|edit| edit.evidence(slot)).collect(),
                residual: std::mem::take(&mut passed[slot].traced),
                routers,
            });
        }
        Ok(windows)
    }

    fn say_applied(
        &mut self,
        spec: &CellSpec,
        evidence: &HashMap<(&str, EditPlace), TensorEvidence>,
    ) -> io::Result<()> {
        let found = |edit: &Edit| evidence.get(&(edit.tensor.as_str(), edit.place)).cloned();
        let tensors = spec.edits.iter().filter_map(found).collect();
        self.say(&Event::Applied { cell: spec.key.clone(), tensors })
    }
}

/// The failure of a cell, or that nobody reads the events any more.
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
        ActiveCell { spec, applied: false, failed: false }
    }
}

/// Rounds of up to `width` windows in which the same cells are measured.
fn rounds_of(chunks: &[ChunkWork], width: usize) -> impl Iterator<Item = &[ChunkWork]> {
    chunks.chunk_by(|a, b| a.cells == b.cells).flat_map(move |same| same.chunks(width))
}

/// The tensors of the cells whose first window is in this round.
fn touched_for_the_first_time(active: &[ActiveCell<'_>], round: &[ChunkWork]) -> Vec<String> {
    let touched: BTreeSet<&str> = round[0]
        .cells
        .iter()
        .map(|&index| &active[index])
        .filter(|cell| !cell.applied && !cell.failed)
        .flat_map(|cell| &cell.spec.edits)
        .filter(|edit| edit.place != EditPlace::Activation)
        .map(|edit| edit.tensor.as_str())
        .collect();
    touched.into_iter().map(str::to_string).collect()
}

/// The windows of a round as sequences. The second half of each is scored.
fn sequences<'w>(windows: &'w [Vec<Token>], n_ctx: u32, round: &[ChunkWork]) -> Vec<Sequence<'w>> {
    let first_output = first_scored(n_ctx as usize);
    round.iter().map(|work| Sequence { tokens: &windows[work.chunk], first_output }).collect()
}

/// The node in which numbers that are not finite first appear, found by another pass over that window.
fn origin_in(
    engine: &mut dyn Engine,
    window: Sequence<'_>,
    hooks: &[Hook<'_>],
) -> Result<Option<NonFiniteNode>, EngineError> {
    let ask = Ask { hooks, stop_at_non_finite: true, ..Ask::of(std::slice::from_ref(&window)) };
    Ok(engine.pass(&ask, &|_, _| {})?.into_iter().find_map(|seen| seen.non_finite))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_model() -> JobError {
    JobError::impossible("no model is open")
}

/// Refuses a job that names something which does not exist, before anything is swapped.
fn check(loaded: &Loaded, cells: &[CellSpec], chunks: &[ChunkWork]) -> Result<(), JobError> {
    for work in chunks {
        if work.chunk >= loaded.windows.len() {
            return Err(JobError::impossible(format!(
                "window {}: the text has {}",
                work.chunk,
                plural(loaded.windows.len(), "window")
            )));
        }
        if let Some(index) = work.cells.iter().find(|&&index| index >= cells.len()) {
            return Err(JobError::impossible(format!("cell {index}: the job has {}", plural(cells.len(), "cell"))));
        }
    }
    Ok(())
}

/// Refuses the job if every cell asks for a node that the graph lacks. If only some do, each of those fails by itself.
fn some_can_be_measured(loaded: &Loaded, cells: &[CellSpec]) -> Result<(), EngineError> {
    let nodes = |cell: &CellSpec| -> Result<(), EngineError> {
        let mut activations = cell.edits.iter().filter(|edit| edit.place == EditPlace::Activation);
        activations.try_for_each(|edit| loaded.engine.find_node(&edit.tensor))
    };
    let mut lacking = None;
    for cell in cells {
        match nodes(cell) {
            Ok(()) => return Ok(()),
            Err(error) => lacking = lacking.or(Some(error)),
        }
    }
    lacking.map_or(Ok(()), Err)
}

/// Whether a pass that starts from the recorded hidden state of the middle layer gives the same bits as the full pass.
fn prefix_is_exact(loaded: &mut Loaded, round: &[ChunkWork], references: &[Mutex<ReferenceWindow>]) -> bool {
    let middle = loaded.engine.info().n_layer / 2;
    if middle == 0 {
        return false;
    }
    let inputs = sequences(&loaded.windows, loaded.settings.n_ctx, round);
    let differing = Mutex::new(0usize);
    // As the cells' passes are: what is read of a pass must not decide how it is computed.
    let ask = Ask { prefix: Prefix::Reuse(middle), routing: true, ..Ask::of(&inputs) };
    let run = loaded.engine.pass(&ask, &|slot, logits| {
        let reference = lock(&references[slot]);
        let same = reference.logits().iter().zip(logits).all(|(a, b)| a.to_bits() == b.to_bits());
        *lock(&differing) += usize::from(!same);
    });
    run.is_ok() && *lock(&differing) == 0
}

fn hash_of_values(values: &[f32]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytemuck::cast_slice(values));
    hasher.finalize().to_hex().to_string()
}
