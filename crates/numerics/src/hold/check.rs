//! What is checked before values are changed: finite values, whole parts, files that were read, importances that fit.

use super::BATCH;
use super::error::FakeQuantError;
use super::part::{Piece, Together};
use crate::format::group::all_finite;
use crate::format::{CodebookTable, Format};
use crate::scheme::file::SchemeFile;
use crate::scheme::imatrix::{Imatrix, ImatrixError, Importance, TensorShape};
use crate::scheme::{Nonfinite, Scheme};
use rayon::prelude::*;

impl Scheme {
    /// The piece that `n` values of a tensor from its `start`-th on are.
    ///
    /// # Errors
    /// When the values are not made up of `wanted`.
    pub(crate) fn piece(
        &self,
        wanted: Together,
        tensor: &str,
        shape: TensorShape,
        start: usize,
        n: usize,
    ) -> Result<Piece, FakeQuantError> {
        wanted.piece(start, n, shape).ok_or_else(|| {
            let (tensor, scheme) = (tensor.to_owned(), self.to_string());
            FakeQuantError::Part { tensor, scheme, start, n, wanted }
        })
    }

    /// The importances that the scheme's file has for a tensor. `None` when the scheme names no importance matrix, or the
    /// matrix has no entry for the tensor: as in llama-quantize, it is then quantized without
    /// ([`no_importance`](Self::no_importance)).
    ///
    /// # Errors
    /// When the file was not read, or its entry has another shape or importances of zero alone.
    pub fn importance(&self, tensor: &str, shape: TensorShape) -> Result<Option<Importance<'_>>, FakeQuantError> {
        let (Format::Ggml(_), Some(file)) = (self.format, &self.file) else { return Ok(None) };
        let imatrix: &Imatrix = file.imatrix().ok_or_else(|| self.not_read(tensor))?;
        imatrix.of_tensor(tensor, shape).map_err(|source| self.imatrix_error(tensor, source))
    }

    /// The error that the scheme's importance matrix has no entry for a tensor. `None` when it has one, or there is no matrix.
    pub fn no_importance(&self, tensor: &str) -> Option<FakeQuantError> {
        let imatrix = self.file.as_ref().and_then(SchemeFile::imatrix)?;
        let is_missing = !imatrix.entries().contains_key(tensor);
        is_missing.then(|| self.imatrix_error(tensor, ImatrixError::NoEntry))
    }

    fn imatrix_error(&self, tensor: &str, source: ImatrixError) -> FakeQuantError {
        let file = self.file.as_ref().map_or("", SchemeFile::name).to_owned();
        FakeQuantError::Imatrix { tensor: tensor.to_owned(), file, source }
    }

    /// The codebook from the scheme's file, once it was read.
    pub(crate) fn table(&self) -> Option<&CodebookTable> {
        self.file.as_ref().and_then(SchemeFile::table)
    }

    pub(crate) fn not_read(&self, tensor: &str) -> FakeQuantError {
        FakeQuantError::FileNotRead { tensor: tensor.to_owned(), scheme: self.to_string() }
    }

    /// Checks that the values, the tensor's from its `start`-th on, are finite. Under `:nonfinite=keep` it returns the
    /// others with their indices, for the caller to put back. ggml gets zeros in their places, since its functions
    /// assume finite input.
    ///
    /// # Errors
    /// When a value is not finite and the scheme does not keep such values.
    pub(crate) fn set_aside_nonfinite(
        &self,
        values: &mut [f32],
        tensor: &str,
        start: usize,
    ) -> Result<Vec<(usize, f32)>, FakeQuantError> {
        if self.nonfinite == Nonfinite::Error {
            return refuse_nonfinite(values, tensor, start).map(|()| Vec::new());
        }
        if values.par_chunks(BATCH).all(all_finite) {
            return Ok(Vec::new());
        }
        let kept: Vec<(usize, f32)> = values.iter().copied().enumerate().filter(|(_, x)| !x.is_finite()).collect();
        if matches!(self.format, Format::Ggml(_)) {
            for &(index, _) in &kept {
                values[index] = 0.0;
            }
        }
        Ok(kept)
    }
}

/// Checks that the values, the tensor's from its `start`-th on, are finite.
///
/// # Errors
/// The first value that is not.
pub(crate) fn refuse_nonfinite(values: &[f32], tensor: &str, start: usize) -> Result<(), FakeQuantError> {
    if values.par_chunks(BATCH).all(all_finite) {
        return Ok(());
    }
    match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((i, &value)) => Err(FakeQuantError::Nonfinite { tensor: tensor.to_owned(), index: start + i, value }),
    }
}
