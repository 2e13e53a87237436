//! Tensors that a file has twice.

mod made;

use files::census::census;
use gguf::GgmlType;
use made::{Made, diff, drawn, metadata, model};
use numerics::PlainCodec;
use record::answer::{CensusAnswer, TensorCopy};

fn looked_at(tensors: &[Made]) -> CensusAnswer {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path(), "m.gguf", &metadata(), tensors);
    census(&model, &"all".parse().expect("a selector"), &[], false, &PlainCodec, &mut |_, _| {}).expect("readable")
}

fn pairs(copies: &[TensorCopy]) -> Vec<(&str, &str)> {
    copies.iter().map(|copy| (copy.a.as_str(), copy.b.as_str())).collect()
}

/// The tensor under another name.
fn renamed(tensor: &Made, name: &str) -> Made {
    (name.into(), tensor.1, tensor.2.clone(), tensor.3.clone())
}

#[test]
fn a_tied_matrix_that_was_written_a_second_time_is_found_in_census_and_diff() {
    let embedding = drawn("token_embd.weight", &[32, 64]);
    let twice = [embedding.clone(), renamed(&embedding, "output.weight")];
    let answer = looked_at(&twice);
    assert_eq!(pairs(&answer.copies), [("token_embd.weight", "output.weight")]);
    let said = "output.weight is token_embd.weight a second time, byte by byte";
    assert!(answer.verdict.iter().any(|sentence| sentence == said), "{:?}", answer.verdict);
    let folder = tempfile::tempdir().expect("a folder");
    let once = model(folder.path(), "once.gguf", &metadata(), std::slice::from_ref(&embedding));
    let compared = diff(&once, &model(folder.path(), "twice.gguf", &metadata(), &twice));
    assert!(compared.copies_a.is_empty());
    assert_eq!(pairs(&compared.copies_b), [("token_embd.weight", "output.weight")]);
}

#[test]
fn the_same_matrix_in_two_types_is_nearly_the_same_and_two_matrices_are_not() {
    let embedding = drawn("token_embd.weight", &[32, 64]);
    let mut head = renamed(&embedding, "output.weight");
    head.1 = GgmlType::BF16;
    head.3.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_0000));
    let answer = looked_at(&[embedding.clone(), head.clone()]);
    assert_eq!(pairs(&answer.copies), [("token_embd.weight", "output.weight")]);
    assert!(answer.copies[0].rel_rmse > 0.0 && answer.copies[0].rel_rmse < 0.01);
    head.3.reverse();
    assert!(looked_at(&[embedding, head]).copies.is_empty());
}

#[test]
fn the_same_values_in_two_types_are_equal_and_not_nearly_so() {
    let mut embedding = drawn("token_embd.weight", &[32, 64]);
    embedding.3.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_0000));
    let mut head = renamed(&embedding, "output.weight");
    head.1 = GgmlType::BF16;
    let answer = looked_at(&[embedding, head]);
    assert_eq!(answer.copies[0].rel_rmse, 0.0);
    let said = "token_embd.weight (f32) and output.weight (bf16) have the same values: one matrix was written twice";
    assert!(answer.verdict.iter().any(|sentence| sentence == said), "{:?}", answer.verdict);
}

#[test]
fn constants_and_tensors_that_differ_in_the_middle_are_not_copies() {
    let ones = |name: &str| (name.to_owned(), GgmlType::F32, vec![32], vec![1.0; 32]);
    assert!(looked_at(&[ones("blk.0.attn_norm.weight"), ones("blk.1.attn_norm.weight")]).copies.is_empty());
    let a = drawn("blk.0.attn_q.weight", &[64, 64]);
    let mut b = renamed(&a, "blk.1.attn_q.weight");
    b.3[2048] += 0.5;
    assert!(looked_at(&[a, b]).copies.is_empty());
}
