//! Writes a new model file from an old one, with some tensors quantized. This is what `assay quantize` does.
//!
//! ```text
//! GgufFile + Request ── plan ──▶ Rewrite (what becomes of each tensor, checked) ── finish ──▶ FinishedRewrite ── commit ──▶ files, Rewritten
//! ```
//!
//! `rules` decides which rule each tensor gets, and `carrier` in which type its values are stored. A finished output is
//! on the disk without a name, so that a caller may examine it first.
//!
//! A weight is quantized as the model has it: multiplied by its factors, if the source keeps such a tensor beside it
//! ([`companion`]). Tensors without a scheme are copied byte for byte. The others go through in pieces (`cutting`). All cores turn a
//! piece into bytes of the output (`transform`), while other pieces are read, hashed and written (`write`). Where a
//! scheme must see all values first, they are read as often as its [`Observer`](numerics::Observer) requires. Memory
//! does not grow with the file, except for schemes that need a whole tensor at once
//! ([`Together::Tensor`](numerics::Together)).

mod carrier;
mod cutting;
mod error;
pub(crate) mod header;
mod rules;
mod sizes;
mod transform;
mod write;

use crate::companion;
use crate::fallback;
use crate::never_quantized::is_never_quantized;
use crate::pieces::{PIECE_VALUES, shown};
use crate::type_file::TypeFile;
pub use carrier::{CarrierError, FileCarrier, own_type, weight_type};
pub(crate) use cutting::Cutting;
pub use error::RewriteError;
use gguf::{GgmlType, GgufFile, TensorInfo, TensorSpec};
use numerics::{BlockCodec, Difference, FakeQuantError, Granularity, Importance, Scheme, TensorShape};
use select::Apply;
use select::companion::companion_of;
pub use sizes::{Sizes, TypeCount};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
pub use write::FinishedRewrite;

/// What a caller asks of a rewrite.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The targets and their schemes. Where several choose a tensor, the last one is applied.
    pub applies: &'a [Apply],
    /// The rules of a file in llama-quantize's format, for tensors that no application chooses.
    pub type_file: Option<&'a TypeFile>,
    /// The type in which the matrices are stored that no other rule names. `None` leaves them as they are.
    pub base: Option<GgmlType>,
    /// The type in which the values of the applications are stored.
    pub carrier: FileCarrier,
    /// Whether to store in another type what llama.cpp's quantizer never touches.
    pub force_tensors: bool,
    /// Whether to store values of a scheme in a type that rounds them once more.
    pub force_carrier: bool,
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
    /// The rule that the tensor got, as the user wrote it.
    rule: String,
    /// The scheme that was asked for.
    scheme_requested: Scheme,
    /// The scheme that is applied. It differs from the one asked for only by a fallback.
    scheme: Scheme,
    /// The type that was asked for.
    type_requested: GgmlType,
    /// The type in which the tensor is stored. It differs from the one asked for only by a fallback.
    ty: GgmlType,
    /// The name of the tensor with the weight's factors, if they are multiplied into the values that are stored. The
    /// output then does not have that tensor.
    folded: Option<String>,
}

/// A rewrite that has been checked against the file and can be carried out.
#[derive(Debug)]
pub struct Rewrite<'a> {
    source: &'a GgufFile,
    applies: Vec<String>,
    carrier: FileCarrier,
    force_carrier: bool,
    version: String,
    split_max_bytes: Option<u64>,
    /// The edits, by the index of the tensor.
    edits: BTreeMap<usize, Edit>,
    /// The tensors that a rule names and that stay as they are, because llama.cpp's quantizer never touches them.
    pub kept: Vec<SparedTensor>,
    /// The rules of which no tensor is left, because others are applied to all of theirs, or they match none.
    pub without_effect: Vec<String>,
    /// The names of the tensors that the output does not have, because they are factors that are multiplied in.
    folded: BTreeSet<String>,
    /// The names of matched tensors that are not weights, because their values are integers or f64. They are copied.
    pub skipped: Vec<String>,
}

/// A tensor that a rule names and that stays as it is, because llama.cpp's quantizer never touches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparedTensor {
    /// The name of the tensor.
    pub name: String,
    /// The type of the tensor in both files.
    pub ty: &'static str,
    /// The type in which the rule would have stored it.
    pub type_requested: &'static str,
    /// The rule, as the user wrote it.
    pub rule: String,
}

/// What happened to one target tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct RewrittenTensor {
    /// The name of the tensor.
    pub name: String,
    /// The rule that the tensor got, as the user wrote it.
    pub rule: String,
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
    let assigned = rules::assign(source, request)?;
    let (mut edits, mut kept) = (BTreeMap::new(), Vec::new());
    for (index, rules::Assigned { scheme: scheme_requested, ty: type_requested, rule }) in assigned.tensors {
        let tensor = &source.tensors()[index];
        if !request.force_tensors && is_kept(source.architecture(), tensor, type_requested) {
            let (name, ty, type_requested) = (tensor.name.clone(), tensor.ty.name(), type_requested.name());
            kept.push(SparedTensor { name, ty, type_requested, rule });
            continue;
        }
        if let Some(wanted) = scheme_requested.ggml_format().and_then(|format| GgmlType::from_name(format.name)) {
            realised(wanted, tensor, request.allow_fallback)?;
        }
        let scheme = fallback::scheme_for_rows(&scheme_requested, tensor.n_per_row());
        let ty = held_in(type_requested, tensor, request.allow_fallback)?;
        let mut edit = Edit { rule, scheme_requested, scheme, type_requested, ty, folded: None };
        let factors = companion_of(&tensor.name).filter(|name| source.tensor(name).is_some());
        edit.folded = factors.filter(|_| edit.folds(tensor));
        edit.scheme.fits(&tensor.name, TensorShape::of(tensor.shape()), codec)?;
        if !edit.copies(tensor) && !edit.stores_for_real() {
            storable(ty, tensor, codec)?;
        }
        edits.insert(index, edit);
    }
    Ok(Rewrite {
        source,
        applies: assigned.rules,
        carrier: request.carrier,
        force_carrier: request.force_carrier,
        version: request.version.into(),
        split_max_bytes: request.split_max_bytes,
        folded: edits.values().filter_map(|edit: &Edit| edit.folded.clone()).collect(),
        edits,
        kept,
        without_effect: assigned.without_effect,
        skipped: assigned.skipped,
    })
}

/// Whether a tensor stays as it is although a rule names it. F32 is safe for every tensor, and a matrix that keeps its
/// type is read as before, so only another type is a reason.
fn is_kept(arch: Option<&str>, tensor: &TensorInfo, wanted: GgmlType) -> bool {
    let changes = wanted != tensor.ty && wanted != GgmlType::F32;
    // Vectors have a rule of their own, `held_in`.
    changes && tensor.n_rows() > 1 && is_never_quantized(arch, tensor)
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
    match fallback {
        Some(fallback) if fallback == wanted || allow_fallback => Ok(fallback),
        fallback => Err(RewriteError::Fallback {
            tensor: shown(tensor),
            wanted: wanted.name(),
            blck_size: wanted.blck_size(),
            n_per_row,
            fallback: fallback.map(GgmlType::name),
        }),
    }
}

/// Whether ggml can quantize to a type. This is tried with one block of zeros.
fn storable(ty: GgmlType, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<(), RewriteError> {
    let zeros = vec![0.0; ty.blck_size() as usize];
    let tried = codec.quantize(ty.name(), &zeros, zeros.len(), None);
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
            rule: self.rule.clone(),
            type_source: tensor.ty.name(),
            type_requested: self.type_requested.name(),
            type_realised: self.ty.name(),
            scheme_requested: self.scheme_requested.to_string(),
            scheme_realised: self.scheme.to_string(),
            folded: self.folded.clone(),
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

    /// The names of the tensors that are quantized without importances, because the importance matrix of their scheme has
    /// no entry for them.
    pub fn without_importance(&self) -> Vec<String> {
        let of = |(&index, edit): (&usize, &Edit)| {
            let name = &self.source.tensors()[index].name;
            edit.scheme.no_importance(name).map(|_| name.clone())
        };
        self.edits.iter().filter_map(of).collect()
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
        self.folded.contains(&self.source.tensors()[index].name)
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
