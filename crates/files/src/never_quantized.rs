//! The tensors that llama.cpp's quantizer never touches.
//!
//! Some are too small to be worth it. Others are used by operations that compute in F32 alone: in another type, the
//! engine aborts on them. So a file that stores its other matrices in small types keeps these as they are.
//!
//! # Source
//! `tensor_allows_quantization` in `src/llama-quant.cpp` of the pinned engine. A test reads that function and compares.

use gguf::TensorInfo;

/// How a row of the table knows a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The name has this text somewhere.
    Contains(&'static str),
    /// This is the name.
    Is(&'static str),
}

/// One row: the architecture for which it counts, and the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Never {
    /// The value of `general.architecture`. `None` means every architecture.
    arch: Option<&'static str>,
    mark: Mark,
}

const fn everywhere(mark: Mark) -> Never {
    Never { arch: None, mark }
}

const fn in_glm5_next(text: &'static str) -> Never {
    Never { arch: Some("glm5-next"), mark: Mark::Contains(text) }
}

use Mark::{Contains, Is};

#[rustfmt::skip]
static TABLE: &[Never] = &[
    everywhere(Contains("_norm.weight")),
    everywhere(Contains("ffn_gate_inp.weight")),
    everywhere(Contains("ffn_gate_tid2eid.weight")),
    everywhere(Contains("altup")),
    everywhere(Contains("laurel")),
    everywhere(Contains("per_layer_model_proj")),
    // `LLM_TN` writes these names from `LLM_TENSOR_POS_EMBD` and `LLM_TENSOR_TOKEN_TYPES`.
    everywhere(Is("position_embd.weight")),
    everywhere(Is("token_types.weight")),
    everywhere(Contains("ssm_conv1d")),
    everywhere(Contains("shortconv.conv.weight")),
    everywhere(Contains("indexer.k_proj.weight")),
    everywhere(Contains("indexer.q_proj.weight")),
    in_glm5_next("hc_"),
    in_glm5_next("indexer.attn_q_b"),
    in_glm5_next("indexer.attn_k"),
    in_glm5_next("indexer.proj"),
    in_glm5_next("indexer_compressor_gate"),
    in_glm5_next("indexer_compressor_ape"),
    in_glm5_next("ssm_f_a.weight"),
    in_glm5_next("ssm_f_b.weight"),
    in_glm5_next("ssm_g_a.weight"),
    in_glm5_next("ssm_g_b.weight"),
    in_glm5_next("ssm_beta.weight"),
    in_glm5_next("attn_kv_a_mqa.weight"),
    in_glm5_next("attn_k_b.weight"),
    in_glm5_next("attn_v_b.weight"),
    everywhere(Contains("time_mix_first.weight")),
    everywhere(Contains("time_mix_w0.weight")),
    everywhere(Contains("time_mix_w1.weight")),
    everywhere(Contains("time_mix_w2.weight")),
    everywhere(Contains("time_mix_v0.weight")),
    everywhere(Contains("time_mix_v1.weight")),
    everywhere(Contains("time_mix_v2.weight")),
    everywhere(Contains("time_mix_a0.weight")),
    everywhere(Contains("time_mix_a1.weight")),
    everywhere(Contains("time_mix_a2.weight")),
    everywhere(Contains("time_mix_g1.weight")),
    everywhere(Contains("time_mix_g2.weight")),
    everywhere(Contains("time_mix_decay_w1.weight")),
    everywhere(Contains("time_mix_decay_w2.weight")),
    everywhere(Contains("time_mix_lerp_fused.weight")),
    everywhere(Contains("attn_rel_b.weight")),
    everywhere(Contains(".position_embd")),
    everywhere(Contains("sam.pos_embd")),
    everywhere(Contains("sam.neck.")),
    everywhere(Contains("sam.net_")),
    everywhere(Contains(".rel_pos")),
    everywhere(Contains(".patch_embd")),
    everywhere(Contains(".patch_merger")),
    everywhere(Contains("a.rvq.codebook")),
    everywhere(Contains("mm.a.code_embd")),
];

/// Whether llama.cpp's quantizer leaves a tensor of a model of this architecture alone, whatever type is asked for.
pub fn is_never_quantized(arch: Option<&str>, tensor: &TensorInfo) -> bool {
    // A vector, or a matrix whose name does not end like that of a weight.
    tensor.n_rows() <= 1 || !tensor.name.ends_with("weight") || is_named(arch, &tensor.name)
}

/// Whether a row of the table names the tensor.
fn is_named(arch: Option<&str>, name: &str) -> bool {
    TABLE.iter().any(|never| {
        let is_it = match never.mark {
            Contains(text) => name.contains(text),
            Is(whole) => name == whole,
        };
        is_it && never.arch.is_none_or(|wanted| arch == Some(wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinned_source::{pinned_function, pinned_source};
    use gguf::GgmlType;

    fn is_never(arch: &str, name: &str, ne: [u64; 4]) -> bool {
        let tensor = TensorInfo { name: name.into(), ty: GgmlType::F32, ne, n_dims: 4, offset: 0, nbytes: 0, shard: 0 };
        is_never_quantized(Some(arch), &tensor)
    }

    #[test]
    fn the_table_has_the_rows_of_llama_cpps_quantizer_and_no_other() {
        let source = pinned_function("src/llama-quant.cpp", "static bool tensor_allows_quantization(");
        let between = |text: &'static str, from: &str, to: &str| -> Option<&'static str> {
            let rest = &text[text.find(from)? + from.len()..];
            Some(&rest[..rest.find(to)?])
        };
        let source: &'static str = source.leak();
        let name_of = |id: &str| {
            let names: &'static str = pinned_source("src/llama-arch.cpp").leak();
            let row = names.lines().find(|line| line.contains(&format!("{{ {id},")) && line.contains('"'));
            format!("{}.weight", between(row.expect("a name"), "\"", "\"").expect("a name"))
        };
        let (mut found, mut arch, mut conditions) = (Vec::new(), None, 0);
        for line in source.lines().map(str::trim) {
            if line.starts_with("if (arch == ") {
                assert!(line.contains("LLM_ARCH_GLM5_NEXT"), "a condition that is not known: {line}");
                arch = Some("glm5-next");
            } else if line == "}" {
                arch = None;
            }
            if !line.starts_with("quantize &=") {
                continue;
            }
            conditions += 1;
            if let Some(text) = between(line, "name.find(\"", "\")") {
                assert!(line.contains("== std::string::npos;"), "{line}");
                found.push(Never { arch, mark: Contains(text) });
            } else if let Some(id) = between(line, "name != LLM_TN(arch)(", ",") {
                found.push(Never { arch, mark: Is(name_of(id).leak()) });
            } else {
                // The output head is quantized unless the caller says otherwise.
                assert_eq!(line, "quantize &= params->quantize_output_tensor || name != \"output.weight\";");
                conditions -= 1;
            }
        }
        assert_eq!(found, TABLE);
        assert_eq!(conditions, TABLE.len());
        // What stands before the table.
        assert!(source.contains("if (ggml_n_dims(tensor) < 2) return false;"), "{source}");
        assert!(source.contains("bool quantize = name.rfind(\"weight\") == name.size() - 6;"), "{source}");
        let archs = pinned_source("src/llama-arch.cpp");
        let glm5 = archs.lines().find(|line| line.contains("{ LLM_ARCH_GLM5_NEXT,"));
        assert!(glm5.is_some_and(|line| line.contains("\"glm5-next\"")), "{glm5:?}");
    }

    #[test]
    fn routers_convolutions_positions_and_norms_are_left_alone_and_projections_are_not() {
        for name in [
            "blk.0.ffn_gate_inp.weight",
            "blk.0.ssm_conv1d.weight",
            "blk.3.shortconv.conv.weight",
            "position_embd.weight",
            "token_types.weight",
            "blk.0.attn_q_norm.weight",
            "blk.0.time_mix_w1.weight",
            "v.patch_embd.weight",
            "v.position_embd.weight",
            "enc.blk.0.attn_rel_b.weight",
            "blk.0.nextn.shared_head_norm.weight",
            "blk.0.attn_q.bias",
        ] {
            assert!(is_never("llama", name, [64, 64, 1, 1]), "{name}");
        }
        for name in ["blk.0.attn_q.weight", "output.weight", "token_embd.weight", "blk.0.ffn_down_exps.weight"] {
            assert!(!is_never("llama", name, [64, 64, 2, 1]), "{name}");
            assert!(is_never("llama", name, [64, 1, 1, 1]), "{name} as a vector");
        }
        assert!(is_never("glm5-next", "blk.0.attn_k_b.weight", [64, 64, 1, 1]));
        assert!(!is_never("deepseek2", "blk.0.attn_k_b.weight", [64, 64, 1, 1]));
    }
}
