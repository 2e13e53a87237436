//! `assay sweep` on a small model through the real engine and a real worker process.

mod support;

use llama::GgmlCodec;
use serde_json::Value;
use std::path::Path;
use support::{json, refused, stdout, text};
use synth::{Architecture, DrawnValues, SmallModel, Vocabulary};

const N_LAYER: u64 = 8;

/// Eight layers, of which 2 and 5 speak up.
fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(1500)).expect("a file");
    let model = SmallModel { n_layer: N_LAYER, ..SmallModel::new(Architecture::Llama) };
    let mut recipe = model.recipe(&Vocabulary::bytes(true));
    for layer in 0..N_LAYER {
        for stem in ["ffn_down", "attn_output"] {
            let loud = if layer == 2 || layer == 5 { 0.3 } else { 0.01 };
            recipe.tensor_mut(&format!("blk.{layer}.{stem}.weight")).expect("it is there").values =
                DrawnValues::spread(loud);
        }
    }
    recipe.write(&folder.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    folder
}

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "64", "--chunks", "20"];

fn sweep(folder: &Path, args: &[&str]) -> Value {
    let always = ["sweep", "m.gguf", "--apply", "weights=int4@block32", "--json", "--quiet"];
    json(folder, &[&always[..], &SMALL, args].concat())
}

fn rows(answer: &Value) -> &Vec<Value> {
    answer["layers"].as_array().expect("rows")
}

#[test]
fn a_sweep_ranks_every_layer_by_what_eval_says_of_it() {
    let room = room();
    let answer = sweep(room.path(), &["--arm", "native"]);
    assert_eq!((rows(&answer).len(), answer["ranking"].as_array().map(Vec::len)), (8, Some(8)));
    let two: Vec<u64> = answer["ranking"].as_array().expect("rows")[..2].iter().filter_map(Value::as_u64).collect();
    assert!(two == [2, 5] || two == [5, 2], "{two:?}");
    for layer in [0, 5] {
        let apply = format!("weights[layers={layer}]=int4@block32");
        let alone = json(
            room.path(),
            &[&["eval", "m.gguf", "--apply", &apply, "--arm", "native", "--json", "--quiet"][..], &SMALL].concat(),
        );
        let row = &rows(&answer)[layer];
        for key in ["kld_mean", "kld_se", "same_top", "dlnppl"] {
            assert_eq!(row[key], alone[key], "layer {layer}: {key}");
        }
    }
}

#[test]
fn a_race_finds_the_worst_layers_with_fewer_windows_and_the_same_numbers() {
    let room = room();
    let (whole, race) = (sweep(room.path(), &[]), sweep(room.path(), &["--race", "2"]));
    assert_eq!(race["ranking"].as_array(), whole["ranking"].as_array().map(|all| all[..2].to_vec()).as_ref());
    let measured = race["measured_chunks"].as_u64().expect("a number");
    assert!(measured < 8 * 20 / 2, "{measured} of 160");
    assert_eq!(whole["measured_chunks"], 160);
    let standings: Vec<&str> = rows(&race).iter().filter_map(|row| row["standing"].as_str()).collect();
    assert_eq!(standings.iter().filter(|standing| **standing == "inside").count(), 2, "{race}");
    assert!(!standings.contains(&"racing"), "{race}");
    assert_eq!(sweep(room.path(), &["--race", "2", "--threads", "1"])["layers"], race["layers"]);
    let settled = stdout(
        room.path(),
        &[&["sweep", "m.gguf", "--apply", "weights=identity", "--race", "--null", "1e-6"], &SMALL[..]].concat(),
    );
    assert!(settled.contains(" null\n") && !settled.contains(" inside\n"), "{settled}");
}

#[test]
fn what_cannot_be_swept_is_refused() {
    let room = room();
    let refuse = |args: &[&str]| refused(room.path(), &[&["sweep", "m.gguf"], args].concat());
    assert!(refuse(&["--apply", "token_embd=int4@block32"]).contains("none of the tensors is in a layer"));
    assert!(refuse(&["--apply", "weights=int4@block32", "--race", "0"]).contains("--race"));
    assert!(refuse(&["--apply", "weights=int4@block32", "--race", "--alpha", "1"]).contains("between 0 and 1"));
    assert!(refuse(&["--apply", "weights=q4_K"]).contains("blocks of 256 values"));
    assert!(refuse(&[]).contains("--apply <SEL=SCHEME>"));
}

#[test]
fn the_text_has_routing_flips_where_the_model_has_routers_and_not_elsewhere() {
    let folder = room();
    let recipe = SmallModel::new(Architecture::LlamaExperts).recipe(&Vocabulary::bytes(true));
    recipe.write(&folder.path().join("experts.gguf"), &GgmlCodec, |_| {}).expect("written");
    let text_of = |model: &str| {
        let question = ["sweep", model, "--apply", "weights=int4@block32", "--quiet"];
        stdout(folder.path(), &[&question[..], &["--text", "text.txt", "--ctx", "64", "--chunks", "2"]].concat())
    };
    let with_routers = text_of("experts.gguf");
    let head = with_routers.lines().find(|line| line.contains("KLD mean")).expect("a head");
    assert!(head.contains("routing flips") && head.ends_with("windows"), "{head}");
    let row = with_routers.lines().find(|line| line.trim_start().starts_with("0 ")).expect("layer 0");
    assert_eq!(row.matches('%').count(), 2, "same top and routing flips: {row}");
    assert!(!text_of("m.gguf").contains("routing flips"));
}
