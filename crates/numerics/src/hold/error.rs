//! Why a tensor could not be fake-quantized.

use super::part::Together;
use crate::codec::CodecError;
use crate::format::group::RangeOverflow;
use crate::scheme::imatrix::ImatrixError;
use std::fmt;

/// Why a tensor could not be fake-quantized. Displays as one line, and a `hint:` line where there is advice.
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
    /// The codec could not convert the values.
    Codec {
        /// The GGUF name of the tensor.
        tensor: String,
        /// Why the codec failed.
        source: CodecError,
    },
}

impl FakeQuantError {
    /// What is wrong, in one line.
    pub fn words(&self) -> String {
        match self {
            FakeQuantError::Nonfinite { tensor, index, value } => {
                format!("tensor {tensor:?}: value {index} is {value}, wanted finite values")
            }
            FakeQuantError::Shape { tensor, n, n_per_row } => {
                format!("tensor {tensor:?}: {n} values are not whole rows of {n_per_row}")
            }
            FakeQuantError::RangeOverflow { tensor, min, max } => format!(
                "tensor {tensor:?}: the values of a group span {min:e} to {max:e}, and the difference is beyond F32"
            ),
            FakeQuantError::Imatrix { tensor, file, source } => {
                format!("tensor {tensor:?}, importance matrix {file:?}: {}", source.words())
            }
            FakeQuantError::FileNotRead { tensor, scheme } => {
                format!("tensor {tensor:?}: scheme {scheme:?} names a file that has not been read")
            }
            FakeQuantError::Part { tensor, scheme, start, n, wanted } => {
                let end = start.saturating_add(*n);
                format!(
                    "tensor {tensor:?}: scheme {scheme:?} cannot be applied to values {start}..{end} alone, wanted {wanted}"
                )
            }
            FakeQuantError::NotSeen { tensor, scheme } => {
                format!("tensor {tensor:?}: scheme {scheme:?} needs more passes over the values before it is applied")
            }
            FakeQuantError::Memory { tensor, n } => {
                format!("tensor {tensor:?}: not enough memory for the statistics of {n} columns")
            }
            FakeQuantError::Codec { tensor, source } => format!("tensor {tensor:?}: {}", source.words()),
        }
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            FakeQuantError::Nonfinite { .. } => "add :nonfinite=keep to the scheme to leave such values as they are",
            FakeQuantError::Shape { .. } => return None,
            FakeQuantError::RangeOverflow { .. } => "use :sym, which has no such limit",
            FakeQuantError::Imatrix { source, .. } => source.hint(),
            FakeQuantError::FileNotRead { .. } | FakeQuantError::Part { .. } | FakeQuantError::NotSeen { .. } => {
                "this is a bug in assay; please report it"
            }
            FakeQuantError::Memory { .. } => "free memory, or choose a scheme that works row by row",
            FakeQuantError::Codec { source, .. } => return source.hint(),
        };
        Some(hint.into())
    }
}

impl fmt::Display for FakeQuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words::with_hint(f, &self.words(), self.hint())
    }
}

pub(crate) fn beyond_f32(RangeOverflow { min, max }: RangeOverflow, tensor: &str) -> FakeQuantError {
    FakeQuantError::RangeOverflow { tensor: tensor.to_owned(), min, max }
}
