//! Signals that end a measurement: it ends by them, leaves no unfinished file, and is taken up where it was.

#![cfg(target_os = "linux")]

mod support;

use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use support::{TinyModel, stdout, text};

const RUN: [&str; 11] =
    ["run", "ffn-norm-bf16", "m.gguf", "--text", "long.txt", "--ctx", "256", "--chunks", "24", "--threads", "1"];

fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("long.txt"), text(30_000)).expect("a file");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "m.gguf");
    folder
}

/// Starts a run in a folder of its own, in a shell that does `setup` first.
fn start(folder: &Path, setup: &str, out: &str) -> Child {
    let script = format!("{setup} exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_assay")]).args(RUN).args(["--out", out]).current_dir(folder);
    shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell")
}

/// Sends a signal once something is being measured, and waits for the end.
fn send_in_the_middle(run: &mut Child, samples: &Path, signal: Signal) -> ExitStatus {
    let mut is_sent = false;
    loop {
        if let Some(status) = run.try_wait().expect("a child") {
            assert!(is_sent, "the run ended before it was sent a signal");
            return status;
        }
        let has_begun = std::fs::read_dir(samples).is_ok_and(|entries| entries.count() > 2);
        if has_begun && !is_sent {
            support::send(signal, run.id());
            is_sent = true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path.to_string_lossy().into_owned()] })
        .collect()
}

#[test]
fn a_run_that_a_signal_ends_leaves_nothing_unfinished_and_goes_on_to_the_same_numbers() {
    let room = room();
    let out = room.path().join("out");
    let ended = send_in_the_middle(&mut start(room.path(), "", "out"), &out.join("samples"), Signal::TERM);
    assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()), "{ended:?}");
    let left = files_below(&out);
    assert!(left.iter().all(|name| !name.contains(".assay-")), "{left:?}");
    let again = [&RUN[..], &["--out", "out"]].concat();
    stdout(room.path(), &again);
    stdout(room.path(), &[&RUN[..], &["--out", "calm"]].concat());
    for name in support::names_in(&room.path().join("calm/cells")) {
        let of = |run: &str| std::fs::read(room.path().join(run).join("cells").join(&name)).expect("a cell");
        assert_eq!(of("out"), of("calm"), "{name}");
    }
}

#[test]
fn a_signal_that_the_program_was_started_to_ignore_does_not_end_it() {
    let room = room();
    let mut run = start(room.path(), "trap '' INT TERM;", "out");
    let ended = send_in_the_middle(&mut run, &room.path().join("out/samples"), Signal::INT);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}
