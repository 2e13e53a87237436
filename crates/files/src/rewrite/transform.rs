//! Turns the values of one target tensor into the output, piece by piece: restores, quantizes, stores and compares
//! them.

use super::cutting::Cutting;
use super::{Edit, Rewrite, RewriteError, own_type};
use crate::companion::Factors;
use crate::pieces::{ValuesError, resize, shown};
use crate::pipeline::Spare;
use gguf::{GgmlType, TensorInfo};
use numerics::{BlockCodec, DifferenceSums, FakeQuantError, Holder, Scheme, TensorShape, is_other_value};
use rayon::prelude::*;

/// One target tensor and how it is treated.
pub(super) struct Target<'a> {
    /// The index of the tensor in its model.
    pub(super) index: usize,
    pub(super) tensor: &'a TensorInfo,
    edit: &'a Edit,
    cutting: Cutting,
    codec: &'a dyn BlockCodec,
    /// The factors by which the stored values are multiplied; `None` where the source has none.
    factors: Option<Factors>,
    /// The scheme, with what it knows of the whole tensor. `None` when the scheme is the storage itself.
    holder: Option<Holder<'a>>,
    batches: Spare<Batch>,
    /// Whether the carrier may round the values that the scheme leaves.
    may_round: bool,
}

/// The results for the pieces of a tensor so far.
#[derive(Default)]
pub(super) struct Tally {
    /// The difference of the output's values from the source's.
    pub(super) sums: DifferenceSums,
    /// The number of values that the carrier could not store exactly as the scheme left them.
    pub(super) carrier_rounded: u64,
}

/// The values that one core works on, in memory that is used again for the next batch.
#[derive(Default)]
struct Batch {
    /// The values of the source.
    source: Vec<f32>,
    /// The values as the scheme leaves them.
    asked: Vec<f32>,
    /// The values as they are read back from the output's type.
    held: Vec<f32>,
}

impl Target<'_> {
    /// The first value and the number of values of each piece, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        self.cutting.pieces()
    }

    /// The number of bytes that `n` values take in the source, and in the output.
    pub(super) fn nbytes(&self, n: u64) -> Result<(usize, usize), RewriteError> {
        let of = |ty: GgmlType| ty.bytes_of(n).and_then(|bytes| usize::try_from(bytes).ok());
        of(self.tensor.ty).zip(of(self.edit.ty)).ok_or_else(|| self.memory(n))
    }

    pub(super) fn memory(&self, n: u64) -> RewriteError {
        RewriteError::Values(ValuesError::Memory { tensor: shown(self.tensor), n })
    }

    /// Turns the bytes of a piece into those of the output and adds the results to `tally`. The piece has `n` values
    /// and begins with value `start`.
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
            .map(|(i, (raw, out))| {
                let (mut values, skipped) = (self.batches.take(), i as u64 * batch);
                let done = self.batch(&mut values, start + skipped, batch.min(n - skipped), raw, out)?;
                self.batches.give(values);
                Ok(done)
            })
            .collect();
        // The results are added in the order of their place, so that neither sums nor errors depend on the threads.
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
            .map(|(i, raw)| {
                let (mut values, skipped) = (self.batches.take(), i as u64 * batch);
                let Batch { source, asked, .. } = &mut values;
                self.restore_all(source, start + skipped, batch.min(n - skipped), raw)?;
                resize(asked, source.len() as u64).map_err(|_| self.memory(n))?;
                self.ask(source, asked, start + skipped)?;
                // Types with blocks have no sign of zero to store.
                let has_signs = !self.edit.ty.is_quantized();
                let is_left = |a: f32, b: f32| !is_other_value(a, b) && (!has_signs || a.to_bits() == b.to_bits());
                let alone = source.iter().zip(&*asked).all(|(a, b)| is_left(*a, *b));
                self.batches.give(values);
                Ok(alone)
            })
            .collect();
        let mut alone = true;
        for result in results {
            alone &= result?;
        }
        Ok(alone)
    }

    /// Turns the bytes of a batch into those of the output.
    fn batch(
        &self,
        Batch { source, asked, held }: &mut Batch,
        start: u64,
        n: u64,
        raw: &[u8],
        out: &mut [u8],
    ) -> Result<(Vec<DifferenceSums>, u64), RewriteError> {
        const { assert!(cfg!(target_endian = "little"), "values are written as they lie in memory") };
        self.restore_all(source, start, n, raw)?;
        if self.edit.stores_for_real() {
            return Ok((sums(source, self.store(source, held, start, out)?), 0));
        }
        // Where the output is F32, the scheme writes straight into it. The data of a tensor need not lie at a multiple
        // of four bytes.
        if let (GgmlType::F32, Ok(out)) = (self.edit.ty, bytemuck::try_cast_slice_mut(out)) {
            self.ask(source, out, start)?;
            return Ok((sums(source, out), 0));
        }
        resize(asked, n).map_err(|_| self.memory(n))?;
        self.ask(source, asked, start)?;
        let stored = self.store(asked, held, start, out)?;
        let is_rounded = |(a, b): (&f32, &f32)| is_other_value(*a, *b);
        let rounded = asked.iter().zip(stored).filter(|&pair| is_rounded(pair)).count();
        if rounded > 0 && !self.may_round {
            let first = asked.iter().zip(stored).position(is_rounded).unwrap_or(0);
            return Err(RewriteError::RoundsTwice {
                tensor: shown(self.tensor),
                scheme: self.edit.scheme.to_string(),
                ty: self.edit.ty.name(),
                index: start + first as u64,
                value: asked[first],
                stored: stored[first],
                has_own_type: own_type(&self.edit.scheme).is_some(),
            });
        }
        Ok((sums(source, stored), rounded as u64))
    }

    /// Restores a batch of `n` values from value `start` on.
    fn restore_all(&self, source: &mut Vec<f32>, start: u64, n: u64, raw: &[u8]) -> Result<(), RewriteError> {
        resize(source, n).map_err(|_| self.memory(n))?;
        self.restore(start, raw, source)?;
        if self.edit.ty.is_quantized() || self.edit.stores_for_real() {
            finite(source, self.tensor, start)?;
        }
        Ok(())
    }

    /// Quantizes the values from value `start` on, into `asked`.
    fn ask(&self, source: &[f32], asked: &mut [f32], start: u64) -> Result<(), RewriteError> {
        asked.copy_from_slice(source);
        match &self.holder {
            Some(holder) => Ok(holder.hold(start as usize, asked, self.codec)?),
            // The scheme is the storage itself.
            None => Ok(()),
        }
    }

    /// Restores the values from value `start` on for which stored bytes stand.
    fn restore(&self, start: u64, raw: &[u8], values: &mut [f32]) -> Result<(), RewriteError> {
        let failed = |source| ValuesError::Codec { tensor: shown(self.tensor), source };
        self.codec.dequantize(self.tensor.ty.name(), raw, values).map_err(failed)?;
        if let Some(factors) = &self.factors {
            factors.multiply(start, values);
        }
        Ok(())
    }

    /// The factors that stay beside the stored values. `None` where there are none or they are multiplied in.
    fn kept_factors(&self) -> Option<&Factors> {
        self.factors.as_ref().filter(|_| self.edit.folded.is_none())
    }

    /// The index of the row that has value `start`.
    fn row(&self, start: u64) -> usize {
        (start / self.tensor.n_per_row().max(1)) as usize
    }

    /// Quantizes `values`, from value `start` on, into blocks of the output's type. Each matrix has its own
    /// importances.
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

    /// Stores values in the carrier. Returns the values that are read back, which may lie in `held`.
    fn store<'v>(
        &self,
        asked: &'v [f32],
        held: &'v mut Vec<f32>,
        start: u64,
        out: &mut [u8],
    ) -> Result<&'v [f32], RewriteError> {
        match self.edit.ty {
            GgmlType::F32 => {
                out.copy_from_slice(bytemuck::cast_slice(asked));
                Ok(asked)
            }
            ty => {
                let failed = |source| RewriteError::Carrier { tensor: shown(self.tensor), source };
                resize(held, asked.len() as u64).map_err(|_| self.memory(asked.len() as u64))?;
                match self.kept_factors() {
                    None => out.copy_from_slice(&self.quantize(start, asked)?),
                    Some(factors) => {
                        held.copy_from_slice(asked);
                        factors.divide(start, held);
                        out.copy_from_slice(&self.quantize(start, held)?);
                    }
                }
                self.codec.dequantize(ty.name(), out, held).map_err(failed)?;
                if let Some(factors) = self.kept_factors() {
                    factors.multiply(start, held);
                }
                Ok(held)
            }
        }
    }
}

/// The difference of the output's values from the source's, part by part.
fn sums(source: &[f32], stored: &[f32]) -> Vec<DifferenceSums> {
    let parts = source.chunks(DifferenceSums::PART).zip(stored.chunks(DifferenceSums::PART));
    let of = |(source, stored): (&[f32], &[f32])| {
        let mut sums = DifferenceSums::default();
        sums.add(source, stored);
        sums
    };
    parts.map(of).collect()
}

impl Rewrite<'_> {
    /// Prepares the target: its scheme sees as much of the whole tensor as it must. `seen` is called with the number of
    /// bytes that were read for that. Returns `None` when `seen` says that no more is wanted.
    pub(super) fn target<'s>(
        &'s self,
        index: usize,
        edit: &'s Edit,
        codec: &'s dyn BlockCodec,
        seen: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Target<'s>>, RewriteError> {
        let tensor = &self.source.tensors()[index];
        let blck_size = tensor.ty.blck_size().max(edit.ty.blck_size());
        let cutting = Cutting::of(tensor, edit.scheme.together(), blck_size);
        // `identity` rounds nothing, so the type is the only one that does.
        let may_round = self.force_carrier || edit.scheme == Scheme::identity();
        let batches = Spare::default();
        let factors = Factors::of(self.source, tensor)?;
        let mut target = Target { index, tensor, edit, cutting, codec, factors, holder: None, batches, may_round };
        if edit.stores_for_real() {
            return Ok(Some(target));
        }
        let shape = TensorShape::of(tensor.shape());
        let mut observer = edit.scheme.observer(&tensor.name, shape)?;
        let (mut raw, mut values) = (Vec::new(), Vec::new());
        for (start, n) in (0..edit.scheme.passes(shape)).flat_map(|_| cutting.pieces()) {
            let raw = self.read_piece_into(&target, start, n, &mut raw)?;
            resize(&mut values, n).map_err(|_| target.memory(n))?;
            let batch = cutting.batch().min(n);
            let batches = raw.par_chunks(target.nbytes(batch)?.0).zip(values.par_chunks_mut(batch as usize));
            let restored: Vec<Result<(), RewriteError>> =
                batches.enumerate().map(|(i, (raw, out))| target.restore(start + i as u64 * batch, raw, out)).collect();
            restored.into_iter().collect::<Result<(), RewriteError>>()?;
            observer.see(&values)?;
            if !seen(raw.len() as u64) {
                return Ok(None);
            }
        }
        target.holder = Some(observer.holder()?);
        Ok(Some(target))
    }

    /// Whether the target's blocks are copied because the scheme does not change them. Quantizing them again might give
    /// other blocks. The engine's worker does the same with a weight in memory.
    pub(super) fn is_left_alone(&self, target: &Target<'_>) -> Result<bool, RewriteError> {
        let (tensor, edit) = (target.tensor, target.edit);
        if edit.ty != tensor.ty || !tensor.ty.is_quantized() || edit.stores_for_real() {
            return Ok(false);
        }
        let mut raw = Vec::new();
        for (start, n) in target.pieces() {
            let raw = self.read_piece_into(target, start, n, &mut raw)?;
            if !target.leaves_alone(start, n, raw)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the stored bytes of a piece that begins with value `start`.
    pub(super) fn read_piece(&self, target: &Target<'_>, start: u64, raw: &mut [u8]) -> Result<(), RewriteError> {
        let offset = target.tensor.ty.bytes_of(start).unwrap_or(u64::MAX);
        Ok(self.source.read_at(target.tensor, offset, raw)?)
    }

    /// Reads a piece of `n` values into a buffer, which gets the right size.
    fn read_piece_into<'r>(
        &self,
        target: &Target<'_>,
        start: u64,
        n: u64,
        raw: &'r mut Vec<u8>,
    ) -> Result<&'r [u8], RewriteError> {
        resize(raw, target.nbytes(n)?.0 as u64).map_err(|_| target.memory(n))?;
        self.read_piece(target, start, raw)?;
        Ok(raw)
    }
}

/// Checks that values are finite, because blocks of ggml store finite values only.
fn finite(values: &[f32], tensor: &TensorInfo, start: u64) -> Result<(), FakeQuantError> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let (tensor, value) = (tensor.name.clone(), values[index]);
            Err(FakeQuantError::Nonfinite { tensor, index: start as usize + index, value })
        }
    }
}
