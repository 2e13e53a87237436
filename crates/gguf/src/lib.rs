//! GGUF, the container: metadata and tensors of one file, read by bounded `pread`.
//!
//! The flow: [`GgufFile::open`] looks at what the path is, then makes one pass over the untrusted
//! header in which every length, count, type and offset is checked before it is used; what it
//! hands out afterwards ([`Value`], [`TensorInfo`]) can be trusted and needs no checking again.
//! Tensor bytes are read on request, never mapped: a mapped file that shrinks kills the process.
//!
//! ```text
//! path ─▶ source (what is it? bounded pread) ─▶ parse (one validation pass) ─▶ GgufFile
//!                                                 limits, ggml_type, value       read_tensor
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `limits` | caps, and the llama.cpp limits they mirror |
//! | `ggml_type` | one table of every ggml type: id, name, block size, bytes |
//! | `value` | metadata values, arrays stored compactly |
//! | `tensor` | what the header says about a tensor |
//! | `source` | the open file: bounded reads, and a buffered cursor for the header |
//! | `parse` | the validation pass |
//! | `file` | [`GgufFile`] |
//! | `problem` | every way in which a file can be wrong |
//! | `escape` | text from files made safe for a terminal |

mod escape;
mod file;
mod ggml_type;
pub mod limits;
mod parse;
mod problem;
mod source;
mod tensor;
mod value;

pub use escape::escape_terminal;
pub use file::GgufFile;
pub use ggml_type::{GgmlType, GgmlTypeIdError};
pub use problem::{GgufError, Problem};
pub use tensor::TensorInfo;
pub use value::{Array, StringArray, Value, ValueType};
