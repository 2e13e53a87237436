//! A tensor as selectors see it: its name taken apart, its stored type and its extents.
//!
//! Names follow llama.cpp's `LLM_TENSOR_NAMES`: `blk.{i}.{stem}.weight` for a layer's tensors, `{stem}.weight`
//! for the others, `v. a. mm.` in front of vision, audio and projector tensors.

use gguf::TensorInfo;

/// A tensor as a selector sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorId {
    /// GGUF tensor name.
    pub name: String,
    /// Stored ggml type in upstream spelling (`q4_K`).
    pub ty: String,
    /// Extents, `ne[0]` contiguous.
    pub ne: Vec<u64>,
}

impl From<&TensorInfo> for TensorId {
    fn from(tensor: &TensorInfo) -> Self {
        TensorId { name: tensor.name.clone(), ty: tensor.ty.name().to_owned(), ne: tensor.shape().to_vec() }
    }
}

impl TensorId {
    /// The layer in `blk.{i}.` or `v.blk.{i}.`, where the name has one.
    pub fn layer(&self) -> Option<u32> {
        NameParts::of(&self.name).layer
    }

    /// What the tensor is for: its name without layer and `.weight`; biases and other families keep what tells them apart.
    pub fn role(&self) -> String {
        let NameParts { family, stem, suffix, .. } = NameParts::of(&self.name);
        let suffix = if suffix == "weight" { "" } else { suffix };
        [family, stem, suffix].into_iter().filter(|part| !part.is_empty()).collect::<Vec<&str>>().join(".")
    }

    /// Integer types hold indices, and nothing in ggml multiplies with f64: no scheme applies to them.
    pub fn holds_no_weights(&self) -> bool {
        matches!(self.ty.to_ascii_lowercase().as_str(), "i8" | "i16" | "i32" | "i64" | "f64")
    }

    /// More than one row.
    pub(crate) fn is_matrix(&self) -> bool {
        self.ne.iter().skip(1).any(|&extent| extent > 1)
    }
}

/// A tensor name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameParts<'a> {
    /// `v`, `a`, `mm`, or empty for the language model.
    pub family: &'a str,
    /// Layer, where the name has one.
    pub layer: Option<u32>,
    /// What is left without family, layer and suffix: `attn_q`.
    pub stem: &'a str,
    /// `weight`, `bias`, or empty.
    pub suffix: &'a str,
}

impl<'a> NameParts<'a> {
    pub(crate) fn of(name: &'a str) -> Self {
        let (family, rest) = match name.split_once('.') {
            Some((family @ ("v" | "a" | "mm"), rest)) => (family, rest),
            _ => ("", name),
        };
        let (layer, rest) = rest
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(layer, rest)| Some((layer.parse().ok()?, rest)))
            .map_or((None, rest), |(layer, rest)| (Some(layer), rest));
        let (stem, suffix) = match rest.rsplit_once('.') {
            Some((stem, suffix @ ("weight" | "bias"))) => (stem, suffix),
            _ => (rest, ""),
        };
        NameParts { family, layer, stem, suffix }
    }
}
