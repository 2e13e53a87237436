//! What `inspect` says a file is, and what it shows of files that no engine takes.

mod made;

use files::Model;
use files::inspect::inspect;
use gguf::{GgmlType, Value};
use made::{Made, drawn, metadata, model, with};
use record::answer::InspectAnswer;
use std::path::Path;

fn text(text: &str) -> Value {
    Value::String(text.as_bytes().to_vec())
}

fn inspected(metadata: &[(String, Value)], tensors: &[Made]) -> InspectAnswer {
    let folder = tempfile::tempdir().expect("a folder");
    inspect(&model(folder.path(), "m.gguf", metadata, tensors))
}

/// The error of a command that needs an engine.
fn refusal(metadata: &[(String, Value)], tensors: &[Made]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    model(folder.path(), "m.gguf", metadata, tensors);
    Model::open_to_score(&folder.path().join("m.gguf")).expect_err("not a language model").to_string()
}

#[test]
fn each_kind_of_file_is_named_as_what_it_is() {
    let tensors = [drawn("blk.0.attn_q.weight", &[32, 32])];
    for (change, said) in [
        (
            vec![("general.type", text("adapter")), ("adapter.type", text("lora"))],
            "a LoRA adapter for models of architecture",
        ),
        (vec![("general.architecture", text("controlvector"))], "a control vector"),
        (vec![("general.type", text("imatrix"))], "an importance matrix"),
        (vec![("general.architecture", text("flux"))], "a model that makes images or video"),
        (vec![("general.architecture", text("clip"))], "a multimodal projector"),
        (vec![("general.architecture", text("bert"))], "an embedding model"),
        (vec![("llama.pooling_type", Value::U32(3))], "an embedding model"),
        (vec![("llama.pooling_type", Value::U32(4))], "a reranker"),
        (vec![("general.architecture", text("wavtokenizer-dec"))], "the decoder of an audio codec"),
    ] {
        let metadata = change.into_iter().fold(metadata(), |metadata, (key, value)| with(metadata, key, value));
        let kind = inspected(&metadata, &tensors).kind.expect("another kind");
        assert!(kind.starts_with(&format!("This file is {said}")), "{kind}");
        let refused = refusal(&metadata, &tensors);
        assert!(refused.contains(&format!("found {said}")), "{refused}");
    }
    assert!(inspected(&metadata(), &[]).kind.expect("another kind").contains("a vocabulary"));
    let bidirectional = with(metadata(), "llama.attention.causal", Value::Bool(false));
    assert!(inspected(&bidirectional, &tensors).kind.expect("another kind").contains("has bidirectional attention"));
    assert!(
        refusal(&bidirectional, &tensors)
            .contains("a model with bidirectional attention (llama.attention.causal is false)")
    );
    let without_pooling = with(metadata(), "llama.pooling_type", Value::U32(0));
    assert_eq!(inspected(&without_pooling, &tensors).kind, None);
    assert_eq!(inspected(&metadata(), &tensors).kind, None);
}

#[test]
fn positions_that_give_no_finite_angle_are_refused_by_key_and_value() {
    let tensors = [drawn("blk.0.attn_q.weight", &[32, 32])];
    for (key, value, said) in [
        ("llama.rope.scaling.type", text("zork"), "\"zork\", and llama.cpp aborts unless it is none, linear"),
        ("llama.rope.freq_base", Value::F32(0.0), "0, and llama.cpp computes no finite number unless"),
        ("llama.rope.freq_base", Value::F32(-1.0), "-1, and llama.cpp computes no finite number unless"),
        ("llama.rope.freq_base", Value::F32(f32::NAN), "NaN, and llama.cpp computes no finite number unless"),
        ("llama.rope.scaling.factor", Value::F32(f32::NAN), "NaN, and llama.cpp computes no finite number unless"),
    ] {
        let refused = refusal(&with(metadata(), key, value), &tensors);
        assert!(refused.contains(&format!("{key} is {said}")), "{refused}");
    }
}

#[test]
fn a_file_type_is_compared_with_the_tensors() {
    let mut half = drawn("blk.0.attn_q.weight", &[32, 32]);
    half.1 = GgmlType::F16;
    half.3.iter_mut().for_each(|value| *value = 0.5);
    let tensors = [half, drawn("output_norm.weight", &[32])];
    let stated = |value: u32| {
        let answer = inspected(&with(metadata(), "general.file_type", Value::U32(value)), &tensors);
        let stated = answer.file_type.expect("stated");
        (stated.name, stated.contradiction)
    };
    assert_eq!(stated(1), (Some("F16".into()), None));
    assert_eq!(stated(1 + 1024), (Some("F16".into()), None));
    assert_eq!(stated(7), (Some("Q8_0".into()), Some("no matrix is stored in q8_0".into())));
    // Rows of 32 values are not blocks of Q4_K, and llama-quantize falls back to Q5_0, which is not there either.
    assert_eq!(stated(15), (Some("Q4_K_M".into()), Some("no matrix is stored in q4_K".into())));
    assert_eq!(stated(999), (None, Some("llama.cpp does not know this number".into())));
    assert_eq!(stated(1024 + 33), (None, Some("llama.cpp no longer supports this number".into())));
    assert_eq!(inspected(&metadata(), &tensors).file_type, None);
}

#[test]
fn a_file_type_that_is_negative_or_a_text_is_remarked_on() {
    for (value, ty) in [(Value::I32(-1), "i32"), (Value::String(b"Q4_0".to_vec()), "str"), (Value::F32(2.0), "f32")] {
        let answer = inspected(&with(metadata(), "general.file_type", value), &[drawn("output_norm.weight", &[32])]);
        let stated = answer.file_type.expect("stated");
        let why = format!("it is stored as {ty}, and llama.cpp wants a number from 0, stored as u32");
        assert_eq!((stated.value, stated.name, stated.contradiction), (None, None, Some(why)));
    }
}

/// Writes another type id over that of a tensor.
fn with_type_id(path: &Path, tensor: &str, n_dims: usize, id: u32) {
    let mut bytes = std::fs::read(path).expect("readable");
    let name = bytes.windows(tensor.len()).position(|window| window == tensor.as_bytes()).expect("the name");
    let at = name + tensor.len() + 4 + 8 * n_dims;
    bytes[at..at + 4].copy_from_slice(&id.to_le_bytes());
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_tensor_of_a_forks_type_is_named_and_the_rest_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.gguf");
    let tensors = [drawn("blk.0.attn_q.weight", &[32, 32]), drawn("output_norm.weight", &[32])];
    for (id, fork) in
        [(156, Some("iq3_ks of ik_llama.cpp")), (36, Some("i2_s of bitnet.cpp or ik_llama.cpp")), (9999, None)]
    {
        model(folder.path(), "m.gguf", &metadata(), &tensors);
        with_type_id(&path, "blk.0.attn_q.weight", 2, id);
        let answer = inspect(&Model::open_to_inspect(&path).expect("the rest can be read"));
        assert_eq!((answer.n_tensors, answer.tensors.len(), answer.foreign.len()), (2, 1, 1));
        let foreign = &answer.foreign[0];
        assert_eq!((foreign.type_id, foreign.fork_type.as_deref(), &foreign.ne[..]), (id, fork, &[32, 32][..]));
        for open in [Model::open_to_look, Model::open_to_rewrite, Model::open_to_score] {
            let error = open(&path).expect_err("values are needed").to_string();
            assert!(error.contains("blk.0.attn_q.weight") && error.contains(&id.to_string()), "{error}");
            let name = fork.and_then(|fork| fork.split_once(' ')).map_or("", |(name, _)| name);
            assert!(error.contains(name) && !error.contains("again"), "{error}");
        }
    }
}

#[test]
fn names_that_are_too_long_for_ggml_are_shown_and_refused_where_an_engine_is_needed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.gguf");
    let short = format!("{:x<63}", "blk.0.");
    model(folder.path(), "m.gguf", &metadata(), &[drawn(&short, &[32])]);
    // The file is made with a name that is just short enough, and one letter is put into it.
    let mut bytes = std::fs::read(&path).expect("readable");
    let name = bytes.windows(63).position(|window| window == short.as_bytes()).expect("the name");
    bytes[name - 8] = 64;
    bytes.insert(name + 63, b'y');
    // The data section starts at a multiple of 32, so the padding before it is one byte shorter or 31 longer.
    let data = bytes.split_off(bytes.len() - 32 * 4);
    while !bytes.len().is_multiple_of(32) && bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(data);
    std::fs::write(&path, bytes).expect("written");
    let answer = inspect(&Model::open_to_inspect(&path).expect("shown"));
    assert_eq!(answer.long_names, [format!("{short}y")]);
    assert!(Model::open_to_look(&path).is_ok());
    for open in [Model::open_to_rewrite, Model::open_to_score] {
        let error = open(&path).expect_err("an engine is needed").to_string();
        assert!(error.contains("64") && error.contains("GGML_MAX_NAME"), "{error}");
    }
}
