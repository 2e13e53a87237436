//! Limits that the system sets: the size of files.

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
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("text.txt"), text(200)).expect("a file");
    let recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    recipe.write(&folder.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
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
