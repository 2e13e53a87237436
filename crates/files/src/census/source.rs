//! The two ways in which a census reads a tensor: whole, or piece by piece where it is too large to be in memory. The
//! answers are the same, bit for bit.

use crate::abreast::TensorInMemory;
use crate::companion::{CompanionError, Factors, wrong_factors};
use crate::pieces::{PIECE_VALUES, PieceReader, ValuesError, pieces, resize, shown};
use crate::pipeline::Spare;
use crate::rewrite::Cutting;
use gguf::{GgufFile, TensorInfo};
use lineage::{BlockScales, Distribution, Pieces, Prediction, StoredPrecision, Survey, TensorValues, Under};
use numerics::{BlockCodec, DifferenceSums, FakeQuantError, Scheme, TensorContext, TensorShape};
use rayon::prelude::*;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;

/// A tensor whose values a census can ask about.
pub(super) trait Source {
    /// The factors of the weight, where the file has them in a tensor of their own.
    fn factors(&self) -> Option<&Factors>;

    /// The reason why the file's factors for the weight are refused. `None` if they are accepted or there are none.
    fn wrong_factors(&self) -> Option<&CompanionError>;

    /// What the stored values say.
    fn survey(&mut self, stored: StoredPrecision) -> Result<Survey, ValuesError>;

    /// How the products of stored values and factors are spread.
    fn effective_distribution(&mut self) -> Result<Option<Distribution>, ValuesError>;

    /// What the scales of a quantized tensor say.
    fn under(&mut self) -> Result<Under, ValuesError>;

    /// What a scheme would change in the products of stored values and factors, or why it does not fit.
    fn predict(&mut self, scheme: &Scheme) -> Result<Result<Prediction, FakeQuantError>, ValuesError>;
}

/// A tensor in memory.
pub(super) struct Whole<'a> {
    pub(super) tensor: &'a TensorInfo,
    pub(super) held: &'a mut TensorInMemory,
    pub(super) codec: &'a dyn BlockCodec,
}

impl Source for Whole<'_> {
    fn factors(&self) -> Option<&Factors> {
        self.held.factors()
    }

    fn wrong_factors(&self) -> Option<&CompanionError> {
        self.held.wrong_factors()
    }

    fn survey(&mut self, stored: StoredPrecision) -> Result<Survey, ValuesError> {
        let n_per_row = self.tensor.n_per_row() as usize;
        Ok(match stored {
            // Values of two bytes are examined where they lie.
            StoredPrecision::F16 => lineage::survey(TensorValues::F16(self.held.bytes()), n_per_row),
            StoredPrecision::Bf16 => lineage::survey(TensorValues::Bf16(self.held.bytes()), n_per_row),
            StoredPrecision::F32 | StoredPrecision::Quantized => {
                lineage::survey(TensorValues::Restored(self.held.values(self.tensor, self.codec)?, stored), n_per_row)
            }
        })
    }

    fn effective_distribution(&mut self) -> Result<Option<Distribution>, ValuesError> {
        let n_per_row = self.tensor.n_per_row() as usize;
        Ok(lineage::distribution(self.held.effective_values(self.tensor, self.codec)?, n_per_row))
    }

    fn under(&mut self) -> Result<Under, ValuesError> {
        Ok(lineage::under(self.tensor.ty.name(), self.held.bytes()))
    }

    fn predict(&mut self, scheme: &Scheme) -> Result<Result<Prediction, FakeQuantError>, ValuesError> {
        let context = TensorContext { name: &self.tensor.name, n_per_row: self.tensor.n_per_row() as usize };
        let values = self.held.effective_values(self.tensor, self.codec)?;
        Ok(lineage::predict(scheme, values, &context, self.codec))
    }
}

/// A tensor of which one piece at a time is in memory.
pub(super) struct InPieces<'a> {
    file: &'a GgufFile,
    tensor: &'a TensorInfo,
    codec: &'a dyn BlockCodec,
    factors: Option<Factors>,
    wrong_factors: Option<CompanionError>,
}

impl<'a> InPieces<'a> {
    /// A tensor of the file, with its factors if it has some.
    ///
    /// # Errors
    /// When the factors of the weight cannot be read.
    pub(super) fn of(
        file: &'a GgufFile,
        tensor: &'a TensorInfo,
        codec: &'a dyn BlockCodec,
    ) -> Result<InPieces<'a>, ValuesError> {
        let wrong_factors = wrong_factors(file, tensor)?;
        let factors = if wrong_factors.is_some() { None } else { Factors::of(file, tensor)? };
        Ok(InPieces { file, tensor, codec, factors, wrong_factors })
    }

    fn n_per_row(&self) -> usize {
        self.tensor.n_per_row() as usize
    }

    /// The values as they are stored, or the products with `factors`.
    fn reader<'r>(&'r self, stored: StoredPrecision, factors: Option<&'r Factors>) -> Reader<'r> {
        let (file, tensor, codec) = (self.file, self.tensor, self.codec);
        Reader { file, tensor, codec, stored, factors, buffers: Spare::default(), failed: Mutex::new(None) }
    }
}

impl Source for InPieces<'_> {
    fn factors(&self) -> Option<&Factors> {
        self.factors.as_ref()
    }

    fn wrong_factors(&self) -> Option<&CompanionError> {
        self.wrong_factors.as_ref()
    }

    fn survey(&mut self, stored: StoredPrecision) -> Result<Survey, ValuesError> {
        let reader = self.reader(stored, None);
        let survey = lineage::survey(TensorValues::Pieces(&reader), self.n_per_row());
        reader.finish().map(|()| survey)
    }

    fn effective_distribution(&mut self) -> Result<Option<Distribution>, ValuesError> {
        let reader = self.reader(StoredPrecision::F32, self.factors.as_ref());
        let distribution = lineage::distribution_of_pieces(&reader, self.n_per_row());
        reader.finish().map(|()| distribution)
    }

    fn under(&mut self) -> Result<Under, ValuesError> {
        let (ty, mut scales) = (self.tensor.ty, BlockScales::of_type(self.tensor.ty.name()));
        if scales.can_tell() {
            let mut bytes = Vec::new();
            for (start, n) in pieces(self.tensor.nbytes, PIECE_VALUES / ty.blck_size() * ty.type_size()) {
                resize(&mut bytes, n).map_err(|_| ValuesError::Memory { tensor: shown(self.tensor), n })?;
                self.file.read_at(self.tensor, start, &mut bytes)?;
                scales.add(&bytes);
            }
        }
        Ok(scales.finish())
    }

    fn predict(&mut self, scheme: &Scheme) -> Result<Result<Prediction, FakeQuantError>, ValuesError> {
        match self.predict_in_pieces(scheme) {
            Ok(prediction) => Ok(Ok(prediction)),
            Err(Failed::Scheme(error)) => Ok(Err(error)),
            Err(Failed::Values(error)) => for_this_tensor(error, self.tensor).map(Err),
        }
    }
}

/// The reason why a scheme has no prediction.
enum Failed {
    /// The scheme does not fit the tensor.
    Scheme(FakeQuantError),
    /// The values cannot be read.
    Values(ValuesError),
}

impl From<FakeQuantError> for Failed {
    fn from(error: FakeQuantError) -> Self {
        Failed::Scheme(error)
    }
}

impl From<ValuesError> for Failed {
    fn from(error: ValuesError) -> Self {
        Failed::Values(error)
    }
}

/// Of a scheme that has all values in memory, want of memory is a refusal of this tensor, and other schemes go on.
///
/// # Errors
/// Any other error.
fn for_this_tensor(error: ValuesError, tensor: &TensorInfo) -> Result<FakeQuantError, ValuesError> {
    match error {
        ValuesError::Memory { n, .. } => Ok(FakeQuantError::Values { tensor: tensor.name.clone(), n: n as usize }),
        error => Err(error),
    }
}

impl InPieces<'_> {
    /// Quantizes one piece after the other, each as in the whole tensor. Only a scheme that moves values over the whole
    /// tensor has all of them in memory.
    fn predict_in_pieces(&self, scheme: &Scheme) -> Result<Prediction, Failed> {
        let (tensor, shape) = (self.tensor, TensorShape::of(self.tensor.shape()));
        let cutting = Cutting::of(tensor, scheme.together(), tensor.ty.blck_size());
        let mut piece = PieceReader::new(self.file, tensor)?;
        let mut observer = scheme.observer(&tensor.name, shape)?;
        for (start, n) in (0..scheme.passes(shape)).flat_map(|_| cutting.pieces()) {
            piece.read(start, n, self.codec)?;
            observer.see(&piece.values)?;
        }
        let holder = observer.holder()?;
        let (mut after, mut sums, mut saturated) = (Vec::new(), DifferenceSums::default(), Some(0));
        for (start, n) in cutting.pieces() {
            piece.read(start, n, self.codec)?;
            resize(&mut after, n).map_err(|_| ValuesError::Memory { tensor: shown(tensor), n })?;
            after.copy_from_slice(&piece.values);
            let of_piece = holder.saturated(start as usize, &mut after)?;
            saturated = saturated.zip(of_piece).map(|(sum, n)| sum + n);
            holder.hold(start as usize, &mut after, self.codec)?;
            sums.add(&piece.values, &after);
        }
        Ok(Prediction::of(&sums.finish(), saturated))
    }
}

/// Reads any values of a tensor, from several threads. It remembers the first error.
struct Reader<'a> {
    file: &'a GgufFile,
    tensor: &'a TensorInfo,
    codec: &'a dyn BlockCodec,
    stored: StoredPrecision,
    /// The factors to multiply by. `None` for the values as they are stored.
    factors: Option<&'a Factors>,
    buffers: Spare<(Vec<u8>, Vec<f32>)>,
    failed: Mutex<Option<ValuesError>>,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({:?})", self.tensor.name)
    }
}

/// The number of values that one thread restores at a time. It is a multiple of every type's block.
const RESTORED_AT_ONCE: u64 = 1 << 16;

impl Reader<'_> {
    /// # Errors
    /// The first error of a read. What was found out about the tensor does not count then.
    fn finish(self) -> Result<(), ValuesError> {
        match self.failed.into_inner() {
            Ok(Some(error)) => Err(error),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Reads `n` values from value `start` on, which are whole blocks.
    fn read(&self, start: u64, n: u64, (bytes, values): &mut (Vec<u8>, Vec<f32>)) -> Result<(), ValuesError> {
        let (tensor, ty) = (self.tensor, self.tensor.ty);
        let memory = |_| ValuesError::Memory { tensor: shown(tensor), n };
        let nbytes = |n: u64| n / ty.blck_size() * ty.type_size();
        resize(bytes, nbytes(n)).map_err(memory)?;
        self.file.read_at(tensor, nbytes(start), bytes)?;
        if self.keeps_two_bytes() {
            return Ok(());
        }
        resize(values, n).map_err(memory)?;
        let parts = bytes.par_chunks(nbytes(RESTORED_AT_ONCE) as usize);
        let restored = parts.zip(values.par_chunks_mut(RESTORED_AT_ONCE as usize));
        restored
            .try_for_each(|(bytes, values)| self.codec.dequantize(ty.name(), bytes, values))
            .map_err(|source| ValuesError::Codec { tensor: shown(tensor), source })?;
        if let Some(factors) = self.factors {
            factors.multiply(start, values);
        }
        Ok(())
    }

    /// Whether values of two bytes are given as they are stored.
    fn keeps_two_bytes(&self) -> bool {
        matches!(self.stored, StoredPrecision::F16 | StoredPrecision::Bf16)
    }
}

impl Pieces for Reader<'_> {
    fn n(&self) -> usize {
        self.tensor.n_elements() as usize
    }

    fn stored(&self) -> StoredPrecision {
        self.stored
    }

    fn look(&self, range: Range<usize>, look: &mut dyn FnMut(TensorValues<'_>)) {
        if self.failed.lock().is_ok_and(|failed| failed.is_some()) {
            return;
        }
        let block = self.tensor.ty.blck_size() as usize;
        let start = range.start / block * block;
        let end = range.end.next_multiple_of(block);
        let mut buffers = self.buffers.take();
        match self.read(start as u64, (end - start) as u64, &mut buffers) {
            Ok(()) => {
                let (bytes, values) = &buffers;
                look(match self.stored {
                    StoredPrecision::F16 => TensorValues::F16(bytes),
                    StoredPrecision::Bf16 => TensorValues::Bf16(bytes),
                    stored => TensorValues::Restored(&values[range.start - start..range.end - start], stored),
                });
            }
            Err(error) => {
                if let Ok(mut failed) = self.failed.lock() {
                    failed.get_or_insert(error);
                }
            }
        }
        self.buffers.give(buffers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_that_gets_no_memory_for_a_whole_tensor_is_refused_for_that_tensor_alone() {
        let tensor = TensorInfo {
            name: "blk.0.attn_q.weight".into(),
            ty: gguf::GgmlType::F32,
            ne: [4, 4, 1, 1],
            n_dims: 2,
            offset: 0,
            nbytes: 64,
            shard: 0,
        };
        let memory = ValuesError::Memory { tensor: shown(&tensor), n: 16 };
        assert!(matches!(for_this_tensor(memory, &tensor), Ok(FakeQuantError::Values { n: 16, .. })));
    }
}
