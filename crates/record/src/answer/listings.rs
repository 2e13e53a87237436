//! The answers of `assay selectors` and `assay schemes`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of [`SelectorsAnswer`].
pub const SELECTORS_FORMAT: u32 = 1;

/// What each role of the selector grammar matches in a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelectorsAnswer {
    /// The version of this document.
    #[schemars(extend("const" = SELECTORS_FORMAT))]
    pub format: u32,
    /// The file name of the model without its folder.
    pub model: String,
    /// The number of tensors in the model.
    pub n_tensors: usize,
    /// The number of layers.
    pub n_layer: u32,
    /// The roles of weights and what each matches.
    pub selectors: Vec<SelectorMatches>,
    /// The roles of activations and what each matches. Only the engine knows whether it names such nodes for this
    /// architecture.
    pub activations: Vec<ActivationMatches>,
    /// Whether the token embedding and the output head are one matrix.
    pub tied: bool,
}

/// What a role of weights matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelectorMatches {
    /// The role as it is typed.
    pub name: String,
    /// What the role stands for.
    pub meaning: String,
    /// The number of tensors that match.
    pub n_tensors: usize,
    /// The number of values of these tensors.
    pub n_values: u64,
    /// The stored types and the number of tensors of each.
    pub types: BTreeMap<String, usize>,
}

/// What a role of activations matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivationMatches {
    /// The role as it is typed.
    pub name: String,
    /// What the role stands for.
    pub meaning: String,
    /// The number of graph nodes that match.
    pub n_nodes: usize,
}

/// The version of [`SchemesAnswer`].
pub const SCHEMES_FORMAT: u32 = 1;

/// The number formats that schemes are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SchemesAnswer {
    /// The version of this document.
    #[schemars(extend("const" = SCHEMES_FORMAT))]
    pub format: u32,
    /// The formats of hardware, standards and controls.
    pub schemes: Vec<SchemeFormat>,
    /// The ggml types that are also schemes.
    pub ggml: Vec<GgmlScheme>,
}

/// A number format of the scheme grammar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SchemeFormat {
    /// The format as it is typed.
    pub name: String,
    /// The family that the format belongs to.
    pub family: String,
    /// The number of bits of a value, in words.
    pub bits: String,
    /// The scheme for which `bits_per_weight` is given, for a tensor of 4096 rows of 4096 values.
    pub example: String,
    /// The number of bits of a value with its share of the scales; `null` where this depends on more than the scheme.
    pub bits_per_weight: Option<f64>,
    /// What the format is made of.
    pub parameters: String,
    /// The granularities at which the format can have scales.
    pub granularity: String,
    /// The options that the format takes.
    pub options: Vec<String>,
    /// How the format rounds.
    pub rounding: String,
    /// What happens to values beyond the largest of the format.
    pub overflow: String,
    /// The document that defines the format.
    pub source: String,
}

/// A ggml type that is also a scheme.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GgmlScheme {
    /// The name of the ggml type.
    pub name: String,
    /// The scheme as it is typed.
    pub scheme: String,
    /// The number of values in a block.
    pub blck_size: usize,
    /// The size of a block in bytes.
    pub type_size: usize,
    /// The number of bits of a value, scales included.
    pub bits_per_weight: f64,
    /// Whether the type takes an importance matrix: `none`, `optional` or `required`.
    pub imatrix: String,
}
