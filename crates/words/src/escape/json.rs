//! Escapes JSON that may be shown on a terminal.

use crate::invisible::is_invisible;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// JSON in which everything that could steer a terminal or mislead a reader is a `\u` escape.
///
/// The document stays the same, because such characters occur only in its strings.
///
/// ```
/// assert_eq!(words::escape_json("{\"a\": \"\u{202e}\"}"), "{\"a\": \"\\u202e\"}");
/// ```
pub fn escape_json(json: &str) -> Cow<'_, str> {
    // The blanks between tokens are JSON's own; within a string JSON allows no control character below U+0020.
    let steers = |c: char| (c.is_control() && !c.is_ascii_whitespace()) || is_invisible(c);
    if !json.contains(steers) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if steers(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// A writer that applies [`escape_json`] to JSON and passes it on, a piece at a time.
///
/// A piece may end within a character. The document is complete only when its last character is.
///
/// ```
/// use std::io::Write;
/// let mut out = Vec::new();
/// words::JsonOut::new(&mut out).write_all("\"\u{feff}\"".as_bytes())?;
/// assert_eq!(out, b"\"\\ufeff\"");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct JsonOut<W> {
    out: W,
    /// The first bytes of a character that the next piece completes.
    rest: Vec<u8>,
}

impl<W: Write> JsonOut<W> {
    /// A writer that writes to `out`.
    pub fn new(out: W) -> Self {
        JsonOut { out, rest: Vec::new() }
    }
}

impl<W: Write> Write for JsonOut<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                // The bytes up to there were checked.
                std::str::from_utf8(&self.rest[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let n = whole.len();
        self.out.write_all(escape_json(whole).as_bytes())?;
        self.rest.drain(..n);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invisible::dangerous;

    #[test]
    fn json_keeps_its_meaning_and_steers_nothing() {
        let json = "{\n  \"name\": \"\\u001b\u{9b}31m\u{202e}\u{e0001}\u{7f} größer\"\n}\n";
        let safe = "{\n  \"name\": \"\\u001b\\u009b31m\\u202e\\udb40\\udc01\\u007f größer\"\n}\n";
        assert_eq!(escape_json(json), safe);
        assert!(matches!(escape_json("{\"a\": 1}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_document_reads_back_as_it_was_with_every_dangerous_character_in_it() {
        let text: String = dangerous().collect();
        let json = serde_json::to_string(&text).expect("a string is JSON");
        let back: String = serde_json::from_str(&escape_json(&json)).expect("still JSON");
        assert_eq!(back, text);
    }

    #[test]
    fn pieces_may_end_anywhere() {
        let json = "\"größer \u{e0001}\u{202e} 😀\"".as_bytes();
        let whole = escape_json(std::str::from_utf8(json).expect("text")).into_owned();
        for size in 1..json.len() {
            let mut out = Vec::new();
            let mut through = JsonOut::new(&mut out);
            for piece in json.chunks(size) {
                through.write_all(piece).expect("memory takes all");
            }
            assert_eq!(String::from_utf8(out).expect("text"), whole, "pieces of {size}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        let error = JsonOut::new(Vec::new()).write_all(b"\"\xff\"").expect_err("no text");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
