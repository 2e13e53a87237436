//! Puts a small file in place: temporary file → fsync → rename → fsync of the folder. A reader sees the whole file or
//! none, even after a power cut. Model files are large and have their own way in `gguf` (decision 0033).

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The error of a step that puts a file in place or makes its folder.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {doing}: {source}", .path.display())]
pub struct PutError {
    /// The step that failed: `create`, `write` or `sync`.
    pub doing: &'static str,
    /// The path of the file or of its folder.
    pub path: PathBuf,
    /// The reason that the system gives.
    pub source: io::Error,
}

/// How the name of a file begins that is not finished. A run removes what a killed program left under such names.
pub const UNFINISHED: &str = ".assay-unfinished-";

/// Writes a file and replaces the one that is there. Everyone may read it, as far as the umask allows.
///
/// # Errors
/// When the system refuses a step. The old file is then still whole, unless the error is about the folder.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), PutError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| PutError { doing: "write", path: path.into(), source };
    // Temporary files are private by default.
    let readable = Permissions::from_mode(0o644);
    let mut temp =
        tempfile::Builder::new().prefix(UNFINISHED).permissions(readable).tempfile_in(folder).map_err(failed)?;
    temp.write_all(bytes).and_then(|()| temp.as_file().sync_all()).map_err(failed)?;
    temp.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder)
}

/// Waits until the names in a folder are on disk.
///
/// # Errors
/// When the system refuses to sync the folder.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), PutError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| PutError { doing: "sync", path: folder.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.json");
        for bytes in [&b"first"[..], b"second"] {
            put(&path, bytes).expect("written");
            assert_eq!(std::fs::read(&path).expect("there"), bytes);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1);
        let error = put(&dir.path().join("no/folder"), b"").expect_err("no folder");
        assert!(error.to_string().contains("no/folder: cannot write: "), "{error}");
    }
}
