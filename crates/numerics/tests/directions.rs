//! The rooms of this crate use each other in one direction only, the one that `lib.rs` draws.

use std::fs;
use std::path::{Path, PathBuf};

/// Each file or folder of `src` and the others that it may use.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("codec.rs", &[]),
    ("format", &[]),
    ("difference.rs", &["format"]),
    ("scheme", &["format"]),
    ("hold", &["codec", "format", "scheme"]),
    ("reference", &["format", "scheme", "hold"]),
];

/// The Rust files of a room.
fn files(room: &Path) -> Vec<PathBuf> {
    match room.is_dir() {
        true => fs::read_dir(room).unwrap().map(|entry| entry.unwrap().path()).collect(),
        false => vec![room.to_owned()],
    }
}

/// The rooms that a source names by `crate::`, outside its comments and unit tests.
fn used(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let after = lines.flat_map(|line| line.split("crate::").skip(1));
    after.map(|path| path.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn each_room_uses_only_those_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for (room, allowed) in MAY_USE {
        for file in files(&src.join(room)) {
            let own = room.trim_end_matches(".rs");
            for other in used(&fs::read_to_string(&file).unwrap()) {
                let is_allowed = other == own || allowed.contains(&other.as_str());
                assert!(is_allowed, "{} uses crate::{other}; {room} may use {allowed:?}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} uses were found");
    let rooms = files(&src).into_iter().filter(|path| !path.ends_with("lib.rs")).count();
    assert_eq!(rooms, MAY_USE.len(), "a file or folder of src is not in the table");
}
