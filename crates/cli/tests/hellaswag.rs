//! `assay task --tasks hellaswag:FILE` on a small model through the real engine, and on a real one beside llama-perplexity's score.

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

/// The whole answer, and its scores on the one file.
fn tasks(folder: &Path, args: &[&str]) -> Value {
    let answer =
        json(folder, &[&["task", "m.gguf", "--tasks", "hellaswag:tasks.txt", "--json", "--quiet"], args].concat());
    assert_eq!((&answer["format"], answer["tasks"].as_array().map(Vec::len)), (&2.into(), Some(1)), "{answer}");
    answer["tasks"][0].clone()
}

#[test]
fn every_ending_is_scored_and_an_unchanged_variant_scores_the_same() {
    let room = room();
    let plain = tasks(room.path(), &[]);
    assert_eq!((&plain["n"], &plain["acc_norm_ref"]), (&3.into(), &Value::Null));
    assert_eq!((&plain["name"], &plain["version"], &plain["chance"]), (&"hellaswag".into(), &1.into(), &0.25.into()));
    let scores = plain["ln_p"].as_array().expect("rows");
    assert!(
        scores.iter().all(|task| task.as_array().is_some_and(|endings| {
            endings.len() == 4 && endings.iter().all(|ln_p| ln_p.as_f64().is_some_and(|ln_p| ln_p < 0.0))
        })),
        "{plain}"
    );
    let same = tasks(room.path(), &["--apply", "weights=identity"]);
    assert_eq!(same["ln_p"], plain["ln_p"]);
    assert_eq!((&same["gained"], &same["lost"], &same["p_mcnemar"]), (&0.into(), &0.into(), &1.0.into()));
    assert_eq!((&same["flips"], &same["margin_shift"]), (&0.into(), &0.0.into()));
    assert_eq!(same["acc_norm"], same["acc_norm_ref"]);
    let other = tasks(room.path(), &["--apply", "weights=int2@block32"]);
    assert_ne!(other["ln_p"], plain["ln_p"]);
    assert!(other["margin_shift"].as_f64().is_some_and(|shift| shift != 0.0), "{other}");
    assert_eq!(tasks(room.path(), &["--threads", "1"])["ln_p"], plain["ln_p"]);
    let one = tasks(room.path(), &["--limit", "1"]);
    assert_eq!(one["ln_p"][0], plain["ln_p"][0]);
    assert!(
        stdout(room.path(), &["task", "m.gguf", "--tasks", "hellaswag:tasks.txt", "--quiet"])
            .starts_with("hellaswag acc_norm ")
    );
    let twice = ["task", "m.gguf", "--tasks", "hellaswag:tasks.txt,hellaswag:tasks.txt", "--json", "--quiet"];
    let twice = json(room.path(), &twice);
    assert_eq!(twice["tasks"].as_array(), Some(&vec![plain.clone(), plain]), "{twice}");
}

#[test]
fn files_that_hold_no_whole_tasks_are_refused_by_line() {
    let room = room();
    let write = |text: &str| std::fs::write(room.path().join("bad.txt"), text).expect("a file");
    let refuse =
        |args: &[&str]| refused(room.path(), &[&["task", "m.gguf", "--tasks", "hellaswag:bad.txt"], args].concat());
    write("one\n0\n");
    assert!(refuse(&[]).contains("bad.txt: found 2 lines, wanted a multiple of 6"));
    write("c\n7\na\nb\nc\nd\n");
    assert!(refuse(&[]).contains("line 2: found \"7\""));
    write("c\n1\na\n\nb\nd\n");
    assert!(refuse(&[]).contains("no tokens of its own"));
    write(TASKS);
    assert!(refuse(&["--ctx", "16"]).contains("raise --ctx"));
    assert!(refuse(&["--layers", "0"]).contains("a choice of layers needs a scheme to apply"));
}

#[test]
fn tasks_that_are_not_known_or_have_no_file_are_refused_with_what_is_known() {
    let room = room();
    let refuse = |tasks: &str| refused(room.path(), &["task", "m.gguf", "--tasks", tasks]);
    for unknown in ["winogrande:tasks.txt", "grammar", "tasks.txt", "hellaswag:tasks.txt,grammar"] {
        assert!(refuse(unknown).contains("is not a known task, wanted one of: hellaswag\n"), "{unknown}");
    }
    for nameless in ["hellaswag", "hellaswag:"] {
        assert!(refuse(nameless).contains("hellaswag has no file, wanted hellaswag:FILE"), "{nameless}");
    }
    let absent = refuse("hellaswag:absent.txt");
    assert!(absent.contains("absent.txt: cannot be opened") && absent.contains("given with --tasks"), "{absent}");
}

/// Made with `llama-perplexity --hellaswag -f` on these three tasks, by the peer of the same generation
/// (scripts/build-peer.sh): 1 of 3 right, the last one that it takes.
#[test]
fn a_real_model_finds_the_endings_that_llama_perplexity_says_it_finds() {
    let Some(path) = real_model("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let room = room();
    let path = path.to_str().expect("UTF-8");
    let tasks = ["--tasks", "hellaswag:tasks.txt", "--arm", "native", "--json", "--quiet"];
    let answer = json(room.path(), &[&["task", path], &tasks[..]].concat());
    assert_eq!(answer["tasks"][0]["acc_norm"].as_f64(), Some(1.0 / 3.0), "{answer}");
}
