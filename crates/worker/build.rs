//! Hashes the sources that messages between a program and its workers are made of, so that two builds with other messages
//! can tell that they are not the same.

use std::path::{Path, PathBuf};

/// The rooms whose types cross the pipe.
const ROOMS: [&str; 5] = ["worker", "record", "eval", "files", "words"];

fn main() {
    let rooms = Path::new("..");
    let mut files: Vec<PathBuf> = Vec::new();
    for room in ROOMS {
        let sources = rooms.join(room).join("src");
        println!("cargo::rerun-if-changed={}", sources.display());
        collect(&sources, &mut files);
    }
    files.sort();
    // FNV-1a: equal sources give equal numbers, on every machine and with every compiler.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in files {
        for byte in std::fs::read(file).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=ASSAY_SOURCES={hash:016x}");
}

/// The files under a folder. A folder that is not there has none.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
