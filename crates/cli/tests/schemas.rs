//! What every command prints with `--json` is valid by the schema that docs/schemas has of it, and so is what a run stores.
//! The keys that were printed, in their order and with the types of their values, are snapshots.

mod support;

use llama::GgmlCodec;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::keys::Keys;
use support::{json, snapshot, stdout, subcommands, text};
use synth::{Architecture, SmallModel, Vocabulary};

/// The schema of that name.
fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schemas/{name}.json"));
    serde_json::from_slice(&std::fs::read(path).expect(name)).expect("JSON")
}

/// One document that is not by its schema, or that says no format first, fails the test.
#[track_caller]
fn check(name: &str, document: &Value) {
    let schema = schema(name);
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let wrong: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    if let Some(format) = schema["properties"]["format"]["const"].as_u64() {
        let newer = Value::from(format + 1);
        let mut other = document.clone();
        other["format"] = newer;
        assert!(!validator.is_valid(&other), "{name}: the schema is of format {format} alone");
    }
}

/// A model with a tokenizer and a chat template, a text and tasks.
fn room() -> tempfile::TempDir {
    let room = tempfile::tempdir().expect("a folder");
    let mut recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>";
    recipe.metadata.push(("tokenizer.chat_template".into(), gguf::Value::String(template.into())));
    // JSON has no word for it.
    recipe.metadata.push(("a.value".into(), gguf::Value::F32(f32::NAN)));
    recipe.write(&room.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    let experts = SmallModel::new(Architecture::LlamaExperts).recipe(&Vocabulary::bytes(true));
    experts.write(&room.path().join("experts.gguf"), &GgmlCodec, |_| {}).expect("written");
    std::fs::write(room.path().join("text.txt"), text(4000)).expect("a file");
    let tasks = "Sewing: A woman threads a needle. She\n0\nties a knot.\neats it.\nsings.\nruns away.\n";
    std::fs::write(room.path().join("tasks.txt"), tasks).expect("a file");
    room
}

/// A question that another scheme answers: rows of the small model are not whole blocks of 256.
const FALLBACK: [&str; 3] = ["--apply", "attn_q=q4_k", "--allow-fallback"];

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "32", "--chunks", "2"];

#[test]
fn every_answer_is_valid_by_its_schema() {
    let room = room();
    let small = |args: &[&'static str]| [args, &SMALL[..]].concat();
    let mut asked: Vec<(&str, Vec<&str>)> = vec![
        ("doctor", vec!["doctor"]),
        ("schemes", vec!["schemes"]),
        ("inspect", vec!["inspect", "m.gguf"]),
        ("selectors", vec!["selectors", "m.gguf"]),
        ("census", vec!["census", "m.gguf"]),
        ("census", vec!["census", "m.gguf", "--target", "norms", "--against", "bf16", "--against", "zero"]),
        ("census", vec!["census", "m.gguf", "--target", "attn_q", "--against", "q4_k", "--allow-fallback"]),
        ("quantize", vec!["quantize", "m.gguf", "out.gguf", "--apply", "ffn=int4@block32"]),
        ("quantize", vec!["quantize", "m.gguf", "split.gguf", "--apply", "all=identity", "--split-max-size", "80K"]),
        ("diff", vec!["diff", "m.gguf", "out.gguf"]),
        ("diff", vec!["diff", "m.gguf", "m.gguf"]),
        // Enough windows for standard errors.
        (
            "eval",
            vec!["eval", "m.gguf", "--text", "text.txt", "--ctx", "32", "--chunks", "8", "--apply", "ffn_norm=bf16"],
        ),
        ("eval", small(&["eval", "m.gguf"])),
        ("eval", [small(&["eval", "m.gguf"]), FALLBACK.to_vec()].concat()),
        ("eval", small(&["eval", "m.gguf", "--apply", "ffn_down=int4@block32", "--trace", "--attention"])),
        ("eval", small(&["eval", "experts.gguf", "--apply", "router=bf16"])),
        ("sweep", small(&["sweep", "m.gguf", "--apply", "ffn_down=int4@block32"])),
        ("sweep", [small(&["sweep", "m.gguf", "--race", "1"]), FALLBACK.to_vec()].concat()),
        ("task", [&["task", "m.gguf", "--tasks", "hellaswag:tasks.txt"], &FALLBACK[..]].concat()),
        ("chat", [&["chat", "m.gguf", "--prompt", "hi", "--tokens", "4"], &FALLBACK[..]].concat()),
        ("run", small(&["run", "ffn-norm-bf16", "m.gguf", "--out", "run"])),
        ("status", vec!["status", "run"]),
        ("report", vec!["report", "run"]),
    ];
    // Half a minute of known answers is enough for one test; `verify` has its own.
    asked.push(("verify", vec!["verify", "m.gguf", "--ctx", "32", "--chunks", "1"]));
    let mut keys: BTreeMap<&str, Keys> = BTreeMap::new();
    for (name, args) in &asked {
        let args = [&args[..], &["--json", "--quiet"]].concat();
        let printed = stdout(room.path(), &args);
        let first = printed.lines().nth(1).unwrap_or_default();
        assert!(first.starts_with("  \"format\": "), "{args:?} begins with {first}");
        check(name, &serde_json::from_str(&printed).expect("JSON"));
        keys.entry(name).or_default().read(&printed);
    }
    let texts: Vec<(String, String)> =
        keys.iter().map(|(name, keys)| ((*name).to_owned(), keys.text(&schema(name)))).collect();
    snapshot::compare("json-keys", &texts);

    let asked: BTreeSet<String> = asked.iter().map(|(name, _)| (*name).to_owned()).collect();
    let commands: BTreeSet<String> = subcommands().into_iter().collect();
    assert_eq!(asked, commands, "every command is asked");
}

#[test]
fn what_a_run_stores_is_valid_by_its_schema() {
    let room = room();
    json(room.path(), &[&["run", "embedding-4bit", "m.gguf", "--out", "run", "--json"], &SMALL[..]].concat());
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(room.path().join("run").join(name)).expect(name)).expect("JSON")
    };
    check("run-record", &read("run.json"));
    check("plan-lock", &read("plan.lock.json"));
    let cells = support::names_in(&room.path().join("run/cells"));
    assert!(cells.len() > 10);
    for cell in cells {
        check("cell-record", &read(&format!("cells/{cell}")));
    }
}
