//! Why a tensor could not be fake-quantized.

use super::part::Together;
use crate::codec::CodecError;
use crate::format::group::RangeOverflow;
use crate::scheme::imatrix::ImatrixError;

/// Why a tensor could not be fake-quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FakeQuantError {
    /// NaN or infinity where the scheme does not keep them.
    #[error(
        "tensor {tensor:?}: value {index} is {value}, wanted finite values\n\
         hint: add :nonfinite=keep to the scheme to leave such values as they are"
    )]
    Nonfinite {
        /// GGUF name.
        tensor: String,
        /// Of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The values are not whole rows.
    #[error("tensor {tensor:?}: {n} values are not whole rows of {n_per_row}")]
    Shape {
        /// GGUF name.
        tensor: String,
        /// Values.
        n: usize,
        /// Extent of a row.
        n_per_row: usize,
    },
    /// A group's span is beyond F32, so an asymmetric scale does not exist.
    #[error(
        "tensor {tensor:?}: the values of a group span {min:e} to {max:e}, and the difference is beyond F32\n\
         hint: use :sym, which has no such limit"
    )]
    RangeOverflow {
        /// GGUF name.
        tensor: String,
        /// Least value of the group.
        min: f32,
        /// Greatest value of the group.
        max: f32,
    },
    /// The importance matrix does not fit.
    #[error("tensor {tensor:?}, importance matrix {file:?}: {source}")]
    Imatrix {
        /// GGUF name.
        tensor: String,
        /// As the scheme names it.
        file: String,
        /// Why.
        source: ImatrixError,
    },
    /// A scheme that is used before what is in its file is known.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} names a file that has not been read\nhint: this is a bug in assay; please report it"
    )]
    FileNotRead {
        /// GGUF name.
        tensor: String,
        /// The scheme.
        scheme: String,
    },
    /// Values that the scheme cannot hold without others.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} cannot be applied to values {start}..{} alone, wanted {wanted}\n\
         hint: this is a bug in assay; please report it",
        start.saturating_add(*n)
    )]
    Part {
        /// GGUF name.
        tensor: String,
        /// The scheme.
        scheme: String,
        /// Place of the first value.
        start: usize,
        /// Values.
        n: usize,
        /// What the scheme can hold.
        wanted: Together,
    },
    /// A scheme that is used before it has seen what it must know of all values.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} needs more passes over the values before it is applied\n\
         hint: this is a bug in assay; please report it"
    )]
    NotSeen {
        /// GGUF name.
        tensor: String,
        /// The scheme.
        scheme: String,
    },
    /// There is no memory for what is to be known of each column.
    #[error(
        "tensor {tensor:?}: not enough memory for the statistics of {n} columns\nhint: free memory, or choose a scheme that works row by row"
    )]
    Memory {
        /// GGUF name.
        tensor: String,
        /// Columns.
        n: usize,
    },
    /// ggml could not hold it.
    #[error("tensor {tensor:?}: {source}")]
    Codec {
        /// GGUF name.
        tensor: String,
        /// Why.
        source: CodecError,
    },
}

pub(crate) fn beyond_f32(RangeOverflow { min, max }: RangeOverflow, tensor: &str) -> FakeQuantError {
    FakeQuantError::RangeOverflow { tensor: tensor.to_owned(), min, max }
}
