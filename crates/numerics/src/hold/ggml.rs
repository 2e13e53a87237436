//! ggml's own types. ggml's functions quantize and restore them through a [`BlockCodec`], so that the bits are
//! llama.cpp's.

use super::error::FakeQuantError;
use super::part::Piece;
use crate::codec::{BlockCodec, CodecError};
use crate::format::ggml::GgmlFormat;
use crate::scheme::Scheme;
use crate::scheme::imatrix::Importance;
use rayon::prelude::*;

/// About how many values a thread hands to ggml at once: whole rows, so the result does not depend on it.
const BATCH: usize = 1 << 15;

/// Quantizes and restores rows in place.
///
/// # Errors
/// When the rows are not whole blocks, the type needs an importance matrix, or the codec fails.
pub(crate) fn apply(
    scheme: &Scheme,
    format: &GgmlFormat,
    values: &mut [f32],
    tensor: &str,
    piece: Piece,
    importance: Option<Importance<'_>>,
    codec: &dyn BlockCodec,
) -> Result<(), FakeQuantError> {
    let n_per_row = piece.width;
    let fail = |source| FakeQuantError::Codec { tensor: tensor.to_owned(), source };
    let layout = codec.layout(format.name).ok_or_else(|| fail(CodecError::UnknownType { ty: format.name.into() }))?;
    if !n_per_row.is_multiple_of(layout.blck_size) {
        return Err(fail(CodecError::PartialBlock { ty: format.name.into(), blck_size: layout.blck_size, n_per_row }));
    }
    if layout.requires_imatrix && importance.is_none() {
        let no_file = || fail(CodecError::RequiresImatrix { ty: format.name.into() });
        return Err(scheme.no_importance(tensor).unwrap_or_else(no_file));
    }
    // Every batch is tried and the first one that fails is reported, so the error does not depend on the threads.
    let results: Vec<_> = batches(values, n_per_row, importance, piece.start / n_per_row)
        .into_par_iter()
        .map(|(rows, importances)| {
            let bytes = codec.quantize(format.name, rows, n_per_row, importances)?;
            codec.dequantize(format.name, &bytes, rows)
        })
        .collect();
    results.into_iter().collect::<Result<(), _>>().map_err(fail)
}

/// Splits the values into batches of whole rows; the rows of a batch have the same importances.
fn batches<'v, 'i>(
    mut values: &'v mut [f32],
    n_per_row: usize,
    importance: Option<Importance<'i>>,
    mut row: usize,
) -> Vec<(&'v mut [f32], Option<&'i [f32]>)> {
    let rows_at_once = (BATCH / n_per_row).max(1);
    let mut batches = Vec::with_capacity(values.len() / n_per_row / rows_at_once + 1);
    while !values.is_empty() {
        let rows = importance.map_or(rows_at_once, |i| rows_at_once.min(i.rows_alike(row)));
        let (batch, rest) = values.split_at_mut((rows * n_per_row).min(values.len()));
        batches.push((batch, importance.map(|i| i.of_row(row))));
        row += rows;
        values = rest;
    }
    batches
}
