//! A loaded model behind eval's engine traits: one model, and several contexts that decode windows side by side.
//!
//! `load` has llama.cpp load the model, `tokens` implements [`eval::Tokens`], `passes` implements [`eval::Passes`]; the
//! smaller traits are here.

mod load;
mod passes;
mod tokens;

pub use load::build;

use crate::callback::Pass;
use crate::context::{Context, max_outputs};
use crate::held::Writes;
use crate::nodes::Nodes;
use crate::weights::{Addresses, Weights};
use eval::{EngineError, EngineInfo, EngineMemory, EngineSettings, Graph, Memory, NodeInfo, WeightInfo, WeightUse};
use llama_cpp_sys_2 as sys;
use load::{Model, describe, load};
use std::path::Path;
use std::sync::Arc;

/// The memory that contexts side by side may take for logits (llama.cpp's own, its graph's, and the reference's copy).
const LOGITS_BUDGET_BYTES: usize = 2 << 30;

/// The most contexts side by side. More gain nothing: each has at least one core and shares the memory bus with the others.
const MAX_CONTEXTS: usize = 8;

/// The smallest context: llama.cpp pads a context to 256 tokens, so a smaller one saves nothing.
const SMALL_N_CTX: u32 = 256;

/// A model loaded by llama.cpp, with its weights found and a context for each window worked on at once.
pub struct LlamaEngine {
    /// The contexts of passes. They are made when the first window comes: until then nobody knows that the text fills one.
    contexts: Vec<Context>,
    /// The context of text that the model writes, made when it is first asked to.
    writer: Option<Context>,
    /// The most contexts that work side by side.
    n_contexts: usize,
    /// The number of threads of each context.
    threads_each: usize,
    settings: EngineSettings,
    weights: Weights,
    addresses: Arc<Addresses>,
    nodes: Nodes,
    /// The memory that one context takes, as llama.cpp reported it when a context was made; 0 before that.
    context_bytes: u64,
    writes: Writes,
    info: EngineInfo,
    /// The model comes last, so that it is dropped after all contexts.
    model: Model,
}

/// The number of contexts side by side, and of threads for each. There are as many single-threaded contexts as cores: they
/// need no barriers, which on a busy machine cost several times the work between them. There are fewer where their logits
/// would not fit.
fn contexts_and_threads(n_threads: usize, n_ctx: usize, n_vocab: usize) -> (usize, usize) {
    let bytes_each = 3 * max_outputs(n_ctx) * n_vocab * size_of::<f32>();
    let fit = (LOGITS_BUDGET_BYTES / bytes_each.max(1)).max(1);
    let contexts = n_threads.min(fit).clamp(1, MAX_CONTEXTS);
    (contexts, (n_threads / contexts).max(1))
}

impl LlamaEngine {
    /// Loads `path` and finds its weights. With `n_threads` 0 there is one thread per core, and never
    /// more than one.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] when llama.cpp cannot load the model, when the model cannot be scored token by token, and
    /// in a process without [`GRAPHS_BUILT_ANEW`](crate::GRAPHS_BUILT_ANEW) in its environment;
    /// [`EngineError::Failed`] when the settings are not supported or its graph cannot be walked. What llama.cpp says is on
    /// stderr.
    pub fn open(path: &Path, settings: &EngineSettings, n_threads: usize) -> Result<Self, EngineError> {
        crate::graph_reuse::check()?;
        if settings.repack || settings.n_seq != 1 {
            return Err(EngineError::Failed("repacking and several sequences at once are not supported".into()));
        }
        // Threads beyond the cores wait for one another in busy loops: 64 of them on two cores take minutes for what two
        // threads do in a fraction of a second.
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let n_threads = if n_threads == 0 { cores } else { n_threads.min(cores) };
        crate::log::listen();
        // SAFETY: idempotent initialisation.
        unsafe { sys::llama_backend_init() };

        let model = load(path, settings.n_gpu_layers)?;
        let mut info = describe(&model, path)?;
        let (n_contexts, threads_each) = contexts_and_threads(n_threads, settings.n_ctx as usize, info.n_vocab);
        info.n_threads = n_contexts * threads_each;
        // A window of the smallest size is enough to walk the graph.
        let small =
            EngineSettings { n_ctx: settings.n_ctx.min(SMALL_N_CTX), n_ubatch: SMALL_N_CTX, ..settings.clone() };
        // SAFETY: the model is live and outlives the context, which ends with this function.
        let mut scout =
            unsafe { Context::new(model.0, &small, threads_each, info.n_vocab, max_outputs(small.n_ctx as usize)) }?;
        let (mut weights, nodes) = scout.discover(info.bos.unwrap_or(0))?;
        if weights.infos().is_empty() {
            return Err(EngineError::Failed(format!("{}: no weights found in the graph", path.display())));
        }
        let addresses = Arc::new(weights.take_addresses());
        Ok(LlamaEngine {
            contexts: Vec::new(),
            writer: None,
            n_contexts,
            threads_each,
            settings: settings.clone(),
            weights,
            addresses,
            nodes,
            context_bytes: 0,
            writes: Writes::default(),
            info,
            model,
        })
    }

    /// The engine with another way of writing swapped weights.
    #[must_use]
    pub fn writing(mut self, writes: Writes) -> Self {
        self.writes = writes;
        self
    }

    /// Makes contexts until there are `n` that give at least `n_outputs` rows of logits a pass. Contexts that give fewer are
    /// replaced, and the prefixes that they recorded are lost.
    fn make_contexts(&mut self, n: usize, n_outputs: usize) -> Result<(), EngineError> {
        let n_outputs = n_outputs.max(max_outputs(self.settings.n_ctx as usize));
        if self.contexts.iter().any(|context| context.max_outputs() < n_outputs) {
            self.contexts.clear();
        }
        while self.contexts.len() < n {
            crate::log::forget_buffers();
            // SAFETY: the model is live and outlives the contexts (field order).
            let mut context =
                unsafe { Context::new(self.model.0, &self.settings, self.threads_each, self.info.n_vocab, n_outputs) }?;
            self.context_bytes = crate::log::buffer_bytes() + (n_outputs * self.info.n_vocab * size_of::<f32>()) as u64;
            context.set_pass(Pass::new(self.addresses.clone()));
            self.contexts.push(context);
        }
        Ok(())
    }
}

impl Graph for LlamaEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn nodes(&self) -> &[NodeInfo] {
        self.nodes.infos()
    }

    fn find_node(&self, name: &str) -> Result<(), EngineError> {
        self.nodes.place(name).map(|_| ())
    }
}

impl eval::Weights for LlamaEngine {
    fn weights(&self) -> &[WeightInfo] {
        self.weights.infos()
    }

    fn read_weight(&self, name: &str, used_as: Option<WeightUse>) -> Result<(String, Vec<u8>), EngineError> {
        match used_as {
            None => self.weights.read(name),
            Some(used_as) => self.weights.read_use(name, used_as),
        }
    }

    fn swap_weight(
        &mut self,
        name: &str,
        used_as: Option<WeightUse>,
        ty: &str,
        bytes: Arc<Vec<u8>>,
    ) -> Result<(), EngineError> {
        match used_as {
            None => self.weights.swap(name, ty, bytes, self.writes),
            Some(used_as) => self.weights.swap_use(name, used_as, ty, bytes, self.writes),
        }
    }

    fn restore_weight(&mut self, name: &str, used_as: Option<WeightUse>) -> Result<(), EngineError> {
        match used_as {
            None => self.weights.restore(name),
            Some(used_as) => self.weights.restore_use(name, used_as),
        }
    }
}

impl Memory for LlamaEngine {
    fn memory(&mut self) -> Result<EngineMemory, EngineError> {
        let n_ctx = self.settings.n_ctx as usize;
        self.make_contexts(1, max_outputs(n_ctx))?;
        // SAFETY: the model is live.
        let (model_bytes, n_embd) = unsafe {
            let raw = self.model.0.as_ptr();
            (sys::llama_model_size(raw), sys::llama_model_n_embd(raw).max(0) as usize)
        };
        let prefix_bytes = (self.info.n_layer * n_ctx * n_embd * size_of::<f32>()) as u64;
        Ok(EngineMemory { model_bytes, context_bytes: self.context_bytes, prefix_bytes })
    }

    fn free_contexts(&mut self, n_kept: usize) {
        self.contexts.truncate(n_kept);
    }
}
