//! Models in several files: opened from any of them, and checked against each other.

mod support;

use gguf::{GgufFile, GgufProblem, Value};
use std::path::{Path, PathBuf};
use support::*;

const U16: u32 = 2;
const I32: u32 = 5;

/// What a shard says about itself, right or wrong.
#[derive(Clone)]
struct Shard {
    no: u16,
    count: u16,
    n_tensors: u32,
    /// The identity of the writing, where the writer states one.
    identity: Option<&'static str>,
    metadata: Vec<(&'static str, u32)>,
    tensors: Vec<&'static str>,
}

impl Shard {
    fn bytes(&self) -> Bytes {
        let n_keys = 3 + self.metadata.len() + usize::from(self.identity.is_some());
        let header = Bytes::header(self.tensors.len() as u64, n_keys as u64);
        let header = self.metadata.iter().fold(header, |b, (key, value)| b.kv_u32(key, *value));
        let header = header.key("split.no", U16).raw(&self.no.to_le_bytes());
        let header = header.key("split.count", U16).raw(&self.count.to_le_bytes());
        let header = header.key("split.tensors.count", I32).u32(self.n_tensors);
        let header = match self.identity {
            Some(identity) => header.key("assay.split.identity", STRING).string(identity),
            None => header,
        };
        let infos = (0..).zip(&self.tensors).fold(header, |b, (i, name)| b.tensor(name, &[8], F32, 32 * i));
        (0..self.tensors.len()).fold(infos, |b, _| b.data(32, 32))
    }
}

/// Three shards that belong together.
fn shards() -> Vec<Shard> {
    let shard = |no, tensors: &[&'static str]| Shard {
        no,
        count: 3,
        n_tensors: 4,
        identity: None,
        metadata: if no == 0 { vec![("layers", 2), ("heads", 4)] } else { Vec::new() },
        tensors: tensors.to_vec(),
    };
    vec![shard(0, &["a"]), shard(1, &["b", "c"]), shard(2, &["d"])]
}

fn path(folder: &Path, no: usize) -> PathBuf {
    folder.join(format!("model-{:05}-of-00003.gguf", no + 1))
}

fn write(shards: &[Shard]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (no, shard) in shards.iter().enumerate() {
        std::fs::write(path(folder.path(), no), shard.bytes().0).expect("a file");
    }
    folder
}

#[test]
fn a_split_model_opens_from_any_shard_and_looks_like_one_file() {
    let folder = write(&shards());
    for no in 0..3 {
        let model = GgufFile::open(path(folder.path(), no)).expect("a sound split");
        let names: Vec<(&str, usize)> = model.tensors().iter().map(|t| (t.name.as_str(), t.shard)).collect();
        assert_eq!(names, [("a", 0), ("b", 1), ("c", 1), ("d", 2)]);
        assert_eq!(model.path(), path(folder.path(), 0));
        assert_eq!(model.shards().len(), 3);
        assert_eq!(model.get("heads"), Some(&Value::U32(4)));
        for tensor in model.tensors() {
            assert_eq!(model.read_tensor(tensor).expect("its bytes"), (0..32).collect::<Vec<u8>>(), "{}", tensor.name);
        }
    }
}

#[test]
fn one_file_that_says_it_is_the_only_shard_is_a_model() {
    let only = Shard { no: 0, count: 1, n_tensors: 1, identity: None, metadata: Vec::new(), tensors: vec!["a"] };
    let (_folder, path) = file(&only.bytes().0);
    assert_eq!(GgufFile::open(path).expect("one file").shards().len(), 1);
}

#[test]
fn shards_that_contradict_each_other_are_refused_by_name() {
    type Damage = fn(&mut Vec<Shard>);
    let cases: [(&str, Damage, usize, &str); 9] = [
        ("number beyond the count", |s| s[1].no = 3, 1, "\"split.no\": found 3"),
        ("two with one number", |s| s[1].no = 2, 1, "\"split.no\": found 2, wanted 1"),
        ("another count", |s| s[2].count = 4, 2, "\"split.count\": found 4, wanted 3"),
        ("a file on its own among them", |s| s[1].count = 0, 1, "no split of several files"),
        ("another number of tensors", |s| s[2].n_tensors = 5, 2, "\"split.tensors.count\": found 5, wanted 4"),
        ("too few tensors", |s| s[1].tensors = vec!["b"], 0, "found 4, the shards have 3 tensors"),
        ("a tensor twice", |s| s[2].tensors = vec!["a"], 2, "\"a\": found in this file and in shard 1"),
        ("a key with two values", |s| s[1].metadata = vec![("heads", 5)], 1, "\"heads\": found 5, wanted 4"),
        ("a negative number of tensors", |s| s[0].n_tensors = u32::MAX, 0, "found -1 of type i32"),
    ];
    for (case, damage, at_fault, says) in cases {
        let mut shards = shards();
        damage(&mut shards);
        let folder = write(&shards);
        let error = GgufFile::open(path(folder.path(), 0)).expect_err(case);
        let said = told(&error);
        assert!(said.contains(says), "{case}: {said}");
        assert!(said.contains(&format!("model-{:05}-of-00003.gguf: ", at_fault + 1)), "{case}: {said}");
        assert!(said.contains("\nhint: "), "{case}: {said}");
    }
}

#[test]
fn shards_of_two_writings_are_not_taken_for_one_model() {
    let mut shards = shards();
    shards.iter_mut().for_each(|shard| shard.identity = Some("new"));
    let folder = write(&shards);
    assert_eq!(GgufFile::open(path(folder.path(), 1)).expect("one writing").tensors().len(), 4);
    for identity in [Some("old"), None] {
        // A kill between the renames leaves the first shard of the writing before.
        shards[0].identity = identity;
        let folder = write(&shards);
        for opened in 0..3 {
            let said = told(&GgufFile::open(path(folder.path(), opened)).expect_err("a mixture"));
            let at_fault = if opened == 0 { 2 } else { 1 };
            assert!(
                said.contains(&format!("model-{at_fault:05}-of-00003.gguf: belongs to another version of this model")),
                "{said}"
            );
            assert!(said.contains("new") && said.contains(identity.unwrap_or("none")), "{said}");
            assert!(said.contains("\nhint: "), "{said}");
        }
    }
    // llama-gguf-split puts the keys of a merged file into the first shard alone.
    shards.iter_mut().for_each(|shard| shard.identity = None);
    shards[0].identity = Some("merged");
    let folder = write(&shards);
    for opened in 0..3 {
        assert!(GgufFile::open(path(folder.path(), opened)).is_ok());
    }
}

#[test]
fn a_later_shard_may_repeat_metadata_and_bring_some_of_its_own() {
    let mut shards = shards();
    shards[1].metadata = vec![("heads", 4), ("extra", 9)];
    let folder = write(&shards);
    let model = GgufFile::open(path(folder.path(), 2)).expect("no contradiction");
    assert_eq!(model.get("extra"), Some(&Value::U32(9)));
    assert_eq!(model.metadata().iter().filter(|(key, _)| key == "heads").count(), 1);
}

#[test]
fn a_missing_shard_and_a_renamed_one_are_named() {
    let folder = write(&shards());
    std::fs::remove_file(path(folder.path(), 1)).expect("a shard");
    let error = GgufFile::open(path(folder.path(), 2)).expect_err("a shard is missing");
    assert!(matches!(error.problem, GgufProblem::ShardMissing { no: 2, count: 3, .. }), "{error}");
    assert!(error.to_string().contains("model-00002-of-00003.gguf: is shard 2 of 3"), "{error}");

    let renamed = folder.path().join("model.gguf");
    std::fs::rename(path(folder.path(), 0), &renamed).expect("a shard");
    let error = GgufFile::open(&renamed).expect_err("its name says nothing");
    assert!(matches!(error.problem, GgufProblem::SplitName { .. }), "{error}");
    assert!(error.to_string().contains("wanted NAME-00001-of-00003.gguf"), "{error}");
}

#[test]
fn the_tensor_of_one_shard_is_not_read_from_another() {
    let folder = write(&shards());
    let model = GgufFile::open(path(folder.path(), 0)).expect("a sound split");
    let mut foreign = model.tensors()[0].clone();
    foreign.shard = 3;
    assert!(matches!(model.read_tensor(&foreign).expect_err("no such shard").problem, GgufProblem::Range { .. }));
}
