//! The one table of metadata keys: what each means, and whether another value changes the numbers that a model computes,
//! the text that goes in or comes out, or only a label.
//!
//! # Source
//! `LLM_KV_NAMES` in `src/llama-arch.cpp` of the pinned engine, for the keys that llama.cpp reads; `class Keys` in
//! `gguf-py/gguf/constants.py`, for the labels that converters write. `quantize.imatrix.*` is written by
//! `llama-quantize`, `assay.*` by `assay quantize`.

use record::answer::MetadataEffect::{self, Label, Numbers, Text, Unknown};

/// How a row of the table names its keys.
#[derive(Clone, Copy)]
enum Keys {
    /// The key itself.
    Exact(&'static str),
    /// Every key that starts with this.
    Under(&'static str),
    /// The key with the name of an architecture before it, as in `llama.block_count`.
    OfArchitecture(&'static str),
    /// Every key that starts with this after the name of an architecture.
    UnderArchitecture(&'static str),
}

use Keys::{Exact, OfArchitecture as Arch, Under, UnderArchitecture as ArchUnder};

/// What a key means and what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// What another value of the key changes.
    pub effect: MetadataEffect,
    /// What the value is, in plain words; `None` for a key that the table does not have.
    pub meaning: Option<&'static str>,
}

/// The table. The first row that names a key counts.
const TABLE: &[(Keys, MetadataEffect, &str)] = &[
    // What the file is.
    (Exact("general.architecture"), Numbers, "the architecture of the model"),
    (Exact("general.type"), Numbers, "the kind of file: a model, an adapter, a projector"),
    (Under("general.tensor_extra."), Numbers, "the precision in which single tensors are computed"),
    (Under("adapter."), Numbers, "how an adapter is applied to a model"),
    (Under("xielu."), Numbers, "the constants of the xIELU activation"),
    (Under("clip."), Numbers, "the vision or audio tower of a multimodal projector"),
    // Text in and out.
    (Exact("tokenizer.ggml.model"), Text, "the kind of tokenizer"),
    (Exact("tokenizer.ggml.pre"), Text, "how text is cut before it is tokenized"),
    (Exact("tokenizer.ggml.tokens"), Text, "the tokens"),
    (Exact("tokenizer.ggml.token_type"), Text, "the kind of each token: normal, control, byte"),
    (Exact("tokenizer.ggml.token_type_count"), Text, "the number of token types"),
    (Exact("tokenizer.ggml.scores"), Text, "the score of each token, which decides how text is cut"),
    (Exact("tokenizer.ggml.merges"), Text, "the merges of a BPE tokenizer, which decide how text is cut"),
    (Exact("tokenizer.ggml.bos_token_id"), Text, "the token that begins a text"),
    (Exact("tokenizer.ggml.eos_token_id"), Text, "the token that ends a text"),
    (Exact("tokenizer.ggml.eot_token_id"), Text, "the token that ends a turn"),
    (Exact("tokenizer.ggml.eom_token_id"), Text, "the token that ends a message"),
    (Exact("tokenizer.ggml.unknown_token_id"), Text, "the token for what no other token spells"),
    (Exact("tokenizer.ggml.seperator_token_id"), Text, "the token between two texts"),
    (Exact("tokenizer.ggml.padding_token_id"), Text, "the token that fills up a text"),
    (Exact("tokenizer.ggml.cls_token_id"), Text, "the token that begins a text to be classified"),
    (Exact("tokenizer.ggml.mask_token_id"), Text, "the token in place of a hidden one"),
    (Exact("tokenizer.ggml.add_bos_token"), Text, "whether a token is added at the beginning of a text"),
    (Exact("tokenizer.ggml.add_eos_token"), Text, "whether a token is added at the end of a text"),
    (Exact("tokenizer.ggml.add_sep_token"), Text, "whether a token is added between two texts"),
    (Exact("tokenizer.ggml.add_space_prefix"), Text, "whether a space is added before a text"),
    (Exact("tokenizer.ggml.remove_extra_whitespaces"), Text, "whether repeated spaces are dropped"),
    (Exact("tokenizer.ggml.precompiled_charsmap"), Text, "how characters are normalized"),
    (Under("tokenizer.ggml.normalizer."), Text, "how characters are normalized"),
    (Exact("tokenizer.ggml.suppress_tokens"), Text, "the tokens that are never generated"),
    (Exact("tokenizer.huggingface.json"), Text, "a whole tokenizer of Hugging Face"),
    (Exact("tokenizer.rwkv.world"), Text, "the vocabulary of an RWKV tokenizer"),
    (Exact("tokenizer.chat_template"), Text, "how a conversation becomes a text"),
    (Under("tokenizer.chat_template."), Text, "how a conversation becomes a text, for one use"),
    (Exact("tokenizer.chat_templates"), Text, "the names of the chat templates"),
    (Under("tokenizer."), Text, "a part of the tokenizer"),
    (Under("general.sampling."), Text, "how llama.cpp's programs choose the next token unless told otherwise"),
    // Keys that only describe the file.
    (Exact("general.name"), Label, "the name of the model"),
    (Exact("general.author"), Label, "who made the model"),
    (Exact("general.version"), Label, "the version of the model"),
    (Exact("general.organization"), Label, "who published the model"),
    (Exact("general.finetune"), Label, "what the model was tuned for"),
    (Exact("general.basename"), Label, "the name of the model's family"),
    (Exact("general.description"), Label, "a description of the model"),
    (Exact("general.quantized_by"), Label, "who quantized the model"),
    (Exact("general.size_label"), Label, "the size of the model in words"),
    (Under("general.license"), Label, "the licence"),
    (Exact("general.url"), Label, "where the model is described"),
    (Exact("general.doi"), Label, "the DOI of the model"),
    (Exact("general.uuid"), Label, "an identifier of the model"),
    (Exact("general.repo_url"), Label, "where the model came from"),
    (Under("general.source."), Label, "where the model came from"),
    (Under("general.base_model."), Label, "the models that it was made from"),
    (Under("general.dataset."), Label, "the data that it was trained on"),
    (Exact("general.datasets"), Label, "the data that it was trained on"),
    (Exact("general.tags"), Label, "tags for a search"),
    (Exact("general.languages"), Label, "the languages of the model"),
    (Exact("general.file_type"), Label, "the type that most matrices are said to have; the tensors state their own"),
    (Exact("general.quantization_version"), Label, "the version of the quantization formats"),
    (Under("quantize."), Label, "how llama-quantize made the file"),
    (Under("assay."), Label, "how assay quantize made the file"),
    // The shape of the model.
    (Arch("vocab_size"), Numbers, "the number of tokens"),
    (Arch("context_length"), Numbers, "the context of the training; some kinds of RoPE scaling start from it"),
    (Arch("embedding_length"), Numbers, "the width of the model"),
    (Arch("embedding_length_out"), Numbers, "the width of the output"),
    (Arch("embedding_length_per_layer_input"), Numbers, "the width of the embedding of each layer"),
    (Arch("features_length"), Numbers, "the width of the input features"),
    (Arch("block_count"), Numbers, "the number of layers"),
    (Arch("decoder_block_count"), Numbers, "the number of layers of the decoder"),
    (Arch("leading_dense_block_count"), Numbers, "the number of first layers without experts"),
    (Arch("nextn_predict_layers"), Numbers, "the number of layers for multi-token prediction"),
    (Arch("feed_forward_length"), Numbers, "the width of the FFN"),
    (Arch("tensor_data_layout"), Numbers, "the order of the values within tensors"),
    (Arch("block_size"), Numbers, "the number of tokens of a block"),
    (Arch("conv_kernel_size"), Numbers, "the width of the convolution"),
    (Arch("conv_group_size"), Numbers, "the group size of the convolution"),
    (Arch("selector_rank"), Numbers, "the rank of the selector"),
    (Arch("selector_top_k"), Numbers, "the number of entries that the selector keeps"),
    (Arch("target_layers"), Numbers, "the layers of the other model that are read"),
    (Arch("target_hidden_size"), Numbers, "the width of the other model"),
    // Mixtures of experts.
    (Arch("expert_feed_forward_length"), Numbers, "the width of an expert's FFN"),
    (Arch("expert_shared_feed_forward_length"), Numbers, "the width of the shared expert's FFN"),
    (Arch("expert_chunk_feed_forward_length"), Numbers, "the width of a chunk expert's FFN"),
    (Arch("expert_count"), Numbers, "the number of experts"),
    (Arch("expert_used_count"), Numbers, "the number of experts used for each token"),
    (Arch("expert_shared_count"), Numbers, "the number of shared experts"),
    (Arch("expert_group_count"), Numbers, "the number of groups of experts"),
    (Arch("expert_group_used_count"), Numbers, "the number of groups used for each token"),
    (Arch("expert_group_scale"), Numbers, "the factor of a group's score"),
    (Arch("experts_per_group"), Numbers, "the number of experts in a group"),
    (Arch("expert_weights_scale"), Numbers, "the factor of the experts' weights"),
    (Arch("expert_weights_norm"), Numbers, "whether the experts' weights are normalized"),
    (Arch("expert_latent_length"), Numbers, "the width inside the experts"),
    (Arch("expert_gating_func"), Numbers, "the function that turns the router's scores into weights"),
    (Arch("moe_every_n_layers"), Numbers, "which layers have experts"),
    (Arch("moe_latent_size"), Numbers, "the width inside the experts"),
    (Arch("interleave_moe_layer_step"), Numbers, "which layers have experts"),
    (Arch("router_logit_softcapping"), Numbers, "the cap of the router's scores"),
    // The attention of a layer.
    (Arch("attention.head_count"), Numbers, "the number of attention heads"),
    (Arch("attention.head_count_kv"), Numbers, "the number of key and value heads"),
    (Arch("attention.max_alibi_bias"), Numbers, "the largest ALiBi bias"),
    (Arch("attention.clamp_kqv"), Numbers, "the clamp of queries, keys and values"),
    (Arch("attention.key_length"), Numbers, "the width of a key"),
    (Arch("attention.value_length"), Numbers, "the width of a value"),
    (Arch("attention.layer_norm_epsilon"), Numbers, "the epsilon of the layer norms"),
    (Arch("attention.layer_norm_rms_epsilon"), Numbers, "the epsilon of the RMS norms"),
    (Arch("attention.group_norm_epsilon"), Numbers, "the epsilon of the group norms"),
    (Arch("attention.group_norm_groups"), Numbers, "the number of groups of the group norms"),
    (Arch("attention.causal"), Numbers, "whether a token sees only the tokens before it"),
    (Arch("attention.relative_buckets_count"), Numbers, "the number of relative positions"),
    (Arch("attention.sliding_window"), Numbers, "how many tokens back a sliding window reaches"),
    (Arch("attention.sliding_window_pattern"), Numbers, "which layers have a sliding window"),
    (Arch("attention.rope_pattern"), Numbers, "which layers have RoPE"),
    (Arch("attention.scale"), Numbers, "the factor of the attention scores"),
    (Arch("attention.output_scale"), Numbers, "the factor of the attention output"),
    (Arch("attention.value_scale"), Numbers, "the factor of the values"),
    (Arch("attention.recurrent_layers"), Numbers, "which layers are recurrent"),
    (Arch("attention.shared_kv_layers"), Numbers, "how many layers share their keys and values"),
    (ArchUnder("attention."), Numbers, "a hyper-parameter of the attention"),
    (Arch("attn_logit_softcapping"), Numbers, "the cap of the attention scores"),
    (Arch("full_attention_interval"), Numbers, "which layers have full attention"),
    (Arch("attn_res.block_size"), Numbers, "the number of layers in a block of attention residuals"),
    // How positions enter the attention.
    (Arch("rope.dimension_count"), Numbers, "how many dimensions RoPE rotates"),
    (Arch("rope.dimension_sections"), Numbers, "how RoPE divides the dimensions"),
    (Arch("rope.freq_base"), Numbers, "the base frequency of RoPE"),
    (Arch("rope.freq_base_swa"), Numbers, "the base frequency of RoPE in layers with a sliding window"),
    (Arch("rope.scale_linear"), Numbers, "the factor by which RoPE stretches positions"),
    (Arch("rope.scaling.type"), Numbers, "how RoPE stretches positions"),
    (Arch("rope.scaling.factor"), Numbers, "the factor by which RoPE stretches positions"),
    (Arch("rope.scaling.original_context_length"), Numbers, "the context before RoPE was stretched"),
    (Arch("rope.scaling.finetuned"), Label, "whether the model was tuned after RoPE was stretched"),
    (ArchUnder("rope."), Numbers, "a hyper-parameter of RoPE"),
    // Factors, functions and order of operations.
    (Arch("hidden_activation"), Numbers, "the activation of the FFN"),
    (ArchUnder("activation."), Numbers, "a constant of the activation"),
    (Arch("swiglu_clamp_exp"), Numbers, "the clamp inside the experts"),
    (Arch("swiglu_clamp_shexp"), Numbers, "the clamp inside the shared expert"),
    (Arch("use_parallel_residual"), Numbers, "whether attention and FFN read the same input"),
    (Arch("logit_scale"), Numbers, "the factor of the logits"),
    (Arch("final_logit_softcapping"), Numbers, "the cap of the logits"),
    (Arch("residual_scale"), Numbers, "the factor of the residual stream"),
    (Arch("embedding_scale"), Numbers, "the factor of the embedding"),
    (Arch("pooling_type"), Numbers, "how an embedding model sums up a text"),
    (Arch("decoder_start_token_id"), Text, "the token with which the decoder starts"),
    (Arch("swin_norm"), Numbers, "the place of the norms"),
    (Arch("norm_before_residual"), Numbers, "the place of the norms"),
    (Arch("norm_before_fc"), Numbers, "the place of the norms"),
    (Arch("rescale_every_n_layers"), Numbers, "after how many layers values are halved"),
    (Arch("time_mix_extra_dim"), Numbers, "the rank of the time mixing"),
    (Arch("time_decay_extra_dim"), Numbers, "the rank of the time decay"),
    (Arch("token_shift_count"), Numbers, "how many tokens are mixed"),
    (Arch("num_loops"), Numbers, "how often the layers are repeated"),
    (Arch("skip_loop_final_norm"), Numbers, "whether the last norm is left out between loops"),
    (Arch("hash_layer_count"), Numbers, "the number of hash layers"),
    (Arch("n_deepstack_layers"), Numbers, "the number of layers that get image features"),
    (Arch("deepstack_mapping"), Numbers, "the layers that get image features"),
    // Parts that few architectures have.
    (ArchUnder("ssm."), Numbers, "a hyper-parameter of the state-space layers"),
    (ArchUnder("wkv."), Numbers, "a hyper-parameter of the RWKV layers"),
    (ArchUnder("kda."), Numbers, "a hyper-parameter of the delta attention"),
    (ArchUnder("shortconv."), Numbers, "a hyper-parameter of the short convolution"),
    (ArchUnder("posnet."), Numbers, "a hyper-parameter of the position network"),
    (ArchUnder("convnext."), Numbers, "a hyper-parameter of the ConvNeXt layers"),
    (ArchUnder("hyper_connection."), Numbers, "a hyper-parameter of the hyper-connections"),
    (ArchUnder("ple."), Numbers, "a hyper-parameter of the per-layer embeddings"),
    (ArchUnder("hrm."), Numbers, "a hyper-parameter of the recurrent reasoning"),
    (ArchUnder("decision."), Numbers, "a hyper-parameter of the decision layers"),
    (ArchUnder("adapters."), Numbers, "a hyper-parameter of built-in adapters"),
    (Arch("classifier.output_labels"), Label, "the names of the classes"),
    (ArchUnder("classifier."), Numbers, "a hyper-parameter of the classifier"),
    (ArchUnder("dense_"), Numbers, "the width of a last dense layer"),
];

/// What a key means and what it changes.
pub fn facts(key: &str) -> KeyFacts {
    let of_architecture = key.split_once('.').map_or("", |(_, rest)| rest);
    let names = |keys: Keys| match keys {
        Exact(exact) => key == exact,
        Under(start) => key.starts_with(start),
        Arch(exact) => of_architecture == exact,
        ArchUnder(start) => of_architecture.starts_with(start),
    };
    match TABLE.iter().find(|(keys, ..)| names(*keys)) {
        Some(&(_, effect, meaning)) => KeyFacts { effect, meaning: Some(meaning) },
        None => KeyFacts { effect: Unknown, meaning: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(key: &str) -> MetadataEffect {
        facts(key).effect
    }

    #[test]
    fn hyper_parameters_change_numbers_under_any_architecture() {
        for arch in ["llama", "qwen2", "gemma3", "a-new-one"] {
            for key in ["attention.head_count", "rope.freq_base", "attention.layer_norm_rms_epsilon", "block_count"] {
                assert_eq!(effect(&format!("{arch}.{key}")), Numbers, "{arch}.{key}");
            }
        }
        assert_eq!(facts("llama.rope.freq_base").meaning, Some("the base frequency of RoPE"));
    }

    #[test]
    fn the_tokenizer_and_the_templates_change_text_and_names_change_nothing() {
        for key in ["tokenizer.ggml.add_bos_token", "tokenizer.ggml.merges", "tokenizer.chat_template.tool_use"] {
            assert_eq!(effect(key), Text, "{key}");
        }
        for key in ["general.name", "general.file_type", "general.base_model.0.name", "assay.scheme"] {
            assert_eq!(effect(key), Label, "{key}");
        }
    }

    #[test]
    fn a_key_that_the_table_does_not_have_is_of_unknown_effect() {
        for key in ["general.magic", "llama.magic", "magic", "blk.magic", ""] {
            assert_eq!(facts(key), KeyFacts { effect: Unknown, meaning: None }, "{key}");
        }
    }
}
