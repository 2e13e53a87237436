//! The answer of `assay diff`.

use super::float;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`DiffAnswer`].
pub const DIFF_FORMAT: u32 = 5;

/// Two files compared, metadata key by key and tensors value by value; the first is the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiffAnswer {
    /// The version of this document.
    #[schemars(extend("const" = DIFF_FORMAT))]
    pub format: u32,
    /// The file name of the reference without its folder.
    pub a: String,
    /// The file name of the other file without its folder.
    pub b: String,
    /// Whether both have the same tensors with the same values, and the same metadata apart from labels. A metadata key of
    /// unknown effect counts as one that changes something.
    pub same: bool,
    /// Whether both have the same tensors with the same values, whatever their metadata.
    pub same_tensors: bool,
    /// The metadata keys whose values differ, in the order of the first file; keys that only the second file has come last.
    /// Left out are the keys that say how the file is laid out: its alignment and its shards.
    pub metadata: Vec<MetadataDifference>,
    /// The tensors of both files, in the order of the first.
    pub tensors: Vec<TensorDifference>,
    /// The names of tensors that only the first file has.
    pub only_a: Vec<String>,
    /// The names of tensors that only the second file has.
    pub only_b: Vec<String>,
    /// Tensors of both files that differ in their number of rows. Their common rows are compared; sums over roles and layers
    /// leave them out.
    pub padded: Vec<PaddedTensor>,
    /// Tensors of both files that cannot be compared value by value.
    pub incomparable: Vec<IncomparableTensor>,
    /// The tensors that the first file has twice.
    pub copies_a: Vec<TensorCopy>,
    /// The tensors that the second file has twice.
    pub copies_b: Vec<TensorCopy>,
    /// The tensors by role; each is in one group.
    pub roles: Vec<GroupDifference>,
    /// The tensors by layer; those outside the layers come last.
    pub layers: Vec<GroupDifference>,
    /// All tensors together; `null` where none was compared.
    pub total: Option<GroupDifference>,
}

/// What another value of a metadata key changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetadataEffect {
    /// The numbers that the model computes, as the head count or the base frequency of RoPE do.
    Numbers,
    /// The text that goes in or comes out, as the tokenizer and the chat template do.
    Text,
    /// Only a label, such as the name of the model.
    Label,
    /// The key is not one that assay knows.
    Unknown,
}

/// A metadata key whose values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataDifference {
    /// The name of the key.
    pub key: String,
    /// What another value of the key changes.
    pub effect: MetadataEffect,
    /// What the value is, in plain words; `null` for a key of unknown effect.
    pub meaning: Option<String>,
    /// The index of the first entry of an array, or of the first byte of a text, that differs or that one of the two lacks;
    /// `null` unless both are arrays or both are texts.
    pub first_difference: Option<u64>,
    /// The value in the first file; `null` where it does not have the key.
    pub a: Option<MetadataSide>,
    /// The value in the second file; `null` where it does not have the key.
    pub b: Option<MetadataSide>,
}

/// The value of a metadata key in one file, so far as it explains a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataSide {
    /// The type of the value, such as `u32`, `str` or `arr[f32]`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The number of entries of an array, or of bytes of a text; `null` for a number.
    pub n: Option<u64>,
    /// The value as text: of an array the entry of the first difference, of a long text a piece around it; `null` where an
    /// array has ended.
    pub value: Option<String>,
    /// The SHA-256 of a text that is not shown whole; `null` for other values.
    pub sha256: Option<String>,
}

/// One tensor that both files have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TensorDifference {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The ggml type in the first file.
    pub type_a: String,
    /// The ggml type in the second file.
    pub type_b: String,
    /// The tensor with the factors by which the weight is multiplied before it is compared; `null` where neither file
    /// has one.
    #[serde(default)]
    pub factors: Option<WeightFactors>,
    /// How far apart the values of the two files are.
    #[serde(flatten)]
    pub difference: ValueDifference,
    /// What the values of the second file are of those of the first; `null` where they are the same or no relation shows.
    pub relation: Option<TensorRelation>,
}

/// What the values of a tensor are of those of the other file, where they differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TensorRelation {
    /// Every value has the opposite sign.
    OppositeSign,
    /// Every value is the other one times a factor, within what the two stored types round.
    Factor {
        /// The number that turns a value of the first file into that of the second.
        #[serde(with = "float")]
        #[schemars(with = "float::Float")]
        factor: f64,
        /// The relative root mean square error that is left, which the two types leave.
        #[serde(with = "float")]
        #[schemars(with = "float::Float")]
        rel_rmse: f64,
    },
    /// The matrix, or each matrix of several, is the transpose.
    Transposed {
        /// The relative root mean square error against the transpose: 0 where all values are equal, more where the types
        /// round.
        #[serde(with = "float")]
        #[schemars(with = "float::Float")]
        rel_rmse: f64,
    },
    /// The rows are the same, in another order.
    RowsPermuted {
        /// The relative root mean square error against the rows in that order: 0 where all values are equal, more where
        /// the types round.
        #[serde(with = "float")]
        #[schemars(with = "float::Float")]
        rel_rmse: f64,
    },
    /// The tensor is one that the first file has under another name, as where layers were exchanged.
    TensorOfA {
        /// The GGUF name of that tensor in the first file.
        name: String,
        /// The relative root mean square error against that tensor: 0 where all values are equal, more where the types
        /// round.
        #[serde(with = "float")]
        #[schemars(with = "float::Float")]
        rel_rmse: f64,
    },
}

/// A tensor of which one file has more rows than the other, as where a vocabulary was padded. Its common rows are
/// compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaddedTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The number of rows in the first file.
    pub rows_a: u64,
    /// The number of rows in the second file.
    pub rows_b: u64,
    /// What the rows are that only one file has.
    pub extra: ExtraRows,
    /// How far apart the values of the common rows are.
    #[serde(flatten)]
    pub difference: ValueDifference,
}

/// What the rows are that only one of two tensors has, at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExtraRows {
    /// Every value is zero.
    Zeros,
    /// All these rows are equal.
    OneRowRepeated,
    /// The rows have values of their own.
    OtherValues,
}

/// A tensor with the factors of a weight, such as `blk.0.attn_q.scale`. It is part of the weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WeightFactors {
    /// The GGUF name of the tensor.
    pub name: String,
    /// Whether the first file has it.
    pub in_a: bool,
    /// Whether the second file has it.
    pub in_b: bool,
}

/// Several tensors compared together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupDifference {
    /// The role, or the layer as in `blk.3`.
    pub name: String,
    /// The number of tensors in the group.
    pub n_tensors: usize,
    /// How far apart the values of the two files are.
    #[serde(flatten)]
    pub difference: ValueDifference,
}

/// A tensor of both files that cannot be compared value by value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncomparableTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The type and the extents in the first file.
    pub a: String,
    /// The type and the extents in the second file.
    pub b: String,
    /// Why the tensors cannot be compared value by value.
    pub why: String,
    /// What the values of the second file are of those of the first: the transpose, if anything; `null` where no relation
    /// shows.
    #[serde(default)]
    pub relation: Option<TensorRelation>,
}

/// How far apart the values of two tensors are. The errors leave out pairs in which a value is infinite or NaN. They
/// are NaN where no pair remains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValueDifference {
    /// The number of pairs of values.
    pub n: u64,
    /// The number of values that are another value in the second file; zero is zero in either sign.
    pub changed: u64,
    /// The number of values that are −0 in the first file and +0 in the second, which is the same value.
    pub zero_sign: u64,
    /// The number of values that are +0 in the first file and −0 in the second, which is the same value.
    pub minus_zero: u64,
    /// The number of nonzero values that are zero in the second file.
    pub zeroed: u64,
    /// The number of zeros that are nonzero in the second file.
    pub unzeroed: u64,
    /// The number of nonzero values that are nonzero of the other sign in the second file.
    pub sign_flipped: u64,
    /// The number of finite values that are infinite or NaN in the second file.
    pub overflowed: u64,
    /// The number of pairs in which a value is infinite or NaN.
    pub nonfinite: u64,
    /// The largest absolute error.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub max_abs: f64,
    /// The mean absolute error.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub mean_abs: f64,
    /// The root mean square error.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub rmse: f64,
    /// `rmse` over the root mean square of the first file's values.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub rel_rmse: f64,
    /// 10·log10(Σ reference² / Σ error²) in dB; infinite where there is no error.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub sqnr_db: f64,
    /// The cosine of the angle between the two tensors. It is 1 where both are zero and 0 where only one is.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub cosine: f64,
    /// The largest number of steps between neighbouring F32 values; −0 and +0 are one value.
    pub max_ulp: u32,
}

/// Two tensors of one file that are one matrix, such as a tied embedding that was written a second time as the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TensorCopy {
    /// The name of the first of the two in the file.
    pub a: String,
    /// The name of the other.
    pub b: String,
    /// The ggml type in which the first is stored.
    pub type_a: String,
    /// The ggml type in which the other is stored. Where it is the same type, the two have the same bytes.
    pub type_b: String,
    /// The relative root mean square error of the other against the first; 0 where they have the same values.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub rel_rmse: f64,
}
