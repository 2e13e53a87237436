//! The text to measure on: the project's own text or a file.

use crate::failure::Failure;
use lab::Corpus;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use words::{count, escape_terminal, plural};

/// The built-in text. It was written for this project, so it can be shipped and no model has been trained on it.
const BUILT_IN: &str = include_str!("../assets/demo.txt");

/// The longest text that is read, in bytes. The test part of WikiText-2 has 1.3 MB.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Reads the text from the file, or takes the built-in text when no file is named.
pub fn read(path: Option<&Path>) -> Result<Corpus, Failure> {
    match path {
        None => Ok(Corpus::new("built-in", BUILT_IN)),
        Some(path) => read_file(path, "--text"),
    }
}

/// Reads the text of a file that was given with this option.
pub fn read_file(path: &Path, option: &str) -> Result<Corpus, Failure> {
    let shown = escape_terminal(path.as_os_str().as_encoded_bytes());
    let text = text_of(path, &shown, option)?;
    if text.trim().is_empty() {
        let hint = match option {
            "--text" => "leave --text out to use the built-in text".to_owned(),
            _ => format!("check the path given with {option}"),
        };
        return Err(Failure::input(format!("{shown}: is empty or blank, wanted text"), hint));
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Corpus::new(name, text))
}

fn text_of(path: &Path, shown: &str, option: &str) -> Result<String, Failure> {
    let cannot_be = |done: &str, error: io::Error| {
        Failure::input(format!("{shown}: cannot be {done}: {error}"), format!("check the path given with {option}"))
    };
    // The path is examined before it is opened, because opening a FIFO would wait for ever.
    let metadata = std::fs::metadata(path).map_err(|error| cannot_be("opened", error))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "directory" } else { "FIFO, device or socket" };
        let why = format!("{shown}: is a {found}, wanted a text file");
        return Err(Failure::input(why, "save the text to a file first"));
    }
    if metadata.len() > MAX_TEXT_BYTES {
        let why = format!("{shown}: has {}, wanted at most {}", plural(metadata.len(), "byte"), count(MAX_TEXT_BYTES));
        return Err(Failure::input(why, "cut the text shorter"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot_be("opened", error))?;
    file.take(MAX_TEXT_BYTES).read_to_end(&mut bytes).map_err(|error| cannot_be("read", error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let found = escape_terminal(&error.as_bytes()[at..=at]);
        let why = format!("{shown}: byte {} is {found}, wanted UTF-8 text", count(at as u64));
        Failure::input(why, "convert the text, for example with iconv")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_text_is_long_enough_for_the_default_windows() {
        let corpus = read(None).expect("it is part of the program");
        // A token of English text has about four bytes.
        assert!(corpus.text.len() > 16 * 512 * 4, "{} bytes", corpus.text.len());
        assert_eq!(corpus.name, "built-in");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named_by_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("latin1.txt");
        std::fs::write(&path, b"caf\xe9 au lait").expect("a file");
        let failure = read(Some(&path)).expect_err("not UTF-8");
        let said = failure.render();
        assert!(said.contains("latin1.txt: byte 3 is \\xe9, wanted UTF-8 text\nhint: "), "{said}");
    }
}
