//! The open file: bounded reads at stated places, and a buffered cursor over the header.

use crate::endian::Endian;
use crate::limits::MAX_HEADER_BYTES;
use crate::problem::GgufProblem;
use std::fmt;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// An open regular file and the size it had when it was opened.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    bytes: u64,
}

impl Source {
    /// Opens a regular file and nothing else.
    ///
    /// The path is examined before it is opened, because opening a FIFO waits and opening a device may do anything. It
    /// is examined again afterwards, because another process may have replaced it in between. For the same reason the
    /// open itself must not wait.
    pub(crate) fn open(path: &Path) -> Result<Self, GgufProblem> {
        require_regular(&std::fs::metadata(path).map_err(GgufProblem::Open)?)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(GgufProblem::Open)?;
        let metadata = file.metadata().map_err(GgufProblem::Open)?;
        require_regular(&metadata)?;
        Ok(Source { file, bytes: metadata.len() })
    }

    /// Takes a file of our own that has no name yet.
    pub(crate) fn of(file: File) -> Result<Self, GgufProblem> {
        let bytes = file.metadata().map_err(GgufProblem::Open)?.len();
        Ok(Source { file, bytes })
    }

    /// The size of the file when it was opened, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `out` from byte `offset`. The caller must have checked the range against [`bytes`](Self::bytes).
    pub(crate) fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<(), GgufProblem> {
        self.file.read_exact_at(out, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => GgufProblem::Shrunk {
                offset,
                wanted: out.len() as u64,
                at_open: self.bytes,
                now: self.file.metadata().map_or(0, |m| m.len()),
            },
            _ => GgufProblem::Read { offset, source },
        })
    }
}

fn require_regular(metadata: &Metadata) -> Result<(), GgufProblem> {
    let ty: FileType = metadata.file_type();
    let found = match ty {
        _ if ty.is_file() => return Ok(()),
        _ if ty.is_dir() => "directory",
        _ if ty.is_fifo() => "FIFO (named pipe)",
        _ if ty.is_char_device() => "character device",
        _ if ty.is_block_device() => "block device",
        _ if ty.is_socket() => "socket",
        _ => "special file",
    };
    Err(GgufProblem::NotAFile { found })
}

/// The part of the header that is being read, for the error message.
#[derive(Clone, Copy)]
pub(crate) enum Field<'a> {
    Header(&'static str),
    Key(u64),
    TypeOf(&'a str),
    Value(&'a str),
    TensorName(u64),
    TensorShape(&'a str),
    TensorType(&'a str),
    TensorOffset(&'a str),
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use words::escape_short as safe;
        match *self {
            Field::Header(what) => f.write_str(what),
            Field::Key(index) => write!(f, "key of metadata pair {index}"),
            Field::TypeOf(key) => write!(f, "type of metadata \"{}\"", safe(key)),
            Field::Value(key) => write!(f, "value of metadata \"{}\"", safe(key)),
            Field::TensorName(index) => write!(f, "name of tensor {index}"),
            Field::TensorShape(name) => write!(f, "shape of tensor \"{}\"", safe(name)),
            Field::TensorType(name) => write!(f, "type of tensor \"{}\"", safe(name)),
            Field::TensorOffset(name) => write!(f, "offset of tensor \"{}\"", safe(name)),
        }
    }
}

/// Reads the header from front to back through a buffer. It never asks the file for bytes that the file does not have.
pub(crate) struct Cursor<'a> {
    source: &'a Source,
    /// The bytes of the file from `buffer_start` on.
    buffer: Vec<u8>,
    buffer_start: u64,
    position: u64,
    /// The byte order of every number from here on.
    endian: Endian,
    /// The number of arrays within arrays that have been read so far.
    nested: u64,
}

/// The number of bytes read at once. It is a multiple of 8, so a number of an array never lies in two reads.
const BUFFER_BYTES: usize = 256 * 1024;

impl<'a> Cursor<'a> {
    /// Adds `n` arrays within an array to the count and returns the count.
    pub(crate) fn count_nested(&mut self, n: u64) -> u64 {
        self.nested = self.nested.saturating_add(n);
        self.nested
    }

    pub(crate) fn new(source: &'a Source) -> Self {
        Cursor { source, buffer: Vec::new(), buffer_start: 0, position: 0, endian: Endian::Little, nested: 0 }
    }

    /// Reads the numbers from here on in this byte order.
    pub(crate) fn set_endian(&mut self, endian: Endian) {
        self.endian = endian;
    }

    /// The place of the next byte, counted from the start of the file.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The number of bytes from here to the end of the file.
    pub(crate) fn left(&self) -> u64 {
        self.source.bytes() - self.position
    }

    /// Refuses `n` bytes if the file does not have them or the header may not be so large. It does so before memory is
    /// allocated for them.
    pub(crate) fn require(&self, n: u64, field: Field<'_>) -> Result<(), GgufProblem> {
        let offset = self.position;
        if n > self.left() {
            return Err(GgufProblem::Truncated { field: field.to_string(), offset, wanted: n, left: self.left() });
        }
        if n > MAX_HEADER_BYTES - offset.min(MAX_HEADER_BYTES) {
            return Err(GgufProblem::HeaderTooLarge { field: field.to_string(), offset });
        }
        Ok(())
    }

    /// The next `n` bytes, at most [`BUFFER_BYTES`].
    fn take(&mut self, n: usize, field: Field<'_>) -> Result<&[u8], GgufProblem> {
        debug_assert!(n <= BUFFER_BYTES);
        self.require(n as u64, field)?;
        let mut start = (self.position - self.buffer_start) as usize;
        if start + n > self.buffer.len() {
            let refill = self.left().min(BUFFER_BYTES as u64) as usize;
            self.buffer.resize(refill, 0);
            self.source.read_exact_at(self.position, &mut self.buffer)?;
            self.buffer_start = self.position;
            start = 0;
        }
        self.position += n as u64;
        Ok(&self.buffer[start..start + n])
    }

    /// Goes back to a place that is still in the buffer from the first read.
    pub(crate) fn rewind_to(&mut self, position: u64) {
        debug_assert!(position >= self.buffer_start && position <= self.position);
        self.position = position;
    }

    /// The next number of `N` bytes, with the least significant byte first.
    pub(crate) fn array<const N: usize>(&mut self, field: Field<'_>) -> Result<[u8; N], GgufProblem> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, field)?);
        if self.endian == Endian::Big {
            out.reverse();
        }
        Ok(out)
    }

    pub(crate) fn u32(&mut self, field: Field<'_>) -> Result<u32, GgufProblem> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: Field<'_>) -> Result<u64, GgufProblem> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// Appends the next `n` bytes to `out`.
    pub(crate) fn append(&mut self, n: u64, out: &mut Vec<u8>, field: Field<'_>) -> Result<(), GgufProblem> {
        self.require(n, field)?;
        let mut left = n;
        while left > 0 {
            let piece = left.min(BUFFER_BYTES as u64);
            out.extend_from_slice(self.take(piece as usize, field)?);
            left -= piece;
        }
        Ok(())
    }

    /// The next `n` numbers of `N` bytes each.
    pub(crate) fn numbers<const N: usize, T>(
        &mut self,
        n: u64,
        from_le_bytes: fn([u8; N]) -> T,
        field: Field<'_>,
    ) -> Result<Vec<T>, GgufProblem> {
        const { assert!(BUFFER_BYTES.is_multiple_of(N)) };
        self.require(n.saturating_mul(N as u64), field)?;
        let mut out = Vec::with_capacity(n as usize);
        let mut left = n as usize;
        while left > 0 {
            let piece = left.min(BUFFER_BYTES / N);
            let endian = self.endian;
            let (numbers, _) = self.take(piece * N, field)?.as_chunks::<N>();
            out.extend(numbers.iter().map(|bytes| {
                let mut bytes = *bytes;
                if endian == Endian::Big {
                    bytes.reverse();
                }
                from_le_bytes(bytes)
            }));
            left -= piece;
        }
        Ok(out)
    }
}
