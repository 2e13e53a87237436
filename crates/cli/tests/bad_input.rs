//! Bad input ends in exit 2 with one message that names file, place, found and wanted, a hint on its
//! own line, and nothing written.

mod support;

use std::path::Path;
use std::process::Command;
use support::bytes::{Bytes, F32};
use support::{TinyModel, refused, stdout, subcommands, text};

/// A file of one task.
const TASKS: &str = "A context that\n0\nends.\nbegins.\nwaits.\nsleeps.\n";

/// The subcommands that take a model, in every way in which they do: the words in front of and behind its path.
const TAKING_A_MODEL: [(&[&str], &[&str]); 14] = [
    (&["inspect"], &[]),
    (&["census"], &["--against", "bf16"]),
    (&["selectors"], &[]),
    (&["quantize"], &["out.gguf", "--target", "all", "--scheme", "bf16"]),
    (&["diff"], &["sound.gguf"]),
    (&["diff", "sound.gguf"], &[]),
    (&["eval"], &["--chunks", "1"]),
    (&["task", "--tasks", "hellaswag:tasks.txt"], &[]),
    (&["chat"], &[]),
    (&["sweep", "--apply", "ffn_norm=bf16"], &[]),
    (&["run", "ffn-norm-bf16"], &["--out", "out"]),
    (&["run", "--apply", "ffn_norm=bf16"], &["--out", "out"]),
    (&["run", "ffn-norm-bf16", "m.gguf"], &["--out", "out"]),
    (&["verify"], &[]),
];

/// The subcommands that take the folder of a run.
const TAKING_A_RUN: [&str; 2] = ["status", "report"];

/// The subcommands that take neither, since they answer about this program and this machine.
const TAKING_NO_FILE: [&str; 2] = ["schemes", "doctor"];

#[test]
fn every_subcommand_is_given_bad_input() {
    let mut known: Vec<&str> = TAKING_A_MODEL.iter().map(|(before, _)| before[0]).collect();
    known.dedup();
    known.extend(TAKING_A_RUN.iter().chain(&TAKING_NO_FILE));
    known.sort();
    let mut there = subcommands();
    there.sort();
    assert_eq!(there, known, "a subcommand is in no table here");
}

fn refused_by_all(folder: &Path, model: &str, says: &[&str]) {
    for (before, after) in TAKING_A_MODEL {
        for json in [&[][..], &["--json"]] {
            let said = refused(folder, &[before, &[model], after, json].concat());
            for words in says {
                assert!(said.contains(words), "{before:?}: {words:?} is not said: {said}");
            }
        }
    }
}

#[test]
fn what_is_not_a_sound_gguf_file_is_refused_by_every_subcommand() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    put("empty.gguf", b"");
    put("text.gguf", b"this is not a model");
    put("page.gguf", b"<!DOCTYPE html><title>404</title>");
    let sound = Bytes::header(1, 0).tensor("blk.0.ffn_norm.weight", &[8], F32, 0).data(32, 32).0;
    put("sound.gguf", &sound);
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "m.gguf");
    put("cut.gguf", &sound[..sound.len() - 1]);
    put("cut-header.gguf", &sound[..40]);
    put("tasks.txt", TASKS.as_bytes());
    std::fs::create_dir(folder.path().join("folder.gguf")).expect("a folder");
    assert!(Command::new("mkfifo").arg(folder.path().join("fifo.gguf")).status().expect("mkfifo").success());

    let folder = folder.path();
    refused_by_all(folder, "absent.gguf", &["absent.gguf: cannot be opened"]);
    refused_by_all(folder, "empty.gguf", &["empty.gguf: is empty, wanted a GGUF file"]);
    refused_by_all(folder, "text.gguf", &["byte 0 holds \"this is \", wanted \"GGUF\""]);
    refused_by_all(folder, "page.gguf", &["hint: it looks like a web page"]);
    refused_by_all(folder, "cut.gguf", &["tensor \"blk.0.ffn_norm.weight\"", "32 bytes", "which has 31 bytes"]);
    refused_by_all(folder, "cut-header.gguf", &["cut-header.gguf: ", "hint: the file may be cut short"]);
    refused_by_all(folder, "folder.gguf", &["folder.gguf: is a directory, wanted a regular file"]);
    refused_by_all(folder, "fifo.gguf", &["fifo.gguf: is a FIFO (named pipe), wanted a regular file"]);
    refused_by_all(folder, "/dev/zero", &["/dev/zero: is a character device"]);
}

#[test]
fn selectors_and_schemes_that_cannot_be_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "m.gguf");
    let refused = |args: &[&str]| refused(folder.path(), args);

    let said = refused(&["census", "m.gguf", "--target", "ffn_nrm"]);
    assert!(
        said.contains("m.gguf") && said.contains("\"ffn_nrm\"") && said.contains("did you mean ffn_norm"),
        "{said}"
    );
    let said = refused(&["census", "m.gguf", "--target", "attn_bias"]);
    assert!(said.contains("matches none of the model's 20 tensors"), "{said}");
    let said = refused(&["census", "m.gguf", "--against", "bf61"]);
    assert!(said.contains("\"bf61\"") && said.contains("bf16"), "{said}");
    let said = refused(&["census", "m.gguf", "--target", "ffn_norm", "--against", "q4_k"]);
    assert!(said.contains("blocks of 256 values"), "{said}");
    let said = refused(&["census", "m.gguf", "--target", "re:/(/"]);
    assert!(said.contains("hint: "), "{said}");

    for apply in ["nonsense", "ffn_norm", "ffn_norm=", "=bf16", "ffn_norm=int8", "ffn_norm=bf61", "outptu=bf16"] {
        refused(&["eval", "m.gguf", "--apply", apply]);
    }
    let said = refused(&["eval", "m.gguf", "--apply", "weights=bf16", "--apply", "rest=f16"]);
    assert!(said.contains("the other rules name every matrix"), "{said}");
    let said = refused(&["eval", "m.gguf", "--apply", "attn_q,!attn_q=bf16"]);
    assert!(said.contains("leaves out every tensor"), "{said}");
    let said = refused(&["eval", "m.gguf", "--apply", "ffn_norm=bf16", "--layers", "2"]);
    assert!(said.contains("no layer 2: the model has 2 layers"), "{said}");
    std::fs::write(folder.path().join("tasks.txt"), TASKS).expect("a file");
    for command in [&["eval"][..], &["chat"], &["task", "--tasks", "hellaswag:tasks.txt"]] {
        let said = refused(&[command, &["m.gguf", "--layers", "1"]].concat());
        assert!(said.contains("a choice of layers needs a scheme to apply, and none is given"), "{command:?}: {said}");
    }
    let said = refused(&["eval", "m.gguf", "--trace"]);
    assert!(said.contains("a trace of the residual stream needs a scheme to apply"), "{said}");
    let said = refused(&["run", "ffn-norm-bf61", "m.gguf", "--out", "out"]);
    assert!(said.contains("did you mean ffn-norm-bf16"), "{said}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "m.gguf");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "sound.gguf");
    std::fs::write(folder.path().join("tasks.txt"), TASKS).expect("a file");
    for (before, after) in TAKING_A_MODEL {
        let help = stdout(folder.path(), &[before[0], "--help"]);
        for args in [
            ["--chunks", "0"],
            ["--chunks", "-1"],
            ["--chunks", "many"],
            ["--ctx", "0"],
            ["--ctx", "4294967295"],
            ["--threads", "1000000"],
            ["--gpu-layers", "1000000"],
            ["--max-memory", "some"],
            ["--max-memory", "0"],
            ["--split-max-size", "1X"],
            ["--seed", "-1"],
            ["--arm", "both"],
            ["--layers", "one"],
            ["--race", "0"],
            ["--epsilon", "2"],
            ["--limit", "0"],
            ["--tokens", "0"],
            ["--temperature", "-1"],
        ] {
            if help.contains(&format!("{} ", args[0])) {
                refused(folder.path(), &[before, &["m.gguf"], after, &args[..]].concat());
            }
        }
    }
    for (option, range) in [("--ctx", "8..=1048576"), ("--chunks", "1..="), ("--threads", "0..=4096")] {
        let said = refused(folder.path(), &["eval", "m.gguf", option, "-1"]);
        assert!(said.contains(&format!("-1 is not in {range}")), "{said}");
    }
    refused(folder.path(), &["run", "ffn-norm-bf16", "m.gguf", "--layer-chunks", "0"]);
    refused(folder.path(), &["eval", "m.gguf", "--arm", "both"]);
}

#[test]
fn texts_that_cannot_be_measured_on_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "m.gguf");
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    put("empty.txt", b"");
    put("blank.txt", b" \n\n");
    put("latin1.txt", b"caf\xe9");
    put("short.txt", text(300).as_bytes());
    assert!(Command::new("mkfifo").arg(folder.path().join("fifo.txt")).status().expect("mkfifo").success());

    for (text, says) in [
        ("absent.txt", "absent.txt: cannot be opened"),
        ("empty.txt", "empty.txt: is empty or blank, wanted text"),
        ("blank.txt", "blank.txt: is empty or blank, wanted text"),
        ("latin1.txt", "latin1.txt: byte 3 is \\xe9, wanted UTF-8"),
        (".", "is a directory, wanted a text file"),
        ("fifo.txt", "fifo.txt: is a FIFO"),
        ("short.txt", "512 wanted for one window"),
    ] {
        let said = refused(folder.path(), &["--quiet", "eval", "m.gguf", "--text", text]);
        assert!(said.contains(says), "{text}: {said}");
        for command in [
            &["run", "ffn-norm-bf16", "m.gguf", "--out", "out"][..],
            &["--quiet", "sweep", "--apply", "ffn_norm=bf16", "m.gguf"],
            &["verify", "m.gguf"],
        ] {
            // To `verify`, a text without a window is a check that fails.
            if command[0] == "verify" && text == "short.txt" {
                continue;
            }
            let said = refused(folder.path(), &[command, &["--text", text]].concat());
            assert!(said.contains(says) && said.starts_with("error: "), "{command:?} {text}: {said}");
        }
    }
}

#[test]
fn a_model_without_a_tokenizer_can_be_looked_at_but_not_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: false }.write(folder.path(), "m.gguf");
    assert!(support::stdout(folder.path(), &["census", "m.gguf"]).contains("ffn_norm"));
    for args in [&["eval", "m.gguf"][..], &["run", "ffn-norm-bf16", "m.gguf", "--out", "out"]] {
        let said = refused(folder.path(), args);
        assert!(said.contains("m.gguf") && said.contains("tokenizer"), "{said}");
    }
}

#[test]
fn a_folder_that_is_no_run_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    std::fs::create_dir(folder.path().join("photos")).expect("a folder");
    std::fs::write(folder.path().join("photos/cat.jpg"), b"cat").expect("a file");
    std::fs::write(folder.path().join("file"), b"").expect("a file");
    for dir in ["absent", "empty", "photos", "file"] {
        for command in TAKING_A_RUN {
            let said = refused(folder.path(), &[command, dir]);
            assert!(said.contains(dir), "{said}");
            // A command that only reads has no other folder to offer.
            assert!(!said.contains("--out") && !said.contains("remove"), "{said}");
        }
    }
    // A kill before the plan was written leaves the lock.
    std::fs::create_dir(folder.path().join("killed")).expect("a folder");
    std::fs::write(folder.path().join("killed/.lock"), b"").expect("a file");
    for command in TAKING_A_RUN {
        let said = refused(folder.path(), &[command, "killed"]);
        assert!(said.contains("killed before its plan was written") && said.contains("begins it again"), "{said}");
    }
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "m.gguf");
    for (dir, hint) in [
        ("photos", "choose another folder with --out"),
        ("file", "choose another folder with --out"),
        ("file/deep", "with --out"),
        ("/proc/run", "with --out"),
    ] {
        let said = refused(folder.path(), &["run", "ffn-norm-bf16", "m.gguf", "--ctx", "32", "--out", dir]);
        assert!(said.starts_with("error: ") && said.contains(hint), "{dir}: {said}");
    }
    assert_eq!(support::names_in(&folder.path().join("photos")), ["cat.jpg"]);
}

#[test]
fn usage_errors_are_exit_2_with_a_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for args in
        [&["inspect"][..], &["inspct", "x"], &["inspect", "--jsn", "x"], &["run"], &["--quiet", "--verbose", "doctor"]]
    {
        refused(folder.path(), args);
    }
    for command in subcommands() {
        refused(folder.path(), &[&command, "--no-such-option"]);
        refused(folder.path(), &[&command, "--json", "--quiet=yes"]);
    }
    for command in TAKING_NO_FILE {
        refused(folder.path(), &[command, "m.gguf"]);
    }
    for command in TAKING_A_RUN.iter().chain(&["inspect", "census", "selectors", "eval", "chat"]) {
        refused(folder.path(), &[command]);
        refused(folder.path(), &[command, "one", "two"]);
    }
}

#[test]
fn a_run_that_is_asked_no_question_or_two_is_refused_with_how_to_ask() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "m.gguf");
    for (args, says) in [
        (&[][..], "hint: for example assay run ffn-norm-bf16 MODEL, or assay run --apply ffn_down=q4_0 MODEL"),
        (&["m.gguf"], "m.gguf: is not a preset, and --apply is missing"),
        (&["ffn-norm-bf16"], "hint: assay run ffn-norm-bf16 MODEL"),
        (&["ffn_norm=bf16", "m.gguf"], "hint: assay run --apply 'ffn_norm=bf16' MODEL"),
        (&["--apply", "ffn_norm=bf16"], "hint: assay run --apply SEL=SCHEME MODEL"),
        (&["ffn-norm-bf16", "m.gguf", "--apply", "ffn_norm=bf16"], "are two questions, and a run asks one"),
        (&["m.gguf", "--apply", "ffn_up=bf16", "--apply", "ffn_norm=bf16"], "hint: join selectors"),
        (&["embedding-4bit", "m.gguf", "--layers", "0"], "in no layer"),
        (&["ffn-norm-bf16", "m.gguf", "--layers", "2"], "no layer 2: the model has 2 layers"),
        (&["--apply", "attn_q=q4_k", "m.gguf", "--ctx", "32"], "hint: --allow-fallback takes q5_0 for such tensors"),
    ] {
        let said = refused(folder.path(), &[&["run", "--out", "out"], args].concat());
        assert!(said.contains(says), "{args:?}: {said}");
    }
    for command in [&["eval"][..], &["sweep"], &["chat"]] {
        let said = refused(folder.path(), &[command, &["m.gguf", "--apply", "attn_q=q4_k"]].concat());
        assert!(said.contains("hint: --allow-fallback takes q5_0 for such tensors"), "{command:?}: {said}");
    }
}

#[test]
fn an_option_that_would_do_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "m.gguf");
    for (args, says) in [
        (&["eval", "m.gguf", "--allow-fallback"][..], "a fallback needs a scheme to apply, and none is given"),
        (&["eval", "m.gguf", "--layers", "0"], "a choice of layers needs a scheme to apply, and none is given"),
        (&["chat", "m.gguf", "--allow-fallback"], "a fallback needs a scheme to apply, and none is given"),
        (&["chat", "m.gguf", "--seed", "2"], "--temperature <T>"),
        (&["census", "m.gguf", "--allow-fallback"], "--against <SCHEME>"),
        (&["sweep", "m.gguf", "--apply", "ffn_norm=bf16", "--seed", "2"], "--race [<K>]"),
    ] {
        let said = refused(folder.path(), args);
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn a_negative_number_is_refused_by_the_option_it_was_given_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for args in [
        &["eval", "m.gguf", "--ctx", "-1"][..],
        &["eval", "m.gguf", "--threads", "-1"],
        &["sweep", "m.gguf", "--apply", "ffn_norm=bf16", "--race", "--epsilon", "-1"],
        &["task", "m.gguf", "--tasks", "hellaswag:x", "--limit", "-1"],
        &["chat", "m.gguf", "--temperature", "-1"],
        &["run", "ffn-norm-bf16", "m.gguf", "--layer-chunks", "-1"],
    ] {
        let (option, said) = (args[args.len() - 2], refused(folder.path(), args));
        assert!(said.contains("invalid value '-1'") && said.contains(option), "{args:?}: {said}");
    }
}

#[test]
fn advice_to_read_the_help_comes_only_where_there_is_no_better_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let said = refused(folder.path(), &["quantize", "--carrier", "foo", "m.gguf", "out.gguf"]);
    assert_eq!(said.matches("hint: ").count(), 1, "{said}");
    assert!(said.contains("hint: for example q8_0"), "{said}");
}
