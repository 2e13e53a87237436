//! Files that a scheme names: `:imatrix=FILE`, `:table=FILE`. This room reads none; whoever can, hands over what is in
//! them with its hash, and from then on the scheme is printed with the hash in place of the path. So stores and keys
//! go by what is in a file, not by where it lies.

use super::imatrix::Imatrix;
use crate::format::CodebookTable;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Hexadecimal digits of the hash that a scheme is printed with: 128 bits.
const HASH_DIGITS: usize = 32;

/// What a file of a scheme is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileOption {
    /// `imatrix=`: importances for ggml's types.
    Imatrix,
    /// `table=`: the entries of a codebook.
    Table,
}

impl FileOption {
    /// All of them.
    pub const ALL: [FileOption; 2] = [FileOption::Imatrix, FileOption::Table];

    /// As written in a scheme, without `=`.
    pub fn key(self) -> &'static str {
        match self {
            FileOption::Imatrix => "imatrix",
            FileOption::Table => "table",
        }
    }

    /// As the table of formats has it.
    pub(crate) fn row(self) -> &'static str {
        match self {
            FileOption::Imatrix => "imatrix=FILE",
            FileOption::Table => "table=FILE",
        }
    }
}

/// What is in a file of a scheme.
#[derive(Clone, Debug, PartialEq)]
pub enum FileContents {
    /// Of `imatrix=`.
    Imatrix(Arc<Imatrix>),
    /// Of `table=`.
    Table(Arc<CodebookTable>),
}

impl FileContents {
    /// Which option they are for.
    pub fn option(&self) -> FileOption {
        match self {
            FileContents::Imatrix(_) => FileOption::Imatrix,
            FileContents::Table(_) => FileOption::Table,
        }
    }
}

/// A file that a scheme names.
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

    /// What it is for.
    pub fn option(&self) -> FileOption {
        self.option
    }

    /// As it was written: a path, or for a scheme out of a store `blake3-…`.
    pub fn name(&self) -> &str {
        &self.named
    }

    /// What is in it, once it was read.
    pub fn contents(&self) -> Option<&FileContents> {
        self.read.as_ref().map(|(_, contents)| contents)
    }

    /// As a scheme is printed: `blake3-…` once it was read, the name until then.
    pub fn identity(&self) -> &str {
        self.read.as_ref().map_or(&self.named, |(identity, _)| identity)
    }

    /// How a file with this BLAKE3 (hexadecimal) is printed in a scheme.
    pub fn identity_of(blake3: &str) -> String {
        format!("blake3-{}", blake3.get(..HASH_DIGITS).unwrap_or(blake3))
    }

    /// The same file with what is in it; contents of another kind are not taken.
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

/// Files are equal by what is in them, once that is known.
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
