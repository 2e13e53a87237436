//! Why a file cannot be rewritten.

use crate::pieces::ValuesError;
use gguf::{GgufError, LayoutError, OutputError};
use numerics::{CodecError, FakeQuantError};
use select::ApplyError;
use words::{Advice, Hint};

/// Why a file cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The targets.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Reading.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// A tensor cannot be held in the scheme.
    #[error(transparent)]
    Scheme(#[from] FakeQuantError),
    /// A tensor cannot be stored in the carrier.
    #[error("tensor \"{tensor}\" cannot be stored: {source}")]
    Carrier {
        /// Tensor, escaped.
        tensor: String,
        /// Why.
        source: CodecError,
    },
    /// A type that does not fit, and no leave to take another.
    #[error("tensor \"{tensor}\": {wanted} has blocks of {blck_size} values, which do not divide a row of {n_per_row}")]
    Fallback {
        /// Tensor, escaped.
        tensor: String,
        /// The type that was asked for.
        wanted: &'static str,
        /// Values in one of its blocks.
        blck_size: u64,
        /// Values in a row.
        n_per_row: u64,
        /// What would be taken instead.
        fallback: &'static str,
    },
    /// A norm, bias or scalar in a type that llama.cpp does not compute with.
    #[error(
        "tensor \"{tensor}\" is a vector: found {wanted} to store it in, wanted f32, the only type llama.cpp adds and multiplies with"
    )]
    Vector {
        /// Tensor, escaped.
        tensor: String,
        /// The type that was asked for.
        wanted: &'static str,
    },
    /// A file that is smaller than its largest tensor.
    #[error("tensor \"{tensor}\" does not fit a file of {max} bytes with its header")]
    TooLargeForShard {
        /// Tensor, escaped.
        tensor: String,
        /// The limit.
        max: u64,
    },
    /// More files than a split can have.
    #[error("the model would be {found} files, wanted at most {}", gguf::split::MAX_SHARDS)]
    TooManyShards {
        /// Files.
        found: usize,
    },
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The output.
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
