//! Every way in which a file can be wrong, each with what was found and what was wanted.

use crate::ggml_type::GgmlTypeIdError;
use crate::limits::*;
use crate::value::ValueType;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use words::{Advice, Hint, escape_terminal};

/// A file, and what is wrong with it. Displays as one line.
#[derive(Debug)]
pub struct GgufError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

impl GgufError {
    pub(crate) fn new(path: &Path, problem: Problem) -> Self {
        GgufError { path: path.to_owned(), problem }
    }
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = escape_terminal(self.path.as_os_str().as_encoded_bytes());
        write!(f, "{path}: {}", self.problem)
    }
}

impl Advice for GgufError {
    fn hint(&self) -> Option<Hint> {
        self.problem.hint()
    }
}

impl std::error::Error for GgufError {
    // The I/O error of `Open` and `Read` is part of the line that is displayed, so it is no source
    // of its own: a chain that is printed would say it twice.
}

/// A way in which a file can be wrong. Text taken from the file is escaped already.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    // The path.
    /// The path cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(#[source] io::Error),
    /// The path is a directory, FIFO, device or socket.
    #[error("is a {found}, wanted a regular file")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// The file has no bytes.
    #[error("is empty, wanted a GGUF file")]
    Empty,
    /// The first bytes are not `GGUF`.
    #[error("is not a GGUF file: byte 0 holds {found}, wanted \"GGUF\"")]
    NotGguf {
        /// The first bytes, and what they look like.
        found: String,
        /// The kind of file they belong to, if it is known.
        looks_like: Option<&'static str>,
    },
    /// The operating system failed to read.
    #[error("cannot be read at byte {offset}: {source}")]
    Read {
        /// First byte asked for.
        offset: u64,
        /// The system's words.
        source: io::Error,
    },
    /// The file has fewer bytes than when it was opened.
    #[error("shrank while it was read: {wanted} bytes wanted at byte {offset}, {now} bytes left of {at_open}")]
    Shrunk {
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes of the file at opening.
        at_open: u64,
        /// Bytes of the file now.
        now: u64,
    },
    /// More memory is needed than there is.
    #[error("{field}: {wanted} bytes of memory wanted, the system refused")]
    Memory {
        /// What it is for.
        field: String,
        /// Bytes.
        wanted: u64,
    },

    // The header.
    /// The file ends within the header.
    #[error("ends too early: {field} at byte {offset} wants {wanted} bytes, found {left}")]
    Truncated {
        /// What was being read.
        field: String,
        /// Its first byte.
        offset: u64,
        /// Bytes it needs.
        wanted: u64,
        /// Bytes that are there.
        left: u64,
    },
    /// All is in big-endian byte order.
    #[error("is big-endian: version at byte 4 found {version} with its bytes swapped, wanted little-endian")]
    BigEndian {
        /// The version in its own byte order.
        version: u32,
    },
    /// A version that no reader of ours knows.
    #[error("version at byte 4: found {found}, wanted 2 or {GGUF_VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
    /// More tensors or metadata pairs than the bytes that follow could hold.
    #[error("{field} at byte {offset}: found {found}, wanted at most {max}, which is all that {left} bytes can hold")]
    Count {
        /// `number of tensors` or `number of metadata pairs`.
        field: &'static str,
        /// Where the count stands.
        offset: u64,
        /// The count.
        found: u64,
        /// The most there can be.
        max: u64,
        /// Bytes that follow.
        left: u64,
    },
    /// The header as a whole passes the cap.
    #[error("{field} at byte {offset}: the header passes {MAX_HEADER_BYTES} bytes (assay's MAX_HEADER_BYTES)")]
    HeaderTooLarge {
        /// What was being read.
        field: String,
        /// Its first byte.
        offset: u64,
    },

    // Metadata.
    /// A string passes the cap.
    #[error("{field} at byte {offset}: found a length of {found}, wanted at most {max} ({limit})")]
    StringLength {
        /// Which string.
        field: String,
        /// Where its length stands.
        offset: u64,
        /// The length.
        found: u64,
        /// The cap.
        max: u64,
        /// Its name, upstream's where it is upstream's.
        limit: &'static str,
    },
    /// An array passes the cap.
    #[error(
        "{field} at byte {offset}: found {found} elements, wanted at most {GGUF_MAX_ARRAY_ELEMENTS} (GGUF_MAX_ARRAY_ELEMENTS)"
    )]
    ArrayLength {
        /// Which array.
        field: String,
        /// Where its length stands.
        offset: u64,
        /// The length.
        found: u64,
    },
    /// Arrays within arrays, too deep.
    #[error(
        "{field} at byte {offset}: found an array {found} levels deep, wanted at most {MAX_ARRAY_DEPTH} \
         (assay's MAX_ARRAY_DEPTH; llama.cpp reads none within another)"
    )]
    ArrayDepth {
        /// Which array.
        field: String,
        /// Where it starts.
        offset: u64,
        /// Its depth.
        found: u32,
    },
    /// Arrays within arrays, too many.
    #[error(
        "{field} at byte {offset}: found {found} arrays within arrays so far, wanted at most {MAX_NESTED_ARRAYS} in a header \
         (assay's MAX_NESTED_ARRAYS; llama.cpp reads none)"
    )]
    NestedArrays {
        /// Which array.
        field: String,
        /// Where its length stands.
        offset: u64,
        /// How many there are up to its end.
        found: u64,
    },
    /// A key or tensor name of no bytes.
    #[error("{field} at byte {offset}: found an empty name, wanted at least one byte")]
    EmptyName {
        /// Which one.
        field: String,
        /// Where it stands.
        offset: u64,
    },
    /// A key or tensor name that is not UTF-8.
    #[error("{field} at byte {offset}: found \"{found}\", wanted UTF-8")]
    NameNotUtf8 {
        /// Which one.
        field: String,
        /// First byte that is not.
        offset: u64,
        /// The name, escaped.
        found: String,
    },
    /// A key or tensor name with a NUL in it: C programs see another name than the others.
    #[error("{field} at byte {offset}: found a NUL byte in \"{found}\", wanted none")]
    NameWithNul {
        /// Which one.
        field: String,
        /// Where the NUL stands.
        offset: u64,
        /// The name, escaped.
        found: String,
    },
    /// A key that has been seen before.
    #[error("metadata pair {index} at byte {offset}: found key \"{key}\" again, wanted every key once")]
    DuplicateKey {
        /// Place in the file, from 0.
        index: u64,
        /// Where it stands.
        offset: u64,
        /// The key, escaped.
        key: String,
    },
    /// A type id that names no value type.
    #[error("{field} at byte {offset}: found value type {found}, wanted 0 to 12")]
    ValueType {
        /// Which value.
        field: String,
        /// Where the id stands.
        offset: u64,
        /// The id.
        found: u32,
    },
    /// A bool that is neither 0 nor 1.
    #[error("{field} at byte {offset}: found {found} for a bool, wanted 0 or 1")]
    Bool {
        /// Which value.
        field: String,
        /// Where it stands.
        offset: u64,
        /// The byte.
        found: u8,
    },
    /// `general.alignment` is none.
    #[error("metadata \"general.alignment\" at byte {offset}: {wrong}")]
    Alignment {
        /// Where the pair stands.
        offset: u64,
        /// What is wrong with it.
        wrong: WrongAlignment,
    },

    // Tensors.
    /// A tensor name that has been seen before.
    #[error("tensor {index} at byte {offset}: found name \"{name}\" again, wanted every name once")]
    DuplicateTensor {
        /// Place in the file, from 0.
        index: u64,
        /// Where it stands.
        offset: u64,
        /// The name, escaped.
        name: String,
    },
    /// More dimensions than ggml has.
    #[error(
        "tensor \"{name}\": found {found} dimensions at byte {offset}, wanted at most {GGML_MAX_DIMS} (GGML_MAX_DIMS)"
    )]
    Dimensions {
        /// The tensor, escaped.
        name: String,
        /// Where the number stands.
        offset: u64,
        /// The number.
        found: u32,
    },
    /// An extent that would be negative in ggml, or a product of extents that would overflow.
    #[error("tensor \"{name}\": found shape {ne:?} at byte {offset}, wanted a product of at most 2^63 - 1")]
    Shape {
        /// The tensor, escaped.
        name: String,
        /// Where the first extent stands.
        offset: u64,
        /// The extents.
        ne: Vec<u64>,
    },
    /// A type id that names no type.
    #[error("tensor \"{name}\": found type {found} at byte {offset}, wanted a ggml type of this build")]
    TensorType {
        /// The tensor, escaped.
        name: String,
        /// Where the id stands.
        offset: u64,
        /// The id, and whether upstream removed it.
        found: GgmlTypeIdError,
    },
    /// A row that is not whole blocks.
    #[error(
        "tensor \"{name}\": found {found} values in a row of {ty} at byte {offset}, wanted a multiple of {blck_size}"
    )]
    Row {
        /// The tensor, escaped.
        name: String,
        /// Where `ne[0]` stands.
        offset: u64,
        /// The type.
        ty: &'static str,
        /// `ne[0]`.
        found: u64,
        /// Values in a block.
        blck_size: u64,
    },
    /// Data that does not start at a multiple of the alignment.
    #[error("tensor \"{name}\": found offset {found} at byte {offset}, wanted a multiple of {alignment}")]
    Misaligned {
        /// The tensor, escaped.
        name: String,
        /// Where the offset stands.
        offset: u64,
        /// The offset, from the start of the data section.
        found: u64,
        /// The alignment.
        alignment: u32,
    },
    /// Data that passes the end of the file.
    #[error(
        "tensor \"{name}\": found {nbytes} bytes of data at offset {offset} of the data section, \
         which has {data_bytes} bytes (from byte {data_offset} to the end of the file)"
    )]
    OutOfFile {
        /// The tensor, escaped.
        name: String,
        /// Its offset, from the start of the data section.
        offset: u64,
        /// Its bytes.
        nbytes: u64,
        /// Where the data section starts.
        data_offset: u64,
        /// Bytes of the data section.
        data_bytes: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors \"{first}\" and \"{second}\": found data that overlaps, the second starting at offset {offset}")]
    Overlap {
        /// The one that starts first, escaped.
        first: String,
        /// The other, escaped.
        second: String,
        /// Where the second starts, from the start of the data section.
        offset: u64,
    },

    // Files of one model.
    /// A key that ties shards together cannot be.
    #[error("metadata \"{key}\": found {found}, wanted {wanted}")]
    SplitKey {
        /// `split.no`, `split.count` or `split.tensors.count`.
        key: &'static str,
        /// Its value, escaped.
        found: String,
        /// What it would have to be.
        wanted: String,
    },
    /// A shard whose name does not say which one it is, so that the others cannot be found.
    #[error("is one of several files of a model: found name \"{found}\", wanted {wanted}")]
    SplitName {
        /// The name, escaped.
        found: String,
        /// Its form.
        wanted: String,
    },
    /// A shard that is not there.
    #[error("is shard {no} of {count} of the model and cannot be opened: {source}")]
    ShardMissing {
        /// From 1, as in its name.
        no: u64,
        /// Shards in all.
        count: u64,
        /// The system's words.
        source: io::Error,
    },
    /// Two shards that contradict each other.
    #[error("{what}: found {found}, wanted {wanted} as in the first shard")]
    ShardDisagrees {
        /// What they disagree about.
        what: String,
        /// In this file, escaped.
        found: String,
        /// In the first, escaped.
        wanted: String,
    },
    /// A tensor in two shards.
    #[error("tensor \"{name}\": found in this file and in shard {no}, wanted it once")]
    TensorInTwoShards {
        /// The tensor, escaped.
        name: String,
        /// The other shard, from 1.
        no: usize,
    },
    /// More or fewer tensors than the shards say there are.
    #[error("metadata \"split.tensors.count\": found {wanted}, the shards have {found} tensors together")]
    SplitTensors {
        /// Tensors there are.
        found: u64,
        /// Tensors there should be.
        wanted: u64,
    },

    // The caller.
    /// Values of a big-endian file in a type whose byte order is laid down nowhere.
    #[error("tensor \"{name}\": found {ty} in a big-endian file, wanted a type whose byte order is laid down")]
    ByteOrder {
        /// The tensor, escaped.
        name: String,
        /// The type.
        ty: &'static str,
    },
    /// Bytes were asked for that are not the tensor's.
    #[error("tensor \"{name}\": {wanted} bytes wanted at byte {offset} of its {nbytes}")]
    Range {
        /// The tensor, escaped.
        name: String,
        /// First byte asked for, from the tensor's own start.
        offset: u64,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes it has.
        nbytes: u64,
    },
}

/// What stands for an alignment and cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongAlignment {
    /// No u32.
    #[error("found a value of type {0}, wanted u32")]
    Type(ValueType),
    /// 0 or no power of two.
    #[error("found {0}, wanted a power of two")]
    Value(u32),
}

impl Advice for Problem {
    fn hint(&self) -> Option<Hint> {
        let hint = match self {
            Self::Open(e) if e.kind() == io::ErrorKind::NotFound => "check the path; nothing of this name exists",
            Self::Open(e) if e.kind() == io::ErrorKind::PermissionDenied => "check who may read the file",
            Self::Open(_) | Self::Read { .. } => "check the disk or the network share that the file is on",
            Self::NotAFile { found: "directory" } => "name the .gguf file in it",
            Self::NotAFile { .. } => {
                "save the model to a file first; it is read in any order, so it cannot be a stream"
            }
            Self::Empty => "the download may have failed; fetch the file again",
            Self::NotGguf { looks_like, .. } => match looks_like {
                Some(kind) => return Some(Hint::words(format!("it looks like {kind}"))),
                None => "convert the model to GGUF with llama.cpp's convert_hf_to_gguf.py",
            },
            Self::Shrunk { .. } => "something else may be writing the file; wait for it to finish",
            Self::Memory { .. } => "free memory, or use a smaller model",
            Self::Truncated { .. } | Self::OutOfFile { .. } | Self::Count { .. } => {
                "the file may be cut short or damaged; compare its size with the original's and fetch it again"
            }
            Self::BigEndian { .. } => "gguf-convert-endian of the Python package gguf turns it around",
            Self::Version { found: 1 } => "convert the model again with a current llama.cpp",
            Self::Version { .. } => "the file may be from a newer llama.cpp, or damaged",
            Self::TensorType { found: GgmlTypeIdError::Removed { .. }, .. } => {
                "quantize the model again with a current llama.cpp; repacked types are now made at load time"
            }
            Self::TensorType { .. } => "the file may be from a newer or a forked llama.cpp, or damaged",
            Self::ShardMissing { .. } => {
                "put all files of the model into one folder, under the names they were published with"
            }
            Self::SplitName { .. } => "give the file the name it was published with, and the other shards beside it",
            Self::SplitKey { .. }
            | Self::ShardDisagrees { .. }
            | Self::TensorInTwoShards { .. }
            | Self::SplitTensors { .. } => {
                "the files may be of different models; fetch all of them again from one place"
            }
            Self::ByteOrder { .. } => {
                "take the little-endian original; the header of this file can be read, and the values of its other types"
            }
            Self::Range { .. } => return None,
            Self::StringLength { .. }
            | Self::ArrayLength { .. }
            | Self::ArrayDepth { .. }
            | Self::NestedArrays { .. }
            | Self::HeaderTooLarge { .. } => {
                "the file is damaged, or its writer is at fault; no model in use comes near this limit"
            }
            _ => "the file is damaged, or its writer is at fault; llama.cpp would refuse or misread it too",
        };
        Some(Hint::words(hint))
    }
}
