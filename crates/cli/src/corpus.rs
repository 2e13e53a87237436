//! The text to measure on: the project's own, or a file.

use crate::failure::Failure;
use anyhow::{Context, anyhow};
use lab::Corpus;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use words::escape_terminal;

/// Written for this project, so that it can be shipped with it and no model has been trained on it.
const BUILT_IN: &str = include_str!("../assets/demo.txt");

/// Longest text that is read, bytes. WikiText-2's test part is 1.3 MB.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// The file's text, or the built-in one.
pub fn read(path: Option<&Path>) -> Result<Corpus, Failure> {
    match path {
        None => Ok(Corpus { name: "built-in".into(), text: BUILT_IN.into() }),
        Some(path) => read_file(path, "--text"),
    }
}

/// The text of a file that was given with this option.
pub fn read_file(path: &Path, option: &str) -> Result<Corpus, Failure> {
    let shown = escape_terminal(path.as_os_str().as_encoded_bytes());
    let text = text_of(path, option).with_context(|| shown.clone())?;
    if text.trim().is_empty() {
        let hint = match option {
            "--text" => "leave --text out to use the built-in text".to_owned(),
            _ => format!("check the path given with {option}"),
        };
        return Err(anyhow!("{shown}: is empty or blank, wanted text\nhint: {hint}").into());
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Corpus { name, text })
}

fn text_of(path: &Path, option: &str) -> anyhow::Result<String> {
    // Looked at before it is opened: opening a FIFO would wait for ever.
    let metadata = std::fs::metadata(path);
    let metadata = metadata.with_context(|| format!("cannot be opened\nhint: check the path given with {option}"))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "directory" } else { "FIFO, device or socket" };
        return Err(anyhow!("is a {found}, wanted a text file\nhint: save the text to a file first"));
    }
    if metadata.len() > MAX_TEXT_BYTES {
        let found = metadata.len();
        return Err(anyhow!("has {found} bytes, wanted at most {MAX_TEXT_BYTES}\nhint: cut the text shorter"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TEXT_BYTES).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let found = escape_terminal(&error.as_bytes()[at..=at]);
        anyhow!("byte {at} is {found}, wanted UTF-8 text\nhint: convert the text, for example with iconv")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_text_is_long_enough_for_the_default_windows() {
        let corpus = read(None).expect("it is part of the program");
        // A token of English text is about four bytes.
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
