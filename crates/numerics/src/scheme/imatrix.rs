//! Importance matrices: how much each input channel of a weight matters to ggml's quantizers.
//!
//! An entry has one importance for each value of a row, and one such row for each matrix (expert) of the tensor:
//!
//! ```text
//! tensor       [n_matrices][rows][n_per_row]      importances  [n_matrices][n_per_row]
//! ```
//!
//! The reader of a file brings its contents into this form.

use std::collections::BTreeMap;
use words::{Advice, Hint};

/// The importances of a model's tensors, by tensor name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imatrix {
    entries: BTreeMap<String, Vec<f32>>,
}

/// Why an importance matrix does not fit a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImatrixError {
    /// There is no entry with the name of the tensor.
    #[error("the importance matrix has no entry of that name")]
    NoEntry,
    /// The entry has another shape than the tensor.
    #[error("the importance matrix has {found} values for it, wanted {n_matrices} times a row of {n_per_row}")]
    Shape {
        /// The number of values of the entry.
        found: usize,
        /// The number of values of a row of the tensor.
        n_per_row: usize,
        /// The number of matrices of the tensor.
        n_matrices: usize,
    },
    /// All importances of a matrix are zero, so that every error counts for nothing and ggml makes zeros of the values.
    #[error(
        "all {} are zero, which would make all its values zero",
        .matrix.map_or("its importances".into(), |expert| format!("importances of expert {expert}"))
    )]
    AllZero {
        /// The matrix (expert) of the tensor, counted from 0. `None` for a tensor of one matrix.
        matrix: Option<usize>,
    },
}

impl Advice for ImatrixError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words(match self {
            ImatrixError::NoEntry => {
                "leave the tensor out of the target or quantize it with another scheme; llama-imatrix collects nothing for \
                 token_embd, and for output only with --process-output"
            }
            ImatrixError::AllZero { .. } => {
                "quantize this tensor by a rule without imatrix=, or collect the importances again; a matrix that was never \
                 used has a count of 0, and counts as 1 throughout"
            }
            ImatrixError::Shape { .. } => "collect an importance matrix on this model; this one has another shape",
        }))
    }
}

impl Imatrix {
    /// An importance matrix with these entries, each as in the drawing above, finite and not negative.
    pub fn new(entries: BTreeMap<String, Vec<f32>>) -> Self {
        Imatrix { entries }
    }

    /// The tensor names and their importances.
    pub fn entries(&self) -> &BTreeMap<String, Vec<f32>> {
        &self.entries
    }

    /// The importances of the tensor with this name and shape. `None` when no entry has that name.
    ///
    /// # Errors
    /// When the entry has another shape, or all importances of a matrix are zero.
    pub fn of_tensor(&self, tensor: &str, shape: TensorShape) -> Result<Option<Importance<'_>>, ImatrixError> {
        let Some(values) = self.entries.get(tensor) else { return Ok(None) };
        let TensorShape { n_per_row, n_matrices, rows } = shape;
        if n_matrices.checked_mul(n_per_row) != Some(values.len()) || values.is_empty() {
            return Err(ImatrixError::Shape { found: values.len(), n_per_row, n_matrices });
        }
        if let Some(matrix) = values.chunks(n_per_row).position(|row| row.iter().all(|&x| x == 0.0)) {
            return Err(ImatrixError::AllZero { matrix: (n_matrices > 1).then_some(matrix) });
        }
        Ok(Some(Importance { values, n_per_row, rows: rows.max(1) }))
    }
}

/// The shape of a tensor: `[n_matrices][rows][n_per_row]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorShape {
    /// `ne[0]`, the contiguous extent.
    pub n_per_row: usize,
    /// `ne[1]`, the rows of one matrix.
    pub rows: usize,
    /// `ne[2]`·`ne[3]`, the matrices (experts).
    pub n_matrices: usize,
}

impl TensorShape {
    /// The shape of a tensor with GGUF's extents, `ne[0]` first; missing extents are 1.
    pub fn of(ne: &[u64]) -> TensorShape {
        let extent = |i: usize| ne.get(i).map_or(1, |&n| usize::try_from(n).unwrap_or(usize::MAX));
        TensorShape { n_per_row: extent(0), rows: extent(1), n_matrices: extent(2).saturating_mul(extent(3)) }
    }

    /// The number of values of the tensor.
    pub fn n(&self) -> usize {
        self.n_per_row.saturating_mul(self.rows).saturating_mul(self.n_matrices)
    }

    /// The shape of a single matrix.
    pub fn matrix(n_per_row: usize, rows: usize) -> TensorShape {
        TensorShape { n_per_row, rows, n_matrices: 1 }
    }
}

/// The importances of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Importance<'a> {
    values: &'a [f32],
    n_per_row: usize,
    rows: usize,
}

impl<'a> Importance<'a> {
    /// The importances of the values of one row. Rows are counted through all matrices.
    pub fn of_row(&self, row: usize) -> &'a [f32] {
        let start = (row / self.rows * self.n_per_row).min(self.values.len() - self.n_per_row);
        &self.values[start..start + self.n_per_row]
    }

    /// The number of rows from this one on that have the same importances.
    pub fn rows_alike(&self, row: usize) -> usize {
        self.rows - row % self.rows
    }

    /// The number of rows of one matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_matrix_of_a_tensor_has_its_own_row_of_importances() {
        let imatrix = Imatrix::new(BTreeMap::from([("t".to_owned(), vec![1.0, 2.0, 3.0, 4.0])]));
        let shape = TensorShape::of(&[2, 3, 2]);
        let importance = imatrix.of_tensor("t", shape).unwrap().unwrap();
        let rows: Vec<&[f32]> = (0..6).map(|row| importance.of_row(row)).collect();
        assert_eq!(rows, [&[1.0, 2.0][..], &[1.0, 2.0], &[1.0, 2.0], &[3.0, 4.0], &[3.0, 4.0], &[3.0, 4.0]]);
        assert_eq!([importance.rows_alike(0), importance.rows_alike(2), importance.rows_alike(3)], [3, 1, 3]);
    }

    #[test]
    fn an_entry_of_another_shape_or_name_is_refused() {
        let imatrix = Imatrix::new(BTreeMap::from([("t".to_owned(), vec![1.0; 6]), ("empty".to_owned(), vec![])]));
        assert_eq!(imatrix.of_tensor("u", TensorShape::matrix(6, 1)), Ok(None));
        for shape in [TensorShape::matrix(3, 2), TensorShape { n_per_row: 2, rows: 1, n_matrices: usize::MAX }] {
            assert!(matches!(imatrix.of_tensor("t", shape), Err(ImatrixError::Shape { found: 6, .. })));
        }
        assert!(imatrix.of_tensor("empty", TensorShape { n_per_row: 0, rows: 0, n_matrices: 1 }).is_err());
        assert_eq!(TensorShape::of(&[8]), TensorShape::matrix(8, 1));
    }
}
