//! A loaded model behind the [`Engine`] trait: one model, several contexts that decode windows side by side.

use crate::callback::{ActiveHook, Orders, Pass};
use crate::context::{Context, max_outputs};
use crate::held::Writes;
use crate::nodes::Nodes;
use crate::weights::{Addresses, Weights};
use eval::{
    ChatMessage, Engine, EngineError, EngineInfo, EngineMemory, EngineSettings, Hook, LayerError, NodeInfo,
    NonFiniteNode, Prefix, Replace, Sequence, Token, WatchedActivation, WeightInfo, WeightUse,
};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory that contexts side by side may take for logits (llama.cpp's own, its graph's, and the reference's copy).
const LOGITS_BUDGET_BYTES: usize = 2 << 30;

/// More contexts than this gain nothing: each has at least one core and shares the memory bus with the others.
const MAX_CONTEXTS: usize = 8;

/// llama.cpp pads a context to 256 tokens, so a smaller one saves nothing.
const SMALL_N_CTX: u32 = 256;

struct Model(NonNull<sys::llama_model>);

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: we own the model, and the contexts are gone (field order).
        unsafe { sys::llama_model_free(self.0.as_ptr()) }
    }
}

/// A model loaded by llama.cpp, with its weights found and a context for each window worked on at once.
pub struct LlamaEngine {
    /// Made when the first window comes: until then nobody knows that the text fills one.
    contexts: Vec<Context>,
    /// For text that the model writes; made when it is first asked to.
    writer: Option<Context>,
    n_contexts: usize,
    /// What `n_contexts` is without a limit.
    max_contexts: usize,
    threads_each: usize,
    settings: EngineSettings,
    weights: Weights,
    addresses: Arc<Addresses>,
    nodes: Arc<Nodes>,
    watched: Vec<String>,
    is_traced: bool,
    /// Of one context, as llama.cpp said when it was made; 0 before.
    context_bytes: u64,
    writes: Writes,
    info: EngineInfo,
    model: Model,
}

/// Engine, revision and CPU features: what a stored number must have been made by to be used again.
pub fn build() -> String {
    // SAFETY: both return static, NUL-terminated strings.
    let (version, system) = unsafe {
        let text = |s| CStr::from_ptr(s).to_string_lossy();
        (text(sys::ggml_version()), text(sys::llama_print_system_info()))
    };
    let features: Vec<&str> = system.split('|').map(str::trim).filter(|f| !f.is_empty()).collect();
    format!("llama-cpp-sys-2 0.1.161, ggml {version}, {}", features.join(", "))
}

fn unsupported(path: &Path, what: &str, hint: &str) -> EngineError {
    EngineError::Unsupported { what: format!("{}: {what}", path.display()), hint: hint.into() }
}

/// Contexts side by side, and threads for each. As many single-threaded contexts as there are cores: they need no
/// barriers, which on a busy machine cost several times the work between them. Fewer where their logits would not fit.
fn contexts_and_threads(n_threads: usize, n_ctx: usize, n_vocab: usize) -> (usize, usize) {
    let bytes_each = 3 * max_outputs(n_ctx) * n_vocab * size_of::<f32>();
    let fit = (LOGITS_BUDGET_BYTES / bytes_each.max(1)).max(1);
    let contexts = n_threads.min(fit).clamp(1, MAX_CONTEXTS);
    (contexts, (n_threads / contexts).max(1))
}

impl LlamaEngine {
    /// Loads `path` and finds its weights. `n_threads` 0 means one per core.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a model that cannot be scored token by token and in a process without
    /// [`GRAPHS_BUILT_ANEW`](crate::GRAPHS_BUILT_ANEW) in its environment, [`EngineError::Failed`] when
    /// llama.cpp refuses it; its reasons are on stderr.
    pub fn open(path: &Path, settings: &EngineSettings, n_threads: usize) -> Result<Self, EngineError> {
        if settings.repack || settings.n_seq != 1 {
            return Err(EngineError::Failed("repacking and several sequences at once are not supported".into()));
        }
        let n_threads = match n_threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        crate::graph_reuse::check()?;
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
            max_contexts: n_contexts,
            threads_each,
            settings: settings.clone(),
            weights,
            addresses,
            nodes: Arc::new(nodes),
            watched: Vec::new(),
            is_traced: false,
            context_bytes: 0,
            writes: Writes::default(),
            info,
            model,
        })
    }

    /// Writes swapped weights in this way from now on.
    #[must_use]
    pub fn writing(mut self, writes: Writes) -> Self {
        self.writes = writes;
        self
    }

    /// `n` contexts, or more, that give at least `n_outputs` rows of logits a pass; those that give fewer are replaced,
    /// and with them go the prefixes that they recorded.
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
            let mut pass = Pass::new(self.addresses.clone());
            pass.watch(&self.watched_indices());
            pass.trace(self.is_traced);
            context.set_pass(pass);
            self.contexts.push(context);
        }
        Ok(())
    }

    /// Token ids with special tokens added; those in the text are parsed if asked for.
    fn token_ids(&self, text: &str, parse_special: bool) -> Result<Vec<Token>, EngineError> {
        let too_long = || EngineError::Failed(format!("the text is too long for llama.cpp: {} bytes", text.len()));
        let len = i32::try_from(text.len()).map_err(|_| too_long())?;
        // SAFETY: the model is live.
        let vocab = unsafe { sys::llama_model_get_vocab(self.model.0.as_ptr()) };
        let mut tokens: Vec<Token> = vec![0; text.len() / 2 + 16];
        for _ in 0..2 {
            let capacity = i32::try_from(tokens.len()).map_err(|_| too_long())?;
            let (text, room) = (text.as_ptr().cast(), tokens.as_mut_ptr());
            // SAFETY: text and tokens have the lengths that are passed.
            let n = unsafe { sys::llama_tokenize(vocab, text, len, room, capacity, true, parse_special) };
            // A negative count is the capacity that was needed.
            tokens.resize(n.unsigned_abs() as usize, 0);
            if n >= 0 {
                return Ok(tokens);
            }
        }
        Err(EngineError::Failed("the tokenizer asked for more room twice".into()))
    }

    fn watched_indices(&self) -> Vec<usize> {
        self.watched.iter().filter_map(|name| self.weights.index(name).ok()).collect()
    }

    /// Tells contexts what to do beside computing in the next pass; `slots` are numbered from 0.
    fn give_orders(&mut self, slots: usize, hooks: &[Hook<'_>], is_hunt: bool) -> Result<(), EngineError> {
        for slot in 0..slots.min(self.contexts.len()) {
            let orders = self.orders(slot, hooks, is_hunt)?;
            if let Some(pass) = self.contexts[slot].pass_mut() {
                pass.give(orders);
            }
        }
        Ok(())
    }

    /// What a pass is to do. Whoever gives it to a context calls [`clear_orders`](Self::clear_orders) before the hooks'
    /// borrow ends.
    fn orders(&mut self, slot: usize, hooks: &[Hook<'_>], is_hunt: bool) -> Result<Orders, EngineError> {
        let active = |hook: &Hook<'_>| {
            // SAFETY: only the lifetime is changed; `clear_orders` forgets the pointer before the borrow ends.
            Ok(ActiveHook::new(self.nodes.place(hook.node)?, unsafe { forget_lifetime(hook.replace) }))
        };
        let hooks = hooks.iter().map(active).collect::<Result<_, EngineError>>()?;
        Ok(Orders { slot, uses: self.weights.use_swaps(), hooks, is_hunt })
    }

    fn clear_orders(&mut self) {
        for pass in self.contexts.iter_mut().chain(&mut self.writer).filter_map(Context::pass_mut) {
            pass.give(Orders::default());
        }
    }

    /// Works items side by side, each in the context that is free; the first failure by number is the one that is told.
    fn side_by_side<T: Sync>(
        &mut self,
        items: &[T],
        is_slot_fixed: bool,
        work: &(dyn Fn(usize, &mut Context, &T) -> Result<(), EngineError> + Sync),
    ) -> Result<(), EngineError> {
        let next = AtomicUsize::new(0);
        let failures: Mutex<Vec<(usize, EngineError)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for (slot, context) in self.contexts.iter_mut().enumerate() {
                let (next, failures) = (&next, &failures);
                let mut mine = items.get(slot).map(|_| slot);
                scope.spawn(move || {
                    loop {
                        let taken =
                            if is_slot_fixed { mine.take() } else { Some(next.fetch_add(1, Ordering::Relaxed)) };
                        let Some((index, item)) = taken.and_then(|index| Some((index, items.get(index)?))) else {
                            return;
                        };
                        if let Err(error) = work(index, context, item) {
                            failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, error));
                            return;
                        }
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.into_iter().min_by_key(|(index, _)| *index).map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// A hook's function without the lifetime of what it borrows.
///
/// # Safety
/// The pointer is not followed after that lifetime.
unsafe fn forget_lifetime(replace: &Replace<'_>) -> *const Replace<'static> {
    // SAFETY: the types differ in the lifetime alone.
    unsafe { std::mem::transmute::<*const Replace<'_>, *const Replace<'static>>(std::ptr::from_ref(replace)) }
}

/// The model with its weights in plain memory of the host or of a device: no mmap, no repacking, so that what is read is
/// what the file holds.
fn load(path: &Path, n_gpu_layers: u32) -> Result<Model, EngineError> {
    // SAFETY: asks for a property of the build.
    if n_gpu_layers > 0 && !unsafe { sys::llama_supports_gpu_offload() } {
        return Err(EngineError::Unsupported {
            what: format!(
                "{n_gpu_layers} layers on a GPU: this build of assay computes on the CPU only, or finds no GPU"
            ),
            hint: "build with --features cuda, metal or vulkan; leave --gpu-layers out to compute on the CPU".into(),
        });
    }
    let file = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| EngineError::Failed(format!("{}: NUL in the path", path.display())))?;
    // SAFETY: plain defaults.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
    params.use_extra_bufts = false;
    params.n_gpu_layers = i32::try_from(n_gpu_layers).unwrap_or(i32::MAX);
    crate::log::forget_errors();
    // SAFETY: `file` outlives the call.
    NonNull::new(unsafe { sys::llama_model_load_from_file(file.as_ptr(), params) }).map(Model).ok_or_else(|| {
        let why = match crate::log::first_error() {
            reason if reason.is_empty() => "it gave no reason".into(),
            reason => reason,
        };
        unsupported(
            path,
            &format!("llama.cpp cannot load the model: {why}"),
            "the engine must know the architecture and find every tensor that it wants, and memory must hold the file",
        )
    })
}

/// What the model is, or why it cannot be scored. `n_threads` is not known yet.
fn describe(model: &Model, path: &Path) -> Result<EngineInfo, EngineError> {
    let raw = model.0.as_ptr();
    // SAFETY: the model is live, and its vocabulary lives as long.
    let (vocab_type, n_vocab, bos, decodes, n_layer, n_ctx_train) = unsafe {
        let vocab = sys::llama_model_get_vocab(raw);
        (
            sys::llama_vocab_type(vocab),
            sys::llama_vocab_n_tokens(vocab),
            sys::llama_vocab_get_add_bos(vocab).then(|| sys::llama_vocab_bos(vocab)),
            sys::llama_model_has_decoder(raw) && !sys::llama_model_has_encoder(raw),
            sys::llama_model_n_layer(raw),
            sys::llama_model_n_ctx_train(raw),
        )
    };
    if vocab_type == sys::LLAMA_VOCAB_TYPE_NONE || n_vocab <= 0 {
        return Err(unsupported(
            path,
            "the model has no tokenizer (tokenizer.ggml.model is missing or \"no_vocab\")",
            "use a GGUF file that carries its tokenizer; convert again without --no-vocab",
        ));
    }
    if !decodes {
        return Err(unsupported(
            path,
            "the model does not predict the next token from those before",
            "perplexity and KL divergence need a causal language model",
        ));
    }
    Ok(EngineInfo {
        build: build(),
        arch: meta(model, c"general.architecture"),
        n_vocab: n_vocab as usize,
        n_layer: n_layer.max(0) as usize,
        n_ctx_train: n_ctx_train.max(0) as u32,
        bos: bos.filter(|&token| token >= 0),
        n_threads: 0,
    })
}

/// A metadata value as text; empty when absent.
fn meta(model: &Model, key: &CStr) -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: the buffer has the length that is passed, and llama.cpp terminates what it writes.
    let n = unsafe {
        sys::llama_model_meta_val_str(model.0.as_ptr(), key.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
    };
    let n = usize::try_from(n).unwrap_or(0).min(buffer.len() - 1);
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

impl Engine for LlamaEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn tokenize(&self, text: &str) -> Result<Vec<Token>, EngineError> {
        self.token_ids(text, false)
    }

    fn piece_len(&self, token: Token) -> usize {
        // SAFETY: the model is live; with no room at all llama.cpp returns the length needed, negated.
        unsafe {
            let vocab = sys::llama_model_get_vocab(self.model.0.as_ptr());
            sys::llama_token_to_piece(vocab, token, std::ptr::null_mut(), 0, 0, false).unsigned_abs() as usize
        }
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        let mut bytes = vec![0u8; self.piece_len(token)];
        // SAFETY: the model is live, and `bytes` has the length that is passed.
        let n = unsafe {
            let vocab = sys::llama_model_get_vocab(self.model.0.as_ptr());
            sys::llama_token_to_piece(vocab, token, bytes.as_mut_ptr().cast(), bytes.len() as i32, 0, false)
        };
        bytes.truncate(usize::try_from(n).unwrap_or(0));
        bytes
    }

    fn is_end(&self, token: Token) -> bool {
        // SAFETY: the model is live.
        unsafe { sys::llama_vocab_is_eog(sys::llama_model_get_vocab(self.model.0.as_ptr()), token) }
    }

    fn chat_prompt(&self, messages: &[ChatMessage]) -> Result<Vec<Token>, EngineError> {
        let text = crate::chat::prompt(self.model.0, messages)?;
        let mut tokens = self.token_ids(&text, true)?;
        // Some templates write BOS themselves, and the tokenizer adds one.
        if let (Some(bos), [first, second, ..]) = (self.info.bos, &tokens[..])
            && *first == bos
            && *second == bos
        {
            tokens.remove(0);
        }
        Ok(tokens)
    }

    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let n_threads = self.threads_each * self.max_contexts;
                // SAFETY: the model is live and outlives the context (field order).
                let mut writer =
                    unsafe { Context::new(self.model.0, &self.settings, n_threads, self.info.n_vocab, 1) }?;
                writer.set_pass(Pass::new(self.addresses.clone()));
                writer
            }
        };
        let orders = self.orders(0, hooks, false)?;
        if let Some(pass) = writer.pass_mut() {
            pass.give(orders);
        }
        let done = writer.generate(prompt, next);
        self.writer = Some(writer);
        self.clear_orders();
        done
    }

    fn weights(&self) -> &[WeightInfo] {
        self.weights.infos()
    }

    fn read_weight(&self, name: &str) -> Result<(String, Vec<u8>), EngineError> {
        self.weights.read(name)
    }

    fn swap_weight(&mut self, name: &str, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError> {
        self.weights.swap(name, ty, bytes, self.writes)
    }

    fn restore_weight(&mut self, name: &str) -> Result<(), EngineError> {
        self.weights.restore(name)
    }

    fn swap_use(&mut self, name: &str, used_as: WeightUse, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError> {
        self.weights.swap_use(name, used_as, ty, bytes, self.writes)
    }

    fn read_use(&self, name: &str, used_as: WeightUse) -> Result<(String, Vec<u8>), EngineError> {
        self.weights.read_use(name, used_as)
    }

    fn restore_use(&mut self, name: &str, used_as: WeightUse) -> Result<(), EngineError> {
        self.weights.restore_use(name, used_as)
    }

    fn nodes(&self) -> &[NodeInfo] {
        self.nodes.infos()
    }

    fn find_node(&self, name: &str) -> Result<(), EngineError> {
        self.nodes.place(name).map(|_| ())
    }

    fn n_parallel(&self) -> usize {
        self.n_contexts
    }

    fn limit_parallel(&mut self, n: usize) {
        self.n_contexts = self.max_contexts.min(n.max(1));
        self.contexts.truncate(self.n_contexts);
    }

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

    fn watch(&mut self, tensors: &[String]) {
        self.watched = tensors.iter().filter(|name| self.weights.index(name).is_ok()).cloned().collect();
        let indices = self.watched_indices();
        for pass in self.contexts.iter_mut().filter_map(Context::pass_mut) {
            pass.watch(&indices);
        }
    }

    fn watched(&self, slot: usize) -> Vec<WatchedActivation> {
        let Some(pass) = self.contexts.get(slot).and_then(Context::pass) else { return Vec::new() };
        self.watched
            .iter()
            .zip(pass.hashes())
            .map(|(tensor, blake3)| WatchedActivation { tensor: tensor.clone(), blake3 })
            .collect()
    }

    fn decode_hooked(
        &mut self,
        windows: &[&[Token]],
        first_output: usize,
        prefix: Prefix,
        hooks: &[Hook<'_>],
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        if windows.len() > self.n_contexts {
            let n_contexts = self.n_contexts;
            return Err(EngineError::Failed(format!("{} windows at once, {n_contexts} contexts", windows.len())));
        }
        self.make_contexts(windows.len(), max_outputs(self.settings.n_ctx as usize))?;
        self.give_orders(windows.len(), hooks, false)?;
        let done = self.side_by_side(windows, true, &|slot, context, window| {
            score(slot, context.decode(window, first_output, prefix)?);
            Ok(())
        });
        self.clear_orders();
        done
    }

    fn decode_each(
        &mut self,
        sequences: &[Sequence<'_>],
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        let n_outputs = |sequence: &Sequence<'_>| sequence.tokens.len().saturating_sub(sequence.first_output);
        let most = sequences.iter().map(n_outputs).max().unwrap_or(0).min(self.settings.n_ctx as usize);
        self.make_contexts(self.n_contexts.min(sequences.len()), most)?;
        self.give_orders(self.n_contexts, &[], false)?;
        // Each context takes the next sequence when it is done with one; which context that is changes no bits.
        let done = self.side_by_side(sequences, false, &|index, context, sequence| {
            score(index, context.decode(sequence.tokens, sequence.first_output, Prefix::Full)?);
            Ok(())
        });
        self.clear_orders();
        done
    }

    fn trace(&mut self, on: bool) {
        self.is_traced = on;
        for pass in self.contexts.iter_mut().filter_map(Context::pass_mut) {
            pass.trace(on);
        }
    }

    fn traced(&self, slot: usize) -> Vec<LayerError> {
        self.contexts.get(slot).and_then(Context::pass).map_or_else(Vec::new, |pass| pass.traced().to_vec())
    }

    fn first_non_finite(&mut self, window: &[Token], hooks: &[Hook<'_>]) -> Result<Option<NonFiniteNode>, EngineError> {
        let n_ctx = self.settings.n_ctx as usize;
        self.make_contexts(1, max_outputs(n_ctx))?;
        self.give_orders(1, hooks, true)?;
        let first_output = window.len().saturating_sub(max_outputs(n_ctx));
        let decoded = self.contexts[0].decode(window, first_output, Prefix::Full).map(|_| ());
        let found = self.contexts[0].pass_mut().and_then(Pass::found);
        self.clear_orders();
        match found {
            Some((mut found, weights)) => {
                found.weights = weights.iter().map(|&index| self.weights.name(index).to_string()).collect();
                Ok(Some(found))
            }
            None => decoded.map(|()| None),
        }
    }
}
