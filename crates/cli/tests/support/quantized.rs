//! What tests of `assay quantize` begin with.

use super::{TinyModel, json, text};
use serde_json::Value;
use std::path::Path;

/// A folder with a small model, `m.gguf`, and a text.
pub fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(600)).expect("a file");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "m.gguf");
    folder
}

/// The bytes of a file.
pub fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("a file")
}

/// The answer of `assay quantize m.gguf OUT`.
pub fn quantize(folder: &Path, out: &str, args: &[&str]) -> Value {
    json(folder, &[&["quantize", "m.gguf", out, "--json"], args].concat())
}
