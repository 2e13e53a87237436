//! The text to measure on, as options name it, and the advice on a file that is not a text.

use crate::advice;
use crate::failure::Failure;
use files::TextFileError;
use lab::Corpus;
use std::path::Path;

/// Reads the text from the file, or takes the built-in text when no file is named.
pub fn read(path: Option<&Path>) -> Result<Corpus, Failure> {
    match path {
        None => Ok(Corpus::built_in()),
        Some(path) => read_file(path, "--text"),
    }
}

/// Reads the text of a file that was given with this option.
pub fn read_file(path: &Path, option: &str) -> Result<Corpus, Failure> {
    Corpus::read(path).map_err(|error| {
        let hint = match &error {
            TextFileError::Blank { .. } if option == "--text" => {
                Some("leave --text out to use the built-in text".to_owned())
            }
            TextFileError::Blank { .. } | TextFileError::Io { .. } => {
                Some(format!("check the path given with {option}"))
            }
            _ => advice::of(&error),
        };
        Failure { hint, ..Failure::from(anyhow::anyhow!("{error}")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_a_text_is_refused_with_advice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("latin1.txt");
        std::fs::write(&path, b"caf\xe9 au lait").expect("a file");
        let said = read(Some(&path)).expect_err("not UTF-8").render();
        assert!(said.contains("latin1.txt: byte 3 is \\xe9, wanted UTF-8 text\nhint: convert the text"), "{said}");
        let said = read_file(&folder.path().join("none"), "--tasks").expect_err("no file").render();
        assert!(said.ends_with("\nhint: check the path given with --tasks\n"), "{said}");
    }
}
