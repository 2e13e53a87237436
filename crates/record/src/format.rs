//! Versions of documents. A document states its version first, and a reader checks it before anything else. Unknown
//! fields are then the mark of a newer program, not of damage.
//!
//! | document | version | where it is said |
//! |---|---|---|
//! | `plan.lock.json`, the layout of the folder | [`STORE_FORMAT`](crate::store::STORE_FORMAT) | `format` |
//! | `run.json` | [`RECORD_FORMAT`](crate::RECORD_FORMAT) | `format` |
//! | `cells/*.json` | [`CELL_FORMAT`](crate::CELL_FORMAT) | `format`; cells of format 1 do not say it |
//! | `samples/*.jsonl`, `faults.jsonl` | [`LINES_FORMAT`](crate::store::LINES_FORMAT) | `format` of a first line; files of format 1 have no such line |
//! | `journal.jsonl` | [`JOURNAL_FORMAT`](crate::store::journal::JOURNAL_FORMAT) | `format` of each line; lines of format 1 do not say it |
//! | answers of commands | a constant beside each type of [`answer`](crate::answer) | `format` |
//!
//! A version grows whenever a field is added, renamed or given another meaning.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of a kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FormatVersion(pub u32);

impl FormatVersion {
    /// The first version. A document that states none has this version, if its kind began without stating it.
    pub const FIRST: FormatVersion = FormatVersion(1);

    pub(crate) fn first() -> FormatVersion {
        FormatVersion::FIRST
    }

    pub(crate) fn is_first(&self) -> bool {
        *self == FormatVersion::FIRST
    }

    /// Refuses a version that is newer than `known`.
    ///
    /// # Errors
    /// When this version is newer.
    pub fn check(self, known: FormatVersion) -> Result<(), VersionError> {
        if self > known { Err(VersionError::Newer { found: self, known }) } else { Ok(()) }
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// A newer program has written it.
    #[error("written by a newer assay: format {found}, this program knows {known}")]
    Newer {
        /// The document's version.
        found: FormatVersion,
        /// The newest version that this program reads.
        known: FormatVersion,
    },
    /// It is not JSON, or not the document that is wanted.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The beginning of any document: its version alone.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    format: Option<FormatVersion>,
}

/// The version that a document states, if it states one.
///
/// # Errors
/// When it is not a JSON object, or its `format` is not a version.
pub fn stated(json: &[u8]) -> Result<Option<FormatVersion>, serde_json::Error> {
    serde_json::from_slice(json).map(|head: Head| head.format)
}

/// Checks a document's version, then reads the document. A document that states no version is of the first.
///
/// # Errors
/// When its version is newer than `known`, or it is not a `T`.
pub fn read_versioned<T: DeserializeOwned>(json: &[u8], known: FormatVersion) -> Result<T, VersionError> {
    stated(json)?.unwrap_or(FormatVersion::FIRST).check(known)?;
    Ok(serde_json::from_slice(json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Document {
        #[serde(default = "FormatVersion::first")]
        format: FormatVersion,
        n: u32,
    }

    fn read(json: &str) -> Result<Document, VersionError> {
        read_versioned(json.as_bytes(), FormatVersion(2))
    }

    #[test]
    fn a_newer_document_is_called_newer_whatever_is_in_it() {
        for body in [r#""n":1,"added":true"#, r#""n":"no longer a number""#, r#""renamed":1"#] {
            let error = read(&format!("{{\"format\":3,{body}}}")).expect_err("newer");
            assert!(
                matches!(error, VersionError::Newer { found: FormatVersion(3), known: FormatVersion(2) }),
                "{error}"
            );
            assert_eq!(error.to_string(), "written by a newer assay: format 3, this program knows 2");
            // The version is found wherever it stands in the document.
            let last = read(&format!("{{{body},\"format\":3}}")).expect_err("newer");
            assert!(matches!(last, VersionError::Newer { .. }), "{last}");
        }
    }

    #[test]
    fn a_document_of_a_known_version_is_read_and_a_damaged_one_is_not_called_newer() {
        assert_eq!(read(r#"{"n":1}"#).expect("of the first version"), Document { format: FormatVersion(1), n: 1 });
        assert_eq!(read(r#"{"format":2,"n":1}"#).expect("of this version").format, FormatVersion(2));
        for damaged in ["", "[]", r#"{"format":2,"n":1,"added":true}"#, r#"{"format":"2","n":1}"#, r#"{"format":2"#] {
            assert!(matches!(read(damaged), Err(VersionError::Json(_))), "{damaged}");
        }
    }
}
