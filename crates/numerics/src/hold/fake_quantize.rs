//! Fake quantization: values become what they would read as after being held in the scheme's format.

use super::error::FakeQuantError;
use crate::codec::BlockCodec;
use crate::format::Format;
use crate::scheme::Scheme;
use crate::scheme::file::SchemeFile;
use crate::scheme::imatrix::TensorShape;

/// What a scheme needs to know about a tensor beside its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorContext<'a> {
    /// GGUF name: for messages, and mixed into seeds so that tensors of equal length get other draws.
    pub name: &'a str,
    /// `ne[0]`, the contiguous extent.
    pub n_per_row: usize,
}

impl TensorContext<'_> {
    /// How many rows `n` values are.
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
    /// Where the scheme has an importance matrix, the tensor is taken to have as many matrices as that says, if its rows
    /// can be shared out so; who knows the extents checks them with [`importance`](Self::importance).
    ///
    /// The result is the same bits for any number of threads. Values whose format overflows become
    /// infinite and are counted by [`difference`](crate::difference) as `overflowed`.
    ///
    /// # Errors
    /// Non-finite input without `:nonfinite=keep`, values that are not whole rows, an asymmetric span
    /// beyond F32, or a codec that fails. Only the first two leave `values` as they were.
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

    /// The shape of a whole tensor of which only values and rows are known.
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
