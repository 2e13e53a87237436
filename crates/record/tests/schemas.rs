//! The JSON Schemas in docs/schemas match the types. `UPDATE_SCHEMAS=1` writes them anew.

use record::answer::*;
use record::store::lock::PlanLock;
use record::{CellRecord, RunRecord};
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
    let known: BTreeSet<String> = documents().iter().map(|(name, _)| format!("{name}.json")).collect();
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
