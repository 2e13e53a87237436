//! Caps on what a header may claim, named after the llama.cpp limits they mirror.
//!
//! # Source
//! `ggml/src/gguf.cpp`, `ggml/include/ggml.h` and `ggml/include/gguf.h` of the pinned engine.

/// Longest string, in bytes (`GGUF_MAX_STRING_LENGTH`).
pub const GGUF_MAX_STRING_LENGTH: u64 = 1024 * 1024 * 1024;

/// Most elements of one array (`GGUF_MAX_ARRAY_ELEMENTS`).
pub const GGUF_MAX_ARRAY_ELEMENTS: u64 = 1024 * 1024 * 1024;

/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
pub const GGML_MAX_DIMS: u32 = 4;

/// A tensor name must be shorter than this, in bytes: upstream keeps a closing NUL (`GGML_MAX_NAME`).
pub const GGML_MAX_NAME: u64 = 64;

/// Alignment of tensor data where `general.alignment` is absent (`GGUF_DEFAULT_ALIGNMENT`).
pub const GGUF_DEFAULT_ALIGNMENT: u32 = 32;

/// The key that states another one (`GGUF_KEY_GENERAL_ALIGNMENT`), a u32.
pub const GENERAL_ALIGNMENT: &str = "general.alignment";

/// Newest version that is read (`GGUF_VERSION`).
pub const GGUF_VERSION: u32 = 3;

/// Longest metadata key, in bytes: the GGUF specification says 2^16 − 1. llama.cpp has no cap of its own.
pub const MAX_KEY_LENGTH: u64 = (1 << 16) - 1;

/// Deepest nesting of arrays. The specification allows any depth, llama.cpp none.
pub const MAX_ARRAY_DEPTH: u32 = 8;

/// Most arrays within arrays in a header. Ours: in memory each takes several times its bytes in the file, and llama.cpp reads none.
pub const MAX_NESTED_ARRAYS: u64 = 1 << 20;

/// Most bytes before the tensor data. Ours: it bounds the memory that a header can ask for as a
/// whole. The largest vocabularies in use need about 16 MiB.
pub const MAX_HEADER_BYTES: u64 = 1024 * 1024 * 1024;

// Offsets into string arrays are u32.
const _: () = assert!(MAX_HEADER_BYTES <= u32::MAX as u64);
