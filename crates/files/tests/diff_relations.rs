//! What `diff` says about tensors that differ and are related.

mod made;

use gguf::GgmlType;
use made::{Made, diff, drawn, metadata, model};
use record::answer::{DiffAnswer, ExtraRows, TensorRelation};

/// Compares two files with these tensors.
fn compared(a: &[Made], b: &[Made]) -> DiffAnswer {
    let folder = tempfile::tempdir().expect("a folder");
    let a = model(folder.path(), "a.gguf", &metadata(), a);
    diff(&a, &model(folder.path(), "b.gguf", &metadata(), b))
}

/// The tensor with other values.
fn changed(tensor: &Made, change: impl Fn(&[f32]) -> Vec<f32>) -> Made {
    (tensor.0.clone(), tensor.1, tensor.2.clone(), change(&tensor.3))
}

fn relation_after(change: impl Fn(&[f32]) -> Vec<f32>) -> Option<TensorRelation> {
    let tensor = drawn("blk.0.attn_q.weight", &[32, 64]);
    let answer = compared(std::slice::from_ref(&tensor), &[changed(&tensor, change)]);
    assert!(!answer.same);
    answer.tensors[0].relation.clone()
}

#[test]
fn the_same_rows_in_another_order_are_told_from_noise() {
    let reversed = |values: &[f32]| values.chunks(32).rev().flatten().copied().collect();
    assert_eq!(relation_after(reversed), Some(TensorRelation::RowsPermuted));
    let one_value_moved = |values: &[f32]| {
        let mut values: Vec<f32> = values.chunks(32).rev().flatten().copied().collect();
        values[7] += 0.5;
        values
    };
    assert_eq!(relation_after(one_value_moved), None);
}

#[test]
fn an_opposite_sign_and_a_constant_factor_are_named() {
    assert_eq!(relation_after(|values| values.iter().map(|x| -x).collect()), Some(TensorRelation::OppositeSign));
    match relation_after(|values| values.iter().map(|x| x * 1.7).collect()) {
        Some(TensorRelation::Factor { factor }) => assert!((factor - 1.7).abs() < 1e-6, "{factor}"),
        other => panic!("{other:?}"),
    }
    let mostly = |values: &[f32]| values.iter().enumerate().map(|(i, x)| if i == 9 { *x } else { x * 1.7 }).collect();
    assert_eq!(relation_after(mostly), None);
}

#[test]
fn a_factor_is_found_within_the_rounding_of_bf16() {
    let round = |x: f32| f32::from_bits((x.to_bits() + 0x7fff) & 0xffff_0000);
    let mut a = drawn("blk.0.attn_q.weight", &[32, 64]);
    a.1 = GgmlType::BF16;
    a.3.iter_mut().for_each(|x| *x = round(*x));
    let b = changed(&a, |values| values.iter().map(|x| round(x * 3361.0)).collect());
    let answer = compared(&[a], &[b]);
    assert!(matches!(answer.tensors[0].relation, Some(TensorRelation::Factor { .. })), "{answer:?}");
}

#[test]
fn a_factor_is_found_in_f16_down_to_its_smallest_values() {
    let half = |x: f32| half::f16::from_f32(x).to_f32();
    let mut a = drawn("blk.0.attn_q.weight", &[32, 64]);
    a.1 = GgmlType::F16;
    a.3.iter_mut().enumerate().for_each(|(i, x)| *x = half(*x * if i % 7 == 0 { 1e-6 } else { 1.0 }));
    let b = changed(&a, |values| values.iter().map(|x| half(x * 1.7)).collect());
    let answer = compared(&[a], &[b]);
    assert!(
        matches!(answer.tensors[0].relation, Some(TensorRelation::Factor { .. })),
        "{:?}",
        answer.tensors[0].relation
    );
}

#[test]
fn a_cast_to_bf16_is_not_a_factor() {
    let round = |x: f32| f32::from_bits((x.to_bits() + 0x7fff) & 0xffff_0000);
    let a = drawn("blk.0.attn_q.weight", &[32, 64]);
    let mut b = changed(&a, |values| values.iter().map(|x| round(*x)).collect());
    b.1 = GgmlType::BF16;
    assert_eq!(compared(&[a], &[b]).tensors[0].relation, None);
}

#[test]
fn exchanged_layers_are_named_by_the_layer_that_they_come_from() {
    let (a, b) = (drawn("blk.0.attn_q.weight", &[32, 64]), drawn("blk.1.attn_q.weight", &[32, 64]));
    let exchanged = [changed(&a, |_| b.3.clone()), changed(&b, |_| a.3.clone())];
    let answer = compared(&[a, b], &exchanged);
    let of = |name: &str| Some(TensorRelation::TensorOfA { name: name.into() });
    assert_eq!(answer.tensors[0].relation, of("blk.1.attn_q.weight"));
    assert_eq!(answer.tensors[1].relation, of("blk.0.attn_q.weight"));
}

#[test]
fn of_a_padded_vocabulary_the_common_rows_are_compared_and_the_others_said() {
    let short = drawn("token_embd.weight", &[32, 60]);
    for (fill, extra) in [(0.0, ExtraRows::Zeros), (0.25, ExtraRows::OneRowRepeated)] {
        let mut long = short.clone();
        long.2 = vec![32, 64];
        long.3.resize(32 * 64, fill);
        for (a, b, rows) in [(&short, &long, (60, 64)), (&long, &short, (64, 60))] {
            let answer = compared(std::slice::from_ref(a), std::slice::from_ref(b));
            let padded = &answer.padded[0];
            assert_eq!((padded.rows_a, padded.rows_b, padded.extra), (rows.0, rows.1, extra));
            assert_eq!((padded.difference.n, padded.difference.changed), (32 * 60, 0));
            assert!(!answer.same && answer.incomparable.is_empty());
        }
    }
}
