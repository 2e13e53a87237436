//! Limits that the system sets: the size of files, memory, threads and open files.

mod support;

use llama::GgmlCodec;
use std::path::Path;
use std::process::{Command, Output};
use support::text;
use synth::{Architecture, SmallModel, Vocabulary};

/// Runs assay in a shell that first does `setup`, such as setting a limit. What assay prints goes through pipes, to
/// which no limit on files applies.
fn under(folder: &Path, setup: &str, args: &str) -> Output {
    let script = format!("{setup}; exec \"$0\" {args}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_assay")]).current_dir(folder);
    shell.output().expect("a shell")
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_says_so_and_leaves_no_output() {
    let folder = room();
    for (args, said) in [
        ("inspect m.gguf > out.txt", "standard output cannot be written"),
        ("quantize m.gguf q.gguf --apply ffn=bf16 --no-check", "q.gguf: would have"),
        ("run ffn-norm-bf16 m.gguf --text text.txt --ctx 32 --chunks 1 --out run", "run/"),
    ] {
        let done = under(folder.path(), "ulimit -f 2", args);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(matches!(done.status.code(), Some(2 | 4)), "{args}: {:?}: {error}", done.status);
        assert!(error.contains(said) && error.contains("error: "), "{args}: {error}");
    }
    assert!(!folder.path().join("q.gguf").exists());
    assert!(support::names_in(folder.path()).iter().all(|name| !name.starts_with(".assay")), "nothing is left behind");
}

/// A folder with a text and a small model.
fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("text.txt"), text(200)).expect("a file");
    let recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    recipe.write(&folder.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    folder
}

#[test]
fn a_thread_that_the_system_refuses_is_an_error_with_the_limits() {
    let room = room();
    for args in ["census m.gguf", "eval m.gguf --text text.txt --ctx 32 --chunks 1"] {
        // No address space has room for such a stack.
        let done = under(room.path(), "RUST_MIN_STACK=70368744177664; export RUST_MIN_STACK", args);
        let error = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(4), "{args}: {error}");
        assert!(error.contains("error: the system refuses a thread") && error.contains("ulimit -u"), "{args}: {error}");
    }
}

#[test]
fn a_worker_that_cannot_be_started_is_said_not_to_have_started() {
    let room = room();
    let done = under(room.path(), "ulimit -n 8", "eval m.gguf --text text.txt --ctx 32 --chunks 1");
    let error = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(4), "{error}");
    assert!(error.contains("the worker cannot be started: ") && error.contains("hint: it needs a process"), "{error}");
}

#[test]
fn memory_that_runs_out_is_an_error_and_never_an_abort() {
    let room = room();
    let out_of = |kib: u32, args: &str| {
        let done = under(room.path(), &format!("ulimit -v {kib}"), args);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        let code = done.status.code();
        // How much the program needs depends on the machine; how it ends does not.
        assert!(matches!(code, Some(0 | 2 | 4)), "{kib} KiB, {args}: {:?}: {error}", done.status);
        assert!(code == Some(0) || error.lines().any(|line| line.starts_with("error: ")), "{kib} KiB, {args}: {error}");
        code
    };
    let quantize = "quantize m.gguf q.gguf --apply ffn=bf16 --force --quiet";
    // The least of these limits leaves room for the program itself and little more.
    let codes = [40_000, 60_000, 120_000, 180_000].map(|kib| out_of(kib, quantize));
    assert!(codes.contains(&Some(4)), "{codes:?}");
    out_of(120_000, "eval m.gguf --text text.txt --ctx 32 --chunks 1 --quiet");
}
