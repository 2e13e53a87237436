//! Fake quantization of a whole tensor: each value becomes the number that it would read back as from the scheme's
//! format.

use super::error::FakeQuantError;
use crate::codec::BlockCodec;
use crate::format::Format;
use crate::scheme::Scheme;
use crate::scheme::file::SchemeFile;
use crate::scheme::imatrix::TensorShape;

/// What a scheme needs to know about a tensor beside its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorContext<'a> {
    /// The GGUF name. It is used in messages and mixed into seeds, so that tensors of equal length get different draws.
    pub name: &'a str,
    /// `ne[0]`, the contiguous extent.
    pub n_per_row: usize,
}

impl TensorContext<'_> {
    /// The number of rows of `n` values.
    ///
    /// # Errors
    /// When the values are not whole rows.
    pub(crate) fn rows(&self, n: usize) -> Result<usize, FakeQuantError> {
        match n.checked_div(self.n_per_row) {
            Some(rows) if rows * self.n_per_row == n => Ok(rows),
            _ => Err(FakeQuantError::Shape { tensor: self.name.to_owned(), n, n_per_row: self.n_per_row }),
        }
    }
}

impl Scheme {
    /// Replaces `values`, `[n / n_per_row][n_per_row]`, by what they become in this scheme.
    ///
    /// The result has the same bits for any number of threads. Values that overflow the format become infinite;
    /// [`difference`](crate::difference) counts them as `overflowed`.
    ///
    /// The extents of the tensor are not known here. Where the scheme has an importance matrix, its entry tells the
    /// number of matrices, if the rows can be divided by it; a caller that knows the extents checks them with
    /// [`importance`](Self::importance).
    ///
    /// # Errors
    /// When a value is not finite and the scheme has no `:nonfinite=keep`, when the values are not whole rows, when an
    /// asymmetric span is beyond F32, or when the codec fails. Only the first two leave `values` as they were.
    pub fn fake_quantize(
        &self,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
        codec: &dyn BlockCodec,
    ) -> Result<(), FakeQuantError> {
        if values.is_empty() || self.format == Format::Identity {
            return Ok(());
        }
        let shape = self.shape_of(values.len(), ctx)?;
        let mut observer = self.observer(ctx.name, shape)?;
        for _ in 0..self.passes(shape) {
            observer.see(values)?;
        }
        observer.holder()?.hold(0, values, codec)
    }

    /// The shape of a whole tensor of which only the number of values and the length of a row are known.
    fn shape_of(&self, n: usize, ctx: &TensorContext<'_>) -> Result<TensorShape, FakeQuantError> {
        let rows = ctx.rows(n)?;
        let entry = self.file.as_ref().and_then(SchemeFile::imatrix).and_then(|i| i.entries().get(ctx.name));
        let n_matrices = entry.and_then(|entry| entry.len().checked_div(ctx.n_per_row)).unwrap_or(1);
        Ok(match n_matrices > 0 && rows.is_multiple_of(n_matrices) {
            true => TensorShape { n_per_row: ctx.n_per_row, rows: rows / n_matrices, n_matrices },
            false => TensorShape::matrix(ctx.n_per_row, rows),
        })
    }
}
