//! A model file as the subcommands use it: opened, with its tensors as selectors see them.

use crate::failure::Failure;
use gguf::GgufFile;
use lab::TensorId;
use std::error::Error;
use std::path::Path;
use words::escape_terminal;

/// An open GGUF file and its tensors' names, types and extents.
#[derive(Debug)]
pub struct Model {
    /// The container.
    pub file: GgufFile,
    /// One for each of `file.tensors()`, in that order.
    pub ids: Vec<TensorId>,
}

impl Model {
    /// Opens a little-endian file, as engines and writers want it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self::of(GgufFile::open(path)?))
    }

    /// Opens a file in either byte order, to look at its values.
    pub fn open_either_endian(path: &Path) -> Result<Self, Failure> {
        Ok(Self::of(GgufFile::open_either_endian(path)?))
    }

    fn of(file: GgufFile) -> Self {
        let ids = file
            .tensors()
            .iter()
            .map(|t| TensorId { name: t.name.clone(), ty: t.ty.name().to_owned(), ne: t.shape().to_vec() })
            .collect();
        Model { file, ids }
    }

    /// File name without folder.
    pub fn name(&self) -> String {
        let path = self.file.path();
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }

    /// The path as it may be shown.
    pub fn shown(&self) -> String {
        escape_terminal(self.file.path().as_os_str().as_encoded_bytes())
    }

    /// An error that something else found in this file, with the file's name in front.
    pub fn refuses(&self, error: impl Error + Send + Sync + 'static) -> Failure {
        anyhow::Error::new(error).context(self.shown()).into()
    }
}
