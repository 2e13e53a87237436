//! How far apart two files are, value by value.

use super::AskError;
use files::Model;
use files::pieces::ValuesError;
use numerics::BlockCodec;
use record::answer::DiffAnswer;
use std::path::PathBuf;

/// The two files to compare.
#[derive(Clone, Debug)]
pub struct DiffRequest {
    /// The reference file.
    pub a: PathBuf,
    /// The file that is compared with the reference.
    pub b: PathBuf,
}

/// Compares two files. `progress` hears how many bytes of the reference are done, and of how many.
///
/// # Errors
/// When a file cannot be read.
pub fn diff(
    request: &DiffRequest,
    codec: &dyn BlockCodec,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<DiffAnswer, AskError> {
    let (a, b) = (Model::open_to_look(&request.a)?, Model::open_to_look(&request.b)?);
    files::diff::diff(&a, &b, codec, progress).map_err(|error| match error {
        ValuesError::Gguf(error) => AskError::Unreadable(error),
        // The error does not say which file it is about; the tensor that it names is in both.
        source => AskError::Values { model: format!("{} or {}", a.shown(), b.shown()), source: Box::new(source) },
    })
}
