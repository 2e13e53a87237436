//! The answer of `assay census`.

use super::{SchemeFallback, TensorCopy, float};
use crate::Predicted;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use words::Hint;

/// The version of [`CensusAnswer`].
pub const CENSUS_FORMAT: u32 = 4;

/// What the values of a file's tensors say about their precision and origin, and what schemes would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CensusAnswer {
    /// The version of this document.
    #[schemars(extend("const" = CENSUS_FORMAT))]
    pub format: u32,
    /// The file name of the model without its folder.
    pub file: String,
    /// The selector of the tensors.
    pub target: String,
    /// The number of tensors that were looked at.
    pub n_tensors: usize,
    /// One entry for each tensor, in file order.
    pub tensors: Vec<CensusTensor>,
    /// What each scheme that was asked for would change.
    pub predictions: Vec<CensusPrediction>,
    /// The tensors for which the changes of a scheme other than the requested one are predicted; left out where there are
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<SchemeFallback>,
    /// The names of tensors of integers or f64, to which no scheme applies.
    pub skipped: Vec<String>,
    /// What the tensors say together, in sentences; empty where the summary says it all.
    pub verdict: Vec<String>,
    /// One line for each role that the tensors have.
    pub summary: Vec<String>,
    /// The tensors that the file has twice, whatever the target.
    pub copies: Vec<TensorCopy>,
    /// Norms that need F16 where all other floats of the target are BF16; `null` where this does not show.
    pub rescaled_norms: Option<RescaledNorms>,
}

/// Norms that are F16 values and mostly not BF16 values, beside float tensors that are all BF16. They do not have one
/// source precision; activation-aware scaling (AWQ) leaves this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RescaledNorms {
    /// The number of such norms.
    pub norms: u64,
    /// The number of their finite values.
    pub values: u64,
    /// The number of these values that are not BF16 values.
    pub off_bf16: u64,
    /// The number of other float tensors whose precision shows, all of which are BF16.
    pub others: u64,
    /// The bits of luck that it would take for the values of the others to be BF16 values if all had been rounded to F16
    /// alone.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub evidence_bits: f64,
}

/// One tensor of a census.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CensusTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The stored ggml type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The number of values.
    pub n: u64,
    /// The precision of the values, such as `BF16` or `1.0 + BF16`.
    pub effective: String,
    /// What a converter did to the values: the constant that it added, such as 1.0, or `"-exp"`.
    pub transform: Option<CensusTransform>,
    /// The float format under the transform; `null` where the values do not decide.
    pub grid: Option<String>,
    /// The number of values in the precision of `effective`.
    pub on_grid: Option<u64>,
    /// The evidence in bits that the values have the precision of `effective`.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub evidence_bits: f64,
    /// How many values were looked at.
    pub coverage: CensusCoverage,
    /// The number of infinite values and NaN; `null` where the values were not looked at.
    pub nonfinite: Option<u64>,
    /// These findings in words.
    pub note: String,
    /// Questions about the origin that the values leave open, each with the reason.
    pub not_decidable: Vec<String>,
    /// The grid of blocks that the values lie on, if the search found one.
    pub blocks: CensusBlocks,
    /// Whether BF16 weights could give the scales of this quantized tensor; `null` where the scales cannot tell.
    pub under_bf16: Option<bool>,
    /// The tensor with the factors of this weight, such as `blk.0.attn_q.scale`; `null` where it has none. How the values
    /// are spread and what schemes would change is said of the products; precision and grids are those of the stored
    /// values, because a factor moves a grid and leaves it one.
    #[serde(default)]
    pub factors: Option<String>,
    /// How the values are spread; `null` where no value is finite, none was looked at, or the weight has wrong factors.
    pub distribution: Option<CensusSpread>,
    /// The rows that are coarser than the tensor, in words; `null` where there are none.
    pub row_note: Option<String>,
    /// What each scheme would change, in the order asked for; schemes that do not fit the tensor are left out.
    pub predicted: Vec<TensorPrediction>,
}

/// What a converter did to the values of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CensusTransform {
    /// The converter added this constant.
    Plus(f32),
    /// The converter applied a function; `-exp` negates the exponential.
    Function(String),
}

/// How many values of a tensor were looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CensusCoverage {
    /// The number of values that were looked at.
    pub n: u64,
    /// Whether `n` is the number of all values of the tensor.
    pub exact: bool,
}

/// What a search for a grid of blocks found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CensusBlocks {
    /// The grid in words, such as `Q4_1-like`, `none found` or `not decidable`.
    pub grid: String,
    /// The kind of grid; `null`, like every field below that can be, where no grid was found.
    pub family: Option<String>,
    /// The number of bits that name a level; `null` also where not all values lie on the grid.
    pub bits: Option<f64>,
    /// The share of the sampled blocks that lie on the grid; `null` unless the others lie on no grid.
    pub share: Option<f64>,
    /// Whether the levels of an integer lattice are counted from zero, not from the least value of each block.
    pub symmetric: Option<bool>,
    /// The values that share a scale: their number, `"line"` for a whole row or column, or `"tensor"`.
    pub block: Option<CensusBlock>,
    /// The direction in which the values of a block follow one another, `"row"` or `"column"`.
    pub axis: Option<String>,
    /// What the scales are: `"power of two"`, `"E4M3"`, `"BF16"`, `"F16"` or `"any"`.
    pub scales: Option<String>,
    /// Whether the scales within 256 values are themselves multiples of one number.
    pub super_blocks: Option<bool>,
    /// The evidence for the grid in bits.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub evidence_bits: f64,
    /// The number of values that went into the search.
    pub sampled: u64,
    /// Whether a coarser lattice shows inside the grid, as in values that were quantized twice.
    pub requantized: bool,
    /// The result of the search in words.
    pub note: String,
    /// Whether the values could have shown a grid.
    pub could_tell: bool,
}

/// The values that share a scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CensusBlock {
    /// This many values that follow one another.
    Values(usize),
    /// All values of a `line` or of the `tensor`.
    All(String),
}

/// How the values of a tensor are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CensusSpread {
    /// The smallest finite value.
    pub min: f32,
    /// The largest finite value.
    pub max: f32,
    /// The largest magnitude.
    pub absmax: f32,
    /// The mean of the finite values.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub mean: f64,
    /// The standard deviation (divided by n).
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub std: f64,
    /// The kurtosis: 3 for a normal distribution, 0 where all values are equal.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub kurtosis: f64,
    /// The share of values more than six standard deviations from the mean.
    #[serde(with = "float")]
    #[schemars(with = "float::Float")]
    pub outlier_share: f64,
    /// The number of zeros, of either sign.
    pub zeros: u64,
    /// Whether all values are the same.
    pub constant: bool,
    /// The number of rows.
    pub rows: u64,
    /// The number of rows that have only zeros.
    pub zero_rows: u64,
    /// The number of rows that are bit for bit equal to an earlier row.
    pub duplicate_rows: u64,
}

/// What a scheme would change in one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TensorPrediction {
    /// The scheme in canonical form.
    pub scheme: String,
    /// The number of values that would become another value; zero is zero in either sign.
    pub changed: u64,
    /// The number of values that would go from −0 to +0, which does not change the value.
    pub zero_sign: u64,
    /// The number of values that would go from +0 to −0, which does not change the value.
    pub minus_zero: u64,
    /// The number of finite values that would become infinite or NaN.
    pub overflowed: u64,
    /// The number of nonzero values that would become zero.
    pub zeroed: u64,
    /// The number of zeros that would become nonzero.
    pub unzeroed: u64,
    /// The number of values beyond the format's largest value that would be clamped to it; `null` where ggml does not say.
    pub saturated: Option<u64>,
    /// Whether the scheme would change nothing.
    pub noop: bool,
}

/// What a scheme would change in the whole target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = with_every_count)]
pub struct CensusPrediction {
    /// The scheme in canonical form.
    pub scheme: String,
    /// The selector of the tensors.
    pub target: String,
    /// The numbers of values that would change, over the tensors that the scheme fits.
    #[serde(flatten)]
    pub counts: Predicted,
    /// Whether nothing would change and no tensor was refused.
    pub noop: bool,
    /// The number of tensors that the scheme fits.
    pub n_tensors: usize,
    /// The same numbers, grouped by the precision or type that the values have.
    pub from: Vec<PredictedFrom>,
    /// The tensors that the scheme does not fit.
    pub refused: Vec<RefusedTensor>,
}

/// What a scheme would change in tensors whose values are of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = with_every_count)]
pub struct PredictedFrom {
    /// The effective precision of float tensors, or the type of quantized ones.
    pub from: String,
    /// The number of such tensors.
    pub n_tensors: usize,
    /// The numbers of values that would change, over these tensors.
    #[serde(flatten)]
    pub counts: Predicted,
}

/// An answer always states every count of [`Predicted`], which old records may lack.
fn with_every_count(schema: &mut Schema) {
    for key in ["minus_zero", "overflowed", "zeroed", "unzeroed", "saturated"] {
        let property = schema.get_mut("properties").and_then(|all| all.get_mut(key)?.as_object_mut());
        property.and_then(|property| property.remove("default"));
    }
    if let Some(required) = schema.get_mut("required").and_then(|keys| keys.as_array_mut()) {
        required.extend(["minus_zero", "overflowed", "zeroed", "unzeroed"].map(Into::into));
    }
}

/// A tensor that a scheme does not fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedTensor {
    /// The GGUF name of the tensor.
    pub name: String,
    /// Why the scheme does not fit the tensor.
    pub why: String,
    /// What the user can do about it; `null` where nothing helps.
    pub hint: Option<String>,
    /// The same advice as a value, for the front to word; JSON does not have it.
    #[serde(skip)]
    pub advice: Option<Hint>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [`Predicted`] refuses unknown fields where a run stores it. Here its keys stand among those of the answer.
    #[test]
    fn predicted_changes_stand_flat_among_the_keys_of_an_answer_and_are_read_back() {
        let counts = Predicted { n: 9, changed: 4, zero_sign: 3, overflowed: 2, zeroed: 1, ..Predicted::default() };
        let from = PredictedFrom { from: "BF16".into(), n_tensors: 2, counts };
        let json = serde_json::to_string(&from).expect("prints");
        let wanted = r#"{"from":"BF16","n_tensors":2,"n":9,"changed":4,"zero_sign":3,"minus_zero":0,"overflowed":2,"zeroed":1,"unzeroed":0,"saturated":null}"#;
        assert_eq!(json, wanted);
        assert_eq!(serde_json::from_str::<PredictedFrom>(&json).expect("reads"), from);
        assert!(serde_json::from_str::<Predicted>(r#"{"n":9,"changed":4,"zero_sign":3,"added":1}"#).is_err());
    }
}
