//! Roles of weights: the purpose of a tensor, read from its GGUF name.

use crate::tensor_id::{NameParts, TensorId};

/// A role of weights. It means `.weight` tensors of the language model, unless its meaning says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetRole(&'static RoleFacts);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct RoleFacts {
    name: &'static str,
    meaning: &'static str,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    /// The `.weight` of a layer with one of these stems.
    Layer(&'static [&'static str]),
    /// A `.weight` outside the layers with one of these stems.
    Global(&'static [&'static str]),
    Norms,
    AttnBias,
    Weights,
    Family(&'static str),
    All,
    /// Every matrix that no other rule names. Alone, it is every matrix.
    Rest,
}

const ATTN: &[&str] = &[
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "attn_qkv",
    // Multi-head latent attention splits q, k and v into low-rank pairs.
    "attn_q_a",
    "attn_q_b",
    "attn_kv_a_mqa",
    "attn_kv_b",
    "attn_k_b",
    "attn_v_b",
];
const FFN_GATE: &[&str] = &["ffn_gate", "ffn_gate_exps", "ffn_gate_shexp"];
const FFN_UP: &[&str] = &["ffn_up", "ffn_up_exps", "ffn_up_shexp"];
const FFN_DOWN: &[&str] = &["ffn_down", "ffn_down_exps", "ffn_down_shexp"];
const EXPERTS: &[&str] = &["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_up_exps"];
/// The matrices that choose among experts.
///
/// # Source
/// `LLM_TENSOR_FFN_GATE_INP` and its like of `LLM_TENSOR_NAMES` in llama-arch.cpp.
const ROUTER: &[&str] = &["ffn_gate_inp", "ffn_gate_inp_shexp"];
const FFN: &[&str] = &[
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_down_exps",
    "ffn_gate_up_exps",
    "ffn_gate_shexp",
    "ffn_up_shexp",
    "ffn_down_shexp",
];

static ROLES: &[RoleFacts] = &[
    RoleFacts { name: "ffn_norm", meaning: "norm in front of the FFN", kind: Kind::Layer(&["ffn_norm"]) },
    RoleFacts { name: "attn_norm", meaning: "norm in front of attention", kind: Kind::Layer(&["attn_norm"]) },
    RoleFacts { name: "norms", meaning: "every norm, layers or not", kind: Kind::Norms },
    RoleFacts { name: "attn_q", meaning: "query projection", kind: Kind::Layer(&["attn_q"]) },
    RoleFacts { name: "attn_k", meaning: "key projection", kind: Kind::Layer(&["attn_k"]) },
    RoleFacts { name: "attn_v", meaning: "value projection", kind: Kind::Layer(&["attn_v"]) },
    RoleFacts { name: "attn_output", meaning: "output projection of attention", kind: Kind::Layer(&["attn_output"]) },
    RoleFacts { name: "attn", meaning: "q, k, v, output, or fused qkv", kind: Kind::Layer(ATTN) },
    RoleFacts { name: "attn_bias", meaning: "biases of attention", kind: Kind::AttnBias },
    RoleFacts { name: "ffn_gate", meaning: "gate matrices, experts included", kind: Kind::Layer(FFN_GATE) },
    RoleFacts { name: "ffn_up", meaning: "up matrices, experts included", kind: Kind::Layer(FFN_UP) },
    RoleFacts { name: "ffn_down", meaning: "down matrices, experts included", kind: Kind::Layer(FFN_DOWN) },
    RoleFacts { name: "ffn", meaning: "gate, up and down, experts included", kind: Kind::Layer(FFN) },
    RoleFacts { name: "experts", meaning: "routed experts", kind: Kind::Layer(EXPERTS) },
    RoleFacts { name: "router", meaning: "matrices that choose among experts", kind: Kind::Layer(ROUTER) },
    RoleFacts { name: "token_embd", meaning: "token embedding", kind: Kind::Global(&["token_embd"]) },
    RoleFacts { name: "output", meaning: "output head, where it has its own matrix", kind: Kind::Global(&["output"]) },
    RoleFacts { name: "output_norm", meaning: "norm in front of the head", kind: Kind::Global(&["output_norm"]) },
    RoleFacts {
        name: "rope_freqs",
        meaning: "RoPE frequency factors",
        kind: Kind::Global(&["rope_freqs", "rope_factors_long", "rope_factors_short"]),
    },
    RoleFacts { name: "weights", meaning: "every matrix", kind: Kind::Weights },
    RoleFacts { name: "vision", meaning: "v.*", kind: Kind::Family("v") },
    RoleFacts { name: "audio", meaning: "a.*", kind: Kind::Family("a") },
    RoleFacts { name: "projector", meaning: "mm.*", kind: Kind::Family("mm") },
    RoleFacts { name: "all", meaning: "every floating or quantized tensor", kind: Kind::All },
    RoleFacts { name: "rest", meaning: "every matrix that no other rule names", kind: Kind::Rest },
];

impl TargetRole {
    /// All roles, in the order in which they are listed for the user.
    pub fn all() -> impl Iterator<Item = TargetRole> {
        ROLES.iter().map(TargetRole)
    }

    /// The roles that divide a model without overlap. A tensor belongs to the first role that includes it.
    pub fn groups() -> impl Iterator<Item = TargetRole> {
        ["norms", "token_embd", "output", "attn", "attn_bias", "ffn", "vision", "audio", "projector"]
            .into_iter()
            .filter_map(TargetRole::named)
    }

    /// The role of that name. `None` when no role has it.
    pub fn named(name: &str) -> Option<TargetRole> {
        ROLES.iter().find(|facts| facts.name == name).map(TargetRole)
    }

    /// The name of the role, as it is written in a selector.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether the role depends on what other rules name.
    pub(crate) fn is_rest(self) -> bool {
        self.0.kind == Kind::Rest
    }

    /// The meaning of the role, in words.
    pub fn meaning(self) -> &'static str {
        self.0.meaning
    }

    /// The stems of tensors that a reader may expect in this role although they have another one.
    ///
    /// # Source
    /// `LLM_TENSOR_NAMES` in llama-arch.cpp.
    pub(crate) fn similar(self) -> &'static [&'static str] {
        match self.0.name {
            "ffn_norm" => &["post_ffw_norm", "ffn_sub_norm", "ffn_norm_exps"],
            "attn_norm" => &["post_attention_norm", "attn_sub_norm", "attn_norm_2"],
            _ => &[],
        }
    }

    /// Whether the tensor has this role.
    pub fn holds(self, tensor: &TensorId) -> bool {
        let parts = NameParts::of(&tensor.name);
        let weight = parts.suffix == "weight";
        let language = parts.family.is_empty();
        match self.0.kind {
            Kind::Layer(stems) => weight && language && parts.layer.is_some() && stems.contains(&parts.stem),
            Kind::Global(stems) => weight && language && parts.layer.is_none() && stems.contains(&parts.stem),
            Kind::Norms => weight && language && parts.stem.contains("norm"),
            Kind::AttnBias => parts.suffix == "bias" && language && parts.layer.is_some() && ATTN.contains(&parts.stem),
            Kind::Weights | Kind::Rest => weight && tensor.is_matrix(),
            Kind::Family(family) => parts.family == family,
            Kind::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(role: &str, name: &str) -> bool {
        let tensor = TensorId { name: name.into(), ty: "f32".into(), ne: vec![64, 64] };
        TargetRole::named(role).expect("a role").holds(&tensor)
    }

    #[test]
    fn a_role_is_the_name_without_its_layer() {
        let role = |name: &str| TensorId { name: name.into(), ty: "f32".into(), ne: vec![1] }.role();
        assert_eq!(role("blk.12.attn_q.weight"), "attn_q");
        assert_eq!(role("blk.12.attn_q.bias"), "attn_q.bias");
        assert_eq!(role("v.blk.3.ffn_up.weight"), "v.ffn_up");
        assert_eq!((role("token_embd.weight"), role("odd")), ("token_embd".into(), "odd".into()));
    }

    #[test]
    fn ffn_norm_is_the_norm_before_the_ffn_only() {
        assert!(has("ffn_norm", "blk.12.ffn_norm.weight"));
        for other in ["blk.1.post_ffw_norm.weight", "blk.1.ffn_norm.bias", "v.blk.1.ffn_norm.weight", "ffn_norm.weight"]
        {
            assert!(!has("ffn_norm", other), "{other}");
        }
    }

    #[test]
    fn attention_means_projections_and_fused_qkv_without_norms_and_biases() {
        for name in ["attn_q", "attn_k", "attn_v", "attn_output", "attn_qkv"] {
            assert!(has("attn", &format!("blk.0.{name}.weight")), "{name}");
        }
        assert!(!has("attn", "blk.0.attn_q_norm.weight"));
        assert!(!has("attn", "blk.0.attn_q.bias"));
        assert!(!has("attn_q", "blk.0.attn_qkv.weight"));
        assert!(has("attn_bias", "blk.0.attn_q.bias"));
        assert!(!has("attn_bias", "blk.0.ffn_up.bias"));
    }

    #[test]
    fn norms_are_found_inside_and_outside_the_layers() {
        for name in ["output_norm.weight", "blk.3.post_attention_norm.weight", "blk.0.attn_k_norm.weight"] {
            assert!(has("norms", name), "{name}");
        }
    }

    #[test]
    fn the_router_is_not_an_expert_and_experts_are_ffn() {
        assert!(!has("ffn", "blk.0.ffn_gate_inp.weight"));
        assert!(has("router", "blk.0.ffn_gate_inp.weight") && has("router", "blk.0.ffn_gate_inp_shexp.weight"));
        assert!(!has("router", "blk.0.ffn_gate.weight") && !has("router", "blk.0.ffn_gate_exps.weight"));
        assert!(has("ffn", "blk.0.ffn_down_exps.weight"));
        assert!(has("experts", "blk.0.ffn_down_exps.weight"));
        assert!(!has("experts", "blk.0.ffn_down.weight"));
    }

    #[test]
    fn layer_numbers_that_do_not_fit_are_no_layers() {
        let tensor = TensorId { name: "blk.99999999999.ffn_norm.weight".into(), ty: "f32".into(), ne: vec![1] };
        assert_eq!(tensor.layer(), None);
    }
}
