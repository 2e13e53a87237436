//! Relations between tensors that differ: the transpose, the same rows in another order, the tensor of another layer, a
//! constant factor, and rows that only one of the two has at its end. Each is found by one more pass over the tensors that
//! differ. Equal values show first; [`blurred`] finds what is left of a relation where types have rounded.

use crate::blurred;
use crate::pieces::{PIECE_VALUES, PieceReader, ValuesError, is_number, pieces};
use crate::transpose::{have_exchanged_extents, transposed};
use gguf::{GgmlType, GgufError, GgufFile, GgufProblem, TensorInfo};
use numerics::{BlockCodec, DifferenceSums};
use record::answer::{ExtraRows, IncomparableTensor, TensorDifference, TensorRelation};
use std::collections::HashMap;

/// The longest row that is hashed whole, in values. No model in use comes near it.
const LONGEST_ROW: u64 = PIECE_VALUES;

/// The cosine from which two matrices are the same one with noise, so that neither can be another's rows.
const SAME_WITH_NOISE: f64 = 0.9;

/// The hashes of a tensor's values: of all of them, and of its rows in whatever order.
struct Hashes {
    whole: [u8; 16],
    /// The number of rows and the sum of their hashes.
    rows: (u64, u128),
}

/// Names the relations of the tensors that differ. At most one is named for each tensor: an opposite sign or a factor
/// first, then the transpose, then the same rows in another order, then the tensor of another name. `progress` gets the
/// number of bytes of each tensor as it comes to it.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub fn name_relations(
    a: &GgufFile,
    b: &GgufFile,
    tensors: &mut [TensorDifference],
    codec: &dyn BlockCodec,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ValuesError> {
    let mut of_a: HashMap<[u8; 16], String> = HashMap::new();
    let mut of_b: Vec<(usize, [u8; 16])> = Vec::new();
    let mut blurred_rows = Vec::new();
    for (index, row) in tensors.iter_mut().enumerate() {
        let (Some(tensor_a), Some(tensor_b)) = (a.tensor(&row.name), b.tensor(&row.name)) else { continue };
        progress(tensor_a.nbytes);
        if row.difference.changed == 0 || tensor_a.n_per_row() > LONGEST_ROW || tensor_a.n_elements() < 2 {
            continue;
        }
        row.relation = factor((a, tensor_a), (b, tensor_b), codec)?;
        let is_blurred = rounding_of(tensor_a.ty).is_none() || rounding_of(tensor_b.ty).is_none();
        if row.relation.is_none() && is_blurred {
            let likeness = (row.difference.cosine, row.difference.rel_rmse);
            row.relation = blurred::factor((a, tensor_a), (b, tensor_b), likeness, codec)?;
        }
        if row.relation.is_some() || (tensor_a.n_rows() > 1 && row.difference.cosine > SAME_WITH_NOISE) {
            continue;
        }
        // Only square matrices have the extents of their transposes.
        if have_exchanged_extents(tensor_a, tensor_b) {
            row.relation = transposed((a, tensor_a), (b, tensor_b), codec)?;
            if row.relation.is_some() {
                continue;
            }
        }
        let (hashes_a, hashes_b) = (hashes(a, tensor_a, codec)?, hashes(b, tensor_b, codec)?);
        if hashes_a.rows.0 > 1 && hashes_a.rows == hashes_b.rows {
            row.relation = Some(TensorRelation::RowsPermuted { rel_rmse: 0.0 });
        } else if tensor_a.ty != tensor_b.ty {
            row.relation = blurred::permuted((a, tensor_a), (b, tensor_b), codec)?;
        }
        of_a.insert(hashes_a.whole, row.name.clone());
        of_b.push((index, hashes_b.whole));
        blurred_rows.extend((tensor_a.ty != tensor_b.ty || is_blurred).then_some(index));
    }
    for (index, whole) in of_b {
        let row = &mut tensors[index];
        if let (None, Some(name)) = (&row.relation, of_a.get(&whole)) {
            row.relation = Some(TensorRelation::TensorOfA { name: name.clone(), rel_rmse: 0.0 });
        }
    }
    blurred_rows.retain(|&index: &usize| tensors[index].relation.is_none());
    let names: Vec<String> = blurred_rows.iter().map(|&index| tensors[index].name.clone()).collect();
    for (index, relation) in blurred_rows.into_iter().zip(blurred::exchanged(a, b, &names, codec)?) {
        tensors[index].relation = relation;
    }
    Ok(())
}

/// Names the relations of tensors whose extents differ. Only the transpose can be one. `progress` gets the number of bytes
/// of each tensor as it comes to it.
///
/// # Errors
/// When a file cannot be read.
pub fn name_transposes(
    a: &GgufFile,
    b: &GgufFile,
    tensors: &mut [IncomparableTensor],
    codec: &dyn BlockCodec,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ValuesError> {
    for row in tensors {
        let (Some(tensor_a), Some(tensor_b)) = (a.tensor(&row.name), b.tensor(&row.name)) else { continue };
        progress(tensor_a.nbytes);
        let can_be_restored = |t: &TensorInfo| is_number(t) && codec.layout(t.ty.name()).is_some();
        if tensor_a.ne == tensor_b.ne
            || !have_exchanged_extents(tensor_a, tensor_b)
            || !can_be_restored(tensor_a)
            || !can_be_restored(tensor_b)
        {
            continue;
        }
        row.relation = match transposed((a, tensor_a), (b, tensor_b), codec) {
            // A weight whose factors are wrong has no values.
            Err(ValuesError::Companion(_)) => None,
            // In a file of the other byte order, some types cannot be read.
            Err(ValuesError::Gguf(error))
                if matches!(*error, GgufError { problem: GgufProblem::ByteOrder { .. }, .. }) =>
            {
                None
            }
            found => found?,
        };
    }
    Ok(())
}

/// Hashes a tensor's values. The two zeros are one value, as everywhere in a comparison.
fn hashes(file: &GgufFile, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<Hashes, ValuesError> {
    let n_per_row = tensor.n_per_row().max(1);
    let rows_at_once = (PIECE_VALUES / n_per_row).max(1);
    let (mut whole, mut rows) = (blake3::Hasher::new(), (0, 0u128));
    let mut piece = PieceReader::new(file, tensor)?;
    for (start, n) in pieces(tensor.n_elements(), rows_at_once * n_per_row) {
        piece.read(start, n, codec)?;
        // −0 + 0 is +0.
        piece.values.iter_mut().for_each(|value| *value += 0.0);
        whole.update(bytemuck::cast_slice(&piece.values));
        for row in piece.values.chunks(n_per_row as usize) {
            let hash = cut(&blake3::hash(bytemuck::cast_slice(row)));
            rows = (rows.0 + 1, rows.1.wrapping_add(u128::from_le_bytes(hash)));
        }
    }
    Ok(Hashes { whole: cut(&whole.finalize()), rows })
}

/// The first 128 bits of a hash.
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
    let (mut piece_a, mut piece_b) = (PieceReader::new(a, tensor_a)?, PieceReader::new(b, tensor_b)?);
    let (mut found, mut opposite) = (None::<f64>, true);
    let (mut error, mut scaled) = (0.0, 0.0);
    for (start, n) in pieces(tensor_a.n_elements(), PIECE_VALUES) {
        piece_a.read(start, n, codec)?;
        piece_b.read(start, n, codec)?;
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
        let slack = subnormal_rounding(tensor_b.ty) + factor.abs() * subnormal_rounding(tensor_a.ty);
        let near = |(a, b): (f64, f64)| (b - factor * a).abs() <= 2.0 * rounding * (factor * a).abs() + slack;
        if !pairs().all(near) {
            return Ok(None);
        }
        for (a, b) in pairs() {
            error += (b - factor * a).powi(2);
            scaled += (factor * a).powi(2);
        }
    }
    Ok(match found {
        _ if opposite => Some(TensorRelation::OppositeSign),
        // A tensor and its cast differ by a factor of about 1, which is their rounding and not a relation.
        Some(factor) if (factor - 1.0).abs() > 2.0 * rounding.unwrap_or(0.0) => {
            Some(TensorRelation::Factor { factor, rel_rmse: (error / scaled).sqrt() })
        }
        _ => None,
    })
}

/// The largest relative error of a value that was rounded to this type. `None` for types whose values share a scale.
pub(crate) fn rounding_of(ty: GgmlType) -> Option<f64> {
    match ty {
        GgmlType::F32 => Some(2f64.powi(-24)),
        GgmlType::F16 => Some(2f64.powi(-11)),
        GgmlType::BF16 => Some(2f64.powi(-8)),
        _ => None,
    }
}

/// The largest absolute error of a value near zero that was rounded to this type. F32 and BF16 reach far below the values
/// of models.
pub(crate) fn subnormal_rounding(ty: GgmlType) -> f64 {
    if ty == GgmlType::F16 { 2f64.powi(-25) } else { 0.0 }
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
    let n_per_row = tensor.n_per_row();
    if n_per_row == 0 {
        return Ok(ExtraRows::Zeros);
    }
    let (mut piece, mut one) = (PieceReader::new(file, tensor)?, None::<Vec<f32>>);
    let (mut zeros, mut equal) = (true, true);
    let rows_at_once = (PIECE_VALUES / n_per_row).max(1);
    for (start, rows) in pieces(tensor.n_rows() - first, rows_at_once) {
        piece.read((first + start) * n_per_row, rows * n_per_row, codec)?;
        zeros = zeros && piece.values.iter().all(|&value| value == 0.0);
        let one = one.get_or_insert_with(|| piece.values[..n_per_row as usize].to_vec());
        equal = equal && piece.values.chunks(n_per_row as usize).all(|row| row == one.as_slice());
        if !zeros && !equal {
            break;
        }
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
    let (mut piece_a, mut piece_b) = (PieceReader::new(a, tensor_a)?, PieceReader::new(b, tensor_b)?);
    for (start, n) in pieces(n, PIECE_VALUES) {
        piece_a.read(start, n, codec)?;
        piece_b.read(start, n, codec)?;
        sums.add(&piece_a.values, &piece_b.values);
    }
    Ok(sums)
}
