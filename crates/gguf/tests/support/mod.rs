//! A writer of GGUF bytes for tests: it writes what it is told, right or wrong.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;
use words::{Advice, Hint};

/// An error, and its advice in a line of its own.
pub fn told(error: &(impl std::fmt::Display + Advice)) -> String {
    match error.hint() {
        Some(Hint::Words(words)) => format!("{error}\nhint: {words}"),
        Some(hint) => format!("{error}\nhint: {hint:?}"),
        None => error.to_string(),
    }
}

/// Bytes of a header under construction. Counts are written as given, not counted.
#[derive(Clone)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// Magic, version 3 and the two counts.
    pub fn header(n_tensors: u64, n_kv: u64) -> Self {
        Bytes(b"GGUF".to_vec()).u32(3).u64(n_tensors).u64(n_kv)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u8(self, v: u8) -> Self {
        self.raw(&[v])
    }

    pub fn u32(self, v: u32) -> Self {
        self.raw(&v.to_le_bytes())
    }

    pub fn u64(self, v: u64) -> Self {
        self.raw(&v.to_le_bytes())
    }

    pub fn string(self, s: impl AsRef<[u8]>) -> Self {
        self.u64(s.as_ref().len() as u64).raw(s.as_ref())
    }

    /// A key and the type of its value.
    pub fn key(self, key: impl AsRef<[u8]>, ty: u32) -> Self {
        self.string(key).u32(ty)
    }

    pub fn kv_u32(self, key: &str, v: u32) -> Self {
        self.key(key, U32).u32(v)
    }

    pub fn tensor(self, name: impl AsRef<[u8]>, ne: &[u64], ty: u32, offset: u64) -> Self {
        let with_dims = ne.iter().fold(self.string(name).u32(ne.len() as u32), |b, &extent| b.u64(extent));
        with_dims.u32(ty).u64(offset)
    }

    /// Zeros up to a multiple of `alignment`, then `n` bytes of data.
    pub fn data(mut self, alignment: usize, n: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        let start = self.0.len();
        self.0.extend((0..n).map(|i| (i % 251) as u8));
        assert_eq!(self.0.len(), start + n);
        self
    }
}

pub const U8: u32 = 0;
pub const U32: u32 = 4;
pub const F32_VALUE: u32 = 6;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;

pub const F32: u32 = 0;
pub const Q4_0: u32 = 2;
pub const Q4_K: u32 = 12;

/// A folder with one file of these bytes. Both are removed when the folder is dropped.
pub fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a temporary file");
    (folder, path)
}
