//! The answer of `assay inspect`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of [`InspectAnswer`].
pub const INSPECT_FORMAT: u32 = 3;

/// What a GGUF file contains.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InspectAnswer {
    /// The version of this document.
    #[schemars(extend("const" = INSPECT_FORMAT))]
    pub format: u32,
    /// The file name without its folder.
    pub file: String,
    /// What the file is, as a sentence, if it is not a language model; `null` for language models.
    pub kind: Option<String>,
    /// What `general.file_type` says, and whether the tensors bear it out; `null` where the file does not state it.
    pub file_type: Option<StatedFileType>,
    /// The size of all shards together, in bytes.
    pub file_bytes: u64,
    /// The version of the GGUF container.
    pub version: u32,
    /// The byte order, `little` or `big`.
    pub endian: String,
    /// The alignment of tensor data in bytes.
    pub alignment: u32,
    /// The offset of the first byte of tensor data in the first shard.
    pub data_offset: u64,
    /// The number of files that the model is split into.
    pub shards: usize,
    /// The number of metadata keys.
    pub n_metadata: usize,
    /// The number of tensors.
    pub n_tensors: usize,
    /// The number of values of all tensors together.
    pub n_values: u64,
    /// The stored types, ordered by bytes, largest first.
    pub types: Vec<StoredType>,
    /// The metadata in file order.
    pub metadata: Vec<MetadataEntry>,
    /// The tensors in file order.
    pub tensors: Vec<InspectedTensor>,
    /// The tensors of types that the pinned ggml does not know, in file order. They are not among `tensors`.
    pub foreign: Vec<InspectedForeignTensor>,
    /// The names of the tensors that are too long for ggml, so that llama.cpp cannot load the file.
    pub long_names: Vec<String>,
}

/// One tensor of a type that the pinned ggml does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InspectedForeignTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The id of the type in the file.
    pub type_id: u32,
    /// The name that a fork of llama.cpp gives to the type, and the fork, as `NAME of FORK`; `null` if none is known.
    pub fork_type: Option<String>,
    /// The extents; `ne[0]` is the contiguous dimension.
    pub ne: Vec<u64>,
    /// The offset of the first byte from the start of the data section of its shard.
    pub offset: u64,
    /// The number of the shard, counted from 0.
    pub shard: usize,
}

/// The file type that a file states in its metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatedFileType {
    /// The value of `general.file_type`; `null` where it is not a number from 0.
    pub value: Option<u64>,
    /// The name in llama-quantize, such as `Q4_K_M`; `null` for values that llama.cpp does not know.
    pub name: Option<String>,
    /// What is wrong with it, as a clause: how the tensors contradict it, or that llama.cpp does not know the number or
    /// cannot read it; `null` where nothing is.
    pub contradiction: Option<String>,
}

/// The tensors that are stored in one ggml type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredType {
    /// The name of the ggml type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The number of tensors.
    pub n_tensors: usize,
    /// The number of values.
    pub n_values: u64,
    /// The number of bytes that these tensors take.
    pub nbytes: u64,
}

/// One key of the metadata.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MetadataEntry {
    /// The name of the key.
    pub key: String,
    /// The type of the value, such as `u32`, `str` or `arr[f32]`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The value. Numbers have the width that they have in the file. Floats that are not finite are the strings `NaN`,
    /// `Infinity` and `-Infinity`. Bytes that are not UTF-8 become U+FFFD.
    #[schemars(with = "serde_json::Value")]
    pub value: Box<RawValue>,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InspectedTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The stored ggml type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The extents; `ne[0]` is the contiguous dimension.
    pub ne: Vec<u64>,
    /// The offset of the first byte from the start of the data section of its shard.
    pub offset: u64,
    /// The number of bytes that the tensor takes.
    pub nbytes: u64,
    /// The number of the shard, counted from 0.
    pub shard: usize,
}
