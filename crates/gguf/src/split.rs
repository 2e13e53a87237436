//! Models in several files: `NAME-00001-of-00003.gguf`, tied together by the `split.*` keys.
//!
//! The first shard has the model's metadata. The other shards have only the keys that tie them together. Tensors are
//! spread over all shards.
//!
//! # Source
//! `llama_split_path`, `llama_split_prefix` (llama.cpp) and the checks of `llama_model_loader` and `gguf-split`.

use crate::encode;
use crate::limits::GENERAL_ALIGNMENT;
use crate::parse::Header;
use crate::problem::GgufProblem;
use crate::value::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use words::{escape_short, escape_terminal};

/// The key of the place of this file among the shards, counted from 0.
pub const SPLIT_NO: &str = "split.no";
/// The key of the number of shards of the model.
pub const SPLIT_COUNT: &str = "split.count";
/// The key of the number of tensors in all shards together.
pub const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";
/// The key of what all shards of one writing have in common and no other shards have. Files that others write lack it.
/// llama.cpp passes over it.
pub const SPLIT_IDENTITY: &str = "assay.split.identity";

/// The largest number of shards, because `split.count` is a u16.
pub const MAX_SHARDS: usize = u16::MAX as usize;

/// What a header says about the split it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// The place of the file among the shards, counted from 0.
    pub(crate) no: u64,
    pub(crate) count: u64,
    pub(crate) n_tensors: u64,
    /// What the shards of one writing have in common. `None` where the writer states nothing of the kind.
    pub(crate) identity: Option<String>,
}

impl Split {
    /// What the header says about its split. `None` for a model in one file.
    pub(crate) fn declared(header: &Header) -> Result<Option<Split>, GgufProblem> {
        let number = |key: &'static str, max: u64| -> Result<Option<u64>, GgufProblem> {
            let Some(value) = header.get(key) else { return Ok(None) };
            match value.as_u64().filter(|&n| n <= max) {
                Some(n) => Ok(Some(n)),
                None => {
                    let found = format!("{} of type {}", value, value.type_name());
                    Err(GgufProblem::SplitKey { key, found, wanted: format!("an integer from 0 to {max}") })
                }
            }
        };
        let Some(count) = number(SPLIT_COUNT, MAX_SHARDS as u64)?.filter(|&count| count > 1) else { return Ok(None) };
        let missing = |key, wanted: String| GgufProblem::SplitKey { key, found: "nothing".into(), wanted };
        let in_split = format!("a shard of the {count} that {SPLIT_COUNT} says there are, from 0");
        let no = number(SPLIT_NO, u64::MAX)?.ok_or_else(|| missing(SPLIT_NO, in_split.clone()))?;
        if no >= count {
            return Err(GgufProblem::SplitKey { key: SPLIT_NO, found: no.to_string(), wanted: in_split });
        }
        let n_tensors = number(SPLIT_TENSORS_COUNT, u64::MAX)?
            .ok_or_else(|| missing(SPLIT_TENSORS_COUNT, "the number of tensors in all shards".into()))?;
        let identity = header.get(SPLIT_IDENTITY).map(|value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        });
        Ok(Some(Split { no, count, n_tensors, identity }))
    }

    /// The paths of all shards, derived from the path of this one.
    pub(crate) fn paths(&self, path: &Path) -> Result<Vec<PathBuf>, GgufProblem> {
        let ending = ending(self.no, self.count);
        let name = path.file_name().unwrap_or_default().as_bytes();
        let Some(prefix) = name.strip_suffix(ending.as_bytes()) else {
            return Err(GgufProblem::SplitName { found: escape_terminal(name), wanted: format!("NAME{ending}") });
        };
        Ok((0..self.count).map(|no| path.with_file_name(named(prefix, no, self.count))).collect())
    }

    /// Checks that `other`, at place `no`, belongs to the same split.
    pub(crate) fn check(&self, no: u64, other: Option<Split>) -> Result<(), GgufProblem> {
        let found = |key, found: u64, wanted: u64| {
            if found == wanted {
                return Ok(());
            }
            let wanted = format!("{wanted}, as the other shards and its name say");
            Err(GgufProblem::SplitKey { key, found: found.to_string(), wanted })
        };
        let other = other.ok_or_else(|| GgufProblem::SplitKey {
            key: SPLIT_COUNT,
            found: "no split of several files".into(),
            wanted: format!("{}, as the other shards say", self.count),
        })?;
        found(SPLIT_COUNT, other.count, self.count)?;
        found(SPLIT_NO, other.no, no)?;
        found(SPLIT_TENSORS_COUNT, other.n_tensors, self.n_tensors)?;
        // Names are given from the last shard to the first, so in a mixture of two writings a later shard has the new
        // identity. llama-gguf-split keeps such a key in the first shard alone.
        let later = if no < self.no { &self.identity } else { &other.identity };
        if other.identity == self.identity || later.is_none() {
            return Ok(());
        }
        let shown = |identity: Option<&String>| identity.map_or("none".into(), escape_short);
        Err(GgufProblem::ShardOfAnother {
            found: shown(other.identity.as_ref()),
            wanted: shown(self.identity.as_ref()),
        })
    }
}

/// Adds the keys that a later shard's metadata has and the first shard's lacks. Where both have a key, the values must
/// be equal, except for keys in which each file describes itself.
pub(crate) fn merge_metadata(first: &mut Header, later: &Header) -> Result<(), GgufProblem> {
    for (key, value) in &later.metadata {
        if is_split_key(key) || key == GENERAL_ALIGNMENT {
            continue;
        }
        match first.get(key) {
            Some(known) if encode::same(known, value) => {}
            Some(known) => {
                let (key, found, wanted) = (escape_short(key), value.to_string(), known.to_string());
                return Err(GgufProblem::ShardDisagrees { what: format!("metadata \"{key}\""), found, wanted });
            }
            None => {
                first.key_index.insert(key.clone(), first.metadata.len());
                first.metadata.push((key.clone(), value.clone()));
            }
        }
    }
    Ok(())
}

/// Whether a key ties a shard to the others.
pub fn is_split_key(key: &str) -> bool {
    [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS_COUNT, SPLIT_IDENTITY].contains(&key)
}

/// The keys that tie shard `no` of `count` to the others, as llama.cpp writes them, and the identity of the writing.
pub fn split_keys(no: usize, count: usize, n_tensors: usize, identity: &str) -> Vec<(String, Value)> {
    vec![
        (SPLIT_NO.into(), Value::U16(no as u16)),
        (SPLIT_COUNT.into(), Value::U16(count as u16)),
        (SPLIT_TENSORS_COUNT.into(), Value::I32(n_tensors as i32)),
        (SPLIT_IDENTITY.into(), Value::String(identity.as_bytes().to_vec())),
    ]
}

/// The path of shard `no` (from 0) of `count`, for a model whose path would be `path` if it were one file.
pub fn split_path(path: &Path, no: usize, count: usize) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    path.with_file_name(named(name.strip_suffix(b".gguf").unwrap_or(name), no as u64, count as u64))
}

/// The end of a shard's name, such as `-00002-of-00003.gguf` for shard 1 of 3.
fn ending(no: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", no + 1)
}

fn named(prefix: &[u8], no: u64, count: u64) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&[prefix, ending(no, count).as_bytes()].concat()))
}
