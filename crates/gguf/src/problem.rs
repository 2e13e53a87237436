//! Every way in which a file can be wrong, each with what was found and what was wanted.

use crate::foreign::fork_type;
use crate::ggml_type::GgmlTypeIdError;
use crate::limits::*;
use crate::value::ValueType;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use words::{Advice, Hint, count, escape_terminal, plural};

/// A file and what is wrong with it. It displays as one line.
#[derive(Debug)]
pub struct GgufError {
    /// The path of the file, as it was given.
    pub path: PathBuf,
    /// What is wrong with the file.
    pub problem: GgufProblem,
}

impl GgufError {
    pub(crate) fn new(path: &Path, problem: GgufProblem) -> Self {
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
    // The I/O error of `Open` and `Read` is part of the line that is displayed, so it is not a source
    // of its own: a chain that is printed would say it twice.
}

/// A way in which a file can be wrong. Text taken from the file is already escaped for a terminal.
#[derive(Debug, thiserror::Error)]
pub enum GgufProblem {
    // The path.
    /// The path cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(#[source] io::Error),
    /// The path is a directory, FIFO, device or socket.
    #[error("is a {found}, wanted a regular file")]
    NotAFile {
        /// The kind of thing it is, such as a directory.
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
    #[error("cannot be read at byte {offset}: {source}", offset = count(*.offset))]
    Read {
        /// The first byte that was asked for, counted from the start of the file.
        offset: u64,
        /// The error that the operating system reported.
        source: io::Error,
    },
    /// The file has fewer bytes than when it was opened.
    #[error("shrank while it was read: {} wanted at byte {offset}, {} left of {at_open}", plural(.wanted, "byte"), plural(.now, "byte"), offset = count(*.offset), at_open = count(*.at_open))]
    Shrunk {
        /// The first byte that was asked for, counted from the start of the file.
        offset: u64,
        /// The number of bytes that were asked for.
        wanted: u64,
        /// The size of the file when it was opened, in bytes.
        at_open: u64,
        /// The size of the file now, in bytes.
        now: u64,
    },
    /// The system refused the memory that is needed.
    #[error("{field}: {} of memory wanted, the system refused", plural(.wanted, "byte"))]
    Memory {
        /// What the memory is for.
        field: String,
        /// The number of bytes that were requested.
        wanted: u64,
    },

    // The header.
    /// The file ends within the header.
    #[error("ends too early: {field} at byte {offset} wants {}, found {left}", plural(.wanted, "byte"), offset = count(*.offset), left = count(*.left))]
    Truncated {
        /// The part of the header that was being read.
        field: String,
        /// The first byte of that part, counted from the start of the file.
        offset: u64,
        /// The number of bytes that the part needs.
        wanted: u64,
        /// The number of bytes that are there.
        left: u64,
    },
    /// The whole file is in big-endian byte order.
    #[error("is big-endian: version at byte 4 found {version} with its bytes swapped, wanted little-endian")]
    BigEndian {
        /// The version in its own byte order.
        version: u32,
    },
    /// The version is one that this reader does not know.
    #[error("version at byte 4: found {found}, wanted 2 or {GGUF_VERSION}")]
    Version {
        /// The version that the file states.
        found: u32,
    },
    /// The header claims more tensors or metadata pairs than fit in the bytes that follow.
    #[error("{field} at byte {offset}: found {found}, wanted at most {max}, which is all that {} can hold", plural(.left, "byte"), offset = count(*.offset), found = count(*.found), max = count(*.max))]
    Count {
        /// `number of tensors` or `number of metadata pairs`.
        field: &'static str,
        /// The byte at which the count starts, counted from the start of the file.
        offset: u64,
        /// The count that the file states.
        found: u64,
        /// The largest count that the file has room for.
        max: u64,
        /// The number of bytes that follow the count.
        left: u64,
    },
    /// The header as a whole is larger than the cap.
    #[error("{field} at byte {offset}: the header passes {} (assay's MAX_HEADER_BYTES)", plural(MAX_HEADER_BYTES, "byte"), offset = count(*.offset))]
    HeaderTooLarge {
        /// The part of the header that was being read.
        field: String,
        /// The first byte of that part, counted from the start of the file.
        offset: u64,
    },

    // Metadata.
    /// A string is longer than the cap.
    #[error("{field} at byte {offset}: found a length of {found}, wanted at most {max} ({limit})", offset = count(*.offset), found = count(*.found), max = count(*.max))]
    StringLength {
        /// The string whose length it is.
        field: String,
        /// The byte at which its length starts, counted from the start of the file.
        offset: u64,
        /// The length that the file states, in bytes.
        found: u64,
        /// The largest length that is allowed, in bytes.
        max: u64,
        /// The name of the cap: llama.cpp's own name where llama.cpp has the same cap.
        limit: &'static str,
    },
    /// An array has more elements than the cap.
    #[error(
        "{field} at byte {offset}: found {found} elements, wanted at most {} (GGUF_MAX_ARRAY_ELEMENTS)", count(GGUF_MAX_ARRAY_ELEMENTS), offset = count(*.offset), found = count(*.found))]
    ArrayLength {
        /// The metadata key or the place of the array in the header.
        field: String,
        /// The byte at which its length starts, counted from the start of the file.
        offset: u64,
        /// The number of elements that the file states.
        found: u64,
    },
    /// Arrays lie within arrays more deeply than the cap allows.
    #[error(
        "{field} at byte {offset}: found an array {found} levels deep, wanted at most {MAX_ARRAY_DEPTH} \
         (assay's MAX_ARRAY_DEPTH; llama.cpp reads none within another)", offset = count(*.offset))]
    ArrayDepth {
        /// The metadata key or the place of the array in the header.
        field: String,
        /// The byte at which the array starts, counted from the start of the file.
        offset: u64,
        /// The depth of the array, in levels.
        found: u32,
    },
    /// The header has more arrays within arrays than the cap allows.
    #[error(
        "{field} at byte {offset}: found {found} arrays within arrays so far, wanted at most {} in a header \
         (assay's MAX_NESTED_ARRAYS; llama.cpp reads none)", count(MAX_NESTED_ARRAYS), offset = count(*.offset), found = count(*.found))]
    NestedArrays {
        /// The metadata key or the place of the array in the header.
        field: String,
        /// The byte at which its length starts, counted from the start of the file.
        offset: u64,
        /// The number of arrays within arrays up to and including this one.
        found: u64,
    },
    /// A key or tensor name is empty.
    #[error("{field} at byte {offset}: found an empty name, wanted at least one byte", offset = count(*.offset))]
    EmptyName {
        /// The key or tensor whose name it is, by its place in the file.
        field: String,
        /// The byte at which the name starts, counted from the start of the file.
        offset: u64,
    },
    /// A key or tensor name is not UTF-8.
    #[error("{field} at byte {offset}: found \"{found}\", wanted UTF-8", offset = count(*.offset))]
    NameNotUtf8 {
        /// The key or tensor whose name it is, by its place in the file.
        field: String,
        /// The first byte that is not UTF-8, counted from the start of the file.
        offset: u64,
        /// The name, escaped for a terminal.
        found: String,
    },
    /// A key or tensor name contains a NUL byte, at which a C program would end the name.
    #[error("{field} at byte {offset}: found a NUL byte in \"{found}\", wanted none", offset = count(*.offset))]
    NameWithNul {
        /// The key or tensor whose name it is, by its place in the file.
        field: String,
        /// The place of the NUL byte, counted from the start of the file.
        offset: u64,
        /// The name, escaped for a terminal.
        found: String,
    },
    /// A key occurs a second time.
    #[error("metadata pair {index} at byte {offset}: found key \"{key}\" again, wanted every key once", offset = count(*.offset), index = count(*.index))]
    DuplicateKey {
        /// The place in the file's order, counted from 0.
        index: u64,
        /// The byte at which the second key starts, counted from the start of the file.
        offset: u64,
        /// The key, escaped for a terminal.
        key: String,
    },
    /// A type id names no value type.
    #[error("{field} at byte {offset}: found value type {found}, wanted 0 to 12", offset = count(*.offset))]
    ValueType {
        /// The value, by its key or its place in the header.
        field: String,
        /// The byte at which the id starts, counted from the start of the file.
        offset: u64,
        /// The id that the file states.
        found: u32,
    },
    /// A bool is neither 0 nor 1.
    #[error("{field} at byte {offset}: found {found} for a bool, wanted 0 or 1", offset = count(*.offset))]
    Bool {
        /// The value, by its key or its place in the header.
        field: String,
        /// The place of the byte, counted from the start of the file.
        offset: u64,
        /// The byte that stands for the bool.
        found: u8,
    },
    /// The value of `general.alignment` is not an alignment.
    #[error("metadata \"general.alignment\" at byte {offset}: {wrong}", offset = count(*.offset))]
    Alignment {
        /// The byte at which the metadata pair starts, counted from the start of the file.
        offset: u64,
        /// What is wrong with the value.
        wrong: WrongAlignment,
    },

    // Tensors.
    /// A tensor name occurs a second time.
    #[error("tensor {index} at byte {offset}: found name \"{name}\" again, wanted every name once", offset = count(*.offset), index = count(*.index))]
    DuplicateTensor {
        /// The place in the file's order, counted from 0.
        index: u64,
        /// The byte at which the second name starts, counted from the start of the file.
        offset: u64,
        /// The name, escaped for a terminal.
        name: String,
    },
    /// A tensor has more dimensions than ggml allows.
    #[error(
        "tensor \"{name}\": found {found} dimensions at byte {offset}, wanted at most {GGML_MAX_DIMS} (GGML_MAX_DIMS)", offset = count(*.offset))]
    Dimensions {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The byte at which the number of dimensions starts, counted from the start of the file.
        offset: u64,
        /// The number of dimensions that the file states.
        found: u32,
    },
    /// An extent would be negative in ggml, or the product of the extents would overflow.
    #[error("tensor \"{name}\": found shape {ne:?} at byte {offset}, wanted a product of at most 2^63 - 1", offset = count(*.offset))]
    Shape {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The byte at which the first extent starts, counted from the start of the file.
        offset: u64,
        /// The extents that the file states, the contiguous one first.
        ne: Vec<u64>,
    },
    /// A type id names no ggml type.
    #[error("tensor \"{name}\": found type {found} at byte {offset}, wanted a ggml type of this build", offset = count(*.offset))]
    TensorType {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The byte at which the id starts, counted from the start of the file.
        offset: u64,
        /// The id, and whether upstream removed it.
        found: GgmlTypeIdError,
    },
    /// A row is not a whole number of blocks.
    #[error(
        "tensor \"{name}\": found {} in a row of {ty} at byte {offset}, wanted a multiple of {blck_size}",
        plural(.found, "value"), offset = count(*.offset), blck_size = count(*.blck_size))]
    Row {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The byte at which `ne[0]` starts, counted from the start of the file.
        offset: u64,
        /// The upstream name of the tensor's type.
        ty: &'static str,
        /// The number of values in a row, `ne[0]`.
        found: u64,
        /// The number of values in a block of the type.
        blck_size: u64,
    },
    /// The data of a tensor does not start at a multiple of the alignment.
    #[error("tensor \"{name}\": found offset {found} at byte {offset}, wanted a multiple of {alignment}", offset = count(*.offset), found = count(*.found), alignment = count((*.alignment).into()))]
    Misaligned {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The byte at which the offset is stored, counted from the start of the file.
        offset: u64,
        /// The offset of the data in bytes, counted from the start of the data section.
        found: u64,
        /// The alignment of the file, in bytes.
        alignment: u32,
    },
    /// The data of a tensor goes beyond the end of the file.
    #[error(
        "tensor \"{name}\": found {} of data at offset {offset} of the data section, \
         which has {} (from byte {data_offset} to the end of the file)",
        plural(.nbytes, "byte"),
        plural(.data_bytes, "byte"), offset = count(*.offset))]
    OutOfFile {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The offset of the data in bytes, counted from the start of the data section.
        offset: u64,
        /// The number of bytes that the tensor's data take.
        nbytes: u64,
        /// The first byte of the data section, counted from the start of the file.
        data_offset: u64,
        /// The number of bytes in the data section.
        data_bytes: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors \"{first}\" and \"{second}\": found data that overlaps, the second starting at offset {offset}", offset = count(*.offset))]
    Overlap {
        /// The name of the tensor that starts first, escaped for a terminal.
        first: String,
        /// The name of the other tensor, escaped for a terminal.
        second: String,
        /// The offset of the second tensor in bytes, counted from the start of the data section.
        offset: u64,
    },

    // Files of one model.
    /// A key that ties shards together has an impossible value.
    #[error("metadata \"{key}\": found {found}, wanted {wanted}")]
    SplitKey {
        /// One of `split.no`, `split.count` and `split.tensors.count`.
        key: &'static str,
        /// The value that the file states, escaped for a terminal.
        found: String,
        /// The values that would be possible, in words.
        wanted: String,
    },
    /// The file name of a shard does not say which shard it is, so the others cannot be found.
    #[error("is one of several files of a model: found name \"{found}\", wanted {wanted}")]
    SplitName {
        /// The name, escaped for a terminal.
        found: String,
        /// The form that the name should have.
        wanted: String,
    },
    /// A shard cannot be opened.
    #[error("is shard {no} of {count} of the model and cannot be opened: {source}", no = words::count(*.no), count = words::count(*.count))]
    ShardMissing {
        /// The number of the shard, counted from 1 as in its name.
        no: u64,
        /// The number of shards that the model has.
        count: u64,
        /// The error that the operating system reported.
        source: io::Error,
    },
    /// Two shards contradict each other.
    #[error("{what}: found {found}, wanted {wanted} as in the first shard")]
    ShardDisagrees {
        /// What the shards disagree about.
        what: String,
        /// What this file says, escaped for a terminal.
        found: String,
        /// What the first shard says, escaped for a terminal.
        wanted: String,
    },
    /// Two shards were written at different times, and the newer did not replace all of the older.
    #[error("belongs to another version of this model: found {key} {found}, wanted {wanted} as in the shard that was opened", key = crate::split::SPLIT_IDENTITY)]
    ShardOfAnother {
        /// The identity that this file states, escaped for a terminal.
        found: String,
        /// The identity that the shard states that was opened, escaped for a terminal.
        wanted: String,
    },
    /// Two shards have a tensor of the same name.
    #[error("tensor \"{name}\": found in this file and in shard {no}, wanted it once", no = count(*.no as u64))]
    TensorInTwoShards {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The number of the other shard, counted from 1.
        no: usize,
    },
    /// The shards have more or fewer tensors than they state.
    #[error("metadata \"split.tensors.count\": found {wanted}, the shards have {} together", plural(.found, "tensor"), wanted = count(*.wanted))]
    SplitTensors {
        /// The number of tensors that the shards have.
        found: u64,
        /// The number of tensors that `split.tensors.count` states.
        wanted: u64,
    },

    // The caller.
    /// The byte order of a type is not defined anywhere, and the file is big-endian.
    #[error("tensor \"{name}\": found {ty} in a big-endian file, wanted a type whose byte order is laid down")]
    ByteOrder {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The upstream name of the tensor's type.
        ty: &'static str,
    },
    /// The caller asked for bytes that do not belong to the tensor.
    #[error("tensor \"{name}\": {} wanted at byte {offset} of its {nbytes}", plural(.wanted, "byte"), offset = count(*.offset), nbytes = count(*.nbytes))]
    Range {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The first byte that was asked for, counted from the start of the tensor's data.
        offset: u64,
        /// The number of bytes that were asked for.
        wanted: u64,
        /// The number of bytes that the tensor has.
        nbytes: u64,
    },
}

/// Why a value of `general.alignment` is not an alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongAlignment {
    /// The value is not a u32.
    #[error("found a value of type {0}, wanted u32")]
    Type(ValueType),
    /// The value is 0 or not a power of two.
    #[error("found {0}, wanted a power of two")]
    Value(u32),
}

impl Advice for GgufProblem {
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
            Self::TensorType {
                found: GgmlTypeIdError::Removed { id, .. } | GgmlTypeIdError::Unknown { id }, ..
            } if fork_type(*id).is_some() => {
                "the type may be a fork's, and then only that fork can read it; `inspect` shows the rest of the file"
            }
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
            | Self::ShardOfAnother { .. }
            | Self::TensorInTwoShards { .. }
            | Self::SplitTensors { .. } => {
                "the files may be of different models, or of two writings of one; write or fetch all of them again"
            }
            Self::ByteOrder { .. } => {
                "take the little-endian original; the header of this file can be read, and the values of its other types"
            }
            Self::Range { .. } => return None,
            Self::StringLength { max, .. } if *max == GGML_MAX_NAME - 1 => {
                "llama.cpp cannot load such a name; `inspect`, `census` and `diff` take the file"
            }
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
