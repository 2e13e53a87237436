//! What is checked before values are changed.

use super::BATCH;
use super::error::FakeQuantError;
use super::part::{Piece, Together};
use crate::format::group::all_finite;
use crate::format::{CodebookTable, Format};
use crate::scheme::file::SchemeFile;
use crate::scheme::imatrix::{Imatrix, Importance, TensorShape};
use crate::scheme::{Nonfinite, Scheme};
use rayon::prelude::*;

impl Scheme {
    /// `n` values of a tensor from its `start`-th on, if they are made up of `wanted`.
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

    /// The importances that the scheme's file has for a tensor; `None` when the scheme names no importance matrix.
    ///
    /// # Errors
    /// When it has none for this tensor, or those of another shape.
    pub fn importance(&self, tensor: &str, shape: TensorShape) -> Result<Option<Importance<'_>>, FakeQuantError> {
        let (Format::Ggml(_), Some(file)) = (self.format, &self.file) else { return Ok(None) };
        let imatrix: &Imatrix = file.imatrix().ok_or_else(|| self.not_read(tensor))?;
        let failed =
            |source| FakeQuantError::Imatrix { tensor: tensor.to_owned(), file: file.name().to_owned(), source };
        imatrix.of_tensor(tensor, shape).map(Some).map_err(failed)
    }

    /// The codebook of the scheme's file.
    pub(crate) fn table(&self) -> Option<&CodebookTable> {
        self.file.as_ref().and_then(SchemeFile::table)
    }

    pub(crate) fn not_read(&self, tensor: &str) -> FakeQuantError {
        FakeQuantError::FileNotRead { tensor: tensor.to_owned(), scheme: self.to_string() }
    }

    /// Checks that values, of which the first is the tensor's `start`-th, are finite. Under `:nonfinite=keep` returns what
    /// has to be put back; ggml gets zeros in those places, since its functions assume finite input.
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

/// The error, if there is a value that is not finite; the first value is the tensor's `start`-th.
pub(crate) fn refuse_nonfinite(values: &[f32], tensor: &str, start: usize) -> Result<(), FakeQuantError> {
    if values.par_chunks(BATCH).all(all_finite) {
        return Ok(());
    }
    match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((i, &value)) => Err(FakeQuantError::Nonfinite { tensor: tensor.to_owned(), index: start + i, value }),
    }
}
