//! A loaded model with a text cut into windows, and the weights that are swapped in it.

use crate::edit::{PreparedEdit, consumers};
use crate::job_error::JobError;
use crate::memory;
use crate::protocol::{CellSpec, Event};
use eval::window::{first_scored, n_scored, windows, without_trailing_newline};
use eval::{Engine, EngineError, WeightInfo};
use files::SchemeFiles;
use files::companion::{CompanionError, Factors, companion_of};
use numerics::{BlockCodec, CodecError};
use record::{
    Arm, Base, Carried, Edit, EditPlace, EngineInfo, EngineSettings, MemoryNeeds, MemoryPlan, Note, Token, WeightUse,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use words::{Advice, Hint};

/// A loaded model with a text cut into windows.
pub(crate) struct Loaded {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) settings: EngineSettings,
    pub(crate) max_memory_bytes: Option<u64>,
    /// The ggml type of each weight in the file, by the name of the weight.
    pub(crate) stored: BTreeMap<String, String>,
    /// The factors that the graph multiplies a weight's product by, by the name of the weight.
    factors: BTreeMap<String, Factors>,
    /// The files that schemes name.
    pub(crate) files: SchemeFiles,
    pub(crate) windows: Vec<Vec<Token>>,
    /// The swapped weights, in order. They are undone from the end.
    swapped: Vec<(String, Option<WeightUse>)>,
    /// Whether a pass from a recorded prefix gave the same bits as a full pass on this model. `None` until it is tried.
    pub(crate) prefix_is_exact: Option<bool>,
    /// What the user should know of how the model is run. It is said with the first job.
    pub(crate) notes: Vec<Note>,
    /// The weights of which it was said that the graph does not use them.
    said_unused: BTreeSet<String>,
}

/// The single use that a place stands for. `None` when the place is the whole weight.
pub(crate) fn use_of(place: EditPlace) -> Option<WeightUse> {
    match place {
        EditPlace::Weight | EditPlace::Activation => None,
        EditPlace::Lookup => Some(WeightUse::Lookup),
        EditPlace::Head => Some(WeightUse::Head),
    }
}

/// What the user should know of windows that are longer than the model was trained for. `None` where they are not, or
/// the file does not say.
pub fn beyond_training(n_ctx: u32, n_ctx_train: u32) -> Option<Note> {
    (n_ctx_train > 0 && n_ctx > n_ctx_train).then_some(Note::LongWindows { n_ctx, n_ctx_train })
}

/// What the user should know of settings that the model or the machine does not bear out.
fn notes(settings: &EngineSettings, info: &EngineInfo, n_threads: usize) -> Vec<Note> {
    let mut notes = Vec::new();
    notes.extend(beyond_training(settings.n_ctx, info.n_ctx_train));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if n_threads > cores {
        notes.push(Note::MoreThreadsThanCores { asked: n_threads, cores });
    }
    notes
}

impl Loaded {
    /// A model that was opened with these settings and this number of threads, of which 0 means one per core.
    ///
    /// # Errors
    /// When the engine cannot read the factors of a weight, or they are no factors.
    pub(crate) fn new(
        engine: Box<dyn Engine>,
        settings: EngineSettings,
        n_threads: usize,
        max_memory_bytes: Option<u64>,
    ) -> Result<Self, JobError> {
        let mut factors = BTreeMap::new();
        for weight in engine.weights() {
            if let Some(found) = factors_now(&*engine, weight)? {
                factors.insert(weight.name.clone(), found);
            }
        }
        let notes = notes(&settings, engine.info(), n_threads);
        let stored = engine.weights().iter().map(|w| (w.name.clone(), w.ty.clone())).collect();
        Ok(Loaded {
            engine,
            settings,
            max_memory_bytes,
            stored,
            factors,
            files: SchemeFiles::default(),
            windows: Vec::new(),
            swapped: Vec::new(),
            prefix_is_exact: None,
            notes,
            said_unused: BTreeSet::new(),
        })
    }

    /// Whether a node of the graph uses the weight of this edit, in the edited use.
    fn uses(&self, edit: &Edit) -> bool {
        let info = self.engine.weights().iter().find(|w| w.name == edit.tensor);
        info.is_some_and(|info| consumers(info, edit.place) > 0)
    }

    /// Takes note of the weights that are to be edited although the graph does not use them, each once.
    pub(crate) fn note_unused<'e>(&mut self, edits: impl Iterator<Item = &'e Edit>) {
        let edits = edits.filter(|edit| edit.place != EditPlace::Activation && !self.uses(edit));
        let mut names: Vec<&str> = edits.map(|edit| edit.tensor.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| !self.said_unused.contains(*name));
        if names.is_empty() {
            return;
        }
        let tensors: Vec<String> = names.into_iter().map(str::to_owned).collect();
        self.said_unused.extend(tensors.iter().cloned());
        self.notes.push(Note::UnusedTensors { tensors });
    }

    /// The number of swaps that are now in place.
    pub(crate) fn depth(&self) -> usize {
        self.swapped.len()
    }

    /// Cuts the text into windows as llama-perplexity does, and returns the event that describes them.
    pub(crate) fn cut(&mut self, text: &str, special: bool) -> Result<Event, JobError> {
        let n_ctx = self.settings.n_ctx as usize;
        let tokens = self.engine.tokenize(without_trailing_newline(text), special)?;
        self.windows = windows(&tokens, n_ctx, self.engine.info().bos)
            .map_err(|error| JobError::input(error.to_string(), Hint::LongerText))?;
        let chunk_blake3 = self
            .windows
            .iter()
            .map(|window| {
                let bytes: Vec<u8> = window.iter().flat_map(|t| t.to_le_bytes()).collect();
                blake3::hash(&bytes).to_hex().to_string()
            })
            .collect();
        Ok(Event::Tokenized { n_tokens: tokens.len(), n_chunks: self.windows.len(), chunk_blake3 })
    }

    /// The number of bytes of text that each scored token of a window stands for.
    pub(crate) fn token_bytes(&self, window: &[Token]) -> Result<Vec<u32>, EngineError> {
        let scored = &window[first_scored(self.settings.n_ctx as usize) + 1..];
        scored.iter().map(|&token| Ok(self.engine.piece_len(token)? as u32)).collect()
    }

    /// The weights that the reference stores in F32 although the file has them in another type.
    pub(crate) fn held_in_f32(&self, base: &Base, codec: &dyn BlockCodec) -> Vec<Carried> {
        let carried: HashMap<&str, &Carried> = base.carried.iter().map(|carried| (carried.tensor(), carried)).collect();
        let weights = self.engine.weights().iter();
        weights
            .filter(|w| !record::is_f32(&w.ty) || self.factors.contains_key(&w.name))
            .filter(|w| is_numeric(codec, &w.ty))
            .filter_map(|w| match base.arm {
                Arm::Exact => Some(Carried::Whole(w.name.clone())),
                Arm::Native => carried
                    .get(w.name.as_str())
                    .filter(|carried| consumers(w, carried.place()) > 0)
                    .map(|carried| (*carried).clone()),
            })
            .collect()
    }

    pub(crate) fn hold_in_f32(&mut self, weights: &[Carried], codec: &dyn BlockCodec) -> Result<(), JobError> {
        for (name, place) in weights.iter().map(|carried| (carried.tensor(), carried.place())) {
            let (ty, stored) = self.read(name, place)?;
            let failed = |why: String| EngineError::Failed(format!("{name}: {why}"));
            // The values are dequantized straight into the bytes to be swapped in, because a token embedding in F32 is
            // too large to store twice.
            let mut bytes = vec![0u8; self.n_values(name) * size_of::<f32>()];
            let values: &mut [f32] =
                bytemuck::try_cast_slice_mut(&mut bytes).map_err(|error| failed(error.to_string()))?;
            codec.dequantize(&ty, &stored, values).map_err(|error| failed(error.to_string()))?;
            if let Some(factors) = self.factors_of(name, place) {
                factors.multiply(0, values);
            }
            let (tensor, bytes) = (name.to_owned(), Arc::new(bytes));
            self.swap(&PreparedEdit { tensor, place, ty: "f32".into(), bytes, folded: true })?;
        }
        Ok(())
    }

    pub(crate) fn swap(&mut self, edit: &PreparedEdit) -> Result<(), EngineError> {
        let used_as = use_of(edit.place);
        self.engine.swap_weight(&edit.tensor, used_as, &edit.ty, edit.bytes.clone())?;
        self.swapped.push((edit.tensor.clone(), used_as));
        let factors = self.factors_of(&edit.tensor, edit.place).filter(|_| edit.folded);
        if let Some((factors, companion)) = factors.zip(companion_of(&edit.tensor)) {
            let ones = Arc::new(factors.ones());
            self.engine.swap_weight(&companion, None, "f32", ones)?;
            self.swapped.push((companion, None));
        }
        Ok(())
    }

    /// The factors that the graph multiplies a weight's product by, as the file has them. `None` where there are none,
    /// or the place is one use of a matrix.
    pub(crate) fn factors_of(&self, weight: &str, place: EditPlace) -> Option<&Factors> {
        self.factors.get(weight).filter(|_| place == EditPlace::Weight)
    }

    /// The name of the tensor with the factors of a weight. `None` where the graph has no such tensor.
    pub(crate) fn companion(&self, weight: &str) -> Option<String> {
        self.factors.get(weight).and_then(|_| companion_of(weight))
    }

    /// The type and the bytes that the engine now has in a place.
    pub(crate) fn read(&self, tensor: &str, place: EditPlace) -> Result<(String, Vec<u8>), EngineError> {
        self.engine.read_weight(tensor, use_of(place))
    }

    /// Undoes swaps until `depth` of them are left.
    pub(crate) fn unwind(&mut self, depth: usize) -> Result<(), EngineError> {
        while self.swapped.len() > depth {
            let Some((name, used_as)) = self.swapped.pop() else { break };
            self.engine.restore_weight(&name, used_as)?;
        }
        Ok(())
    }

    /// A hash over the names, types and bytes of these weights as they are now.
    pub(crate) fn hash_of(&self, names: &BTreeSet<&str>) -> Result<String, JobError> {
        let mut hasher = blake3::Hasher::new();
        for name in names {
            // A target that the graph does not use has no bytes in the engine. It is judged DEAD later.
            match self.engine.read_weight(name, None) {
                Ok((ty, bytes)) => {
                    hasher.update(name.as_bytes()).update(b"\0").update(ty.as_bytes()).update(b"\0").update(&bytes);
                }
                Err(EngineError::NoSuchWeight(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The first weight, in graph order, that has a value which is not finite. It is looked for only after a pass has
    /// failed, because every weight is read.
    pub(crate) fn nonfinite_weight(&self, codec: &dyn BlockCodec) -> Option<&str> {
        let weights = self.engine.weights().iter().filter(|weight| is_numeric(codec, &weight.ty));
        let is_nonfinite = |weight: &&WeightInfo| {
            let values = self.values_of(&weight.name, EditPlace::Weight, codec);
            values.is_ok_and(|(_, values)| values.iter().any(|value| !value.is_finite()))
        };
        weights.into_iter().find(is_nonfinite).map(|weight| weight.name.as_str())
    }

    /// The memory that a job needs which measures these cells over weights that are held in F32, and how much of it fits.
    ///
    /// # Errors
    /// When not even the indispensable part fits, or the engine cannot say what it needs.
    pub(crate) fn memory_plan(&mut self, in_f32: &[Carried], cells: &[CellSpec]) -> Result<MemoryPlan, JobError> {
        const F32_BYTES: u64 = size_of::<f32>() as u64;
        let engine = self.engine.memory()?;
        let held = |tensor: &str| self.n_values(tensor) as u64 * F32_BYTES;
        let weights = |cell: &CellSpec| -> u64 {
            cell.edits.iter().filter(|e| e.place != EditPlace::Activation).map(|e| held(&e.tensor)).sum()
        };
        let distinct: HashSet<&Edit> =
            cells.iter().flat_map(|c| &c.edits).filter(|e| e.place != EditPlace::Activation).collect();
        let n_scored = n_scored(self.settings.n_ctx as usize) as u64;
        let needs = MemoryNeeds {
            model_bytes: engine.model_bytes,
            held_in_f32_bytes: in_f32.iter().map(|carried| held(carried.tensor())).sum(),
            context_bytes: engine.context_bytes,
            reference_bytes: n_scored * self.engine.info().n_vocab as u64 * F32_BYTES,
            prefix_bytes: engine.prefix_bytes,
            cell_bytes: cells.iter().map(weights).max().unwrap_or(0),
            // Undoing a type needs the values of the reference twice.
            scratch_bytes: 2 * distinct.iter().map(|edit| held(&edit.tensor)).max().unwrap_or(0),
            edits_bytes: distinct.iter().map(|edit| held(&edit.tensor)).sum(),
        };
        let wants_prefix = !cells.is_empty() && self.prefix_is_exact != Some(false);
        memory::fit(&needs, self.max_memory_bytes, self.engine.n_parallel(), wants_prefix)
            .map_err(|too_little| JobError::Input { why: format!("memory: {too_little}"), hint: too_little.hint() })
    }

    pub(crate) fn n_values(&self, name: &str) -> usize {
        let info = self.engine.weights().iter().find(|w| w.name == name);
        info.map_or(0, |w| w.ne.iter().product::<u64>() as usize)
    }

    /// The type that a place now has, and its values, multiplied by the factors that the graph now multiplies by.
    pub(crate) fn values_of(
        &self,
        name: &str,
        place: EditPlace,
        codec: &dyn BlockCodec,
    ) -> Result<(String, Vec<f32>), ValuesError> {
        let (ty, bytes) = self.read(name, place)?;
        let mut values = vec![0.0f32; self.n_values(name)];
        codec.dequantize(&ty, &bytes, &mut values)?;
        let weight = self.engine.weights().iter().find(|w| w.name == name && place == EditPlace::Weight);
        if let Some(factors) = weight.map(|weight| factors_now(&*self.engine, weight)).transpose()?.flatten() {
            factors.multiply(0, &mut values);
        }
        Ok((ty, values))
    }
}

/// The factors that the graph multiplies a weight's product by now. `None` where it has no such tensor.
fn factors_now(engine: &dyn Engine, weight: &WeightInfo) -> Result<Option<Factors>, ValuesError> {
    let companion = companion_of(&weight.name);
    let Some(companion) = companion.filter(|name| engine.weights().iter().any(|w| w.name == *name)) else {
        return Ok(None);
    };
    let (ty, bytes) = engine.read_weight(&companion, None)?;
    Ok(Some(Factors::new(&weight.name, &weight.ne, &ty, &bytes)?))
}

/// Why the values of a weight cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValuesError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Companion(#[from] CompanionError),
}

impl Advice for ValuesError {
    fn hint(&self) -> Option<Hint> {
        match self {
            ValuesError::Engine(error) => error.hint(),
            ValuesError::Codec(error) => error.hint(),
            ValuesError::Companion(error) => error.hint(),
        }
    }
}

/// Whether the values of a type are numbers of a model. Integers are indices, and they pass through every scheme
/// unchanged.
fn is_numeric(codec: &dyn BlockCodec, ty: &str) -> bool {
    codec.layout(ty).is_some() && !matches!(ty, "i8" | "i16" | "i32" | "i64" | "f64")
}
