//! A model file small enough to write by hand, and a worker without an engine that measures it. Its scores follow from
//! what the schemes do to the file's values, so its evidence is true unless a fault is planted.

mod asked;

use eval::EngineInfo;
use lab::{Corpus, Plan, PreparedRun, RunError};
use numerics::{BlockCodec, PlainCodec, Scheme, TensorContext};
use record::RunEvent;
use record::metric::{COLUMNS, ColumnKind, ColumnRow, TOKEN_BYTES};
use record::store::lock::RunIdentity;
use record::{
    ActivationEvidence, Arm, Base, Bits, Carrier, Column, Columns, Edit, ReferenceSample, Sample, TensorEvidence,
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    rc::Rc,
};
use worker::protocol::{Event, Job};
use worker::{LinkFactory, WorkerDied, WorkerLink};

pub const BUILD: &str = "mock engine 1";
pub const N_LAYER: usize = 3;
const N: usize = 32;
const SCORED: usize = 8;
const WINDOW_BYTES: usize = 10;

/// The type of the norms in the file, and the precision of their values.
#[derive(Clone, Copy, Debug)]
pub enum Norms {
    /// F32 values that are exactly BF16.
    OnGrid,
    /// F32 values that are BF16 plus one.
    OnePlus,
    /// Values that are stored in F16, so that the native arm needs a carrier control.
    Half,
}

/// Writes a GGUF v3 file with three layers of `ffn_norm` and `attn_q`.
pub fn write_model(path: &Path, norms: Norms) {
    // There are 128 steps between 1/64 and 1/32: eight significant bits, and four more once 1 is added.
    let bf16 = |layer: usize, i: usize| f32::from_bits(0x3c80_0000 + ((layer * 37 + i * 11) % 128) as u32 * 0x1_0000);
    let mut tensors: Vec<(String, u32, Vec<u8>)> = Vec::new();
    for layer in 0..N_LAYER {
        let values: Vec<f32> = (0..N)
            .map(|i| match norms {
                Norms::OnGrid => bf16(layer, i),
                Norms::OnePlus | Norms::Half => 1.0 + bf16(layer, i),
            })
            .collect();
        let (id, ty) = if matches!(norms, Norms::Half) { (1, "f16") } else { (0, "f32") };
        let bytes = PlainCodec.quantize(ty, &values, N, None).expect("plain floats");
        tensors.push((format!("blk.{layer}.ffn_norm.weight"), id, bytes));
        tensors.push((format!("blk.{layer}.attn_q.weight"), 0, vec![0; 4 * N]));
    }
    let string = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let mut out = Vec::new();
    out.extend(b"GGUF");
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(3u64.to_le_bytes());
    for (key, value) in [("general.architecture", "mock"), ("tokenizer.ggml.model", "mock")] {
        string(&mut out, key);
        out.extend(8u32.to_le_bytes());
        string(&mut out, value);
    }
    // The tokens are an array of one string, because a model without a tokenizer cannot be scored.
    string(&mut out, "tokenizer.ggml.tokens");
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    string(&mut out, "token");
    let mut offset = 0u64;
    for (name, id, bytes) in &tensors {
        string(&mut out, name);
        out.extend(1u32.to_le_bytes());
        out.extend((N as u64).to_le_bytes());
        out.extend(id.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += (bytes.len() as u64).next_multiple_of(32);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    for (_, _, bytes) in &tensors {
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(32), 0);
    }
    std::fs::write(path, out).expect("model written");
}

/// The faults that are planted in the mock.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The scheme at whose cells the worker dies, in any arm, and how often. `None` in place of the scheme is the
    /// reference.
    pub dies: Option<(Option<&'static str>, usize)>,
    /// The scheme whose writes are reported as read back differently.
    pub bad_read_back: Option<&'static str>,
    /// Whether logits differ although nothing was edited.
    pub restless: bool,
    /// Whether the identity scheme moves a logit.
    pub identity_moves: bool,
    /// Whether the destructive scheme hardly has an effect.
    pub deaf: bool,
    /// Whether weights are not restored.
    pub leaks: bool,
    /// Whether one more changed value is reported than there is.
    pub miscounts: bool,
    /// Whether samples are compared with another reference than the group's.
    pub stale: bool,
    /// Whether the model cannot be used.
    pub refuses: bool,
    /// Whether a measurement needs more memory than the limit.
    pub lacks_memory: bool,
    /// Whether no graph node reads the tensors.
    pub dead: bool,
    /// Whether a trace differs after layer 0, whatever was edited.
    pub early: bool,
    /// Whether the model has routers, which is no fault.
    pub routers: bool,
}

/// The reason of a worker whose memory is too small.
pub const TOO_LITTLE: &str = "memory: 2 bytes needed at least, 1 byte allowed";

/// Starts mock workers and counts them.
pub struct Workers {
    pub faults: Faults,
    pub started: Cell<usize>,
    /// The number of events after which it panics, as a kill would end the run; `None` for never.
    pub kill_at: Option<usize>,
    events: Rc<Cell<usize>>,
    deaths: Rc<Cell<usize>>,
    /// The number of measurements of each cell key and window, over all workers.
    pub measured: Rc<RefCell<BTreeMap<(String, usize), usize>>>,
}

impl Workers {
    pub fn new(faults: Faults) -> Self {
        Workers {
            deaths: Rc::new(Cell::new(faults.dies.as_ref().map_or(0, |(_, often)| *often))),
            faults,
            started: Cell::new(0),
            kill_at: None,
            events: Rc::default(),
            measured: Rc::default(),
        }
    }
}

impl LinkFactory for Workers {
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied> {
        self.started.set(self.started.get() + 1);
        Ok(Box::new(Link {
            faults: self.faults.clone(),
            kill_at: self.kill_at,
            events: Rc::clone(&self.events),
            deaths: Rc::clone(&self.deaths),
            measured: Rc::clone(&self.measured),
            model: PathBuf::new(),
            queue: VecDeque::new(),
            dead: false,
        }))
    }
}

struct Link {
    faults: Faults,
    kill_at: Option<usize>,
    events: Rc<Cell<usize>>,
    deaths: Rc<Cell<usize>>,
    measured: Rc<RefCell<BTreeMap<(String, usize), usize>>>,
    model: PathBuf,
    queue: VecDeque<Event>,
    dead: bool,
}

impl WorkerLink for Link {
    fn send(&mut self, job: &Job) -> Result<(), WorkerDied> {
        // The job goes through JSON and back, so that the test hears what a process would.
        let job: Job = serde_json::from_str(&serde_json::to_string(job).expect("a job prints")).expect("a job parses");
        match job {
            Job::Open { .. } if self.faults.refuses => self.queue.push_back(Event::Failed {
                why: "the model has no tokenizer".into(),
                hint: Some(words::Hint::words("choose a language model")),
                input: true,
            }),
            Job::Open { model, .. } => {
                self.model = model;
                self.queue.push_back(Event::Opened {
                    info: EngineInfo {
                        build: BUILD.into(),
                        arch: "mock".into(),
                        n_vocab: 100,
                        n_layer: N_LAYER,
                        n_ctx_train: 2048,
                        bos: None,
                        n_threads: 2,
                    },
                });
            }
            Job::SchemeFiles { .. } => self.queue.push_back(Event::SchemeFilesRead),
            Job::Corpus { text, .. } => {
                let n_chunks = text.len() / WINDOW_BYTES;
                self.queue.push_back(Event::Tokenized {
                    n_tokens: text.len(),
                    n_chunks,
                    chunk_blake3: (0..n_chunks)
                        .map(|c| {
                            blake3::hash(&text.as_bytes()[c * WINDOW_BYTES..][..WINDOW_BYTES]).to_hex().to_string()
                        })
                        .collect(),
                });
            }
            Job::Attention { .. } => unreachable!("the mock has no attention"),
            Job::Chat { edits, chats, .. } => {
                self.queue.extend(asked::replies(chats.len(), !edits.is_empty()));
                self.measured();
            }
            Job::Choose { cells, tasks, .. } => {
                self.queue.extend(asked::choices(&cells, &tasks));
                self.measured();
            }
            Job::Measure { .. } if self.faults.lacks_memory => self.queue.push_back(Event::Failed {
                why: TOO_LITTLE.into(),
                hint: Some(words::Hint::RaiseMemory { has_f32_weights: true }),
                input: true,
            }),
            Job::Measure { base, cells, chunks, trace } => self.measure(&base, &cells, &chunks, trace),
        }
        Ok(())
    }

    fn recv(&mut self) -> Result<Event, WorkerDied> {
        self.events.set(self.events.get() + 1);
        if self.kill_at == Some(self.events.get()) {
            panic!("killed");
        }
        match self.queue.pop_front() {
            Some(event) => Ok(serde_json::from_str(&serde_json::to_string(&event).expect("an event prints"))
                .expect("an event parses")),
            None => {
                let last_words = if self.dead { "GGML_ASSERT(planted)" } else { "silence" }.into();
                Err(WorkerDied { last_words, ..WorkerDied::misunderstood("it ended") })
            }
        }
    }
}

/// The hash of a reference's logits on a window.
fn logits_hash(base: &Base, chunk: usize) -> String {
    format!("{:?} {} {chunk}", base.arm, base.carried.len())
}

/// Every column of the table for one sample. All positions have the same top tokens or none, and all logits move or
/// none. The other distances equal the divergence.
pub fn columns(nll: Vec<f64>, kld: Vec<f64>, same_top: bool, moved: bool) -> Columns {
    let n = kld.len();
    let column = |row: &ColumnRow| match (row.id, row.kind) {
        ("nll", _) => Column::F64(nll.clone()),
        ("logits_changed", _) => Column::Bits(Bits(vec![moved; n])),
        (_, ColumnKind::F64) => Column::F64(kld.clone()),
        (_, ColumnKind::Bits) => Column::Bits(Bits(vec![same_top; n])),
        (_, ColumnKind::Counts) => Column::Counts(vec![if same_top { 5 } else { 0 }; n]),
    };
    Columns(COLUMNS.iter().map(|row| (row.id.to_owned(), column(row))).collect())
}

impl Link {
    fn measure(
        &mut self,
        base: &Base,
        cells: &[worker::protocol::CellSpec],
        chunks: &[worker::protocol::ChunkWork],
        trace: bool,
    ) {
        let mut applied = Vec::new();
        for work in chunks {
            self.queue.push_back(Event::Started { cell: None, chunk: work.chunk });
            if self.dies(None) {
                return;
            }
            let nll_ref: Vec<f64> = (0..SCORED).map(|i| 2.0 + wave(work.chunk, i)).collect();
            self.queue.push_back(Event::Reference(ReferenceSample {
                chunk: work.chunk,
                tokens: (0..2 * SCORED as i32).collect(),
                logits_blake3: logits_hash(base, work.chunk),
                columns: Columns(
                    [
                        ("nll".to_owned(), Column::F64(nll_ref.clone())),
                        (TOKEN_BYTES.to_owned(), Column::Counts(vec![2; SCORED])),
                    ]
                    .into(),
                ),
            }));
            for &index in &work.cells {
                let cell = &cells[index];
                self.queue.push_back(Event::Started { cell: Some(cell.key.clone()), chunk: work.chunk });
                let scheme = cell.edits.first().map(|edit| edit.scheme.as_str());
                if scheme.is_some() && self.dies(scheme) {
                    return;
                }
                let tensors: Vec<TensorEvidence> = cell.edits.iter().map(|edit| self.apply(base, edit)).collect();
                let is_first = !applied.contains(&index);
                if is_first {
                    applied.push(index);
                    self.queue.push_back(Event::Applied { cell: cell.key.clone(), tensors: tensors.clone() });
                }
                *self.measured.borrow_mut().entry((cell.key.clone(), work.chunk)).or_default() += 1;
                let mut sample = self.sample(base, cell, &tensors, work.chunk, &nll_ref, is_first);
                if trace {
                    sample.residual = asked::residual(cell.first_layer, self.faults.early);
                }
                if self.faults.routers {
                    sample.routers = asked::routers(cell.first_layer);
                }
                self.queue.push_back(Event::Sample(sample));
            }
        }
        self.measured();
    }

    /// Counts a finished job.
    fn measured(&mut self) {
        let weights_after = if self.faults.leaks { "after" } else { "before" }.into();
        self.queue.push_back(Event::Measured { weights_before: "before".into(), weights_after });
    }

    fn sample(
        &self,
        base: &Base,
        cell: &worker::protocol::CellSpec,
        tensors: &[TensorEvidence],
        chunk: usize,
        nll_ref: &[f64],
        is_first: bool,
    ) -> Sample {
        let is_identity = cell.edits.first().is_some_and(|edit| edit.scheme == "identity");
        let changed: u64 =
            tensors.iter().map(|tensor| tensor.changed + u64::from(tensor.type_base != tensor.type_variant)).sum();
        let error: f64 = tensors.iter().map(|tensor| tensor.rel_rmse).sum();
        let mut kld_mean = match base.arm {
            Arm::Exact => error,
            // The kernels round activations, so any change spreads.
            Arm::Native if changed > 0 => 0.005 + 0.1 * error,
            Arm::Native => 0.0,
        };
        let nudged = (self.faults.restless && cell.edits.is_empty()) || (self.faults.identity_moves && is_identity);
        if nudged {
            kld_mean += 1e-9;
        }
        if self.faults.deaf {
            kld_mean = kld_mean.min(2e-7);
        }
        if self.faults.dead {
            kld_mean = 0.0;
        }
        let moved = kld_mean > 0.0;
        let seed = cell.edits.first().map_or(0, |edit| edit.scheme.len());
        let kld: Vec<f64> = (0..SCORED).map(|i| kld_mean * (1.0 + 0.1 * wave(chunk + seed, i))).collect();
        let nll = nll_ref.iter().zip(&kld).map(|(nll, kld)| nll + kld).collect();
        Sample {
            cell: cell.key.clone(),
            chunk,
            reference_blake3: logits_hash(base, if self.faults.stale { chunk + 1 } else { chunk }),
            columns: columns(nll, kld, kld_mean <= 0.1, moved),
            activations: is_first.then_some(ActivationEvidence {
                watched: cell.edits.len(),
                changed: if moved && !nudged { cell.edits.len() } else { 0 },
                logits_changed: None,
            }),
            nodes: Vec::new(),
            residual: Vec::new(),
            routers: Vec::new(),
        }
    }

    fn dies(&mut self, scheme: Option<&str>) -> bool {
        let planted = self.faults.dies.as_ref().is_some_and(|(planted, _)| *planted == scheme);
        if planted && self.deaths.get() > 0 {
            self.deaths.set(self.deaths.get() - 1);
            self.dead = true;
            return true;
        }
        false
    }

    /// Runs the scheme on the file's values, as a worker with an engine would.
    fn apply(&self, base: &Base, edit: &Edit) -> TensorEvidence {
        let gguf = gguf::GgufFile::open(&self.model).expect("the mock's model");
        let tensor = gguf.tensor(&edit.tensor).expect("a tensor");
        let mut values = vec![0.0; tensor.n_elements() as usize];
        let bytes = gguf.read_tensor(tensor).expect("bytes");
        PlainCodec.dequantize(tensor.ty.name(), &bytes, &mut values).expect("plain floats");
        let before = values.clone();
        let context = TensorContext { name: &edit.tensor, n_per_row: N };
        edit.scheme
            .parse::<Scheme>()
            .expect("a scheme")
            .fake_quantize(&mut values, &context, &PlainCodec)
            .expect("applies");
        let n_changed = before.iter().zip(&values).filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
        let (error, energy) = before.iter().zip(&values).fold((0.0, 0.0), |(error, energy), (a, b)| {
            (error + (f64::from(*a) - f64::from(*b)).powi(2), energy + f64::from(*a).powi(2))
        });
        let is_f32 =
            base.arm == Arm::Exact || base.carried.iter().any(|carried| carried.covers(&edit.tensor, edit.place));
        let stored = tensor.ty.name().to_string();
        let type_base = if is_f32 { "f32".to_string() } else { stored.clone() };
        TensorEvidence {
            tensor: edit.tensor.clone(),
            type_variant: if edit.carrier == Carrier::F32 { "f32".into() } else { stored },
            type_base,
            n: values.len() as u64,
            changed: n_changed + u64::from(self.faults.miscounts && edit.scheme == "bf16"),
            zero_sign: 0,
            minus_zero: 0,
            carrier_rounded: 0,
            rounding_rel_rmse: None,
            rel_rmse: (error / energy).sqrt(),
            changed_bytes: 2 * n_changed,
            read_back: self.faults.bad_read_back != Some(edit.scheme.as_str()),
            consumers: usize::from(!self.faults.dead),
        }
    }
}

/// A number between −1 and 1 that depends only on its arguments.
fn wave(chunk: usize, i: usize) -> f64 {
    ((chunk * 31 + i * 17) as f64).sin()
}

/// A folder with models and space for runs.
pub struct Room {
    pub dir: tempfile::TempDir,
}

impl Room {
    pub fn new() -> Self {
        // Every window is fsynced. Thousands of them are quick in memory and slow on a busy disk.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Room { dir: dir.or_else(|_| tempfile::tempdir()).expect("temp dir") }
    }

    pub fn run_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The preset on one model, with four windows, two of them for the layers.
    pub fn plan(&self, norms: Norms) -> Plan {
        let path = self.dir.path().join("model.gguf");
        write_model(&path, norms);
        let corpus = Corpus::new("built-in", "ten bytes ".repeat(6) + "0123456789abcdefghij");
        let mut plan = Plan::preset("ffn-norm-bf16", vec![path], corpus).expect("a preset");
        plan.chunks = 4;
        plan
    }

    pub fn prepare(&self, norms: Norms) -> PreparedRun {
        lab::prepare(self.plan(norms), BUILD).expect("a sound plan")
    }
}

/// Runs and collects the events.
pub fn run(
    prepared: &PreparedRun,
    dir: &Path,
    workers: &Workers,
) -> (Result<record::RunRecord, RunError>, Vec<RunEvent>) {
    let mut events = Vec::new();
    let repeat = |plan: &Plan, identity: &RunIdentity, windows| {
        format!("{} of {}, {windows} windows", plan.name, identity.model_names().join(" and "))
    };
    let record = lab::run(prepared, dir, workers, &PlainCodec, &repeat, &mut |event| events.push(event.clone()));
    (record, events)
}

/// Every file of a folder with its bytes, without what may differ between equal runs.
pub fn results(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["cells", "."] {
        for entry in std::fs::read_dir(dir.join(folder)).expect("a run folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let varies = name == "journal.jsonl" || name.starts_with('.') || name.ends_with(".stderr");
            if entry.path().is_file() && !varies {
                files.insert(format!("{folder}/{name}"), std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    files
}
