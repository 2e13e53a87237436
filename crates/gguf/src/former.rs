//! What becomes of the files that a killed program set aside while it replaced a split model.
//!
//! Names are given from the last shard to the first, and each former shard is set aside before. So a kill leaves one of two
//! states, and nothing that was whole before is lost:
//!
//! ```text
//! all new names given     1' 2' 3'   aside: 2 3      the set is whole: what is aside is removed
//! some names given        1  2' 3'   aside: 2 3      the set is a mixture: what is aside goes back over 2' and 3'
//! ```

use crate::file::GgufFile;
use crate::hidden::{NAMING, folder_of, former_mark, remove, set_aside};
use crate::parse::{self, Strictness};
use crate::source::Source;
use crate::split::{Split, split_path};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What became of a file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Former {
    /// The file is removed, because all files that replaced its set are there.
    Removed(PathBuf),
    /// The file has its own name again, which is given here, because not all files that were to replace its set are there.
    PutBack(PathBuf),
    /// The file is where it was, because it is not known whether it can be spared.
    Kept(PathBuf),
}

/// A shard that was set aside, with its lock, by which no other process takes it.
struct Aside {
    path: PathBuf,
    split: Split,
    _lock: File,
}

/// Settles the files that were set aside for the split model whose path would be `out` if it were one file, and lists the
/// others in its folder. Those of a living program are left alone.
pub fn settle_former(out: &Path) -> Vec<Former> {
    let _naming = NAMING.lock();
    let mut settled = Vec::new();
    let mut sets: BTreeMap<u64, Vec<Aside>> = BTreeMap::new();
    for path in set_aside(folder_of(out)) {
        // Opening a FIFO would wait.
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_file());
        let lock = is_file.then(|| File::open(&path).ok()).flatten();
        if lock.as_ref().is_some_and(|file| file.try_lock().is_err()) {
            continue;
        }
        match (lock, split_of(&path).filter(|split| was_at(&path, &place(out, split)))) {
            (Some(lock), Some(split)) => {
                sets.entry(split.count).or_default().push(Aside { path, split, _lock: lock });
            }
            _ => settled.push(Former::Kept(path)),
        }
    }
    for (count, set) in sets {
        if GgufFile::open(split_path(out, 0, count as usize)).is_ok() {
            settled.extend(set.into_iter().map(|aside| {
                remove(&aside.path);
                Former::Removed(aside.path)
            }));
        } else if is_whole(out, count, &set) {
            settled.extend(set.into_iter().rev().map(|aside| put_back(out, aside)));
            // The names are right whether or not the disk has them yet.
            let _ = File::open(folder_of(out)).and_then(|folder| folder.sync_all());
        } else {
            settled.extend(set.into_iter().map(|aside| Former::Kept(aside.path)));
        }
    }
    settled
}

/// The path that a shard had before it was set aside.
fn place(out: &Path, split: &Split) -> PathBuf {
    split_path(out, split.no as usize, split.count as usize)
}

/// Whether the name of a file that was set aside says that it was at `place`.
fn was_at(path: &Path, place: &Path) -> bool {
    path.to_string_lossy().ends_with(&format!("-{}", former_mark(place)))
}

/// What a file says about the split that it is part of. `None` unless it is a sound shard.
fn split_of(path: &Path) -> Option<Split> {
    let source = Source::of(File::open(path).ok()?).ok()?;
    Split::declared(&parse::header(&source, Strictness::ENGINE).ok()?).ok()?
}

/// Whether the shards that are aside and those that still have their names are one whole set.
fn is_whole(out: &Path, count: u64, set: &[Aside]) -> bool {
    let mut shards = Vec::new();
    for no in 0..count {
        let mut aside = set.iter().filter(|aside| aside.split.no == no);
        let shard = match (aside.next(), aside.next()) {
            (Some(aside), None) => Some(aside.split.clone()),
            (None, _) => split_of(&split_path(out, no as usize, count as usize)),
            // Of two that were set aside for one name, it is not known which is wanted.
            (Some(_), Some(_)) => None,
        };
        shards.extend(shard);
    }
    let all = shards.len() as u64 == count;
    all && (0..).zip(&shards).all(|(no, shard)| shards[0].check(no, Some(shard.clone())).is_ok())
}

/// Gives a file that was set aside its own name again.
fn put_back(out: &Path, aside: Aside) -> Former {
    let place = place(out, &aside.split);
    match std::fs::rename(&aside.path, &place) {
        Ok(()) => {
            // The system does not rename two links of one file into each other.
            remove(&aside.path);
            Former::PutBack(place)
        }
        Err(_) => Former::Kept(aside.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hidden::former_name;

    /// A shard of three without tensors, by a writer with this identity.
    fn shard(no: u16, identity: &str) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let key = |key: &str, ty: u32, value: &[u8]| [&text(key)[..], &ty.to_le_bytes(), value].concat();
        [
            &b"GGUF"[..],
            &3u32.to_le_bytes(),
            &0u64.to_le_bytes(),
            &4u64.to_le_bytes(),
            &key("split.no", 2, &no.to_le_bytes()),
            &key("split.count", 2, &3u16.to_le_bytes()),
            &key("split.tensors.count", 5, &0i32.to_le_bytes()),
            &key("assay.split.identity", 8, &text(identity)),
        ]
        .concat()
    }

    /// A folder in which the three shards are by these writers, and the shards with these numbers by `old` are aside.
    fn killed(writers: [&str; 3], aside: &[usize]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("m.gguf");
        for (no, writer) in writers.iter().enumerate().filter(|(_, writer)| !writer.is_empty()) {
            std::fs::write(split_path(&out, no, 3), shard(no as u16, writer)).expect("written");
        }
        for &no in aside {
            std::fs::write(former_name(&split_path(&out, no, 3)), shard(no as u16, "old")).expect("written");
        }
        (folder, out)
    }

    fn are_by(out: &Path, writer: &str) -> bool {
        (0..3).all(|no| std::fs::read(split_path(out, no, 3)).is_ok_and(|bytes| bytes == shard(no as u16, writer)))
    }

    #[test]
    fn former_shards_are_removed_where_the_new_set_is_whole() {
        for aside in [&[0, 1, 2][..], &[1]] {
            let (folder, out) = killed(["new"; 3], aside);
            let settled = settle_former(&out);
            assert!(
                settled.len() == aside.len() && settled.iter().all(|s| matches!(s, Former::Removed(_))),
                "{settled:?}"
            );
            assert!(are_by(&out, "new") && set_aside(folder.path()).is_empty());
        }
    }

    #[test]
    fn former_shards_go_back_where_the_new_set_is_not_whole() {
        for (writers, aside) in
            [(["old", "old", "new"], &[2][..]), (["old", "new", "new"], &[1, 2]), (["old", "", "new"], &[1, 2])]
        {
            let (folder, out) = killed(writers, aside);
            let settled = settle_former(&out);
            assert!(
                settled.len() == aside.len() && settled.iter().all(|s| matches!(s, Former::PutBack(_))),
                "{settled:?}"
            );
            assert!(are_by(&out, "old") && set_aside(folder.path()).is_empty());
        }
    }

    #[test]
    fn what_gives_no_whole_set_is_kept_and_so_is_what_was_elsewhere_or_is_in_use() {
        // One of the former shards is gone.
        let (_folder, out) = killed(["", "new", "new"], &[1, 2]);
        assert!(settle_former(&out).iter().all(|settled| matches!(settled, Former::Kept(_))));
        // A shard of another model, whose set is not looked at, and a name that an earlier version gave.
        let (folder, out) = killed(["new"; 3], &[]);
        let other = former_name(&split_path(&folder.path().join("other.gguf"), 1, 3));
        std::fs::write(&other, shard(1, "old")).expect("written");
        let early = folder.path().join(".assay-former-1-0");
        std::fs::write(&early, shard(1, "old")).expect("written");
        let kept = settle_former(&out);
        assert!(
            kept.len() == 2 && [&other, &early].iter().all(|path| kept.contains(&Former::Kept(path.to_path_buf())))
        );
        // A living program holds what it set aside.
        let (folder, out) = killed(["new"; 3], &[2]);
        let held = File::open(&set_aside(folder.path())[0]).expect("a file");
        held.lock().expect("locked");
        assert!(settle_former(&out).is_empty() && set_aside(folder.path()).len() == 1);
    }
}
