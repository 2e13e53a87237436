//! Weights with factors in a tensor of their own, and files in which that tensor cannot be the factors.

mod made;

use files::census::census;
use files::{Model, OpenError};
use gguf::GgmlType;
use made::{Made, MadeCodec, diff, drawn, metadata, model};

/// Two weights, of which the second has a factor.
fn tensors(factor: f32) -> [Made; 3] {
    let scale = ("blk.1.attn_q.scale".to_owned(), GgmlType::F32, vec![1], vec![factor]);
    [drawn("blk.0.attn_q.weight", &[32, 64]), drawn("blk.1.attn_q.weight", &[32, 64]), scale]
}

const SAID: &str = "tensor \"blk.1.attn_q.scale\": factor 0 is 0, wanted a finite number above 0";

#[test]
fn of_a_constant_weight_with_a_factor_the_stored_and_the_effective_value_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tensors = tensors(0.5);
    tensors[1].3.fill(0.1);
    let model = model(folder.path(), "m.gguf", &metadata(), &tensors);
    let all = "all".parse().expect("a selector");
    let answer = census(&model, &all, &[], false, &MadeCodec, &mut |_, _| {}).expect("readable");
    let row = &answer.tensors[1];
    assert!(row.distribution.as_ref().is_some_and(|d| d.constant && d.min == 0.05), "{row:?}");
    let said = "which float format the stored values are of: all values are equal (0.1)";
    assert!(row.not_decidable.iter().any(|why| why == said), "{:?}", row.not_decidable);
    assert!(row.note.ends_with("; the weight is these values × 0.5000 (blk.1.attn_q.scale)"), "{}", row.note);
}

#[test]
fn a_factor_of_zero_keeps_one_tensor_from_the_census_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path(), "m.gguf", &metadata(), &tensors(0.0));
    let (all, schemes) = ("all".parse().expect("a selector"), ["bf16".parse().expect("a scheme")]);
    let answer = census(&model, &all, &schemes, false, &MadeCodec, &mut |_, _| {}).expect("the rest goes on");
    let names: Vec<&str> = answer.tensors.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["blk.0.attn_q.weight", "blk.1.attn_q.weight"]);
    let [sound, wrong] = &answer.tensors[..] else { panic!("{names:?}") };
    assert!(sound.distribution.is_some() && sound.predicted.len() == 1);
    assert!(wrong.distribution.is_none() && wrong.predicted.is_empty());
    assert!(wrong.not_decidable.iter().any(|why| why.contains(SAID)), "{:?}", wrong.not_decidable);
    let refused = &answer.predictions[0].refused[0];
    assert_eq!((refused.name.as_str(), refused.why.as_str()), ("blk.1.attn_q.weight", SAID));
}

#[test]
fn a_factor_of_zero_keeps_one_tensor_from_the_comparison_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = model(folder.path(), "a.gguf", &metadata(), &tensors(0.5));
    let b = model(folder.path(), "b.gguf", &metadata(), &tensors(0.0));
    let answer = diff(&a, &b);
    assert!(!answer.same && !answer.same_tensors);
    assert_eq!((answer.tensors.len(), answer.tensors[0].difference.changed), (1, 0));
    let wrong = &answer.incomparable[0];
    assert_eq!((wrong.name.as_str(), wrong.why.as_str()), ("blk.1.attn_q.weight", &*format!("in B, {SAID}")));
    let both = diff(&b, &b);
    assert_eq!(both.incomparable[0].why, format!("in A, {SAID}; in B, {SAID}"));
}

#[test]
fn a_file_with_a_factor_of_zero_is_not_opened_to_be_scored() {
    let folder = tempfile::tempdir().expect("a folder");
    model(folder.path(), "m.gguf", &metadata(), &tensors(0.0));
    let error = Model::open_to_score(&folder.path().join("m.gguf")).expect_err("refused");
    assert!(matches!(&error, OpenError::Companion { .. }) && error.to_string().contains(SAID), "{error}");
}
