//! What an edit of a model is: where it acts, in which scheme, and beside which reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which kernels the model runs through (DESIGN §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// Every quantized or half-precision weight held in F32: the effect of the scheme alone.
    Exact,
    /// The model as shipped, only the targets changed.
    Native,
}

impl Arm {
    /// As typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Arm::Exact => "exact",
            Arm::Native => "native",
        }
    }
}

/// The ggml type that holds fake-quantized values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// F32: exact for every scheme.
    #[default]
    F32,
    /// The tensor's own stored type, which may round.
    Keep,
}

/// What of a model an edit acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A weight, wherever the graph uses it.
    #[default]
    Weight,
    /// A weight where its rows are looked up by token, and there only (virtual untying).
    Lookup,
    /// A weight where it is multiplied with hidden states, and there only.
    Head,
    /// The values of a graph node, as they are computed.
    Activation,
}

impl Place {
    fn is_weight(&self) -> bool {
        *self == Place::Weight
    }
}

/// One tensor, or one node of the graph, to be held in one scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// GGUF tensor name, or the engine's name of a graph node (`ffn_norm-7`).
    pub tensor: String,
    /// Scheme in canonical form.
    pub scheme: String,
    /// What holds the result. Activations are F32, and the KV cache rounds to its own type whatever enters it.
    pub carrier: Carrier,
    /// Where it acts.
    #[serde(default, skip_serializing_if = "Place::is_weight")]
    pub place: Place,
}

impl Edit {
    /// A weight held in a scheme, wherever the graph uses it.
    pub fn of_weight(tensor: impl Into<String>, scheme: impl Into<String>, carrier: Carrier) -> Self {
        Edit { tensor: tensor.into(), scheme: scheme.into(), carrier, place: Place::Weight }
    }
}

/// What a group of cells is compared with: the reference's weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Exact: all weights in F32. Native: as stored.
    pub arm: Arm,
    /// What the reference holds as `identity` in F32: the carrier control of the native arm. Empty in the exact arm.
    pub carried: Vec<Carried>,
}

/// A weight that the native arm's reference holds in F32.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Carried {
    /// Wherever it is used: its name.
    Whole(String),
    /// Where it is used in one way; elsewhere it stays as it is stored.
    Use {
        /// GGUF tensor name.
        tensor: String,
        /// `Lookup` or `Head`.
        place: Place,
    },
}

impl Carried {
    /// GGUF tensor name.
    pub fn tensor(&self) -> &str {
        match self {
            Carried::Whole(tensor) | Carried::Use { tensor, .. } => tensor,
        }
    }

    /// Where it is held in F32.
    pub fn place(&self) -> Place {
        match self {
            Carried::Whole(_) => Place::Weight,
            Carried::Use { place, .. } => *place,
        }
    }

    /// Whether what is read in `place` of a tensor is held in F32.
    pub fn covers(&self, tensor: &str, place: Place) -> bool {
        self.tensor() == tensor && (self.place() == Place::Weight || self.place() == place)
    }
}

impl Base {
    /// The native arm's reference for variants that hold weights in F32 in these places, in this order: both uses of a weight
    /// are the whole of it.
    pub fn native<'a>(places: impl IntoIterator<Item = (&'a str, Place)>) -> Base {
        let mut carried: Vec<Carried> = Vec::new();
        for (tensor, place) in places.into_iter().filter(|(_, place)| *place != Place::Activation) {
            let one = match place {
                Place::Lookup | Place::Head => Carried::Use { tensor: tensor.into(), place },
                Place::Weight | Place::Activation => Carried::Whole(tensor.into()),
            };
            match carried.iter_mut().find(|known| known.tensor() == tensor) {
                None => carried.push(one),
                Some(known) if *known == one => {}
                Some(known) => *known = Carried::Whole(tensor.into()),
            }
        }
        Base { arm: Arm::Native, carried }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_reference_carries_the_uses_that_are_edited_and_no_more() {
        let carried = |places: &[(&str, Place)]| Base::native(places.iter().copied()).carried;
        let lookup = Carried::Use { tensor: "token_embd.weight".into(), place: Place::Lookup };
        assert_eq!(carried(&[("token_embd.weight", Place::Lookup)]), std::slice::from_ref(&lookup));
        assert!(lookup.covers("token_embd.weight", Place::Lookup) && !lookup.covers("token_embd.weight", Place::Head));
        let whole = Carried::Whole("token_embd.weight".into());
        assert_eq!(
            carried(&[("token_embd.weight", Place::Lookup), ("token_embd.weight", Place::Head)]),
            std::slice::from_ref(&whole)
        );
        assert!(whole.covers("token_embd.weight", Place::Head));
        assert_eq!(carried(&[("l_out-1", Place::Activation), ("a", Place::Weight), ("a", Place::Weight)]).len(), 1);
        // A whole weight is its name alone, as keys of cells have had it.
        assert_eq!(serde_json::to_string(&whole).expect("prints"), "\"token_embd.weight\"");
        let printed = serde_json::to_string(&lookup).expect("prints");
        assert_eq!(serde_json::from_str::<Carried>(&printed).expect("parses"), lookup);
    }
}
