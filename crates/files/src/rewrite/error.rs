//! Why a file cannot be rewritten.

use crate::pieces::ValuesError;
use gguf::{GgmlType, GgufError, LayoutError, OutputError};
use numerics::{CodecError, FakeQuantError};
use select::ApplyError;
use std::io;
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
        /// The name of the type that llama-quantize would take instead. `None` when it refuses such rows too.
        fallback: Option<&'static str>,
    },
    /// The carrier would round what a scheme has rounded already.
    #[error(
        "tensor \"{tensor}\": {ty} does not store the values of {scheme} exactly (value {index}: {} becomes {}): \
         they would be rounded twice",
        words::exact_f32(*.value), words::exact_f32(*.stored)
    )]
    RoundsTwice {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The scheme that quantizes the tensor.
        scheme: String,
        /// The name of the type that cannot store its values.
        ty: &'static str,
        /// The index of the first value that is rounded again.
        index: u64,
        /// The value as the scheme leaves it.
        value: f32,
        /// The value as the type gives it back.
        stored: f32,
        /// Whether the scheme has a ggml type of its own, which would store the values as they are.
        has_own_type: bool,
    },
    /// The values should be stored in the scheme's own type, but ggml has no such type.
    #[error("tensor \"{tensor}\": {scheme} has no ggml type of its own")]
    NoOwnType {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The scheme that quantizes the tensor.
        scheme: String,
    },
    /// No rule of a file matches a matrix of the model.
    #[error("{file}: {} none of the model's matrices", if *.n == 1 { "its one rule matches".into() } else { format!("its {n} rules match") })]
    NoTypeRule {
        /// The path of the file, escaped for a terminal.
        file: String,
        /// The number of rules in the file.
        n: usize,
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
    /// The system refuses a thread.
    #[error("{0}")]
    Thread(io::Error),
}

impl Advice for RewriteError {
    fn hint(&self) -> Option<Hint> {
        match self {
            RewriteError::Apply(error) => error.hint(),
            RewriteError::Values(ValuesError::Memory { .. }) => {
                Some(Hint::words("free memory, or choose a scheme that works row by row"))
            }
            RewriteError::Values(error) => error.hint(),
            RewriteError::Scheme(error) => error.hint(),
            RewriteError::Carrier { source, .. } => source.hint(),
            RewriteError::Fallback { fallback: Some(ty), .. } => Some(Hint::AllowFallback { ty: (*ty).into() }),
            RewriteError::Fallback { fallback: None, .. } => {
                Some(Hint::words("llama-quantize has no other type for such rows; quantize the tensor in another type"))
            }
            RewriteError::RoundsTwice { has_own_type, .. } => Some(Hint::StoreExactly { own: *has_own_type }),
            RewriteError::NoOwnType { scheme, .. } if GgmlType::from_name(scheme).is_some() => {
                Some(Hint::words(format!("quantize by ggml's own blocks of that name: ggml:{scheme}")))
            }
            RewriteError::NoOwnType { .. } => Some(Hint::StoreExactly { own: false }),
            RewriteError::NoTypeRule { .. } => Some(Hint::words(
                "each rule is PATTERN=TYPE; the pattern is searched for in the name of each tensor, such as blk.0.attn_q.weight",
            )),
            RewriteError::Vector { .. } => Some(Hint::AllowFallback { ty: "f32".into() }),
            RewriteError::TooLargeForShard { .. } | RewriteError::TooManyShards { .. } => Some(Hint::LargerFiles),
            RewriteError::Layout(_) => None,
            RewriteError::Output(error) => error.hint(),
            RewriteError::Thread(_) => Some(Hint::words(
                "raise the limit on processes and threads (ulimit -u, pids.max) or on memory (ulimit -v)",
            )),
        }
    }
}

impl From<GgufError> for RewriteError {
    fn from(error: GgufError) -> Self {
        RewriteError::Values(error.into())
    }
}
