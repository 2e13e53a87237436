//! The hidden names of output files that are not finished, and how such a file gets its own name.

use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The number of the next temporary name of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// How the name of a file begins that is not finished, in a run folder as well.
pub(crate) const UNFINISHED: &str = ".assay-unfinished-";

/// How the name of a file begins that is being replaced.
const FORMER: &str = ".assay-former-";

/// The hidden names that this process has given to files that are not finished.
static HIDDEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

pub(crate) fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HIDDEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while files get their names, which must not end half way.
pub(crate) static NAMING: Mutex<()> = Mutex::new(());

/// Removes the hidden files of this process. It is for a program that a signal ends, which writes nothing afterwards. If
/// files are getting their names, it waits until all of them have theirs.
pub fn remove_unfinished() {
    let _naming = NAMING.lock();
    unfinished().iter().for_each(|hidden| remove(hidden));
}

/// Removes the files in a folder that killed programs have not finished. A living writer has its file locked. Nothing
/// depends on these files, so no error stops the caller.
pub(crate) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((process, n)) = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED)?.split_once('-')) else {
            continue;
        };
        let is_ours = [process, n].iter().all(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        // Opening a FIFO would wait.
        let is_plain = entry.file_type().is_ok_and(|ty| ty.is_file() || ty.is_dir());
        if is_ours && is_plain && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            remove(&entry.path());
        }
    }
}

/// Ends the life of a hidden name that was to become the file's own. It is removed if that failed.
pub(crate) fn let_go(hidden: &Path, renamed: io::Result<()>) -> io::Result<()> {
    if renamed.is_err() {
        remove(hidden);
    }
    unfinished().remove(hidden);
    renamed
}

/// A temporary name beside `path`. It is short, so that it fits even where `path` is nearly too long.
pub(crate) fn hidden_name(path: &Path) -> PathBuf {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{UNFINISHED}{}-{n}", std::process::id()))
}

/// A name beside `path` for the file that is being replaced. It is the user's file, and a program that is killed may leave
/// it; [`settle_former`](crate::settle_former) says what becomes of it then.
pub(crate) fn former_name(path: &Path) -> PathBuf {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{FORMER}{}-{n}-{}", std::process::id(), former_mark(path)))
}

/// The end of a former file's name, by which its own name is known again: a hash (FNV-1a), so that it is short.
pub(crate) fn former_mark(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let hash = name
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// The files in a folder that killed programs set aside while they replaced them, sorted by name. A folder that cannot be
/// read has none.
pub(crate) fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(FORMER))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Makes a file with a hidden name beside `path`, locked as the one of a living writer.
pub(crate) fn hidden_file(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o666);
    loop {
        let hidden = hidden_name(path);
        match options.open(&hidden) {
            Ok(file) => {
                // Before the lock, another process may have taken the file for one that a kill left.
                let _ = file.lock();
                if file.metadata()?.nlink() > 0 {
                    unfinished().insert(hidden.clone());
                    return Ok((file, hidden));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

pub(crate) fn fd_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether the file system or the kernel has no nameless files, or /proc is missing and they cannot be named.
pub(crate) fn is_unsupported(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
        || (e.kind() == io::ErrorKind::NotFound && !Path::new("/proc/self/fd").exists())
}

pub(crate) fn link(file: &File, path: &Path) -> io::Result<()> {
    Ok(linkat(CWD, fd_path(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // On file systems without that flag, look first. Another process may create the file in between, but there is
        // no better way.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match std::fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => std::fs::rename(from, to),
        },
        other => Ok(other?),
    }
}

/// Removes a file of our own, or a folder with links to such files. If that fails, there is nothing else to do.
pub(crate) fn remove(path: &Path) {
    if std::fs::remove_file(path).is_err() {
        let _ = std::fs::remove_dir_all(path);
    }
}
