//! Weights whose factor is a tensor of its own: `X.scale` beside `X.weight`.
//!
//! NVFP4 files have one F32 factor for each matrix, or one for each expert, because the scales of NVFP4's blocks cover
//! too small a range. llama.cpp multiplies the product of matrix and activations by it, so the weight that the model
//! has is *tensor × factor* (decision 0039).

use crate::tensor_id::{NameParts, TensorId};
use std::collections::HashSet;

/// The stems whose `.scale` llama.cpp loads as a factor of `.weight`, in upstream's order.
///
/// # Source
/// `llama_model_base::load_tensors` in `llama-model.cpp` ("generic pass: load optional per-tensor/per-expert ".scale"
/// tensors"), and `models/dflash.cpp` for the last two. `build_lora_mm`, `build_lora_mm_id` and `build_ffn` in
/// `llama-graph.cpp` multiply. A loader that meets another `.scale` refuses the file, except `blk.N.ffn_gate_inp.scale` of
/// Gemma 4, which scales the router's input and not its weights.
const STEMS: [&str; 24] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "attn_qkv",
    "attn_gate",
    "ffn_gate",
    "ffn_down",
    "ffn_up",
    "ffn_gate_shexp",
    "ffn_down_shexp",
    "ffn_up_shexp",
    "ffn_gate_exps",
    "ffn_down_exps",
    "ffn_up_exps",
    "ssm_in",
    "ssm_out",
    "ssm_alpha",
    "ssm_beta",
    "nextn.eh_proj",
    "nextn.shared_head_head",
    "output",
    "fc",
    "markov_w2",
];

fn has_companion(stem: &str) -> bool {
    let parts = NameParts::of(stem);
    parts.family.is_empty() && STEMS.contains(&parts.stem)
}

/// The name that the companion of a weight has, if the file has one. `None` for tensors that cannot have a companion.
pub fn companion_of(weight: &str) -> Option<String> {
    let stem = weight.strip_suffix(".weight").filter(|stem| has_companion(stem))?;
    Some(format!("{stem}.scale"))
}

/// The name of the weight that a tensor of this name belongs to, if the file has that weight.
pub fn weight_of(companion: &str) -> Option<String> {
    let stem = companion.strip_suffix(".scale").filter(|stem| has_companion(stem))?;
    Some(format!("{stem}.weight"))
}

/// Whether the factors of a weight are one for each of its experts, and not one for the whole tensor.
pub fn has_factor_per_expert(weight: &str) -> bool {
    weight.strip_suffix(".weight").is_some_and(|stem| stem.ends_with("_exps"))
}

/// The indices of the tensors that are companions of other tensors of the list. They are part of a weight, so no
/// selector chooses them.
pub fn companions(tensors: &[TensorId]) -> Vec<usize> {
    let names: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let is_companion = |name: &str| weight_of(name).is_some_and(|weight| names.contains(weight.as_str()));
    (0..tensors.len()).filter(|&index| is_companion(&tensors[index].name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_and_its_companion_name_each_other() {
        for (weight, companion) in [
            ("blk.0.attn_q.weight", "blk.0.attn_q.scale"),
            ("blk.11.ffn_gate_exps.weight", "blk.11.ffn_gate_exps.scale"),
            ("blk.3.nextn.eh_proj.weight", "blk.3.nextn.eh_proj.scale"),
            ("output.weight", "output.scale"),
        ] {
            assert_eq!(companion_of(weight).as_deref(), Some(companion));
            assert_eq!(weight_of(companion).as_deref(), Some(weight));
        }
    }

    #[test]
    fn a_factor_that_llama_cpp_does_not_multiply_the_weight_by_is_a_tensor_like_others() {
        // Gemma 4's router scales its input; input_scale is loaded and used nowhere; nothing scales an embedding.
        for name in ["blk.0.ffn_gate_inp.scale", "blk.0.attn_q.input_scale", "token_embd.scale", "v.blk.0.attn_q.scale"]
        {
            assert_eq!(weight_of(name), None, "{name}");
        }
        assert_eq!(companion_of("blk.0.attn_q.bias"), None);
        assert_eq!(companion_of("blk.0.attn_norm.weight"), None);
    }

    #[test]
    fn a_companion_without_its_weight_is_none() {
        let named = |name: &str| TensorId { name: name.into(), ty: "f32".into(), ne: vec![1] };
        let tensors = [named("blk.0.attn_q.scale"), named("blk.0.attn_k.weight"), named("blk.0.attn_k.scale")];
        assert_eq!(companions(&tensors), [2]);
    }

    #[test]
    fn experts_have_a_factor_each() {
        assert!(has_factor_per_expert("blk.0.ffn_up_exps.weight"));
        assert!(!has_factor_per_expert("blk.0.ffn_up_shexp.weight") && !has_factor_per_expert("blk.0.ffn_up.weight"));
    }
}
