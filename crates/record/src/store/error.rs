//! Why the run folder cannot be used, and what the user can do about it.

use super::atomic::PutError;
use super::{PLAN_LOCK, RUN};
use crate::format::{FormatVersion, VersionError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

/// Why the run folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused an operation.
    #[error("{}: cannot {doing}: {source}", .path.display())]
    Io {
        /// The operation that was tried.
        doing: &'static str,
        /// The path on which it was tried.
        path: PathBuf,
        /// The error that the system gives.
        source: std::io::Error,
    },
    /// A file has other contents than it should.
    #[error("{}: {why}", .path.display())]
    Corrupt {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong, with the number of the line.
        why: String,
    },
    /// The journal's chain of hashes is broken.
    #[error("{}: line {line}: {why}", .path.display())]
    JournalBroken {
        /// The path of the journal.
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        why: String,
    },
    /// There are results but no journal that says when and how they were measured.
    #[error("{}: is missing or empty, though results are there", .path.display())]
    JournalMissing {
        /// The path where the journal should be.
        path: PathBuf,
    },
    /// A newer program has written the file.
    #[error("{}: written by a newer assay: format {found}, this program knows {known}", .path.display())]
    Newer {
        /// The path of the file.
        path: PathBuf,
        /// The version of the file.
        found: FormatVersion,
        /// The newest version that this program reads.
        known: FormatVersion,
    },
    /// An older program has written the file, which lacks what this program needs.
    #[error("{}: written by an older assay: format {found}, this program needs {wanted}", .path.display())]
    Older {
        /// The path of the file.
        path: PathBuf,
        /// The version of the file.
        found: FormatVersion,
        /// The version that this program needs.
        wanted: FormatVersion,
    },
    /// The folder contains the run of another plan.
    #[error("{}: contains another run: {difference}", .path.display())]
    OtherRun {
        /// The path of the folder.
        path: PathBuf,
        /// The first thing that differs.
        difference: String,
    },
    /// The folder has files of a run, but not the one that says which run it is.
    #[error("{}: is missing, though {found} is there", .path.display())]
    LockMissing {
        /// The path where `plan.lock.json` should be.
        path: PathBuf,
        /// A file or folder of a run that is there.
        found: &'static str,
    },
    /// The folder contains something that is not a run.
    #[error("{}: contains {found:?} but not plan.lock.json, so it is not a run folder", .path.display())]
    NotARun {
        /// The path of the folder.
        path: PathBuf,
        /// The first entry of the folder whose name does not begin with a dot.
        found: String,
    },
    /// Another process is writing to the folder.
    #[error("{}: another assay is writing to this run", .path.display())]
    Busy {
        /// The path of the folder.
        path: PathBuf,
    },
    /// A file is not the one whose hash the journal has.
    #[error("{}: is not the file that the run wrote: its hash is not in the journal", .path.display())]
    NotAsWritten {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file of a cell is not the cell that `run.json` has.
    #[error("{}: is not the cell that run.json has", .path.display())]
    OtherCell {
        /// The path of the cell's file.
        path: PathBuf,
    },
    /// The file of a cell of `run.json` is not there.
    #[error("{}: is missing, though run.json has the cell", .path.display())]
    CellMissing {
        /// The path where the file should be.
        path: PathBuf,
    },
    /// The samples give another cell than the stored one.
    #[error("{}: the samples give another cell than the one stored", .path.display())]
    CellDiffers {
        /// The path of the cell's file.
        path: PathBuf,
    },
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        StoreError::Io { doing, path: path.into(), source }
    }

    pub(crate) fn json(path: &Path, source: serde_json::Error) -> Self {
        StoreError::Corrupt { path: path.into(), why: source.to_string() }
    }

    pub(crate) fn version(path: &Path, source: VersionError) -> Self {
        match source {
            VersionError::Newer { found, known } => StoreError::Newer { path: path.into(), found, known },
            VersionError::Json(source) => StoreError::json(path, source),
        }
    }

    /// Whether the user can mend it, by choosing another folder, changing permissions or freeing disk space.
    pub fn is_input(&self) -> bool {
        match self {
            StoreError::Io { source, .. } => advice(source.kind()).is_some(),
            _ => true,
        }
    }
}

impl From<PutError> for StoreError {
    fn from(error: PutError) -> Self {
        StoreError::Io { doing: error.doing, path: error.path, source: error.source }
    }
}

impl Advice for StoreError {
    fn hint(&self) -> Option<Hint> {
        let another = |or: &'static str| Some(Hint::OtherFolder { or: Some(or.into()) });
        match self {
            StoreError::Io { source, .. } => advice(source.kind()),
            StoreError::Corrupt { path, .. } => {
                Some(Hint::words(match path.file_name().and_then(|name| name.to_str()) {
                    Some(PLAN_LOCK) => "restore the file, or remove the folder",
                    Some(RUN) => "remove this file, and the same run writes it again",
                    _ => "remove this file to measure it again",
                }))
            }
            StoreError::JournalBroken { .. } | StoreError::JournalMissing { .. } | StoreError::LockMissing { .. } => {
                another("restore the file")
            }
            StoreError::Newer { .. } => Some(Hint::words("use the newer assay")),
            StoreError::Older { .. } => another("look at this one with the commands that only read"),
            StoreError::OtherRun { .. } => another("remove that one, or repeat the run that is there"),
            StoreError::NotARun { .. } => Some(Hint::OtherFolder { or: None }),
            StoreError::Busy { .. } => another("wait for it to end"),
            StoreError::NotAsWritten { path } if path.ends_with(PLAN_LOCK) => another("restore the file"),
            StoreError::NotAsWritten { .. } => {
                Some(Hint::words("remove this file, and the same run writes it again from what it measured"))
            }
            StoreError::CellMissing { .. } => Some(Hint::words("the same run writes it again from its samples")),
            // The hashes of the samples were checked when they were read.
            StoreError::OtherCell { .. } | StoreError::CellDiffers { .. } => {
                Some(Hint::words("remove this file, and the same run writes it again from its samples"))
            }
        }
    }
}

/// What the user can do about an error of the operating system; `None` when the disk is at fault.
fn advice(kind: ErrorKind) -> Option<Hint> {
    let or = match kind {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Some("make this one writable"),
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::Unsupported => None,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("make room and run it again: it goes on where it was")
        }
        ErrorKind::FileTooLarge => {
            Some("raise the limit on the size of files (ulimit -f) and run it again: it goes on where it was")
        }
        _ => return None,
    };
    Some(Hint::OtherFolder { or: or.map(Into::into) })
}
