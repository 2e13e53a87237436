//! Reads the values of a stored tensor in pieces, so that the memory does not grow with the file.

use crate::companion::{CompanionError, Factors};
use gguf::{GgmlType, GgufError, GgufFile, TensorInfo};
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
            ValuesError::Memory { .. } => Some(Hint::words("free memory")),
        }
    }
}

impl From<GgufError> for ValuesError {
    fn from(error: GgufError) -> Self {
        ValuesError::Gguf(Box::new(error))
    }
}

/// A stored value that is infinite or NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct NonfiniteValue {
    /// The name of the tensor.
    pub tensor: String,
    /// The place of the value in the tensor.
    pub index: u64,
    /// An infinity or a NaN, as it is stored.
    pub value: f32,
}

/// The first value of a file's tensors that is not finite; `None` where all are. Tensors of integers, and of types that the
/// codec cannot restore, are passed over.
///
/// # Errors
/// When the file cannot be read.
pub fn first_nonfinite(file: &GgufFile, codec: &dyn BlockCodec) -> Result<Option<NonfiniteValue>, ValuesError> {
    for tensor in file.tensors().iter().filter(|t| is_number(t) && codec.layout(t.ty.name()).is_some()) {
        let mut piece = PieceReader::new(file, tensor)?;
        for (start, n) in pieces(tensor.n_elements(), PIECE_VALUES) {
            piece.read(start, n, codec)?;
            if let Some(place) = piece.values.iter().position(|value| !value.is_finite()) {
                let value = piece.values[place];
                return Ok(Some(NonfiniteValue { tensor: tensor.name.clone(), index: start + place as u64, value }));
            }
        }
    }
    Ok(None)
}

/// A tensor that is read piece by piece, and the buffers for one piece.
#[derive(Debug)]
pub(crate) struct PieceReader<'a> {
    file: &'a GgufFile,
    tensor: &'a TensorInfo,
    factors: Option<Factors>,
    /// The bytes of the piece as they are stored.
    pub(crate) bytes: Vec<u8>,
    /// The effective values of the piece in F32.
    pub(crate) values: Vec<f32>,
}

impl<'a> PieceReader<'a> {
    /// A reader of a tensor, whose values are multiplied by the weight's factors where the file has such a companion.
    ///
    /// # Errors
    /// When the file has a companion that cannot be the tensor's factors.
    pub(crate) fn new(file: &'a GgufFile, tensor: &'a TensorInfo) -> Result<PieceReader<'a>, ValuesError> {
        let factors = Factors::of(file, tensor)?;
        Ok(PieceReader { file, tensor, factors, bytes: Vec::new(), values: Vec::new() })
    }

    /// Reads `n` values from value `start` on. Both numbers must be whole blocks.
    ///
    /// # Errors
    /// When the file cannot be read, the codec cannot restore the type, or memory is short.
    pub(crate) fn read(&mut self, start: u64, n: u64, codec: &dyn BlockCodec) -> Result<(), ValuesError> {
        let tensor = self.tensor;
        let (Some(offset), Some(nbytes)) = (tensor.ty.bytes_of(start), tensor.ty.bytes_of(n)) else {
            let (ty, blck_size) = (tensor.ty.name().into(), tensor.ty.blck_size() as usize);
            let source = CodecError::PartialBlock { ty, blck_size, n_per_row: n as usize };
            return Err(ValuesError::Codec { tensor: shown(tensor), source });
        };
        let memory = |_| ValuesError::Memory { tensor: shown(tensor), n };
        resize(&mut self.bytes, nbytes).map_err(memory)?;
        resize(&mut self.values, n).map_err(memory)?;
        self.file.read_at(tensor, offset, &mut self.bytes)?;
        codec
            .dequantize(tensor.ty.name(), &self.bytes, &mut self.values)
            .map_err(|source| ValuesError::Codec { tensor: shown(tensor), source })?;
        if let Some(factors) = &self.factors {
            factors.multiply(start, &mut self.values);
        }
        Ok(())
    }
}

/// Whether the values of the tensor can be F32s. Integers and doubles would lose bits in F32.
pub(crate) fn is_number(tensor: &TensorInfo) -> bool {
    !tensor.ty.is_integer() && tensor.ty != GgmlType::F64
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
