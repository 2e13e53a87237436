//! Tests of a run folder that was damaged or changed or is in use.

// This module is shared with `run`, which uses the rest of it.
#[allow(dead_code)]
mod bench;

use bench::{Faults, Norms, Room, Workers, run};
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

fn finished(room: &Room) -> PathBuf {
    let dir = room.run_dir("run");
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("runs");
    dir
}

fn again(room: &Room, dir: &Path) -> String {
    let error = run(&room.prepare(Norms::OnePlus), dir, &Workers::new(Faults::default())).0.expect_err("refused");
    assert_eq!(error.exit_code(), 2, "{error}");
    format!("{error}\nhint: {:?}", error.hint())
}

/// The path of the first file in `samples/` that is or is not a reference's.
fn samples_file(dir: &Path, is_reference: bool) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir.join("samples")).expect("samples").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let is_wanted = |path: &PathBuf| path.to_string_lossy().contains("reference") == is_reference;
    files.into_iter().find(is_wanted).expect("a file of samples")
}

#[test]
fn a_changed_sample_is_noticed_by_its_cell() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    let text = std::fs::read_to_string(&path).expect("samples");
    let other = text.replacen("\"same_top\":{\"bits\":\"1", "\"same_top\":{\"bits\":\"0", 1);
    let other = other.replacen("\"same_top\":{\"bits\":\"00", "\"same_top\":{\"bits\":\"10", 1);
    assert_ne!(other, text);
    std::fs::write(&path, other).expect("writes");
    assert!(again(&room, &dir).contains("the samples give another cell"));
}

#[test]
fn a_changed_reference_is_noticed_by_the_cells_compared_with_it() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, true);
    let text = std::fs::read_to_string(&path).expect("a reference");
    let refused = |from: &str, to: &str, wanted: &str| {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text);
        std::fs::write(&path, other).expect("writes");
        let said = again(&room, &dir);
        assert!(said.contains(wanted), "{said}");
    };
    refused("\"f64\":[", "\"f64\":[1", "the samples give another cell");
    refused("\"logits_blake3\":\"", "\"logits_blake3\":\"0", "not the reference that cell ");
}

#[test]
fn a_lost_reference_is_measured_again_to_the_same_cells() {
    let room = Room::new();
    let dir = finished(&room);
    let before = bench::results(&dir);
    std::fs::remove_file(samples_file(&dir, true)).expect("removes");
    for started in [1, 0] {
        let workers = Workers::new(Faults::default());
        run(&room.prepare(Norms::OnePlus), &dir, &workers).0.expect("resumes");
        assert_eq!((workers.started.get(), bench::results(&dir) == before), (started, true));
    }
}

#[test]
fn a_damaged_line_in_the_middle_is_named() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    let text = std::fs::read_to_string(&path).expect("samples");
    std::fs::write(&path, text.replacen("\"columns\"", "\"colunms\"", 1)).expect("writes");
    assert!(again(&room, &dir).contains("line "));
}

#[test]
fn a_short_column_is_refused_by_file_and_window() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    let text = std::fs::read_to_string(&path).expect("samples");
    let marker = "\"logits_changed\":{\"bits\":\"";
    let at = text.find(marker).expect("a column") + marker.len();
    std::fs::write(&path, [&text[..at], &text[at + 1..]].concat()).expect("writes");
    let said = again(&room, &dir);
    assert!(said.contains("window 0: column "), "{said}");
    assert!(said.contains(&*path.file_name().expect("a name").to_string_lossy()), "{said}");
}

#[test]
fn a_lost_window_is_measured_again_to_the_same_cell() {
    let room = Room::new();
    let dir = finished(&room);
    let before = bench::results(&dir);
    std::fs::remove_file(samples_file(&dir, false)).expect("removes");
    let workers = Workers::new(Faults::default());
    run(&room.prepare(Norms::OnePlus), &dir, &workers).0.expect("resumes");
    assert_eq!(workers.started.get(), 1);
    assert_eq!(bench::results(&dir), before);
}

#[test]
fn a_newer_store_and_a_folder_of_something_else_are_refused() {
    let room = Room::new();
    let dir = finished(&room);
    let lock = dir.join("plan.lock.json");
    let text = std::fs::read_to_string(&lock).expect("lock");
    std::fs::write(&lock, text.replacen("\"format\": 2", "\"format\": 3", 1)).expect("writes");
    let said = again(&room, &dir);
    assert!(said.contains("plan.lock.json: written by a newer assay: format 3, this program knows 2"), "{said}");

    let other = room.run_dir("other");
    std::fs::create_dir(&other).expect("creates");
    std::fs::write(other.join("thesis.tex"), "years of work").expect("writes");
    assert!(again(&room, &other).contains("thesis.tex"));
    assert_eq!(std::fs::read_dir(&other).expect("lists").count(), 1);
}

#[test]
fn two_runs_cannot_write_to_one_folder_and_a_dead_one_holds_nothing() {
    let room = Room::new();
    let dir = finished(&room);
    let held = std::fs::File::open(dir.join(".lock")).expect("the lock file");
    held.lock().expect("locks");
    assert!(again(&room, &dir).contains("another assay is writing"));
    drop(held);
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("free again");
}

#[test]
fn the_journal_keeps_every_decision_and_no_progress() {
    let room = Room::new();
    let dir = finished(&room);
    let lines = record::store::journal::read_journal(&dir.join("journal.jsonl")).expect("the chain holds");
    let what: Vec<&str> = lines.iter().filter_map(|line| line.entry["what"].as_str()).collect();
    assert_eq!((what.first(), what.last()), (Some(&"begun"), Some(&"finished")));
    assert_eq!(what.iter().filter(|what| **what == "gate").count(), 4);
    assert!(!what.contains(&"progress"));
}

#[test]
fn samples_without_a_journal_are_refused_and_kept() {
    let room = Room::new();
    let dir = finished(&room);
    let before = bench::results(&dir);
    let journal = dir.join("journal.jsonl");
    std::fs::remove_file(&journal).expect("removes");
    assert!(again(&room, &dir).contains("journal.jsonl: is missing or empty, though samples are there"));
    std::fs::write(&journal, "").expect("writes");
    assert!(again(&room, &dir).contains("is missing or empty"));
    assert_eq!(bench::results(&dir), before);
}

#[test]
fn cells_and_record_hold_no_time_host_or_path() {
    let room = Room::new();
    let dir = finished(&room);
    let path = room.dir.path().to_string_lossy().into_owned();
    for (name, bytes) in bench::results(&dir) {
        let text = String::from_utf8(bytes).expect("text");
        assert!(!text.contains(&path), "{name} holds a path");
        assert!(!text.contains("time_unix") && !text.contains("\"host\""), "{name} holds time or host");
    }
}

#[test]
fn a_cut_lock_names_what_mends_it() {
    let room = Room::new();
    let dir = finished(&room);
    let lock = dir.join("plan.lock.json");
    let text = std::fs::read(&lock).expect("a lock");
    std::fs::write(&lock, &text[..text.len() / 2]).expect("writes");
    let said = again(&room, &dir);
    assert!(said.contains("plan.lock.json: ") && said.contains("restore the file, or remove the folder"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_is_refused_before_a_worker_starts() {
    let room = Room::new();
    let file = room.dir.path().join("file");
    std::fs::write(&file, "").expect("a file");
    for dir in [file.join("run"), file.join("deep/run"), "/proc/run".into(), file.join("x".repeat(300))] {
        let workers = Workers::new(Faults::default());
        let error = run(&room.prepare(Norms::OnePlus), &dir, &workers).0.expect_err("no place for a run");
        assert_eq!((error.exit_code(), workers.started.get()), (2, 0), "{error}");
        assert!(matches!(error.hint(), Some(Hint::OtherFolder { .. })), "{error}");
    }
}

#[test]
fn a_full_disk_is_the_users_and_a_broken_one_is_not() {
    let error = |kind: std::io::ErrorKind| record::store::StoreError::Io {
        doing: "write",
        path: "run.json".into(),
        source: kind.into(),
    };
    use std::io::ErrorKind as Kind;
    for kind in [Kind::StorageFull, Kind::QuotaExceeded, Kind::PermissionDenied, Kind::ReadOnlyFilesystem] {
        assert!(error(kind).is_input() && error(kind).hint().is_some(), "{kind}");
    }
    assert!(!error(Kind::Other).is_input() && error(Kind::Other).hint().is_none());
}

#[test]
fn everyone_may_read_the_files_of_a_run_as_far_as_the_umask_lets_them() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::new();
    let dir = finished(&room);
    // A file made in the ordinary way shows what the umask leaves.
    let plain = room.dir.path().join("plain");
    std::fs::write(&plain, "").expect("a file");
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o644;
    let cell = std::fs::read_dir(dir.join("cells")).expect("cells").flatten().next().expect("a cell").path();
    for path in [dir.join("plan.lock.json"), dir.join("run.json"), cell] {
        assert_eq!(mode(&path), mode(&plain), "{}", path.display());
    }
}
