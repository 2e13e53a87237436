//! Faults in files, folders and keys.

use crate::{Fault, FaultPlace, Parts};
use gguf::GgufFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const fn fault(name: &'static str, place: FaultPlace, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place, plant }
}

/// Plants a change of a tensor's bytes in a written file; `change` is also told the number of bytes in a row.
fn in_file(parts: &mut Parts, tensor: &'static str, change: fn(&mut [u8], usize)) {
    parts.written = Arc::new(move |path| {
        let Ok(file) = GgufFile::open(path) else { return };
        let Some(found) = file.tensors().iter().find(|t| t.name.starts_with("blk.1.") && t.name.contains(tensor))
        else {
            return;
        };
        let (Ok(mut bytes), Ok(mut all)) = (file.read_tensor(found), std::fs::read(path)) else { return };
        let at = all.windows(bytes.len()).position(|window| window == bytes);
        change(&mut bytes, 4 * found.n_per_row() as usize);
        if let Some(at) = at {
            all[at..at + bytes.len()].copy_from_slice(&bytes);
            // A fault that cannot be planted goes uncaught, and the verdict says so.
            drop(std::fs::write(path, all));
        }
    });
}

/// Plants a change of the first file in a subfolder of the run folder whose text has `what` in it.
fn in_run(parts: &mut Parts, folder: &'static str, what: &'static str, change: fn(&str) -> String) {
    parts.folder = Arc::new(move |dir| {
        if let Some(path) = files(&dir.join(folder)).into_iter().find(|path| text(path).contains(what)) {
            drop(std::fs::write(&path, change(&text(&path))));
        }
    });
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

pub(super) const FAULTS: &[Fault] = &[
    fault("wrong tensor read from the file", FaultPlace::Weights, |parts| {
        parts.read_tensor = Arc::new(|file, tensor| {
            let same =
                |other: &&gguf::TensorInfo| other.name != tensor.name && other.ty == tensor.ty && other.ne == tensor.ne;
            file.read_tensor(file.tensors().iter().find(same).unwrap_or(tensor))
        });
    }),
    fault("read one block late", FaultPlace::Weights, |parts| {
        parts.read_tensor = Arc::new(|file, tensor| {
            let mut bytes = file.read_tensor(tensor)?;
            let block = (tensor.ty.type_size() as usize).min(bytes.len());
            bytes.rotate_left(block);
            Ok(bytes)
        });
    }),
    fault("one value of a matrix written wrongly", FaultPlace::WrittenFile, |parts| {
        in_file(parts, "attn_q.", |bytes, _| bytes[3] ^= 0x80);
    }),
    fault("rows of a matrix written one late", FaultPlace::WrittenFile, |parts| {
        in_file(parts, "attn_q.", |bytes, row| bytes.rotate_right(row));
    }),
    fault("a norm written as zeros", FaultPlace::WrittenFile, |parts| {
        in_file(parts, "ffn_norm.", |bytes, _| bytes.fill(0))
    }),
    fault("a sample changed in the run folder", FaultPlace::Store, |parts| {
        in_run(parts, "samples", "\"kld\":{\"f64\":[0.", |text| {
            text.replacen("\"kld\":{\"f64\":[0.", "\"kld\":{\"f64\":[1.", 1)
        });
    }),
    fault("a finished cell changed in the run folder", FaultPlace::Store, |parts| {
        in_run(parts, "cells", "\"same_top\"", |text| text.replacen("\"n_tokens\": ", "\"n_tokens\": 1", 1));
    }),
    fault("a cell under another's key", FaultPlace::Store, |parts| {
        parts.folder = Arc::new(|dir| {
            let cells = files(&dir.join("cells"));
            if let [first, .., last] = cells.as_slice() {
                drop(std::fs::copy(first, last));
            }
        });
    }),
    fault("a line of the journal taken out", FaultPlace::Store, |parts| {
        parts.folder = Arc::new(|dir| {
            let path = dir.join("journal.jsonl");
            let lines: Vec<String> = text(&path).lines().map(str::to_owned).collect();
            let kept = lines.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, line)| format!("{line}\n"));
            drop(std::fs::write(&path, kept.collect::<String>()));
        });
    }),
    fault("a reference changed in the run folder", FaultPlace::Store, |parts| {
        in_run(parts, "samples", "{\"reference\"", |text| {
            text.replacen("\"nll\":{\"f64\":[", "\"nll\":{\"f64\":[1", 1)
        });
    }),
    fault("a key that ignores the scheme", FaultPlace::Keys, |parts| {
        parts.key = Arc::new(|model, base, edits, chunks| {
            let mut edits = edits.to_vec();
            edits.iter_mut().for_each(|edit| edit.scheme.clear());
            model.of_cell(base, &edits, chunks)
        });
    }),
    fault("a key that ignores the text", FaultPlace::Keys, |parts| {
        parts.key = Arc::new(|model, base, edits, chunks| {
            lab::plan::cells::ModelKey { chunk_blake3: &[], ..*model }.of_cell(base, edits, chunks)
        });
    }),
    fault("a key that ignores the reference", FaultPlace::Keys, |parts| {
        parts.key = Arc::new(|model, base, edits, chunks| {
            let base = record::Base { carried: Vec::new(), ..base.clone() };
            model.of_cell(&base, edits, chunks)
        });
    }),
    fault("a key that ignores the model file", FaultPlace::Keys, |parts| {
        parts.key = Arc::new(|model, base, edits, chunks| {
            lab::plan::cells::ModelKey { file_blake3: "", ..*model }.of_cell(base, edits, chunks)
        });
    }),
];
