//! Edits that matter in some windows only: what the first window shows is compared with the first window alone.

mod support;

use gguf::GgufFile;
use llama::GgmlCodec;
use serde_json::Value;
use std::path::Path;
use support::{json, stdout};
use synth::{Architecture, DrawnValues, SmallModel, ValueGrid, Vocabulary};

/// The one letter whose row of the token embedding is not on BF16's grid.
const RARE: u8 = b'q';
const WINDOW: usize = 64;

/// A model whose token embedding is BF16 but for one row, and a text whose first window lacks that row's token.
fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vocabulary = Vocabulary::bytes(true);
    let mut recipe = SmallModel::new(Architecture::Llama).recipe(&vocabulary);
    let embedding = recipe.tensor_mut("token_embd.weight").expect("a token embedding");
    embedding.values = DrawnValues::Bell { mean: 0.0, std: 0.5, grid: ValueGrid::Bf16 };
    let path = folder.path().join("m.gguf");
    recipe.write(&path, &GgmlCodec, |_| {}).expect("written");
    let file = GgufFile::open(&path).expect("a model");
    let tensor = file.tensor("token_embd.weight").expect("a token embedding");
    let (n_per_row, first_byte_token) = (tensor.n_per_row() as usize, 3);
    let row = (first_byte_token + usize::from(RARE)) * n_per_row * size_of::<f32>();
    let at = file.data_offset() as usize + tensor.offset as usize + row;
    let mut bytes = std::fs::read(&path).expect("the model");
    for value in bytes[at..at + n_per_row * size_of::<f32>()].chunks_exact_mut(size_of::<f32>()) {
        // Bits that BF16 does not have.
        value[0] |= 0x55;
        value[1] |= 0x2a;
    }
    std::fs::write(&path, bytes).expect("written");
    let common = support::text(3 * WINDOW).to_lowercase().replace(char::from(RARE), "k");
    let first: String = common.chars().take(2 * WINDOW).collect();
    std::fs::write(folder.path().join("late.txt"), format!("{first}{}", "a quick quay ".repeat(40))).expect("a file");
    folder
}

/// The verdicts on the cells of the question. Every control of the run holds.
fn verdicts(folder: &Path, target: &str, out: &str) -> Vec<String> {
    let window = WINDOW.to_string();
    let args =
        ["run", "--apply", target, "m.gguf", "--text", "late.txt", "--ctx", &window, "--chunks", "6", "--out", out];
    stdout(folder, &args);
    let record = std::fs::read_to_string(folder.join(out).join("run.json")).expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["controls_ok"], true);
    let cells = record["models"][0]["cells"].as_array().expect("cells");
    let of_target = cells.iter().filter(|judged| judged["cell"]["role"] == "variant");
    of_target.map(|judged| judged["verdict"].as_str().expect("a verdict").to_owned()).collect()
}

#[test]
fn an_edit_that_first_matters_in_a_later_window_is_real_and_not_broken() {
    let room = room();
    for (target, out) in [("token_embd=bf16", "weights"), ("token_embd[where=activation]=bf16", "activations")] {
        let verdicts = verdicts(room.path(), target, out);
        assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| verdict == "REAL"), "{target}: {verdicts:?}");
    }
}

#[test]
fn what_an_edit_of_activations_did_is_summed_over_the_windows() {
    let room = room();
    let eval = |windows: &str| {
        let window = WINDOW.to_string();
        let args = ["eval", "m.gguf", "--apply", "token_embd[where=activation]=bf16", "--text", "late.txt", "--json"];
        json(room.path(), &[&args[..], &["--ctx", &window, "--chunks", windows]].concat())["changed"][0].clone()
    };
    let (one, four) = (eval("1"), eval("4"));
    assert_eq!(one["changed"], 0, "{one}");
    assert_eq!(four["n"].as_u64(), one["n"].as_u64().map(|n| 4 * n), "{four}");
    assert!(four["changed"].as_u64() > Some(0), "{four}");
}
