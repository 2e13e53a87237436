//! Files on which llama.cpp aborts or throws. What can be seen in the header is refused by key and value, and the rest is
//! told in one line.

mod support;

use gguf::{Array, StringArray, Value};
use llama::GgmlCodec;
use std::path::Path;
use support::{assay, text};
use synth::{Architecture, Recipe, SmallModel, Vocabulary};

fn room(change: impl FnOnce(&mut Recipe)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(200)).expect("a file");
    let mut recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    change(&mut recipe);
    recipe.write(&folder.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    folder
}

fn set(recipe: &mut Recipe, key: &str, value: Value) {
    recipe.metadata.retain(|(there, _)| there != key);
    recipe.metadata.push((key.into(), value));
}

/// The exit status and the standard error of an evaluation.
fn eval(folder: &Path) -> (Option<i32>, String) {
    let done = assay(folder, &["eval", "m.gguf", "--text", "text.txt", "--ctx", "64", "--chunks", "1", "--quiet"]);
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

/// The spellings of a vocabulary's tokens.
fn tokens(recipe: &Recipe) -> Vec<Vec<u8>> {
    let found = recipe.metadata.iter().find(|(key, _)| key == "tokenizer.ggml.tokens").map(|(_, value)| value);
    let strings = found.and_then(Value::as_array).and_then(Array::as_strings).expect("strings");
    strings.iter().map(<[u8]>::to_vec).collect()
}

fn set_tokens(recipe: &mut Recipe, tokens: &[Vec<u8>]) {
    let strings = StringArray::of(tokens).expect("short");
    set(recipe, "tokenizer.ggml.tokens", Value::Array(Array::String(strings)));
}

#[test]
fn hyperparameters_on_which_the_engine_aborts_are_refused_by_key_and_value() {
    for (key, value, found) in [
        ("llama.block_count", Value::U32(0), "0"),
        ("llama.block_count", Value::U32(513), "513"),
        ("llama.block_count", Value::U32(1 << 31), "2147483648"),
        ("llama.nextn_predict_layers", Value::U32(4), "4"),
        ("llama.expert_count", Value::U32(1025), "1025"),
        ("llama.expert_used_count", Value::U32(1), "1"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "NaN"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(-1.0), "-1"),
    ] {
        let room = room(|recipe| set(recipe, key, value));
        let (code, error) = eval(room.path());
        assert_eq!(code, Some(2), "{key}: {error}");
        assert!(error.contains(&format!("{key} is {found}, and llama.cpp aborts unless")), "{error}");
        // The file itself is sound.
        assert!(assay(room.path(), &["inspect", "m.gguf"]).status.success());
    }
}

#[test]
fn numbers_of_heads_that_no_attention_can_have_are_refused_by_key_and_value() {
    let array = |numbers: &[u32]| Value::Array(Array::U32(numbers.to_vec()));
    let per_layer = |n: usize| array(&[vec![4; n - 1], vec![3]].concat());
    let n_layer = SmallModel::new(Architecture::Llama).n_layer as usize;
    let last = format!("3 in layer {}", n_layer - 1);
    for (key, value, found) in [
        ("llama.attention.head_count", Value::U32(0), "0"),
        ("llama.attention.head_count_kv", Value::U32(3), "3"),
        ("llama.attention.head_count_kv", per_layer(n_layer), &last),
    ] {
        let room = room(|recipe| set(recipe, key, value));
        let (code, error) = eval(room.path());
        assert_eq!(code, Some(2), "{key}: {error}");
        assert!(error.contains(&format!("{key} is {found}, and llama.cpp cannot run the model unless")), "{error}");
    }
}

#[test]
fn numbers_of_heads_for_each_layer_and_none_where_a_layer_has_no_attention_are_taken() {
    let n_layer = SmallModel::new(Architecture::Llama).n_layer as usize;
    let room = room(|recipe| {
        for key in ["llama.attention.head_count", "llama.attention.head_count_kv"] {
            let all = recipe.metadata.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_u64());
            set(recipe, key, Value::Array(Array::U32(vec![all.expect("a number") as u32; n_layer])));
        }
    });
    let (code, error) = eval(room.path());
    assert_eq!(code, Some(0), "{error}");
    // A state space has no heads at all.
    let recipe = SmallModel::new(Architecture::Mamba).recipe(&Vocabulary::bytes(true));
    assert!(
        recipe.metadata.iter().any(|(key, value)| key == "mamba.attention.head_count" && value.as_u64() == Some(0))
    );
    recipe.write(&room.path().join("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    let (code, error) = eval(room.path());
    assert_eq!(code, Some(0), "{error}");
}

#[test]
fn a_vocabulary_with_a_token_twice_is_refused_with_both_places() {
    let room = room(|recipe| {
        let mut tokens = tokens(recipe);
        tokens[50] = tokens[40].clone();
        set_tokens(recipe, &tokens);
    });
    let (code, error) = eval(room.path());
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("tokenizer.ggml.tokens is a list in which tokens 40 and 50 are both"), "{error}");
}

#[test]
fn an_abort_of_the_engine_is_told_in_one_line_with_its_place() {
    // The vocabulary is of another kind of tokenizer.
    let room = room(|recipe| set(recipe, "tokenizer.ggml.model", Value::String(b"bert".to_vec())));
    let (code, error) = eval(room.path());
    assert_eq!(code, Some(4), "{error}");
    let line = error.lines().find(|line| line.contains("signal: 6")).unwrap_or_else(|| panic!("{error}"));
    assert!(line.contains("llama-vocab.cpp:"), "{line}");
    assert!(!error.contains("memory") && error.lines().count() <= 3, "{error}");
}

#[test]
fn what_the_engine_throws_is_an_error_with_its_reason() {
    // The text has a letter that the vocabulary cannot spell in any way.
    let room = room(|recipe| {
        let mut tokens = tokens(recipe);
        let letter = tokens.iter().position(|token| token == b"<0x65>").expect("the letter e");
        tokens[letter] = b"none".to_vec();
        set_tokens(recipe, &tokens);
        let types = recipe.metadata.iter_mut().find(|(key, _)| key == "tokenizer.ggml.token_type");
        let Some((_, Value::Array(Array::I32(types)))) = types else { panic!("the vocabulary has types") };
        types[letter] = 1;
    });
    let (code, error) = eval(room.path());
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("it threw std::out_of_range"), "{error}");
}

#[test]
fn tensors_that_the_architecture_does_not_have_are_named() {
    let room = room(|recipe| {
        let mut extra = recipe.tensor_mut("output_norm.weight").expect("it is there").clone();
        extra.spec.name = "blk.0.attn_gizmo.weight".into();
        recipe.tensors.push(extra);
    });
    let (code, error) = eval(room.path());
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("its architecture does not have blk.0.attn_gizmo.weight\n"), "{error}");
}
