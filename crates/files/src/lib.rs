//! Opens, examines, compares and rewrites model files.
//!
//! | module | contents |
//! |---|---|
//! | [`census`](mod@census) | what the values of tensors say, and what schemes would change |
//! | [`companion`] | the factors of a weight that the file keeps in a tensor of its own |
//! | [`open`] | the one way to open a model file |
//! | [`scorable`] | whether a file contains a model that predicts the next token |
//! | [`hyperparameters`] | values of the metadata on which llama.cpp aborts |
//! | [`rewrite`] | a new file from an old one, with some tensors quantized |
//! | [`inspect`](mod@inspect) | what a file contains |
//! | [`diff`](mod@diff) | two files, key by key and value by value |
//! | [`metadata`] | what metadata keys mean, and how the metadata of two files differ |
//! | `copies` | tensors that a file has twice |
//! | `relation`, `blurred`, `transpose` | how tensors that differ are related |
//! | [`pieces`], [`abreast`] | values read in pieces, and whole tensors read on all cores |
//! | [`fallback`] | the ggml type that replaces another where the rows of a tensor are not whole blocks of it |
//! | [`never_quantized`] | the tensors that llama.cpp's quantizer never touches |
//! | `pipeline` | reading, working and writing at the same time |
//! | [`scheme_files`], `imatrix_file` | files that schemes name: importance matrices, codebooks |
//! | [`type_file`] | the rules of llama-quantize's `--tensor-type-file` |
//! | [`special_tokens`] | special tokens that a text spells out |
//! | `text_file` | text to measure on |
//! | [`path_bytes`] | any path written in JSON |

pub mod abreast;
mod blurred;
pub mod census;
pub mod companion;
mod copies;
pub mod diff;
pub mod fallback;
pub mod hyperparameters;
mod imatrix_file;
pub mod inspect;
pub mod metadata;
pub mod never_quantized;
pub mod open;
pub mod path_bytes;
pub mod pieces;
#[cfg(test)]
mod pinned_source;
mod pipeline;
mod relation;
pub mod rewrite;
pub mod scheme_files;
pub mod scorable;
pub mod special_tokens;
mod text_file;
mod transpose;
pub mod type_file;

pub use abreast::{TensorInMemory, side_by_side};
pub use companion::{CompanionError, Factors};
pub use copies::sentence as copy_sentence;
pub use open::{Model, OpenError};
pub use scheme_files::{SchemeFileError, SchemeFilePath, SchemeFiles};
pub use scorable::{NotScorable, check_scorable};
pub use special_tokens::SpecialTokens;
pub use text_file::{TextFileError, read_text};
pub use type_file::{TypeFile, TypeFileError};
