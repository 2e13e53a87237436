//! The JSON Schemas in docs/schemas match the types, and a document whose fields change has another version.
//! `UPDATE_SCHEMAS=1` writes both anew.

use record::answer::*;
use record::store::STORE_FORMAT;
use record::store::lock::PlanLock;
use record::{CELL_FORMAT, CellRecord, RECORD_FORMAT, RunRecord};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn schema<T: JsonSchema>() -> Schema {
    SchemaGenerator::default().into_root_schema_for::<T>()
}

/// Every document that is printed or stored, by the name of its schema.
fn documents() -> Vec<(&'static str, Schema)> {
    vec![
        ("census", schema::<CensusAnswer>()),
        ("chat", schema::<ChatAnswer>()),
        ("diff", schema::<DiffAnswer>()),
        ("doctor", schema::<DoctorAnswer>()),
        ("eval", schema::<EvalAnswer>()),
        ("inspect", schema::<InspectAnswer>()),
        ("quantize", schema::<QuantizeAnswer>()),
        ("report", schema::<ReportAnswer>()),
        ("run", schema::<RunAnswer>()),
        ("schemes", schema::<SchemesAnswer>()),
        ("selectors", schema::<SelectorsAnswer>()),
        ("status", schema::<StatusAnswer>()),
        ("sweep", schema::<SweepAnswer>()),
        ("task", schema::<TaskAnswer>()),
        ("verify", schema::<VerifyAnswer>()),
        // The documents of a run folder.
        ("cell-record", schema::<CellRecord>()),
        ("plan-lock", schema::<PlanLock>()),
        ("run-record", schema::<RunRecord>()),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas")
}

/// The file with a line for each document: its name, its version, and the hash of its shape.
const VERSIONS: &str = "versions.txt";

/// The version that a document states.
fn version(name: &str, schema: &Value) -> u64 {
    match name {
        "cell-record" => CELL_FORMAT.0.into(),
        "plan-lock" => STORE_FORMAT.0.into(),
        "run-record" => RECORD_FORMAT.0.into(),
        _ => schema["properties"]["format"]["const"].as_u64().unwrap_or_else(|| panic!("{name} states no format")),
    }
}

/// The hash of what a reader of a document depends on: everything but the descriptions and the version itself.
fn shape(schema: &Value) -> String {
    fn plain(value: &Value, is_fields: bool) -> Value {
        match value {
            Value::Object(object) => {
                let said = |key: &str| !is_fields && matches!(key, "description" | "title" | "const");
                let kept = object.iter().filter(|(key, _)| !said(key));
                kept.map(|(key, value)| (key.clone(), plain(value, key == "properties" && !is_fields))).collect()
            }
            Value::Array(array) => array.iter().map(|value| plain(value, false)).collect(),
            other => other.clone(),
        }
    }
    let hash = blake3::hash(plain(schema, false).to_string().as_bytes()).to_hex();
    hash.as_str()[..16].to_owned()
}

/// Checks what a document is against its line of the file of versions.
fn judged(name: &str, (version, shape): (u64, &str), line: Option<(u64, &str)>) -> Result<(), String> {
    match line {
        Some((before, was)) if before == version && was != shape => Err(format!(
            "the fields of {name} changed and its format is still {version}: raise the constant beside its type, or \
             remove its line from docs/schemas/{VERSIONS} where no program with format {version} was ever pushed"
        )),
        Some((before, _)) if before > version => Err(format!("{name} went back from format {before} to {version}")),
        _ => Ok(()),
    }
}

#[test]
fn a_document_whose_fields_change_has_another_version() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1");
    let path = folder().join(VERSIONS);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let parsed = |line: &'_ str| -> Option<(String, u64, String)> {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.next()?.parse().ok()?, words.next()?))
    };
    let lines: Vec<_> = before.lines().filter_map(parsed).collect();
    let mut now = String::new();
    for (name, schema) in documents() {
        let schema = Value::from(schema);
        let (version, shape) = (version(name, &schema), shape(&schema));
        let line = lines.iter().find(|(known, ..)| known == name).map(|(_, format, shape)| (*format, shape.as_str()));
        judged(name, (version, &shape), line).unwrap_or_else(|why| panic!("{why}"));
        now += &format!("{name} {version} {shape}\n");
    }
    if update {
        std::fs::write(&path, &now).expect("writes");
    }
    assert!(update || now == before, "{VERSIONS} is old: UPDATE_SCHEMAS=1 cargo test -p assay-record --test schemas");
}

#[test]
fn another_shape_needs_another_version_and_other_words_do_not() {
    let schema = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let before = schema(r#"{"description":"a","properties":{"format":{"const":1},"title":{"type":"string"}}}"#);
    let words = schema(r#"{"description":"b","properties":{"format":{"const":2},"title":{"type":"string"}}}"#);
    let field = schema(r#"{"description":"a","properties":{"format":{"const":1}}}"#);
    assert_eq!(shape(&before), shape(&words));
    assert_ne!(shape(&before), shape(&field), "a field may be called title");
    assert_eq!(judged("x", (1, "a"), Some((1, "a"))), Ok(()));
    assert_eq!(judged("x", (2, "b"), Some((1, "a"))), Ok(()));
    assert_eq!(judged("x", (1, "a"), None), Ok(()));
    assert!(judged("x", (1, "b"), Some((1, "a"))).is_err_and(|why| why.contains("still 1")));
    assert!(judged("x", (1, "a"), Some((2, "a"))).is_err_and(|why| why.contains("went back")));
}

#[test]
fn the_schemas_of_the_documentation_are_current() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    for (name, schema) in documents() {
        let path = folder().join(format!("{name}.json"));
        let wanted = format!("{}\n", serde_json::to_string_pretty(&schema).expect("prints"));
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&wanted) {
            stale.push(name);
            if update {
                std::fs::create_dir_all(folder()).expect("a folder");
                std::fs::write(path, wanted).expect("writes");
            }
        }
    }
    let mut known: BTreeSet<String> = documents().iter().map(|(name, _)| format!("{name}.json")).collect();
    known.insert(VERSIONS.into());
    let there = std::fs::read_dir(folder()).expect("docs/schemas").flatten();
    let there: BTreeSet<String> = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(
        update || stale.is_empty(),
        "{stale:?} changed: UPDATE_SCHEMAS=1 cargo test -p assay-record --test schemas"
    );
    assert_eq!(there, known, "one schema for each document, and nothing else");
}

#[test]
fn every_answer_says_its_format_first() {
    for (name, schema) in documents().into_iter().filter(|(name, _)| *name != "cell-record") {
        let schema = Value::from(schema);
        let keys = schema["properties"].as_object().expect("an object");
        assert!(keys.contains_key("format"), "{name}");
        let required = schema["required"].as_array().expect("required keys");
        assert_eq!(required.first(), Some(&"format".into()), "{name}");
    }
}
