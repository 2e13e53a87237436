//! Reads the files that schemes name, each once. A file is first read from a path that the user gives. A worker reads
//! it again when it is told its path and its expected contents.

use crate::imatrix_file::{self, ImatrixFileError};
use gguf::GgufError;
use numerics::{CodebookTable, CodebookTableError, FileContents, FileOption, Scheme, SchemeFile};
use select::Apply;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use words::{Advice, Hint, escape_terminal, plural};

/// The size of the largest text of a codebook, in bytes. A codebook has 256 numbers at most, and the rest is room for
/// comments.
const MAX_TABLE_BYTES: u64 = 1 << 20;

/// Why a file that a scheme names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemeFileError {
    /// The file does not exist, or the path is not a file.
    #[error("{path}: {what}, wanted {wanted}")]
    Open {
        /// The path of the file, escaped for a terminal.
        path: String,
        /// What is wrong with the path.
        what: String,
        /// What the path should lead to.
        wanted: &'static str,
        /// What the user can do about it.
        hint: &'static str,
    },
    /// The file is not a sound GGUF file. The error names the file.
    #[error(transparent)]
    Gguf(Box<GgufError>),
    /// The file is not an importance matrix.
    #[error("{path}: {source}")]
    Imatrix {
        /// The path of the file, escaped for a terminal.
        path: String,
        /// Why the file is not an importance matrix.
        source: ImatrixFileError,
    },
    /// The file is not a codebook.
    #[error("{path}: {source}")]
    Table {
        /// The path of the file, escaped for a terminal.
        path: String,
        /// Why the file is not a codebook.
        source: CodebookTableError,
    },
    /// The contents of the file have changed since the run began.
    #[error("{path}: found {found}, wanted {wanted}: its contents have changed")]
    Changed {
        /// The path of the file, escaped for a terminal.
        path: String,
        /// The identity of the file's contents now.
        found: String,
        /// The identity of the file's contents when the run began.
        wanted: String,
    },
}

impl Advice for SchemeFileError {
    fn hint(&self) -> Option<Hint> {
        match self {
            SchemeFileError::Open { hint, .. } => Some(Hint::words(*hint)),
            SchemeFileError::Gguf(error) => error.hint(),
            SchemeFileError::Imatrix { source, .. } => source.hint(),
            SchemeFileError::Table { source, .. } => source.hint(),
            SchemeFileError::Changed { .. } => Some(Hint::words("put the file back, or begin anew with this one")),
        }
    }
}

/// The place of a file that schemes name, and its expected contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeFilePath {
    /// The kind of the file.
    pub option: FileOption,
    /// The path of the file.
    #[serde(with = "crate::path_bytes")]
    pub path: PathBuf,
    /// The identity of the file's contents, as schemes are printed with it: `blake3-…`.
    pub identity: String,
}

/// The files that have been read.
#[derive(Debug, Default)]
pub struct SchemeFiles {
    read: Vec<ReadFile>,
}

#[derive(Debug)]
struct ReadFile {
    name: String,
    blake3: String,
    contents: FileContents,
}

impl SchemeFiles {
    /// The scheme, with the contents of the file that it names. A scheme that names no file or has its contents already
    /// is returned as it is.
    ///
    /// # Errors
    /// When the file cannot be read, or is not of the kind that the scheme expects.
    pub fn read(&mut self, scheme: &Scheme) -> Result<Scheme, SchemeFileError> {
        let Some(file) = scheme.file().filter(|file| file.contents().is_none()) else { return Ok(scheme.clone()) };
        let (name, option) = (file.name().to_owned(), file.option());
        let known = |known: &&ReadFile| known.name == name && known.contents.option() == option;
        if let Some(known) = self.read.iter().find(known) {
            return Ok(scheme.with_contents(&known.blake3, known.contents.clone()));
        }
        let (blake3, contents) = read(option, Path::new(&name))?;
        let scheme = scheme.with_contents(&blake3, contents.clone());
        self.read.push(ReadFile { name, blake3, contents });
        Ok(scheme)
    }

    /// The application, with the contents of the file that its scheme names.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn resolve(&mut self, apply: &Apply) -> Result<Apply, SchemeFileError> {
        Ok(Apply { selector: apply.selector.clone(), scheme: self.read(&apply.scheme)? })
    }

    /// Reads a file that was read before, perhaps by another process.
    ///
    /// # Errors
    /// Those of [`read`](Self::read), and when the contents have changed since.
    pub fn read_again(&mut self, file: &SchemeFilePath) -> Result<(), SchemeFileError> {
        let (blake3, contents) = read(file.option, &file.path)?;
        let (found, wanted) = (SchemeFile::identity_of(&blake3), file.identity.clone());
        if found != wanted {
            return Err(SchemeFileError::Changed { path: shown(&file.path), found, wanted });
        }
        self.read.push(ReadFile { name: wanted, blake3, contents });
        Ok(())
    }

    /// The scheme, with the contents of its file if that has been read. Schemes of a job name a file by its contents.
    pub fn known(&self, scheme: &Scheme) -> Scheme {
        let known = scheme.file().and_then(|file| {
            let is_it = |known: &&ReadFile| {
                let identity = SchemeFile::identity_of(&known.blake3);
                known.contents.option() == file.option() && [&known.name, &identity].iter().any(|n| *n == file.name())
            };
            self.read.iter().find(is_it)
        });
        known.map_or_else(|| scheme.clone(), |known| scheme.with_contents(&known.blake3, known.contents.clone()))
    }
}

/// The paths of the files that these schemes name, each once.
pub fn paths<'a>(schemes: impl IntoIterator<Item = &'a Scheme>) -> Vec<SchemeFilePath> {
    let mut paths: Vec<SchemeFilePath> = Vec::new();
    for file in schemes.into_iter().filter_map(Scheme::file) {
        let path = SchemeFilePath { option: file.option(), path: file.name().into(), identity: file.identity().into() };
        if !paths.iter().any(|known| (known.option, &known.identity) == (path.option, &path.identity)) {
            paths.push(path);
        }
    }
    paths
}

fn read(option: FileOption, path: &Path) -> Result<(String, FileContents), SchemeFileError> {
    match option {
        FileOption::Imatrix => {
            let read = imatrix_file::read(path, open(path, imatrix_file::WANTED)?);
            let (blake3, imatrix) = read.map_err(|source| match source {
                ImatrixFileError::Gguf(error) => SchemeFileError::Gguf(error),
                source => SchemeFileError::Imatrix { path: shown(path), source },
            })?;
            Ok((blake3, FileContents::Imatrix(Arc::new(imatrix))))
        }
        FileOption::Table => {
            const WANTED: &str = "a text with the entries of a codebook";
            let refuse = |what: String| SchemeFileError::Open {
                path: shown(path),
                what,
                wanted: WANTED,
                hint: "numbers separated by blanks, commas or line ends; # begins a comment",
            };
            let (mut file, bytes) = open(path, WANTED)?;
            if bytes > MAX_TABLE_BYTES {
                return Err(refuse(format!("found {}", plural(bytes, "byte"))));
            }
            let mut text = Vec::new();
            file.by_ref().take(MAX_TABLE_BYTES).read_to_end(&mut text).map_err(|error| refuse(error.to_string()))?;
            let blake3 = blake3::hash(&text).to_hex().to_string();
            let text = String::from_utf8(text).map_err(|_| refuse("found bytes that are not UTF-8".into()))?;
            let failed = |source| SchemeFileError::Table { path: shown(path), source };
            let table = CodebookTable::parse(&text).map_err(failed)?;
            Ok((blake3, FileContents::Table(Arc::new(table))))
        }
    }
}

/// Opens a regular file and returns its size in bytes. The path is examined first, because opening a FIFO would wait.
fn open(path: &Path, wanted: &'static str) -> Result<(File, u64), SchemeFileError> {
    let refuse = |what: String| {
        let hint = "the path goes to the next colon of the scheme; a relative one starts in the current folder";
        SchemeFileError::Open { path: shown(path), what, wanted, hint }
    };
    let failed = |error: io::Error| refuse(format!("cannot be opened: {error}"));
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refuse("this is not a regular file".into()));
    }
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((file, bytes))
}

fn shown(path: &Path) -> String {
    escape_terminal(path.as_os_str().as_encoded_bytes())
}
