//! What becomes of the values of one target tensor, piece by piece: restored, held in the scheme, stored, compared.

use super::cutting::Cutting;
use super::{Edit, Rewrite, RewriteError};
use crate::tensor_values::{ValuesError, resize, shown};
use gguf::{GgmlType, TensorInfo};
use numerics::{BlockCodec, DifferenceSums, FakeQuantError, Rows, TensorContext, TensorShape};
use rayon::prelude::*;

/// One target tensor, and how it is treated.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) tensor: &'a TensorInfo,
    pub(super) edit: &'a Edit,
    pub(super) cutting: Cutting,
    codec: &'a dyn BlockCodec,
}

/// What the pieces of a tensor amount to, so far.
#[derive(Default)]
pub(super) struct Tally {
    /// The output's values against the source's.
    pub(super) sums: DifferenceSums,
    /// Values that the carrier could not hold as the scheme left them.
    pub(super) carrier_rounded: u64,
}

/// One core's values, used again for the next batch.
#[derive(Default)]
struct Batch {
    /// As stored.
    source: Vec<f32>,
    /// As the scheme leaves them.
    asked: Vec<f32>,
    /// As they are stored then.
    held: Vec<f32>,
}

impl<'a> Target<'a> {
    pub(super) fn new(tensor: &'a TensorInfo, edit: &'a Edit, codec: &'a dyn BlockCodec) -> Self {
        let blck_size = tensor.ty.blck_size().max(edit.ty.blck_size());
        Target { tensor, edit, cutting: Cutting::of(tensor, edit.scheme.together(), blck_size), codec }
    }

    /// Bytes that `n` values take in the source and in the output.
    pub(super) fn nbytes(&self, n: u64) -> Result<(usize, usize), RewriteError> {
        let of = |ty: GgmlType| ty.bytes_of(n).and_then(|bytes| usize::try_from(bytes).ok());
        of(self.tensor.ty).zip(of(self.edit.ty)).ok_or_else(|| self.memory(n))
    }

    pub(super) fn memory(&self, n: u64) -> RewriteError {
        RewriteError::Values(ValuesError::Memory { tensor: shown(self.tensor), n })
    }

    /// Turns the bytes of a piece of `n` values, which begins with value `start`, into those of the output, and adds what
    /// it amounts to to `tally`.
    pub(super) fn transform(
        &self,
        start: u64,
        n: u64,
        raw: &[u8],
        out: &mut [u8],
        tally: &mut Tally,
    ) -> Result<(), RewriteError> {
        let batch = self.cutting.batch();
        let (raw_batch, out_batch) = self.nbytes(batch.min(n))?;
        let results: Vec<Result<(Vec<DifferenceSums>, u64), RewriteError>> = raw
            .par_chunks(raw_batch)
            .zip(out.par_chunks_mut(out_batch))
            .enumerate()
            .map_init(Batch::default, |values, (i, (raw, out))| {
                let skipped = i as u64 * batch;
                self.ask(values, start + skipped, batch.min(n - skipped), raw)?;
                self.store(values, start + skipped, out)
            })
            .collect();
        // In order of place, so that neither sums nor errors depend on the threads.
        for result in results {
            let (sums, rounded) = result?;
            sums.iter().for_each(|part| tally.sums.merge(part));
            tally.carrier_rounded += rounded;
        }
        Ok(())
    }

    /// Whether the scheme leaves every value of a piece as it is.
    pub(super) fn leaves_alone(&self, start: u64, n: u64, raw: &[u8]) -> Result<bool, RewriteError> {
        let batch = self.cutting.batch();
        let (raw_batch, _) = self.nbytes(batch.min(n))?;
        let results: Vec<Result<bool, RewriteError>> = raw
            .par_chunks(raw_batch.max(1))
            .enumerate()
            .map_init(Batch::default, |values, (i, raw)| {
                let skipped = i as u64 * batch;
                self.ask(values, start + skipped, batch.min(n - skipped), raw)?;
                Ok(values.source.iter().zip(&values.asked).all(|(a, b)| a.to_bits() == b.to_bits()))
            })
            .collect();
        let mut alone = true;
        for result in results {
            alone &= result?;
        }
        Ok(alone)
    }

    /// Restores a batch and holds it in the scheme. Where the scheme is the storage itself, that is left to [`store`](Self::store).
    fn ask(&self, values: &mut Batch, start: u64, n: u64, raw: &[u8]) -> Result<(), RewriteError> {
        let (tensor, edit) = (self.tensor, self.edit);
        resize(&mut values.source, n).map_err(|_| self.memory(n))?;
        let failed = |source| ValuesError::Codec { tensor: shown(tensor), source };
        self.codec.dequantize(tensor.ty.name(), raw, &mut values.source).map_err(failed)?;
        if edit.ty.is_quantized() || edit.stores_for_real() {
            finite(&values.source, tensor, start)?;
        }
        if !edit.stores_for_real() {
            resize(&mut values.asked, n).map_err(|_| self.memory(n))?;
            values.asked.copy_from_slice(&values.source);
            let n_per_row = self.cutting.n_per_row(tensor, n as usize);
            let context = TensorContext { name: &tensor.name, n_per_row };
            let rows = Rows { first: self.row(start), shape: TensorShape { n_per_row, ..self.shape() } };
            let held = edit.scheme.fake_quantize_rows(&mut values.asked, &context, rows, self.codec);
            held.map_err(|error| counted_from(start, error))?;
        }
        Ok(())
    }

    fn shape(&self) -> TensorShape {
        TensorShape::of(self.tensor.shape())
    }

    /// The row of value `start`.
    fn row(&self, start: u64) -> usize {
        (start / self.tensor.n_per_row().max(1)) as usize
    }

    /// `values`, from value `start` on, as blocks of the output's type; each matrix with its own importances.
    fn quantize(&self, start: u64, values: &[f32]) -> Result<Vec<u8>, RewriteError> {
        let failed = |source| RewriteError::Carrier { tensor: shown(self.tensor), source };
        let (ty, n_per_row) = (self.edit.ty.name(), self.cutting.n_per_row(self.tensor, values.len()));
        let importance = self.edit.importance(self.tensor)?.filter(|_| self.edit.stores_for_real());
        let Some(importance) = importance else {
            return self.codec.quantize(ty, values, n_per_row, None).map_err(failed);
        };
        let (mut bytes, mut left, mut row) = (Vec::new(), values, self.row(start));
        while !left.is_empty() {
            let n = importance.rows_alike(row).saturating_mul(n_per_row).min(left.len());
            let (alike, rest) = left.split_at(n);
            bytes.extend(self.codec.quantize(ty, alike, n_per_row, Some(importance.of_row(row))).map_err(failed)?);
            (left, row) = (rest, row + n / n_per_row.max(1));
        }
        Ok(bytes)
    }

    /// Stores a batch in the carrier, and compares what is read from there with the source.
    fn store(
        &self,
        values: &mut Batch,
        start: u64,
        out: &mut [u8],
    ) -> Result<(Vec<DifferenceSums>, u64), RewriteError> {
        const { assert!(cfg!(target_endian = "little"), "values are written as they lie in memory") };
        let Batch { source, asked, held } = values;
        let for_real = self.edit.stores_for_real();
        let asked: &[f32] = if for_real { source } else { asked };
        let stored: &[f32] = match self.edit.ty {
            GgmlType::F32 => {
                out.copy_from_slice(bytemuck::cast_slice(asked));
                asked
            }
            ty => {
                let failed = |source| RewriteError::Carrier { tensor: shown(self.tensor), source };
                out.copy_from_slice(&self.quantize(start, asked)?);
                resize(held, asked.len() as u64).map_err(|_| self.memory(asked.len() as u64))?;
                self.codec.dequantize(ty.name(), out, held).map_err(failed)?;
                held
            }
        };
        let rounded = match for_real {
            true => 0,
            false => asked.iter().zip(stored).filter(|(a, b)| a.to_bits() != b.to_bits()).count(),
        };
        let parts = source.chunks(DifferenceSums::PART).zip(stored.chunks(DifferenceSums::PART));
        let sums = parts.map(|(source, stored)| {
            let mut sums = DifferenceSums::default();
            sums.add(source, stored);
            sums
        });
        Ok((sums.collect(), rounded as u64))
    }
}

impl Rewrite<'_> {
    /// Blocks that nothing is asked of are copied: quantizing them again might not give them back. The engine's worker
    /// does the same with a weight in memory.
    pub(super) fn is_left_alone(&self, target: &Target<'_>) -> Result<bool, RewriteError> {
        let (tensor, edit) = (target.tensor, target.edit);
        if edit.copies(tensor) {
            return Ok(true);
        }
        if edit.ty != tensor.ty || !tensor.ty.is_quantized() || edit.stores_for_real() {
            return Ok(false);
        }
        let mut raw = Vec::new();
        for (start, n) in target.cutting.pieces() {
            self.read_piece(target, start, n, &mut raw)?;
            if !target.leaves_alone(start, n, &raw)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The stored bytes of a piece.
    pub(super) fn read_piece(
        &self,
        target: &Target<'_>,
        start: u64,
        n: u64,
        raw: &mut Vec<u8>,
    ) -> Result<(), RewriteError> {
        let (nbytes, _) = target.nbytes(n)?;
        resize(raw, nbytes as u64).map_err(|_| target.memory(n))?;
        let offset = target.tensor.ty.bytes_of(start).unwrap_or(u64::MAX);
        Ok(self.source.read_at(target.tensor, offset, raw)?)
    }
}

/// ggml's blocks hold finite values only.
fn finite(values: &[f32], tensor: &TensorInfo, start: u64) -> Result<(), FakeQuantError> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let (tensor, value) = (tensor.name.clone(), values[index]);
            Err(FakeQuantError::Nonfinite { tensor, index: start as usize + index, value })
        }
    }
}

/// The error with its index counted from the start of the tensor, not of the piece.
fn counted_from(start: u64, error: FakeQuantError) -> FakeQuantError {
    match error {
        FakeQuantError::Nonfinite { tensor, index, value } => {
            FakeQuantError::Nonfinite { tensor, index: start as usize + index, value }
        }
        other => other,
    }
}
