//! Text files: what a text to measure on must be.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use words::{Advice, Hint, count, escape_terminal, plural};

/// The longest text that is read, in bytes. The test part of WikiText-2 has 1.3 MB.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Why a file is not a text. The field `file` is its path, escaped for a terminal.
#[derive(Debug, thiserror::Error)]
pub enum TextFileError {
    /// The file cannot be opened or read.
    #[error("{file}: cannot be {doing}: {source}")]
    Io {
        /// The path of the file.
        file: String,
        /// What was done with it: `opened` or `read`.
        doing: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The path is of something else than a file.
    #[error("{file}: is a {found}, wanted a text file")]
    NotAFile {
        /// The path of the text, escaped for a terminal.
        file: String,
        /// What is there.
        found: &'static str,
    },
    /// The file is too long.
    #[error("{file}: has {}, wanted at most {}", plural(*.bytes, "byte"), count(MAX_TEXT_BYTES))]
    TooLong {
        /// The path of the file.
        file: String,
        /// The length of the file in bytes.
        bytes: u64,
    },
    /// The file is not UTF-8.
    #[error("{file}: byte {} is {found}, wanted UTF-8 text", count(*.at))]
    NotUtf8 {
        /// The path of the file.
        file: String,
        /// The place of the first byte that is not UTF-8, counted from 0.
        at: u64,
        /// That byte, escaped.
        found: String,
    },
    /// The file has no text.
    #[error("{file}: is empty or blank, wanted text")]
    Blank {
        /// The path of the file.
        file: String,
    },
}

impl Advice for TextFileError {
    fn hint(&self) -> Option<Hint> {
        match self {
            TextFileError::NotAFile { .. } => Some(Hint::words("save the text to a file first")),
            TextFileError::TooLong { .. } => Some(Hint::words("cut the text shorter")),
            TextFileError::NotUtf8 { .. } => Some(Hint::words("convert the text, for example with iconv")),
            // The error says what is wrong with the path, and each front knows how the path was given.
            TextFileError::Io { .. } | TextFileError::Blank { .. } => None,
        }
    }
}

/// The text of a file, which must be UTF-8 and more than blanks.
///
/// # Errors
/// When the file cannot be read, is too long, or has no text.
pub fn read_text(path: &Path) -> Result<String, TextFileError> {
    let file = escape_terminal(path.as_os_str().as_encoded_bytes());
    let io = |doing| {
        let file = file.clone();
        move |source| TextFileError::Io { file, doing, source }
    };
    // The path is examined before it is opened, because opening a FIFO would wait for ever.
    let metadata = std::fs::metadata(path).map_err(io("opened"))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "directory" } else { "FIFO, device or socket" };
        return Err(TextFileError::NotAFile { file, found });
    }
    if metadata.len() > MAX_TEXT_BYTES {
        return Err(TextFileError::TooLong { file, bytes: metadata.len() });
    }
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(io("opened"))?;
    opened.take(MAX_TEXT_BYTES).read_to_end(&mut bytes).map_err(io("read"))?;
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => Err(TextFileError::Blank { file }),
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let found = escape_terminal(&error.as_bytes()[at..=at]);
            Err(TextFileError::NotUtf8 { file, at: at as u64, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_utf8_and_more_than_blanks() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let read = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("a file");
            read_text(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read("good.txt", b"a text\n").expect("a text"), "a text\n");
        let said = read("latin1.txt", b"caf\xe9 au lait").expect_err("not UTF-8");
        assert!(said.ends_with("latin1.txt: byte 3 is \\xe9, wanted UTF-8 text"), "{said}");
        let said = read("blank.txt", b" \n\n").expect_err("blank");
        assert!(said.ends_with("blank.txt: is empty or blank, wanted text"), "{said}");
        assert!(matches!(read_text(folder.path()), Err(TextFileError::NotAFile { found: "directory", .. })));
    }
}
