//! Why a file cannot be rewritten.

use crate::pieces::ValuesError;
use gguf::{GgufError, LayoutError, OutputError};
use numerics::{CodecError, FakeQuantError};
use select::ApplyError;
use words::{Advice, Hint};

/// Why a file cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The targets cannot be matched to tensors.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The values of a tensor cannot be read.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// A tensor cannot be quantized in the scheme.
    #[error(transparent)]
    Scheme(#[from] FakeQuantError),
    /// A tensor cannot be stored in the carrier.
    #[error("tensor \"{tensor}\" cannot be stored: {source}")]
    Carrier {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The error of the codec.
        source: CodecError,
    },
    /// The type does not fit the tensor, and the request does not allow another type.
    #[error("tensor \"{tensor}\": {wanted} has blocks of {blck_size} values, which do not divide a row of {n_per_row}")]
    Fallback {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The name of the type that was asked for.
        wanted: &'static str,
        /// The number of values in a block of that type.
        blck_size: u64,
        /// The number of values in a row of the tensor.
        n_per_row: u64,
        /// The name of the type that a fallback would use instead.
        fallback: &'static str,
    },
    /// A norm, bias or scalar would be stored in a type that llama.cpp does not compute with.
    #[error(
        "tensor \"{tensor}\" is a vector: found {wanted} to store it in, wanted f32, the only type llama.cpp adds and multiplies with"
    )]
    Vector {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The name of the type that was asked for.
        wanted: &'static str,
    },
    /// The largest file allowed is smaller than the largest tensor.
    #[error("tensor \"{tensor}\" does not fit a file of {max} bytes with its header")]
    TooLargeForShard {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The size of the largest file allowed, in bytes.
        max: u64,
    },
    /// The model would have more files than a split can have.
    #[error("the model would be {found} files, wanted at most {}", gguf::split::MAX_SHARDS)]
    TooManyShards {
        /// The number of files that the model would have.
        found: usize,
    },
    /// The output cannot be laid out.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Advice for RewriteError {
    fn hint(&self) -> Option<Hint> {
        match self {
            RewriteError::Apply(error) => error.hint(),
            RewriteError::Values(error) => error.hint(),
            RewriteError::Scheme(error) => error.hint(),
            RewriteError::Carrier { source, .. } => source.hint(),
            RewriteError::Fallback { fallback, .. } => Some(Hint::AllowFallback { ty: (*fallback).into() }),
            RewriteError::Vector { .. } => Some(Hint::AllowFallback { ty: "f32".into() }),
            RewriteError::TooLargeForShard { .. } | RewriteError::TooManyShards { .. } => Some(Hint::LargerFiles),
            RewriteError::Layout(_) => None,
            RewriteError::Output(error) => error.hint(),
        }
    }
}

impl From<GgufError> for RewriteError {
    fn from(error: GgufError) -> Self {
        RewriteError::Values(error.into())
    }
}
