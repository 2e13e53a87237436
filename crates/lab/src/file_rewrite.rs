//! A new model file from an old one, with some tensors held in a scheme: what `assay quantize` does.
//!
//! ```text
//! GgufFile + Request ── plan ──▶ Rewrite (what becomes of each tensor, checked) ── write ──▶ files, Rewritten
//! ```
//!
//! Tensors that no scheme is asked of are copied byte for byte; the others go through in pieces of whole rows, so that
//! memory does not grow with the file. Only schemes that look at a whole tensor (`@tensor`, `@col`, `jitter`, `noise`)
//! need it in memory.

use crate::apply::{Apply, resolve};
use crate::file_header;
pub use crate::rewrite_error::RewriteError;
use crate::target_role::TensorId;
use crate::tensor_values::{PIECE_VALUES, Piece, ValuesError, pieces, resize, shown};
use gguf::{GgmlType, GgufFile, GgufWriter, OutputFile, Shard, TensorInfo, TensorSpec, check_output, commit_all};
use numerics::ggml::GgmlFormat;
use numerics::{
    BlockCodec, Difference, DifferenceSums, FakeQuantError, Format, Granularity, Importance, Rows, Scheme,
    TensorContext, TensorShape,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The type that holds fake-quantized values in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCarrier {
    /// One type for all: F32 is exact for every scheme, a quantized type stores for real.
    In(GgmlType),
    /// Each tensor's own.
    #[default]
    Keep,
}

impl FileCarrier {
    /// F32.
    pub const F32: FileCarrier = FileCarrier::In(GgmlType::F32);
}

/// No type of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("carrier: found {found:?}, wanted keep, f32 or another ggml type\nhint: for example q8_0, q4_K, bf16")]
pub struct CarrierError {
    found: String,
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

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Targets and their schemes.
    pub applies: &'a [Apply],
    /// What holds the values.
    pub carrier: FileCarrier,
    /// Where a row is not whole blocks of a type, take the one llama-quantize falls back to.
    pub allow_fallback: bool,
    /// Largest file to be written; `None` writes one.
    pub split_max_bytes: Option<u64>,
    /// Version of assay, for the provenance.
    pub version: &'a str,
}

/// What becomes of one target tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edit {
    /// As asked for.
    scheme_requested: Scheme,
    /// As it is done; another one only by fallback.
    scheme: Scheme,
    /// As asked for.
    type_requested: GgmlType,
    /// As it is stored; another one only by fallback.
    ty: GgmlType,
}

/// A rewrite that has been checked against the file and can be carried out.
#[derive(Debug)]
pub struct Rewrite<'a> {
    source: &'a GgufFile,
    applies: Vec<String>,
    carrier: FileCarrier,
    version: String,
    split_max_bytes: Option<u64>,
    /// By index of the tensor.
    edits: BTreeMap<usize, Edit>,
    /// Integer tensors that were matched but hold no weights.
    pub skipped: Vec<String>,
}

/// What became of one target tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct RewrittenTensor {
    /// Name.
    pub name: String,
    /// Type in the source.
    pub type_source: &'static str,
    /// Type asked for.
    pub type_requested: &'static str,
    /// Type in the output.
    pub type_realised: &'static str,
    /// Scheme asked for.
    pub scheme_requested: String,
    /// Scheme that was applied.
    pub scheme_realised: String,
    /// The output's values against the source's.
    pub difference: Difference,
    /// Values that the carrier could not hold as the scheme left them.
    pub carrier_rounded: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// One for each target tensor, in file order.
    pub tensors: Vec<RewrittenTensor>,
    /// The files, in order.
    pub files: Vec<WrittenFile>,
    /// The output is the input, byte for byte.
    pub verbatim: bool,
}

/// One file of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// Checks a request against a file: targets, schemes, types and fallbacks. Nothing is written.
///
/// # Errors
/// When a target is not there, a type does not fit a tensor, or cannot be stored to.
pub fn plan<'a>(
    source: &'a GgufFile,
    request: &Request<'_>,
    codec: &dyn BlockCodec,
) -> Result<Rewrite<'a>, RewriteError> {
    let ids: Vec<TensorId> = source
        .tensors()
        .iter()
        .map(|t| TensorId { name: t.name.clone(), ty: t.ty.name().into(), ne: t.shape().to_vec() })
        .collect();
    let applied = resolve(request.applies, &ids)?;
    let mut edits = BTreeMap::new();
    for (index, scheme_requested) in applied.tensors {
        let tensor = &source.tensors()[index];
        let type_requested = match request.carrier {
            FileCarrier::Keep => tensor.ty,
            FileCarrier::In(ty) => ty,
        };
        let scheme = match scheme_requested.ggml_format().and_then(|format| GgmlType::from_name(format.name)) {
            Some(wanted) => match realised(wanted, tensor, request.allow_fallback)? {
                ty if ty == wanted => scheme_requested.clone(),
                ty => scheme_of(ty, &scheme_requested),
            },
            None => scheme_requested.clone(),
        };
        let ty = held_in(type_requested, tensor, request.allow_fallback)?;
        let edit = Edit { scheme_requested, scheme, type_requested, ty };
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
        edits,
        skipped: applied.skipped.iter().map(|&index| ids[index].name.clone()).collect(),
    })
}

/// The type that holds a tensor: the one asked for where it fits, otherwise a fallback, if that is allowed.
fn held_in(wanted: GgmlType, tensor: &TensorInfo, allow_fallback: bool) -> Result<GgmlType, RewriteError> {
    let is_vector = tensor.n_rows() <= 1;
    if is_vector && wanted != GgmlType::F32 && wanted != tensor.ty {
        // As llama-quantize does.
        return match allow_fallback {
            true => Ok(GgmlType::F32),
            false => Err(RewriteError::Vector { tensor: shown(tensor), wanted: wanted.name() }),
        };
    }
    realised(wanted, tensor, allow_fallback)
}

/// The type itself where its blocks fit the tensor's rows, otherwise the one llama-quantize would take.
fn realised(wanted: GgmlType, tensor: &TensorInfo, allow_fallback: bool) -> Result<GgmlType, RewriteError> {
    let n_per_row = tensor.n_per_row();
    let fits = |ty: GgmlType| n_per_row.is_multiple_of(ty.blck_size());
    if fits(wanted) {
        return Ok(wanted);
    }
    let fallback = Some(fallback_of(wanted)).filter(|&ty| fits(ty)).unwrap_or(GgmlType::F16);
    if allow_fallback {
        return Ok(fallback);
    }
    let (tensor, blck_size) = (shown(tensor), wanted.blck_size());
    Err(RewriteError::Fallback { tensor, wanted: wanted.name(), blck_size, n_per_row, fallback: fallback.name() })
}

/// What is taken for rows that are not whole blocks of a type.
///
/// # Source
/// `tensor_type_fallback` in `src/llama-quant.cpp` of the pinned engine.
fn fallback_of(ty: GgmlType) -> GgmlType {
    use GgmlType::*;
    match ty {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        Q2_0 | Q2_K | Q3_K | TQ1_0 | TQ2_0 => Q4_0,
        Q4_K => Q5_0,
        Q5_K => Q5_1,
        Q6_K => Q8_0,
        _ => F16,
    }
}

/// The scheme of a ggml type, with the options of `like`.
fn scheme_of(ty: GgmlType, like: &Scheme) -> Scheme {
    // The names of ggml's types are schemes; a test goes through every fallback.
    GgmlFormat::find(ty.name()).map_or_else(|| like.clone(), |format| like.in_ggml(format))
}

/// Whether ggml can quantize to a type, asked with one block of zeros.
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
    /// Nothing is asked: the stored blocks are copied.
    fn copies(&self, tensor: &TensorInfo) -> bool {
        self.scheme == Scheme::identity() && self.ty == tensor.ty
    }

    /// The scheme is the storage: ggml quantizes the values once.
    fn stores_for_real(&self) -> bool {
        self.scheme.ggml_format().is_some_and(|format| format.name.eq_ignore_ascii_case(self.ty.name()))
    }

    /// What the scheme's file says about how much each value of a row matters.
    fn importance(&self, tensor: &TensorInfo) -> Result<Option<Importance<'_>>, FakeQuantError> {
        self.scheme.importance(&tensor.name, TensorShape::of(tensor.shape()))
    }

    /// `q4_0 in q4_0`, as asked for or as done.
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
            difference,
            carrier_rounded,
        }
    }
}

impl Rewrite<'_> {
    /// The output would be the input again.
    fn is_verbatim(&self) -> bool {
        let all_copied = self.edits.iter().all(|(&index, edit)| edit.copies(&self.source.tensors()[index]));
        all_copied && self.source.shards().len() == 1 && self.split_max_bytes.is_none()
    }

    /// What the output's tensors are.
    fn specs(&self) -> Vec<TensorSpec> {
        let of = |(index, tensor): (usize, &TensorInfo)| TensorSpec {
            name: tensor.name.clone(),
            ty: self.edits.get(&index).map_or(tensor.ty, |edit| edit.ty),
            shape: tensor.shape().to_vec(),
        };
        self.source.tensors().iter().enumerate().map(of).collect()
    }

    /// Writes the output to `out`, or to shards named after it. `progress` hears how many of how many bytes are done.
    ///
    /// # Errors
    /// When `out` is an input or exists (unless `replace`), a file cannot be read or written, or a value cannot be held.
    /// Nothing is left behind then.
    pub fn write(
        &self,
        out: &Path,
        replace: bool,
        codec: &dyn BlockCodec,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Rewritten, RewriteError> {
        let inputs = || self.source.shards().iter().map(Shard::path);
        check_output(out, inputs(), replace)?;
        if self.is_verbatim() {
            return self.copy(out, replace, progress);
        }
        let provenance = file_header::Provenance {
            version: &self.version,
            source_blake3: file_header::hash(self.source)?,
            applies: &self.applies,
            carrier: self.carrier.to_string(),
            fallbacks: self.fallbacks(),
        };
        let specs = self.specs();
        let metadata = file_header::metadata(self.source, &specs, &provenance);
        let parts = file_header::parts(self.source.version(), &metadata, &specs, self.split_max_bytes)?;
        let paths: Vec<PathBuf> = match parts.len() {
            1 => vec![out.to_owned()],
            n => (0..n).map(|no| gguf::split::split_path(out, no, n)).collect(),
        };
        paths.iter().try_for_each(|path| check_output(path, inputs(), replace))?;

        let total_bytes = self.source.tensors().iter().map(|t| t.nbytes).fold(0, u64::saturating_add);
        let mut done_bytes = 0;
        let (mut tensors, mut finished, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let mut indices = 0..specs.len();
        for (part, path) in parts.into_iter().zip(&paths) {
            let failed = |e| RewriteError::Output(OutputFile::failed(path, e));
            let (bytes, n_tensors) = (part.layout.file_bytes(), part.n_tensors);
            let hashed = Hashed { file: OutputFile::create(path, bytes)?, sha256: Sha256::new() };
            let mut writer = GgufWriter::new(hashed, part.layout).map_err(failed)?;
            for index in indices.by_ref().take(n_tensors) {
                progress(done_bytes, total_bytes);
                tensors.extend(self.tensor(index, codec, &mut |bytes| writer.data(bytes).map_err(failed))?);
                done_bytes = done_bytes.saturating_add(self.source.tensors()[index].nbytes);
            }
            let Hashed { file, sha256 } = writer.finish().map_err(failed)?;
            files.push(WrittenFile { path: path.clone(), bytes, sha256: hex(&sha256.finalize()) });
            finished.push(file);
        }
        commit_all(finished, replace)?;
        Ok(Rewritten { tensors, files, verbatim: false })
    }

    /// The input's bytes, all of them.
    fn copy(&self, out: &Path, replace: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Rewritten, RewriteError> {
        let shard = &self.source.shards()[0];
        let failed = |e| RewriteError::Output(OutputFile::failed(out, e));
        let bytes = shard.file_bytes();
        let mut hashed = Hashed { file: OutputFile::create(out, bytes)?, sha256: Sha256::new() };
        let mut buffer = Vec::new();
        for (start, n) in pieces(bytes, PIECE_VALUES) {
            progress(start, bytes);
            buffer.resize(n as usize, 0);
            shard.read_raw(start, &mut buffer)?;
            hashed.write_all(&buffer).map_err(failed)?;
        }
        let Hashed { file, sha256 } = hashed;
        commit_all(vec![file], replace)?;
        let file = WrittenFile { path: out.to_owned(), bytes, sha256: hex(&sha256.finalize()) };
        let of = |(&index, edit): (&usize, &Edit)| {
            let tensor = &self.source.tensors()[index];
            edit.outcome(tensor, unchanged(tensor), 0)
        };
        Ok(Rewritten { tensors: self.edits.iter().map(of).collect(), files: vec![file], verbatim: true })
    }

    /// Puts out the bytes of one tensor, and says what became of it if it is a target.
    fn tensor(
        &self,
        index: usize,
        codec: &dyn BlockCodec,
        put: &mut Put<'_>,
    ) -> Result<Option<RewrittenTensor>, RewriteError> {
        let tensor = &self.source.tensors()[index];
        let Some(edit) = self.edits.get(&index) else { return self.copied(tensor, put).map(|()| None) };
        if edit.copies(tensor) || self.is_left_alone(tensor, edit, codec)? {
            self.copied(tensor, put)?;
            return Ok(Some(edit.outcome(tensor, unchanged(tensor), 0)));
        }
        let (mut sums, mut carrier_rounded) = (DifferenceSums::default(), 0);
        let importance = edit.importance(tensor)?.filter(|_| edit.stores_for_real());
        let (mut held, mut row) = (Vec::new(), 0);
        self.each_piece(tensor, edit, codec, &mut |source, asked| {
            let stored: &[f32] = match edit.ty {
                GgmlType::F32 => {
                    // The bytes of a little-endian file are those of memory; `each_piece` runs nowhere else.
                    put(bytemuck::cast_slice(asked))?;
                    asked
                }
                ty => {
                    let of = if edit.stores_for_real() { source } else { asked };
                    let failed = |source| RewriteError::Carrier { tensor: shown(tensor), source };
                    let n_per_row = tensor.n_per_row() as usize;
                    let importances = importance.map(|i| i.of_row(row));
                    let bytes = codec.quantize(ty.name(), of, n_per_row, importances).map_err(failed)?;
                    row += of.len() / n_per_row.max(1);
                    put(&bytes)?;
                    resize(&mut held, of.len() as u64)
                        .map_err(|_| ValuesError::Memory { tensor: shown(tensor), n: of.len() as u64 })?;
                    codec.dequantize(ty.name(), &bytes, &mut held).map_err(failed)?;
                    &held
                }
            };
            sums.add(source, stored);
            if !edit.stores_for_real() {
                let rounded = asked.iter().zip(stored).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                carrier_rounded += rounded as u64;
            }
            Ok(true)
        })?;
        Ok(Some(edit.outcome(tensor, sums.finish(), carrier_rounded)))
    }

    /// Blocks that nothing is asked of are copied: quantizing them again might not give them back. The engine's worker
    /// does the same with a weight in memory.
    fn is_left_alone(&self, tensor: &TensorInfo, edit: &Edit, codec: &dyn BlockCodec) -> Result<bool, RewriteError> {
        if edit.ty != tensor.ty || !tensor.ty.is_quantized() || edit.stores_for_real() {
            return Ok(false);
        }
        let mut alone = true;
        self.each_piece(tensor, edit, codec, &mut |source, asked| {
            alone = source.iter().zip(asked).all(|(a, b)| a.to_bits() == b.to_bits());
            Ok(alone)
        })?;
        Ok(alone)
    }

    /// Hands the values of a tensor as they are stored, and as the scheme leaves them, to `take`, piece by piece for as
    /// long as it answers `true`. Where the scheme is the storage itself, the second are the first.
    fn each_piece(
        &self,
        tensor: &TensorInfo,
        edit: &Edit,
        codec: &dyn BlockCodec,
        take: &mut Take<'_>,
    ) -> Result<(), RewriteError> {
        const { assert!(cfg!(target_endian = "little"), "values are written as they lie in memory") };
        let context = TensorContext { name: &tensor.name, n_per_row: tensor.n_per_row() as usize };
        let n = tensor.n_elements();
        let shape = TensorShape::of(tensor.shape());
        let piece = match edit.importance(tensor)? {
            // Each matrix has importances of its own.
            Some(_) if shape.n_matrices > 1 => tensor.n_per_row().saturating_mul(shape.rows as u64),
            _ if goes_row_by_row(&edit.scheme) => piece_of_rows(tensor.n_per_row()),
            _ => n,
        };
        let mut read = Piece::default();
        let mut asked: Vec<f32> = Vec::new();
        for (start, n) in pieces(n, piece) {
            read.read(self.source, tensor, start, n, codec)?;
            if edit.ty.is_quantized() || edit.stores_for_real() {
                finite(&read.values, tensor, start)?;
            }
            if !edit.stores_for_real() {
                resize(&mut asked, n).map_err(|_| ValuesError::Memory { tensor: shown(tensor), n })?;
                asked.copy_from_slice(&read.values);
                let rows = Rows { first: (start / tensor.n_per_row().max(1)) as usize, shape };
                let held = edit.scheme.fake_quantize_rows(&mut asked, &context, rows, codec);
                held.map_err(|error| counted_from(start, error))?;
            }
            let asked = if edit.stores_for_real() { &read.values } else { &asked };
            if !take(&read.values, asked)? {
                break;
            }
        }
        Ok(())
    }

    /// The stored bytes as they are.
    fn copied(&self, tensor: &TensorInfo, put: &mut Put<'_>) -> Result<(), RewriteError> {
        let mut buffer = Vec::new();
        for (start, n) in pieces(tensor.nbytes, PIECE_VALUES) {
            buffer.resize(n as usize, 0);
            self.source.read_at(tensor, start, &mut buffer)?;
            put(&buffer)?;
        }
        Ok(())
    }

    /// One line for each tensor that is not as it was asked for.
    fn fallbacks(&self) -> Vec<String> {
        let of = |(&index, edit): (&usize, &Edit)| {
            let name = &self.source.tensors()[index].name;
            let (asked, done) = (edit.words(true), edit.words(false));
            (asked != done).then(|| format!("{name}: {asked} -> {done}"))
        };
        self.edits.iter().filter_map(of).collect()
    }
}

/// Takes the next bytes of the tensor in hand.
type Put<'a> = dyn FnMut(&[u8]) -> Result<(), RewriteError> + 'a;

/// Takes a piece's values as stored and as the scheme leaves them; `false` ends it.
type Take<'a> = dyn FnMut(&[f32], &[f32]) -> Result<bool, RewriteError> + 'a;

/// A file in the making, hashed on its way to the disk.
struct Hashed {
    file: OutputFile,
    sha256: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.sha256.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tensor against itself.
fn unchanged(tensor: &TensorInfo) -> Difference {
    Difference { n: tensor.n_elements(), ..DifferenceSums::default().finish() }
}

/// Whether a row comes out the same whatever the other rows are and wherever it stands. The rest needs the whole tensor
/// at once.
fn goes_row_by_row(scheme: &Scheme) -> bool {
    // A coin that is drawn by place is another one in another row.
    if scheme.to_string().contains("stochastic") {
        return false;
    }
    let within_rows = matches!(scheme.granularity(), Some(Granularity::Row | Granularity::Block(_)));
    match scheme.format() {
        Format::Minifloat { .. } => within_rows || scheme.granularity().is_none(),
        Format::Int { .. } | Format::Codebook(_) | Format::Table => within_rows,
        Format::Mx { .. } | Format::Ggml(_) | Format::Identity | Format::Zero => true,
        Format::Nvfp4 { .. } | Format::Jitter { .. } | Format::Noise { .. } | Format::Shuffle { .. } => false,
    }
}

/// Values of a piece of whole rows: if it can be, a multiple of the parts in which differences are summed, so that the
/// sums are those of the tensor in one piece.
fn piece_of_rows(n_per_row: u64) -> u64 {
    const PART: u64 = 1 << 16;
    let n_per_row = n_per_row.max(1);
    // A row is this often a multiple of two; PART is one as well.
    let shift = PART.trailing_zeros() - n_per_row.trailing_zeros().min(PART.trailing_zeros());
    let step = n_per_row.saturating_mul(1 << shift);
    match PIECE_VALUES / step {
        0 => (PIECE_VALUES / n_per_row).max(1) * n_per_row,
        steps => steps * step,
    }
}

/// ggml's blocks hold finite values only.
fn finite(values: &[f32], tensor: &TensorInfo, start: u64) -> Result<(), FakeQuantError> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let (tensor, value) = (tensor.name.clone(), values[index]);
            Err(FakeQuantError::Nonfinite { tensor, index: start as usize + index, value })
        }
    }
}

/// The error with its index counted from the start of the tensor, not of the piece.
fn counted_from(start: u64, error: FakeQuantError) -> FakeQuantError {
    match error {
        FakeQuantError::Nonfinite { tensor, index, value } => {
            FakeQuantError::Nonfinite { tensor, index: start as usize + index, value }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::PlainCodec;

    #[test]
    fn schemes_that_go_row_by_row_give_what_they_give_to_the_whole_tensor() {
        const N_PER_ROW: usize = 64;
        let values: Vec<f32> = (0..16 * N_PER_ROW).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
        let context = TensorContext { name: "t", n_per_row: N_PER_ROW };
        let fake = |scheme: &Scheme, part: &[f32]| {
            let mut out = part.to_vec();
            scheme.fake_quantize(&mut out, &context, &PlainCodec).expect("finite values");
            out
        };
        let by_row = ["bf16", "bf16:trunc", "fp8_e4m3@row", "int8@row", "int4@block32:asym", "int4@block32:clip=mse"];
        let by_row_too = ["int4@block32:zeropoint", "int4@block16:scale=f16hier", "nf4@block16:scale=f16hier"];
        for text in
            by_row.iter().chain(&by_row_too).chain(&["nf4@block64", "mxfp4", "mxint8", "ggml:f16", "zero", "identity"])
        {
            let scheme: Scheme = text.parse().expect(text);
            assert!(goes_row_by_row(&scheme), "{text}");
            let rows: Vec<f32> = values.chunks(N_PER_ROW).flat_map(|row| fake(&scheme, row)).collect();
            assert_eq!(rows, fake(&scheme, &values), "{text}");
        }
        for text in ["int8@tensor", "int8@col", "int8@2x32", "bf16:stochastic(3)", "nvfp4", "jitter", "noise(20)"] {
            assert!(!goes_row_by_row(&text.parse().expect(text)), "{text}");
        }
    }

    #[test]
    fn every_fallback_is_a_scheme_and_pieces_are_whole_rows() {
        for &ty in GgmlType::ALL {
            let fallback = fallback_of(ty);
            let scheme = scheme_of(fallback, &Scheme::identity());
            assert_eq!(scheme.ggml_format().and_then(|f| GgmlType::from_name(f.name)), Some(fallback), "{ty}");
        }
        for (n_per_row, wanted) in [(576, 4_128_768), (2048, 1 << 22), (1, 1 << 22), (2049, 2047 * 2049)] {
            assert_eq!(piece_of_rows(n_per_row), wanted, "{n_per_row}");
        }
        assert_eq!(piece_of_rows(u64::MAX), u64::MAX);
    }
}
