//! A few layers of each kind of architecture, with every tensor that llama.cpp requires. Nobody trained the values.

use crate::draw::{DrawnValues, ValueGrid};
use crate::recipe::{Recipe, TensorRecipe};
use crate::vocabulary::Vocabulary;
use gguf::{GgmlType, TensorSpec, Value};

/// The standard deviation of the logits, about. The model is then neither uniform nor certain of one token.
const LOGIT_STD: f32 = 2.5;

/// A kind of model. Each has a feature that the others lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// A transformer with RMS norms, separate q, k and v, and a gated FFN. The output head has a matrix of its own.
    Llama,
    /// A transformer with norms around everything, a sliding window in every second layer, and one matrix for embedding
    /// and head.
    Gemma3,
    /// A transformer with biases on q, k and v, and one matrix for embedding and head.
    Qwen2,
    /// A transformer with fused qkv, biases everywhere, layer norms, learned positions and an FFN without a gate.
    Gpt2,
    /// A llama whose FFN is a router with four experts, two of which are used.
    LlamaExperts,
    /// A recurrent state-space model without attention.
    Mamba,
    /// An encoder for embeddings, which predicts no next token.
    Bert,
    /// A vision tower with its projector, as in `mmproj` files.
    Projector,
}

/// A small model, described by how it differs from the first of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmallModel {
    /// The kind of the model.
    pub architecture: Architecture,
    /// The number of layers.
    pub n_layer: u64,
    /// The type of the matrices. Their rows have 64 or 128 values. Norms, biases and the like stay F32.
    pub matrices: GgmlType,
    /// The grid on which the weights of the norms lie.
    pub norms: ValueGrid,
    /// The seed from which every value is drawn.
    pub seed: u64,
}

const N_EMBD: u64 = 64;
const N_FF: u64 = 128;
const N_HEAD: u64 = 4;
const N_HEAD_KV: u64 = 2;
const N_HEAD_DIM: u64 = N_EMBD / N_HEAD;
const N_EMBD_KV: u64 = N_HEAD_DIM * N_HEAD_KV;
const N_CTX_TRAIN: u64 = 512;
const N_EXPERT: u64 = 4;
const N_SWA: u64 = 32;

impl Architecture {
    /// The architectures that predict the next token.
    pub const CAUSAL: [Architecture; 6] = [
        Architecture::Llama,
        Architecture::Gemma3,
        Architecture::Qwen2,
        Architecture::Gpt2,
        Architecture::LlamaExperts,
        Architecture::Mamba,
    ];

    /// The value of `general.architecture`.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Architecture::Llama | Architecture::LlamaExperts => "llama",
            Architecture::Gemma3 => "gemma3",
            Architecture::Qwen2 => "qwen2",
            Architecture::Gpt2 => "gpt2",
            Architecture::Mamba => "mamba",
            Architecture::Bert => "bert",
            Architecture::Projector => "clip",
        }
    }
}

impl SmallModel {
    /// A model of three layers, with F32 matrices and norms that use all bits, from seed 1.
    pub fn new(architecture: Architecture) -> Self {
        SmallModel { architecture, n_layer: 3, matrices: GgmlType::F32, norms: ValueGrid::F32, seed: 1 }
    }

    /// The contents of the model's file, with that tokenizer.
    pub fn recipe(&self, vocabulary: &Vocabulary) -> Recipe {
        let mut tensors = Tensors { model: self, list: Vec::new() };
        match self.architecture {
            Architecture::Mamba => tensors.mamba(),
            Architecture::Gpt2 => tensors.gpt2(),
            Architecture::Bert => tensors.bert(),
            Architecture::Projector => tensors.projector(),
            _ => tensors.transformer(),
        }
        let n_vocab = vocabulary.n_vocab() as u64;
        tensors.around(n_vocab);
        let mut metadata = self.hyperparameters();
        if self.architecture != Architecture::Projector {
            metadata.extend_from_slice(vocabulary.metadata());
        }
        Recipe { seed: self.seed, metadata, tensors: tensors.list }
    }

    fn hyperparameters(&self) -> Vec<(String, Value)> {
        let text = |text: &str| Value::String(text.as_bytes().to_vec());
        let arch = self.architecture.gguf_name();
        let mut list = vec![("general.architecture".to_string(), text(arch))];
        if self.architecture == Architecture::Projector {
            list.push(("general.type".into(), text("mmproj")));
            list.push(("clip.has_vision_encoder".into(), Value::Bool(true)));
            list.push(("clip.vision.block_count".into(), Value::U32(self.n_layer as u32)));
            return list;
        }
        list.push(("general.name".into(), text(&format!("small {arch}, made from seed {}", self.seed))));
        let mut number = |key: &str, n: u64| list.push((format!("{arch}.{key}"), Value::U32(n as u32)));
        number("block_count", self.n_layer);
        number("context_length", N_CTX_TRAIN);
        number("embedding_length", N_EMBD);
        number("feed_forward_length", if self.architecture == Architecture::Mamba { 0 } else { N_FF });
        match self.architecture {
            Architecture::Mamba => {
                number("attention.head_count", 0);
                number("ssm.conv_kernel", 4);
                number("ssm.inner_size", 2 * N_EMBD);
                number("ssm.state_size", 16);
                number("ssm.time_step_rank", N_EMBD / 16);
            }
            Architecture::Gpt2 | Architecture::Bert => number("attention.head_count", N_HEAD),
            _ => {
                number("attention.head_count", N_HEAD);
                number("attention.head_count_kv", N_HEAD_KV);
                number("attention.key_length", N_HEAD_DIM);
                number("attention.value_length", N_HEAD_DIM);
                number("rope.dimension_count", N_HEAD_DIM);
            }
        }
        match self.architecture {
            Architecture::LlamaExperts => {
                number("expert_count", N_EXPERT);
                number("expert_used_count", 2);
            }
            Architecture::Gemma3 => {
                number("attention.sliding_window", N_SWA);
                number("attention.sliding_window_pattern", 2);
            }
            Architecture::Bert => {
                number("pooling_type", 1);
                list.push((format!("{arch}.attention.causal"), Value::Bool(false)));
                list.push(("tokenizer.ggml.token_type_count".into(), Value::U32(2)));
            }
            _ => {}
        }
        let epsilon = match self.architecture {
            Architecture::Gpt2 | Architecture::Bert => "layer_norm_epsilon",
            _ => "layer_norm_rms_epsilon",
        };
        list.push((format!("{arch}.attention.{epsilon}"), Value::F32(1e-5)));
        list
    }
}

struct Tensors<'a> {
    model: &'a SmallModel,
    list: Vec<TensorRecipe>,
}

impl Tensors<'_> {
    fn push(&mut self, name: String, ty: GgmlType, shape: &[u64], values: DrawnValues) {
        self.list.push(TensorRecipe { spec: TensorSpec { name, ty, shape: shape.to_vec() }, values });
    }

    /// Adds a matrix `[n_in, n_out, …]` whose outputs are about as large as its inputs.
    fn matrix(&mut self, name: String, shape: &[u64]) {
        let ty = self.model.matrices;
        self.push(name, ty, shape, DrawnValues::spread(1.0 / (shape[0] as f32).sqrt()));
    }

    fn norm(&mut self, name: String, n: u64) {
        let values = DrawnValues::Bell { mean: 1.0, std: 0.3, grid: self.model.norms };
        self.push(name, GgmlType::F32, &[n], values);
    }

    fn bias(&mut self, name: String, n: u64) {
        self.push(name, GgmlType::F32, &[n], DrawnValues::spread(0.1));
    }

    fn layers(&self) -> impl Iterator<Item = impl Fn(&str) -> String + use<>> + use<> {
        (0..self.model.n_layer).map(|i| move |stem: &str| format!("blk.{i}.{stem}"))
    }

    /// Adds the embedding at the front, and the norm and the head at the end.
    fn around(&mut self, n_vocab: u64) {
        let embedding = DrawnValues::spread(LOGIT_STD / (N_EMBD as f32).sqrt());
        let (architecture, ty) = (self.model.architecture, self.model.matrices);
        if architecture == Architecture::Projector {
            return;
        }
        let spec = TensorSpec { name: "token_embd.weight".into(), ty, shape: vec![N_EMBD, n_vocab] };
        self.list.insert(0, TensorRecipe { spec, values: embedding });
        if architecture == Architecture::Bert {
            return;
        }
        self.norm("output_norm.weight".into(), N_EMBD);
        match architecture {
            Architecture::Llama | Architecture::LlamaExperts => {
                self.push("output.weight".into(), ty, &[N_EMBD, n_vocab], embedding);
            }
            Architecture::Gpt2 => self.bias("output_norm.bias".into(), N_EMBD),
            _ => {}
        }
    }

    /// Adds the tensors of llama and of architectures built like it.
    fn transformer(&mut self) {
        let architecture = self.model.architecture;
        for named in self.layers() {
            self.norm(named("attn_norm.weight"), N_EMBD);
            for (stem, n_out) in [("attn_q", N_EMBD), ("attn_k", N_EMBD_KV), ("attn_v", N_EMBD_KV)] {
                self.matrix(named(&format!("{stem}.weight")), &[N_EMBD, n_out]);
                if architecture == Architecture::Qwen2 {
                    self.bias(named(&format!("{stem}.bias")), n_out);
                }
            }
            self.matrix(named("attn_output.weight"), &[N_EMBD, N_EMBD]);
            if architecture == Architecture::Gemma3 {
                self.norm(named("attn_q_norm.weight"), N_HEAD_DIM);
                self.norm(named("attn_k_norm.weight"), N_HEAD_DIM);
                self.norm(named("post_attention_norm.weight"), N_EMBD);
                self.norm(named("post_ffw_norm.weight"), N_EMBD);
            }
            self.norm(named("ffn_norm.weight"), N_EMBD);
            if architecture == Architecture::LlamaExperts {
                self.push(
                    named("ffn_gate_inp.weight"),
                    GgmlType::F32,
                    &[N_EMBD, N_EXPERT],
                    DrawnValues::spread(1.0 / (N_EMBD as f32).sqrt()),
                );
                self.matrix(named("ffn_gate_exps.weight"), &[N_EMBD, N_FF, N_EXPERT]);
                self.matrix(named("ffn_up_exps.weight"), &[N_EMBD, N_FF, N_EXPERT]);
                self.matrix(named("ffn_down_exps.weight"), &[N_FF, N_EMBD, N_EXPERT]);
            } else {
                self.matrix(named("ffn_gate.weight"), &[N_EMBD, N_FF]);
                self.matrix(named("ffn_up.weight"), &[N_EMBD, N_FF]);
                self.matrix(named("ffn_down.weight"), &[N_FF, N_EMBD]);
            }
        }
    }

    fn gpt2(&mut self) {
        let positions = DrawnValues::spread(0.1);
        self.push("position_embd.weight".into(), GgmlType::F32, &[N_EMBD, N_CTX_TRAIN], positions);
        for named in self.layers() {
            for norm in ["attn_norm", "ffn_norm"] {
                self.norm(named(&format!("{norm}.weight")), N_EMBD);
                self.bias(named(&format!("{norm}.bias")), N_EMBD);
            }
            for (stem, n_in, n_out) in [
                ("attn_qkv", N_EMBD, 3 * N_EMBD),
                ("attn_output", N_EMBD, N_EMBD),
                ("ffn_up", N_EMBD, N_FF),
                ("ffn_down", N_FF, N_EMBD),
            ] {
                self.matrix(named(&format!("{stem}.weight")), &[n_in, n_out]);
                self.bias(named(&format!("{stem}.bias")), n_out);
            }
        }
    }

    fn mamba(&mut self) {
        let (d_inner, d_state, dt_rank, d_conv) = (2 * N_EMBD, 16, N_EMBD / 16, 4);
        for named in self.layers() {
            self.norm(named("attn_norm.weight"), N_EMBD);
            self.matrix(named("ssm_in.weight"), &[N_EMBD, 2 * d_inner]);
            self.push(named("ssm_conv1d.weight"), GgmlType::F32, &[d_conv, d_inner], DrawnValues::spread(0.5));
            self.bias(named("ssm_conv1d.bias"), d_inner);
            self.matrix(named("ssm_x.weight"), &[d_inner, dt_rank + 2 * d_state]);
            self.push(named("ssm_dt.weight"), GgmlType::F32, &[dt_rank, d_inner], DrawnValues::spread(0.5));
            // The time steps are about ln(1 + e^−3) = 0.05.
            let steps = DrawnValues::Bell { mean: -3.0, std: 0.5, grid: ValueGrid::F32 };
            self.push(named("ssm_dt.bias"), GgmlType::F32, &[d_inner], steps);
            // These values must never be positive, because the state would grow without bound.
            let decay = DrawnValues::Bell { mean: -2.0, std: 0.5, grid: ValueGrid::F32 };
            self.push(named("ssm_a"), GgmlType::F32, &[d_state, d_inner], decay);
            self.push(named("ssm_d"), GgmlType::F32, &[d_inner], DrawnValues::around_one(0.3));
            self.matrix(named("ssm_out.weight"), &[d_inner, N_EMBD]);
        }
    }

    fn bert(&mut self) {
        self.push("position_embd.weight".into(), GgmlType::F32, &[N_EMBD, N_CTX_TRAIN], DrawnValues::spread(0.1));
        self.push("token_types.weight".into(), GgmlType::F32, &[N_EMBD, 2], DrawnValues::spread(0.1));
        self.norm("token_embd_norm.weight".into(), N_EMBD);
        self.bias("token_embd_norm.bias".into(), N_EMBD);
        for named in self.layers() {
            for stem in ["attn_q", "attn_k", "attn_v", "attn_output"] {
                self.matrix(named(&format!("{stem}.weight")), &[N_EMBD, N_EMBD]);
                self.bias(named(&format!("{stem}.bias")), N_EMBD);
            }
            for norm in ["attn_output_norm", "layer_output_norm"] {
                self.norm(named(&format!("{norm}.weight")), N_EMBD);
                self.bias(named(&format!("{norm}.bias")), N_EMBD);
            }
            self.matrix(named("ffn_up.weight"), &[N_EMBD, N_FF]);
            self.bias(named("ffn_up.bias"), N_FF);
            self.matrix(named("ffn_down.weight"), &[N_FF, N_EMBD]);
            self.bias(named("ffn_down.bias"), N_EMBD);
        }
    }

    fn projector(&mut self) {
        for i in 0..self.model.n_layer {
            for stem in ["attn_q", "attn_k", "attn_v", "attn_out"] {
                self.matrix(format!("v.blk.{i}.{stem}.weight"), &[N_EMBD, N_EMBD]);
            }
            self.norm(format!("v.blk.{i}.ln1.weight"), N_EMBD);
        }
        self.matrix("mm.0.weight".into(), &[N_EMBD, N_EMBD]);
    }
}
