//! Why a tensor could not be fake-quantized.

use super::part::Together;
use crate::codec::CodecError;
use crate::format::group::RangeOverflow;
use crate::scheme::imatrix::ImatrixError;
use std::fmt;
use words::{Advice, Hint};

/// Why a tensor could not be fake-quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FakeQuantError {
    /// A value is NaN or infinite, and the scheme does not keep such values.
    Nonfinite {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The index in the tensor of the first such value.
        index: usize,
        /// The value that is NaN or infinite.
        value: f32,
    },
    /// The values are not whole rows.
    Shape {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The number of values.
        n: usize,
        /// The number of values of a row.
        n_per_row: usize,
    },
    /// The values of a group span more than F32 can represent, so there is no asymmetric scale for them.
    RangeOverflow {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The least value of the group.
        min: f32,
        /// The greatest value of the group.
        max: f32,
    },
    /// The importance matrix does not fit the tensor.
    Imatrix {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The name of the file in the scheme.
        file: String,
        /// Why the matrix does not fit.
        source: ImatrixError,
    },
    /// The scheme names a file whose contents were not handed over.
    FileNotRead {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The scheme as it is printed.
        scheme: String,
    },
    /// The scheme cannot quantize these values without others.
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
    NotSeen {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The scheme as it is printed.
        scheme: String,
    },
    /// There is not enough memory for the statistics of each column.
    Memory {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The number of columns.
        n: usize,
    },
    /// There is not enough memory for a copy of the values.
    Values {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The number of values.
        n: usize,
    },
    /// The codec could not convert the values.
    Codec {
        /// The GGUF name of the tensor.
        tensor: String,
        /// Why the codec failed.
        source: CodecError,
    },
}

impl fmt::Display for FakeQuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FakeQuantError::Nonfinite { tensor, index, value } => {
                write!(f, "tensor {tensor:?}: value {index} is {value}, wanted finite values")
            }
            FakeQuantError::Shape { tensor, n, n_per_row } => {
                write!(f, "tensor {tensor:?}: {n} values are not whole rows of {n_per_row}")
            }
            FakeQuantError::RangeOverflow { tensor, min, max } => write!(
                f,
                "tensor {tensor:?}: the values of a group span {} to {}, and the difference is beyond F32",
                words::exact_f32(*min),
                words::exact_f32(*max)
            ),
            FakeQuantError::Imatrix { tensor, file, source } => {
                write!(f, "tensor {tensor:?}, importance matrix {file:?}: {source}")
            }
            FakeQuantError::FileNotRead { tensor, scheme } => {
                write!(f, "tensor {tensor:?}: scheme {scheme:?} names a file that has not been read")
            }
            FakeQuantError::Part { tensor, scheme, start, n, wanted } => {
                let end = start.saturating_add(*n);
                write!(
                    f,
                    "tensor {tensor:?}: scheme {scheme:?} cannot be applied to values {start}..{end} alone, wanted {wanted}"
                )
            }
            FakeQuantError::NotSeen { tensor, scheme } => {
                write!(f, "tensor {tensor:?}: scheme {scheme:?} needs more passes over the values before it is applied")
            }
            FakeQuantError::Memory { tensor, n } => {
                write!(f, "tensor {tensor:?}: not enough memory for the statistics of {n} columns")
            }
            FakeQuantError::Values { tensor, n } => {
                write!(f, "tensor {tensor:?}: not enough memory for a copy of {n} values")
            }
            FakeQuantError::Codec { tensor, source } => write!(f, "tensor {tensor:?}: {source}"),
        }
    }
}

impl Advice for FakeQuantError {
    fn hint(&self) -> Option<Hint> {
        match self {
            FakeQuantError::Nonfinite { .. } => {
                Some(Hint::words("add :nonfinite=keep to the scheme to leave such values as they are"))
            }
            FakeQuantError::Shape { .. } => None,
            FakeQuantError::RangeOverflow { .. } => Some(Hint::words("use :sym, which has no such limit")),
            FakeQuantError::Imatrix { source, .. } => source.hint(),
            FakeQuantError::FileNotRead { .. } | FakeQuantError::Part { .. } | FakeQuantError::NotSeen { .. } => {
                Some(Hint::Bug)
            }
            FakeQuantError::Memory { .. } => Some(Hint::words("free memory, or choose a scheme that works row by row")),
            FakeQuantError::Values { .. } => Some(Hint::words("free memory for a second copy of the tensor")),
            FakeQuantError::Codec { source, .. } => source.hint(),
        }
    }
}

pub(crate) fn beyond_f32(RangeOverflow { min, max }: RangeOverflow, tensor: &str) -> FakeQuantError {
    FakeQuantError::RangeOverflow { tensor: tensor.to_owned(), min, max }
}
