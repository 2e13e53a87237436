//! The run folder. A run writes nowhere else, and only this code writes there.
//!
//! ```text
//! plan.lock.json       the plan with every hash that determines the numbers
//! journal.jsonl        what happened, with time and host
//! samples/<key>.jsonl  one fsynced line per window: the raw data, by column
//! cells/<key>.json     immutable, derived from the samples; no time, path, host or speed
//! faults.jsonl         controls that failed during a measurement
//! worker-<n>.stderr    everything model n's workers said
//! run.json             the record that reports are made from
//! .lock                held (flock) by the one run that writes
//! ```

use crate::cell::{CELL_FORMAT, CellRecord};
use crate::evidence::TensorEvidence;
use crate::format::{FormatVersion, VersionError, read_versioned, stated};
use crate::reason::FaultFound;
use crate::run::{RECORD_FORMAT, RunRecord};
use crate::sample::{Columns, ReferenceSample, Sample};
use atomic::{PutError, put, sync_folder};
use journal::Journal;
use lock::PlanLock;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};
use words::{Advice, Hint};

pub mod atomic;
pub mod journal;
pub mod lock;

/// The version of the folder's layout, stated by `plan.lock.json`. Runs of an older version can be inspected and
/// reported but not resumed: samples of format 1 have two of their columns only as sums.
pub const STORE_FORMAT: FormatVersion = FormatVersion(2);

/// The version of the lines in `samples/` and `faults.jsonl`, stated in the first line. Files of format 1 have no such
/// line.
pub const LINES_FORMAT: FormatVersion = FormatVersion(2);

const LOCK: &str = ".lock";
const PLAN_LOCK: &str = "plan.lock.json";
const RUN: &str = "run.json";

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
    /// There are samples but no journal that says when and how they were measured.
    #[error("{}: is missing or empty, though samples are there", .path.display())]
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
    #[error("{}: holds another run: {difference}", .path.display())]
    OtherRun {
        /// The path of the folder.
        path: PathBuf,
        /// The first thing that differs.
        difference: String,
    },
    /// The folder contains something that is not a run.
    #[error("{}: holds {found:?} and no plan.lock.json, so it is not a run folder", .path.display())]
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
            StoreError::JournalBroken { .. } | StoreError::JournalMissing { .. } => another("restore the file"),
            StoreError::Newer { .. } => Some(Hint::words("use the newer assay")),
            StoreError::Older { .. } => another("look at this one with the commands that only read"),
            StoreError::OtherRun { .. } => another("remove that one, or repeat the run that is there"),
            StoreError::NotARun { .. } => Some(Hint::OtherFolder { or: None }),
            StoreError::Busy { .. } => another("wait for it to end"),
            StoreError::CellDiffers { .. } => another("restore the samples and the cell, one of which has changed"),
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
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Some("make room and run it again: it goes on where it was")
        }
        _ => return None,
    };
    Some(Hint::OtherFolder { or: or.map(Into::into) })
}

/// The measurements of one cell so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellSamples {
    /// What the cell's edits did; `None` until they are applied.
    pub applied: Option<Vec<TensorEvidence>>,
    /// The sample of each window, by the number of the window.
    pub by_chunk: BTreeMap<usize, Sample>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SampleLine {
    Applied(Vec<TensorEvidence>),
    Sample(Sample),
    Reference(ReferenceSample),
}

/// A control that failed during a measurement. It is stored so that a resumed run knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFault {
    /// The index of the model in the plan.
    pub model: usize,
    /// The name of the control.
    pub control: String,
    /// What went wrong.
    pub found: FaultFound,
}

/// An open run folder, locked against other writers until dropped.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    journal: Journal,
    _held: File,
}

/// The lock of the run in `dir`; `None` when a run could begin there. It writes nothing.
///
/// # Errors
/// When the folder contains something else, or a newer store.
pub fn peek(dir: &Path) -> Result<Option<PlanLock>, StoreError> {
    let path = dir.join(PLAN_LOCK);
    match std::fs::read(&path) {
        Ok(bytes) => {
            read_versioned(&bytes, STORE_FORMAT).map(Some).map_err(|source| StoreError::version(&path, source))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let entries = match std::fs::read_dir(dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(StoreError::io("list", dir, error)),
            };
            // A run that was killed before its lock was written leaves dot files only.
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            match names.into_iter().find(|name| !name.starts_with('.')) {
                Some(found) => Err(StoreError::NotARun { path: dir.into(), found }),
                None => Ok(None),
            }
        }
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
}

/// Checks whether a run could be stored in `dir`, which need not exist yet. It leaves nothing behind.
///
/// # Errors
/// When no file can be created in the folder, or in its nearest existing parent.
pub fn check_writable(dir: &Path) -> Result<(), StoreError> {
    let there = dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(there).map(drop).map_err(|source| StoreError::io("write there", dir, source))
}

/// Whether the run in `dir` has ended.
pub fn is_finished(dir: &Path) -> bool {
    dir.join(RUN).is_file()
}

/// The record of a finished run.
///
/// # Errors
/// When the record is not there, a newer program has written it, or it cannot be read.
pub fn read_run(dir: &Path) -> Result<RunRecord, StoreError> {
    read_json(&dir.join(RUN), RECORD_FORMAT)
}

/// The finished cell of that key.
///
/// # Errors
/// When the cell is not there, a newer program has written it, or it cannot be read.
pub fn read_cell(dir: &Path, key: &str) -> Result<CellRecord, StoreError> {
    read_json(&cell_path(dir, key), CELL_FORMAT)
}

/// The measurements of a cell so far. Its file does not change: a line that a crash cut off is ignored.
///
/// # Errors
/// When a newer program has written the file, or a whole line cannot be read.
pub fn read_samples(dir: &Path, key: &str) -> Result<CellSamples, StoreError> {
    let path = samples_path(dir, key);
    cell_samples(&path, read_lines(&path)?.lines)
}

/// The keys of the finished cells, sorted.
///
/// # Errors
/// When the folder cannot be listed.
pub fn finished_cells(dir: &Path) -> Result<Vec<String>, StoreError> {
    let cells = dir.join("cells");
    let entries = std::fs::read_dir(&cells).map_err(|source| StoreError::io("list", &cells, source))?;
    let mut keys: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".json").map(String::from))
        .filter(|key| !key.starts_with('.'))
        .collect();
    keys.sort();
    Ok(keys)
}

impl Store {
    /// Begins or resumes the run of `lock` in `dir`.
    ///
    /// # Errors
    /// When the folder contains another run (then nothing is written), another process writes there, or the disk fails.
    pub fn open(dir: &Path, lock: &PlanLock) -> Result<Store, StoreError> {
        same_run(dir, lock)?;
        let create =
            |folder: &Path| std::fs::create_dir_all(folder).map_err(|source| StoreError::io("create", folder, source));
        create(dir)?;
        let path = dir.join(LOCK);
        let held = OpenOptions::new().create(true).append(true).open(&path);
        let held = held.map_err(|source| StoreError::io("open", &path, source))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { path: dir.into() }),
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path, source)),
        }
        // Another run may have begun here between the first look and the flock.
        if !same_run(dir, lock)? {
            write_json(&dir.join(PLAN_LOCK), lock)?;
        }
        // These folders come after the lock, because a folder that had them without a lock would not be taken for a
        // run.
        create(&dir.join("samples"))?;
        create(&dir.join("cells"))?;
        let path = dir.join("journal.jsonl");
        // The journal's first line is older than the first sample.
        let begun = std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
        if !begun && has_entries(&dir.join("samples"))? {
            return Err(StoreError::JournalMissing { path });
        }
        Ok(Store { dir: dir.into(), journal: Journal::open(&path)?, _held: held })
    }

    /// The path of the run folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of the log of everything that the workers of model `index` print.
    pub fn worker_log(&self, index: usize) -> PathBuf {
        self.dir.join(format!("worker-{index}.stderr"))
    }

    /// Appends a line to the journal.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn journal(&mut self, entry: &impl Serialize) -> Result<(), StoreError> {
        self.journal.append(entry)
    }

    /// The measurements of a cell so far. A line that a crash cut off is removed from the file.
    ///
    /// # Errors
    /// When a whole line cannot be read.
    pub fn samples(&self, key: &str) -> Result<CellSamples, StoreError> {
        let path = self.samples_path(key);
        cell_samples(&path, read_whole_lines(&path)?)
    }

    /// The samples of a reference so far, by the number of the window.
    ///
    /// # Errors
    /// When a whole line cannot be read.
    pub fn reference(&self, key: &str) -> Result<BTreeMap<usize, ReferenceSample>, StoreError> {
        let mut by_chunk = BTreeMap::new();
        let path = self.samples_path(key);
        for line in read_whole_lines(&path)? {
            if let SampleLine::Reference(sample) = line {
                check_columns(&path, sample.chunk, &sample.columns)?;
                by_chunk.entry(sample.chunk).or_insert(sample);
            }
        }
        Ok(by_chunk)
    }

    /// Stores one window of a cell. It is on disk when this returns.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append_sample(&self, sample: &Sample) -> Result<(), StoreError> {
        append_line(&self.samples_path(&sample.cell), &SampleLine::Sample(sample.clone()))
    }

    /// Stores what a cell's edits did.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append_applied(&self, key: &str, tensors: &[TensorEvidence]) -> Result<(), StoreError> {
        append_line(&self.samples_path(key), &SampleLine::Applied(tensors.to_vec()))
    }

    /// Stores one window of a reference.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append_reference(&self, key: &str, sample: &ReferenceSample) -> Result<(), StoreError> {
        append_line(&self.samples_path(key), &SampleLine::Reference(sample.clone()))
    }

    /// Writes a finished cell once. Writing it again must give the same bytes.
    ///
    /// # Errors
    /// When the stored cell differs or is of a newer program, or the disk fails.
    pub fn write_cell(&self, cell: &CellRecord) -> Result<(), StoreError> {
        let path = cell_path(&self.dir, &cell.key);
        match std::fs::read(&path) {
            Ok(there) if there == json_bytes(&path, cell)? => Ok(()),
            Ok(there) => match read_versioned::<CellRecord>(&there, CELL_FORMAT) {
                Err(newer @ VersionError::Newer { .. }) => Err(StoreError::version(&path, newer)),
                _ => Err(StoreError::CellDiffers { path }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => write_json(&path, cell),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Writes the run's record and replaces the one that is there.
    ///
    /// # Errors
    /// When the stored record is of a newer program, or the disk fails.
    pub fn write_run(&self, record: &RunRecord) -> Result<(), StoreError> {
        let path = self.dir.join(RUN);
        let there = std::fs::read(&path).ok().and_then(|there| stated(&there).ok()?);
        there.unwrap_or(RECORD_FORMAT).check(RECORD_FORMAT).map_err(|source| StoreError::version(&path, source))?;
        write_json(&path, record)
    }

    /// Stores a failed control.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append_fault(&self, fault: &StoredFault) -> Result<(), StoreError> {
        append_line(&self.dir.join("faults.jsonl"), fault)
    }

    /// The controls that have failed in this run so far.
    ///
    /// # Errors
    /// When a whole line cannot be read.
    pub fn faults(&self) -> Result<Vec<StoredFault>, StoreError> {
        read_whole_lines(&self.dir.join("faults.jsonl"))
    }

    /// The path of the samples of the cell or reference with that key.
    pub fn samples_path(&self, key: &str) -> PathBuf {
        samples_path(&self.dir, key)
    }
}

fn samples_path(dir: &Path, key: &str) -> PathBuf {
    dir.join("samples").join(format!("{key}.jsonl"))
}

fn cell_path(dir: &Path, key: &str) -> PathBuf {
    dir.join("cells").join(format!("{key}.json"))
}

fn cell_samples(path: &Path, lines: Vec<SampleLine>) -> Result<CellSamples, StoreError> {
    let mut samples = CellSamples::default();
    for line in lines {
        match line {
            SampleLine::Applied(tensors) => samples.applied = samples.applied.or(Some(tensors)),
            SampleLine::Sample(sample) => {
                check_columns(path, sample.chunk, &sample.columns)?;
                samples.by_chunk.entry(sample.chunk).or_insert(sample);
            }
            SampleLine::Reference(_) => {
                let why = "holds a reference among a cell's samples".into();
                return Err(StoreError::Corrupt { path: path.into(), why });
            }
        }
    }
    Ok(samples)
}

/// Refuses columns that no worker measured, by file and window.
fn check_columns(path: &Path, window: usize, columns: &Columns) -> Result<(), StoreError> {
    let corrupt = |what| StoreError::Corrupt { path: path.into(), why: format!("window {window}: {what}") };
    columns.check().map_err(corrupt)
}

fn has_entries(folder: &Path) -> Result<bool, StoreError> {
    let mut entries = std::fs::read_dir(folder).map_err(|source| StoreError::io("list", folder, source))?;
    Ok(entries.next().is_some())
}

/// Whether the folder already contains this run.
fn same_run(dir: &Path, lock: &PlanLock) -> Result<bool, StoreError> {
    match peek(dir)? {
        None => Ok(false),
        Some(there) if there.format < STORE_FORMAT => {
            Err(StoreError::Older { path: dir.join(PLAN_LOCK), found: there.format, wanted: STORE_FORMAT })
        }
        Some(there) => match there.difference(lock) {
            None => Ok(true),
            Some(difference) => Err(StoreError::OtherRun { path: dir.into(), difference }),
        },
    }
}

fn read_json<T: DeserializeOwned>(path: &Path, known: FormatVersion) -> Result<T, StoreError> {
    let bytes = std::fs::read(path).map_err(|source| StoreError::io("read", path, source))?;
    read_versioned(&bytes, known).map_err(|source| StoreError::version(path, source))
}

fn json_bytes(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| StoreError::json(path, source))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    Ok(put(path, &json_bytes(path, value)?)?)
}

fn append_line(path: &Path, line: &impl Serialize) -> Result<(), StoreError> {
    let io = |source| StoreError::io("write", path, source);
    let mut text = serde_json::to_vec(line).map_err(|source| StoreError::json(path, source))?;
    text.push(b'\n');
    let is_new = !std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
    if is_new {
        // The first line states the version of the lines.
        text = [format!("{{\"format\":{LINES_FORMAT}}}\n").into_bytes(), text].concat();
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    file.write_all(&text).and_then(|()| file.sync_data()).map_err(io)?;
    if is_new { Ok(sync_folder(path.parent().unwrap_or(Path::new(".")))?) } else { Ok(()) }
}

/// The lines of a file that may not exist. What follows the last newline is cut off, because a crash tore it.
fn read_whole_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, StoreError> {
    let found = read_lines(path)?;
    if found.whole < found.bytes {
        let cut = OpenOptions::new().write(true).open(path).and_then(|file| {
            file.set_len(found.whole)?;
            file.sync_data()
        });
        cut.map_err(|source| StoreError::io("truncate", path, source))?;
    }
    Ok(found.lines)
}

/// The contents of a file of lines.
struct Lines<T> {
    lines: Vec<T>,
    /// The number of bytes up to the end of the last whole line.
    whole: u64,
    /// The number of bytes of the file.
    bytes: u64,
}

/// The whole lines of a file that may not exist.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>, StoreError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut lines = Vec::new();
    for (number, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        if number == 0 {
            let format = stated(line).ok().flatten();
            let found = format.unwrap_or(FormatVersion::FIRST);
            found.check(LINES_FORMAT).map_err(|source| StoreError::version(path, source))?;
            if found < LINES_FORMAT {
                return Err(StoreError::Older { path: path.into(), found, wanted: LINES_FORMAT });
            }
            continue;
        }
        let line = serde_json::from_slice(line)
            .map_err(|error| StoreError::Corrupt { path: path.into(), why: format!("line {}: {error}", number + 1) })?;
        lines.push(line);
    }
    Ok(Lines { lines, whole: whole as u64, bytes: bytes.len() as u64 })
}
