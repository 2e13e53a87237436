//! Relations that rounding has blurred. Types that share scales round by blocks, and two such types round the same values
//! differently, so related tensors are not equal anywhere. A relation is claimed where its error is far below that of a
//! null model: the same values moved by one place. Values that any arrangement fits, such as those around one centre, have
//! no larger error moved than in place.

use crate::pieces::{PIECE_VALUES, PieceReader, ValuesError, pieces};
use gguf::{GgufFile, TensorInfo};
use numerics::BlockCodec;
use record::answer::TensorRelation;

/// The share of the null model's squared error that a relation may have. Of values with a mean of zero it is the error of a
/// cosine of 0.9; values in 2 bits have about 0.03.
const OF_NULL: f64 = 0.1;

/// A factor is looked for where it could explain this many times the squared error that remains.
const EXPLAINED: f64 = 4.0;

/// The most rows that are put in order. The search is quadratic in them.
const MOST_ROWS: u64 = 4096;

/// The number of values at the head of each row by which rows are found. It is a multiple of every type's block.
const HEAD: u64 = 256;

/// The number of rows that must be found before all of them are looked for.
const PROBES: u64 = 8;

/// The cosine from which two heads are of one row.
const SAME_ROW: f32 = 0.9;

/// The number of values at the head of each tensor by which another tensor's values are found.
const SAMPLE: u64 = 4096;

/// Sums over the pairs in which all values are finite, of B, of the values of A that stand in their places, and of A moved by
/// one place.
#[derive(Clone, Copy, Default)]
struct Sums {
    a_a: f64,
    b_b: f64,
    a_b: f64,
    moved_moved: f64,
    moved_b: f64,
}

impl Sums {
    /// Adds values of A and the values of B in their places.
    fn add(&mut self, a: &[f32], b: &[f32]) {
        for (i, (&x, &y)) in a.iter().zip(b).enumerate() {
            let moved = a[(i + 1) % a.len()];
            if x.is_finite() && y.is_finite() && moved.is_finite() {
                let (x, y, moved) = (f64::from(x), f64::from(y), f64::from(moved));
                self.a_a += x * x;
                self.b_b += y * y;
                self.a_b += x * y;
                self.moved_moved += moved * moved;
                self.moved_b += moved * y;
            }
        }
    }

    /// The factor of A with the least squared error.
    fn factor(&self) -> f64 {
        self.a_b / self.a_a
    }

    /// The relative root mean square error of B against A times a factor. `None` where it is not far below that of the
    /// null model.
    fn error(&self, factor: f64) -> Option<f64> {
        let squared = |a_a: f64, a_b: f64| (self.b_b - 2.0 * factor * a_b + factor * factor * a_a).max(0.0);
        let (error, null) = (squared(self.a_a, self.a_b), squared(self.moved_moved, self.moved_b));
        let is_far_below = null > 0.0 && error <= OF_NULL * null;
        is_far_below.then(|| (error / (factor * factor * self.a_a)).sqrt())
    }
}

/// The sums over two tensors of the same extents.
fn sums(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
    n: u64,
    codec: &dyn BlockCodec,
) -> Result<Sums, ValuesError> {
    let (mut piece_a, mut piece_b) = (PieceReader::new(a, tensor_a)?, PieceReader::new(b, tensor_b)?);
    let mut sums = Sums::default();
    for (start, n) in pieces(n, PIECE_VALUES) {
        piece_a.read(start, n, codec)?;
        piece_b.read(start, n, codec)?;
        sums.add(&piece_a.values, &piece_b.values);
    }
    Ok(sums)
}

/// The factor of two tensors with this cosine and relative error, where it explains most of the difference.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub(crate) fn factor(
    a: (&GgufFile, &TensorInfo),
    b: (&GgufFile, &TensorInfo),
    (cosine, rel_rmse): (f64, f64),
    codec: &dyn BlockCodec,
) -> Result<Option<TensorRelation>, ValuesError> {
    // What is left beside the best factor is 1 − cos² of B's squares.
    let left = 1.0 - cosine * cosine;
    if !(left <= OF_NULL && rel_rmse * rel_rmse >= EXPLAINED * left) {
        return Ok(None);
    }
    let sums = sums(a, b, a.1.n_elements(), codec)?;
    let factor = sums.factor();
    let plain = sums.b_b - 2.0 * sums.a_b + sums.a_a;
    let found = sums.error(factor).filter(|error| plain >= EXPLAINED * (error * factor).powi(2) * sums.a_a);
    Ok(found.filter(|_| factor.is_normal()).map(|rel_rmse| TensorRelation::Factor { factor, rel_rmse }))
}

/// Whether B has the rows of A in another order.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub(crate) fn permuted(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
    codec: &dyn BlockCodec,
) -> Result<Option<TensorRelation>, ValuesError> {
    let (n_rows, n_per_row) = (tensor_a.n_rows(), tensor_a.n_per_row());
    if !(2..=MOST_ROWS).contains(&n_rows) || n_per_row < 2 {
        return Ok(None);
    }
    let (mut piece_a, mut piece_b) = (PieceReader::new(a, tensor_a)?, PieceReader::new(b, tensor_b)?);
    let width = HEAD.min(n_per_row);
    let mut heads = Vec::with_capacity((n_rows * width) as usize);
    for row in 0..n_rows {
        piece_b.read(row * n_per_row, width, codec)?;
        heads.extend(unit(&piece_b.values));
    }
    let mut found_in = |row: u64| -> Result<Option<u64>, ValuesError> {
        piece_a.read(row * n_per_row, width, codec)?;
        let wanted = unit(&piece_a.values);
        let cosine = |head: &[f32]| head.iter().zip(&wanted).map(|(x, y)| x * y).sum::<f32>();
        let cosines = heads.chunks_exact(width as usize).map(cosine).enumerate();
        let best = cosines.max_by(|(_, x), (_, y)| x.total_cmp(y));
        Ok(best.filter(|(_, cosine)| *cosine >= SAME_ROW).map(|(row, _)| row as u64))
    };
    for row in (0..n_rows).step_by((n_rows / PROBES).max(1) as usize) {
        if found_in(row)?.is_none() {
            return Ok(None);
        }
    }
    let mut place_of = Vec::with_capacity(n_rows as usize);
    for row in 0..n_rows {
        let Some(place) = found_in(row)? else { return Ok(None) };
        place_of.push(place);
    }
    let mut sorted = place_of.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) || place_of.is_sorted() {
        return Ok(None);
    }
    let mut sums = Sums::default();
    for (row, place) in place_of.into_iter().enumerate() {
        piece_a.read(row as u64 * n_per_row, n_per_row, codec)?;
        piece_b.read(place * n_per_row, n_per_row, codec)?;
        sums.add(&piece_a.values, &piece_b.values);
    }
    Ok(sums.error(1.0).map(|rel_rmse| TensorRelation::RowsPermuted { rel_rmse }))
}

/// The tensor of A whose values each of these tensors of B has; `None` where none or its own.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub(crate) fn exchanged(
    a: &GgufFile,
    b: &GgufFile,
    names: &[String],
    codec: &dyn BlockCodec,
) -> Result<Vec<Option<TensorRelation>>, ValuesError> {
    let heads = |file: &GgufFile| -> Result<Vec<Vec<f32>>, ValuesError> {
        let mut heads = Vec::with_capacity(names.len());
        for name in names {
            let Some(tensor) = file.tensor(name) else { continue };
            let mut piece = PieceReader::new(file, tensor)?;
            piece.read(0, SAMPLE.min(tensor.n_elements()), codec)?;
            heads.push(piece.values);
        }
        Ok(heads)
    };
    let (heads_a, heads_b) = (heads(a)?, heads(b)?);
    let mut found = Vec::with_capacity(names.len());
    for (name, head_b) in names.iter().zip(&heads_b) {
        let mut relation = None;
        for (other, head_a) in names.iter().zip(&heads_a).filter(|(other, _)| *other != name) {
            let (Some(tensor_a), Some(tensor_b)) = (a.tensor(other), b.tensor(name)) else { continue };
            let mut of_heads = Sums::default();
            of_heads.add(head_a, head_b);
            if tensor_a.ne != tensor_b.ne || of_heads.error(1.0).is_none() {
                continue;
            }
            if let Some(rel_rmse) = sums((a, tensor_a), (b, tensor_b), tensor_a.n_elements(), codec)?.error(1.0) {
                relation = Some(TensorRelation::TensorOfA { name: other.clone(), rel_rmse });
                break;
            }
        }
        found.push(relation);
    }
    Ok(found)
}

/// The values divided by their norm. Rows of zeros stay as they are, and so does nothing that is not finite.
fn unit(values: &[f32]) -> Vec<f32> {
    let norm = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let inverse = if norm > 0.0 && norm.is_finite() { 1.0 / norm } else { 0.0 };
    values.iter().map(|&x| if x.is_finite() { (f64::from(x) * inverse) as f32 } else { 0.0 }).collect()
}
