//! Relations between tensors that differ: the same rows in another order, the tensor of another layer, a constant factor,
//! and rows that only one of the two has at its end. Each is found by one more pass over the tensors that differ.

use crate::open::Model;
use crate::pieces::{PIECE_VALUES, Piece, ValuesError, pieces};
use gguf::{GgmlType, GgufFile, TensorInfo};
use numerics::{BlockCodec, DifferenceSums};
use record::answer::{ExtraRows, TensorDifference, TensorRelation};
use std::collections::HashMap;

/// The longest row that is hashed whole, in values. No model in use comes near it.
const LONGEST_ROW: u64 = PIECE_VALUES;

/// The hashes of a tensor's values: of all of them, and of each row in ascending order.
struct Hashes {
    whole: [u8; 16],
    rows: Vec<[u8; 16]>,
}

/// Names the relations of the tensors that differ. At most one is named for each tensor: an opposite sign or a factor
/// first, then the same rows in another order, then the tensor of another name.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub fn name_relations(
    a: &Model,
    b: &Model,
    tensors: &mut [TensorDifference],
    codec: &dyn BlockCodec,
) -> Result<(), ValuesError> {
    let (a, b) = (&a.file, &b.file);
    let mut of_a: HashMap<[u8; 16], String> = HashMap::new();
    let mut of_b: Vec<(usize, [u8; 16])> = Vec::new();
    for (index, row) in tensors.iter_mut().enumerate().filter(|(_, row)| row.difference.changed > 0) {
        let (Some(tensor_a), Some(tensor_b)) = (a.tensor(&row.name), b.tensor(&row.name)) else { continue };
        if tensor_a.n_per_row() > LONGEST_ROW || tensor_a.n_elements() < 2 {
            continue;
        }
        row.relation = factor((a, tensor_a), (b, tensor_b), codec)?;
        let (hashes_a, hashes_b) = (hashes(a, tensor_a, codec)?, hashes(b, tensor_b, codec)?);
        if row.relation.is_none() && hashes_a.rows.len() > 1 && hashes_a.rows == hashes_b.rows {
            row.relation = Some(TensorRelation::RowsPermuted);
        }
        of_a.insert(hashes_a.whole, row.name.clone());
        of_b.push((index, hashes_b.whole));
    }
    for (index, whole) in of_b {
        let row = &mut tensors[index];
        if let (None, Some(name)) = (&row.relation, of_a.get(&whole)) {
            row.relation = Some(TensorRelation::TensorOfA { name: name.clone() });
        }
    }
    Ok(())
}

/// Hashes a tensor's values. The two zeros are one value, as everywhere in a comparison.
fn hashes(file: &GgufFile, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<Hashes, ValuesError> {
    let n_per_row = tensor.n_per_row().max(1);
    let rows_at_once = (PIECE_VALUES / n_per_row).max(1);
    let (mut whole, mut rows, mut piece) = (blake3::Hasher::new(), Vec::new(), Piece::default());
    for (start, n) in pieces(tensor.n_elements(), rows_at_once * n_per_row) {
        piece.read(file, tensor, start, n, codec)?;
        // −0 + 0 is +0.
        piece.values.iter_mut().for_each(|value| *value += 0.0);
        whole.update(bytemuck::cast_slice(&piece.values));
        rows.extend(piece.values.chunks(n_per_row as usize).map(|row| cut(&blake3::hash(bytemuck::cast_slice(row)))));
    }
    rows.sort_unstable();
    Ok(Hashes { whole: cut(&whole.finalize()), rows })
}

/// The first 128 bits of a hash, so that the hashes of a large vocabulary take little memory.
fn cut(hash: &blake3::Hash) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    first
}

/// The factor by which all values of B are those of A: exactly −1, or another one within the rounding of the stored
/// types. Only a type that stores each value on its own has a rounding that bounds every value.
fn factor(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
    codec: &dyn BlockCodec,
) -> Result<Option<TensorRelation>, ValuesError> {
    let rounding = rounding_of(tensor_a.ty).zip(rounding_of(tensor_b.ty)).map(|(a, b)| a + b);
    let (mut piece_a, mut piece_b) = (Piece::default(), Piece::default());
    let (mut found, mut opposite) = (None::<f64>, true);
    for (start, n) in pieces(tensor_a.n_elements(), PIECE_VALUES) {
        piece_a.read(a, tensor_a, start, n, codec)?;
        piece_b.read(b, tensor_b, start, n, codec)?;
        let pairs = || piece_a.values.iter().zip(&piece_b.values).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        opposite = opposite && pairs().all(|(a, b)| a == -b);
        let Some(rounding) = rounding else {
            if opposite {
                continue;
            }
            return Ok(None);
        };
        // The factor is that of the first piece's largest value.
        let largest = pairs().max_by(|(x, _), (y, _)| x.abs().total_cmp(&y.abs()));
        let Some(factor) = found.or(largest.map(|(a, b)| b / a)).filter(|factor| factor.is_normal()) else {
            return Ok(None);
        };
        found = Some(factor);
        // Both the factor and the value itself were rounded.
        let near = |(a, b): (f64, f64)| (b - factor * a).abs() <= 2.0 * rounding * (factor * a).abs();
        if !pairs().all(near) {
            return Ok(None);
        }
    }
    Ok(match found {
        _ if opposite => Some(TensorRelation::OppositeSign),
        // A tensor and its cast differ by a factor of about 1, which is their rounding and not a relation.
        Some(factor) if (factor - 1.0).abs() > 2.0 * rounding.unwrap_or(0.0) => Some(TensorRelation::Factor { factor }),
        _ => None,
    })
}

/// The largest relative error of a value that was rounded to this type. `None` for types whose values share a scale.
fn rounding_of(ty: GgmlType) -> Option<f64> {
    match ty {
        GgmlType::F32 => Some(2f64.powi(-24)),
        GgmlType::F16 => Some(2f64.powi(-11)),
        GgmlType::BF16 => Some(2f64.powi(-8)),
        _ => None,
    }
}

/// Whether two tensors have rows of one length and differ in their number alone, as a padded vocabulary does.
pub fn differ_in_rows_alone(a: &TensorInfo, b: &TensorInfo) -> bool {
    a.ne[0] == b.ne[0] && a.ne[1] != b.ne[1] && a.ne[2..] == b.ne[2..] && a.ne[2..].iter().all(|&n| n == 1)
}

/// What the rows are that only the longer tensor has: those from `first` on.
///
/// # Errors
/// When the file cannot be read, or the codec cannot restore a type.
pub fn extra_rows(
    file: &GgufFile,
    tensor: &TensorInfo,
    first: u64,
    codec: &dyn BlockCodec,
) -> Result<ExtraRows, ValuesError> {
    let (n_per_row, mut piece) = (tensor.n_per_row(), Piece::default());
    let (mut zeros, mut equal, mut one) = (true, true, None::<Vec<f32>>);
    for row in first..tensor.n_rows() {
        piece.read(file, tensor, row * n_per_row, n_per_row, codec)?;
        zeros = zeros && piece.values.iter().all(|&value| value == 0.0);
        equal = equal && *one.get_or_insert_with(|| piece.values.clone()) == piece.values;
    }
    Ok(match (zeros, equal && tensor.n_rows() - first > 1) {
        (true, _) => ExtraRows::Zeros,
        (false, true) => ExtraRows::OneRowRepeated,
        (false, false) => ExtraRows::OtherValues,
    })
}

/// The differences of the first `n` values of two tensors.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub fn sums_of_first(
    n: u64,
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
    codec: &dyn BlockCodec,
) -> Result<DifferenceSums, ValuesError> {
    let mut sums = DifferenceSums::default();
    let (mut piece_a, mut piece_b) = (Piece::default(), Piece::default());
    for (start, n) in pieces(n, PIECE_VALUES) {
        piece_a.read(a, tensor_a, start, n, codec)?;
        piece_b.read(b, tensor_b, start, n, codec)?;
        sums.add(&piece_a.values, &piece_b.values);
    }
    Ok(sums)
}
