//! The answer of `assay quantize`.

use super::float;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`QuantizeAnswer`].
pub const QUANTIZE_FORMAT: u32 = 5;

/// The file that was written, and how its values differ from the input's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantizeAnswer {
    /// The version of this document.
    #[schemars(extend("const" = QUANTIZE_FORMAT))]
    pub format: u32,
    /// The file name of the model that was read, without its folder.
    pub input: String,
    /// The file name that was asked for, without its folder.
    pub output: String,
    /// The schemes that were applied, each as `SELECTOR=SCHEME`.
    pub apply: Vec<String>,
    /// The rules of the file of tensor types that was given, each as `PATTERN=TYPE`; empty without one.
    pub tensor_types: Vec<String>,
    /// The ggml type that stores the matrices that no other rule names; `null` where they stay as they are.
    pub base: Option<String>,
    /// The type that stores the values: `keep` for the tensor's own, `own` for that of each scheme, or a ggml type.
    pub carrier: String,
    /// Whether the output equals the input byte for byte.
    pub verbatim: bool,
    /// One entry for each target tensor, in file order.
    pub changed: Vec<QuantizedTensor>,
    /// The tensors that a rule names and that stay as they are, because llama.cpp's quantizer never touches them.
    pub kept: Vec<KeptTensor>,
    /// The names of tensors of integers or f64, to which no scheme applies.
    pub skipped: Vec<String>,
    /// The rules that are applied to no tensor, because others are applied to all of theirs, or they match none.
    pub without_effect: Vec<String>,
    /// The names of tensors that are quantized without importances, because the importance matrix has no entry for them.
    pub without_importance: Vec<String>,
    /// The size of all tensors of the input.
    pub size_before: TensorsSize,
    /// The size of all tensors of the output.
    pub size_after: TensorsSize,
    /// Whether the engine opened the finished output; a file that it refuses does not get its name.
    pub checked: bool,
    /// Why the engine did not open the output; `null` where it did.
    pub unchecked: Option<String>,
    /// The files that were written, in order: one, or the shards of a split model.
    pub out: Vec<WrittenFile>,
    /// The size of the first file in bytes. A split model is opened by its first file.
    pub out_bytes: u64,
    /// The SHA-256 of the first file, in hexadecimal.
    pub out_sha256: String,
}

/// What happened to one target tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantizedTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The rule that the tensor got: an application, a rule of a file, or `base TYPE`.
    pub rule: String,
    /// The ggml type in the input.
    pub type_source: String,
    /// The ggml type that was asked for.
    pub type_requested: String,
    /// The ggml type in the output.
    pub type_realised: String,
    /// The scheme that was asked for.
    pub scheme_requested: String,
    /// The scheme that was applied.
    pub scheme_realised: String,
    /// The tensor with the factors of this weight, such as `blk.0.attn_q.scale`, if they were multiplied in: the output
    /// does not have it. `null` where the input has none or the output keeps it.
    #[serde(default)]
    pub folded: Option<String>,
    /// Whether the type or the scheme differs from the one that was asked for.
    pub fallback: bool,
    /// The number of values that became another value; zero is zero in either sign.
    pub changed: u64,
    /// The number of values in the tensor.
    pub n: u64,
    /// The number of values that went from −0 to +0, which does not change the value.
    pub zero_sign: u64,
    /// The number of values that went from +0 to −0, which does not change the value.
    pub minus_zero: u64,
    /// The number of nonzero values that became zero.
    pub zeroed: u64,
    /// The number of zeros that became nonzero.
    pub unzeroed: u64,
    /// The number of finite values that became infinite or NaN.
    pub overflowed: u64,
    /// The number of values that the carrier could not store as the scheme left them.
    pub carrier_rounded: u64,
    /// Whether the carrier rounded values that the scheme had rounded already.
    pub rounded_twice: bool,
    /// The largest absolute error.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub max_abs: f64,
    /// The root mean square error.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub rmse: f64,
    /// `rmse` over the root mean square of the input's values.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub rel_rmse: f64,
    /// 10·log10(Σ value² / Σ error²) in dB; infinite where there is no error.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub sqnr_db: f64,
}

/// A tensor that stays as it is although a rule names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The ggml type in both files.
    #[serde(rename = "type")]
    pub ty: String,
    /// The ggml type in which the rule would have stored it.
    pub type_requested: String,
    /// The rule that names it.
    pub rule: String,
}

/// The size of all tensors of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TensorsSize {
    /// The number of bytes that the tensors take, without header and padding.
    pub bytes: u64,
    /// The number of values.
    pub n: u64,
    /// The number of bits that a value takes on average.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub bpw: f64,
    /// The same by ggml type, the type with most bytes first.
    pub types: Vec<TypeSize>,
}

/// The size of all tensors of one ggml type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeSize {
    /// The ggml type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of values.
    pub n: u64,
    /// The number of bytes that the tensors take.
    pub bytes: u64,
}

/// One file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenFile {
    /// The file name without its folder.
    pub name: String,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
}
