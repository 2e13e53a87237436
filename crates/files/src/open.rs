//! The one way to open a model file: the caller states the purpose and gets a file that is fit for it.
//!
//! | opened | byte order | types of tensors | names of tensors | predicts the next token |
//! |---|---|---|---|---|
//! | [to inspect](Model::open_to_inspect) its header | either | any | any | need not |
//! | [to look](Model::open_to_look) at its values | either | ggml's | any | need not |
//! | [to rewrite](Model::open_to_rewrite) it | little-endian | ggml's | of at most 63 bytes | need not |
//! | [to score](Model::open_to_score) it with an engine | little-endian | ggml's | of at most 63 bytes | yes |

use crate::companion;
use crate::pieces::ValuesError;
use crate::scorable::{NotScorable, check_scorable};
use gguf::{GgufError, GgufFile};
use select::TensorId;
use std::path::{Path, PathBuf};
use words::{Advice, Hint, escape_terminal};

/// An open model file and its tensors as selectors see them.
#[derive(Debug)]
pub struct Model {
    /// The open GGUF file.
    pub file: GgufFile,
    /// The names, types and extents of the tensors: one for each of `file.tensors()`, in that order.
    pub ids: Vec<TensorId>,
}

/// Why a model file cannot be opened for a purpose. It displays as one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a sound GGUF file, or it does not have the required byte order.
    #[error(transparent)]
    Gguf(Box<GgufError>),
    /// The file is sound, but no engine can score it.
    #[error("{}: {source}", shown(.path))]
    NotScorable {
        /// The path as it was given.
        path: PathBuf,
        /// What the file contains instead of a model that can be scored.
        source: NotScorable,
    },
    /// The file is sound, but a tensor beside a weight cannot be its factors.
    #[error("{}: {source}", shown(.path))]
    Companion {
        /// The path as it was given.
        path: PathBuf,
        /// Which tensor it is and what is wrong with it.
        source: Box<ValuesError>,
    },
}

impl From<GgufError> for OpenError {
    fn from(error: GgufError) -> Self {
        OpenError::Gguf(Box::new(error))
    }
}

impl Advice for OpenError {
    fn hint(&self) -> Option<Hint> {
        match self {
            OpenError::Gguf(error) => error.hint(),
            OpenError::NotScorable { source, .. } => source.hint(),
            OpenError::Companion { source, .. } => source.hint(),
        }
    }
}

impl OpenError {
    /// The path of the file that cannot be opened.
    pub fn path(&self) -> &Path {
        match self {
            OpenError::Gguf(error) => &error.path,
            OpenError::NotScorable { path, .. } | OpenError::Companion { path, .. } => path,
        }
    }
}

impl Model {
    /// Opens a file in either byte order, to show its header. Tensors may have types that ggml does not know, and names
    /// that are too long for it.
    ///
    /// # Errors
    /// When the file is not sound.
    pub fn open_to_inspect(path: &Path) -> Result<Model, OpenError> {
        Ok(Model::of(GgufFile::open_header(path)?))
    }

    /// Opens a file in either byte order, to examine its values.
    ///
    /// # Errors
    /// When the file is not sound.
    pub fn open_to_look(path: &Path) -> Result<Model, OpenError> {
        Ok(Model::of(GgufFile::open_either_endian(path)?))
    }

    /// Opens a little-endian file, to write another one from it.
    ///
    /// # Errors
    /// When the file is not sound.
    pub fn open_to_rewrite(path: &Path) -> Result<Model, OpenError> {
        Ok(Model::of(GgufFile::open(path)?))
    }

    /// Opens a little-endian file that an engine can score token by token. The header tells whether it can, so no
    /// engine is started on a file that it cannot score.
    ///
    /// # Errors
    /// When the file is not sound, it does not contain a model that predicts the next token, or a tensor beside a
    /// weight cannot be its factors.
    pub fn open_to_score(path: &Path) -> Result<Model, OpenError> {
        let model = Model::open_to_rewrite(path)?;
        check_scorable(&model.file).map_err(|source| OpenError::NotScorable { path: path.into(), source })?;
        let of_file = |source| match source {
            ValuesError::Gguf(error) => OpenError::Gguf(error),
            source => OpenError::Companion { path: path.into(), source: Box::new(source) },
        };
        companion::check(&model.file).map_err(of_file)?;
        Ok(model)
    }

    fn of(file: GgufFile) -> Model {
        let ids = file.tensors().iter().map(TensorId::from).collect();
        Model { file, ids }
    }

    /// The path of the file. For a split model it is the path of its first file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The name of the file, without its folder.
    pub fn name(&self) -> String {
        file_name(self.path())
    }

    /// The path of the file, escaped for a terminal.
    pub fn shown(&self) -> String {
        shown(self.path())
    }
}

/// The last part of a path as text.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// A path, escaped for a terminal.
pub(crate) fn shown(path: &Path) -> String {
    escape_terminal(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that has a header with one key and nothing else.
    fn without_weights(dir: &Path) -> PathBuf {
        let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let bytes = [
            &b"GGUF"[..],
            &3u32.to_le_bytes(),
            &0u64.to_le_bytes(),
            &1u64.to_le_bytes(),
            &string("general.architecture"),
            &8u32.to_le_bytes(),
            &string("llama"),
        ];
        let path = dir.join("vocabulary\u{1b}.gguf");
        std::fs::write(&path, bytes.concat()).expect("a file");
        path
    }

    #[test]
    fn a_file_that_cannot_be_scored_is_named_and_can_still_be_looked_at() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = without_weights(dir.path());
        assert!(Model::open_to_look(&path).is_ok_and(|model| model.ids.is_empty()));
        assert!(Model::open_to_rewrite(&path).is_ok());
        let error = Model::open_to_score(&path).expect_err("nothing to score");
        assert!(matches!(&error, OpenError::NotScorable { source: NotScorable::NoWeights, .. }), "{error}");
        assert_eq!(error.path(), path);
        let said = error.to_string();
        assert!(said.contains("vocabulary\\u{1b}.gguf: found a vocabulary without a model"), "{said}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named_whatever_it_was_wanted_for() {
        let path = Path::new("absent.gguf");
        for open in [Model::open_to_look, Model::open_to_rewrite, Model::open_to_score] {
            let error = open(path).expect_err("absent");
            assert!(error.path() == path && error.to_string().starts_with("absent.gguf: cannot be opened"), "{error}");
        }
    }
}
