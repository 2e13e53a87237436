//! Files that a scheme names: `:imatrix=FILE` and `:table=FILE`.
//!
//! This crate reads no files. A caller that can read them hands over the contents with their hash. From then on the
//! scheme is printed with the hash in place of the path, so that stores and keys depend on what is in a file and not on
//! where it lies.

use super::imatrix::Imatrix;
use crate::format::CodebookTable;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The number of hexadecimal digits of the hash in a printed scheme: 128 bits.
const HASH_DIGITS: usize = 32;

/// The kind of file that a scheme can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileOption {
    /// `imatrix=`: importances for ggml's types.
    Imatrix,
    /// `table=`: the entries of a codebook.
    Table,
}

impl FileOption {
    /// All kinds of file.
    pub const ALL: [FileOption; 2] = [FileOption::Imatrix, FileOption::Table];

    /// The key of the option in a scheme, without `=`.
    pub fn key(self) -> &'static str {
        match self {
            FileOption::Imatrix => "imatrix",
            FileOption::Table => "table",
        }
    }

    /// The option as the table of formats writes it.
    pub(crate) fn row(self) -> &'static str {
        match self {
            FileOption::Imatrix => "imatrix=FILE",
            FileOption::Table => "table=FILE",
        }
    }
}

/// The contents of a file that a scheme names.
#[derive(Clone, Debug, PartialEq)]
pub enum FileContents {
    /// The contents for `imatrix=`.
    Imatrix(Arc<Imatrix>),
    /// The contents for `table=`.
    Table(Arc<CodebookTable>),
}

impl FileContents {
    /// The kind of file that these contents are for.
    pub fn option(&self) -> FileOption {
        match self {
            FileContents::Imatrix(_) => FileOption::Imatrix,
            FileContents::Table(_) => FileOption::Table,
        }
    }
}

/// A file that a scheme names, with its contents once they were read.
#[derive(Clone)]
pub struct SchemeFile {
    option: FileOption,
    named: String,
    read: Option<(String, FileContents)>,
}

impl SchemeFile {
    pub(crate) fn named(option: FileOption, named: &str) -> SchemeFile {
        SchemeFile { option, named: named.to_owned(), read: None }
    }

    /// The kind of file.
    pub fn option(&self) -> FileOption {
        self.option
    }

    /// The name as it was written: a path, or `blake3-…` for a scheme from a store.
    pub fn name(&self) -> &str {
        &self.named
    }

    /// The contents, once they were read.
    pub fn contents(&self) -> Option<&FileContents> {
        self.read.as_ref().map(|(_, contents)| contents)
    }

    /// The name that a scheme is printed with: `blake3-…` once the file was read, the written name until then.
    pub fn identity(&self) -> &str {
        self.read.as_ref().map_or(&self.named, |(identity, _)| identity)
    }

    /// The name under which a file with this BLAKE3 (hexadecimal) is printed in a scheme.
    pub fn identity_of(blake3: &str) -> String {
        format!("blake3-{}", blake3.get(..HASH_DIGITS).unwrap_or(blake3))
    }

    /// The same file with its contents. Contents of another kind are ignored.
    pub(super) fn with_contents(self, blake3: &str, contents: FileContents) -> SchemeFile {
        match self.option == contents.option() {
            true => SchemeFile { read: Some((SchemeFile::identity_of(blake3), contents)), ..self },
            false => self,
        }
    }

    pub(crate) fn imatrix(&self) -> Option<&Imatrix> {
        match self.contents()? {
            FileContents::Imatrix(imatrix) => Some(imatrix),
            FileContents::Table(_) => None,
        }
    }

    pub(crate) fn table(&self) -> Option<&CodebookTable> {
        match self.contents()? {
            FileContents::Table(table) => Some(table),
            FileContents::Imatrix(_) => None,
        }
    }
}

/// Files are equal when their contents are, once those are known; until then when their names are.
impl PartialEq for SchemeFile {
    fn eq(&self, other: &Self) -> bool {
        (self.option, self.identity()) == (other.option, other.identity())
    }
}

impl fmt::Debug for SchemeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} ({})", self.option.key(), self.named, self.identity())
    }
}
