//! Compares two model files: their metadata key by key, and each tensor of one value by value with the tensor of the
//! same name in the other.
//!
//! Types, alignment, order and shards may differ; only values are compared. The value of a weight that has factors in a
//! tensor of its own is the product ([`companion`]), whether one file has factors or both. A weight whose factors cannot
//! be factors is named and not compared. One piece of a tensor is in memory at a time. Metadata that only label a file are listed, but do not make two files different:
//! a label such as `general.file_type` has to differ where types do.

use crate::companion;
use crate::copies::copies;
use crate::metadata;
use crate::open::Model;
use crate::pieces::{PIECE_VALUES, ValuesError, is_number, pieces, resize, shown};
use crate::relation;
use gguf::{GgufFile, TensorInfo};
use numerics::{BlockCodec, Difference, DifferenceSums};
use record::answer::{
    DIFF_FORMAT, DiffAnswer, GroupDifference, IncomparableTensor, MetadataEffect, PaddedTensor, TensorDifference,
    ValueDifference, WeightFactors,
};
use select::companion::companion_of;
use select::{TargetRole, TensorId};
use std::collections::BTreeMap;
use words::of;

/// Compares `b` with `a`, which is the reference. `progress` gets the number of bytes that are done and the number of
/// all bytes.
///
/// # Errors
/// When a file cannot be read, or the codec cannot restore a type.
pub fn diff(
    a: &Model,
    b: &Model,
    codec: &dyn BlockCodec,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<DiffAnswer, ValuesError> {
    let (names, (a, b)) = ((a.name(), b.name()), (&a.file, &b.file));
    // The tensors are compared, then those that differ are read again for what they are of one another.
    let total_bytes = a.tensors().iter().map(|t| t.nbytes).fold(0, u64::saturating_add).saturating_mul(2);
    let mut done_bytes = 0u64;
    let mut tensors = Vec::new();
    let (mut padded, mut incomparable) = (Vec::new(), Vec::new());
    let (mut roles, mut layers, mut total) = (Groups::default(), Groups::default(), Groups::default());
    for tensor_a in a.tensors().iter().filter(|tensor| !companion::is_companion(a, tensor)) {
        progress(done_bytes, total_bytes);
        done_bytes = done_bytes.saturating_add(tensor_a.nbytes);
        let Some(tensor_b) = b.tensor(&tensor_a.name) else { continue };
        if let Some(why) = without_values((a, tensor_a), (b, tensor_b))? {
            incomparable.push(incomparable_pair(tensor_a, tensor_b, why));
            continue;
        }
        if is_number(tensor_a) && is_number(tensor_b) && relation::differ_in_rows_alone(tensor_a, tensor_b) {
            padded.push(compare_common_rows((a, tensor_a), (b, tensor_b), codec)?);
            continue;
        }
        if !is_number(tensor_a) || !is_number(tensor_b) || tensor_a.ne != tensor_b.ne {
            if let Some(why) = compare_unread((a, tensor_a), (b, tensor_b))? {
                incomparable.push(incomparable_pair(tensor_a, tensor_b, why));
            }
            continue;
        }
        let sums = sums_of((a, tensor_a), (b, tensor_b), codec)?;
        let id = TensorId::from(tensor_a);
        let (place, role) = role_of(&id);
        roles.add(place, role, &sums);
        let (place, layer) = layer_of(&id);
        layers.add(place, &layer, &sums);
        total.add((0, 0), "all", &sums);
        tensors.push(TensorDifference {
            name: tensor_a.name.clone(),
            type_a: tensor_a.ty.name().into(),
            type_b: tensor_b.ty.name().into(),
            factors: factors_of(tensor_a, a, b),
            difference: answered(sums.finish()),
            relation: None,
        });
    }
    let mut again = |nbytes| {
        done_bytes = done_bytes.saturating_add(nbytes);
        progress(done_bytes, total_bytes);
    };
    relation::name_relations(a, b, &mut tensors, codec, &mut again)?;
    relation::name_transposes(a, b, &mut incomparable, codec, &mut again)?;
    let (only_a, only_b) = (missing_in(b, a), missing_in(a, b));
    let equal = |tensor: &TensorDifference| tensor.difference.changed == 0;
    let same_tensors = only_a.is_empty()
        && only_b.is_empty()
        && padded.is_empty()
        && incomparable.is_empty()
        && tensors.iter().all(equal);
    let metadata = metadata::compare(a, b);
    let same = same_tensors && metadata.iter().all(|key| key.effect == MetadataEffect::Label);
    Ok(DiffAnswer {
        format: DIFF_FORMAT,
        a: names.0,
        b: names.1,
        same,
        same_tensors,
        metadata,
        tensors,
        only_a,
        only_b,
        padded,
        incomparable,
        copies_a: copies(a, codec)?,
        copies_b: copies(b, codec)?,
        roles: roles.finish(),
        layers: layers.finish(),
        total: total.finish().pop(),
    })
}

/// The differences, in the form of the answer.
fn answered(d: Difference) -> ValueDifference {
    ValueDifference {
        n: d.n,
        changed: d.changed,
        zero_sign: d.zero_sign,
        minus_zero: d.minus_zero,
        zeroed: d.zeroed,
        unzeroed: d.unzeroed,
        sign_flipped: d.sign_flipped,
        overflowed: d.overflowed,
        nonfinite: d.nonfinite,
        max_abs: d.max_abs,
        mean_abs: d.mean_abs,
        rmse: d.rmse,
        rel_rmse: d.rel_rmse,
        sqnr_db: d.sqnr_db,
        cosine: d.cosine,
        max_ulp: d.max_ulp,
    }
}

/// The names of the tensors of `of` that `file` does not have. The factors of a weight are part of it.
fn missing_in(file: &GgufFile, of: &GgufFile) -> Vec<String> {
    let is_missing = |t: &&TensorInfo| file.tensor(&t.name).is_none() && !companion::is_companion(of, t);
    of.tensors().iter().filter(is_missing).map(|t| t.name.clone()).collect()
}

/// The tensor with the factors of a weight, and which files have it. `None` where neither has.
fn factors_of(weight: &TensorInfo, a: &GgufFile, b: &GgufFile) -> Option<WeightFactors> {
    let name = companion_of(&weight.name)?;
    let (in_a, in_b) = (a.tensor(&name).is_some(), b.tensor(&name).is_some());
    (in_a || in_b).then_some(WeightFactors { name, in_a, in_b })
}

fn sums_of(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
    codec: &dyn BlockCodec,
) -> Result<DifferenceSums, ValuesError> {
    relation::sums_of_first(tensor_a.n_elements(), (a, tensor_a), (b, tensor_b), codec)
}

/// Compares the rows that both tensors have, and says what the others are.
fn compare_common_rows(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
    codec: &dyn BlockCodec,
) -> Result<PaddedTensor, ValuesError> {
    let (rows_a, rows_b) = (tensor_a.n_rows(), tensor_b.n_rows());
    let common = rows_a.min(rows_b);
    let sums = relation::sums_of_first(common * tensor_a.n_per_row(), (a, tensor_a), (b, tensor_b), codec)?;
    let (longer, tensor) = if rows_a > rows_b { (a, tensor_a) } else { (b, tensor_b) };
    let extra = relation::extra_rows(longer, tensor, common, codec)?;
    let difference = answered(sums.finish());
    Ok(PaddedTensor { name: tensor_a.name.clone(), rows_a, rows_b, extra, difference })
}

/// The reason why two tensors differ whose values are not compared. `None` when they have the same bytes.
fn compare_unread(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
) -> Result<Option<String>, ValuesError> {
    if tensor_a.ne != tensor_b.ne {
        return Ok(Some("their extents differ".into()));
    }
    if tensor_a.ty != tensor_b.ty {
        return Ok(Some("one of them is of an integer or double type, the other is not".into()));
    }
    let size = tensor_a.ty.type_size();
    let (mut bytes_a, mut bytes_b) = (Vec::new(), Vec::new());
    let mut differing = 0;
    for (start, n) in pieces(tensor_a.nbytes, PIECE_VALUES * size) {
        for (file, tensor, bytes) in [(a, tensor_a, &mut bytes_a), (b, tensor_b, &mut bytes_b)] {
            resize(bytes, n).map_err(|_| ValuesError::Memory { tensor: shown(tensor), n: n / size })?;
            file.read_at(tensor, start, bytes)?;
        }
        let pairs = bytes_a.chunks_exact(size as usize).zip(bytes_b.chunks_exact(size as usize));
        differing += pairs.filter(|(x, y)| x != y).count() as u64;
    }
    let n = tensor_a.n_elements();
    Ok((differing > 0).then(|| format!("{} values differ, of a type without error metrics", of(differing, n))))
}

/// The reason why one of two weights has no values: the tensor beside it cannot be its factors. `None` where both have.
fn without_values(
    (a, tensor_a): (&GgufFile, &TensorInfo),
    (b, tensor_b): (&GgufFile, &TensorInfo),
) -> Result<Option<String>, ValuesError> {
    let wrong_a = companion::wrong_factors(a, tensor_a)?.map(|wrong| format!("in A, {wrong}"));
    let wrong_b = companion::wrong_factors(b, tensor_b)?.map(|wrong| format!("in B, {wrong}"));
    Ok(match (wrong_a, wrong_b) {
        (Some(a), Some(b)) => Some(format!("{a}; {b}")),
        (a, b) => a.or(b),
    })
}

fn incomparable_pair(a: &TensorInfo, b: &TensorInfo, why: String) -> IncomparableTensor {
    IncomparableTensor { name: a.name.clone(), a: described(a), b: described(b), why, relation: None }
}

/// The type and shape of a tensor, such as `q4_K [576, 1536]`.
fn described(tensor: &TensorInfo) -> String {
    format!("{} {:?}", tensor.ty.name(), tensor.shape())
}

/// The name of the role of a tensor in the summary, and the place of the role in the list.
fn role_of(id: &TensorId) -> ((usize, u32), &'static str) {
    let found = TargetRole::groups().enumerate().find(|(_, role)| role.holds(id));
    found.map_or(((usize::MAX, 0), "others"), |(place, role)| ((place, 0), role.name()))
}

/// The name of the layer of a tensor, such as `blk.3` or `v.blk.3`, and its place in the list. The layers of the
/// language model come first, then other layers, then tensors outside layers.
fn layer_of(id: &TensorId) -> ((usize, u32), String) {
    const FAMILIES: [&str; 4] = ["", "v.", "a.", "mm."];
    let Some(layer) = id.layer() else { return ((FAMILIES.len(), 0), "outside the layers".into()) };
    let place = FAMILIES.iter().rposition(|family| id.name.starts_with(family)).unwrap_or(0);
    ((place, layer), format!("{}blk.{layer}", FAMILIES[place]))
}

/// Sums by place in the list, so that the groups come out in order whatever the order of tensors in the file.
#[derive(Default)]
struct Groups(BTreeMap<(usize, u32), (String, usize, DifferenceSums)>);

impl Groups {
    fn add(&mut self, place: (usize, u32), name: &str, sums: &DifferenceSums) {
        let (_, n_tensors, so_far) = self.0.entry(place).or_insert_with(|| (name.into(), 0, DifferenceSums::default()));
        *n_tensors += 1;
        so_far.merge(sums);
    }

    fn finish(self) -> Vec<GroupDifference> {
        let finish = |(name, n_tensors, sums): (String, usize, DifferenceSums)| GroupDifference {
            name,
            n_tensors,
            difference: answered(sums.finish()),
        };
        self.0.into_values().map(finish).collect()
    }
}
