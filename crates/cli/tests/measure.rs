//! `assay eval` and `assay run` on a tiny model through the real engine and a real worker process.

mod support;

use serde_json::Value;
use std::path::Path;
use support::{TinyModel, assay, json, stdout, text};

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "32", "--chunks", "8"];

fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(600)).expect("a file");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "on.gguf");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "off.gguf");
    folder
}

fn eval(folder: &Path, args: &[&str]) -> Value {
    json(folder, &[&["eval", "--json"], args, &SMALL].concat())
}

#[test]
fn perplexity_alone_has_no_reference_and_prints_its_settings() {
    let room = room();
    let answer = eval(room.path(), &["off.gguf"]);
    let ppl = answer["ppl"].as_f64().expect("a number");
    assert!(ppl > 1.0 && ppl.is_finite(), "{ppl}");
    assert!((answer["nll_nats"].as_f64().expect("a number").exp() - ppl).abs() < 1e-9 * ppl);
    // Positions 16 to 30 of each window are scored.
    assert_eq!((&answer["n_chunks"], &answer["n_tokens"]), (&8.into(), &(8 * 15).into()));
    assert!(answer["ppl_ref"].is_null() && answer["kld_mean"].is_null());
    let settings = &answer["settings"];
    assert_eq!(
        (&settings["arm"], &settings["n_ctx"], &settings["text"]),
        (&"exact".into(), &32.into(), &"text.txt".into())
    );
    assert_eq!(eval(room.path(), &["off.gguf"]), answer, "equal input, other output");
}

#[test]
fn a_scheme_that_changes_nothing_leaves_every_logit_alone_and_another_one_does_not() {
    let room = room();
    let on = eval(room.path(), &["on.gguf", "--apply", "ffn_norm=bf16"]);
    assert_eq!((&on["kld_mean"], &on["logits_changed"], &on["same_top"]), (&0.0.into(), &0.into(), &1.0.into()));
    assert_eq!(on["ppl"], on["ppl_ref"]);

    let off = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=bf16"]);
    let kld = |answer: &Value| answer["kld_mean"].as_f64().expect("a number");
    assert!(kld(&off) > 0.0 && kld(&off) < 0.01, "{off}");
    assert!(off["logits_changed"].as_u64().is_some_and(|n| n > 0), "{off}");
    let zero = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=zero"]);
    assert!(kld(&zero) > 100.0 * kld(&off), "{zero}");
    let one = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=bf16", "--layers", "-1"]);
    assert_eq!(one["changed"].as_array().map(Vec::len), Some(1));
    assert!(kld(&one) > 0.0 && kld(&one) != kld(&off), "{one}");
    let native = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=bf16", "--arm", "native"]);
    assert_eq!(kld(&native), kld(&off), "without quantized weights both arms are one");
}

#[test]
fn a_run_answers_for_both_models_and_a_second_one_only_reads() {
    let room = room();
    let args = [&["run", "ffn-norm-bf16", "on.gguf", "off.gguf", "--out", "out", "--json"], &SMALL[..]].concat();
    let answer = json(room.path(), &args);
    let verdict = |model: &str| -> Vec<&str> {
        let rows = answer["verdicts"].as_array().expect("rows").iter();
        rows.filter(|row| row["model"] == model && row["stage"] == "all_layers")
            .filter_map(|row| row["verdict"].as_str())
            .collect()
    };
    assert_eq!(verdict("on.gguf"), ["NO-OP", "NO-OP"], "{answer}");
    assert_eq!(verdict("off.gguf"), ["REAL", "REAL"], "{answer}");
    assert!(answer["controls"].as_array().expect("rows").iter().all(|control| control["ok"] == true), "{answer}");
    let report =
        std::fs::read_to_string(room.path().join(answer["report"].as_str().expect("a path"))).expect("a report");
    assert!(report.contains("on.gguf") && report.contains("NO-OP"), "{report}");

    let cells = || -> Vec<(String, Vec<u8>)> {
        let folder = room.path().join("out/cells");
        let names = support::names_in(&folder);
        names.into_iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).expect("a cell"))).collect()
    };
    let before = cells();
    assert!(!before.is_empty());
    assert_eq!(json(room.path(), &args), answer);
    assert_eq!(cells(), before);
    let again = assay(room.path(), &args);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("resuming: 32 of 32 cells there already"), "{said}");
    assert!(!said.contains("all layers"), "something was measured again: {said}");

    let status = json(room.path(), &["status", "out", "--json"]);
    assert_eq!((&status["finished"], &status["controls_ok"]), (&true.into(), &true.into()), "{status}");
    assert_eq!((&status["cells_finished"], &status["cells"]), (&32.into(), &32.into()), "{status}");
    std::fs::remove_dir_all(room.path().join("out/report")).expect("the report goes");
    stdout(room.path(), &["report", "out"]);
    let rewritten = std::fs::read_to_string(room.path().join("out/report/report.md")).expect("a report");
    assert_eq!(rewritten, report);
}

#[test]
fn another_question_in_the_same_folder_is_refused() {
    let room = room();
    let small = |model: &str| {
        assay(room.path(), &[&["--quiet", "run", "ffn-norm-bf16", model, "--out", "out"], &SMALL[..]].concat())
    };
    assert_eq!(small("on.gguf").status.code(), Some(0));
    let other = small("off.gguf");
    let said = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(2), "{said}");
    assert!(said.contains("holds another run") && said.contains("\nhint: "), "{said}");
}

#[test]
fn quiet_runs_say_nothing_but_the_answer() {
    let room = room();
    let output = assay(room.path(), &[&["--quiet", "eval", "on.gguf"], &SMALL[..]].concat());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("PPL "));
}

#[test]
fn models_of_one_file_name_keep_their_own_verdicts() {
    let room = room();
    for folder in ["a", "b"] {
        std::fs::create_dir(room.path().join(folder)).expect("a folder");
    }
    std::fs::rename(room.path().join("on.gguf"), room.path().join("a/m.gguf")).expect("moves");
    std::fs::rename(room.path().join("off.gguf"), room.path().join("b/m.gguf")).expect("moves");
    let run = |models: [&str; 2]| {
        assay(room.path(), &[&["run", "ffn-norm-bf16", models[0], models[1], "--out", "out"], &SMALL[..]].concat())
    };
    let answer = String::from_utf8(run(["a/m.gguf", "b/m.gguf"]).stdout).expect("UTF-8");
    let lines: Vec<&str> = answer.lines().filter(|line| line.contains("m.gguf (") || line.starts_with("  ")).collect();
    let starts = ["m.gguf (", "  NO-OP ", "  NO-OP ", "m.gguf (", "  REAL ", "  REAL "];
    assert_eq!(lines.len(), starts.len(), "{answer}");
    assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{answer}");

    let twice = run(["a/m.gguf", "a/m.gguf"]);
    let said = String::from_utf8_lossy(&twice.stderr);
    assert_eq!(twice.status.code(), Some(2), "{said}");
    assert!(said.contains("the same file") && said.contains("\nhint: "), "{said}");
}

#[test]
fn scores_that_are_not_finite_are_not_measured_rather_than_a_failed_control() {
    let room = room();
    let path = room.path().join("off.gguf");
    let mut bytes = std::fs::read(&path).expect("a model");
    // The file ends in output_norm.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("writes");
    let output = assay(room.path(), &[&["run", "ffn-norm-bf16", "off.gguf", "--out", "out"], &SMALL[..]].concat());
    let (said, answer) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(4), "{said}{answer}");
    assert!(answer.contains("Withheld: the control \"A/A\" was not measured"), "{answer}");
    assert!(answer.contains("  NOT MEASURED A/A on off.gguf") && !answer.contains("FAILED "), "{answer}");
}

#[test]
fn a_run_off_a_terminal_says_its_stages_and_no_progress() {
    let room = room();
    let output = assay(room.path(), &[&["run", "ffn-norm-bf16", "on.gguf", "--out", "out"], &SMALL[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    for line in [
        "method: ffn_norm = bf16 on 8 windows of 32 tokens (2 per single layer)",
        "run folder: out\n16 cells to measure\n",
        "on.gguf: all layers, 8 cells\n",
    ] {
        assert!(said.contains(line), "{line:?} is not said: {said}");
    }
    assert!(!said.contains(" left") && !said.contains('\r'), "{said}");
}
