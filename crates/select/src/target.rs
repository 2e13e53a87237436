//! What a selector means in a model: weights, single uses of a weight, and activations.

use crate::activation_role::{ActivationRole, layer_of_node};
use crate::selector::{LEAVES_OUT_ALL, Part, Selector, SelectorError, What, n_layer};
use crate::tensor_id::TensorId;
use record::{EditPlace, WeightUse};
use std::collections::BTreeSet;

const TOKEN_EMBD: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

/// Something that a scheme can be applied to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A tensor of the file, by its index, in all its uses or in one of them.
    Weight(usize, EditPlace),
    /// A node of the graph, by its name.
    Node(String),
}

/// The targets of a selector: the weights in file order, then the nodes in the order of the graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// The targets, each once. A weight that is chosen in both its uses is chosen as a whole.
    pub targets: Vec<Target>,
    /// The indices of matched tensors that are not weights, because their values are integers or f64.
    pub skipped: Vec<usize>,
}

/// Whether the output head uses the matrix of the token embedding.
pub fn is_tied(tensors: &[TensorId]) -> bool {
    let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    has(TOKEN_EMBD) && !has(OUTPUT)
}

impl Selector {
    /// Finds everything that the selector chooses, in every place.
    ///
    /// # Errors
    /// When a part matches nothing, names a layer that the model does not have, or names a use that a tensor does not
    /// have.
    pub fn targets(&self, tensors: &[TensorId]) -> Result<Targets, SelectorError> {
        let mut weights: BTreeSet<(usize, EditPlace)> = BTreeSet::new();
        let mut nodes: Vec<String> = Vec::new();
        let mut skipped: Vec<usize> = Vec::new();
        for part in &self.parts {
            if part.is_activation {
                for node in part.nodes(tensors)? {
                    if !nodes.contains(&node) {
                        nodes.push(node);
                    }
                }
            } else if let Some(used_as) = part.used_as {
                weights.insert(part.one_use(used_as, tensors)?);
            } else {
                let plain = Selector { parts: vec![part.clone()], except: Vec::new() }.select(tensors)?;
                weights.extend(plain.tensors.into_iter().map(|index| (index, EditPlace::Weight)));
                skipped.extend(plain.skipped);
            }
        }
        if !self.except.is_empty() {
            let left_out = self.left_out(tensors)?;
            weights.retain(|&(index, _)| !left_out[index]);
            skipped.retain(|&index| !left_out[index]);
            if weights.is_empty() && nodes.is_empty() {
                return Err(self.nothing_left(tensors, LEAVES_OUT_ALL));
            }
        }
        skipped.sort_unstable();
        skipped.dedup();
        let whole = |index: usize| {
            weights.contains(&(index, EditPlace::Weight))
                || [EditPlace::Lookup, EditPlace::Head].iter().all(|place| weights.contains(&(index, *place)))
        };
        let weights: BTreeSet<Target> = weights
            .iter()
            .map(|&(index, place)| Target::Weight(index, if whole(index) { EditPlace::Weight } else { place }))
            .collect();
        let targets = weights.into_iter().chain(nodes.into_iter().map(Target::Node)).collect();
        Ok(Targets { targets, skipped })
    }
}

impl Target {
    /// The name by which edits call the target.
    pub fn name<'a>(&'a self, tensors: &'a [TensorId]) -> &'a str {
        match self {
            Target::Weight(index, _) => &tensors[*index].name,
            Target::Node(name) => name,
        }
    }

    /// The place in which an edit of the target acts.
    pub fn place(&self) -> EditPlace {
        match self {
            Target::Weight(_, place) => *place,
            Target::Node(_) => EditPlace::Activation,
        }
    }

    /// The layer of the target. `None` when it is outside the layers.
    pub fn layer(&self, tensors: &[TensorId]) -> Option<u32> {
        match self {
            Target::Weight(index, _) => tensors[*index].layer(),
            Target::Node(name) => layer_of_node(name),
        }
    }
}

impl Part {
    /// Finds a matrix in one of its uses. It may be named by the role that it plays or by its own name.
    fn one_use(&self, used_as: WeightUse, tensors: &[TensorId]) -> Result<(usize, EditPlace), SelectorError> {
        let tied = is_tied(tensors);
        let no_match = |hint: &str| self.no_match(tensors, hint.into());
        let find = |name: &str| tensors.iter().position(|tensor| tensor.name == name);
        if !self.layers.is_empty() {
            return Err(no_match("the token embedding and the head are in no layer"));
        }
        let place = match used_as {
            WeightUse::Lookup => EditPlace::Lookup,
            WeightUse::Head => EditPlace::Head,
        };
        match (self.what.text(), used_as) {
            ("token_embd" | TOKEN_EMBD, _) if tied => {}
            // In a tied model the token embedding is also the head.
            ("output" | OUTPUT, WeightUse::Head) if tied => {}
            ("token_embd" | TOKEN_EMBD, WeightUse::Lookup) => {
                let index = find(TOKEN_EMBD).ok_or_else(|| no_match("this model has no token embedding"))?;
                return Ok((index, EditPlace::Weight));
            }
            ("output" | OUTPUT, WeightUse::Head) => {
                let index = find(OUTPUT).ok_or_else(|| no_match("this model has no output head"))?;
                return Ok((index, EditPlace::Weight));
            }
            ("token_embd" | TOKEN_EMBD, WeightUse::Head) => {
                return Err(no_match("this model's head has a matrix of its own: output[use=head]"));
            }
            _ => {
                return Err(no_match(
                    "a use can be chosen of the token embedding: token_embd[use=lookup], output[use=head]",
                ));
            }
        }
        let index = find(TOKEN_EMBD).ok_or_else(|| no_match("this model has no token embedding"))?;
        Ok((index, place))
    }

    fn nodes(&self, tensors: &[TensorId]) -> Result<Vec<String>, SelectorError> {
        let role = match &self.what {
            What::Activation(role) => *role,
            // A single node, by the engine's own name.
            What::Name(name) if self.layers.is_empty() => return Ok(vec![name.clone()]),
            What::Name(_) => return Err(self.no_match(tensors, "one node needs no choice of layers".into())),
            other => ActivationRole::named(other.text()).ok_or_else(|| {
                let names: Vec<&str> = ActivationRole::all().map(ActivationRole::name).collect();
                self.no_match(
                    tensors,
                    format!("activations have the roles {}; or name one node, as Kcur-3", names.join(", ")),
                )
            })?,
        };
        let found = role.nodes(tensors);
        if found.is_empty() {
            return Err(self.no_match(tensors, format!("no layer of this model has {}", role.meaning())));
        }
        let n_layer = n_layer(tensors);
        let sets = self.layers.iter().map(|set| set.resolve(n_layer)).collect::<Result<Vec<_>, _>>()?;
        let is_in = |layer: Option<u32>| {
            sets.iter().all(|ranges| layer.is_some_and(|layer| ranges.iter().any(|&(a, b)| (a..=b).contains(&layer))))
        };
        let kept: Vec<String> = found.into_iter().filter(|(layer, _)| is_in(*layer)).map(|(_, name)| name).collect();
        if kept.is_empty() {
            return Err(self.no_match(tensors, format!("{} is in other layers", self.what)));
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::tests::told;
    use words::{Advice, Hint};

    fn model(untied: bool) -> Vec<TensorId> {
        let mut names = vec!["token_embd.weight".to_string()];
        for layer in 0..3 {
            names.extend(["attn_k", "attn_v", "ffn_norm"].map(|stem| format!("blk.{layer}.{stem}.weight")));
        }
        names.extend(untied.then(|| "output.weight".to_string()));
        names.into_iter().map(|name| TensorId { name, ty: "f16".into(), ne: vec![8, 8] }).collect()
    }

    fn targets(selector: &str, untied: bool) -> Result<Vec<Target>, SelectorError> {
        Ok(selector.parse::<Selector>()?.targets(&model(untied))?.targets)
    }

    #[test]
    fn a_shared_matrix_is_chosen_in_one_use_or_as_a_whole() {
        use Target::Weight;
        for (selector, expected) in [
            ("token_embd[use=lookup]", vec![Weight(0, EditPlace::Lookup)]),
            ("token_embd[use=head]", vec![Weight(0, EditPlace::Head)]),
            ("output[use=head]", vec![Weight(0, EditPlace::Head)]),
            ("token_embd[use=lookup],output[use=head]", vec![Weight(0, EditPlace::Weight)]),
            ("token_embd,token_embd[use=head]", vec![Weight(0, EditPlace::Weight)]),
        ] {
            assert_eq!(targets(selector, false).expect(selector), expected, "{selector}");
        }
    }

    #[test]
    fn an_own_head_is_the_use_of_its_own_matrix() {
        use Target::Weight;
        assert_eq!(targets("token_embd[use=lookup]", true).expect("there"), [Weight(0, EditPlace::Weight)]);
        assert_eq!(targets("output[use=head]", true).expect("there"), [Weight(10, EditPlace::Weight)]);
        let error = targets("token_embd[use=head]", true).expect_err("it is no head");
        assert!(
            told(&error).contains("\nhint: this model's head has a matrix of its own: output[use=head]"),
            "{error}"
        );
        assert!(targets("ffn_norm[use=head]", true).is_err() && targets("output[use=lookup]", true).is_err());
    }

    #[test]
    fn activations_are_nodes_of_the_layers_asked_for() {
        let node = |name: &str| Target::Node(name.into());
        for (selector, expected) in [
            ("ffn_norm[where=activation,layers=0,2]", vec![node("ffn_norm-0"), node("ffn_norm-2")]),
            ("kv[layers=-1]", vec![node("cache_k_l2"), node("cache_v_l2")]),
            ("residual[where=activation][layers=1]", vec![node("l_out-1")]),
            ("Kcur-1[where=activation]", vec![node("Kcur-1")]),
            ("attn_k[layers=1],residual[layers=1]", vec![Target::Weight(4, EditPlace::Weight), node("l_out-1")]),
        ] {
            assert_eq!(targets(selector, false).expect(selector), expected, "{selector}");
        }
        let error = |selector: &str| told(&targets(selector, false).expect_err(selector));
        assert!(error("norms[where=activation]").contains("activations have the roles attn_norm"));
        assert!(error("attn_q[where=activation]").contains("no layer of this model has queries"));
        assert!(error("kv[layers=9]").contains("3 layers"));
    }

    #[test]
    fn layers_narrow_nothing_that_is_in_no_layer_or_is_one_node() {
        let error = |selector: &str| told(&targets(selector, false).expect_err(selector));
        assert!(error("token_embd[use=lookup][layers=0]").contains("in no layer"));
        assert!(error("output[use=head][layers=-1]").contains("in no layer"));
        assert!(error("ffn_norm,Kcur-1[where=activation][layers=0]").contains("needs no choice of layers"));
    }

    #[test]
    fn what_is_no_weight_is_no_tensor_of_a_file() {
        for selector in ["kv", "ffn_norm[where=activation]", "token_embd[use=lookup]"] {
            let error = selector.parse::<Selector>().expect("parses").select(&model(false)).expect_err(selector);
            assert_eq!(error.hint(), Some(Hint::MeasureInModel), "{error}");
        }
    }
}
