//! `journal.jsonl`: every decision with its time and host. The hash of each line covers that of the line before.
//!
//! ```text
//! {"format":2,"hash":"<blake3 of body, hex>","body":{"seq":7,"prev":"<hash of line 6>","time_unix_s":…,"host":"…","entry":{…}}}
//! ```
//!
//! A crash can cut off only the last line, which is then dropped. A changed line breaks the chain.

use super::StoreError;
use crate::format::{FormatVersion, stated};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The version of a line. Lines of format 1 do not state it. In format 2, reasons, findings and notes are values instead of
/// sentences.
pub const JOURNAL_FORMAT: FormatVersion = FormatVersion(2);

/// A line as it is in the file. The hash is that of the body's text, byte for byte.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound<'a> {
    #[serde(default = "FormatVersion::first", skip_serializing_if = "FormatVersion::is_first")]
    format: FormatVersion,
    hash: &'a str,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// The number of the line, counted from 0.
    pub seq: u64,
    /// The hash of the line before; for the first line, the hash of an empty text.
    pub prev: String,
    /// The time of the entry, in seconds since 1970.
    pub time_unix_s: u64,
    /// The name of the host that wrote the line.
    pub host: String,
    /// The event that the line records.
    pub entry: serde_json::Value,
}

/// A line that the store writes itself: the contents of a file of the folder, before the file gets its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename = "stored")]
pub(crate) struct Stored {
    /// The path of the file within the run folder.
    pub(crate) file: String,
    /// The blake3 hash of its bytes.
    pub(crate) blake3: String,
}

impl Stored {
    /// The line for a file with these bytes.
    pub(crate) fn of(file: &str, bytes: &[u8]) -> Stored {
        Stored { file: file.into(), blake3: hash(bytes) }
    }
}

impl JournalLine {
    /// What kind of entry the line is, such as `begun`; empty where it does not say so.
    pub fn what(&self) -> &str {
        self.entry.get("what").and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    /// Whether the store wrote the line for itself, so that it is not an event of the run.
    pub fn is_of_store(&self) -> bool {
        self.what() == "stored"
    }
}

/// The hashes that lines of a journal give for a file, in the order of the lines.
pub(crate) fn stored(lines: &[JournalLine], file: &str) -> Vec<String> {
    let found = lines.iter().filter(|line| line.is_of_store());
    let found = found.filter_map(|line| serde_json::from_value::<Stored>(line.entry.clone()).ok());
    found.filter(|stored| stored.file == file).map(|stored| stored.blake3).collect()
}

/// The open journal of a run.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    seq: u64,
    prev: String,
    host: String,
}

impl Journal {
    /// Opens or begins a journal. It checks the chain and cuts off a torn last line.
    pub(crate) fn open(path: &Path) -> Result<Journal, StoreError> {
        let io = |source| StoreError::io("open", path, source);
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(io)?;
        let (lines, whole) = read_lines(path)?;
        file.set_len(whole).map_err(io)?;
        let (seq, prev) = lines.last().map_or((0, hash(b"")), |(hash, line)| (line.seq + 1, hash.clone()));
        Ok(Journal { path: path.into(), file, seq, prev, host: host_name() })
    }

    /// Whether the journal has no line yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.seq == 0
    }

    /// Appends one entry and waits until the disk has it.
    pub(crate) fn append(&mut self, entry: &impl Serialize) -> Result<(), StoreError> {
        let json = |source| StoreError::json(&self.path, source);
        let time_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let line = JournalLine {
            seq: self.seq,
            prev: self.prev.clone(),
            time_unix_s,
            host: self.host.clone(),
            entry: serde_json::to_value(entry).map_err(json)?,
        };
        let body = serde_json::value::to_raw_value(&line).map_err(json)?;
        let hash = hash(body.get().as_bytes());
        let bound = Bound { format: JOURNAL_FORMAT, hash: &hash, body: &body };
        let mut text = serde_json::to_vec(&bound).map_err(json)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| StoreError::io("write", &self.path, source))?;
        self.seq += 1;
        self.prev = hash;
        Ok(())
    }
}

/// Reads a journal and checks its chain.
///
/// # Errors
/// When a line was changed, is missing, or cannot be read.
pub fn read_journal(path: &Path) -> Result<Vec<JournalLine>, StoreError> {
    Ok(read_lines(path)?.0.into_iter().map(|(_, line)| line).collect())
}

/// The lines with their hashes, and the length of the file up to the last whole line in bytes.
fn read_lines(path: &Path) -> Result<(Vec<(String, JournalLine)>, u64), StoreError> {
    let bytes = std::fs::read(path).map_err(|source| StoreError::io("read", path, source))?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut lines: Vec<(String, JournalLine)> = Vec::new();
    for (number, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let broken = |why: &str| StoreError::JournalBroken { path: path.into(), line: number + 1, why: why.into() };
        let version = stated(line).map_err(|_| broken("it is not a journal line"))?.unwrap_or(FormatVersion::FIRST);
        version.check(JOURNAL_FORMAT).map_err(|source| StoreError::version(path, source))?;
        let bound: Bound<'_> = serde_json::from_slice(line).map_err(|_| broken("it is not a journal line"))?;
        let body = bound.body.get();
        if hash(body.as_bytes()) != bound.hash {
            return Err(broken("its hash does not match its text"));
        }
        let line: JournalLine = serde_json::from_str(body).map_err(|_| broken("it is not a journal line"))?;
        let expected = lines.last().map_or((0, hash(b"")), |(hash, line)| (line.seq + 1, hash.clone()));
        if (line.seq, line.prev.as_str()) != (expected.0, expected.1.as_str()) {
            return Err(broken("it does not follow from the line before"));
        }
        lines.push((bound.hash.into(), line));
    }
    Ok((lines, whole as u64))
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map_or_else(|| "unknown".into(), |name| name.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("journal.jsonl");
        for entry in ["first", "second"] {
            Journal::open(&path).expect("opens").append(&entry).expect("writes");
        }
        (dir, path)
    }

    #[test]
    fn a_reopened_journal_goes_on_where_it_ended() {
        let (_dir, path) = written();
        let lines = read_journal(&path).expect("chain holds");
        assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(lines[1].entry, "second");
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_chain_goes_on() {
        let (_dir, path) = written();
        let text = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &text[..text.len() - 5]).expect("writes");
        Journal::open(&path).expect("opens").append(&"third").expect("writes");
        let lines = read_journal(&path).expect("chain holds");
        assert_eq!(lines.iter().map(|line| line.entry.clone()).collect::<Vec<_>>(), ["first", "third"]);
    }

    #[test]
    fn a_changed_or_missing_line_breaks_the_chain() {
        let (_dir, path) = written();
        let text = std::fs::read_to_string(&path).expect("reads");
        std::fs::write(&path, text.replace("first", "fiRst")).expect("writes");
        assert!(read_journal(&path).expect_err("changed").to_string().contains("line 1"));
        let second = text.lines().nth(1).expect("two lines");
        std::fs::write(&path, format!("{second}\n")).expect("writes");
        assert!(read_journal(&path).expect_err("missing").to_string().contains("does not follow"));
    }
}
