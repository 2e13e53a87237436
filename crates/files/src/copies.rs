//! Tensors that a file has twice: under another name with the same bytes, or in another type with the same values or
//! nearly the same.

use crate::companion;
use crate::pieces::{PIECE_VALUES, PieceReader, ValuesError, is_number, pieces, resize, shown};
use crate::relation;
use gguf::{GgufError, GgufFile, GgufProblem, TensorInfo};
use numerics::BlockCodec;
use record::answer::TensorCopy;
use std::collections::HashMap;

/// The number of bytes at either end of a tensor by which copies are searched.
const END_BYTES: u64 = 4096;
/// The cosine from which two matrices are nearly the same. Between the embedding and the head of a model that does not
/// tie them it is near 0; one matrix in 2 bits and in 8 bits has about 0.97.
const NEARLY_SAME: f64 = 0.9;

/// The tensors that the file has twice. Tensors whose values are all equal are not counted. Of different types, only the
/// embedding and the head are compared, because a converter may write a tied matrix twice.
///
/// # Errors
/// When the file cannot be read, or the codec cannot restore a type.
pub fn copies(file: &GgufFile, codec: &dyn BlockCodec) -> Result<Vec<TensorCopy>, ValuesError> {
    let mut found = Vec::new();
    let mut by_ends: HashMap<(&str, &[u64], [u8; 32]), &TensorInfo> = HashMap::new();
    let is_weight = |t: &&TensorInfo| t.n_elements() > 1 && is_number(t) && codec.layout(t.ty.name()).is_some();
    let is_factors = |t: &&TensorInfo| companion::is_companion(file, t);
    for tensor in file.tensors().iter().filter(is_weight).filter(|t| !is_factors(t)) {
        if companion::wrong_factors(file, tensor)?.is_some() {
            continue;
        }
        // In a file of the other byte order, some types cannot be read.
        let Some(ends) = ends(file, tensor)? else { continue };
        let key = (tensor.ty.name(), tensor.shape(), ends);
        match by_ends.get(&key) {
            Some(first) if same_bytes(file, first, tensor, codec)? => {
                let (a, b) = (first.name.clone(), tensor.name.clone());
                found.push(TensorCopy {
                    a,
                    b,
                    type_a: tensor.ty.to_string(),
                    type_b: tensor.ty.to_string(),
                    rel_rmse: 0.0,
                });
            }
            Some(_) => {}
            None => drop(by_ends.insert(key, tensor)),
        }
    }
    if let (Some(embedding), Some(head)) = (file.tensor("token_embd.weight"), file.tensor("output.weight"))
        && embedding.ty != head.ty
        && embedding.ne == head.ne
        && is_weight(&embedding)
        && is_weight(&head)
        && companion::wrong_factors(file, embedding)?.is_none()
        && companion::wrong_factors(file, head)?.is_none()
    {
        let n = embedding.n_elements();
        let sums = relation::sums_of_first(n, (file, embedding), (file, head), codec)?.finish();
        if sums.cosine > NEARLY_SAME {
            found.push(TensorCopy {
                a: embedding.name.clone(),
                b: head.name.clone(),
                type_a: embedding.ty.to_string(),
                type_b: head.ty.to_string(),
                rel_rmse: sums.rel_rmse,
            });
        }
    }
    Ok(found)
}

/// A copy in a sentence.
pub fn sentence(copy: &TensorCopy) -> String {
    let (a, b) = (words::escape_terminal(&copy.a), words::escape_terminal(&copy.b));
    if copy.rel_rmse == 0.0 && copy.type_a == copy.type_b {
        return format!("{b} is {a} a second time, byte by byte");
    }
    if copy.rel_rmse == 0.0 {
        return format!(
            "{a} ({}) and {b} ({}) have the same values: one matrix was written twice",
            copy.type_a, copy.type_b
        );
    }
    format!(
        "{a} ({}) and {b} ({}) are nearly the same matrix, with a relative RMSE of {}: one matrix was written twice",
        copy.type_a,
        copy.type_b,
        words::deviation(copy.rel_rmse)
    )
}

/// A hash over both ends of a tensor's bytes, in whole blocks. `None` if the byte order of its type is not defined.
fn ends(file: &GgufFile, tensor: &TensorInfo) -> Result<Option<[u8; 32]>, ValuesError> {
    let block = tensor.ty.type_size();
    let n = tensor.nbytes.min(END_BYTES / block * block);
    let mut bytes = Vec::new();
    resize(&mut bytes, n).map_err(|_| ValuesError::Memory { tensor: shown(tensor), n })?;
    let mut hasher = blake3::Hasher::new();
    for start in [0, tensor.nbytes - n] {
        match file.read_at(tensor, start, &mut bytes) {
            Err(GgufError { problem: GgufProblem::ByteOrder { .. }, .. }) => return Ok(None),
            read => read?,
        }
        hasher.update(&bytes);
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

/// Whether two tensors of one type have the same bytes, and values that are not all equal.
fn same_bytes(file: &GgufFile, a: &TensorInfo, b: &TensorInfo, codec: &dyn BlockCodec) -> Result<bool, ValuesError> {
    let (mut piece_a, mut piece_b) = (PieceReader::new(file, a)?, PieceReader::new(file, b)?);
    let (mut first, mut constant) = (None, true);
    for (start, n) in pieces(a.n_elements(), PIECE_VALUES) {
        piece_a.read(start, n, codec)?;
        piece_b.read(start, n, codec)?;
        if piece_a.bytes != piece_b.bytes {
            return Ok(false);
        }
        let one = *first.get_or_insert(piece_a.values[0]);
        constant = constant && piece_a.values.iter().all(|&value| value == one);
    }
    Ok(!constant)
}
