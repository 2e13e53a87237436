//! Writes a new file with some tensors quantized.

use super::AskError;
use files::pieces::ValuesError;
use files::rewrite::{self, FileCarrier, HeldWhole, RewriteError, RewrittenTensor};
use files::{Model, SchemeFiles};
use numerics::BlockCodec;
use record::answer::{QUANTIZE_FORMAT, QuantizeAnswer, QuantizedTensor, WrittenFile};
use select::{Apply, LayerSet};
use std::path::{Path, PathBuf};

/// The file to write and how to quantize it.
#[derive(Clone, Debug)]
pub struct QuantizeRequest {
    /// The file to read, or any shard of a split model.
    pub input: PathBuf,
    /// The file to write.
    pub output: PathBuf,
    /// The schemes and the tensors that each quantizes.
    pub applies: Vec<Apply>,
    /// The layers to which every application is narrowed; `None` applies to all.
    pub layers: Option<LayerSet>,
    /// The type that stores the values.
    pub carrier: FileCarrier,
    /// Whether a tensor whose rows are not whole blocks of a type takes the type that llama-quantize falls back to.
    pub allow_fallback: bool,
    /// The largest size of an output file in bytes; `None` writes one file.
    pub split_max_bytes: Option<u64>,
    /// Whether to replace an output that exists.
    pub replace: bool,
}

/// An event while a file is written.
#[derive(Debug)]
pub enum QuantizeEvent<'a> {
    /// A scheme needs much of a tensor in memory at once. If several tensors do, this is the largest.
    HeldWhole(&'a HeldWhole),
    /// The progress through the input.
    Progress {
        /// The number of bytes that are done.
        done: u64,
        /// The number of all bytes.
        total: u64,
    },
}

/// Writes the file.
///
/// # Errors
/// When a file cannot be read or written, a selector matches nothing, a scheme or a type does not fit a tensor, or the
/// output exists. No file is left behind then.
pub fn quantize(
    request: &QuantizeRequest,
    codec: &dyn BlockCodec,
    hear: &mut dyn FnMut(QuantizeEvent<'_>),
) -> Result<QuantizeAnswer, AskError> {
    let mut files = SchemeFiles::default();
    let mut applies = request.applies.iter().map(|apply| files.resolve(apply)).collect::<Result<Vec<Apply>, _>>()?;
    if let Some(layers) = &request.layers {
        applies = applies.iter().map(|apply| apply.narrowed(layers)).collect();
    }
    let model = Model::open_to_rewrite(&request.input)?;
    let failed = |error| failed(&model, error);
    let asked = rewrite::Request {
        applies: &applies,
        carrier: request.carrier,
        allow_fallback: request.allow_fallback,
        split_max_bytes: request.split_max_bytes,
        version: env!("CARGO_PKG_VERSION"),
    };
    let plan = rewrite::plan(&model.file, &asked, codec).map_err(failed)?;
    if let Some(largest) = plan.held_whole().first() {
        hear(QuantizeEvent::HeldWhole(largest));
    }
    let mut progress = |done, total| hear(QuantizeEvent::Progress { done, total });
    let written = plan.write(&request.output, request.replace, codec, &mut progress).map_err(failed)?;
    let out: Vec<WrittenFile> = written
        .files
        .into_iter()
        .map(|file| WrittenFile { name: file_name(&file.path), bytes: file.bytes, sha256: file.sha256 })
        .collect();
    let (out_bytes, out_sha256) = out.first().map_or((0, String::new()), |file| (file.bytes, file.sha256.clone()));
    Ok(QuantizeAnswer {
        format: QUANTIZE_FORMAT,
        input: model.name(),
        output: file_name(&request.output),
        apply: applies.iter().map(Apply::to_string).collect(),
        carrier: request.carrier.to_string(),
        verbatim: written.verbatim,
        changed: written.tensors.into_iter().map(quantized).collect(),
        skipped: plan.skipped.clone(),
        out,
        out_bytes,
        out_sha256,
    })
}

/// The error with the input's name in front, unless it names a file itself.
fn failed(model: &Model, error: RewriteError) -> AskError {
    match error {
        RewriteError::Output(error) => AskError::Output(Box::new(error)),
        RewriteError::Values(ValuesError::Gguf(error)) => AskError::Unreadable(error),
        source => AskError::Rewrite { model: model.shown(), source: Box::new(source) },
    }
}

fn quantized(tensor: RewrittenTensor) -> QuantizedTensor {
    let d = tensor.difference;
    QuantizedTensor {
        fallback: tensor.type_requested != tensor.type_realised || tensor.scheme_requested != tensor.scheme_realised,
        name: tensor.name,
        type_source: tensor.type_source.into(),
        type_requested: tensor.type_requested.into(),
        type_realised: tensor.type_realised.into(),
        scheme_requested: tensor.scheme_requested,
        scheme_realised: tensor.scheme_realised,
        folded: tensor.folded,
        changed: d.changed,
        n: d.n,
        zero_sign: d.zero_sign,
        minus_zero: d.minus_zero,
        zeroed: d.zeroed,
        unzeroed: d.unzeroed,
        overflowed: d.overflowed,
        carrier_rounded: tensor.carrier_rounded,
        max_abs: d.max_abs,
        rmse: d.rmse,
        rel_rmse: d.rel_rmse,
        sqnr_db: d.sqnr_db,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
