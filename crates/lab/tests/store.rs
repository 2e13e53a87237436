//! A run folder that was damaged, changed, or is in use.

// Shared with `run`, which uses the rest of it.
#[allow(dead_code)]
mod bench;

use bench::{Faults, Norms, Room, Workers, run};
use std::path::{Path, PathBuf};

fn finished(room: &Room) -> PathBuf {
    let dir = room.run_dir("run");
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("runs");
    dir
}

fn again(room: &Room, dir: &Path) -> String {
    let error = run(&room.prepare(Norms::OnePlus), dir, &Workers::new(Faults::default())).0.expect_err("refused");
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

/// A sample file of a cell, not of a reference.
fn a_sample_file(dir: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir.join("samples")).expect("samples").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().find(|path| !path.to_string_lossy().contains("reference")).expect("a cell")
}

#[test]
fn a_changed_sample_is_noticed_by_its_cell() {
    let room = Room::new();
    let dir = finished(&room);
    let path = a_sample_file(&dir);
    let text = std::fs::read_to_string(&path).expect("samples");
    std::fs::write(&path, text.replace("\"same_top\":8", "\"same_top\":7").replace("\"same_top\":0", "\"same_top\":1"))
        .expect("writes");
    assert!(again(&room, &dir).contains("the samples give another cell"));
}

#[test]
fn a_damaged_line_in_the_middle_is_named() {
    let room = Room::new();
    let dir = finished(&room);
    let path = a_sample_file(&dir);
    let text = std::fs::read_to_string(&path).expect("samples");
    std::fs::write(&path, text.replacen("\"kld\"", "\"kdl\"", 1)).expect("writes");
    assert!(again(&room, &dir).contains("line "));
}

#[test]
fn a_lost_window_is_measured_again_to_the_same_cell() {
    let room = Room::new();
    let dir = finished(&room);
    let before = bench::results(&dir);
    std::fs::remove_file(a_sample_file(&dir)).expect("removes");
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
    std::fs::write(&lock, text.replacen("\"format\": 1", "\"format\": 2", 1)).expect("writes");
    assert!(again(&room, &dir).contains("store format 2, this program knows 1"));

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
    let lines = lab::journal::read_journal(&dir.join("journal.jsonl")).expect("the chain holds");
    let what: Vec<&str> = lines.iter().filter_map(|line| line.entry["what"].as_str()).collect();
    assert_eq!((what.first(), what.last()), (Some(&"begun"), Some(&"finished")));
    assert_eq!(what.iter().filter(|what| **what == "gate").count(), 4);
    assert!(!what.contains(&"progress"));
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
