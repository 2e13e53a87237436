//! `assay quantize` with several rules: which tensor gets which, what stays as it is, what is refused, and what is opened
//! before it gets a name.

mod support;

use llama::GgmlCodec;
use serde_json::Value;
use std::path::Path;
use support::quantized::{quantize, read, room};
use support::{assay, json, names_in, refused, stdout};
use synth::{Architecture, SmallModel, Vocabulary};

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "32", "--chunks", "4"];

/// A small model of this architecture as `m.gguf`, and a text.
fn room_of(architecture: Architecture) -> tempfile::TempDir {
    let room = room();
    let recipe = SmallModel::new(architecture).recipe(&Vocabulary::bytes(true));
    recipe.write(&room.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    room
}

/// The ggml type of each tensor of a file.
fn types(folder: &Path, file: &str) -> Vec<(String, String)> {
    let shown = json(folder, &["inspect", file, "--json"]);
    let text = |row: &Value, key: &str| row[key].as_str().expect("text").to_owned();
    shown["tensors"].as_array().expect("rows").iter().map(|row| (text(row, "name"), text(row, "type"))).collect()
}

fn type_of(folder: &Path, file: &str, name: &str) -> String {
    types(folder, file).into_iter().find(|(known, _)| known == name).expect("there").1
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

fn row<'a>(answer: &'a Value, list: &str, name: &str) -> &'a Value {
    let rows = answer[list].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{list} has no {name}: {answer}"))
}

/// What was said on standard error by a command that ended with this exit code, having written nothing.
fn failed(folder: &Path, args: &[&str], code: i32) -> String {
    let before = names_in(folder);
    let output = assay(folder, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(output.stdout.is_empty() && said.contains("\nhint: "), "{args:?}: {said}");
    assert_eq!(names_in(folder), before, "{args:?} wrote something");
    said
}

#[test]
fn what_llama_cpps_quantizer_never_touches_stays_as_it_is_and_is_listed() {
    let room = room_of(Architecture::LlamaExperts);
    let args = ["--apply", "weights=q4_0", "--carrier", "q4_0"];
    let answer = quantize(room.path(), "out.gguf", &args);
    let kept = answer["kept"].as_array().expect("rows");
    assert_eq!(kept.len(), 3, "{answer}");
    let router = row(&answer, "kept", "blk.1.ffn_gate_inp.weight");
    assert_eq!((&router["type"], &router["type_requested"]), (&"f32".into(), &"q4_0".into()));
    assert_eq!(router["rule"], "weights=q4_0");
    assert_eq!(type_of(room.path(), "out.gguf", "blk.1.ffn_gate_inp.weight"), "f32");
    assert!(!answer["changed"].as_array().expect("rows").iter().any(|row| row["name"] == router["name"]));
    let text = stdout(room.path(), &[&["quantize", "m.gguf", "out.gguf", "--force"], &args[..]].concat());
    assert!(text.contains("kept: 3 tensors that llama.cpp's quantizer never touches"), "{text}");
    assert!(text.contains("blk.1.ffn_gate_inp.weight stays f32, not q4_0 (weights=q4_0)"), "{text}");

    // F32 is the type that they have, and a type that is forced is taken.
    let f32 = quantize(room.path(), "f32.gguf", &["--apply", "router=q4_0"]);
    assert_eq!((f32["kept"].as_array().map(Vec::len), f32["changed"].as_array().map(Vec::len)), (Some(0), Some(3)));
    let forced = quantize(room.path(), "forced.gguf", &[&args[..], &["--force-tensors"]].concat());
    assert_eq!(forced["kept"].as_array().map(Vec::len), Some(0));
    assert_eq!(type_of(room.path(), "forced.gguf", "blk.1.ffn_gate_inp.weight"), "q4_0");
}

#[test]
fn a_file_that_the_engine_aborts_on_gets_no_name() {
    let room = room_of(Architecture::Mamba);
    let args = ["quantize", "m.gguf", "out.gguf", "--apply", "weights=f16", "--carrier", "f16"];
    let answer = json(room.path(), &[&args[..], &["--json"]].concat());
    assert_eq!((&answer["checked"], &answer["unchecked"]), (&true.into(), &Value::Null));
    assert_eq!(row(&answer, "kept", "blk.0.ssm_conv1d.weight")["type"], "f32");
    json(room.path(), &[&["eval", "out.gguf", "--json"], &SMALL[..]].concat());

    let forced = [&args[..2], &["forced.gguf"], &args[3..], &["--force-tensors"]].concat();
    let said = failed(room.path(), &forced, 4);
    assert!(said.contains("forced.gguf: the engine does not open what was written"), "{said}");
    assert!(said.contains("--no-check"), "{said}");
    let answer = json(room.path(), &[&forced[..], &["--no-check", "--json"]].concat());
    assert_eq!(answer["checked"], false);
    assert_eq!(type_of(room.path(), "forced.gguf", "blk.0.ssm_conv1d.weight"), "f16");
}

#[test]
fn an_architecture_that_the_engine_does_not_know_is_said_and_can_be_written_unopened() {
    let room = room();
    let path = room.path().join("m.gguf");
    let mut bytes = read(room.path(), "m.gguf");
    let at = bytes.windows(5).position(|w| w == b"llama").expect("the architecture");
    bytes[at..at + 5].copy_from_slice(b"ilama");
    std::fs::write(path, bytes).expect("a file");
    let args = ["quantize", "m.gguf", "out.gguf", "--apply", "ffn_norm=bf16"];
    let said = failed(room.path(), &args, 2);
    assert!(said.contains("unknown model architecture: 'ilama'") && said.contains("--no-check"), "{said}");
    assert!(!said.contains("/proc/"), "{said}");
    // Shards are opened together, and their links go too.
    failed(room.path(), &[&args[..], &["--split-max-size", "40K"]].concat(), 2);
    stdout(room.path(), &[&args[..], &["--no-check"]].concat());
    assert_eq!(names_in(room.path()), ["m.gguf", "out.gguf", "text.txt"]);
}

#[test]
fn values_are_not_rounded_twice_unless_that_is_asked_for() {
    let room = room();
    let args = ["quantize", "m.gguf", "out.gguf", "--apply", "attn=q4_0", "--apply", "ffn=q8_0", "--carrier", "q4_0"];
    let said = failed(room.path(), &args, 2);
    assert!(said.contains("blk.0.ffn_gate.weight") && said.contains("rounded twice"), "{said}");
    assert!(
        said.contains(
            "`assay quantize m.gguf out.gguf --apply 'attn=q4_0' --apply 'ffn=q8_0' --carrier own` stores each scheme"
        ),
        "{said}"
    );
    let own = quantize(room.path(), "own.gguf", &[&args[3..7], &["--carrier", "own"]].concat());
    assert_eq!(row(&own, "changed", "blk.0.ffn_up.weight")["type_realised"], "q8_0");
    assert_eq!(row(&own, "changed", "blk.0.attn_q.weight")["type_realised"], "q4_0");
    let sqnr = |answer: &Value| row(answer, "changed", "blk.0.ffn_up.weight")["sqnr_db"].as_f64().expect("a number");
    let forced = quantize(room.path(), "forced.gguf", &[&args[3..], &["--force-carrier"]].concat());
    assert!(sqnr(&own) > 40.0 && sqnr(&forced) < 30.0, "{} {}", sqnr(&own), sqnr(&forced));
    let text = stdout(room.path(), &[&args[..], &["--force-carrier"]].concat());
    assert!(
        text.contains("were rounded twice, as --force-carrier asks") && text.contains("q8_0 and then q4_0"),
        "{text}"
    );

    // A type that keeps what the scheme left is fine, whatever its name; one that does not is refused, kept types too.
    quantize(room.path(), "exact.gguf", &["--apply", "attn_q=bf16:trunc", "--carrier", "bf16"]);
    quantize(room.path(), "wide.gguf", &["--apply", "attn_q=fp8_e4m3", "--carrier", "f16"]);
    let kept = ["quantize", "own.gguf", "kept.gguf", "--apply", "attn_q=int8@row", "--carrier", "keep"];
    let said = failed(room.path(), &kept, 2);
    assert!(
        said.contains("q4_0 does not store the values of int8@row exactly") && said.contains("--carrier f32"),
        "{said}"
    );
    // identity rounds nothing, so its type is the only one that does.
    quantize(room.path(), "once.gguf", &["--apply", "attn_q=identity", "--carrier", "q4_0"]);
}

#[test]
fn each_tensor_gets_the_last_rule_that_names_it_and_rest_what_no_other_names() {
    let room = room();
    let rules = ["--apply", "weights,!token_embd=q4_0", "--apply", "attn_v=q8_0", "--apply", "ffn_down[layers=1]=q5_0"];
    let answer = quantize(room.path(), "out.gguf", &[&rules[..], &["--carrier", "own"]].concat());
    for (name, rule, ty) in [
        ("blk.0.attn_q.weight", "weights,!token_embd=q4_0", "q4_0"),
        ("blk.1.attn_v.weight", "attn_v=q8_0", "q8_0"),
        ("blk.0.ffn_down.weight", "weights,!token_embd=q4_0", "q4_0"),
        ("blk.1.ffn_down.weight", "ffn_down[layers=1]=q5_0", "q5_0"),
    ] {
        let row = row(&answer, "changed", name);
        assert_eq!((&row["rule"], &row["type_realised"]), (&rule.into(), &ty.into()), "{name}");
        assert_eq!(type_of(room.path(), "out.gguf", name), ty);
    }
    assert_eq!(type_of(room.path(), "out.gguf", "token_embd.weight"), "f32");
    // In memory the same rules mean the same.
    let ppl = |args: &[&str]| json(room.path(), &[&["eval", "--json"], args, &SMALL].concat())["ppl"].clone();
    assert_eq!(ppl(&["out.gguf"]), ppl(&[&["m.gguf"], &rules[..]].concat()));

    let rest = ["--apply", "rest=q4_0", "--apply", "attn_v=q8_0", "--apply", "token_embd=q8_0"];
    let answer = quantize(room.path(), "rest.gguf", &[&rest[..], &["--carrier", "own"]].concat());
    assert_eq!(row(&answer, "changed", "blk.0.ffn_up.weight")["rule"], "rest=q4_0");
    assert_eq!(row(&answer, "changed", "token_embd.weight")["rule"], "token_embd=q8_0");
    assert_eq!(ppl(&["rest.gguf"]), ppl(&[&["m.gguf"], &rest[..]].concat()));

    // A rule that is left without a tensor is said.
    let shadowed = ["quantize", "m.gguf", "shadowed.gguf", "--apply", "attn_v=q8_0", "--apply", "attn=q4_0"];
    let output = assay(room.path(), &[&shadowed[..], &["--json"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: no tensor gets the rule attn_v=q8_0"));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(strings(&answer["without_effect"]), ["attn_v=q8_0"]);
}

#[test]
fn a_base_takes_the_other_matrices_and_sizes_are_said_before_and_after() {
    let room = room_of(Architecture::LlamaExperts);
    let rules = ["--apply", "attn_v=q8_0", "--carrier", "own", "--base", "q4_0"];
    let answer = quantize(room.path(), "out.gguf", &rules);
    assert_eq!(row(&answer, "changed", "blk.0.ffn_up_exps.weight")["rule"], "base q4_0");
    assert_eq!(type_of(room.path(), "out.gguf", "blk.0.ffn_up_exps.weight"), "q4_0");
    assert_eq!(type_of(room.path(), "out.gguf", "blk.0.attn_v.weight"), "q8_0");
    assert_eq!(row(&answer, "kept", "blk.0.ffn_gate_inp.weight")["rule"], "base q4_0");
    assert_eq!(type_of(room.path(), "out.gguf", "blk.0.ffn_norm.weight"), "f32");
    assert!(answer["size_after"]["bytes"].as_u64() < answer["size_before"]["bytes"].as_u64());
    assert_eq!(answer["size_before"]["bpw"], 32.0);
    let types = answer["size_after"]["types"].as_array().expect("rows");
    let n_tensors: u64 = types.iter().filter_map(|row| row["tensors"].as_u64()).sum();
    assert_eq!((types.len(), n_tensors), (3, self::types(room.path(), "m.gguf").len() as u64), "{answer}");

    // Fake quantization makes this file larger, which is said before it is written.
    let fake = ["quantize", "out.gguf", "fake.gguf", "--apply", "weights=q4_0"];
    let output = assay(room.path(), &fake);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("note: the tensors grow from "), "{said}");
    assert!(said.contains("--carrier own stores each scheme in its own type"), "{said}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("bits per weight") && text.contains("types: "), "{text}");

    let said = refused(room.path(), &["quantize", "m.gguf", "x.gguf", "--apply", "attn=int8@row", "--carrier", "own"]);
    assert!(said.contains("int8@row has no ggml type of its own"), "{said}");
    let said = refused(room.path(), &["quantize", "m.gguf", "x.gguf", "--base", "q4_k"]);
    assert!(said.contains("--allow-fallback takes q5_0"), "{said}");
}

#[test]
fn a_file_of_tensor_types_means_what_it_means_to_llama_quantize() {
    let room = room();
    let write = |text: &str| std::fs::write(room.path().join("types.txt"), text).expect("a file");
    write("ATTN_V=Q8_0 attn_.*=q5_0\nblk\\.1\\.ffn=q5_1\nnothing=q4_0\n");
    let rules = ["--tensor-type-file", "types.txt", "--base", "q4_0", "--apply", "attn_k=f16", "--carrier", "own"];
    let answer = quantize(room.path(), "out.gguf", &rules);
    for (name, ty) in [
        ("blk.0.attn_v.weight", "q8_0"),
        ("blk.0.attn_q.weight", "q5_0"),
        ("blk.1.ffn_up.weight", "q5_1"),
        ("blk.0.ffn_up.weight", "q4_0"),
        ("blk.0.attn_k.weight", "f16"),
        // Vectors and norms are not its business.
        ("blk.0.attn_norm.weight", "f32"),
        ("blk.1.ffn_norm.weight", "f32"),
    ] {
        assert_eq!(type_of(room.path(), "out.gguf", name), ty, "{name}");
    }
    assert_eq!(row(&answer, "changed", "blk.0.attn_q.weight")["rule"], "attn_.*=q5_0");
    assert_eq!(strings(&answer["without_effect"]), ["nothing=q4_0"]);
    assert_eq!(strings(&answer["tensor_types"]).len(), 4);
    for (text, says) in [
        ("attn_v", "types.txt, line 1: found \"attn_v\", wanted PATTERN=TYPE"),
        ("attn_v=q8_0\n(=q4_0", "line 2: found the pattern"),
        ("nothing=q4_0", "none of the model's matrices"),
        ("", "found no rule"),
    ] {
        write(text);
        let said = refused(room.path(), &["quantize", "m.gguf", "x.gguf", "--tensor-type-file", "types.txt"]);
        assert!(said.contains(says), "{text:?}: {said}");
    }
}

#[test]
fn every_shard_carries_the_identity_of_its_writing_and_a_mixture_is_refused() {
    let room = room();
    let split = |apply: &str| {
        quantize(room.path(), "out.gguf", &["--apply", apply, "--split-max-size", "40K", "--force"])["out"].clone()
    };
    let first = split("ffn_norm=bf16");
    let first_name = first[0]["name"].as_str().expect("a name").to_owned();
    let old = read(room.path(), &first_name);
    assert_eq!(split("ffn_norm=bf16"), first, "equal work gives equal bytes");
    assert_ne!(split("ffn_norm=f16")[1]["sha256"], first[1]["sha256"]);
    json(room.path(), &["inspect", &first_name, "--json"]);
    // As a kill between the renames leaves it.
    std::fs::write(room.path().join(&first_name), old).expect("a file");
    let said = refused(room.path(), &["inspect", &first_name]);
    assert!(said.contains("belongs to another version of this model") && said.contains("00002-of-"), "{said}");
}
