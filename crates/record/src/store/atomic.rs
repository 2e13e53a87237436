//! Puts a small file in place: temporary file → fsync → rename → fsync of the folder. A reader sees the whole file or
//! none, even after a power cut. Model files are large and have their own way in `gguf` (decision 0033).

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// How the name of a file begins that is not finished. What a killed program left under such names is removed by the next
/// one that writes to the folder.
pub const UNFINISHED: &str = ".assay-unfinished-";

/// The files of this process that are not finished.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the files of this process that are not finished. It is for a program that a signal ends, which writes nothing
/// afterwards.
pub fn remove_unfinished() {
    unfinished().iter().for_each(|path| drop(std::fs::remove_file(path)));
}

/// Removes the files in a folder that killed programs have not finished. A living writer has its file locked. Nothing
/// depends on these files, so no error stops the caller.
pub fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        // Opening a FIFO would wait.
        let is_file = entry.file_type().is_ok_and(|ty| ty.is_file());
        if is_unfinished && is_file && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

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
    // The lock tells a living writer from a dead one. A file system without locks has nothing swept.
    let _ = temp.as_file().try_lock();
    let name = temp.path().to_owned();
    unfinished().insert(name.clone());
    let written = temp.write_all(bytes).and_then(|()| temp.as_file().sync_all());
    let put = written.and_then(|()| temp.persist(path).map(drop).map_err(|error| error.error));
    unfinished().remove(&name);
    put.map_err(failed)?;
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
    fn what_a_killed_program_left_is_swept_and_what_a_living_one_writes_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let left = |name: &str| {
            std::fs::write(dir.path().join(name), "left").expect("written");
            dir.path().join(name)
        };
        let (dead, other, living) = (left(".assay-unfinished-a1B2c3"), left("report.md"), left(".assay-unfinished-x"));
        let file = File::open(&living).expect("a file");
        file.lock().expect("locked");
        sweep(dir.path());
        assert!(!dead.exists() && other.exists() && living.exists());
        put(&dir.path().join("a.json"), b"whole").expect("written");
        assert!(unfinished().iter().all(|path| !path.starts_with(dir.path())));
    }

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
