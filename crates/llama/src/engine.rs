//! A loaded model behind the [`Engine`] trait: one model, several contexts that decode windows side by side.

use crate::callback::Pass;
use crate::context::{Context, max_outputs};
use crate::weights::{Addresses, Weights};
use eval::{Engine, EngineError, EngineInfo, EngineSettings, Prefix, Sequence, Token, WatchedActivation, WeightInfo};
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
    n_contexts: usize,
    threads_each: usize,
    settings: EngineSettings,
    weights: Weights,
    addresses: Arc<Addresses>,
    watched: Vec<String>,
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
    /// [`EngineError::Unsupported`] for a model that cannot be scored token by token, [`EngineError::Failed`] when
    /// llama.cpp refuses it; its reasons are on stderr.
    pub fn open(path: &Path, settings: &EngineSettings, n_threads: usize) -> Result<Self, EngineError> {
        if settings.repack || settings.n_seq != 1 {
            return Err(EngineError::Failed("repacking and several sequences at once are not supported".into()));
        }
        let n_threads = match n_threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        crate::log::listen();
        // A graph that is reused would keep views into weights that have been swapped since.
        // SAFETY: no thread of a worker reads the environment while it opens a model.
        unsafe { std::env::set_var("LLAMA_GRAPH_REUSE_DISABLE", "1") };
        // SAFETY: idempotent initialisation.
        unsafe { sys::llama_backend_init() };

        let model = load(path)?;
        let mut info = describe(&model, path)?;
        let (n_contexts, threads_each) = contexts_and_threads(n_threads, settings.n_ctx as usize, info.n_vocab);
        info.n_threads = n_contexts * threads_each;
        // A window of the smallest size is enough to walk the graph.
        let small =
            EngineSettings { n_ctx: settings.n_ctx.min(SMALL_N_CTX), n_ubatch: SMALL_N_CTX, ..settings.clone() };
        // SAFETY: the model is live and outlives the context, which ends with this function.
        let mut scout =
            unsafe { Context::new(model.0, &small, threads_each, info.n_vocab, max_outputs(small.n_ctx as usize)) }?;
        let mut weights = scout.discover(info.bos.unwrap_or(0))?;
        if weights.infos().is_empty() {
            return Err(EngineError::Failed(format!("{}: no weights found in the graph", path.display())));
        }
        let addresses = Arc::new(weights.take_addresses());
        Ok(LlamaEngine {
            contexts: Vec::new(),
            n_contexts,
            threads_each,
            settings: settings.clone(),
            weights,
            addresses,
            watched: Vec::new(),
            info,
            model,
        })
    }

    /// Contexts that give at least `n_outputs` rows of logits a pass; those that give fewer are replaced, and with them
    /// go the prefixes that they recorded.
    fn make_contexts(&mut self, n_outputs: usize) -> Result<(), EngineError> {
        let n_outputs = n_outputs.max(max_outputs(self.settings.n_ctx as usize));
        if self.contexts.iter().any(|context| context.max_outputs() < n_outputs) {
            self.contexts.clear();
        }
        if self.contexts.len() == self.n_contexts {
            return Ok(());
        }
        while self.contexts.len() < self.n_contexts {
            // SAFETY: the model is live and outlives the contexts (field order).
            let mut context =
                unsafe { Context::new(self.model.0, &self.settings, self.threads_each, self.info.n_vocab, n_outputs) }?;
            context.set_pass(Pass::new(self.addresses.clone()));
            self.contexts.push(context);
        }
        let watched = std::mem::take(&mut self.watched);
        self.watch(&watched);
        Ok(())
    }
}

/// The model with its weights in plain host memory: no mmap, no repacking, so that what is read is what the file holds.
fn load(path: &Path) -> Result<Model, EngineError> {
    let file = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| EngineError::Failed(format!("{}: NUL in the path", path.display())))?;
    // SAFETY: plain defaults.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
    params.use_extra_bufts = false;
    params.n_gpu_layers = 0;
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
        let too_long = || EngineError::Failed(format!("the text is too long for llama.cpp: {} bytes", text.len()));
        let len = i32::try_from(text.len()).map_err(|_| too_long())?;
        // SAFETY: the model is live.
        let vocab = unsafe { sys::llama_model_get_vocab(self.model.0.as_ptr()) };
        let mut tokens: Vec<Token> = vec![0; text.len() / 2 + 16];
        for _ in 0..2 {
            let capacity = i32::try_from(tokens.len()).map_err(|_| too_long())?;
            // SAFETY: text and tokens have the lengths that are passed.
            let n = unsafe {
                sys::llama_tokenize(vocab, text.as_ptr().cast(), len, tokens.as_mut_ptr(), capacity, true, false)
            };
            // A negative count is the capacity that was needed.
            tokens.resize(n.unsigned_abs() as usize, 0);
            if n >= 0 {
                return Ok(tokens);
            }
        }
        Err(EngineError::Failed("the tokenizer asked for more room twice".into()))
    }

    fn piece_len(&self, token: Token) -> usize {
        // SAFETY: the model is live; with no room at all llama.cpp returns the length needed, negated.
        unsafe {
            let vocab = sys::llama_model_get_vocab(self.model.0.as_ptr());
            sys::llama_token_to_piece(vocab, token, std::ptr::null_mut(), 0, 0, false).unsigned_abs() as usize
        }
    }

    fn weights(&self) -> &[WeightInfo] {
        self.weights.infos()
    }

    fn read_weight(&self, name: &str) -> Result<(String, Vec<u8>), EngineError> {
        self.weights.read(name)
    }

    fn swap_weight(&mut self, name: &str, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError> {
        self.weights.swap(name, ty, bytes)
    }

    fn restore_weight(&mut self, name: &str) -> Result<(), EngineError> {
        self.weights.restore(name)
    }

    fn n_parallel(&self) -> usize {
        self.n_contexts
    }

    fn watch(&mut self, tensors: &[String]) {
        let (names, indices): (Vec<String>, Vec<usize>) =
            tensors.iter().filter_map(|name| Some((name.clone(), self.weights.index(name).ok()?))).unzip();
        self.watched = names;
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

    fn decode(
        &mut self,
        windows: &[&[Token]],
        first_output: usize,
        prefix: Prefix,
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        if windows.len() > self.n_contexts {
            let n_contexts = self.n_contexts;
            return Err(EngineError::Failed(format!("{} windows at once, {n_contexts} contexts", windows.len())));
        }
        self.make_contexts(max_outputs(self.settings.n_ctx as usize))?;
        // The first failure in slot order, whichever thread finished first.
        let failures: Mutex<Vec<(usize, EngineError)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for (slot, (context, window)) in self.contexts.iter_mut().zip(windows).enumerate() {
                let failures = &failures;
                scope.spawn(move || match context.decode(window, first_output, prefix) {
                    Ok(logits) => score(slot, logits),
                    Err(error) => failures.lock().unwrap_or_else(PoisonError::into_inner).push((slot, error)),
                });
            }
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.into_iter().min_by_key(|(slot, _)| *slot).map_or(Ok(()), |(_, error)| Err(error))
    }

    fn decode_each(
        &mut self,
        sequences: &[Sequence<'_>],
        score: &(dyn Fn(usize, &[f32]) + Sync),
    ) -> Result<(), EngineError> {
        let n_outputs = |sequence: &Sequence<'_>| sequence.tokens.len().saturating_sub(sequence.first_output);
        let most = sequences.iter().map(n_outputs).max().unwrap_or(0).min(self.settings.n_ctx as usize);
        self.make_contexts(most)?;
        // Each context takes the next sequence when it is done with one; which context that is changes no bits.
        let next = AtomicUsize::new(0);
        let failures: Mutex<Vec<(usize, EngineError)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for context in &mut self.contexts {
                let (next, failures) = (&next, &failures);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(sequence) = sequences.get(index) else { return };
                        match context.decode(sequence.tokens, sequence.first_output, Prefix::Full) {
                            Ok(logits) => score(index, logits),
                            Err(error) => {
                                failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, error));
                                return;
                            }
                        }
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.into_iter().min_by_key(|(index, _)| *index).map_or(Ok(()), |(_, error)| Err(error))
    }
}
