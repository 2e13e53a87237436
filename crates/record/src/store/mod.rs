//! The run folder. A run writes nowhere else, and only this code writes there.
//!
//! ```text
//! plan.lock.json       the plan with every hash that determines the numbers
//! journal.jsonl        what happened, with time and host
//! samples/<key>.jsonl  one fsynced line per window: the raw data, by column; each line has a hash that covers the lines before
//! cells/<key>.json     immutable, derived from the samples; no time, path, host or speed
//! faults.jsonl         controls that failed during a measurement
//! worker-<n>.stderr    everything model n's workers said
//! run.json             the record that reports are made from
//! .lock                held (flock) by the one run that writes
//! ```
//!
//! Nothing is believed because it is there. Lines of samples are checked by their hashes, a finished cell is derived again
//! from its samples when the run goes on, the cells of `run.json` are compared with their files, and the journal, whose
//! lines are a chain of hashes, has the hashes of `plan.lock.json` and of every `run.json` that was written.

use crate::cell::{CELL_FORMAT, CellRecord};
use crate::evidence::TensorEvidence;
use crate::format::{FormatVersion, VersionError, read_versioned, stated};
use crate::reason::FaultFound;
use crate::run::{RECORD_FORMAT, RunRecord};
use crate::sample::{ReferenceSample, Sample};
use atomic::put;
use journal::{Journal, Stored, read_journal, stored};
use lines::{append_line, read_lines, read_whole_lines};
use lock::PlanLock;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

pub mod atomic;
mod error;
pub mod journal;
pub mod lines;
pub mod lock;

pub use error::StoreError;
pub use lines::LINES_FORMAT;

/// The version of the folder's layout, stated by `plan.lock.json`. Runs of an older version can be inspected and
/// reported but not resumed: samples of format 1 have two of their columns only as sums, nothing in format 2 says
/// whether a line of samples was changed, in format 3 only the first window says what an edit of activations did, and
/// format 4 has the choices of routers as means over the layers.
pub const STORE_FORMAT: FormatVersion = FormatVersion(5);

/// The first version of the folder whose journal has the hashes of `plan.lock.json` and `run.json`.
const HASHED_FORMAT: FormatVersion = FormatVersion(3);

const LOCK: &str = ".lock";
const PLAN_LOCK: &str = "plan.lock.json";
const RUN: &str = "run.json";
const JOURNAL: &str = "journal.jsonl";
/// Files that only a run has. They are written after `plan.lock.json`.
const PARTS: [&str; 3] = [JOURNAL, RUN, "faults.jsonl"];

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
            let lock: PlanLock =
                read_versioned(&bytes, STORE_FORMAT).map_err(|source| StoreError::version(&path, source))?;
            check_written(dir, PLAN_LOCK, &bytes, lock.format)?;
            Ok(Some(lock))
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
            if let Some(found) = PARTS.into_iter().find(|part| names.iter().any(|name| name == part)) {
                return Err(StoreError::LockMissing { path, found });
            }
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

/// The lock of the run in `dir` as [`peek`] reads it, if this program can go on with the run.
///
/// # Errors
/// As [`peek`], and when an older program has begun the run.
pub fn peek_current(dir: &Path) -> Result<Option<PlanLock>, StoreError> {
    match peek(dir)? {
        Some(there) if there.format < STORE_FORMAT => {
            Err(StoreError::Older { path: dir.join(PLAN_LOCK), found: there.format, wanted: STORE_FORMAT })
        }
        there => Ok(there),
    }
}

/// Whether the run in `dir` has ended.
pub fn is_finished(dir: &Path) -> bool {
    dir.join(RUN).is_file()
}

/// The record of a finished run, checked against the journal and the files of the cells.
///
/// # Errors
/// When the record is not there, a newer program has written it, it cannot be read, or it is not what the run wrote.
pub fn read_run(dir: &Path) -> Result<RunRecord, StoreError> {
    let path = dir.join(RUN);
    let bytes = std::fs::read(&path).map_err(|source| StoreError::io("read", &path, source))?;
    let record: RunRecord =
        read_versioned(&bytes, RECORD_FORMAT).map_err(|source| StoreError::version(&path, source))?;
    let format = peek(dir)?.map_or(FormatVersion::FIRST, |lock| lock.format);
    check_written(dir, RUN, &bytes, format)?;
    for judged in record.models.iter().flat_map(|model| &model.cells) {
        // A cell that failed has no file. A cell of two stages has one file, which names the first of them.
        if judged.cell.measured.is_none() {
            continue;
        }
        // The hash of `run.json` is in the journal, so where the two differ it is the file that changed.
        let path = cell_path(dir, &judged.cell.key);
        match read_cell(dir, &judged.cell.key) {
            Ok(cell) if cell.has_same_results(&judged.cell) => {}
            Ok(_) => return Err(StoreError::OtherCell { path }),
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                // Part of an old run may have been kept without all of its cells.
                if format >= HASHED_FORMAT {
                    return Err(StoreError::CellMissing { path });
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(record)
}

/// Refuses a file of the run whose hash the journal does not have, where the folder's format is one that has it.
fn check_written(dir: &Path, file: &str, bytes: &[u8], format: FormatVersion) -> Result<(), StoreError> {
    let journal = dir.join(JOURNAL);
    if !is_begun(&journal) {
        // A run that was killed at its beginning has the lock alone. Formats before this one are read without a journal.
        let samples = dir.join("samples");
        let is_early = file == PLAN_LOCK && !is_finished(dir) && !(samples.exists() && has_entries(&samples)?);
        return match format < HASHED_FORMAT || is_early {
            true => Ok(()),
            false => Err(StoreError::JournalMissing { path: journal }),
        };
    }
    // The journal decides, not what the file says of its own format.
    let written = stored(&read_journal(&journal)?, file);
    let found = blake3::hash(bytes).to_hex();
    let is_old = written.is_empty() && format < HASHED_FORMAT;
    match is_old || written.iter().any(|blake3| *blake3 == found.as_str()) {
        true => Ok(()),
        false => Err(StoreError::NotAsWritten { path: dir.join(file) }),
    }
}

/// Whether the journal has a line. The lock is written before it, and nothing else is.
fn is_begun(journal: &Path) -> bool {
    std::fs::metadata(journal).is_ok_and(|file| file.len() > 0)
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
    cell_samples(&path, key, read_lines(&path)?.lines)
}

/// The keys of the samples that cannot be read or are not as they were written, sorted, each with the error. Whole samples
/// of an older format are left out.
///
/// # Errors
/// When the folder cannot be listed.
pub fn damaged_samples(dir: &Path) -> Result<Vec<(String, StoreError)>, StoreError> {
    let keys = keys_in(&dir.join("samples"), ".jsonl")?;
    let damaged = keys.into_iter().filter_map(|key| {
        let path = samples_path(dir, &key);
        let of_cell = |lines: Vec<SampleLine>| match lines.first() {
            Some(SampleLine::Reference(_)) => Ok(()),
            _ => cell_samples(&path, &key, lines).map(drop),
        };
        let error = read_lines(&path).and_then(|read| of_cell(read.lines)).err()?;
        (!matches!(error, StoreError::Older { .. })).then_some((key, error))
    });
    Ok(damaged.collect())
}

/// Whether the samples of a cell that was measured are gone.
///
/// # Errors
/// When the cell cannot be read.
pub fn lacks_samples(dir: &Path, key: &str) -> Result<bool, StoreError> {
    Ok(!samples_path(dir, key).exists() && read_cell(dir, key)?.lack().is_none())
}

/// The keys of the finished cells, sorted.
///
/// # Errors
/// When the folder cannot be listed.
pub fn finished_cells(dir: &Path) -> Result<Vec<String>, StoreError> {
    keys_in(&dir.join("cells"), ".json")
}

/// The names in a folder that end with `suffix`, without it, sorted.
fn keys_in(folder: &Path, suffix: &str) -> Result<Vec<String>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // A run that was killed at its beginning has no such folder yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder, error)),
    };
    let mut keys: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(suffix).map(String::from))
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
        sweep(dir);
        // These folders come after the lock, because a folder that had them without a lock would not be taken for a
        // run.
        create(&dir.join("samples"))?;
        create(&dir.join("cells"))?;
        let path = dir.join(JOURNAL);
        // The journal's first line is older than the first sample.
        if !is_begun(&path) && has_entries(&dir.join("samples"))? {
            return Err(StoreError::JournalMissing { path });
        }
        let mut journal = Journal::open(&path)?;
        if journal.is_empty() {
            let lock = dir.join(PLAN_LOCK);
            let bytes = std::fs::read(&lock).map_err(|source| StoreError::io("read", &lock, source))?;
            journal.append(&Stored::of(PLAN_LOCK, &bytes))?;
        }
        Ok(Store { dir: dir.into(), journal, _held: held })
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
        cell_samples(&path, key, read_whole_lines(&path)?)
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
                refuse(&path, sample.chunk, sample.columns.check())?;
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
    pub fn write_run(&mut self, record: &RunRecord) -> Result<(), StoreError> {
        let path = self.dir.join(RUN);
        let there = std::fs::read(&path).ok().and_then(|there| stated(&there).ok()?);
        there.unwrap_or(RECORD_FORMAT).check(RECORD_FORMAT).map_err(|source| StoreError::version(&path, source))?;
        let bytes = json_bytes(&path, record)?;
        // The journal has the hash first, so that a kill in between leaves a folder in which everything is as written.
        self.journal.append(&Stored::of(RUN, &bytes))?;
        Ok(put(&path, &bytes)?)
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

fn cell_samples(path: &Path, key: &str, lines: Vec<SampleLine>) -> Result<CellSamples, StoreError> {
    let mut samples = CellSamples::default();
    for line in lines {
        match line {
            SampleLine::Applied(tensors) => samples.applied = samples.applied.or(Some(tensors)),
            SampleLine::Sample(sample) if sample.cell != key => {
                let why = format!("has samples of another cell, {}", sample.cell);
                return Err(StoreError::Corrupt { path: path.into(), why });
            }
            SampleLine::Sample(sample) => {
                refuse(path, sample.chunk, sample.check())?;
                samples.by_chunk.entry(sample.chunk).or_insert(sample);
            }
            SampleLine::Reference(_) => {
                let why = "has a reference among a cell's samples".into();
                return Err(StoreError::Corrupt { path: path.into(), why });
            }
        }
    }
    Ok(samples)
}

/// Names the file and the window of values that no worker measured.
fn refuse(path: &Path, window: usize, checked: Result<(), String>) -> Result<(), StoreError> {
    checked.map_err(|what| StoreError::Corrupt { path: path.into(), why: format!("window {window}: {what}") })
}

fn has_entries(folder: &Path) -> Result<bool, StoreError> {
    let mut entries = std::fs::read_dir(folder).map_err(|source| StoreError::io("list", folder, source))?;
    Ok(entries.next().is_some())
}

/// Removes the files that a killed program did not finish.
fn sweep(dir: &Path) {
    for folder in ["", "cells", "samples", "report", "report/figures"] {
        atomic::sweep(&dir.join(folder));
    }
}

/// Whether the folder already contains this run.
fn same_run(dir: &Path, lock: &PlanLock) -> Result<bool, StoreError> {
    match peek_current(dir)? {
        None => Ok(false),
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
