//! Hyper-parameters and vocabularies on which llama.cpp aborts, or which it refuses without naming them. They are found in the header
//! before an engine is started.
//!
//! Source: the assertions in `llama_model_base::load_hparams` (llama-model.cpp), `llama_vocab::impl::load`
//! (llama-vocab.cpp) and `ggml_compute_forward_rms_norm_f32` (ops.cpp) of the pinned llama.cpp.

use gguf::{Array, GgufFile, Value};
use std::collections::HashMap;
use std::fmt::Display;

/// The largest number of layers that llama.cpp takes (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
/// The largest number of experts that llama.cpp takes (`LLAMA_MAX_EXPERTS`).
const MAX_EXPERTS: u64 = 1024;
/// What llama.cpp does about most of these values.
const ABORTS: &str = "aborts";

/// A value in the metadata with which llama.cpp cannot run the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {found}, and llama.cpp {does} unless it is {wanted}")]
pub struct FatalHyperparameter {
    /// The metadata key.
    pub key: String,
    /// Its value, or what is wrong with it.
    pub found: String,
    /// What llama.cpp does about it.
    pub does: &'static str,
    /// What llama.cpp accepts.
    pub wanted: String,
}

/// Checks the metadata of a language model.
///
/// # Errors
/// When llama.cpp cannot run the model with one of the values.
pub(crate) fn check(file: &GgufFile) -> Result<(), FatalHyperparameter> {
    let arch = file.architecture().unwrap_or_default();
    let key = |name: &str| format!("{arch}.{name}");
    let number = |name: &str| file.get(&key(name)).and_then(Value::as_u64);
    let fatal = |name: &str, found: &dyn Display, wanted: String| {
        Err(FatalHyperparameter { key: key(name), found: found.to_string(), does: ABORTS, wanted })
    };

    let n_layer = number("block_count");
    if let Some(n) = n_layer.filter(|n| !(1..=MAX_LAYERS).contains(n)) {
        return fatal("block_count", &n, format!("1 to {MAX_LAYERS}"));
    }
    if let (Some(n), Some(n_layer)) = (number("nextn_predict_layers"), n_layer)
        && n > n_layer
    {
        return fatal("nextn_predict_layers", &n, format!("at most the number of layers, {n_layer}"));
    }
    let n_expert = number("expert_count").unwrap_or(0);
    if n_expert > MAX_EXPERTS {
        return fatal("expert_count", &n_expert, format!("at most {MAX_EXPERTS}"));
    }
    let used = number("expert_used_count");
    if let Some(n) = used.filter(|&n| n > n_expert) {
        return fatal("expert_used_count", &n, format!("at most the number of experts, {n_expert}"));
    }
    if n_expert > 0 && used == Some(0) {
        return fatal("expert_used_count", &0, "at least 1 in a model with experts".into());
    }
    for name in ["attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.group_norm_epsilon"] {
        if let Some(epsilon) = file.get(&key(name)).and_then(Value::as_f64)
            && !(epsilon.is_finite() && epsilon >= 0.0)
        {
            return fatal(name, &epsilon, "a finite number from 0".into());
        }
    }
    positions(file, arch)?;
    heads(file, arch, n_layer.unwrap_or(0))?;
    tokens(file)
}

/// Checks how positions are encoded: the kind of scaling is one that llama.cpp knows, and its numbers give finite angles.
///
/// # Source
/// `LLAMA_ROPE_SCALING_TYPES` and `load_hparams` (llama-model.cpp), which asserts that the kind is known; `ggml_rope_cache_init`
/// (ops.cpp), in which the base is the base of a power.
fn positions(file: &GgufFile, arch: &str) -> Result<(), FatalHyperparameter> {
    const KINDS: [&str; 4] = ["none", "linear", "yarn", "longrope"];
    let kind = format!("{arch}.rope.scaling.type");
    if let Some(found) = file.get(&kind).and_then(Value::as_str).filter(|found| !KINDS.contains(found)) {
        let found = format!("\"{}\"", words::escape_terminal(found));
        return Err(FatalHyperparameter { key: kind, found, does: ABORTS, wanted: KINDS.join(", ") });
    }
    for (name, least) in
        [("rope.freq_base", f64::MIN_POSITIVE), ("rope.freq_base_swa", f64::MIN_POSITIVE), ("rope.scaling.factor", 0.0)]
    {
        let key = format!("{arch}.{name}");
        if let Some(x) = file.get(&key).and_then(Value::as_f64).filter(|x| !(x.is_finite() && *x >= least)) {
            let wanted = if least > 0.0 { "a finite number above 0" } else { "a finite number from 0" };
            let does = "computes no finite number";
            return Err(FatalHyperparameter { key, found: x.to_string(), does, wanted: wanted.into() });
        }
    }
    Ok(())
}

/// Checks the numbers of heads of each layer that has the matrices of plain attention. Layers without them, such as those of
/// state spaces and of Deci's models, may have any numbers.
///
/// # Source
/// `load_hparams` (llama-model.cpp) takes a number for all layers or one for each, and as many heads of keys and values as of
/// queries where it is not told. `create_tensor` then wants matrices with a row for each value of each head, and
/// `ggml_can_mul_mat` (ggml.c) asserts that heads of keys divide those of queries.
fn heads(file: &GgufFile, arch: &str, n_layer: u64) -> Result<(), FatalHyperparameter> {
    let (queries, keys) = (format!("{arch}.attention.head_count"), format!("{arch}.attention.head_count_kv"));
    let of_layer = |key: &str, layer: usize| match file.get(key)? {
        Value::Array(each) => each.get(layer)?.as_u64(),
        all => all.as_u64(),
    };
    let fatal = |key: &str, n: u64, layer: usize, wanted: String| {
        let of_each = matches!(file.get(key), Some(Value::Array(_)));
        let found = if of_each { format!("{n} in layer {layer}") } else { n.to_string() };
        Err(FatalHyperparameter { key: key.to_owned(), found, does: "cannot run the model", wanted })
    };
    for layer in 0..n_layer as usize {
        let has = |stem: &str| file.tensor(&format!("blk.{layer}.{stem}")).is_some();
        if !(has("attn_q.weight") && has("attn_k.weight")) || has("attn_kv_a_mqa.weight") || has("ssm_conv1d.weight") {
            continue;
        }
        let Some(n_head) = of_layer(&queries, layer) else { continue };
        if n_head == 0 {
            return fatal(&queries, 0, layer, "at least 1 where a layer has attention".into());
        }
        if let Some(n) = of_layer(&keys, layer).filter(|n| *n > 0 && !n_head.is_multiple_of(*n)) {
            return fatal(&keys, n, layer, format!("a divisor of the number of heads, {n_head}"));
        }
    }
    Ok(())
}

/// Checks that no token of the vocabulary is there twice. llama.cpp gives empty ones names of their own.
fn tokens(file: &GgufFile) -> Result<(), FatalHyperparameter> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    let Some(tokens) = file.get(TOKENS).and_then(Value::as_array).and_then(Array::as_strings) else { return Ok(()) };
    let mut seen: HashMap<&[u8], usize> = HashMap::new();
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| !token.is_empty()) {
        if let Some(first) = seen.insert(token, index) {
            let text = words::printable(&String::from_utf8_lossy(token));
            return Err(FatalHyperparameter {
                key: TOKENS.into(),
                found: format!("a list in which tokens {first} and {index} are both \"{text}\""),
                does: ABORTS,
                wanted: "a list of different tokens".into(),
            });
        }
    }
    Ok(())
}
