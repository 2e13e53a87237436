//! The standard error of a dead worker that had no log: a temporary file, kept so that the user can read it.
//!
//! Such files do not gather. A process keeps the one of the worker that died last, and the next process removes those of
//! processes that have ended.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const PREFIX: &str = "assay-worker-";
const SUFFIX: &str = ".stderr";

/// The file that this process keeps.
static KEPT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Keeps a text in a temporary file, in place of the one kept before.
pub(super) fn keep(text: &str) -> io::Result<PathBuf> {
    keep_in(&KEPT, text)
}

fn keep_in(kept: &Mutex<Option<PathBuf>>, text: &str) -> io::Result<PathBuf> {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let mut file = tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).tempfile()?;
    file.write_all(text.as_bytes())?;
    let path = file.keep().map_err(io::Error::from)?.1;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = kept.replace(path.clone()) {
        // What cannot be removed stays for the next process.
        let _ = std::fs::remove_file(before);
    }
    Ok(path)
}

/// Removes the files among the temporary ones whose process has ended.
pub(super) fn sweep() {
    sweep_in(&std::env::temp_dir());
}

fn sweep_in(folder: &Path) {
    // Without /proc nothing says who is alive.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-'));
        let is_dead =
            |(id, _): (&str, &str)| id.parse::<u32>().is_ok_and(|id| !Path::new(&format!("/proc/{id}")).exists());
        // In a folder that all users share, the system lets nobody remove another user's file.
        if id.is_some_and(is_dead) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_kept_and_those_of_processes_that_have_ended_are_removed() {
        let kept = Mutex::new(None);
        let first = keep_in(&kept, "first").expect("kept");
        let second = keep_in(&kept, "second").expect("kept");
        assert!(!first.exists() && second.exists());
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            std::fs::write(folder.path().join(name), "").expect("written");
            folder.path().join(name)
        };
        // No process has a number as large as this one.
        let dead = write("assay-worker-4294967295-a1B2c3.stderr");
        let living = write(&format!("assay-worker-{}-a1B2c3.stderr", std::process::id()));
        let other = write("assay-worker-notes.stderr");
        sweep_in(folder.path());
        assert!(!dead.exists() && living.exists() && other.exists());
        std::fs::remove_file(second).expect("removed");
    }
}
