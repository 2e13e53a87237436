//! Writes the output, from its first byte to its name, and reads, works, hashes and writes at the same time.

use super::transform::{Tally, Target};
use super::{Rewrite, RewriteError, Rewritten, RewrittenFile, RewrittenTensor};
use crate::pieces::{PIECE_VALUES, pieces};
use crate::pipeline::{self, Buffers, Next, PieceBuffer};
use crate::rewrite::header::{self, Part};
use gguf::{GgufWriter, OutputFile, SealedFiles, Shard, TensorInfo, check_output};
use numerics::{BlockCodec, Difference, DifferenceSums};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The number of bytes that are read at once of data that are copied unchanged.
const PIECE_BYTES: u64 = PIECE_VALUES;

/// What the reading stage passes on.
enum Read<'a> {
    /// Bytes that are copied unchanged.
    Kept(PieceBuffer),
    /// The number of bytes of a target that its scheme has seen, before the first piece.
    Seen(u64),
    /// A piece of a target: its first value, its number of values and its bytes.
    Piece(Arc<Target<'a>>, u64, u64, PieceBuffer),
    /// The end of a tensor, by its index.
    End(usize),
}

/// What the working stage passes on.
enum Done {
    /// The number of bytes of a target that its scheme has seen.
    Seen(u64),
    /// Bytes of the output, and the number of source bytes that they were made from.
    Bytes(PieceBuffer, u64),
    /// The end of a tensor, with its result if it is a target.
    End(Option<Box<RewrittenTensor>>),
}

/// What the stages share: the buffers, and the places in the output.
struct Flow<'a> {
    codec: &'a dyn BlockCodec,
    /// Buffers for bytes of the source.
    raw: Buffers,
    /// Buffers for bytes of the output.
    out: Buffers,
    /// The byte at which the data of each tensor begin in its file of the output. A tensor that the output does not have
    /// has 0.
    places: Vec<u64>,
}

/// A written output whose files are on the disk and have no names yet. If it is dropped, nothing remains of it.
#[derive(Debug)]
pub struct FinishedRewrite {
    /// The files, which can be opened before they have their names.
    pub files: SealedFiles,
    rewritten: Rewritten,
}

impl FinishedRewrite {
    /// Gives the files their names. With `replace`, they replace files that have the names already.
    ///
    /// # Errors
    /// When a name has been taken meanwhile, or the disk fails.
    pub fn commit(self, replace: bool) -> Result<Rewritten, RewriteError> {
        self.files.commit(replace)?;
        Ok(self.rewritten)
    }
}

impl Rewrite<'_> {
    /// Writes the output to `out`, or to shards named after it. `progress` gets the number of bytes that are done and
    /// the number of all bytes.
    ///
    /// # Errors
    /// When `out` is an input or exists (unless `replace`), a file cannot be read or written, or a value cannot be
    /// quantized or stored. Nothing is left behind then.
    pub fn write(
        &self,
        out: &Path,
        replace: bool,
        codec: &dyn BlockCodec,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Rewritten, RewriteError> {
        self.finish(out, replace, codec, progress)?.commit(replace)
    }

    /// Writes all of the output but its names.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn finish(
        &self,
        out: &Path,
        replace: bool,
        codec: &dyn BlockCodec,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<FinishedRewrite, RewriteError> {
        // The files that schemes name are also read. A scheme from a store names its file by a hash, which is not a
        // path here.
        let of_schemes = || self.edits.values().filter_map(|edit| edit.scheme_requested.file());
        let inputs = || {
            let shards = self.source.shards().iter().map(Shard::path);
            shards.chain(of_schemes().map(|file| Path::new(file.name())))
        };
        if self.is_verbatim() {
            check_output(out, inputs(), replace)?;
            return self.copy(out, progress);
        }
        let specs = self.specs();
        let parts_with = |source_blake3: String| {
            let provenance = header::Provenance {
                version: &self.version,
                source_blake3,
                applies: &self.applies,
                carrier: self.carrier.to_string(),
                fallbacks: self.fallbacks(),
                kept: self.kept.iter().map(|kept| kept.name.clone()).collect(),
            };
            let metadata = header::metadata(self.source, &specs, &provenance);
            header::parts(self.source.version(), &metadata, &specs, self.split_max_bytes)
        };
        // The number of files does not depend on the digits of a hash, so their names are checked before the hash is
        // computed.
        let n_parts = parts_with(blake3::Hash::from([0; 32]).to_hex().to_string())?.len();
        let paths: Vec<PathBuf> = match n_parts {
            1 => vec![out.to_owned()],
            n => (0..n).map(|no| gguf::split::split_path(out, no, n)).collect(),
        };
        paths.iter().try_for_each(|path| check_output(path, inputs(), replace))?;
        // The source is read twice, because its hash stands before the tensors in the output. A target is read more
        // often if its scheme must see all values before it quantizes the first one.
        let hash_bytes = self.source.file_bytes();
        let mut total_bytes = hash_bytes;
        for (index, tensor) in self.source.tensors().iter().enumerate().filter(|(index, _)| !self.is_folded(*index)) {
            total_bytes = total_bytes.saturating_add(tensor.nbytes.saturating_mul(self.passes(index) + 1));
        }
        let parts =
            parts_with(header::hash(self.source, &mut |done| progress(done, total_bytes), RewriteError::Thread)?)?;

        // The output's bytes count twice: once for the hash and once for the disk.
        let failed = |no: usize| {
            let paths = &paths;
            move |e| RewriteError::Output(OutputFile::failed(&paths[no], e))
        };
        let mut hashes = Files::begin(parts.clone(), |_, _| Ok(Sha256::new()), failed)?;
        let create = |no: usize, bytes: u64| Ok(OutputFile::create(&paths[no], bytes)?);
        let mut outputs = Files::begin(parts.clone(), create, failed)?;
        let mut written = parts.iter().flat_map(|part| part.layout.places());
        let place = |index| if self.is_folded(index) { 0 } else { written.next().unwrap_or_default() };
        let places = (0..self.source.tensors().len()).map(place).collect();
        let flow = Flow { codec, raw: Buffers::default(), out: Buffers::default(), places };
        let (mut tensors, mut done_bytes, mut tally) = (Vec::new(), hash_bytes, None);
        pipeline::run(
            |next| self.read_all(&flow, &next),
            |read| self.work(read, &mut tally, &flow),
            |done: Done| {
                match &done {
                    Done::Seen(_) => {}
                    Done::Bytes(bytes, _) => hashes.data(bytes)?,
                    Done::End(_) => hashes.end_tensor()?,
                }
                Ok(done)
            },
            |done: Done| {
                let mut advance = |n: u64| {
                    done_bytes = done_bytes.saturating_add(n);
                    progress(done_bytes, total_bytes);
                };
                match done {
                    Done::Seen(n) => advance(n),
                    Done::Bytes(bytes, n) => {
                        outputs.data(&bytes)?;
                        flow.out.give(bytes);
                        advance(n);
                    }
                    Done::End(outcome) => {
                        outputs.end_tensor()?;
                        tensors.extend(outcome.map(|outcome| *outcome));
                    }
                }
                Ok(())
            },
            RewriteError::Thread,
        )?;
        let (hashes, outputs) = (hashes.finish()?, outputs.finish()?);
        let files = parts.iter().zip(&paths).zip(hashes).map(|((part, path), sha256)| RewrittenFile {
            path: path.clone(),
            bytes: part.layout.file_bytes(),
            sha256: words::hex(&sha256.finalize()),
        });
        let rewritten = Rewritten { tensors, files: files.collect(), verbatim: false };
        Ok(FinishedRewrite { files: SealedFiles::seal(outputs)?, rewritten })
    }

    /// Reads every tensor in order, in the way that the request requires.
    fn read_all<'s>(&'s self, flow: &Flow<'s>, next: &Next<Read<'s>>) -> Result<(), RewriteError> {
        for (index, tensor) in self.source.tensors().iter().enumerate() {
            if self.is_folded(index) {
                continue;
            }
            let mut target = None;
            if let Some(edit) = self.edits.get(&index).filter(|edit| !edit.copies(tensor)) {
                let mut seen = |n: u64| next.put(Read::Seen(n));
                let Some(known) = self.target(index, edit, flow.codec, &mut seen)? else { return Ok(()) };
                if !self.is_left_alone(&known)? {
                    target = Some(Arc::new(known));
                }
            }
            if let Some(target) = target {
                for (start, n) in target.pieces() {
                    let (nbytes, _) = target.nbytes(n)?;
                    let mut raw = flow.raw.take(nbytes, 0).ok_or_else(|| target.memory(n))?;
                    self.read_piece(&target, start, &mut raw)?;
                    if !next.put(Read::Piece(Arc::clone(&target), start, n, raw)) {
                        return Ok(());
                    }
                }
            } else {
                for (start, n) in pieces(tensor.nbytes, PIECE_BYTES) {
                    // This buffer is written as it is read. So it comes from the buffers of the output and goes back
                    // there.
                    let mut raw = flow.out.take_piece(n as usize, flow.places[index] + start);
                    self.source.read_at(tensor, start, &mut raw)?;
                    if !next.put(Read::Kept(raw)) {
                        return Ok(());
                    }
                }
            }
            if !next.put(Read::End(index)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Turns the bytes of the source into those of the output. `tally` is that of the current tensor.
    fn work(&self, read: Read<'_>, tally: &mut Option<Tally>, flow: &Flow<'_>) -> Result<Done, RewriteError> {
        match read {
            Read::Seen(n) => Ok(Done::Seen(n)),
            Read::Kept(bytes) => {
                let n = bytes.len() as u64;
                Ok(Done::Bytes(bytes, n))
            }
            Read::Piece(target, start, n, raw) => {
                let ((_, skipped), (_, nbytes)) = (target.nbytes(start)?, target.nbytes(n)?);
                let place = flow.places[target.index] + skipped as u64;
                let mut out = flow.out.take(nbytes, place).ok_or_else(|| target.memory(n))?;
                target.transform(start, n, &raw, &mut out, tally.get_or_insert_default())?;
                let n_read = raw.len() as u64;
                flow.raw.give(raw);
                Ok(Done::Bytes(out, n_read))
            }
            Read::End(index) => {
                let tensor = &self.source.tensors()[index];
                let (difference, rounded) = match tally.take() {
                    Some(tally) => (tally.sums.finish(), tally.carrier_rounded),
                    None => (unchanged(tensor), 0),
                };
                let outcome = self.edits.get(&index).map(|edit| Box::new(edit.outcome(tensor, difference, rounded)));
                Ok(Done::End(outcome))
            }
        }
    }

    /// Copies the whole input.
    fn copy(&self, out: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<FinishedRewrite, RewriteError> {
        let shard = &self.source.shards()[0];
        let bytes = shard.file_bytes();
        let mut file = OutputFile::create(out, bytes)?;
        let (mut sha256, mut done, buffers) = (Sha256::new(), 0, Buffers::default());
        pipeline::run(
            |next| -> Result<(), RewriteError> {
                for (start, n) in pieces(bytes, PIECE_BYTES) {
                    let mut buffer = buffers.take_piece(n as usize, start);
                    shard.read_raw(start, &mut buffer)?;
                    if !next.put(buffer) {
                        break;
                    }
                }
                Ok(())
            },
            Ok,
            |buffer: PieceBuffer| {
                sha256.update(&*buffer);
                Ok(buffer)
            },
            |buffer: PieceBuffer| {
                file.write_all(&buffer).map_err(|e| OutputFile::failed(out, e))?;
                done += buffer.len() as u64;
                progress(done, bytes);
                buffers.give(buffer);
                Ok(())
            },
            RewriteError::Thread,
        )?;
        let files = SealedFiles::seal(vec![file])?;
        let file = RewrittenFile { path: out.to_owned(), bytes, sha256: words::hex(&sha256.finalize()) };
        let of = |(&index, edit): (&usize, &super::Edit)| {
            let tensor = &self.source.tensors()[index];
            edit.outcome(tensor, unchanged(tensor), 0)
        };
        let tensors = self.edits.iter().map(of).collect();
        Ok(FinishedRewrite { files, rewritten: Rewritten { tensors, files: vec![file], verbatim: true } })
    }
}

/// The difference of a tensor from itself.
fn unchanged(tensor: &TensorInfo) -> Difference {
    Difference { n: tensor.n_elements(), ..DifferenceSums::default().finish() }
}

/// The files of the output, one after the other. Each is opened when the one before has all its tensors.
struct Files<W, Open, Failed> {
    parts: std::vec::IntoIter<Part>,
    open: Open,
    failed: Failed,
    /// The current file, and the number of its tensors that are still to come. `None` after the last file.
    current: Option<(GgufWriter<W>, usize)>,
    finished: Vec<W>,
}

impl<W, Open, Failed, ToError> Files<W, Open, Failed>
where
    W: Write,
    Open: FnMut(usize, u64) -> Result<W, RewriteError>,
    Failed: Fn(usize) -> ToError,
    ToError: FnOnce(io::Error) -> RewriteError,
{
    fn begin(parts: Vec<Part>, open: Open, failed: Failed) -> Result<Self, RewriteError> {
        let mut files = Files { parts: parts.into_iter(), open, failed, current: None, finished: Vec::new() };
        files.go_on()?;
        Ok(files)
    }

    fn no(&self) -> usize {
        self.finished.len()
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), RewriteError> {
        let failed = (self.failed)(self.no());
        match &mut self.current {
            Some((writer, _)) => writer.data(bytes).map_err(failed),
            None => Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "data behind the last tensor"))),
        }
    }

    fn end_tensor(&mut self) -> Result<(), RewriteError> {
        if let Some((_, left)) = &mut self.current {
            *left = left.saturating_sub(1);
        }
        self.go_on()
    }

    /// Finishes the files that have all their tensors, and opens the next file that has tensors.
    fn go_on(&mut self) -> Result<(), RewriteError> {
        while self.current.as_ref().is_none_or(|(_, left)| *left == 0) {
            let failed = (self.failed)(self.no());
            if let Some((writer, _)) = self.current.take() {
                self.finished.push(writer.finish().map_err(failed)?);
            }
            let Some(part) = self.parts.next() else { break };
            let no = self.no();
            let out = (self.open)(no, part.layout.file_bytes())?;
            let failed = (self.failed)(no);
            self.current = Some((GgufWriter::new(out, part.layout).map_err(failed)?, part.n_tensors));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<W>, RewriteError> {
        if let Some((writer, _)) = self.current.take() {
            let failed = (self.failed)(self.no());
            self.finished.push(writer.finish().map_err(failed)?);
        }
        Ok(self.finished)
    }
}
