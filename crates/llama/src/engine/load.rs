//! A model as llama.cpp loads it, and whether it can be scored.

use crate::guard::{caught, throwing};
use eval::{EngineError, EngineInfo};
use llama_cpp_sys_2 as sys;
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::NonNull;
use words::Hint;

/// A loaded model; freed on drop.
pub(super) struct Model(pub(super) NonNull<sys::llama_model>);

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: we own the model, and its contexts are gone: `LlamaEngine` drops them first (field order).
        unsafe { sys::llama_model_free(self.0.as_ptr()) }
    }
}

/// The engine's name, its revision and its CPU features: a stored number is used again only by the build that made it.
pub fn build() -> String {
    // SAFETY: both return static, NUL-terminated strings.
    let (version, system) = unsafe {
        let text = |s| CStr::from_ptr(s).to_string_lossy();
        (text(sys::ggml_version()), text(sys::llama_print_system_info()))
    };
    let features: Vec<&str> = system.split('|').map(str::trim).filter(|f| !f.is_empty()).collect();
    format!("llama-cpp-sys-2 0.1.161, ggml {version}, {}", features.join(", "))
}

fn unsupported(path: &Path, what: &str, hint: &'static str) -> EngineError {
    EngineError::Unsupported { what: format!("{}: {what}", path.display()), hint: Hint::words(hint) }
}

/// Loads a model with its weights in plain memory of the host or of a device. There is no mmap and no repacking, so that what
/// is read back is what the file stores.
pub(super) fn load(path: &Path, n_gpu_layers: u32) -> Result<Model, EngineError> {
    // SAFETY: asks for a property of the build.
    if n_gpu_layers > 0 && !unsafe { sys::llama_supports_gpu_offload() } {
        let has_backend = cfg!(any(feature = "cuda", feature = "metal", feature = "vulkan"));
        let why = match has_backend {
            true => "this build of assay finds no GPU on this machine",
            false => "this build of assay computes on the CPU only",
        };
        return Err(EngineError::Unsupported {
            what: format!("{} on a GPU: {why}", words::plural(n_gpu_layers, "layer")),
            hint: Hint::ComputeOnCpu { has_backend },
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
    let model = caught("load the model", || unsafe { throwing::llama_model_load_from_file(file.as_ptr(), params) })?;
    NonNull::new(model).map(Model).ok_or_else(|| {
        let why = match crate::log::first_error() {
            reason if reason.is_empty() => "it gave no reason".into(),
            reason => reason,
        };
        if why.contains("wrong number of tensors")
            && let Some(unknown) = unknown_tensors(&file)
        {
            return unsupported(
                path,
                &format!("llama.cpp cannot load the model: its architecture does not have {unknown}"),
                "the file may be from a newer llama.cpp, a fork of it or another tool, or its block_count may be wrong",
            );
        }
        let what = format!("llama.cpp cannot load the model: {why}");
        if crate::log::is_out_of_memory(&why) {
            return EngineError::OutOfMemory(format!("{}: {what}", path.display()));
        }
        unsupported(path, &what, "the engine must know the architecture and find every tensor that it wants")
    })
}

/// The number of tensors that an error names before it says how many more there are.
const NAMED: usize = 6;

/// The tensors of a file for which the loader did not ask, as the end of a sentence. `None` if there are none.
fn unknown_tensors(file: &CStr) -> Option<String> {
    let asked: HashSet<String> = crate::log::asked_tensors().into_iter().collect();
    let params = sys::gguf_init_params { no_alloc: true, ctx: std::ptr::null_mut() };
    // SAFETY: the path is a C string. Names live as long as the context, which is freed after they are copied.
    let names: Vec<String> = unsafe {
        let header = sys::gguf_init_from_file(file.as_ptr(), params);
        if header.is_null() {
            return None;
        }
        let name = |index| CStr::from_ptr(sys::gguf_get_tensor_name(header, index)).to_string_lossy().into_owned();
        let names = (0..sys::gguf_get_n_tensors(header)).map(name).collect();
        sys::gguf_free(header);
        names
    };
    let unknown: Vec<String> = names.iter().filter(|name| !asked.contains(*name)).map(words::escape_terminal).collect();
    (!unknown.is_empty()).then(|| words::named(&unknown, NAMED))
}

/// What the model is, or why it cannot be scored. `n_threads` is not known yet and stays 0.
pub(super) fn describe(model: &Model, path: &Path) -> Result<EngineInfo, EngineError> {
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
            "use a GGUF file that carries its tokenizer, or convert the model again with its tokenizer",
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
