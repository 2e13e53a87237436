//! `assay inspect`, `selectors`, `schemes` and `census` through the program.

mod support;

use std::io::Read;
use std::process::{Command, Stdio};
use support::bytes::{ARRAY, Bytes, F32, F32_VALUE, Q4_0, STRING, U8};
use support::{TinyModel, assay, json, stdout};

fn hostile() -> Bytes {
    Bytes::header(2, 4)
        .key("general.name", STRING)
        .string("evil\x1b[2J\u{202e}\n")
        .key("an.array", ARRAY)
        .u32(U8)
        .u64(100)
        .raw(&[7; 100])
        .key("a.float", F32_VALUE)
        .raw(&f32::NAN.to_le_bytes())
        .key("bytes", STRING)
        .string(b"\xff\xfe")
        .tensor("a\u{7}b", &[32, 3], Q4_0, 0)
        .tensor("norm", &[8], F32, 64)
        .data(32, 96)
}

#[test]
fn the_table_names_everything_and_nothing_in_it_can_steer_a_terminal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("m.gguf"), hostile().0).expect("a file");
    let text = stdout(folder.path(), &["inspect", "m.gguf"]);
    assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text:?}");
    for words in [
        "GGUF version 3, little-endian, alignment 32",
        "evil\\u{1b}[2J\\u{202e}\\n",
        "[7, 7, 7, 7, 7, 7, … 100 in all]",
        "a\\u{7}b  q4_0  [32, 3]       0      54",
        "norm     f32   [8]          64      32",
        "\\xff\\xfe",
    ] {
        assert!(text.contains(words), "{words:?} is missing:\n{text}");
    }
}

#[test]
fn the_json_is_strict_and_has_the_agreed_keys_in_their_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("m.gguf"), hostile().0).expect("a file");
    let text = stdout(folder.path(), &["inspect", "--json", "m.gguf"]);
    let places: Vec<usize> = ["version", "endian", "alignment", "shards", "metadata", "tensors"]
        .iter()
        .map(|key| text.find(&format!("\n  \"{key}\"")).unwrap_or_else(|| panic!("{key} is missing:\n{text}")))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text:?}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["metadata"][0]["value"], "evil\u{1b}[2J\u{202e}\n");
    assert_eq!(json["metadata"][1]["value"].as_array().map(Vec::len), Some(100));
    assert_eq!(json["metadata"][1]["type"], "arr[u8]");
    assert_eq!(json["metadata"][2]["value"], "NaN");
    let tensor = serde_json::json!({"name": "norm", "type": "f32", "ne": [8], "offset": 64, "nbytes": 32, "shard": 0});
    assert_eq!(json["tensors"][1], tensor);
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_no_panic() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let strings =
        (0..50_000).fold(Bytes::header(0, 1).key("k", ARRAY).u32(STRING).u64(50_000), |b, i| b.string(i.to_string()));
    std::fs::write(folder.path().join("m.gguf"), strings.0).expect("a file");
    for args in [&["inspect", "--json", "m.gguf"][..], &["schemes"], &["--help"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
            .current_dir(folder.path())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("assay starts");
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        assert!(child.wait().expect("it ends").success(), "{args:?}: {said}");
        assert_eq!(said, "", "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(env!("CARGO_BIN_EXE_assay"))
        .current_dir(folder.path())
        .args(["schemes"])
        .stdout(full)
        .output()
        .expect("assay starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: standard output cannot be written"), "{said}");
}

#[test]
fn the_census_finds_bf16_norms_and_predicts_a_no_op_and_its_opposite() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: false }.write(folder.path(), "on.gguf");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: false }.write(folder.path(), "off.gguf");

    let on = json(folder.path(), &["census", "on.gguf", "--target", "ffn_norm", "--against", "bf16", "--json"]);
    let row = &on["tensors"][0];
    assert_eq!(row["name"], "blk.0.ffn_norm.weight");
    assert_eq!((&row["effective"], &row["transform"]), (&"BF16".into(), &serde_json::Value::Null));
    assert_eq!(row["coverage"], serde_json::json!({"n": 32, "exact": true}));
    assert!(row["evidence_bits"].as_f64().is_some_and(|bits| bits >= 40.0), "{row}");
    let prediction = &on["predictions"][0];
    assert_eq!((&prediction["changed"], &prediction["n"], &prediction["noop"]), (&0.into(), &64.into(), &true.into()));

    let off = json(folder.path(), &["census", "off.gguf", "--target", "ffn_norm", "--against", "bf16", "--json"]);
    assert_eq!(off["tensors"][0]["effective"], "F32");
    let prediction = &off["predictions"][0];
    assert_eq!(prediction["noop"], false);
    // A random F32 is on the BF16 grid once in 65,536.
    assert!(prediction["changed"].as_u64().is_some_and(|n| n >= 60), "{prediction}");

    let text = stdout(folder.path(), &["census", "on.gguf", "--target", "norms"]);
    assert!(
        text.contains("norms: 3 of 5 stored f32, no coarser grid found; 2 of 5 stored f32, effectively BF16"),
        "{text}"
    );
}

#[test]
fn roles_are_counted_and_schemes_are_listed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: false }.write(folder.path(), "m.gguf");
    let selectors = json(folder.path(), &["selectors", "m.gguf", "--json"]);
    let count = |role: &str| {
        let rows = selectors["selectors"].as_array().expect("rows");
        rows.iter().find(|row| row["name"] == role).map(|row| row["n_tensors"].clone())
    };
    assert_eq!(count("ffn_norm"), Some(2.into()));
    assert_eq!(count("attn"), Some(8.into()));
    assert_eq!(count("all"), Some(20.into()));
    assert_eq!(selectors["n_layer"], 2);

    let schemes = json(folder.path(), &["schemes", "--json"]);
    let names: Vec<&str> =
        schemes["schemes"].as_array().expect("rows").iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(["bf16", "f16", "intN", "identity", "jitter", "zero"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn the_doctor_finds_this_machine_fit_to_run_the_tests() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = json(folder.path(), &["doctor", "--json"]);
    assert_eq!(json["ok"], true, "{json}");
    let engine = json["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "engine");
    assert!(
        engine.is_some_and(|check| check["detail"].as_str().is_some_and(|said| said.contains("35 tensor types agree"))),
        "{json}"
    );
}

#[test]
fn help_and_version_go_to_standard_output() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(stdout(folder.path(), &["--help"]).contains("census"));
    assert!(!stdout(folder.path(), &["--help"]).contains("worker"), "the worker is hidden");
    assert!(stdout(folder.path(), &["--version"]).starts_with("assay "));
    let output = assay(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
}
