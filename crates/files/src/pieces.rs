//! Reads the values of a stored tensor in pieces, so that the memory does not grow with the file.

use crate::companion::{CompanionError, Factors};
use gguf::{GgufError, GgufFile, TensorInfo};
use numerics::{BlockCodec, CodecError};
use words::{Advice, Hint, plural};

/// The number of values that are read at once. It is a multiple of every type's block, and of the parts over which
/// differences are summed.
pub(crate) const PIECE_VALUES: u64 = 1 << 22;

/// Why the values of a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// The file cannot be read.
    #[error(transparent)]
    Gguf(Box<GgufError>),
    /// The codec cannot restore the type of the tensor.
    #[error("tensor \"{tensor}\": {source}")]
    Codec {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The error of the codec.
        source: CodecError,
    },
    /// A tensor beside a weight cannot be its factors.
    #[error(transparent)]
    Companion(#[from] CompanionError),
    /// There is not enough memory for the values.
    #[error("tensor \"{tensor}\": no memory for {}", plural(.n, "value"))]
    Memory {
        /// The name of the tensor, escaped for a terminal.
        tensor: String,
        /// The number of values for which memory was requested.
        n: u64,
    },
}

impl Advice for ValuesError {
    fn hint(&self) -> Option<Hint> {
        match self {
            ValuesError::Gguf(error) => error.hint(),
            ValuesError::Codec { source, .. } => source.hint(),
            ValuesError::Companion(error) => error.hint(),
            ValuesError::Memory { .. } => Some(Hint::words("free memory, or choose a scheme that works row by row")),
        }
    }
}

impl From<GgufError> for ValuesError {
    fn from(error: GgufError) -> Self {
        ValuesError::Gguf(Box::new(error))
    }
}

/// Buffers for one piece of a tensor, used again for the next piece.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// The bytes as they are stored.
    pub(crate) bytes: Vec<u8>,
    /// The effective values in F32.
    pub(crate) values: Vec<f32>,
}

impl Piece {
    /// Reads `n` values of a tensor from value `start` on, multiplied by the weight's factors where the file has such a
    /// companion. Both numbers must be whole blocks.
    pub(crate) fn read(
        &mut self,
        file: &GgufFile,
        tensor: &TensorInfo,
        start: u64,
        n: u64,
        codec: &dyn BlockCodec,
    ) -> Result<(), ValuesError> {
        let (Some(offset), Some(nbytes)) = (tensor.ty.bytes_of(start), tensor.ty.bytes_of(n)) else {
            let (ty, blck_size) = (tensor.ty.name().into(), tensor.ty.blck_size() as usize);
            let source = CodecError::PartialBlock { ty, blck_size, n_per_row: n as usize };
            return Err(ValuesError::Codec { tensor: shown(tensor), source });
        };
        let memory = |_| ValuesError::Memory { tensor: shown(tensor), n };
        resize(&mut self.bytes, nbytes).map_err(memory)?;
        resize(&mut self.values, n).map_err(memory)?;
        file.read_at(tensor, offset, &mut self.bytes)?;
        codec
            .dequantize(tensor.ty.name(), &self.bytes, &mut self.values)
            .map_err(|source| ValuesError::Codec { tensor: shown(tensor), source })?;
        if let Some(factors) = Factors::of(file, tensor)? {
            factors.multiply(start, &mut self.values);
        }
        Ok(())
    }
}

/// The name of the tensor, escaped for a terminal.
pub(crate) fn shown(tensor: &TensorInfo) -> String {
    words::escape_terminal(&tensor.name)
}

pub(crate) fn resize<T: Clone + Default>(buffer: &mut Vec<T>, n: u64) -> Result<(), std::collections::TryReserveError> {
    let n = n as usize;
    buffer.try_reserve_exact(n.saturating_sub(buffer.len()))?;
    buffer.resize(n, T::default());
    Ok(())
}

/// The start and the length of each piece of at most `piece` values.
pub(crate) fn pieces(n: u64, piece: u64) -> impl Iterator<Item = (u64, u64)> {
    let piece = piece.max(1);
    (0..n.div_ceil(piece)).map(move |i| (i * piece, piece.min(n - i * piece)))
}
