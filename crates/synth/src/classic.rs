//! Well-known models by their shape: every tensor of the real file with its type and extents, with values that nobody
//! trained.
//!
//! Such a file cannot show what the real model says. It shows that the real file fits in memory, and how long work on
//! it takes.

use crate::draw::DrawnValues;
use crate::recipe::{Recipe, TensorRecipe};
use crate::vocabulary::{Vocabulary, VocabularyError};
use gguf::{GENERAL_FILE_TYPE, GENERAL_QUANTIZATION_VERSION, GGML_QNT_VERSION, GgmlType, TensorSpec, Value};

/// Three widespread models, each with a feature that the others lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClassicModel {
    /// A model in Q4_K and Q6_K, whose head has a matrix of its own.
    TinyLlama,
    /// A model in F16 with one matrix for embedding and head, and `rope_freqs`.
    Llama32,
    /// A model in Q8_0 with one matrix for embedding and head, and biases on q, k and v.
    Qwen2,
}

/// The facts about the real file.
struct Facts {
    file_name: &'static str,
    arch: &'static str,
    n_layer: u64,
    n_ctx_train: u32,
    n_embd: u64,
    n_ff: u64,
    n_head: u64,
    n_head_kv: u64,
    n_vocab: u64,
    rope_freq_base: f32,
    norm_eps: f32,
    adds_bos: bool,
    file_type: u32,
}

impl ClassicModel {
    /// All three models.
    pub const ALL: [ClassicModel; 3] = [ClassicModel::TinyLlama, ClassicModel::Llama32, ClassicModel::Qwen2];

    fn facts(self) -> Facts {
        match self {
            ClassicModel::TinyLlama => Facts {
                file_name: "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf",
                arch: "llama",
                n_layer: 22,
                n_ctx_train: 2048,
                n_embd: 2048,
                n_ff: 5632,
                n_head: 32,
                n_head_kv: 4,
                n_vocab: 32_000,
                rope_freq_base: 10_000.0,
                norm_eps: 1e-5,
                adds_bos: true,
                file_type: 15,
            },
            ClassicModel::Llama32 => Facts {
                file_name: "Llama-3.2-1B-Instruct-f16.gguf",
                arch: "llama",
                n_layer: 16,
                n_ctx_train: 131_072,
                n_embd: 2048,
                n_ff: 8192,
                n_head: 32,
                n_head_kv: 8,
                n_vocab: 128_256,
                rope_freq_base: 500_000.0,
                norm_eps: 1e-5,
                adds_bos: true,
                file_type: 1,
            },
            ClassicModel::Qwen2 => Facts {
                file_name: "qwen2-1_5b-instruct-q8_0.gguf",
                arch: "qwen2",
                n_layer: 28,
                n_ctx_train: 32_768,
                n_embd: 1536,
                n_ff: 8960,
                n_head: 12,
                n_head_kv: 2,
                n_vocab: 151_936,
                rope_freq_base: 1_000_000.0,
                norm_eps: 1e-6,
                adds_bos: false,
                file_type: 7,
            },
        }
    }

    /// The name of the real file.
    pub fn file_name(self) -> &'static str {
        self.facts().file_name
    }

    /// The type of a matrix in the real file.
    fn matrix_type(self, stem: &str, layer: u64) -> GgmlType {
        match self {
            ClassicModel::Llama32 => GgmlType::F16,
            ClassicModel::Qwen2 => GgmlType::Q8_0,
            ClassicModel::TinyLlama => match stem {
                "output" => GgmlType::Q6_K,
                "attn_v" | "ffn_down" if has_more_bits(layer, self.facts().n_layer) => GgmlType::Q6_K,
                _ => GgmlType::Q4_K,
            },
        }
    }

    /// The contents of the model's file, drawn from `seed`. The tokenizer is padded to the real number of tokens.
    /// `None` uses tokens made of bytes.
    ///
    /// # Errors
    /// When the tokenizer has more tokens than the model.
    pub fn recipe(self, seed: u64, tokenizer: Option<Vocabulary>) -> Result<Recipe, VocabularyError> {
        let facts = self.facts();
        let vocabulary = tokenizer.unwrap_or_else(|| Vocabulary::bytes(facts.adds_bos));
        let vocabulary = vocabulary.padded_to(facts.n_vocab as usize)?;
        let mut metadata = self.hyperparameters(seed);
        metadata.extend_from_slice(vocabulary.metadata());
        Ok(Recipe { seed, metadata, tensors: self.tensors() })
    }

    fn hyperparameters(self, seed: u64) -> Vec<(String, Value)> {
        let facts = self.facts();
        let text = |text: &str| Value::String(text.as_bytes().to_vec());
        let head_dim = (facts.n_embd / facts.n_head) as u32;
        let name = format!("the shape of {}, made from seed {seed}", facts.file_name);
        let mut list = vec![
            ("general.architecture".to_string(), text(facts.arch)),
            ("general.name".into(), text(&name)),
            (GENERAL_FILE_TYPE.into(), Value::U32(facts.file_type)),
            (GENERAL_QUANTIZATION_VERSION.into(), Value::U32(GGML_QNT_VERSION)),
        ];
        let values = [
            ("block_count", Value::U32(facts.n_layer as u32)),
            ("context_length", Value::U32(facts.n_ctx_train)),
            ("embedding_length", Value::U32(facts.n_embd as u32)),
            ("feed_forward_length", Value::U32(facts.n_ff as u32)),
            ("attention.head_count", Value::U32(facts.n_head as u32)),
            ("attention.head_count_kv", Value::U32(facts.n_head_kv as u32)),
            ("attention.layer_norm_rms_epsilon", Value::F32(facts.norm_eps)),
            ("rope.dimension_count", Value::U32(head_dim)),
            ("rope.freq_base", Value::F32(facts.rope_freq_base)),
            ("vocab_size", Value::U32(facts.n_vocab as u32)),
        ];
        list.extend(values.map(|(key, value)| (format!("{}.{key}", facts.arch), value)));
        list
    }

    fn tensors(self) -> Vec<TensorRecipe> {
        let Facts { n_layer, n_embd, n_ff, n_head, n_head_kv, n_vocab, .. } = self.facts();
        let n_embd_kv = n_embd / n_head * n_head_kv;
        let mut list = Vec::new();
        let mut push = |name: String, ty, shape: &[u64], values| {
            list.push(TensorRecipe { spec: TensorSpec { name, ty, shape: shape.to_vec() }, values });
        };
        // The logits then have a standard deviation of 2.5.
        let embedding = DrawnValues::spread(2.5 / (n_embd as f32).sqrt());
        push("token_embd.weight".into(), self.matrix_type("token_embd", 0), &[n_embd, n_vocab], embedding);
        if self == ClassicModel::TinyLlama {
            push("output.weight".into(), self.matrix_type("output", 0), &[n_embd, n_vocab], embedding);
        }
        if self == ClassicModel::Llama32 {
            let n_rot = n_embd / n_head;
            push("rope_freqs.weight".into(), GgmlType::F32, &[n_rot / 2], DrawnValues::Llama3RopeFactors);
        }
        for layer in 0..n_layer {
            let named = |stem: &str| format!("blk.{layer}.{stem}");
            push(named("attn_norm.weight"), GgmlType::F32, &[n_embd], DrawnValues::around_one(0.3));
            push(named("ffn_norm.weight"), GgmlType::F32, &[n_embd], DrawnValues::around_one(0.3));
            for (stem, n_in, n_out) in [
                ("attn_q", n_embd, n_embd),
                ("attn_k", n_embd, n_embd_kv),
                ("attn_v", n_embd, n_embd_kv),
                ("attn_output", n_embd, n_embd),
                ("ffn_gate", n_embd, n_ff),
                ("ffn_up", n_embd, n_ff),
                ("ffn_down", n_ff, n_embd),
            ] {
                let values = DrawnValues::spread(1.0 / (n_in as f32).sqrt());
                push(named(&format!("{stem}.weight")), self.matrix_type(stem, layer), &[n_in, n_out], values);
                if self == ClassicModel::Qwen2 && matches!(stem, "attn_q" | "attn_k" | "attn_v") {
                    push(named(&format!("{stem}.bias")), GgmlType::F32, &[n_out], DrawnValues::spread(0.1));
                }
            }
        }
        push("output_norm.weight".into(), GgmlType::F32, &[n_embd], DrawnValues::around_one(0.3));
        list
    }
}

/// Whether a Q4_K_M file stores `attn_v` and `ffn_down` of the layer in Q6_K. It does so in the first and the last
/// eighth of the layers, and in every third layer between.
///
/// # Source
/// `use_more_bits` in llama.cpp's `llama-quant.cpp`.
fn has_more_bits(layer: u64, n_layer: u64) -> bool {
    let eighth = n_layer / 8;
    layer < eighth || layer >= 7 * n_layer / 8 || (layer - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The counts are those that `llama_model_loader` lists for the real files.
    #[test]
    fn tensors_are_as_many_of_each_type_as_in_the_real_file() {
        let expected: [(ClassicModel, &[(&str, usize)]); 3] = [
            (ClassicModel::TinyLlama, &[("f32", 45), ("q4_K", 135), ("q6_K", 21)]),
            (ClassicModel::Llama32, &[("f16", 113), ("f32", 34)]),
            (ClassicModel::Qwen2, &[("f32", 141), ("q8_0", 197)]),
        ];
        for (model, counts) in expected {
            let mut found: BTreeMap<&str, usize> = BTreeMap::new();
            for tensor in model.tensors() {
                *found.entry(tensor.spec.ty.name()).or_default() += 1;
            }
            assert_eq!(found.into_iter().collect::<Vec<_>>(), counts, "{model:?}");
        }
    }

    /// The model cards state these numbers of parameters: 1.10 B, 1.24 B and 1.54 B.
    #[test]
    fn parameters_are_as_many_as_the_model_cards_say() {
        for (model, wanted) in [
            (ClassicModel::TinyLlama, 1_100_048_384u64),
            (ClassicModel::Llama32, 1_235_814_432),
            (ClassicModel::Qwen2, 1_543_714_304),
        ] {
            let n: u64 = model.tensors().iter().map(|t| t.spec.shape.iter().product::<u64>()).sum();
            assert_eq!(n, wanted, "{model:?}");
        }
    }
}
