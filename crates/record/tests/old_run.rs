//! A run folder of format 1 can be read, but resuming it fails with "older". Each file of a newer program is refused as
//! newer.
//!
//! `old-run-1` was written by the first assay with `run embedding-4bit c04_tied.gguf --ctx 32 --chunks 2`, on a model of two
//! layers whose embedding and output head are one matrix. Two of its 20 cells are kept, and the reference of one of them.

use record::store::journal::{JOURNAL_FORMAT, read_journal};
use record::store::lock::PlanLock;
use record::store::{self, LINES_FORMAT, STORE_FORMAT, Store, StoreError};
use record::{
    Arm, Bits, CELL_FORMAT, CellRecord, Column, Columns, FormatVersion, Found, Note, RECORD_FORMAT, Reason,
    ReferenceSample, Role, RunRecord, Sample, StageName, Verdict, Wanted,
};
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

/// The key of the cell on the whole target in the exact arm.
const WHOLE: &str = "afee4ac583240c6eb68c3ed16c5f7a85fef8253b427e08e9f59359f6b51aebd2";
/// The key of the cell on the lookup table alone in the native arm.
const LOOKUP: &str = "e5c6bf885b51c79b006dbba950fd3ebb16abc77b71b16c9c158a836c25cd761a";
const REFERENCE: &str = "reference-281f1112350e3167e9e0de9633703e404723beb09334990525f9ff646136203e";

fn old() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old-run-1")
}

/// A copy of the old run that tests may write to.
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

/// A run of the current format that has nothing yet, with the identity of the old one.
fn of_today() -> (tempfile::TempDir, PlanLock) {
    let dir = tempfile::tempdir().expect("a folder");
    let lock = PlanLock { format: STORE_FORMAT, ..lock(&old()) };
    drop(Store::open(dir.path(), &lock).expect("opens"));
    (dir, lock)
}

fn lock(dir: &Path) -> PlanLock {
    store::peek(dir).expect("a lock that is read").expect("a run")
}

#[test]
fn every_file_of_an_old_run_is_read() {
    let dir = old();
    let lock = lock(&dir);
    assert_eq!((lock.format, lock.chunks, lock.identity.id()), (FormatVersion(1), 2, "embedding-4bit-a7467f69".into()));
    assert_eq!((lock.engines[0].info.n_layer, lock.engines[0].chunk_blake3.len()), (2, 2));

    let run = store::read_run(&dir).expect("a record that is read");
    assert_eq!((run.format, run.id.as_str(), run.controls_ok), (FormatVersion(1), "embedding-4bit-a7467f69", true));
    let model = &run.models[0];
    assert_eq!((model.cells.len(), model.controls.len(), model.precision.len()), (20, 14, 20));
    assert_eq!(
        model.verdicts.iter().map(|of| (of.arm, of.verdict)).collect::<Vec<_>>(),
        [(Arm::Exact, Verdict::Real), (Arm::Native, Verdict::Real)]
    );

    // What is a value today was a sentence then.
    let real = "16,045 of 16,576 values change; KLD 0.147 nats, same top 86.67 %, 16,880,570 × the largest jitter seed \
                (8.68e-9 nats)";
    assert_eq!(model.verdicts[0].why, Reason::from(real));
    let judged = model.cells.iter().find(|judged| judged.cell.key == WHOLE).expect("the whole target");
    assert_eq!(judged.why, Reason::from(real));
    assert_eq!(model.controls[0].expected, Wanted::from("logits bit-identical"));
    let found = "nothing was edited and the logits of all 30 positions are bit-identical";
    assert_eq!(model.controls[0].found, Found::from(found));
    let (answer, census) = (model.answer(&run.question), model.census_sentence(&run.question));
    assert!(answer.contains(real) && answer.contains(" Singly: token_embd[use=lookup] KLD 0.139 nats"), "{answer}");
    assert!(census.ends_with("int4@block32 is predicted to change 16,045 of 16,576 values"), "{census}");

    assert_eq!(store::finished_cells(&dir).expect("lists"), [WHOLE, LOOKUP]);
    for (key, stage, arm) in
        [(WHOLE, StageName::of("all_layers"), Arm::Exact), (LOOKUP, StageName::of("each_part"), Arm::Native)]
    {
        let cell = store::read_cell(&dir, key).expect("a cell that is read");
        assert_eq!((cell.key.as_str(), &cell.stage, cell.arm, cell.role), (key, &stage, arm, Role::Variant));
        assert!(model.cells.iter().any(|judged| judged.cell == cell), "the record has the same cell");
        let measured = cell.measured.expect("was measured");
        assert_eq!((measured.n_chunks, measured.n_tokens), (2, 30));
        assert!(measured.kld().mean > 0.0 && measured.kld().se.is_none() && measured.kld_max() > measured.kld().mean);
        assert!((measured.values().get("ppl_ratio"), measured.ppl_ref() > 3e6) == (None, true));
        assert_eq!((measured.logits_changed(), measured.values().get("nll_nats")), (30, None));
    }

    let lines = read_journal(&dir.join("journal.jsonl")).expect("a chain that holds");
    assert_eq!((lines.len(), lines[0].entry["what"].as_str()), (39, Some("begun")));
}

#[test]
fn notes_of_older_records_are_the_sentences_that_they_were() {
    let dir = copied();
    let said = "windows of 64 tokens are longer than the 32 that the model was trained for";
    change(dir.path(), "run.json", |text| {
        text.replacen("\"census\":", &format!("\"notes\": [{said:?}],\n\"census\":"), 1)
    });
    let run = store::read_run(dir.path()).expect("a record that is read");
    assert_eq!(run.models[0].notes, [Note::Stated { sentence: said.into() }]);
    assert_eq!(run.models[0].notes[0].to_string(), said);
}

#[test]
fn an_old_run_is_not_gone_on_with() {
    let dir = copied();
    let older = |name: &str, error: StoreError| {
        let wanted = (FormatVersion(1), STORE_FORMAT);
        assert!(
            matches!(error, StoreError::Older { found, wanted: needed, .. } if (found, needed) == wanted),
            "{error}"
        );
        let said = error.to_string();
        assert!(
            said.contains(&format!("{name}: written by an older assay: format 1, this program needs {STORE_FORMAT}")),
            "{said}"
        );
        assert!(error.is_input());
    };
    older("plan.lock.json", Store::open(dir.path(), &lock(&old())).expect_err("older"));
    // Samples of format 1 do not even state their version, and nothing in them would show damage.
    let error = store::read_samples(&old(), WHOLE).expect_err("not of today");
    let wanted = (FormatVersion(1), LINES_FORMAT);
    assert!(matches!(error, StoreError::Older { found, wanted: needed, .. } if (found, needed) == wanted), "{error}");
    assert!(store::damaged_samples(&old()).expect("lists").is_empty());
}

/// Changes the text of a file.
fn change(dir: &Path, name: &str, change: impl Fn(&str) -> String) {
    let path = dir.join(name);
    let text = std::fs::read_to_string(&path).expect("text");
    let changed = change(&text);
    assert_ne!(changed, text, "{name}");
    std::fs::write(path, changed).expect("writes");
}

#[track_caller]
fn says_newer<T: std::fmt::Debug>(name: &str, known: FormatVersion, read: Result<T, StoreError>) {
    let error = read.expect_err("newer");
    let newer = FormatVersion(known.0 + 1);
    let is_newer = matches!(error, StoreError::Newer { found, known: knows, .. } if (found, knows) == (newer, known));
    assert!(is_newer, "{error}");
    let said = error.to_string();
    assert!(
        said.contains(&format!("{name}: written by a newer assay: format {newer}, this program knows {known}")),
        "{said}"
    );
    assert_eq!(error.hint(), Some(Hint::words("use the newer assay")));
    assert!(error.is_input());
}

#[test]
fn each_file_of_a_newer_program_says_so_before_its_body_is_read() {
    let (dir, lock) = of_today();
    let dir = dir.path();
    let cell = CellRecord { format: CELL_FORMAT, ..store::read_cell(&old(), WHOLE).expect("a cell") };
    let record = RunRecord { format: RECORD_FORMAT, ..store::read_run(&old()).expect("a record") };
    // Each document has a field that this program does not know.
    let later = |known: FormatVersion| {
        let newer = format!("\"format\": {},\n  \"added\": true,", known.0 + 1);
        move |text: &str| text.replacen(&format!("\"format\": {known},"), &newer, 1)
    };
    let open = || Store::open(dir, &lock);

    open().expect("opens").write_run(&record).expect("writes");
    change(dir, "run.json", later(RECORD_FORMAT));
    says_newer("run.json", RECORD_FORMAT, store::read_run(dir));
    says_newer("run.json", RECORD_FORMAT, open().expect("opens").write_run(&record));

    let name = format!("cells/{WHOLE}.json");
    std::fs::write(dir.join(&name), serde_json::to_vec_pretty(&cell).expect("prints")).expect("writes");
    change(dir, &name, later(CELL_FORMAT));
    says_newer(&name, CELL_FORMAT, store::read_cell(dir, WHOLE));
    let other = CellRecord { failure: Some("other".into()), ..cell };
    says_newer(&name, CELL_FORMAT, open().expect("opens").write_cell(&other));

    let newer = FormatVersion(LINES_FORMAT.0 + 1);
    for key in [WHOLE, REFERENCE] {
        let name = format!("samples/{key}.jsonl");
        std::fs::copy(old().join(&name), dir.join(&name)).expect("copies");
        change(dir, &name, |text| format!("{{\"format\":{newer},\"added\":true}}\n{text}"));
        says_newer(&name, LINES_FORMAT, store::read_samples(dir, key));
        says_newer(&name, LINES_FORMAT, open().expect("opens").reference(key));
    }

    std::fs::write(dir.join("faults.jsonl"), format!("{{\"format\":{newer}}}\n")).expect("writes");
    says_newer("faults.jsonl", LINES_FORMAT, open().expect("opens").faults());

    let newer = FormatVersion(JOURNAL_FORMAT.0 + 1);
    let of_newer = format!("{{\"format\":{newer},\"added\":true,\"hash\"");
    let of_today = format!("{{\"format\":{JOURNAL_FORMAT},\"hash\"");
    change(dir, "journal.jsonl", |text| text.replacen(&of_today, &of_newer, 1));
    says_newer("journal.jsonl", JOURNAL_FORMAT, read_journal(&dir.join("journal.jsonl")));
    says_newer("journal.jsonl", JOURNAL_FORMAT, open());

    change(dir, "plan.lock.json", later(STORE_FORMAT));
    says_newer("plan.lock.json", STORE_FORMAT, store::peek(dir));
    says_newer("plan.lock.json", STORE_FORMAT, open());
}

#[test]
fn samples_of_today_are_read_as_they_were_written() {
    let (dir, lock) = of_today();
    let dir = dir.path();
    let store = Store::open(dir, &lock).expect("opens");
    let columns = |id: &str, value: Column| Columns([(id.to_owned(), value)].into());
    let sample = |chunk: usize| Sample {
        cell: WHOLE.into(),
        chunk,
        reference_blake3: format!("logits {chunk}"),
        columns: columns("kld", Column::F64(vec![0.1 + chunk as f64, 1e-300])),
        activations: None,
        nodes: Vec::new(),
        residual: Vec::new(),
        routers: Vec::new(),
    };
    let reference = ReferenceSample {
        chunk: 0,
        tokens: vec![1, 5, 7],
        logits_blake3: "logits 0".into(),
        columns: columns("same_top", Column::Bits(Bits(vec![true, false]))),
    };
    store.append_reference(REFERENCE, &reference).expect("writes");
    (0..2).for_each(|chunk| store.append_sample(&sample(chunk)).expect("writes"));
    let there = store.samples(WHOLE).expect("reads").by_chunk;
    assert_eq!(there.into_values().collect::<Vec<_>>(), [sample(0), sample(1)]);
    assert_eq!(store.reference(REFERENCE).expect("reads")[&0], reference);
    // A line that a crash tore is cut off, with the version if it was the first line.
    let path = dir.join(format!("samples/{WHOLE}.jsonl"));
    for (torn, left) in [(format!("{{\"format\":{LINES_FORMAT}}}\n{{\"hash"), 0), ("{\"form".into(), 0)] {
        std::fs::write(&path, torn).expect("writes");
        assert_eq!(store.samples(WHOLE).expect("reads").by_chunk.len(), left);
        store.append_sample(&sample(1)).expect("writes");
        assert_eq!(store.samples(WHOLE).expect("reads").by_chunk[&1], sample(1));
    }
}

#[test]
fn lines_of_samples_that_were_changed_moved_or_removed_are_refused() {
    let (dir, lock) = of_today();
    let store = Store::open(dir.path(), &lock).expect("opens");
    let sample = |chunk: usize| Sample {
        cell: WHOLE.into(),
        chunk,
        reference_blake3: "logits".into(),
        columns: Columns([("kld".to_owned(), Column::F64(vec![0.125]))].into()),
        activations: None,
        nodes: Vec::new(),
        residual: Vec::new(),
        routers: Vec::new(),
    };
    (0..3).for_each(|chunk| store.append_sample(&sample(chunk)).expect("writes"));
    let path = dir.path().join(format!("samples/{WHOLE}.jsonl"));
    let text = std::fs::read_to_string(&path).expect("samples");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (flipped, chunk) = (lines[2].replace("0.125", "0.126"), lines[2].replace("\"chunk\":1", "\"chunk\":7"));
    for (changed, line) in [
        ([lines[0], lines[1], &flipped, lines[3]].concat(), 3),
        ([lines[0], lines[1], &chunk, lines[3]].concat(), 3),
        ([lines[0], lines[2], lines[1], lines[3]].concat(), 2),
        ([lines[0], lines[1], lines[3]].concat(), 3),
        ([lines[1], lines[2], lines[3]].concat(), 1),
    ] {
        assert_ne!(changed, text);
        std::fs::write(&path, changed).expect("writes");
        for error in [
            store::read_samples(dir.path(), WHOLE).expect_err("is not as written"),
            store.samples(WHOLE).expect_err("is not as written"),
        ] {
            let said = error.to_string();
            assert!(said.contains(&format!("samples/{WHOLE}.jsonl: line {line}: ")), "{said}");
            assert_eq!(error.hint(), Some(Hint::words("remove this file to measure it again")));
        }
    }
    std::fs::write(&path, &text).expect("writes");
    assert_eq!(store.samples(WHOLE).expect("reads").by_chunk.len(), 3);
}
