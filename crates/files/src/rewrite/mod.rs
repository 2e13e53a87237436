//! Writes a new model file from an old one, with some tensors quantized. This is what `assay quantize` does.
//!
//! ```text
//! GgufFile + Request ── plan ──▶ Rewrite (what becomes of each tensor, checked) ── write ──▶ files, Rewritten
//! ```
//!
//! A weight is quantized as the model has it: multiplied by its factors, if the source keeps such a tensor beside it
//! ([`companion`](crate::companion)). Tensors without a scheme are copied byte for byte. The others go through in pieces (`cutting`). All cores turn a
//! piece into bytes of the output (`transform`), while other pieces are read, hashed and written (`write`). Where a
//! scheme must see all values first, they are read as often as its [`Observer`](numerics::Observer) requires. Memory
//! does not grow with the file, except for schemes that need a whole tensor at once
//! ([`Together::Tensor`](numerics::Together)).

mod cutting;
mod error;
pub(crate) mod header;
mod transform;
mod write;

use crate::companion;
use crate::fallback;
use crate::pieces::{PIECE_VALUES, shown};
use cutting::Cutting;
pub use error::RewriteError;
use gguf::{GgmlType, GgufFile, TensorInfo, TensorSpec};
use numerics::{BlockCodec, Difference, FakeQuantError, Granularity, Importance, Scheme, TensorShape};
use select::TensorId;
use select::companion::companion_of;
use select::{Apply, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use words::{Advice, Hint};

/// The type in which a file stores the quantized values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCarrier {
    /// One type for all tensors. F32 is exact for every scheme; a quantized type really stores the blocks.
    In(GgmlType),
    /// The type that each tensor has in the source.
    #[default]
    Keep,
}

impl FileCarrier {
    /// The carrier that stores every tensor in F32.
    pub const F32: FileCarrier = FileCarrier::In(GgmlType::F32);
}

/// No carrier has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("carrier: found {found:?}, wanted keep, f32 or another ggml type")]
pub struct CarrierError {
    found: String,
}

impl Advice for CarrierError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words("for example q8_0, q4_K, bf16"))
    }
}

impl FromStr for FileCarrier {
    type Err = CarrierError;

    fn from_str(text: &str) -> Result<Self, CarrierError> {
        match text {
            "keep" => Ok(FileCarrier::Keep),
            name => GgmlType::from_name(name)
                .filter(|ty| !ty.is_integer() && *ty != GgmlType::F64)
                .map(FileCarrier::In)
                .ok_or_else(|| CarrierError { found: name.into() }),
        }
    }
}

impl fmt::Display for FileCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileCarrier::In(ty) => f.write_str(ty.name()),
            FileCarrier::Keep => f.write_str("keep"),
        }
    }
}

/// What a caller asks of a rewrite.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The targets and their schemes.
    pub applies: &'a [Apply],
    /// The type in which the values are stored.
    pub carrier: FileCarrier,
    /// Whether to use the type that llama-quantize falls back to, where a row is not whole blocks of the type asked
    /// for.
    pub allow_fallback: bool,
    /// The size of the largest file to be written, in bytes. `None` writes one file of any size.
    pub split_max_bytes: Option<u64>,
    /// The version of assay, for the provenance.
    pub version: &'a str,
}

/// What happens to one target tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edit {
    /// The scheme that was asked for.
    scheme_requested: Scheme,
    /// The scheme that is applied. It differs from the one asked for only by a fallback.
    scheme: Scheme,
    /// The type that was asked for.
    type_requested: GgmlType,
    /// The type in which the tensor is stored. It differs from the one asked for only by a fallback.
    ty: GgmlType,
    /// The index of the tensor with the weight's factors, if they are multiplied into the values that are stored. The
    /// output then does not have that tensor.
    folded: Option<usize>,
}

/// A rewrite that has been checked against the file and can be carried out.
#[derive(Debug)]
pub struct Rewrite<'a> {
    source: &'a GgufFile,
    applies: Vec<String>,
    carrier: FileCarrier,
    version: String,
    split_max_bytes: Option<u64>,
    /// The edits, by the index of the tensor.
    edits: BTreeMap<usize, Edit>,
    /// The indices of the tensors that the output does not have, because they are factors that are multiplied in.
    folded: BTreeSet<usize>,
    /// The names of matched tensors that are not weights, because their values are integers or f64. They are copied.
    pub skipped: Vec<String>,
}

/// What happened to one target tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct RewrittenTensor {
    /// The name of the tensor.
    pub name: String,
    /// The type of the tensor in the source.
    pub type_source: &'static str,
    /// The type that was asked for.
    pub type_requested: &'static str,
    /// The type of the tensor in the output.
    pub type_realised: &'static str,
    /// The scheme that was asked for.
    pub scheme_requested: String,
    /// The scheme that was applied.
    pub scheme_realised: String,
    /// The tensor with the weight's factors, if they were multiplied in and the output does not have it.
    pub folded: Option<String>,
    /// The difference of the output's values from the source's.
    pub difference: Difference,
    /// The number of values that the carrier could not store exactly as the scheme left them.
    pub carrier_rounded: u64,
}

/// What a rewrite has written.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// The target tensors, in file order.
    pub tensors: Vec<RewrittenTensor>,
    /// The files of the output, in order.
    pub files: Vec<RewrittenFile>,
    /// Whether the output equals the input byte for byte.
    pub verbatim: bool,
}

/// One file of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrittenFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// Checks the targets, schemes, types and fallbacks of a request against a file. It writes nothing.
///
/// # Errors
/// When a target matches nothing, a type does not fit a tensor, or a type cannot be written.
pub fn plan<'a>(
    source: &'a GgufFile,
    request: &Request<'_>,
    codec: &dyn BlockCodec,
) -> Result<Rewrite<'a>, RewriteError> {
    companion::check(source)?;
    let ids: Vec<TensorId> = source.tensors().iter().map(TensorId::from).collect();
    let applied = resolve(request.applies, &ids)?;
    let mut edits = BTreeMap::new();
    for (index, scheme_requested) in applied.tensors {
        let tensor = &source.tensors()[index];
        let type_requested = match request.carrier {
            FileCarrier::Keep => tensor.ty,
            FileCarrier::In(ty) => ty,
        };
        if let Some(wanted) = scheme_requested.ggml_format().and_then(|format| GgmlType::from_name(format.name)) {
            realised(wanted, tensor, request.allow_fallback)?;
        }
        let scheme = fallback::scheme_for_rows(&scheme_requested, tensor.n_per_row());
        let ty = held_in(type_requested, tensor, request.allow_fallback)?;
        let mut edit = Edit { scheme_requested, scheme, type_requested, ty, folded: None };
        let factors = companion_of(&tensor.name);
        edit.folded = source.tensors().iter().position(|t| factors.as_ref() == Some(&t.name));
        edit.folded = edit.folded.filter(|_| edit.folds(tensor));
        let importance = edit.importance(tensor)?;
        if !edit.copies(tensor) {
            storable(ty, tensor, importance.filter(|_| edit.stores_for_real()), codec)?;
        }
        edits.insert(index, edit);
    }
    Ok(Rewrite {
        source,
        applies: request.applies.iter().map(Apply::to_string).collect(),
        carrier: request.carrier,
        version: request.version.into(),
        split_max_bytes: request.split_max_bytes,
        folded: edits.values().filter_map(|edit: &Edit| edit.folded).collect(),
        edits,
        skipped: applied.skipped.iter().map(|&index| ids[index].name.clone()).collect(),
    })
}

/// The type in which a tensor is stored: the one asked for where it fits, otherwise a fallback if the request allows
/// it.
fn held_in(wanted: GgmlType, tensor: &TensorInfo, allow_fallback: bool) -> Result<GgmlType, RewriteError> {
    let is_vector = tensor.n_rows() <= 1;
    if is_vector && wanted != GgmlType::F32 && wanted != tensor.ty {
        // llama-quantize does the same.
        return match allow_fallback {
            true => Ok(GgmlType::F32),
            false => Err(RewriteError::Vector { tensor: shown(tensor), wanted: wanted.name() }),
        };
    }
    realised(wanted, tensor, allow_fallback)
}

/// `wanted` where its blocks fit the rows of the tensor, otherwise the type that llama-quantize would take.
fn realised(wanted: GgmlType, tensor: &TensorInfo, allow_fallback: bool) -> Result<GgmlType, RewriteError> {
    let n_per_row = tensor.n_per_row();
    let fallback = fallback::type_for_rows(wanted, n_per_row);
    if fallback == wanted || allow_fallback {
        return Ok(fallback);
    }
    let (tensor, blck_size) = (shown(tensor), wanted.blck_size());
    Err(RewriteError::Fallback { tensor, wanted: wanted.name(), blck_size, n_per_row, fallback: fallback.name() })
}

/// Whether ggml can quantize to a type. This is tried with one block of zeros.
fn storable(
    ty: GgmlType,
    tensor: &TensorInfo,
    importance: Option<Importance<'_>>,
    codec: &dyn BlockCodec,
) -> Result<(), RewriteError> {
    let zeros = vec![0.0; ty.blck_size() as usize];
    let importances = importance.and_then(|i| i.of_row(0).get(..zeros.len()));
    let tried = codec.quantize(ty.name(), &zeros, zeros.len(), importances);
    tried.map(|_| ()).map_err(|source| RewriteError::Carrier { tensor: shown(tensor), source })
}

impl Edit {
    /// Whether nothing changes in the tensor, so that its stored blocks are copied.
    fn copies(&self, tensor: &TensorInfo) -> bool {
        self.scheme == Scheme::identity() && self.ty == tensor.ty
    }

    /// Whether factors that the tensor has are multiplied into what is stored. F32 stores the product exactly, and
    /// another type is llama.cpp's to read without factors: it loads `output.scale` only beside an NVFP4 matrix. Where
    /// the type stays, the factors stay, because its range may be too small for the products.
    fn folds(&self, tensor: &TensorInfo) -> bool {
        let is_other_type = self.ty != tensor.ty || self.ty == GgmlType::F32;
        !self.copies(tensor) && (is_other_type || self.stores_for_real())
    }

    /// Whether the scheme is the storage itself, so that ggml quantizes the values once.
    fn stores_for_real(&self) -> bool {
        self.scheme.ggml_format().is_some_and(|format| format.name.eq_ignore_ascii_case(self.ty.name()))
    }

    /// The weight of each value of a row, from the file of the scheme. `None` when the scheme has no such file.
    fn importance(&self, tensor: &TensorInfo) -> Result<Option<Importance<'_>>, FakeQuantError> {
        self.scheme.importance(&tensor.name, TensorShape::of(tensor.shape()))
    }

    /// A text such as `q4_0 in q4_0`, for what was asked for or for what is done.
    fn words(&self, requested: bool) -> String {
        match requested {
            true => format!("{} in {}", self.scheme_requested, self.type_requested),
            false => format!("{} in {}", self.scheme, self.ty),
        }
    }

    fn outcome(&self, tensor: &TensorInfo, difference: Difference, carrier_rounded: u64) -> RewrittenTensor {
        RewrittenTensor {
            name: tensor.name.clone(),
            type_source: tensor.ty.name(),
            type_requested: self.type_requested.name(),
            type_realised: self.ty.name(),
            scheme_requested: self.scheme_requested.to_string(),
            scheme_realised: self.scheme.to_string(),
            folded: self.folded.and_then(|_| companion_of(&tensor.name)),
            difference,
            carrier_rounded,
        }
    }
}

/// The bytes that each value of a piece takes while it is worked on: as read, restored, quantized, stored and read
/// back.
const WORK_BYTES: u64 = 5 * 4;

/// A tensor that cannot go through in small pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldWhole {
    /// The name of the tensor.
    pub tensor: String,
    /// The scheme that must see so much of the tensor at once.
    pub scheme: String,
    /// The memory that it takes, in bytes; an estimate.
    pub bytes: u64,
}

impl Rewrite<'_> {
    /// The tensors of which more than a usual piece is in memory at once, because the scheme must see it. The largest
    /// comes first. If the list is empty, memory does not depend on the size of the file.
    pub fn held_whole(&self) -> Vec<HeldWhole> {
        let of = |(&index, edit): (&usize, &Edit)| {
            let tensor = &self.source.tensors()[index];
            let blck_size = tensor.ty.blck_size().max(edit.ty.blck_size());
            let piece = Cutting::of(tensor, edit.scheme.together(), blck_size).at_once();
            // Such a scheme keeps some facts for each column.
            let columns = if edit.scheme.granularity() == Some(Granularity::Col) { tensor.n_per_row() } else { 0 };
            let at_once = piece.max(columns);
            let bytes = at_once.saturating_mul(WORK_BYTES);
            let held = at_once > 2 * PIECE_VALUES && !edit.copies(tensor);
            held.then(|| HeldWhole { tensor: tensor.name.clone(), scheme: edit.scheme.to_string(), bytes })
        };
        let mut held: Vec<HeldWhole> = self.edits.iter().filter_map(of).collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.bytes));
        held
    }

    /// The number of times a tensor is read before its first value is quantized.
    fn passes(&self, index: usize) -> u64 {
        let shape = TensorShape::of(self.source.tensors()[index].shape());
        self.edits.get(&index).map_or(0, |edit| edit.scheme.passes(shape).into())
    }

    /// Whether the output would equal the input.
    fn is_verbatim(&self) -> bool {
        let all_copied = self.edits.iter().all(|(&index, edit)| edit.copies(&self.source.tensors()[index]));
        all_copied && self.source.shards().len() == 1 && self.split_max_bytes.is_none()
    }

    /// The name, type and shape of each tensor of the output.
    fn specs(&self) -> Vec<TensorSpec> {
        let kept = |(index, _): &(usize, &TensorInfo)| !self.is_folded(*index);
        let of = |(index, tensor): (usize, &TensorInfo)| TensorSpec {
            name: tensor.name.clone(),
            ty: self.edits.get(&index).map_or(tensor.ty, |edit| edit.ty),
            shape: tensor.shape().to_vec(),
        };
        self.source.tensors().iter().enumerate().filter(kept).map(of).collect()
    }

    /// Whether the tensor is the factors of a weight into which they are multiplied.
    fn is_folded(&self, index: usize) -> bool {
        self.folded.contains(&index)
    }

    /// One line for each tensor whose type or scheme differs from the request.
    fn fallbacks(&self) -> Vec<String> {
        let of = |(&index, edit): (&usize, &Edit)| {
            let name = &self.source.tensors()[index].name;
            let (asked, done) = (edit.words(true), edit.words(false));
            (asked != done).then(|| format!("{name}: {asked} -> {done}"))
        };
        self.edits.iter().filter_map(of).collect()
    }
}
