//! [`OutputFile`]: a file that has no name until it is complete.
//!
//! The program writes the file without a name, in the folder where it will appear (`O_TMPFILE`). So nothing is left
//! behind if the program is killed or the disk is full. The file gets its name only when all of it is on the disk and
//! its header has passed the reader's checks. Where the file system has no nameless files, the program writes a hidden
//! file instead and removes it on failure, and [`remove_unfinished`](crate::remove_unfinished) removes it when a signal ends the program. What a kill
//! leaves is removed by the next program that writes to the folder: a lock on the file tells whether its writer is alive.

use crate::direct::DirectWriter;
use crate::hidden::{
    NAMING, fd_path, folder_of, former_name, hidden_file, hidden_name, is_unsupported, let_go, link, remove,
    rename_to_new, sweep, unfinished,
};
use crate::parse::{self, Strictness};
use crate::problem::GgufProblem;
use crate::source::Source;
use rustix::process::{Resource, getrlimit};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use words::{Advice, Hint, escape_terminal, plural};

/// Why an output cannot be written. It displays as one line with the path in front.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", escape_terminal(.path.as_os_str().as_encoded_bytes()))]
pub struct OutputError {
    /// The path that the file was to have.
    pub path: PathBuf,
    /// What is wrong with the output.
    pub problem: OutputProblem,
}

/// What is wrong with an output.
#[derive(Debug, thiserror::Error)]
pub enum OutputProblem {
    /// The output is one of the input files.
    #[error("is the input itself ({input}), wanted another file")]
    IsInput {
        /// The path of the input, escaped for a terminal.
        input: String,
    },
    /// Something of that name exists already, and the caller did not ask to replace it.
    #[error("exists already, wanted a new name")]
    Exists,
    /// Something of that name exists that is not a regular file.
    #[error("is a {found}, wanted a new name or a regular file")]
    NotAFile {
        /// The kind of thing it is, such as a directory.
        found: &'static str,
    },
    /// The path does not end in a file name.
    #[error("has no file name, wanted the path of a file")]
    NoName,
    /// The system cannot create a file in the folder.
    #[error("cannot be made: {0}")]
    Create(#[source] io::Error),
    /// The process may not write a file as large as this one.
    #[error("would have {}, found a file-size limit of {}", plural(.wanted, "byte"), plural(.limit, "byte"))]
    SizeLimit {
        /// The number of bytes that the file would have.
        wanted: u64,
        /// The number of bytes that the system allows.
        limit: u64,
    },
    /// The system failed to write.
    #[error("cannot be written: {0}; nothing is left behind")]
    Write(#[source] io::Error),
    /// The system failed to give the finished file its name.
    #[error("cannot be given its name: {0}; nothing is left behind, and nothing replaced")]
    Name(#[source] io::Error),
    /// One of several files could not be given its name, and the naming of another one cannot be undone.
    #[error(
        "is left as one of several new files: another could not be given its name, and here what was before cannot be put back: {source}{}",
        .aside.as_ref().map(|aside| format!("; it is kept as {aside}")).unwrap_or_default()
    )]
    TakeBack {
        /// The error that the operating system reported.
        source: io::Error,
        /// The path at which the former file is now, escaped for a terminal. `None` when there was no former file.
        aside: Option<String>,
    },
    /// The finished file has its name, but the system could not write its folder to the disk.
    #[error("is there and complete, but its folder cannot be put on the disk: {0}")]
    Folder(#[source] io::Error),
    /// The reader refuses what was written, which is a bug of the writer.
    #[error("what was written is not a sound GGUF file: {0}; nothing is left behind")]
    Malformed(GgufProblem),
}

impl Advice for OutputError {
    fn hint(&self) -> Option<Hint> {
        Some(match &self.problem {
            OutputProblem::IsInput { .. } => {
                Hint::words("give the output another name; a model is never changed in place")
            }
            OutputProblem::Exists => Hint::ReplaceOutput,
            OutputProblem::NotAFile { .. } | OutputProblem::NoName => {
                Hint::words("name a .gguf file that does not exist yet")
            }
            OutputProblem::Create(e) if e.kind() == io::ErrorKind::InvalidFilename => {
                Hint::words("choose a shorter name")
            }
            OutputProblem::Create(_) => Hint::words("check that the folder exists and may be written to"),
            OutputProblem::SizeLimit { .. } => Hint::SmallerFiles,
            OutputProblem::Write(e) if e.kind() == io::ErrorKind::StorageFull => {
                Hint::words("free some space on the disk")
            }
            OutputProblem::Write(_)
            | OutputProblem::Name(_)
            | OutputProblem::TakeBack { .. }
            | OutputProblem::Folder(_) => Hint::words("check the disk or the network share that the folder is on"),
            OutputProblem::Malformed(_) => Hint::Bug,
        })
    }
}

fn error(path: &Path, problem: OutputProblem) -> OutputError {
    OutputError { path: path.to_owned(), problem }
}

/// Refuses an output that is one of the inputs under any name, that exists already (unless `replace`), or that could
/// not be replaced. This function opens no file.
///
/// # Errors
/// When the output is refused for one of these reasons.
pub fn check_output<'a>(
    path: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
    replace: bool,
) -> Result<(), OutputError> {
    if path.file_name().is_none() {
        return Err(error(path, OutputProblem::NoName));
    }
    // Hours of work may come before the file is made.
    if let Err(e) = std::fs::metadata(folder_of(path)) {
        return Err(error(path, OutputProblem::Create(e)));
    }
    let link = match std::fs::symlink_metadata(path) {
        Ok(link) => link,
        // Creating the file reports every other fault. A name that is too long would only be reported when the file is
        // named.
        Err(e) if e.kind() == io::ErrorKind::InvalidFilename => return Err(error(path, OutputProblem::Create(e))),
        Err(_) => return Ok(()),
    };
    // A link that leads nowhere still takes the name.
    if let Ok(there) = std::fs::metadata(path) {
        let same = |input: &&Path| {
            std::fs::metadata(input).is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()))
        };
        if let Some(input) = inputs.into_iter().find(same) {
            let input = escape_terminal(input.as_os_str().as_encoded_bytes());
            return Err(error(path, OutputProblem::IsInput { input }));
        }
        if let Some(found) = not_a_file(&there) {
            return Err(error(path, OutputProblem::NotAFile { found }));
        }
    }
    match replace || !(link.is_file() || link.is_symlink()) {
        true => Ok(()),
        false => Err(error(path, OutputProblem::Exists)),
    }
}

fn not_a_file(metadata: &Metadata) -> Option<&'static str> {
    let ty = metadata.file_type();
    match ty {
        _ if ty.is_file() => None,
        _ if ty.is_dir() => Some("directory"),
        _ if ty.is_fifo() => Some("FIFO (named pipe)"),
        _ if ty.is_socket() => Some("socket"),
        _ => Some("device"),
    }
}

/// A file that is being written. If it is dropped before [`commit_all`], nothing remains of it.
#[derive(Debug)]
pub struct OutputFile {
    out: DirectWriter,
    path: PathBuf,
    /// The path of the hidden file that stands in for it. `None` where the file system has nameless files.
    hidden: Option<PathBuf>,
}

impl OutputFile {
    /// Begins a file that will be `path` and have `file_bytes` bytes.
    ///
    /// # Errors
    /// When nothing can be made in its folder, or the system allows no file of that size.
    pub fn create(path: &Path, file_bytes: u64) -> Result<Self, OutputError> {
        // This is checked first because the system would end the process when it reaches the limit.
        if let Some(limit) = getrlimit(Resource::Fsize).current.filter(|&limit| limit < file_bytes) {
            return Err(error(path, OutputProblem::SizeLimit { wanted: file_bytes, limit }));
        }
        sweep(folder_of(path));
        let nameless = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o666)
            .custom_flags(libc::O_TMPFILE)
            .open(folder_of(path))
            .and_then(|file| std::fs::metadata(fd_path(&file)).map(|_| file));
        let (file, hidden) = match nameless {
            Ok(file) => {
                // It may get a hidden name on the way to its own.
                let _ = file.try_lock();
                (file, None)
            }
            Err(e) if is_unsupported(&e) => {
                let (file, hidden) = hidden_file(path).map_err(|e| error(path, OutputProblem::Create(e)))?;
                (file, Some(hidden))
            }
            Err(e) => return Err(error(path, OutputProblem::Create(e))),
        };
        Ok(OutputFile { out: DirectWriter::new(file, file_bytes), path: path.to_owned(), hidden })
    }

    /// The path that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path by which this process and its children can open the file before it has its name.
    fn opened_as(&self) -> PathBuf {
        match &self.hidden {
            Some(hidden) => std::path::absolute(hidden).unwrap_or_else(|_| hidden.clone()),
            None => PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.out.file().as_raw_fd())),
        }
    }

    /// Turns an I/O error met while writing into one that names the file.
    pub fn failed(path: &Path, source: io::Error) -> OutputError {
        error(path, OutputProblem::Write(source))
    }

    /// Puts every byte on the disk and reads the header back.
    fn seal(&mut self) -> Result<(), OutputError> {
        let on_disk = self.out.finish().and_then(|()| self.out.file().sync_all());
        let file = on_disk.and_then(|()| self.out.file().try_clone());
        let file = file.map_err(|e| error(&self.path, OutputProblem::Write(e)))?;
        let sound = Source::of(file).and_then(|source| parse::header(&source, Strictness::ENGINE));
        sound.map(|_| ()).map_err(|problem| error(&self.path, OutputProblem::Malformed(problem)))
    }

    /// Gives the file its name. If `replace`, it replaces a file that has the name already.
    fn name(&mut self, replace: bool) -> Result<(), OutputError> {
        let path = self.path.clone();
        let named = match (self.hidden.take(), replace) {
            (None, false) => link(self.out.file(), &path),
            (None, true) => {
                // A rename can replace a file and a link cannot. If the name is taken, a killed process of the same
                // number left it.
                let linked = loop {
                    let hidden = hidden_name(&path);
                    unfinished().insert(hidden.clone());
                    match link(self.out.file(), &hidden) {
                        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                            unfinished().remove(&hidden);
                        }
                        result => break result.map(|()| hidden),
                    }
                };
                linked.and_then(|hidden| {
                    let renamed = std::fs::rename(&hidden, &path);
                    let_go(&hidden, renamed)
                })
            }
            (Some(hidden), true) => {
                let renamed = std::fs::rename(&hidden, &path);
                let_go(&hidden, renamed)
            }
            (Some(hidden), false) => {
                let renamed = rename_to_new(&hidden, &path);
                let_go(&hidden, renamed)
            }
        };
        named.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => error(&path, OutputProblem::Exists),
            _ => error(&path, OutputProblem::Name(e)),
        })
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            remove(hidden);
            unfinished().remove(hidden);
        }
    }
}

/// Files that are written whole and on the disk, and that have no names yet. If they are dropped, nothing remains.
#[derive(Debug)]
pub struct SealedFiles(Vec<OutputFile>);

impl SealedFiles {
    /// Writes all bytes of all files to the disk and reads their headers back.
    ///
    /// # Errors
    /// When the disk fails, or a file is not a sound GGUF file.
    pub fn seal(mut files: Vec<OutputFile>) -> Result<SealedFiles, OutputError> {
        files.iter_mut().try_for_each(OutputFile::seal)?;
        Ok(SealedFiles(files))
    }

    /// A path by which this process and its children can open the files before they have their names. Of several files
    /// it is the path of the first, and the others lie beside it under the names that a reader expects. The paths are
    /// valid until the value is dropped.
    ///
    /// # Errors
    /// When nothing can be made in the folder of the files.
    pub fn readable(&self) -> Result<ReadablePath, OutputError> {
        let Some(first) = self.0.first() else { return Ok(ReadablePath { path: PathBuf::new(), folder: None }) };
        if self.0.len() == 1 {
            return Ok(ReadablePath { path: first.opened_as(), folder: None });
        }
        let failed = |e: io::Error| error(&first.path, OutputProblem::Create(e));
        // Links take no room, wherever they lie. Beside the output they can certainly be made.
        let folder = loop {
            let hidden = hidden_name(&first.path);
            match std::fs::create_dir(&hidden) {
                Ok(()) => break hidden,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        };
        unfinished().insert(folder.clone());
        // The lock says that the writer lives, as that of a hidden file does.
        let lock = File::open(&folder).and_then(|open| open.try_lock().map(|()| open).map_err(io::Error::from));
        let mut readable = ReadablePath { path: PathBuf::new(), folder: Some((folder.clone(), lock.ok())) };
        for file in self.0.iter().rev() {
            readable.path = folder.join(file.path.file_name().unwrap_or_default());
            std::os::unix::fs::symlink(file.opened_as(), &readable.path).map_err(failed)?;
        }
        Ok(readable)
    }

    /// Gives the files their names, then writes the folders. If one file cannot have its name, everything goes back to
    /// what it was: the others lose their names, and the files that they replaced come back.
    ///
    /// Several names cannot be given in one step, so they are given from the last file to the first. If a kill comes in
    /// between, the split model lacks its first shard, by which it would be opened. Where shards are replaced, it has
    /// shards of two writings then, which the reader tells apart by their [identity](crate::split::SPLIT_IDENTITY).
    ///
    /// # Errors
    /// When the disk fails, or a name has been taken meanwhile.
    pub fn commit(self, replace: bool) -> Result<(), OutputError> {
        let _naming = NAMING.lock();
        let mut files = self.0;
        // A single file is replaced in one step, so it needs no way back.
        let go_back = replace && files.len() > 1;
        let mut given: Vec<Given> = Vec::new();
        // The locks say that the writer lives, so that nobody settles what it has set aside.
        let mut locks: Vec<File> = Vec::new();
        let named = files.iter_mut().rev().try_for_each(|file| {
            let path = file.path.clone();
            let before =
                if go_back { set_aside(&path).map_err(|e| error(&path, OutputProblem::Name(e)))? } else { None };
            let lock = before.as_ref().and_then(|before| File::open(before).ok());
            locks.extend(lock.filter(|lock| lock.try_lock().is_ok()));
            let named = file.name(replace);
            if named.is_ok() || before.is_some() {
                given.push(Given { path, before });
            }
            named
        });
        if let Err(e) = named {
            // Every name is taken back even if one fails. The first failure is reported.
            let left: Vec<OutputError> = given.iter().rev().filter_map(|given| given.take_back().err()).collect();
            return Err(left.into_iter().next().unwrap_or(e));
        }
        given.iter().filter_map(|given| given.before.as_deref()).for_each(remove);
        for file in &files {
            let synced = File::open(folder_of(&file.path)).and_then(|folder| folder.sync_all());
            synced.map_err(|e| error(&file.path, OutputProblem::Folder(e)))?;
        }
        Ok(())
    }
}

/// A path by which files without names can be opened. A folder that it needed is removed when this is dropped.
#[derive(Debug)]
pub struct ReadablePath {
    path: PathBuf,
    /// The hidden folder with links to the files, and the lock on it.
    folder: Option<(PathBuf, Option<File>)>,
}

impl ReadablePath {
    /// The path under which the files can be opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ReadablePath {
    fn drop(&mut self) {
        if let Some((folder, _)) = &self.folder {
            remove(folder);
            unfinished().remove(folder);
        }
    }
}

/// Makes finished files appear, all of them or none.
///
/// # Errors
/// Those of [`SealedFiles::seal`] and [`SealedFiles::commit`].
pub fn commit_all(files: Vec<OutputFile>, replace: bool) -> Result<(), OutputError> {
    SealedFiles::seal(files)?.commit(replace)
}

/// A name that one of our files has been given, or that the former file has left.
struct Given {
    path: PathBuf,
    /// The path of the former file meanwhile. `None` when there was no former file.
    before: Option<PathBuf>,
}

impl Given {
    /// Puts everything back as it was.
    fn take_back(&self) -> Result<(), OutputError> {
        let result = match &self.before {
            // The system does not rename two links of one file into each other. If the former file never left, its
            // second name is removed.
            Some(before) => std::fs::rename(before, &self.path).inspect(|()| remove(before)),
            None => std::fs::remove_file(&self.path),
        };
        let aside = || self.before.as_ref().map(|before| escape_terminal(before.as_os_str().as_encoded_bytes()));
        result.map_err(|source| error(&self.path, OutputProblem::TakeBack { source, aside: aside() }))
    }
}

/// Gives the file at `path` a second name, or moves it to that name on file systems without hard links. `None` when
/// there is no file to set aside.
fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    // A folder stays where it is and blocks the name.
    if std::fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
        return Ok(None);
    }
    loop {
        let hidden = former_name(path);
        let linked = std::fs::hard_link(path, &hidden).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Err(e),
            _ => rename_to_new(path, &hidden),
        });
        match linked {
            Ok(()) => return Ok(Some(hidden)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file made as on a file system without nameless files.
    fn with_hidden_name(path: &Path) -> OutputFile {
        let (mut file, hidden) = hidden_file(path).expect("a file");
        file.write_all(&[b"GGUF".as_slice(), &3u32.to_le_bytes(), &[0; 16]].concat()).expect("written");
        OutputFile { out: DirectWriter::new(file, 0), path: path.to_owned(), hidden: Some(hidden) }
    }

    #[test]
    fn what_killed_processes_have_left_is_removed_by_the_next_and_a_living_ones_file_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.gguf");
        let left = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "left").expect("written");
            path
        };
        let links = folder.path().join(".assay-unfinished-1234-7");
        std::fs::create_dir(&links).expect("made");
        std::os::unix::fs::symlink("/proc/1234/fd/99", links.join("out.gguf")).expect("made");
        let dead = [left(".assay-unfinished-1234-0"), left(".assay-unfinished-1234-15"), links];
        // A run's own temporary file, a former file that --force set aside, and names that are not ours.
        let others = [".assay-unfinished-a1B2c3", ".assay-former-1234-0", ".assay-unfinished-12", "out.gguf"].map(left);
        let living = File::open(left(".assay-unfinished-1234-1")).expect("a file");
        living.lock().expect("locked");
        let mut file = OutputFile::create(&path, 24).expect("a file");
        assert!(dead.iter().all(|path| !path.exists()));
        assert!(others.iter().all(|path| path.exists()));
        assert!(folder.path().join(".assay-unfinished-1234-1").exists());
        file.write_all(&[b"GGUF".as_slice(), &3u32.to_le_bytes(), &[0; 16]].concat()).expect("written");
        commit_all(vec![file], true).expect("replaced");
        assert_eq!(std::fs::read(&path).expect("a file").len(), 24);
    }

    #[test]
    fn a_hidden_file_is_known_to_be_unfinished_until_it_has_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.gguf");
        let known = || unfinished().iter().filter(|hidden| hidden.starts_with(folder.path())).count();
        let file = with_hidden_name(&path);
        assert_eq!(known(), 1);
        sweep(folder.path());
        commit_all(vec![file], false).expect("a new name: a living writer's file is not swept");
        assert_eq!(known(), 0);
        drop(with_hidden_name(&path));
        assert_eq!(known(), 0);
        assert_eq!(listing(folder.path()), [("out.gguf".to_owned(), 24)]);
    }

    #[test]
    fn without_nameless_files_the_hidden_one_is_renamed_or_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.gguf");
        let n_files = || std::fs::read_dir(folder.path()).expect("a folder").count();
        drop(with_hidden_name(&path));
        assert_eq!(n_files(), 0);
        commit_all(vec![with_hidden_name(&path)], false).expect("a new name");
        let error = commit_all(vec![with_hidden_name(&path)], false).expect_err("the name is taken");
        assert!(matches!(error.problem, OutputProblem::Exists), "{error}");
        commit_all(vec![with_hidden_name(&path)], true).expect("replaced");
        assert_eq!((n_files(), path.exists()), (1, true));
    }

    fn listing(folder: &Path) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
        let of = |entry: std::fs::DirEntry| {
            (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("metadata").len())
        };
        let mut listing: Vec<(String, u64)> = entries.map(of).collect();
        listing.sort();
        listing
    }

    #[test]
    fn of_several_files_all_are_replaced_or_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("b"), "old").expect("written");
        // Names are given from the last to the first. c is new, b replaces a file, and a cannot be given because a
        // folder has its name.
        std::fs::create_dir(path("a")).expect("a folder");
        std::fs::write(path("a/inside"), "").expect("written");
        let before = listing(folder.path());
        let files = ["a", "b", "c"].map(|name| with_hidden_name(&path(name)));
        let error = commit_all(files.into(), true).expect_err("a folder in the place of one");
        assert!(error.path.ends_with("a") && matches!(error.problem, OutputProblem::Name(_)), "{error}");
        assert_eq!(listing(folder.path()), before);

        std::fs::remove_dir_all(path("a")).expect("removed");
        let files = ["a", "b", "c"].map(|name| with_hidden_name(&path(name)));
        commit_all(files.into(), true).expect("replaced");
        assert_eq!(listing(folder.path()), ["a", "b", "c"].map(|name| (name.to_owned(), 24)));
    }

    #[test]
    fn what_was_set_aside_comes_back_whether_it_was_linked_or_moved() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.gguf");
        assert_eq!(set_aside(&path).expect("nothing there"), None);
        for is_moved in [false, true] {
            std::fs::write(&path, "old").expect("written");
            let before = set_aside(&path).expect("set aside");
            if is_moved {
                std::fs::remove_file(&path).expect("removed");
            }
            Given { path: path.clone(), before }.take_back().expect("taken back");
            assert_eq!(listing(folder.path()), [("out.gguf".to_owned(), 3)]);
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = check_output(&folder.path().join("nd/out.gguf"), [], false).expect_err("no folder");
        assert!(matches!(error.problem, OutputProblem::Create(_)), "{error}");
        assert_eq!(error.hint(), Some(Hint::words("check that the folder exists and may be written to")));
    }

    #[test]
    fn a_name_that_is_too_long_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = check_output(&folder.path().join("x".repeat(300)), [], false).expect_err("too long");
        assert!(matches!(error.problem, OutputProblem::Create(_)), "{error}");
    }

    #[test]
    fn a_relative_name_is_in_the_folder_one_is_in() {
        assert_eq!(folder_of(Path::new("out.gguf")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/out.gguf")), Path::new("a"));
        assert_eq!(hidden_name(Path::new("a/out.gguf")).parent(), Some(Path::new("a")));
    }
}
