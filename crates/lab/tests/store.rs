//! Tests of a run folder that was damaged or changed or is in use.

// This module is shared with `run`, which uses the rest of it.
#[allow(dead_code)]
mod bench;

use bench::{Faults, Norms, Room, Workers, run};
use lab::ask::AskErrorKind;
use record::store::STORE_FORMAT;
use record::{FormatVersion, RECORD_FORMAT, RunEvent};
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

fn finished(room: &Room) -> PathBuf {
    let dir = room.run_dir("run");
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("runs");
    dir
}

fn again(room: &Room, dir: &Path) -> String {
    let error = run(&room.prepare(Norms::OnePlus), dir, &Workers::new(Faults::default())).0.expect_err("refused");
    assert_eq!(error.kind(), AskErrorKind::Input, "{error}");
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

/// A file of lines with each hash made anew, as by someone who means to deceive.
fn forged(text: &str) -> String {
    let hash = |before: &str, body: &str| blake3::hash(format!("{before}{body}").as_bytes()).to_hex().to_string();
    let mut before = String::new();
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let Some((_, body)) = line.split_once(",\"body\":") else {
            before = hash("", line);
            out.push_str(line);
            continue;
        };
        let body = body.trim_end().strip_suffix('}').expect("a body");
        before = hash(&before, body);
        out.push_str(&format!("{{\"hash\":\"{before}\",\"body\":{body}}}\n"));
    }
    out
}

#[test]
fn a_changed_sample_is_noticed_by_its_cell() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    let text = std::fs::read_to_string(&path).expect("samples");
    assert_eq!(forged(&text), text);
    let other = text.replacen("\"same_top\":{\"bits\":\"1", "\"same_top\":{\"bits\":\"0", 1);
    let other = other.replacen("\"same_top\":{\"bits\":\"00", "\"same_top\":{\"bits\":\"10", 1);
    assert_ne!(other, text);
    std::fs::write(&path, forged(&other)).expect("writes");
    assert!(again(&room, &dir).contains("the samples give another cell"));
}

#[test]
fn a_digit_changed_in_samples_whose_cell_is_not_there_yet_is_refused() {
    let room = Room::new();
    let dir = finished(&room);
    for is_reference in [false, true] {
        let path = samples_file(&dir, is_reference);
        let text = std::fs::read_to_string(&path).expect("samples");
        // The cells are gone, so nothing but the lines themselves can tell.
        std::fs::remove_dir_all(dir.join("cells")).expect("removes");
        let places: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
        for at in places.iter().step_by(places.len() / 40 + 1) {
            let mut other = text.clone().into_bytes();
            other[*at] = if other[*at] == b'7' { b'8' } else { b'7' };
            std::fs::write(&path, other).expect("writes");
            let said = again(&room, &dir);
            assert!(said.contains("line ") || said.contains("written by"), "byte {at}: {said}");
        }
        std::fs::write(&path, text).expect("writes");
    }
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("is as it was");
}

#[test]
fn a_finished_run_whose_samples_were_changed_is_not_reported() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    let text = std::fs::read_to_string(&path).expect("samples");
    let at = text.rfind(|c: char| c.is_ascii_digit()).expect("a digit");
    let mut changed = text.clone().into_bytes();
    changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
    std::fs::write(&path, changed).expect("writes");
    let said = lab::ask::finished_run(&dir).expect_err("is not believed").to_string();
    assert!(said.contains("samples/") && said.contains("line "), "{said}");
    assert_eq!(lab::ask::status(&dir).expect("can be looked at").failed.len(), 1);
    std::fs::write(&path, text).expect("writes");
    assert!(lab::ask::finished_run(&dir).is_ok());
}

#[test]
fn a_record_or_lock_that_the_run_did_not_write_is_not_believed() {
    let room = Room::new();
    let dir = finished(&room);
    assert!(lab::ask::finished_run(&dir).is_ok() && lab::ask::status(&dir).is_ok());
    for (name, from, to, says) in [
        ("run.json", "\"controls_ok\": true", "\"controls_ok\": false", "run.json: is not the file that the run wrote"),
        ("run.json", "\"verdict\": \"REAL\"", "\"verdict\": \"NO-OP\"", "run.json: is not the file that the run wrote"),
        ("run.json", "\"kld_mean\": ", "\"kld_mean\": 1", "run.json: is not the file that the run wrote"),
        ("plan.lock.json", "\"n_layer\": 3", "\"n_layer\": 4", "plan.lock.json: is not the file that the run wrote"),
        ("plan.lock.json", "\"n_tokens\": ", "\"n_tokens\": 1", "plan.lock.json: is not the file that the run wrote"),
    ] {
        let path = dir.join(name);
        let text = std::fs::read_to_string(&path).expect("a file");
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from}");
        std::fs::write(&path, other).expect("writes");
        for read in [lab::ask::finished_run(&dir).map(drop), lab::ask::status(&dir).map(drop)] {
            let said = read.expect_err("is not believed").to_string();
            assert!(said.contains(says), "{from}: {said}");
        }
        std::fs::write(&path, text).expect("writes");
    }
    // Neither without the journal, nor with an older format, which had no hashes.
    let (journal, record) = (dir.join("journal.jsonl"), dir.join("run.json"));
    let (lines, text) =
        (std::fs::read(&journal).expect("a journal"), std::fs::read_to_string(&record).expect("a record"));
    std::fs::remove_file(&journal).expect("removes");
    for read in [lab::ask::finished_run(&dir).map(drop), lab::ask::status(&dir).map(drop)] {
        let said = read.expect_err("is not believed").to_string();
        assert!(said.contains("journal.jsonl: is missing or empty, though results are there"), "{said}");
    }
    std::fs::write(&journal, lines).expect("writes");
    let today = format!("\"format\": {RECORD_FORMAT}");
    std::fs::write(&record, text.replacen(&today, "\"format\": 2", 1)).expect("writes");
    let said = lab::ask::finished_run(&dir).expect_err("is not believed").to_string();
    assert!(said.contains("run.json: is not the file that the run wrote"), "{said}");
    std::fs::write(&record, text).expect("writes");
    // A cell that is not the one of the record.
    let cell = std::fs::read_dir(dir.join("cells")).expect("cells").flatten().next().expect("a cell").path();
    let text = std::fs::read_to_string(&cell).expect("a cell");
    std::fs::write(&cell, text.replacen("\"ppl\": ", "\"ppl\": 1", 1)).expect("writes");
    let said = lab::ask::finished_run(&dir).expect_err("is not believed").to_string();
    assert!(said.contains("/cells/") && said.contains(".json: is not the cell that run.json has"), "{said}");
    // So is a prediction, which decides no number but stands in the report.
    let other = text.replacen("\"zeroed\": 0", "\"zeroed\": 8", 1);
    assert_ne!(other, text);
    std::fs::write(&cell, other).expect("writes");
    assert!(lab::ask::finished_run(&dir).is_err());
    // As the hint says: without the file, the same run writes it again.
    std::fs::remove_file(&cell).expect("removes");
    let said = lab::ask::finished_run(&dir).expect_err("is not complete").to_string();
    assert!(said.contains("is missing, though run.json has the cell"), "{said}");
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("writes it again");
    assert_eq!(std::fs::read_to_string(&cell).expect("a cell"), text);
    assert!(lab::ask::finished_run(&dir).is_ok());
    // The same run writes its record again.
    std::fs::write(dir.join("run.json"), "{\"format\": 2}").expect("writes");
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("writes it again");
    assert!(lab::ask::finished_run(&dir).is_ok());
}

#[test]
fn samples_of_another_cell_are_refused_by_the_file_that_holds_them() {
    let room = Room::new();
    let dir = finished(&room);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir.join("samples")).expect("samples").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| !path.to_string_lossy().contains("reference"));
    files.sort();
    std::fs::copy(&files[0], &files[1]).expect("copies");
    let said = again(&room, &dir);
    let name = files[1].file_name().expect("a name").to_string_lossy().into_owned();
    assert!(said.contains(&format!("{name}: has samples of another cell, ")), "{said}");
}

#[test]
fn a_run_folder_that_lost_its_lock_is_told_from_a_folder_that_is_not_a_run() {
    let room = Room::new();
    let dir = finished(&room);
    std::fs::remove_file(dir.join("plan.lock.json")).expect("removes");
    let said = again(&room, &dir);
    assert!(said.contains("plan.lock.json: is missing, though journal.jsonl is there"), "{said}");
    assert!(said.contains("restore the file"), "{said}");
    let other = room.run_dir("other");
    std::fs::create_dir_all(&other).expect("a folder");
    std::fs::write(other.join("notes.txt"), "mine").expect("writes");
    let said = again(&room, &other);
    assert!(said.contains("contains \"notes.txt\" but not plan.lock.json, so it is not a run folder"), "{said}");
}

#[test]
fn status_counts_the_cells_of_the_plan_and_names_those_that_are_not_of_it() {
    let room = Room::new();
    let dir = finished(&room);
    let before = lab::ask::status(&dir).expect("status");
    assert_eq!(Some(before.cells_finished as u64), before.cells);
    assert!(before.foreign.is_empty() && before.failed.is_empty(), "{before:?}");
    let mut cells = std::fs::read_dir(dir.join("cells")).expect("cells").flatten();
    let cell = cells.next().expect("a cell").path();
    std::fs::copy(&cell, dir.join("cells/of-another-run.json")).expect("copies");
    let after = lab::ask::status(&dir).expect("status");
    assert_eq!(after.cells_finished, before.cells_finished);
    assert_eq!(after.foreign, ["cells/of-another-run.json"]);
}

#[test]
fn samples_that_lost_their_first_line_are_named_by_status_and_by_the_run() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    let text = std::fs::read_to_string(&path).expect("samples");
    let (_, rest) = text.split_once('\n').expect("lines");
    std::fs::write(&path, rest).expect("writes");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let status = lab::ask::status(&dir).expect("status");
    let [damaged] = status.failed.as_slice() else { panic!("one cell: {status:?}") };
    assert_eq!(damaged.file, format!("samples/{name}"));
    assert!(!damaged.why.is_empty(), "{damaged:?}");
    let said = again(&room, &dir);
    assert!(said.contains(&name) && said.contains("remove this file to measure it again"), "{said}");
}

#[test]
fn samples_that_are_gone_are_named_by_status() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    std::fs::remove_file(&path).expect("removed");
    let status = lab::ask::status(&dir).expect("status");
    let [gone] = status.failed.as_slice() else { panic!("one cell: {status:?}") };
    assert_eq!(gone.file, format!("samples/{}", path.file_name().expect("a name").to_string_lossy()));
    assert_eq!(gone.why, "the samples that it was derived from are gone");
}

#[test]
fn complete_samples_that_give_no_cell_are_named_with_the_file_to_remove() {
    let room = Room::new();
    let dir = finished(&room);
    let path = samples_file(&dir, false);
    let text = std::fs::read_to_string(&path).expect("samples");
    let key = path.file_stem().expect("a stem").to_string_lossy().into_owned();
    // What the edits did is lost, with every hash made anew.
    let kept: String = text.split_inclusive('\n').filter(|line| !line.contains("\"applied\":")).collect();
    assert_ne!(kept, text);
    std::fs::write(&path, forged(&kept)).expect("writes");
    let (record, events) = run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default()));
    let record = record.expect("a record with a failed cell");
    let failed = events.iter().find_map(|event| match event {
        RunEvent::CellFailed { key: failed, hint, .. } if *failed == key => Some(hint.clone()),
        _ => None,
    });
    let hint = failed.expect("the cell is named").expect("with advice");
    assert_eq!(hint, Hint::words(format!("remove samples/{key}.jsonl to measure it again")));
    let answer = lab::ask::run_answer(&record, &dir, &dir.join("report/report.md"));
    let [cell] = answer.failed.as_slice() else { panic!("one cell: {:?}", answer.failed) };
    assert_eq!((cell.key.as_str(), cell.file.as_str()), (key.as_str(), format!("samples/{key}.jsonl").as_str()));
    assert_eq!(lab::ask::status(&dir).expect("status").failed, answer.failed);
}

#[test]
fn what_a_kill_leaves_can_be_read_and_is_swept_by_the_next_run() {
    let room = Room::new();
    let dir = finished(&room);
    // Killed once the lock was there, and before anything else was.
    let early = room.run_dir("early");
    std::fs::create_dir(&early).expect("a folder");
    std::fs::copy(dir.join("plan.lock.json"), early.join("plan.lock.json")).expect("copies");
    let status = lab::ask::status(&early).expect("can be read");
    assert_eq!((status.finished, status.cells_finished, status.last), (false, 0, None));
    // Killed within the writing of a file.
    let left = [".assay-unfinished-a", "cells/.assay-unfinished-b", "report/.assay-unfinished-c"];
    std::fs::create_dir_all(dir.join("report")).expect("a folder");
    left.iter().for_each(|name| std::fs::write(dir.join(name), "half").expect("a file"));
    run(&room.prepare(Norms::OnePlus), &dir, &Workers::new(Faults::default())).0.expect("runs");
    assert!(left.iter().all(|name| !dir.join(name).exists()));
    run(&room.prepare(Norms::OnePlus), &early, &Workers::new(Faults::default())).0.expect("goes on");
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
        std::fs::write(&path, forged(&other)).expect("writes");
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
    std::fs::write(&path, forged(&[&text[..at], &text[at + 1..]].concat())).expect("writes");
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
    let (known, newer) = (STORE_FORMAT, FormatVersion(STORE_FORMAT.0 + 1));
    std::fs::write(&lock, text.replacen(&format!("\"format\": {known}"), &format!("\"format\": {newer}"), 1))
        .expect("writes");
    let said = again(&room, &dir);
    let wanted = format!("plan.lock.json: written by a newer assay: format {newer}, this program knows {known}");
    assert!(said.contains(&wanted), "{said}");

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
    assert_eq!((&what[..2], what.last()), (&["stored", "begun"][..], Some(&"finished")));
    assert_eq!(what.iter().filter(|what| **what == "stored").count(), 2);
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
    assert!(again(&room, &dir).contains("journal.jsonl: is missing or empty, though results are there"));
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
        assert_eq!((error.kind(), workers.started.get()), (AskErrorKind::Input, 0), "{error}");
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
