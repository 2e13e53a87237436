//! Files of lines: `samples/*.jsonl` and `faults.jsonl`. The first line states the version, and the hash of each other line
//! covers its text and all lines before it.
//!
//! ```text
//! {"format":5}
//! {"hash":"<blake3, hex>","body":{"sample":{…}}}
//! ```
//!
//! A crash can cut off only the last line, which is then dropped. A line that was changed, moved or removed is refused.

use super::StoreError;
use super::atomic::sync_folder;
use crate::format::{FormatVersion, stated};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The version of the lines in `samples/` and `faults.jsonl`, stated in the first line. Files of format 1 have no such
/// line. From format 3, each line has a hash that covers the lines before it.
/// From format 4, the sample of each window says what edits of activations did; from format 5, the choices of routers are
/// there by layer.
pub const LINES_FORMAT: FormatVersion = FormatVersion(5);

/// The first version whose lines have hashes.
const HASHED_FORMAT: FormatVersion = FormatVersion(3);

/// The text of a line as it is in the file. `hash` is the blake3 hash of the hash of the line before and of the body's text,
/// byte for byte; before the first line stands the hash of the line that states the version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound<'a> {
    hash: &'a str,
    #[serde(borrow)]
    body: &'a RawValue,
}

fn hash_after(before: &str, body: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes()).update(body.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// Appends a line. It is on disk when this returns.
pub(super) fn append_line(path: &Path, line: &impl Serialize) -> Result<(), StoreError> {
    let (io, json) = (|source| StoreError::io("write", path, source), |source| StoreError::json(path, source));
    let body = serde_json::value::to_raw_value(line).map_err(json)?;
    let head = format!("{{\"format\":{LINES_FORMAT}}}\n");
    let last = last_line(path).map_err(io)?;
    let (mut text, before) = match &last {
        // The first line states the version of the lines.
        None => (head.clone().into_bytes(), hash_after("", &head)),
        Some(last) => match serde_json::from_slice::<Bound<'_>>(last) {
            Ok(bound) => (Vec::new(), bound.hash.to_owned()),
            // The line that states the version is all that there is.
            Err(_) => (Vec::new(), hash_after("", &String::from_utf8_lossy(last))),
        },
    };
    serde_json::to_writer(&mut text, &Bound { hash: &hash_after(&before, body.get()), body: &body }).map_err(json)?;
    text.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    file.write_all(&text).and_then(|()| file.sync_data()).map_err(io)?;
    if last.is_none() { Ok(sync_folder(path.parent().unwrap_or(Path::new(".")))?) } else { Ok(()) }
}

/// The last line of a file of whole lines, with its line feed; `None` where there is none.
fn last_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    let mut piece = 1 << 16;
    loop {
        let from = len.saturating_sub(piece);
        file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        Read::by_ref(&mut file).take(len - from).read_to_end(&mut end)?;
        let inner = end.len().saturating_sub(1);
        match end[..inner].iter().rposition(|&byte| byte == b'\n') {
            Some(at) => return Ok(Some(end.split_off(at + 1))),
            None if from == 0 => return Ok(Some(end).filter(|line| !line.is_empty())),
            None => piece *= 8,
        }
    }
}

/// The lines of a file that may not exist. What follows the last newline is cut off, because a crash tore it.
pub(super) fn read_whole_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, StoreError> {
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
pub(super) struct Lines<T> {
    pub(super) lines: Vec<T>,
    /// The number of bytes up to the end of the last whole line.
    whole: u64,
    /// The number of bytes of the file.
    bytes: u64,
}

/// The version of a file by its first line; `None` where the line is none that a program has written there. Files of
/// format 1 begin with a measurement, which has no hash.
fn format_of(first: &[u8]) -> Option<FormatVersion> {
    let line: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(first).ok()?;
    match line.contains_key("format") || line.contains_key("hash") {
        true => stated(first).ok().flatten(),
        false => Some(FormatVersion::FIRST),
    }
}

/// The whole lines of a file that may not exist.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>, StoreError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut lines = Vec::new();
    let mut before = String::new();
    let mut older = None;
    for (number, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let corrupt =
            |why: String| StoreError::Corrupt { path: path.into(), why: format!("line {}: {why}", number + 1) };
        if number == 0 {
            let Some(found) = format_of(line) else {
                return Err(corrupt("does not state the version of the lines".into()));
            };
            found.check(LINES_FORMAT).map_err(|source| StoreError::version(path, source))?;
            if found < LINES_FORMAT {
                older = Some(StoreError::Older { path: path.into(), found, wanted: LINES_FORMAT });
            }
            if found < HASHED_FORMAT {
                break;
            }
            before = hash_after("", &String::from_utf8_lossy(line));
            continue;
        }
        let bound: Bound<'_> = serde_json::from_slice(line).map_err(|error| corrupt(error.to_string()))?;
        if hash_after(&before, bound.body.get()) != bound.hash {
            return Err(corrupt("its hash is not that of its text and of the lines before it".into()));
        }
        // Another version may say other things, but its lines are still those that were written.
        if older.is_none() {
            lines.push(serde_json::from_str(bound.body.get()).map_err(|error| corrupt(error.to_string()))?);
        }
        bound.hash.clone_into(&mut before);
    }
    if let Some(older) = older {
        return Err(older);
    }
    Ok(Lines { lines, whole: whole as u64, bytes: bytes.len() as u64 })
}
