//! Writes a new file with some tensors quantized.

use super::AskError;
use files::pieces::ValuesError;
use files::rewrite::{
    self, FileCarrier, FinishedRewrite, HeldWhole, Rewrite, RewriteError, RewrittenTensor, Sizes, own_type,
};
use files::{Model, NotScorable, SchemeFiles, TypeFile, check_scorable};
use gguf::{Former, GgmlType};
use numerics::BlockCodec;
use record::EngineSettings;
use record::answer::{
    KeptTensor, QUANTIZE_FORMAT, QuantizeAnswer, QuantizedTensor, TensorsSize, TypeSize, WrittenFile,
};
use select::{Apply, LayerSet};
use std::path::{Path, PathBuf};
use worker::{LinkFactory, Session, SessionRequest};

/// The length of the window with which a written model is opened, in tokens. Any length would do.
const N_CTX_OF_CHECK: u32 = 32;

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
    /// A file of tensor types in llama-quantize's format.
    pub type_file: Option<PathBuf>,
    /// The type that stores the matrices that no other rule names; `None` leaves them as they are.
    pub base: Option<GgmlType>,
    /// The type that stores the values.
    pub carrier: FileCarrier,
    /// Whether to store in another type what llama.cpp's quantizer never touches.
    pub force_tensors: bool,
    /// Whether to store the values of a scheme in a type that rounds them once more.
    pub force_carrier: bool,
    /// Whether the engine must open the output before it gets its name.
    pub check: bool,
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
    /// A rule is applied to no tensor.
    WithoutEffect(&'a str),
    /// A tensor is quantized without importances, because the importance matrix has no entry for it.
    WithoutImportance(&'a str),
    /// What became of a file that a killed program set aside beside the output.
    SetAside(&'a Former),
    /// The output will be larger than the input.
    Grows {
        /// The number of bytes of the input's tensors.
        before: u64,
        /// The number of bytes of the output's tensors.
        after: u64,
        /// Whether every scheme has a ggml type of its own, which would store its values in fewer bits. `None` when no
        /// scheme is applied.
        have_own_types: Option<bool>,
    },
    /// The output is written, and the engine opens it.
    Opening,
    /// The progress through the input.
    Progress {
        /// The number of bytes that are done.
        done: u64,
        /// The number of all bytes.
        total: u64,
    },
}

/// Writes the file. Unless the request says otherwise, a worker opens it before it gets its name.
///
/// # Errors
/// When a file cannot be read or written, a selector matches nothing, a scheme or a type does not fit a tensor, the
/// output exists, or the engine does not open what was written. No file is left behind then.
pub fn quantize(
    request: &QuantizeRequest,
    codec: &dyn BlockCodec,
    workers: &dyn LinkFactory,
    hear: &mut dyn FnMut(QuantizeEvent<'_>),
) -> Result<QuantizeAnswer, AskError> {
    let mut files = SchemeFiles::default();
    let mut applies = request.applies.iter().map(|apply| files.resolve(apply)).collect::<Result<Vec<Apply>, _>>()?;
    if let Some(layers) = &request.layers {
        applies = applies.iter().map(|apply| apply.narrowed(layers)).collect();
    }
    let type_file = request.type_file.as_deref().map(TypeFile::read).transpose()?;
    let model = Model::open_to_rewrite(&request.input)?;
    let failed = |error| failed(&model, &applies, error);
    let asked = rewrite::Request {
        applies: &applies,
        type_file: type_file.as_ref(),
        base: request.base,
        carrier: request.carrier,
        force_tensors: request.force_tensors,
        force_carrier: request.force_carrier,
        allow_fallback: request.allow_fallback,
        split_max_bytes: request.split_max_bytes,
        version: env!("CARGO_PKG_VERSION"),
    };
    let plan = rewrite::plan(&model.file, &asked, codec).map_err(failed)?;
    let (before, after) = (plan.size_before(), plan.size_after());
    gguf::settle_former(&request.output).iter().for_each(|file| hear(QuantizeEvent::SetAside(file)));
    announce(&plan, &applies, (&before, &after), hear);
    let mut progress = |done, total| hear(QuantizeEvent::Progress { done, total });
    let finished = plan.finish(&request.output, request.replace, codec, &mut progress).map_err(failed)?;
    let unchecked = unchecked(request, &model);
    if unchecked.is_none() {
        hear(QuantizeEvent::Opening);
        check(&finished, &request.output, workers)?;
    }
    let written = finished.commit(request.replace).map_err(failed)?;
    let out: Vec<WrittenFile> = written
        .files
        .into_iter()
        .map(|file| WrittenFile { name: file_name(&file.path), bytes: file.bytes, sha256: file.sha256 })
        .collect();
    let (out_bytes, out_sha256) = out.first().map_or((0, String::new()), |file| (file.bytes, file.sha256.clone()));
    let kept = plan.kept.iter().map(|kept| KeptTensor {
        name: kept.name.clone(),
        ty: kept.ty.into(),
        type_requested: kept.type_requested.into(),
        rule: kept.rule.clone(),
    });
    Ok(QuantizeAnswer {
        format: QUANTIZE_FORMAT,
        input: model.name(),
        output: file_name(&request.output),
        apply: applies.iter().map(Apply::to_string).collect(),
        tensor_types: type_file.iter().flat_map(TypeFile::rules).map(ToString::to_string).collect(),
        base: request.base.map(|ty| ty.name().to_owned()),
        carrier: request.carrier.to_string(),
        verbatim: written.verbatim,
        changed: written.tensors.into_iter().map(quantized).collect(),
        kept: kept.collect(),
        skipped: plan.skipped.clone(),
        without_effect: plan.without_effect.clone(),
        without_importance: plan.without_importance(),
        size_before: size(&before),
        size_after: size(&after),
        checked: unchecked.is_none(),
        unchecked,
        out,
        out_bytes,
        out_sha256,
    })
}

/// Says before the work what the user should know about it.
fn announce(
    plan: &Rewrite<'_>,
    applies: &[Apply],
    (before, after): (&Sizes, &Sizes),
    hear: &mut dyn FnMut(QuantizeEvent<'_>),
) {
    if let Some(largest) = plan.held_whole().first() {
        hear(QuantizeEvent::HeldWhole(largest));
    }
    plan.without_effect.iter().for_each(|rule| hear(QuantizeEvent::WithoutEffect(rule)));
    plan.without_importance().iter().for_each(|tensor| hear(QuantizeEvent::WithoutImportance(tensor)));
    if after.bytes > before.bytes {
        let have_own_types = (!applies.is_empty()).then(|| have_own_types(applies));
        hear(QuantizeEvent::Grows { before: before.bytes, after: after.bytes, have_own_types });
    }
}

/// Whether every scheme has a ggml type of its own.
fn have_own_types(applies: &[Apply]) -> bool {
    applies.iter().all(|apply| own_type(&apply.scheme).is_some())
}

/// Why the engine need not open the output. `None` when it must.
fn unchecked(request: &QuantizeRequest, model: &Model) -> Option<String> {
    if !request.check {
        return Some("it was asked not to".into());
    }
    // The engine opens models that predict the next token and nothing else, whatever was quantized in them.
    check_scorable(&model.file).err().map(|why: NotScorable| why.to_string())
}

/// Opens the output in a worker.
///
/// # Errors
/// When the engine refuses the output or aborts on it.
fn check(finished: &FinishedRewrite, output: &Path, workers: &dyn LinkFactory) -> Result<(), AskError> {
    let readable = finished.files.readable().map_err(|error| AskError::Output(Box::new(error)))?;
    let name = file_name(output);
    let request = SessionRequest {
        model: readable.path().to_owned(),
        name: name.clone(),
        settings: EngineSettings::pinned(N_CTX_OF_CHECK),
        n_threads: 0,
        max_memory_bytes: None,
        files: Vec::new(),
    };
    match Session::open(workers, &request) {
        Ok(mut session) => {
            session.end();
            Ok(())
        }
        Err(source) => Err(AskError::Unopened { output: name, source: Box::new(source) }),
    }
}

fn size(sizes: &Sizes) -> TensorsSize {
    let types = sizes.types.iter().map(|count| TypeSize {
        ty: count.ty.name().into(),
        tensors: count.tensors,
        n: count.n,
        bytes: count.bytes,
    });
    TensorsSize { bytes: sizes.bytes, n: sizes.n, bpw: sizes.bits_per_weight(), types: types.collect() }
}

/// The error with the input's name in front, unless it names a file itself.
fn failed(model: &Model, applies: &[Apply], error: RewriteError) -> AskError {
    match error {
        RewriteError::RoundsTwice { has_own_type, .. } => AskError::RoundsTwice {
            model: model.shown(),
            // A scheme without a type of its own cannot be stored in one.
            have_own_types: has_own_type && have_own_types(applies),
            source: Box::new(error),
        },
        RewriteError::Output(error) => AskError::Output(Box::new(error)),
        RewriteError::Values(ValuesError::Gguf(error)) => AskError::Unreadable(error),
        source => AskError::Rewrite { model: model.shown(), source: Box::new(source) },
    }
}

fn quantized(tensor: RewrittenTensor) -> QuantizedTensor {
    let d = tensor.difference;
    // Values that no scheme rounds are rounded once, by the carrier.
    let is_identity = tensor.scheme_realised == "identity";
    QuantizedTensor {
        fallback: tensor.type_requested != tensor.type_realised || tensor.scheme_requested != tensor.scheme_realised,
        name: tensor.name,
        rule: tensor.rule,
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
        rounded_twice: tensor.carrier_rounded > 0 && !is_identity,
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
