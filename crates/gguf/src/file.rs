//! [`GgufFile`]: an open, checked model, in one file or in several.

use crate::endian::{Endian, swap_blocks};
use crate::foreign::ForeignTensor;
use crate::parse::{self, Header, Strictness};
use crate::problem::{GgufError, GgufProblem};
use crate::source::Source;
use crate::split::{self, Split};
use crate::tensor::TensorInfo;
use crate::value::Value;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use words::escape_terminal;

/// A GGUF model whose header has been checked. The metadata are in memory; tensor data are read on request.
///
/// A model that is split over several files can be opened from any of them and looks like a single file.
pub struct GgufFile {
    shards: Vec<Shard>,
    /// The header of the first shard, with the tensors and the additional metadata of the other shards.
    header: Header,
    tensor_index: HashMap<String, usize>,
}

/// One file of a model. A model that is not split has one.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    source: Source,
    alignment: u32,
    data_offset: u64,
    n_tensors: usize,
}

impl Shard {
    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file when it was opened, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// The alignment of the file's tensor data, in bytes.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// The first byte of the file's data section. The offsets of its tensors count from here.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// The number of tensors in this file.
    pub fn n_tensors(&self) -> usize {
        self.n_tensors
    }

    /// Fills `out` with the file's bytes from byte `offset`, whatever they stand for.
    ///
    /// # Errors
    /// When the file has too few bytes, has shrunk since it was opened, or the disk fails.
    pub fn read_raw(&self, offset: u64, out: &mut [u8]) -> Result<(), GgufError> {
        self.source.read_exact_at(offset, out).map_err(|problem| GgufError::new(&self.path, problem))
    }
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufFile")
            .field("path", &self.path())
            .field("shards", &self.shards.len())
            .field("version", &self.header.version)
            .field("metadata", &self.header.metadata.len())
            .field("tensors", &self.header.tensors.len())
            .finish_non_exhaustive()
    }
}

impl GgufFile {
    /// Opens a regular little-endian file and checks its whole header once. If the file is one of several of a model,
    /// it also opens the others and checks them against each other.
    ///
    /// # Errors
    /// One [`GgufProblem`] for each way in which the path or the files can be wrong. Nothing is read from a directory,
    /// FIFO, device or socket.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        Self::open_model(path.as_ref(), Strictness::ENGINE)
    }

    /// Like [`open`](Self::open), but also reads big-endian files and names of tensors that are too long for ggml. The
    /// values of such files can be read, and no engine takes them here.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_either_endian(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        Self::open_model(path.as_ref(), Strictness::VALUES)
    }

    /// Like [`open_either_endian`](Self::open_either_endian), but also takes tensors of types that ggml does not know, as
    /// forks write them. They are in [`foreign_tensors`](Self::foreign_tensors) and not among the tensors.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_header(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        Self::open_model(path.as_ref(), Strictness::HEADER)
    }

    fn open_model(path: &Path, strictness: Strictness) -> Result<Self, GgufError> {
        let (shard, header) = open_shard(path, strictness)?;
        let problem = |problem| GgufError::new(path, problem);
        match Split::declared(&header).map_err(problem)? {
            None => Self::of_shards(vec![shard], header),
            Some(split) => {
                let paths = split.paths(path).map_err(problem)?;
                Self::open_split(split, &paths, (shard, header), strictness)
            }
        }
    }

    /// Opens the other shards and puts all shards in order.
    fn open_split(
        split: Split,
        paths: &[PathBuf],
        opened: (Shard, Header),
        strictness: Strictness,
    ) -> Result<Self, GgufError> {
        let mut opened = Some(opened);
        let mut shards: Vec<Shard> = Vec::new();
        let mut first: Option<Header> = None;
        for (no, path) in (0..).zip(paths) {
            let (shard, mut header) = match opened.take_if(|_| no == split.no) {
                Some(opened) => opened,
                None => open_shard(path, strictness).map_err(|error| match error.problem {
                    GgufProblem::Open(source) => {
                        GgufError::new(path, GgufProblem::ShardMissing { no: no + 1, count: split.count, source })
                    }
                    problem => GgufError::new(path, problem),
                })?,
            };
            let problem = |problem| GgufError::new(path, problem);
            split.check(no, Split::declared(&header).map_err(problem)?).map_err(problem)?;
            header.tensors.iter_mut().for_each(|tensor| tensor.shard = shards.len());
            header.foreign.iter_mut().for_each(|tensor| tensor.shard = shards.len());
            shards.push(shard);
            match &mut first {
                None => first = Some(header),
                Some(first) => join(first, header).map_err(problem)?,
            }
        }
        match first {
            Some(header) if header.n_tensors() == split.n_tensors => Self::of_shards(shards, header),
            other => {
                let found = other.map_or(0, |header| header.n_tensors());
                Err(GgufError::new(&paths[0], GgufProblem::SplitTensors { found, wanted: split.n_tensors }))
            }
        }
    }

    fn of_shards(shards: Vec<Shard>, header: Header) -> Result<Self, GgufError> {
        let mut tensor_index: HashMap<String, usize> = HashMap::with_capacity(header.tensors.len());
        for (index, tensor) in header.tensors.iter().enumerate() {
            // The names within one file have been compared already.
            if let Some(other) = tensor_index.insert(tensor.name.clone(), index) {
                let no = header.tensors[other].shard + 1;
                let problem = GgufProblem::TensorInTwoShards { name: escape_terminal(&tensor.name), no };
                return Err(GgufError::new(&shards[tensor.shard].path, problem));
            }
        }
        Ok(GgufFile { shards, header, tensor_index })
    }

    /// The path by which the model was opened. For a split model it is the path of the first shard.
    pub fn path(&self) -> &Path {
        &self.shards[0].path
    }

    /// The files of the model, in order. There is at least one.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The size of all files together when they were opened, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(Shard::file_bytes).fold(0, u64::saturating_add)
    }

    /// The version of the container, 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// The byte order of the numbers in the file.
    pub fn endian(&self) -> Endian {
        self.header.endian
    }

    /// The alignment of the tensor data, in bytes. For a split model it is that of the first shard.
    pub fn alignment(&self) -> u32 {
        self.header.alignment
    }

    /// The first byte of the data section, in the first shard. The offsets of that shard's tensors count from here.
    pub fn data_offset(&self) -> u64 {
        self.header.data_offset
    }

    /// The tensors of types that ggml does not know, in the order of the file. Only
    /// [`open_header`](Self::open_header) takes such a file.
    pub fn foreign_tensors(&self) -> &[ForeignTensor] {
        &self.header.foreign
    }

    /// The metadata, in the order of the file.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.header.metadata
    }

    /// The value of a metadata key. `None` when the file does not have the key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.header.get(key)
    }

    /// The value of `general.architecture`. `None` when it is absent or not UTF-8.
    pub fn architecture(&self) -> Option<&str> {
        self.get("general.architecture").and_then(Value::as_str)
    }

    /// The tensors, in the order of the files and shard by shard.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// The tensor of this name. `None` when the model does not have it.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor_index.get(name).map(|&i| &self.header.tensors[i])
    }

    /// All bytes of a tensor, in the order that a little-endian file has.
    ///
    /// # Errors
    /// When the file has shrunk since it was opened, the disk fails, memory is short, or the tensor is not one of this
    /// file. Also when the file is big-endian and the byte order of the tensor's type is not defined.
    pub fn read_tensor(&self, tensor: &TensorInfo) -> Result<Vec<u8>, GgufError> {
        let memory = || {
            let field = format!("tensor \"{}\"", escape_terminal(&tensor.name));
            GgufError::new(self.path(), GgufProblem::Memory { field, wanted: tensor.nbytes })
        };
        self.place(tensor, 0, tensor.nbytes)?;
        let n = usize::try_from(tensor.nbytes).map_err(|_| memory())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(n).map_err(|_| memory())?;
        bytes.resize(n, 0);
        self.read_at(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` with a tensor's bytes from byte `offset` of the tensor, in the order that a little-endian file has.
    ///
    /// # Errors
    /// Those of [`read_tensor`](Self::read_tensor). Also when not all bytes asked for belong to the tensor, or they are
    /// part of a block of a big-endian file.
    pub fn read_at(&self, tensor: &TensorInfo, offset: u64, out: &mut [u8]) -> Result<(), GgufError> {
        let (shard, place) = self.place(tensor, offset, out.len() as u64)?;
        shard.read_raw(place, out)?;
        if self.endian() == Endian::Big {
            let whole = |n: u64| n.is_multiple_of(tensor.ty.type_size());
            if !whole(offset) || !whole(out.len() as u64) {
                return Err(self.range(tensor, offset, out.len() as u64));
            }
            if !swap_blocks(tensor.ty, out) {
                let (name, ty) = (escape_terminal(&tensor.name), tensor.ty.name());
                return Err(GgufError::new(&shard.path, GgufProblem::ByteOrder { name, ty }));
            }
        }
        Ok(())
    }

    /// The shard and the byte at which byte `offset` of a tensor lies, checked so that the next `wanted` bytes belong
    /// to the tensor.
    fn place(&self, tensor: &TensorInfo, offset: u64, wanted: u64) -> Result<(&Shard, u64), GgufError> {
        let in_tensor = offset.checked_add(wanted).is_some_and(|end| end <= tensor.nbytes);
        let in_file = self.shards.get(tensor.shard).filter(|_| in_tensor).and_then(|shard| {
            let start = shard.data_offset.checked_add(tensor.offset)?.checked_add(offset)?;
            // A tensor of no values has no bytes to read, even where the file ends before its data section would begin.
            (wanted == 0 || start.checked_add(wanted)? <= shard.file_bytes()).then_some((shard, start))
        });
        in_file.ok_or_else(|| self.range(tensor, offset, wanted))
    }

    fn range(&self, tensor: &TensorInfo, offset: u64, wanted: u64) -> GgufError {
        let (name, nbytes) = (escape_terminal(&tensor.name), tensor.nbytes);
        GgufError::new(self.path(), GgufProblem::Range { name, offset, wanted, nbytes })
    }
}

/// Opens one file without looking at the other files of its model.
fn open_shard(path: &Path, strictness: Strictness) -> Result<(Shard, Header), GgufError> {
    let open = || {
        let source = Source::open(path)?;
        let header = parse::header(&source, strictness)?;
        Ok((source, header))
    };
    let (source, header) = open().map_err(|problem| GgufError::new(path, problem))?;
    let Header { alignment, data_offset, .. } = header;
    let shard = Shard { path: path.to_owned(), source, alignment, data_offset, n_tensors: header.n_tensors() as usize };
    Ok((shard, header))
}

/// Adds the metadata and tensors of a later shard to those of the first.
fn join(first: &mut Header, later: Header) -> Result<(), GgufProblem> {
    let disagree = |what: &str, found: String, wanted: String| {
        if found == wanted { Ok(()) } else { Err(GgufProblem::ShardDisagrees { what: what.into(), found, wanted }) }
    };
    disagree("version", later.version.to_string(), first.version.to_string())?;
    disagree("byte order", later.endian.name().into(), first.endian.name().into())?;
    split::merge_metadata(first, &later)?;
    first.tensors.extend(later.tensors);
    first.foreign.extend(later.foreign);
    Ok(())
}
