//! GGUF, the container: the metadata and tensors of a model, read by bounded `pread` calls and written as a stream.
//!
//! [`GgufFile::open`] examines what the path is, then makes one pass over the untrusted header. In this pass every
//! length, count, type and offset is checked before it is used. Code that gets a [`Value`] or a [`TensorInfo`] can
//! trust it without checking again. Tensor bytes are read on request and never mapped, because a mapped file that
//! shrinks kills the process.
//!
//! ```text
//! path ─▶ source (what is it? bounded pread) ─▶ parse (one validation pass) ─▶ GgufFile
//!                                                 limits, ggml_type, value       read_tensor
//!
//! metadata, TensorSpecs ─▶ Layout ─▶ GgufWriter (bounded memory) ─▶ OutputFile (no name until complete) ─▶ commit_all
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `limits` | caps, and the llama.cpp limits they mirror |
//! | `ggml_type` | one table of every ggml type: id, name, block size, bytes |
//! | `value` | metadata values, arrays stored compactly |
//! | `tensor` | what the header says about a tensor |
//! | `source` | the open file: bounded reads, and a buffered cursor for the header |
//! | `parse` | the validation pass |
//! | `split` | models in several files |
//! | `endian` | the byte order of a file |
//! | `file` | [`GgufFile`] |
//! | `encode`, `write` | the writing side: [`FileLayout`], [`GgufWriter`] |
//! | `output`, `direct` | [`OutputFile`], which appears whole or not at all; large files are written past the page cache |
//! | `file_type` | `general.file_type` |
//! | `problem` | every way in which a file can be wrong |

mod direct;
mod encode;
mod endian;
mod file;
mod file_type;
mod foreign;
mod former;
mod ggml_type;
mod hidden;
pub mod limits;
mod output;
mod parse;
mod problem;
mod source;
pub mod split;
mod tensor;
mod value;
mod write;

pub use direct::WRITE_PAGE;
pub use endian::Endian;
pub use file::{GgufFile, Shard};
pub use file_type::{
    FileType, GENERAL_FILE_TYPE, GENERAL_QUANTIZATION_VERSION, GGML_QNT_VERSION, file_type, file_type_of,
    is_file_type_of, is_removed_file_type,
};
pub use foreign::{ForeignTensor, fork_type};
pub use former::{Former, settle_former};
pub use ggml_type::{GgmlType, GgmlTypeIdError};
pub use hidden::remove_unfinished;
pub use limits::GGML_MAX_NAME;
pub use output::{OutputError, OutputFile, OutputProblem, ReadablePath, SealedFiles, check_output, commit_all};
pub use problem::{GgufError, GgufProblem, WrongAlignment};
pub use tensor::TensorInfo;
pub use value::{Array, StringArray, Value, ValueType};
// `lab` still takes its escaping from here; everybody else takes it from `words`.
pub use write::{FileLayout, GgufWriter, LayoutError, TensorSpec, cut_into_shards};
