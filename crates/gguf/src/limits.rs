//! Caps on what a header may claim, named after the llama.cpp limits they mirror.
//!
//! # Source
//! `ggml/src/gguf.cpp`, `ggml/include/ggml.h` and `ggml/include/gguf.h` of the pinned engine.

/// The length of the longest string, in bytes (`GGUF_MAX_STRING_LENGTH`).
pub const GGUF_MAX_STRING_LENGTH: u64 = 1024 * 1024 * 1024;

/// The largest number of elements of one array (`GGUF_MAX_ARRAY_ELEMENTS`).
pub const GGUF_MAX_ARRAY_ELEMENTS: u64 = 1024 * 1024 * 1024;

/// The largest number of dimensions of a tensor (`GGML_MAX_DIMS`).
pub const GGML_MAX_DIMS: u32 = 4;

/// The length that a tensor name must stay below, in bytes, because upstream stores a closing NUL (`GGML_MAX_NAME`).
pub const GGML_MAX_NAME: u64 = 64;

/// The alignment of tensor data, in bytes, where `general.alignment` is absent (`GGUF_DEFAULT_ALIGNMENT`).
pub const GGUF_DEFAULT_ALIGNMENT: u32 = 32;

/// The key of a different alignment, whose value is a u32 (`GGUF_KEY_GENERAL_ALIGNMENT`).
pub const GENERAL_ALIGNMENT: &str = "general.alignment";

/// The newest version that this reader knows (`GGUF_VERSION`).
pub const GGUF_VERSION: u32 = 3;

/// The length of the longest metadata key, in bytes. The GGUF specification says 2^16 − 1; llama.cpp has no cap.
pub const MAX_KEY_LENGTH: u64 = (1 << 16) - 1;

/// The deepest nesting of arrays, in levels. The specification allows any depth, and llama.cpp allows none.
pub const MAX_ARRAY_DEPTH: u32 = 8;

/// The largest number of arrays within arrays in a header. This cap is ours: in memory each such array takes several
/// times its bytes in the file, and llama.cpp reads none.
pub const MAX_NESTED_ARRAYS: u64 = 1 << 20;

/// The largest number of bytes before the tensor data. This cap is ours: it bounds the memory that a header as a whole
/// can request. The largest vocabularies in use need about 16 MiB.
pub const MAX_HEADER_BYTES: u64 = 1024 * 1024 * 1024;

// Offsets into string arrays are u32.
const _: () = assert!(MAX_HEADER_BYTES <= u32::MAX as u64);
