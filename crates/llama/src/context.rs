//! One llama.cpp context: an empty KV cache, its own threads, and a [`Visitor`] at every graph node.

use crate::callback::{Pass, Visitor, eval_callback};
use crate::guard::{caught, throwing};
use crate::nodes::Nodes;
use crate::weights::Weights;
use eval::{EngineError, EngineSettings, Prefix, Sequence, Token};
use llama_cpp_sys_2 as sys;
use std::ptr::NonNull;
use words::{Hint, count, plural};

/// A context of llama.cpp; freed on drop. The order of fields in [`Context`] decides the order of freeing.
struct RawContext(NonNull<sys::llama_context>);
/// A thread pool of ggml; freed on drop.
struct RawThreads(NonNull<sys::ggml_threadpool>);

impl Drop for RawContext {
    fn drop(&mut self) {
        // SAFETY: we own the context.
        unsafe { sys::llama_free(self.0.as_ptr()) }
    }
}

impl Drop for RawThreads {
    fn drop(&mut self) {
        // SAFETY: we own the pool, and the context that used it is gone.
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) }
    }
}

/// A context, which computes one sequence at a time.
pub(crate) struct Context {
    raw: RawContext,
    _threads: RawThreads,
    /// What happens at the nodes; boxed, since the context has its address.
    visitor: Box<Visitor>,
    n_ctx: usize,
    n_ubatch: usize,
    max_outputs: usize,
    /// The logits of a sequence that was computed in several parts.
    rows: Vec<f32>,
    n_vocab: usize,
}

// SAFETY: a llama_context may be used from any thread, one at a time; `&mut self` guarantees that. Contexts of one model
// share its weights, which nobody writes while any of them decodes.
unsafe impl Send for Context {}

fn type_of_cache(name: &str) -> Result<sys::ggml_type, EngineError> {
    crate::weights::type_by_name(name).ok_or_else(|| EngineError::Failed(format!("no ggml type is called {name:?}")))
}

/// The most rows of logits that are wanted of a window of `n_ctx` tokens: from the first scored position to the end.
pub(crate) fn max_outputs(n_ctx: usize) -> usize {
    n_ctx - eval::window::first_scored(n_ctx)
}

fn no_context() -> EngineError {
    let why = match crate::log::first_error() {
        reason if reason.is_empty() => "it gave no reason".into(),
        reason => reason,
    };
    crate::log::failure(format!("llama.cpp could not make a context: {why}"))
}

impl Context {
    /// Makes a context that gives up to `max_outputs` rows of logits a pass.
    ///
    /// # Safety
    /// `model` is live and outlives the context.
    pub(crate) unsafe fn new(
        model: NonNull<sys::llama_model>,
        settings: &EngineSettings,
        n_threads: usize,
        n_vocab: usize,
        max_outputs: usize,
    ) -> Result<Self, EngineError> {
        let n_ctx = settings.n_ctx as usize;
        let mut visitor = Box::new(Visitor::Discover(Box::default()));
        // SAFETY: plain defaults.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = settings.n_ctx;
        params.n_batch = settings.n_ctx;
        params.n_ubatch = settings.n_ubatch;
        params.n_seq_max = settings.n_seq;
        params.n_outputs_max = max_outputs as u32;
        params.n_threads = n_threads as i32;
        params.n_threads_batch = n_threads as i32;
        params.flash_attn_type =
            if settings.flash_attn { sys::LLAMA_FLASH_ATTN_TYPE_ENABLED } else { sys::LLAMA_FLASH_ATTN_TYPE_DISABLED };
        params.type_k = type_of_cache(&settings.type_k)?;
        params.type_v = type_of_cache(&settings.type_v)?;
        params.no_perf = true;
        // What lies in main memory is computed there: a matrix copied to a device for one product has other bits.
        params.op_offload = false;
        params.offload_kqv = settings.n_gpu_layers > 0;
        params.cb_eval = Some(eval_callback);
        params.cb_eval_user_data = std::ptr::from_mut(visitor.as_mut()).cast();
        crate::log::forget_errors();
        // SAFETY: the model is live by contract, and the visitor outlives the context (field order).
        let raw = caught("make a context", || unsafe { throwing::llama_init_from_model(model.as_ptr(), params) })?;
        let raw = NonNull::new(raw).map(RawContext).ok_or_else(no_context)?;
        // One pool for the life of the context: without it, ggml starts threads anew for every part of a graph.
        // SAFETY: the parameters are read during the call only.
        let pool = unsafe {
            let mut params = sys::ggml_threadpool_params_default(n_threads as i32);
            sys::ggml_threadpool_new(&raw mut params)
        };
        let threads = NonNull::new(pool)
            .map(RawThreads)
            .ok_or_else(|| EngineError::Failed("no threads could be started".into()))?;
        // SAFETY: both are live, and the pool outlives the context (field order).
        unsafe { sys::llama_attach_threadpool(raw.0.as_ptr(), pool, pool) };
        Ok(Context {
            raw,
            _threads: threads,
            visitor,
            n_ctx,
            n_ubatch: (settings.n_ubatch as usize).clamp(1, n_ctx.max(1)),
            max_outputs,
            rows: Vec::new(),
            n_vocab,
        })
    }

    /// Finds the weights that the graph reads and its named nodes, by one tiny pass over the whole graph.
    pub(crate) fn discover(&mut self, start: Token) -> Result<(Weights, Nodes), EngineError> {
        self.run(&[start, start], 1, 0)?;
        match std::mem::replace(self.visitor.as_mut(), Visitor::Work(Box::default())) {
            Visitor::Discover(mut found) => {
                found.1.settle();
                Ok(*found)
            }
            Visitor::Work(_) => Err(EngineError::Failed("weights are looked for once, by the first pass".into())),
        }
    }

    pub(crate) fn set_pass(&mut self, pass: Pass) {
        *self.visitor = Visitor::Work(Box::new(pass));
    }

    pub(crate) fn pass(&self) -> Option<&Pass> {
        match self.visitor.as_ref() {
            Visitor::Work(pass) => Some(pass),
            Visitor::Discover(_) => None,
        }
    }

    pub(crate) fn pass_mut(&mut self) -> Option<&mut Pass> {
        match self.visitor.as_mut() {
            Visitor::Work(pass) => Some(pass),
            Visitor::Discover(_) => None,
        }
    }

    /// The number of rows of logits that one pass can give.
    pub(crate) fn max_outputs(&self) -> usize {
        self.max_outputs
    }

    /// Computes sequence number `slot` in an empty context and gives its logits, `[tokens.len() - first_output][n_vocab]`;
    /// `None` where a value that is not finite ended the pass. The sequence is computed in parts of `n_ubatch` tokens, one
    /// graph each: llama.cpp does the same by itself, but here the visitor knows which part it is in.
    pub(crate) fn decode(
        &mut self,
        slot: usize,
        sequence: &Sequence<'_>,
        prefix: Prefix,
    ) -> Result<Option<&[f32]>, EngineError> {
        let Sequence { tokens, first_output } = *sequence;
        let n_outputs = tokens.len().saturating_sub(first_output);
        if tokens.len() > self.n_ctx || n_outputs == 0 || n_outputs > self.max_outputs {
            return Err(EngineError::Failed(format!(
                "a window of {} with {} does not fit a context of {} with {}",
                plural(tokens.len(), "token"),
                plural(n_outputs, "output"),
                count(self.n_ctx as u64),
                count(self.max_outputs as u64)
            )));
        }
        let pass =
            self.pass_mut().ok_or_else(|| EngineError::Failed("decoding before the weights are known".into()))?;
        pass.begin(slot, prefix);
        // SAFETY: the context is live.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.raw.0.as_ptr()), true) };
        let n_parts = tokens.len().div_ceil(self.n_ubatch);
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        for (part, tokens) in tokens.chunks(self.n_ubatch).enumerate() {
            let from = part * self.n_ubatch;
            let first_output = first_output.saturating_sub(from).min(tokens.len());
            let n_outputs = tokens.len() - first_output;
            let is_recorded = self.pass_mut().is_some_and(|pass| pass.begin_part(part, from, tokens.len(), n_outputs));
            if !is_recorded {
                return Err(EngineError::Failed(format!("{prefix:?}: no hidden state was recorded there")));
            }
            self.run(tokens, first_output, from)?;
            if self.pass().is_some_and(Pass::has_found) {
                return Ok(None);
            }
            if let Some(why) = self.pass().and_then(Pass::failure) {
                return Err(EngineError::Failed(format!("{prefix:?}: {why}")));
            }
            if n_parts > 1 && n_outputs > 0 {
                rows.extend_from_slice(self.logits(n_outputs)?);
            }
        }
        self.rows = rows;
        if n_parts > 1 { Ok(Some(&self.rows)) } else { self.logits(n_outputs).map(Some) }
    }

    /// Goes on from a prompt token by token; `next` gets the logits of the last one.
    pub(crate) fn generate(
        &mut self,
        prompt: &[Token],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        if prompt.is_empty() || prompt.len() > self.n_ctx {
            return Err(EngineError::Unsupported {
                what: format!(
                    "found a prompt of {}, wanted 1 to {}, the size of the context",
                    plural(prompt.len(), "token"),
                    count(self.n_ctx as u64)
                ),
                hint: Hint::LargerContext,
            });
        }
        let pass =
            self.pass_mut().ok_or_else(|| EngineError::Failed("generating before the weights are known".into()))?;
        pass.begin(0, Prefix::Full);
        // SAFETY: the context is live.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.raw.0.as_ptr()), true) };
        let mut from = 0;
        for tokens in prompt.chunks(self.n_ubatch) {
            let is_last = from + tokens.len() == prompt.len();
            self.step(tokens, tokens.len() - usize::from(is_last), from)?;
            from += tokens.len();
        }
        while from < self.n_ctx {
            let Some(token) = next(self.logits(1)?) else { break };
            self.step(&[token], 0, from)?;
            from += 1;
        }
        Ok(())
    }

    /// Computes one graph of a text that is being written.
    fn step(&mut self, tokens: &[Token], first_output: usize, from: usize) -> Result<(), EngineError> {
        if let Some(pass) = self.pass_mut() {
            pass.begin_part(0, from, tokens.len(), tokens.len() - first_output);
        }
        self.run(tokens, first_output, from)?;
        match self.pass().and_then(Pass::failure) {
            Some(why) => Err(EngineError::Failed(why)),
            None => Ok(()),
        }
    }

    /// The rows of logits of the last part.
    fn logits(&self, n_outputs: usize) -> Result<&[f32], EngineError> {
        // SAFETY: after a successful decode the buffer holds one row per output, valid until the next decode.
        unsafe {
            let rows = sys::llama_get_logits(self.raw.0.as_ptr());
            if rows.is_null() {
                return Err(EngineError::Failed("llama.cpp returned no logits".into()));
            }
            Ok(std::slice::from_raw_parts(rows, n_outputs * self.n_vocab))
        }
    }

    /// Computes the graph for tokens that follow `from` others in this context.
    fn run(&mut self, part: &[Token], first_output: usize, from: usize) -> Result<(), EngineError> {
        let n = part.len();
        let mut tokens = part.to_vec();
        let mut pos: Vec<i32> = (from as i32..(from + n) as i32).collect();
        let mut n_seq_id = vec![1i32; n];
        let mut sequence = 0i32;
        let mut seq_id: Vec<*mut i32> = vec![&raw mut sequence; n];
        let mut logits: Vec<i8> = (0..n).map(|i| i8::from(i >= first_output)).collect();
        let batch = sys::llama_batch {
            n_tokens: n as i32,
            token: tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: pos.as_mut_ptr(),
            n_seq_id: n_seq_id.as_mut_ptr(),
            seq_id: seq_id.as_mut_ptr(),
            logits: logits.as_mut_ptr(),
        };
        let context = self.raw.0.as_ptr();
        // SAFETY: every array of the batch has `n_tokens` entries and outlives the call; the context is live, and its
        // visitor is touched by the callback alone until the call returns.
        let status = caught("compute the graph", || unsafe {
            let status = throwing::llama_decode(context, batch);
            throwing::llama_synchronize(context);
            status
        })?;
        if status != 0 {
            return Err(EngineError::Failed(format!("llama_decode returned {status}")));
        }
        Ok(())
    }
}
