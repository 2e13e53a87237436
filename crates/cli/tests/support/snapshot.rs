//! Texts that are compared with a committed file. `UPDATE_SNAPSHOTS=1` writes them anew.

use std::path::{Path, PathBuf};

fn file(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(folder).join(format!("{name}.txt"))
}

/// The texts of a folder, by name: each must be what its file says, and the folder must have no other file.
pub fn compare(folder: &str, texts: &[(String, String)]) {
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    for (name, text) in texts {
        let path = file(folder, name);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        if before == *text {
            continue;
        }
        match update {
            true => {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                std::fs::write(&path, text).expect("written");
            }
            false => stale.push(format!("{}:\n{}", path.display(), difference(&before, text))),
        }
    }
    assert!(stale.is_empty(), "UPDATE_SNAPSHOTS=1 writes these anew\n{}", stale.join("\n"));
    let there = super::names_in(file(folder, "x").parent().expect("a folder"));
    let mut wanted: Vec<String> = texts.iter().map(|(name, _)| format!("{name}.txt")).collect();
    wanted.sort();
    assert_eq!(there, wanted, "one file for each text, and nothing else");
}

/// The lines that only one of the texts has.
fn difference(before: &str, after: &str) -> String {
    let only = |mark: char, lines: &str, other: &str| -> String {
        let has = |line: &&str| !other.lines().any(|there| there == *line);
        lines.lines().filter(has).map(|line| format!("{mark} {line}\n")).collect()
    };
    only('-', before, after) + &only('+', after, before)
}
