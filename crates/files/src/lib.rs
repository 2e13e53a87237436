//! Opens, examines, compares and rewrites model files.
//!
//! | module | contents |
//! |---|---|
//! | [`census`](mod@census) | what the values of tensors say, and what schemes would change |
//! | [`open`] | the one way to open a model file |
//! | [`scorable`] | whether a file contains a model that predicts the next token |
//! | [`rewrite`] | a new file from an old one, with some tensors quantized |
//! | [`inspect`](mod@inspect) | what a file contains |
//! | [`diff`](mod@diff) | two files, key by key and value by value |
//! | [`metadata`] | what metadata keys mean, and how the metadata of two files differ |
//! | `relation` | what tensors that differ are of one another |
//! | [`pieces`], [`abreast`] | values read in pieces, and whole tensors read on all cores |
//! | [`fallback`] | the ggml type that replaces another where the rows of a tensor are not whole blocks of it |
//! | `pipeline` | reading, working and writing at the same time |
//! | [`scheme_files`], `imatrix_file` | files that schemes name: importance matrices, codebooks |
//! | [`path_bytes`] | any path written in JSON |

pub mod abreast;
pub mod census;
pub mod diff;
pub mod fallback;
mod imatrix_file;
pub mod inspect;
pub mod metadata;
pub mod open;
pub mod path_bytes;
pub mod pieces;
mod pipeline;
mod relation;
pub mod rewrite;
pub mod scheme_files;
pub mod scorable;

pub use abreast::{TensorInMemory, side_by_side};
pub use open::{Model, OpenError};
pub use scheme_files::{SchemeFileError, SchemeFilePath, SchemeFiles};
pub use scorable::{NotScorable, check_scorable};
