//! Controls of a run on targets for which the usual destruction is too much, or too little.

mod support;

use gguf::{GgmlType, TensorSpec};
use llama::GgmlCodec;
use serde_json::Value;
use std::path::Path;
use support::{stdout, text};
use synth::{Architecture, DrawnValues, Recipe, SmallModel, TensorRecipe, ValueGrid, Vocabulary};

fn room(architecture: Architecture, change: impl FnOnce(&mut Recipe)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(200)).expect("a file");
    let mut recipe = SmallModel::new(architecture).recipe(&Vocabulary::bytes(true));
    change(&mut recipe);
    recipe.write(&folder.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    folder
}

/// What a run on the target finds: the positive control of the exact arm, and the whole record.
fn positive_control(folder: &Path, target: &str) -> (Value, Value) {
    let args =
        ["run", "--apply", target, "m.gguf", "--text", "text.txt", "--ctx", "32", "--chunks", "4", "--out", "run"];
    stdout(folder, &args);
    let record = std::fs::read_to_string(folder.join("run/run.json")).expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["controls_ok"], true, "{record}");
    let controls = record["models"][0]["controls"].as_array().expect("controls");
    let is_positive = |control: &&Value| control["name"].as_str().is_some_and(|name| name.starts_with("positive"));
    (controls.iter().find(is_positive).expect("a positive control").clone(), record)
}

#[test]
fn a_destroyed_target_that_makes_logits_non_finite_matters() {
    let room = room(Architecture::Llama, |recipe| {
        let spec = TensorSpec { name: "rope_freqs.weight".into(), ty: GgmlType::F32, shape: vec![8] };
        recipe.tensors.push(TensorRecipe { spec, values: DrawnValues::around_one(0.3) });
    });
    // Rotations are divided by these factors, and zero is the positive control.
    let (control, record) = positive_control(room.path(), "rope_freqs=e3m1");
    assert_eq!(control["found"]["found"], "non_finite_logits", "{control}");
    let cells = record["models"][0]["cells"].as_array().expect("cells");
    let answers: Vec<&Value> = cells.iter().filter(|judged| judged["cell"]["role"] == "variant").collect();
    assert!(!answers.is_empty() && answers.iter().all(|judged| judged["verdict"] == "REAL"), "{answers:?}");
    let report = std::fs::read_to_string(room.path().join("run/report/report.md")).expect("a report");
    assert!(report.contains("the logits become non-finite"), "{report}");
}

#[test]
fn a_target_of_nothing_but_zeros_has_nothing_to_destroy() {
    let room = room(Architecture::Qwen2, |recipe| {
        for tensor in recipe.tensors.iter_mut().filter(|tensor| tensor.spec.name.ends_with(".bias")) {
            tensor.values = DrawnValues::Bell { mean: 0.0, std: 0.0, grid: ValueGrid::F32 };
        }
    });
    let (control, record) = positive_control(room.path(), "attn_bias=bf16");
    assert_eq!(control["found"]["found"], "nothing_to_see", "{control}");
    let cells = record["models"][0]["cells"].as_array().expect("cells");
    assert!(cells.iter().all(|judged| judged["cell"]["role"] != "variant" || judged["verdict"] == "NO-OP"), "{record}");
}
