//! Tells whether the matrices of one tensor are the transposes of those of another. Square tiles of both are in memory at
//! a time, so that neither tensor has to be in memory whole.

use crate::pieces::{PieceReader, ValuesError, pieces};
use crate::relation::{rounding_of, subnormal_rounding};
use gguf::{GgufFile, TensorInfo};
use numerics::BlockCodec;
use record::answer::TensorRelation;

/// The rows and the columns of a tile. It is a multiple of every type's block.
const TILE: u64 = 2048;

/// The share of the null model's squared error that a transpose may have. Of matrices with a mean of zero it is the error
/// of a cosine of 0.9; a matrix in 2 bits has about 0.03.
const OF_NULL: f64 = 0.1;

/// The share of the null model's squared error from which the first tiles end the search.
const FAR_FROM_IT: f64 = 0.5;

/// Whether the extents of two tensors are those of matrices and their transposes.
pub(crate) fn have_exchanged_extents(a: &TensorInfo, b: &TensorInfo) -> bool {
    a.n_elements() > 1 && a.ne[0] == b.ne[1] && a.ne[1] == b.ne[0] && a.ne[2..] == b.ne[2..]
}

/// One tile of both tensors: `n_rows` × `n_columns` values of A, and the `n_columns` × `n_rows` values of B that stand in
/// their places.
struct Tiles {
    n_rows: usize,
    n_columns: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

/// The sums over all pairs so far in which both values are finite.
#[derive(Default)]
struct Sums {
    /// Σ a².
    reference: f64,
    /// Σ (b − a)² with B transposed.
    error: f64,
    /// Σ (b − a)² with B transposed and A moved by one row and one column. Matrices that any arrangement fits, such as
    /// constant ones, have no larger error in place than moved.
    null: f64,
}

/// Whether every matrix of B is the transpose of that of A. The extents must be exchanged. Values of one float type must
/// be equal, and those of two float types must be equal within their rounding. Other types round by blocks, which run
/// along other values in a transpose: of them the error must be far below that of the null model.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub(crate) fn transposed(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
    codec: &dyn BlockCodec,
) -> Result<Option<TensorRelation>, ValuesError> {
    let rounding = rounding_of(tensor_a.ty).zip(rounding_of(tensor_b.ty));
    let (relative, slack) = match rounding {
        Some((of_a, of_b)) if tensor_a.ty != tensor_b.ty => {
            (of_a + of_b, subnormal_rounding(tensor_a.ty) + subnormal_rounding(tensor_b.ty))
        }
        _ => (0.0, 0.0),
    };
    let is_near = |a: f32, b: f32| {
        let (a, b) = (f64::from(a), f64::from(b));
        a == b || (a.is_nan() && b.is_nan()) || (b - a).abs() <= relative * a.abs().max(b.abs()) + slack
    };
    let (n_columns, n_rows) = (tensor_a.ne[0], tensor_a.ne[1]);
    let n_matrices = tensor_a.ne[2..].iter().product::<u64>();
    let (mut piece_a, mut piece_b) = (PieceReader::new(a, tensor_a)?, PieceReader::new(b, tensor_b)?);
    let (mut tiles, mut sums) = (Tiles { n_rows: 0, n_columns: 0, a: Vec::new(), b: Vec::new() }, Sums::default());
    for matrix in 0..n_matrices {
        let before = matrix * n_columns * n_rows;
        for (row, rows) in pieces(n_rows, TILE) {
            for (column, columns) in pieces(n_columns, TILE) {
                (tiles.n_rows, tiles.n_columns) = (rows as usize, columns as usize);
                read_tile(
                    &mut piece_a,
                    before + row * n_columns + column,
                    n_columns,
                    (rows, columns),
                    &mut tiles.a,
                    codec,
                )?;
                read_tile(&mut piece_b, before + column * n_rows + row, n_rows, (columns, rows), &mut tiles.b, codec)?;
                if rounding.is_some() && !tiles.all(is_near) {
                    return Ok(None);
                }
                tiles.add_to(&mut sums);
                if sums.error > FAR_FROM_IT * sums.null {
                    return Ok(None);
                }
            }
        }
    }
    let is_it = sums.null > 0.0 && sums.error <= OF_NULL * sums.null;
    Ok(is_it.then(|| TensorRelation::Transposed { rel_rmse: (sums.error / sums.reference).sqrt() }))
}

/// Reads a tile of `rows` × `columns` values, whose first is value `start` of a tensor with rows of `n_per_row` values.
fn read_tile(
    piece: &mut PieceReader<'_>,
    start: u64,
    n_per_row: u64,
    (rows, columns): (u64, u64),
    tile: &mut Vec<f32>,
    codec: &dyn BlockCodec,
) -> Result<(), ValuesError> {
    tile.clear();
    for row in 0..rows {
        piece.read(start + row * n_per_row, columns, codec)?;
        tile.extend_from_slice(&piece.values);
    }
    Ok(())
}

impl Tiles {
    /// The values of B that stand in the place of row `row` of A.
    fn transposed_row(&self, row: usize) -> impl Iterator<Item = f32> {
        self.b[row..].iter().step_by(self.n_rows).copied()
    }

    /// Whether `is_near` holds for every value of A and the value of B in its place.
    fn all(&self, is_near: impl Fn(f32, f32) -> bool) -> bool {
        let is_row_near =
            |(row, a): (usize, &[f32])| a.iter().zip(self.transposed_row(row)).all(|(&a, b)| is_near(a, b));
        self.a.chunks(self.n_columns).enumerate().all(is_row_near)
    }

    fn add_to(&self, sums: &mut Sums) {
        for (row, a) in self.a.chunks(self.n_columns).enumerate() {
            let moved = (row + 1) % self.n_rows * self.n_columns;
            let moved = &self.a[moved..moved + self.n_columns];
            for (column, (&a, b)) in a.iter().zip(self.transposed_row(row)).enumerate() {
                let (a, b, moved) = (f64::from(a), f64::from(b), f64::from(moved[(column + 1) % self.n_columns]));
                if a.is_finite() && b.is_finite() {
                    sums.reference += a * a;
                    sums.error += (b - a) * (b - a);
                    sums.null += if moved.is_finite() { (b - moved) * (b - moved) } else { 0.0 };
                }
            }
        }
    }
}
