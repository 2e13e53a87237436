//! [`GgufFile`]: an open, checked file.

use crate::escape::escape_terminal;
use crate::parse::{self, Header};
use crate::problem::{GgufError, Problem};
use crate::source::Source;
use crate::tensor::TensorInfo;
use crate::value::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// A GGUF file whose header has been checked. Metadata is in memory, tensor data is read on request.
pub struct GgufFile {
    path: PathBuf,
    source: Source,
    header: Header,
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufFile")
            .field("path", &self.path)
            .field("version", &self.header.version)
            .field("metadata", &self.header.metadata.len())
            .field("tensors", &self.header.tensors.len())
            .finish_non_exhaustive()
    }
}

impl GgufFile {
    /// Opens a regular file and checks its header, all of it, once.
    ///
    /// # Errors
    /// One [`Problem`] per way in which the path or the file can be wrong. Nothing is read from a
    /// directory, FIFO, device or socket.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let open = || {
            let source = Source::open(path)?;
            let header = parse::header(&source)?;
            Ok((source, header))
        };
        let (source, header) = open().map_err(|problem| GgufError::new(path, problem))?;
        Ok(GgufFile { path: path.to_owned(), source, header })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size at opening, bytes.
    pub fn file_bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// Version of the container: 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// Alignment of tensor data, bytes.
    pub fn alignment(&self) -> u32 {
        self.header.alignment
    }

    /// Where the data section starts; offsets of tensors count from here.
    pub fn data_offset(&self) -> u64 {
        self.header.data_offset
    }

    /// Metadata in file order.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.header.metadata
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.header.key_index.get(key).map(|&i| &self.header.metadata[i].1)
    }

    /// `general.architecture`, if it is there and UTF-8.
    pub fn architecture(&self) -> Option<&str> {
        self.get("general.architecture").and_then(Value::as_str)
    }

    /// Tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensor_index.get(name).map(|&i| &self.header.tensors[i])
    }

    /// All bytes of a tensor.
    ///
    /// # Errors
    /// When the file has shrunk since it was opened, the disk fails, memory is short, or the tensor
    /// is not one of this file.
    pub fn read_tensor(&self, tensor: &TensorInfo) -> Result<Vec<u8>, GgufError> {
        let memory = || {
            let field = format!("tensor \"{}\"", escape_terminal(&tensor.name));
            GgufError::new(&self.path, Problem::Memory { field, wanted: tensor.nbytes })
        };
        self.place(tensor, 0, tensor.nbytes)?;
        let n = usize::try_from(tensor.nbytes).map_err(|_| memory())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(n).map_err(|_| memory())?;
        bytes.resize(n, 0);
        self.read_at(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` with a tensor's bytes from byte `offset` of it.
    ///
    /// # Errors
    /// As [`read_tensor`](Self::read_tensor), and when the bytes asked for are not all the tensor's.
    pub fn read_at(&self, tensor: &TensorInfo, offset: u64, out: &mut [u8]) -> Result<(), GgufError> {
        let place = self.place(tensor, offset, out.len() as u64)?;
        self.source.read_exact_at(place, out).map_err(|problem| GgufError::new(&self.path, problem))
    }

    /// Where byte `offset` of a tensor lies in the file, with `wanted` bytes from there being the tensor's.
    fn place(&self, tensor: &TensorInfo, offset: u64, wanted: u64) -> Result<u64, GgufError> {
        let in_tensor = offset.checked_add(wanted).is_some_and(|end| end <= tensor.nbytes);
        let start = self.data_offset().checked_add(tensor.offset).and_then(|start| start.checked_add(offset));
        let in_file = start.filter(|start| start.checked_add(wanted).is_some_and(|end| end <= self.file_bytes()));
        match in_file {
            Some(start) if in_tensor => Ok(start),
            _ => {
                let (name, nbytes) = (escape_terminal(&tensor.name), tensor.nbytes);
                Err(GgufError::new(&self.path, Problem::Range { name, offset, wanted, nbytes }))
            }
        }
    }
}
