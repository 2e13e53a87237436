//! What an edit of a model is: where it acts, with which scheme, and against which reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kernels that the model runs through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// Every quantized or half-precision weight is stored in F32, so that only the scheme has an effect.
    Exact,
    /// The model runs as shipped, with only the targets changed.
    Native,
}

impl Arm {
    /// The arm as typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Arm::Exact => "exact",
            Arm::Native => "native",
        }
    }
}

/// The ggml type that stores fake-quantized values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// The type F32, which is exact for every scheme.
    #[default]
    F32,
    /// The tensor's own stored type, which may round.
    Keep,
}

/// The uses of a tensor on which an edit acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EditPlace {
    /// A weight in every use that the graph makes of it.
    #[default]
    Weight,
    /// A weight only where the graph looks up its rows by token (virtual untying).
    Lookup,
    /// A weight only where the graph multiplies it with hidden states.
    Head,
    /// The values of a graph node, as they are computed.
    Activation,
}

impl EditPlace {
    fn is_weight(&self) -> bool {
        *self == EditPlace::Weight
    }
}

/// One tensor or graph node to be quantized by one scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The GGUF tensor name, or the engine's name of a graph node (`ffn_norm-7`).
    pub tensor: String,
    /// The scheme in canonical form.
    pub scheme: String,
    /// The type that stores the result. Activations are F32, and the KV cache rounds to its own type in any case.
    pub carrier: Carrier,
    /// The uses of the tensor on which the edit acts.
    #[serde(default, skip_serializing_if = "EditPlace::is_weight")]
    pub place: EditPlace,
}

impl Edit {
    /// The edit that quantizes a weight in every use that the graph makes of it.
    pub fn of_weight(tensor: impl Into<String>, scheme: impl Into<String>, carrier: Carrier) -> Self {
        Edit { tensor: tensor.into(), scheme: scheme.into(), carrier, place: EditPlace::Weight }
    }
}

/// The weights of the reference that a group of cells is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The arm of the reference. In the exact arm all weights are in F32; in the native arm they are as stored.
    pub arm: Arm,
    /// The weights that the reference stores unchanged in F32: the carrier control of the native arm. Empty in the
    /// exact arm.
    pub carried: Vec<Carried>,
}

/// A weight that the native arm's reference stores in F32.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Carried {
    /// The name of a weight that is in F32 in every use.
    Whole(String),
    /// A weight that is in F32 in one use; in the other it stays as stored.
    Use {
        /// The GGUF tensor name.
        tensor: String,
        /// The use, `Lookup` or `Head`.
        place: EditPlace,
    },
}

impl Carried {
    /// The GGUF tensor name.
    pub fn tensor(&self) -> &str {
        match self {
            Carried::Whole(tensor) | Carried::Use { tensor, .. } => tensor,
        }
    }

    /// The uses in which the weight is in F32.
    pub fn place(&self) -> EditPlace {
        match self {
            Carried::Whole(_) => EditPlace::Weight,
            Carried::Use { place, .. } => *place,
        }
    }

    /// Whether a use of a tensor reads it in F32.
    pub fn covers(&self, tensor: &str, place: EditPlace) -> bool {
        self.tensor() == tensor && (self.place() == EditPlace::Weight || self.place() == place)
    }
}

impl Base {
    /// The native arm's reference for variants that hold weights in F32 in these places, in this order: both uses of a weight
    /// are the whole of it.
    pub fn native<'a>(places: impl IntoIterator<Item = (&'a str, EditPlace)>) -> Base {
        let mut carried: Vec<Carried> = Vec::new();
        for (tensor, place) in places.into_iter().filter(|(_, place)| *place != EditPlace::Activation) {
            let one = match place {
                EditPlace::Lookup | EditPlace::Head => Carried::Use { tensor: tensor.into(), place },
                EditPlace::Weight | EditPlace::Activation => Carried::Whole(tensor.into()),
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
        let carried = |places: &[(&str, EditPlace)]| Base::native(places.iter().copied()).carried;
        let lookup = Carried::Use { tensor: "token_embd.weight".into(), place: EditPlace::Lookup };
        assert_eq!(carried(&[("token_embd.weight", EditPlace::Lookup)]), std::slice::from_ref(&lookup));
        assert!(
            lookup.covers("token_embd.weight", EditPlace::Lookup)
                && !lookup.covers("token_embd.weight", EditPlace::Head)
        );
        let whole = Carried::Whole("token_embd.weight".into());
        assert_eq!(
            carried(&[("token_embd.weight", EditPlace::Lookup), ("token_embd.weight", EditPlace::Head)]),
            std::slice::from_ref(&whole)
        );
        assert!(whole.covers("token_embd.weight", EditPlace::Head));
        assert_eq!(
            carried(&[("l_out-1", EditPlace::Activation), ("a", EditPlace::Weight), ("a", EditPlace::Weight)]).len(),
            1
        );
        // A whole weight is its name alone, as keys of cells have had it.
        assert_eq!(serde_json::to_string(&whole).expect("prints"), "\"token_embd.weight\"");
        let printed = serde_json::to_string(&lookup).expect("prints");
        assert_eq!(serde_json::from_str::<Carried>(&printed).expect("parses"), lookup);
    }
}
