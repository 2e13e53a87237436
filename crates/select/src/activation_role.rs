//! Roles of activations: each names nodes of the engine's graph. The names are llama.cpp's, from its model files.

use crate::tensor_id::{NameParts, TensorId};
use std::collections::BTreeSet;

/// A role of activations, written `ROLE[where=activation]`. A role whose name no weight shares needs no qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationRole(&'static Facts);

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    name: &'static str,
    meaning: &'static str,
    nodes: Nodes,
}

#[derive(Debug, PartialEq, Eq)]
enum Nodes {
    /// The node `{stem}-{layer}`, in layers that have a tensor with one of the stems of `told_by`. If `told_by` is
    /// empty, every layer has the node.
    Layer { stem: &'static str, told_by: &'static [&'static str] },
    /// The values that are written to the KV cache, in layers that have one.
    Cache,
    /// A node outside the layers, by its name.
    Global(&'static str),
}

/// The stems of tensors that show that a layer has a KV cache.
const KEYS: &[&str] = &["attn_k", "attn_qkv", "attn_kv_a_mqa"];

const fn layer(
    name: &'static str,
    stem: &'static str,
    told_by: &'static [&'static str],
    meaning: &'static str,
) -> Facts {
    Facts { name, meaning, nodes: Nodes::Layer { stem, told_by } }
}

static ROLES: &[Facts] = &[
    layer("attn_norm", "attn_norm", &["attn_norm"], "what enters attention: the input of q, k and v"),
    layer("attn_q", "Qcur", &["attn_q", "attn_qkv"], "queries, as attention reads them"),
    layer("attn_k", "Kcur", KEYS, "keys, as attention reads them"),
    layer("attn_v", "Vcur", &["attn_v", "attn_qkv"], "values, as attention reads them"),
    layer("attn_output", "attn_out", &["attn_output"], "what attention gives"),
    layer("ffn_norm", "ffn_norm", &["ffn_norm"], "what enters the FFN: the input of gate and up"),
    layer("ffn_gate", "ffn_gate", &["ffn_gate"], "what the gate gives"),
    layer("ffn_up", "ffn_up", &["ffn_up"], "what the up projection gives"),
    layer("ffn_down", "ffn_out", &["ffn_down", "ffn_down_exps"], "what the FFN gives"),
    layer("residual", "l_out", &[], "the residual stream, as it leaves each layer"),
    Facts { name: "kv", meaning: "keys and values, as they enter the KV cache", nodes: Nodes::Cache },
    Facts {
        name: "token_embd",
        meaning: "embedded tokens, as they enter the first layer",
        nodes: Nodes::Global("embd"),
    },
    Facts { name: "output_norm", meaning: "what enters the head", nodes: Nodes::Global("result_norm") },
];

/// The layer in the name of a node, such as 7 in `ffn_norm-7` and `cache_k_l7`. `None` when the name has no layer.
pub(crate) fn layer_of_node(name: &str) -> Option<u32> {
    let cached = name.strip_prefix("cache_k_l").or_else(|| name.strip_prefix("cache_v_l"));
    cached.or_else(|| name.rsplit_once('-').map(|(_, layer)| layer))?.parse().ok()
}

impl ActivationRole {
    /// All roles, in the order in which a layer computes them.
    pub fn all() -> impl Iterator<Item = ActivationRole> {
        ROLES.iter().map(ActivationRole)
    }

    /// The role of that name. `None` when no role has it.
    pub fn named(name: &str) -> Option<ActivationRole> {
        ROLES.iter().find(|facts| facts.name == name).map(ActivationRole)
    }

    /// The name of the role, as it is written in a selector.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The meaning of the role, in words.
    pub fn meaning(self) -> &'static str {
        self.0.meaning
    }

    /// The nodes of this role in a model with these tensors, each with its layer, in the order of the graph. Only the
    /// engine can tell whether it uses these names for the model's architecture.
    pub fn nodes(self, tensors: &[TensorId]) -> Vec<(Option<u32>, String)> {
        let layers_with = |stems: &[&str]| -> BTreeSet<u32> {
            let parts =
                tensors.iter().map(|tensor| NameParts::of(&tensor.name)).filter(|parts| parts.family.is_empty());
            parts
                .filter(|parts| stems.is_empty() || stems.contains(&parts.stem))
                .filter_map(|parts| parts.layer)
                .collect()
        };
        match &self.0.nodes {
            Nodes::Layer { stem, told_by } => {
                layers_with(told_by).into_iter().map(|layer| (Some(layer), format!("{stem}-{layer}"))).collect()
            }
            Nodes::Cache => layers_with(KEYS)
                .into_iter()
                .flat_map(|layer| ["k", "v"].map(|which| (Some(layer), format!("cache_{which}_l{layer}"))))
                .collect(),
            Nodes::Global(name) => vec![(None, (*name).to_string())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(role: &str) -> Vec<String> {
        let names = ["blk.0.attn_k.weight", "blk.0.ffn_norm.weight", "blk.1.ssm_in.weight", "v.blk.7.attn_k.weight"];
        let tensors = names.map(|name| TensorId { name: name.into(), ty: "f32".into(), ne: vec![1] });
        let role = ActivationRole::named(role).expect("a role");
        role.nodes(&tensors).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn a_role_has_nodes_where_the_layer_has_its_tensors() {
        assert_eq!(nodes("kv"), ["cache_k_l0", "cache_v_l0"]);
        assert_eq!(nodes("ffn_norm"), ["ffn_norm-0"]);
        assert_eq!(nodes("residual"), ["l_out-0", "l_out-1"]);
        assert_eq!(nodes("output_norm"), ["result_norm"]);
        assert!(nodes("attn_q").is_empty());
    }
}
