//! [`GgufFile`]: an open, checked model, in one file or in several.

use crate::endian::{Endian, swap_blocks};
use crate::parse::{self, Header};
use crate::problem::{GgufError, Problem};
use crate::source::Source;
use crate::split::{self, Split};
use crate::tensor::TensorInfo;
use crate::value::Value;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use words::escape_terminal;

/// A GGUF model whose header has been checked. Metadata is in memory, tensor data is read on request.
///
/// A model that is split over several files is opened from any of them and looks like one.
pub struct GgufFile {
    shards: Vec<Shard>,
    /// Of the first shard, with the tensors and the further metadata of the others.
    header: Header,
    tensor_index: HashMap<String, usize>,
}

/// One file of a model: the whole of it, unless it is split.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    source: Source,
    alignment: u32,
    data_offset: u64,
    n_tensors: usize,
}

impl Shard {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size at opening, bytes.
    pub fn file_bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// Alignment of its tensor data, bytes.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Where its data section starts; offsets of its tensors count from here.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Tensors in this file.
    pub fn n_tensors(&self) -> usize {
        self.n_tensors
    }

    /// Fills `out` with the file's bytes from byte `offset`, whatever they are.
    ///
    /// # Errors
    /// When the file has not so many, has shrunk since it was opened, or the disk fails.
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
    /// Opens a regular little-endian file and checks its header, all of it, once. If it is one of several files of a
    /// model, opens the others too and checks them against each other.
    ///
    /// # Errors
    /// One [`Problem`] per way in which the path or the files can be wrong. Nothing is read from a
    /// directory, FIFO, device or socket.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        Self::open_model(path.as_ref(), false)
    }

    /// As [`open`](Self::open), and reads big-endian files as well: for looking at them, since no engine runs them here.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_either_endian(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        Self::open_model(path.as_ref(), true)
    }

    fn open_model(path: &Path, big_endian_too: bool) -> Result<Self, GgufError> {
        let (shard, header) = open_shard(path, big_endian_too)?;
        let problem = |problem| GgufError::new(path, problem);
        match Split::declared(&header).map_err(problem)? {
            None => Self::of_shards(vec![shard], header),
            Some(split) => {
                let paths = split.paths(path).map_err(problem)?;
                Self::open_split(split, &paths, (shard, header), big_endian_too)
            }
        }
    }

    /// Opens the other shards and puts all in order.
    fn open_split(
        split: Split,
        paths: &[PathBuf],
        opened: (Shard, Header),
        big_endian_too: bool,
    ) -> Result<Self, GgufError> {
        let mut opened = Some(opened);
        let mut shards: Vec<Shard> = Vec::new();
        let mut first: Option<Header> = None;
        for (no, path) in (0..).zip(paths) {
            let (shard, mut header) = match opened.take_if(|_| no == split.no) {
                Some(opened) => opened,
                None => open_shard(path, big_endian_too).map_err(|error| match error.problem {
                    Problem::Open(source) => {
                        GgufError::new(path, Problem::ShardMissing { no: no + 1, count: split.count, source })
                    }
                    problem => GgufError::new(path, problem),
                })?,
            };
            let problem = |problem| GgufError::new(path, problem);
            split.check(no, Split::declared(&header).map_err(problem)?).map_err(problem)?;
            header.tensors.iter_mut().for_each(|tensor| tensor.shard = shards.len());
            shards.push(shard);
            match &mut first {
                None => first = Some(header),
                Some(first) => join(first, header).map_err(problem)?,
            }
        }
        match first {
            Some(header) if header.tensors.len() as u64 == split.n_tensors => Self::of_shards(shards, header),
            other => {
                let found = other.map_or(0, |header| header.tensors.len() as u64);
                Err(GgufError::new(&paths[0], Problem::SplitTensors { found, wanted: split.n_tensors }))
            }
        }
    }

    fn of_shards(shards: Vec<Shard>, header: Header) -> Result<Self, GgufError> {
        let mut tensor_index: HashMap<String, usize> = HashMap::with_capacity(header.tensors.len());
        for (index, tensor) in header.tensors.iter().enumerate() {
            // Within a file names have been compared already.
            if let Some(other) = tensor_index.insert(tensor.name.clone(), index) {
                let no = header.tensors[other].shard + 1;
                let problem = Problem::TensorInTwoShards { name: escape_terminal(&tensor.name), no };
                return Err(GgufError::new(&shards[tensor.shard].path, problem));
            }
        }
        Ok(GgufFile { shards, header, tensor_index })
    }

    /// The path it was opened by; the first shard's, where there are several.
    pub fn path(&self) -> &Path {
        &self.shards[0].path
    }

    /// The files of the model, in order; never none.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Size at opening, bytes, of all files together.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(Shard::file_bytes).fold(0, u64::saturating_add)
    }

    /// Version of the container: 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// Byte order of the numbers.
    pub fn endian(&self) -> Endian {
        self.header.endian
    }

    /// Alignment of tensor data, bytes; the first shard's.
    pub fn alignment(&self) -> u32 {
        self.header.alignment
    }

    /// Where the data section starts, in the first shard; offsets of its tensors count from here.
    pub fn data_offset(&self) -> u64 {
        self.header.data_offset
    }

    /// Metadata in file order.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.header.metadata
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.header.get(key)
    }

    /// `general.architecture`, if it is there and UTF-8.
    pub fn architecture(&self) -> Option<&str> {
        self.get("general.architecture").and_then(Value::as_str)
    }

    /// Tensors in file order, shard by shard.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor_index.get(name).map(|&i| &self.header.tensors[i])
    }

    /// All bytes of a tensor, as a little-endian file has them.
    ///
    /// # Errors
    /// When the file has shrunk since it was opened, the disk fails, memory is short, the tensor
    /// is not one of this file, or its type has no byte order laid down and the file is big-endian.
    pub fn read_tensor(&self, tensor: &TensorInfo) -> Result<Vec<u8>, GgufError> {
        let memory = || {
            let field = format!("tensor \"{}\"", escape_terminal(&tensor.name));
            GgufError::new(self.path(), Problem::Memory { field, wanted: tensor.nbytes })
        };
        self.place(tensor, 0, tensor.nbytes)?;
        let n = usize::try_from(tensor.nbytes).map_err(|_| memory())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(n).map_err(|_| memory())?;
        bytes.resize(n, 0);
        self.read_at(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` with a tensor's bytes from byte `offset` of it, as a little-endian file has them.
    ///
    /// # Errors
    /// As [`read_tensor`](Self::read_tensor), and when the bytes asked for are not all the tensor's, or are part of a
    /// block of a big-endian file.
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
                return Err(GgufError::new(&shard.path, Problem::ByteOrder { name, ty }));
            }
        }
        Ok(())
    }

    /// Where byte `offset` of a tensor lies, with `wanted` bytes from there being the tensor's.
    fn place(&self, tensor: &TensorInfo, offset: u64, wanted: u64) -> Result<(&Shard, u64), GgufError> {
        let in_tensor = offset.checked_add(wanted).is_some_and(|end| end <= tensor.nbytes);
        let in_file = self.shards.get(tensor.shard).filter(|_| in_tensor).and_then(|shard| {
            let start = shard.data_offset.checked_add(tensor.offset)?.checked_add(offset)?;
            // Nothing can be had of a tensor of no values even where the file ends before its data section would begin.
            (wanted == 0 || start.checked_add(wanted)? <= shard.file_bytes()).then_some((shard, start))
        });
        in_file.ok_or_else(|| self.range(tensor, offset, wanted))
    }

    fn range(&self, tensor: &TensorInfo, offset: u64, wanted: u64) -> GgufError {
        let (name, nbytes) = (escape_terminal(&tensor.name), tensor.nbytes);
        GgufError::new(self.path(), Problem::Range { name, offset, wanted, nbytes })
    }
}

/// Opens one file, without a look at the others of its model.
fn open_shard(path: &Path, big_endian_too: bool) -> Result<(Shard, Header), GgufError> {
    let open = || {
        let source = Source::open(path)?;
        let header = parse::header(&source, big_endian_too)?;
        Ok((source, header))
    };
    let (source, header) = open().map_err(|problem| GgufError::new(path, problem))?;
    let Header { alignment, data_offset, .. } = header;
    let shard = Shard { path: path.to_owned(), source, alignment, data_offset, n_tensors: header.tensors.len() };
    Ok((shard, header))
}

/// Adds a later shard's metadata and tensors to the first's.
fn join(first: &mut Header, later: Header) -> Result<(), Problem> {
    let disagree = |what: &str, found: String, wanted: String| {
        if found == wanted { Ok(()) } else { Err(Problem::ShardDisagrees { what: what.into(), found, wanted }) }
    };
    disagree("version", later.version.to_string(), first.version.to_string())?;
    disagree("byte order", later.endian.name().into(), first.endian.name().into())?;
    split::merge_metadata(first, &later)?;
    first.tensors.extend(later.tensors);
    Ok(())
}
