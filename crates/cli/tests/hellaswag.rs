//! `assay eval --hellaswag` on a small model through the real engine, and on a real one beside llama-perplexity's score.

mod support;

use serde_json::Value;
use std::path::Path;
use support::{TinyModel, json, real_model, refused, stdout};

/// Our own words in the format of the task files.
const TASKS: &str = "\
Baking: A woman kneads dough on a floured table. She
1
drives the dough to the station and buys a ticket.
puts the dough into a bowl and covers it with a cloth.
reads the dough a story until it is dark.
paints the table and the dough and the wall blue.
Cycling: A boy pumps up the tyre of his bicycle. He
0
screws on the cap, gets on and rides away.
eats the pump with a spoon and some salt.
sings to the tyre in a language of birds.
folds the bicycle twice and posts it.
Gardening: A man digs a hole beside the fence. He
3
asks the fence to leave the garden.
counts to a million and begins again.
pours the hole into a cup and drinks it.
sets a young tree in it and fills it with earth.
";

fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("tasks.txt"), TASKS).expect("a file");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "m.gguf");
    folder
}

fn tasks(folder: &Path, args: &[&str]) -> Value {
    json(folder, &[&["eval", "m.gguf", "--hellaswag", "tasks.txt", "--json", "--quiet"], args].concat())
}

#[test]
fn every_ending_is_scored_and_an_unchanged_variant_scores_the_same() {
    let room = room();
    let plain = tasks(room.path(), &[]);
    assert_eq!((&plain["n_tasks"], &plain["acc_norm_ref"]), (&3.into(), &Value::Null));
    let scores = plain["ln_p"].as_array().expect("rows");
    assert!(
        scores.iter().all(|task| task.as_array().is_some_and(|endings| {
            endings.len() == 4 && endings.iter().all(|ln_p| ln_p.as_f64().is_some_and(|ln_p| ln_p < 0.0))
        })),
        "{plain}"
    );
    let same = tasks(room.path(), &["--apply", "weights=identity"]);
    assert_eq!(same["ln_p"], plain["ln_p"]);
    assert_eq!((&same["gained"], &same["lost"], &same["mcnemar_p"]), (&0.into(), &0.into(), &1.0.into()));
    assert_eq!(same["acc_norm"], same["acc_norm_ref"]);
    let other = tasks(room.path(), &["--apply", "weights=int2@block32"]);
    assert_ne!(other["ln_p"], plain["ln_p"]);
    assert_eq!(tasks(room.path(), &["--threads", "1"])["ln_p"], plain["ln_p"]);
    let one = tasks(room.path(), &["--tasks", "1"]);
    assert_eq!(one["ln_p"][0], plain["ln_p"][0]);
    assert!(
        stdout(room.path(), &["eval", "m.gguf", "--hellaswag", "tasks.txt", "--quiet"])
            .starts_with("HellaSwag acc_norm ")
    );
}

#[test]
fn files_that_hold_no_whole_tasks_are_refused_by_line() {
    let room = room();
    let write = |text: &str| std::fs::write(room.path().join("bad.txt"), text).expect("a file");
    let refuse = |args: &[&str]| refused(room.path(), &[&["eval", "m.gguf", "--hellaswag", "bad.txt"], args].concat());
    write("one\n0\n");
    assert!(refuse(&[]).contains("bad.txt: found 2 lines, wanted a multiple of 6"));
    write("c\n7\na\nb\nc\nd\n");
    assert!(refuse(&[]).contains("line 2: found \"7\""));
    write("c\n1\na\n\nb\nd\n");
    assert!(refuse(&[]).contains("no tokens of its own"));
    write(TASKS);
    assert!(refuse(&["--ctx", "16"]).contains("give a larger --ctx"));
    assert!(refuse(&["--text", "tasks.txt"]).contains("cannot be used with"));
}

/// Made with `llama-perplexity --hellaswag -f` on these three tasks, by the peer of the same generation
/// (scripts/build-peer.sh): 1 of 3 right, the last one that it takes.
#[test]
fn a_real_model_finds_the_endings_that_llama_perplexity_says_it_finds() {
    let Some(path) = real_model("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let room = room();
    let path = path.to_str().expect("UTF-8");
    let answer = json(room.path(), &["eval", path, "--hellaswag", "tasks.txt", "--arm", "native", "--json", "--quiet"]);
    assert_eq!(answer["acc_norm"].as_f64(), Some(1.0 / 3.0), "{answer}");
}
