//! A tensor as selectors see it: the parts of its name, its stored type and its extents.
//!
//! Names follow llama.cpp's `LLM_TENSOR_NAMES`: `blk.{i}.{stem}.weight` for the tensors of a layer and `{stem}.weight`
//! for the others. Vision, audio and projector tensors have `v.`, `a.` or `mm.` in front.

use gguf::TensorInfo;

/// A tensor as a selector sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorId {
    /// The name of the tensor in the GGUF file.
    pub name: String,
    /// The stored ggml type, in upstream's spelling (`q4_K`).
    pub ty: String,
    /// The extents; `ne[0]` is the contiguous one.
    pub ne: Vec<u64>,
}

impl From<&TensorInfo> for TensorId {
    fn from(tensor: &TensorInfo) -> Self {
        TensorId { name: tensor.name.clone(), ty: tensor.ty.name().to_owned(), ne: tensor.shape().to_vec() }
    }
}

impl TensorId {
    /// The layer in `blk.{i}.` or `v.blk.{i}.`. `None` when the name has no layer.
    pub fn layer(&self) -> Option<u32> {
        NameParts::of(&self.name).layer
    }

    /// The role of the tensor: its name without layer and `.weight`. Biases and tensors of other families keep the
    /// parts that set them apart.
    pub fn role(&self) -> String {
        let NameParts { family, stem, suffix, .. } = NameParts::of(&self.name);
        let suffix = if suffix == "weight" { "" } else { suffix };
        [family, stem, suffix].into_iter().filter(|part| !part.is_empty()).collect::<Vec<&str>>().join(".")
    }

    /// Whether the tensor is not a weight. Integers are indices, and nothing in ggml multiplies with f64, so no scheme
    /// applies to either.
    pub fn holds_no_weights(&self) -> bool {
        matches!(self.ty.to_ascii_lowercase().as_str(), "i8" | "i16" | "i32" | "i64" | "f64")
    }

    /// Whether the tensor has more than one row.
    pub(crate) fn is_matrix(&self) -> bool {
        self.ne.iter().skip(1).any(|&extent| extent > 1)
    }
}

/// The parts of a tensor's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameParts<'a> {
    /// The family: `v`, `a`, `mm`, or empty for the language model.
    pub family: &'a str,
    /// The layer. `None` when the name has no layer.
    pub layer: Option<u32>,
    /// The name without family, layer and suffix, such as `attn_q`.
    pub stem: &'a str,
    /// The suffix: `weight`, `bias`, or empty.
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
