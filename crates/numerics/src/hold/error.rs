//! Why a tensor could not be fake-quantized.

use super::part::Together;
use crate::codec::CodecError;
use crate::format::group::RangeOverflow;
use crate::scheme::imatrix::ImatrixError;

/// Why a tensor could not be fake-quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FakeQuantError {
    /// A value is NaN or infinite, and the scheme does not keep such values.
    #[error(
        "tensor {tensor:?}: value {index} is {value}, wanted finite values\n\
         hint: add :nonfinite=keep to the scheme to leave such values as they are"
    )]
    Nonfinite {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The index in the tensor of the first such value.
        index: usize,
        /// The value that is NaN or infinite.
        value: f32,
    },
    /// The values are not whole rows.
    #[error("tensor {tensor:?}: {n} values are not whole rows of {n_per_row}")]
    Shape {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The number of values.
        n: usize,
        /// The number of values of a row.
        n_per_row: usize,
    },
    /// The values of a group span more than F32 can represent, so there is no asymmetric scale for them.
    #[error(
        "tensor {tensor:?}: the values of a group span {min:e} to {max:e}, and the difference is beyond F32\n\
         hint: use :sym, which has no such limit"
    )]
    RangeOverflow {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The least value of the group.
        min: f32,
        /// The greatest value of the group.
        max: f32,
    },
    /// The importance matrix does not fit the tensor.
    #[error("tensor {tensor:?}, importance matrix {file:?}: {source}")]
    Imatrix {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The name of the file in the scheme.
        file: String,
        /// Why the matrix does not fit.
        source: ImatrixError,
    },
    /// The scheme names a file whose contents were not handed over.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} names a file that has not been read\nhint: this is a bug in assay; please report it"
    )]
    FileNotRead {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The scheme as it is printed.
        scheme: String,
    },
    /// The scheme cannot quantize these values without others.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} cannot be applied to values {start}..{} alone, wanted {wanted}\n\
         hint: this is a bug in assay; please report it",
        start.saturating_add(*n)
    )]
    Part {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The scheme as it is printed.
        scheme: String,
        /// The index in the tensor of the first value.
        start: usize,
        /// The number of values.
        n: usize,
        /// The parts that the scheme can quantize alone.
        wanted: Together,
    },
    /// The scheme needs more passes over the tensor before it can quantize a piece of it.
    #[error(
        "tensor {tensor:?}: scheme {scheme:?} needs more passes over the values before it is applied\n\
         hint: this is a bug in assay; please report it"
    )]
    NotSeen {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The scheme as it is printed.
        scheme: String,
    },
    /// There is not enough memory for the statistics of each column.
    #[error(
        "tensor {tensor:?}: not enough memory for the statistics of {n} columns\nhint: free memory, or choose a scheme that works row by row"
    )]
    Memory {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The number of columns.
        n: usize,
    },
    /// The codec could not convert the values.
    #[error("tensor {tensor:?}: {source}")]
    Codec {
        /// The GGUF name of the tensor.
        tensor: String,
        /// Why the codec failed.
        source: CodecError,
    },
}

pub(crate) fn beyond_f32(RangeOverflow { min, max }: RangeOverflow, tensor: &str) -> FakeQuantError {
    FakeQuantError::RangeOverflow { tensor: tensor.to_owned(), min, max }
}
