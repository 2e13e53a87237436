//! What a rewritten file says about itself: the metadata of the source, its true file type and its origin.

use crate::pieces::{PIECE_VALUES, pieces};
use crate::pipeline::{self, Buffers, PieceBuffer};
use crate::rewrite::RewriteError;
use gguf::split::{MAX_SHARDS, SPLIT_IDENTITY, is_split_key, split_keys};
use gguf::{
    Array, FileLayout, GENERAL_FILE_TYPE, GENERAL_QUANTIZATION_VERSION, GGML_QNT_VERSION, GgmlType, GgufError,
    GgufFile, StringArray, TensorSpec, Value, cut_into_shards, file_type_of, limits,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What was done, for whoever opens the file later. It has no time and no path, so that equal work gives equal bytes.
pub(crate) struct Provenance<'a> {
    /// The version of assay that wrote the file.
    pub(crate) version: &'a str,
    /// The BLAKE3 of the bytes of the source, file after file, in hexadecimal.
    pub(crate) source_blake3: String,
    /// The rules: applications as `SELECTOR=SCHEME` in canonical form, then rules of a file, then the base.
    pub(crate) applies: &'a [String],
    /// The carrier that was asked for.
    pub(crate) carrier: String,
    /// One line for each tensor whose type or scheme differs from the request.
    pub(crate) fallbacks: Vec<String>,
    /// The names of the tensors that stay as they are, because llama.cpp's quantizer never touches them.
    pub(crate) kept: Vec<String>,
}

/// BLAKE3 over the files of a model, one after the other. `progress` gets the number of bytes that are done, and `refused`
/// makes the error where the system refuses a thread.
pub(crate) fn hash<E: From<GgufError> + Send>(
    file: &GgufFile,
    progress: &mut dyn FnMut(u64),
    refused: impl Fn(io::Error) -> E,
) -> Result<String, E> {
    let (mut hasher, buffers, mut done) = (blake3::Hasher::new(), Buffers::default(), 0);
    pipeline::run(
        |next| {
            for shard in file.shards() {
                for (start, n) in pieces(shard.file_bytes(), PIECE_VALUES) {
                    let mut buffer = buffers.take_piece(n as usize, start);
                    shard.read_raw(start, &mut buffer)?;
                    if !next.put(buffer) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        },
        |buffer: PieceBuffer| {
            hasher.update_rayon(&buffer);
            Ok(buffer)
        },
        Ok,
        |buffer: PieceBuffer| {
            done += buffer.len() as u64;
            buffers.give(buffer);
            progress(done);
            Ok(())
        },
        refused,
    )?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The metadata of the source in its order, with outdated values corrected, followed by the provenance.
pub(crate) fn metadata(source: &GgufFile, specs: &[TensorSpec], provenance: &Provenance<'_>) -> Vec<(String, Value)> {
    // The keys that tied the source to other files do not apply to the output.
    let ties = |key: &str| key == SPLIT_IDENTITY || (source.shards().len() > 1 && is_split_key(key));
    let mut metadata: Vec<(String, Value)> = source.metadata().iter().filter(|(key, _)| !ties(key)).cloned().collect();
    let types_changed = source.tensors().iter().zip(specs).any(|(tensor, spec)| tensor.ty != spec.ty);
    if types_changed {
        let before = mostly(source.tensors().iter().map(|t| (t.ty, t.shape())));
        let after = mostly(specs.iter().map(|spec| (spec.ty, spec.shape.as_slice())));
        let is_told = before == after && source.get(GENERAL_FILE_TYPE).is_some();
        if let Some(file_type) = after.and_then(file_type_of).filter(|_| !is_told) {
            set(&mut metadata, GENERAL_FILE_TYPE, Value::U32(file_type));
        }
        let quantized = specs.iter().any(|spec| spec.ty.is_quantized());
        if quantized && source.get(GENERAL_QUANTIZATION_VERSION).is_none() {
            set(&mut metadata, GENERAL_QUANTIZATION_VERSION, Value::U32(GGML_QNT_VERSION));
        }
    }

    // The output keeps the provenance of a source that assay has made.
    let step_of = |key: &str| key.strip_prefix("assay.")?.split_once('.')?.0.parse().ok();
    let taken: BTreeSet<usize> = source.metadata().iter().filter_map(|(key, _)| step_of(key)).collect();
    let step = (0..).find(|n| !taken.contains(n)).unwrap_or(0);
    let mut note = |key: &str, value: Value| metadata.push((format!("assay.{step}.{key}"), value));
    let text = |text: &str| Value::String(text.as_bytes().to_vec());
    let list = |lines: &[String]| Value::Array(Array::String(StringArray::of(lines).unwrap_or_default()));
    note("version", text(provenance.version));
    note("source_blake3", text(&provenance.source_blake3));
    note("apply", list(provenance.applies));
    note("carrier", text(&provenance.carrier));
    if !provenance.fallbacks.is_empty() {
        note("fallback", list(&provenance.fallbacks));
    }
    if !provenance.kept.is_empty() {
        note("kept", list(&provenance.kept));
    }
    metadata
}

fn set(metadata: &mut Vec<(String, Value)>, key: &str, value: Value) {
    match metadata.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = value,
        None => metadata.push((key.into(), value)),
    }
}

/// The type that most values of matrices have. As in llama.cpp, norms and biases do not count.
fn mostly<'a>(tensors: impl Iterator<Item = (GgmlType, &'a [u64])>) -> Option<GgmlType> {
    let mut n_by_type: BTreeMap<GgmlType, u64> = BTreeMap::new();
    for (ty, shape) in tensors.filter(|(_, shape)| shape.iter().skip(1).any(|&extent| extent > 1)) {
        let n = n_by_type.entry(ty).or_default();
        *n = n.saturating_add(shape.iter().product());
    }
    n_by_type.into_iter().rev().max_by_key(|&(_, n)| n).map(|(ty, _)| ty)
}

/// One file of the output: its metadata and its tensors.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) layout: FileLayout,
    pub(crate) n_tensors: usize,
}

/// The output as one file, or as shards of at most `max_bytes` if it is larger.
pub(crate) fn parts(
    version: u32,
    metadata: &[(String, Value)],
    specs: &[TensorSpec],
    max_bytes: Option<u64>,
) -> Result<Vec<Part>, RewriteError> {
    let layout = |metadata: &[(String, Value)], specs: &[TensorSpec]| {
        FileLayout::new(version, metadata.iter().map(|(key, value)| (key.as_str(), value)), specs)
    };
    let whole = layout(metadata, specs)?;
    let Some(max) = max_bytes.filter(|&max| whole.file_bytes() > max) else {
        return Ok(vec![Part { layout: whole, n_tensors: specs.len() }]);
    };
    let alignment = metadata.iter().find(|(key, _)| key == limits::GENERAL_ALIGNMENT);
    // The metadata state the source, the rules and the carrier, so equal work has one identity and other work another.
    let identity = blake3::hash(whole.header()).to_hex();
    let of_shard = |no: usize, count: usize| -> Vec<(String, Value)> {
        let own = if no == 0 { metadata } else { alignment.map_or(&[][..], std::slice::from_ref) };
        let own = own.iter().filter(|(key, _)| !is_split_key(key)).cloned();
        own.chain(split_keys(no, count, specs.len(), &identity)).collect()
    };
    // The keys of a shard take the same number of bytes whatever their values.
    let [first, later] = [0, 1].map(|no| layout(&of_shard(no, 1), &[]).map(|layout| layout.file_bytes()));
    let (first, later) = (first?, later?);
    let alignment = alignment.and_then(|(_, value)| value.as_u64()).and_then(|n| u32::try_from(n).ok());
    let alignment = alignment.unwrap_or(limits::GGUF_DEFAULT_ALIGNMENT);
    let counts = cut_into_shards(specs, max, alignment, |no| if no == 0 { first } else { later })
        .map_err(|index| RewriteError::TooLargeForShard { tensor: words::escape_terminal(&specs[index].name), max })?;
    if counts.len() > MAX_SHARDS {
        return Err(RewriteError::TooManyShards { found: counts.len() });
    }
    let mut left = specs;
    let mut parts = Vec::with_capacity(counts.len());
    for (no, &n_tensors) in counts.iter().enumerate() {
        let (own, others) = left.split_at(n_tensors);
        left = others;
        parts.push(Part { layout: layout(&of_shard(no, counts.len()), own)?, n_tensors });
    }
    Ok(parts)
}
