//! A run folder of format 1 is read as it was written, and one of a newer program is called newer, file by file.
//!
//! `old-run-1` was written by the first assay with `run embedding-4bit c04_tied.gguf --ctx 32 --chunks 2`, on a model of two
//! layers whose embedding and output head are one matrix. Two of its 20 cells are kept, and the reference of one of them.

use record::store::journal::read_journal;
use record::store::lock::PlanLock;
use record::store::{self, Store, StoreError};
use record::{Arm, CellRecord, Format, Role, StageName, Verdict};
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

/// The whole target in the exact arm.
const WHOLE: &str = "afee4ac583240c6eb68c3ed16c5f7a85fef8253b427e08e9f59359f6b51aebd2";
/// The lookup table alone in the native arm.
const LOOKUP: &str = "e5c6bf885b51c79b006dbba950fd3ebb16abc77b71b16c9c158a836c25cd761a";
const REFERENCE: &str = "reference-281f1112350e3167e9e0de9633703e404723beb09334990525f9ff646136203e";

fn old() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old-run-1")
}

/// A copy that may be written to.
fn copied() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for folder in ["", "cells", "samples"] {
        let (from, to) = (old().join(folder), dir.path().join(folder));
        std::fs::create_dir_all(&to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("lists").flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
        }
    }
    dir
}

fn lock(dir: &Path) -> PlanLock {
    store::peek(dir).expect("a lock that is read").expect("a run")
}

#[test]
fn every_file_of_an_old_run_is_read() {
    let dir = old();
    let lock = lock(&dir);
    assert_eq!((lock.format, lock.chunks, lock.identity.id()), (Format(1), 2, "embedding-4bit-a7467f69".into()));
    assert_eq!((lock.engines[0].info.n_layer, lock.engines[0].chunk_blake3.len()), (2, 2));

    let run = store::read_run(&dir).expect("a record that is read");
    assert_eq!((run.format, run.id.as_str(), run.controls_ok), (Format(1), "embedding-4bit-a7467f69", true));
    let model = &run.models[0];
    assert_eq!((model.cells.len(), model.controls.len(), model.precision.len()), (20, 14, 20));
    assert_eq!(
        model.verdicts.iter().map(|of| (of.arm, of.verdict)).collect::<Vec<_>>(),
        [(Arm::Exact, Verdict::Real), (Arm::Native, Verdict::Real)]
    );

    assert_eq!(store::finished_cells(&dir).expect("lists"), [WHOLE, LOOKUP]);
    for (key, stage, arm) in
        [(WHOLE, StageName::of("all_layers"), Arm::Exact), (LOOKUP, StageName::of("each_part"), Arm::Native)]
    {
        let cell = store::read_cell(&dir, key).expect("a cell that is read");
        assert_eq!((cell.key.as_str(), &cell.stage, cell.arm, cell.role), (key, &stage, arm, Role::Variant));
        assert!(model.cells.iter().any(|judged| judged.cell == cell), "the record has the same cell");
        let samples = store::read_samples(&dir, key).expect("samples that are read");
        assert!(samples.applied.is_some_and(|tensors| tensors[0].changed == 16_045));
        assert_eq!(samples.by_chunk.keys().copied().collect::<Vec<_>>(), cell.chunks);
        assert!(samples.by_chunk.values().all(|sample| sample.kld.len() == 15));
    }

    let lines = read_journal(&dir.join("journal.jsonl")).expect("a chain that holds");
    assert_eq!((lines.len(), lines[0].entry["what"].as_str()), (39, Some("begun")));
}

#[test]
fn an_old_run_is_gone_on_with_byte_for_byte() {
    let dir = copied();
    let store = Store::open(dir.path(), &lock(&old())).expect("opens");
    let reference = store.reference(REFERENCE).expect("a reference that is read");
    for (chunk, sample) in store.samples(WHOLE).expect("samples that are read").by_chunk {
        assert_eq!(sample.nll_ref, reference[&chunk].nll);
    }
    // A cell that came out otherwise would be refused.
    for key in [WHOLE, LOOKUP] {
        store.write_cell(&store::read_cell(&old(), key).expect("a cell")).expect("the same bytes");
    }
    store.write_run(&store::read_run(&old()).expect("a record")).expect("writes");
    for name in ["run.json", "plan.lock.json"] {
        let read = |dir: &Path| std::fs::read_to_string(dir.join(name)).expect("text");
        assert_eq!(read(dir.path()), read(&old()), "{name}");
    }
}

/// Changes a file's text.
fn change(dir: &Path, name: &str, change: impl Fn(&str) -> String) {
    let path = dir.join(name);
    let text = std::fs::read_to_string(&path).expect("text");
    let changed = change(&text);
    assert_ne!(changed, text, "{name}");
    std::fs::write(path, changed).expect("writes");
}

#[track_caller]
fn says_newer<T: std::fmt::Debug>(name: &str, read: Result<T, StoreError>) {
    let error = read.expect_err("newer");
    assert!(matches!(error, StoreError::Newer { found: Format(2), known: Format(1), .. }), "{error}");
    let said = error.to_string();
    let wanted = format!("{name}: written by a newer assay: format 2, this program knows 1");
    assert!(said.ends_with(&wanted), "{said}");
    assert_eq!(error.hint(), Some(Hint::words("use the newer assay")));
    assert!(error.is_input());
}

#[test]
fn each_file_of_a_newer_program_says_so_before_its_body_is_read() {
    let dir = copied();
    let dir = dir.path();
    let (lock, cell) = (lock(dir), store::read_cell(dir, WHOLE).expect("a cell"));
    let record = store::read_run(dir).expect("a record");
    // Each has a field that this program does not know.
    let later = |text: &str| text.replacen("\"format\": 1,", "\"format\": 2,\n  \"added\": true,", 1);
    let open = || Store::open(dir, &lock);

    change(dir, "run.json", later);
    says_newer("run.json", store::read_run(dir));
    says_newer("run.json", open().expect("opens").write_run(&record));

    let name = format!("cells/{WHOLE}.json");
    change(dir, &name, |text| text.replacen('{', "{\n  \"format\": 2,\n  \"added\": true,", 1));
    says_newer(&name, store::read_cell(dir, WHOLE));
    says_newer(&name, open().expect("opens").write_cell(&CellRecord { failure: Some("other".into()), ..cell }));

    for key in [WHOLE, REFERENCE] {
        let name = format!("samples/{key}.jsonl");
        change(dir, &name, |text| format!("{{\"format\":2,\"added\":true}}\n{text}"));
        says_newer(&name, store::read_samples(dir, key));
        says_newer(&name, open().expect("opens").reference(key));
    }

    std::fs::write(dir.join("faults.jsonl"), "{\"format\":2}\n").expect("writes");
    says_newer("faults.jsonl", open().expect("opens").faults());

    change(dir, "journal.jsonl", |text| text.replacen("{\"hash\"", "{\"format\":2,\"added\":true,\"hash\"", 1));
    says_newer("journal.jsonl", read_journal(&dir.join("journal.jsonl")));
    says_newer("journal.jsonl", open());

    change(dir, "plan.lock.json", later);
    says_newer("plan.lock.json", store::peek(dir));
    says_newer("plan.lock.json", open());
}
