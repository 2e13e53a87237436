//! What `diff` says about two files with the same tensors and other metadata.

mod made;

use gguf::{Array, StringArray, Value};
use made::{diff, drawn, metadata, model, with};
use record::answer::{DiffAnswer, MetadataEffect};

/// Compares a small model with one whose metadata are these.
fn compared(other: &[(String, Value)]) -> DiffAnswer {
    let folder = tempfile::tempdir().expect("a folder");
    let tensors = [drawn("token_embd.weight", &[8, 4])];
    let a = model(folder.path(), "a.gguf", &metadata(), &tensors);
    diff(&a, &model(folder.path(), "b.gguf", other, &tensors))
}

#[test]
fn files_with_the_same_tensors_and_another_head_count_are_not_the_same() {
    for (key, value, effect) in [
        ("llama.attention.head_count", Value::U32(2), MetadataEffect::Numbers),
        ("llama.rope.freq_base", Value::F32(1e6), MetadataEffect::Numbers),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false), MetadataEffect::Text),
        ("tokenizer.chat_template", Value::String(b"{{ x }}".to_vec()), MetadataEffect::Text),
        ("general.magic", Value::Bool(false), MetadataEffect::Unknown),
    ] {
        let answer = compared(&with(metadata(), key, value));
        assert!(!answer.same && answer.same_tensors, "{key}");
        let found: Vec<_> = answer.metadata.iter().map(|found| (found.key.as_str(), found.effect)).collect();
        assert_eq!(found, [(key, effect)]);
    }
}

#[test]
fn files_that_differ_in_labels_alone_are_the_same_and_the_labels_are_listed() {
    let other = with(metadata(), "general.name", Value::String(b"other".to_vec()));
    let answer = compared(&with(other, "general.file_type", Value::U32(7)));
    assert!(answer.same);
    let found: Vec<_> = answer.metadata.iter().map(|found| (found.key.as_str(), found.effect)).collect();
    assert_eq!(found, [("general.name", MetadataEffect::Label), ("general.file_type", MetadataEffect::Label)]);
    let only_b = &answer.metadata[1];
    assert_eq!((&only_b.a, only_b.b.as_ref().and_then(|b| b.value.as_deref())), (&None, Some("7")));
}

#[test]
fn the_order_of_keys_and_the_layout_of_the_file_are_no_difference() {
    let mut other = metadata();
    other.reverse();
    let answer = compared(&with(other, "general.alignment", Value::U32(64)));
    assert!(answer.same && answer.metadata.is_empty(), "{:?}", answer.metadata);
}

#[test]
fn vocabularies_are_compared_by_length_and_first_difference() {
    let tokens = StringArray::of(["<unk>", "<s>", "</s>", "b", "c"]).expect("short");
    let answer = compared(&with(metadata(), "tokenizer.ggml.tokens", Value::Array(Array::String(tokens))));
    let found = &answer.metadata[0];
    let side = |side: &Option<record::answer::MetadataSide>| side.as_ref().and_then(|s| Some((s.n?, s.value.clone()?)));
    assert_eq!(found.first_difference, Some(3));
    assert_eq!((side(&found.a), side(&found.b)), (Some((4, "a".into())), Some((5, "b".into()))));
}
