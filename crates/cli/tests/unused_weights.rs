//! Weights that are in the file and that the engine's graph does not use, such as the layers of multi-token
//! prediction. They are `DEAD`, and the rest of the target is measured.

mod support;

use gguf::{GgmlType, TensorSpec, Value};
use llama::GgmlCodec;
use std::path::Path;
use support::{json, stdout, text};
use synth::{Architecture, DrawnValues, SmallModel, TensorRecipe, Vocabulary};

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "64", "--chunks", "2"];

/// A model of three layers, the last of which predicts the token after the next.
fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(300)).expect("a file");
    let mut recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    for (key, value) in &mut recipe.metadata {
        match key.strip_prefix("llama.") {
            Some(rest) => *key = format!("glm4moe.{rest}"),
            None if key == "general.architecture" => *value = Value::String(b"glm4moe".to_vec()),
            None => {}
        }
    }
    let numbers = [
        ("expert_count", 4),
        ("expert_used_count", 2),
        ("expert_shared_count", 1),
        ("expert_feed_forward_length", 64),
        ("leading_dense_block_count", 3),
        ("nextn_predict_layers", 1),
    ];
    recipe.metadata.extend(numbers.map(|(key, n)| (format!("glm4moe.{key}"), Value::U32(n))));
    for tensor in &mut recipe.tensors {
        tensor.spec.name = tensor.spec.name.replace("ffn_norm", "post_attention_norm");
    }
    for (stem, shape) in [("eh_proj", &[128, 64][..]), ("enorm", &[64]), ("hnorm", &[64]), ("shared_head_norm", &[64])]
    {
        let name = format!("blk.2.nextn.{stem}.weight");
        let spec = TensorSpec { name, ty: GgmlType::F32, shape: shape.to_vec() };
        recipe.tensors.push(TensorRecipe { spec, values: DrawnValues::spread(0.1) });
    }
    recipe.write(&folder.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    folder
}

fn asked(folder: &Path, question: &[&str]) -> serde_json::Value {
    json(folder, &[question, &["--json", "--quiet"], &SMALL].concat())
}

#[test]
fn weights_that_the_graph_does_not_use_are_left_out_and_the_rest_is_measured() {
    let room = room();
    let all = asked(room.path(), &["eval", "m.gguf", "--apply", "ffn=int4@block32"]);
    let unused: Vec<&str> = all["changed"]
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["unused"] == true)
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(unused, ["blk.2.ffn_gate.weight", "blk.2.ffn_up.weight", "blk.2.ffn_down.weight"]);
    let used = asked(room.path(), &["eval", "m.gguf", "--apply", "ffn[layers=0-1]=int4@block32"]);
    assert_eq!(all["kld_mean"], used["kld_mean"], "the unused layer adds nothing");
    assert!(all["kld_mean"].as_f64().expect("a number") > 0.0);
}

#[test]
fn the_text_counts_unused_weights_and_says_where_all_of_them_are_named() {
    let room = room();
    let question = ["eval", "m.gguf", "--apply", "weights=int4@block32"];
    let text = stdout(room.path(), &[&question[..], &SMALL].concat());
    let said = "the engine's graph does not use 8 tensors, which stay as they are; --json names them all as `unused`";
    assert!(text.contains(said), "{text}");
    let answer = asked(room.path(), &question);
    let rows = answer["changed"].as_array().expect("rows");
    assert_eq!(rows.iter().filter(|row| row["unused"] == true).count(), 8, "{answer}");
}

#[test]
fn a_target_of_unused_weights_only_is_dead_and_no_failure() {
    let room = room();
    let question = ["eval", "m.gguf", "--apply", "ffn[layers=2]=int4@block32"];
    let text = stdout(room.path(), &[&question[..], &SMALL].concat());
    assert!(text.contains("ffn[layers=2]=int4@block32: DEAD, the engine's graph uses none of the target"), "{text}");
    let answer = asked(room.path(), &question);
    assert_eq!((&answer["kld_mean"], &answer["logits_changed"]), (&0.0.into(), &0.into()));
}

#[test]
fn a_sweep_and_a_run_go_on_past_an_unused_layer() {
    let room = room();
    let swept = asked(room.path(), &["sweep", "m.gguf", "--apply", "weights=int4@block32"]);
    let unused: Vec<&serde_json::Value> =
        swept["layers"].as_array().expect("rows").iter().map(|row| &row["n_unused"]).collect();
    assert_eq!(unused, [0, 0, 8]);
    let whole = asked(room.path(), &["run", "m.gguf", "--apply", "ffn=int4@block32", "--out", "whole"]);
    let verdicts = |answer: &serde_json::Value| -> Vec<String> {
        let rows = answer["verdicts"].as_array().expect("rows").iter();
        rows.filter(|row| row["extent"] == "whole").map(|row| row["verdict"].as_str().expect("a word").into()).collect()
    };
    assert!(verdicts(&whole) == ["REAL", "REAL"], "{whole}");
    let dead = asked(room.path(), &["run", "m.gguf", "--apply", "ffn[layers=2]=int4@block32", "--out", "dead"]);
    assert!(verdicts(&dead) == ["DEAD", "DEAD"], "{dead}");
}
