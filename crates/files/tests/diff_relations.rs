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
    assert_eq!(relation_after(reversed), Some(TensorRelation::RowsPermuted { rel_rmse: 0.0 }));
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
        Some(TensorRelation::Factor { factor, rel_rmse }) => {
            assert!((factor - 1.7).abs() < 1e-6 && rel_rmse < 1e-6, "{factor} {rel_rmse}");
        }
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
    let of = |name: &str| Some(TensorRelation::TensorOfA { name: name.into(), rel_rmse: 0.0 });
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

/// The transpose of each matrix of the tensor.
fn transpose(tensor: &Made) -> Made {
    let (columns, rows) = (tensor.2[0] as usize, tensor.2[1] as usize);
    let mut shape = tensor.2.clone();
    shape.swap(0, 1);
    let of =
        |matrix: &[f32]| -> Vec<f32> { (0..matrix.len()).map(|i| matrix[i % rows * columns + i / rows]).collect() };
    (tensor.0.clone(), tensor.1, shape, tensor.3.chunks(columns * rows).flat_map(of).collect())
}

/// The relation that is named, wherever it stands in the answer.
fn relation_of(a: &Made, b: &Made) -> Option<TensorRelation> {
    let answer = compared(std::slice::from_ref(a), std::slice::from_ref(b));
    assert!(!answer.same && !answer.same_tensors);
    let compared = answer.tensors.into_iter().find_map(|row| row.relation);
    compared.or_else(|| answer.incomparable.into_iter().find_map(|row| row.relation))
}

const TRANSPOSED: Option<TensorRelation> = Some(TensorRelation::Transposed { rel_rmse: 0.0 });

#[test]
fn a_transposed_matrix_is_named_square_or_not_and_so_are_several() {
    // The last two have more rows or columns than a tile.
    for shape in [&[64, 64][..], &[32, 64], &[32, 48, 3], &[4128, 6], &[6, 4128]] {
        let tensor = drawn("blk.0.attn_q.weight", shape);
        assert_eq!(relation_of(&tensor, &transpose(&tensor)), TRANSPOSED, "{shape:?}");
        let one_value_moved = changed(&transpose(&tensor), |values| {
            let mut values = values.to_vec();
            *values.last_mut().expect("values") += 0.001;
            values
        });
        assert_eq!(relation_of(&tensor, &one_value_moved), None, "{shape:?}");
    }
}

#[test]
fn extents_that_are_exchanged_do_not_make_a_transpose() {
    let tensor = drawn("blk.0.attn_q.weight", &[32, 64]);
    let mut reshaped = tensor.clone();
    reshaped.2 = vec![64, 32];
    assert_eq!(relation_of(&tensor, &reshaped), None);
    // Any arrangement of equal values is the transpose.
    let constant = changed(&tensor, |values| values.iter().map(|_| 0.5).collect());
    assert_eq!(relation_of(&constant, &transpose(&constant)), None);
    let answer = compared(&[tensor], &[reshaped]);
    assert_eq!(answer.incomparable[0].why, "their extents differ");
}

#[test]
fn a_transpose_in_another_float_type_is_found_within_its_rounding() {
    let round = |x: &f32| f32::from_bits((x.to_bits() + 0x7fff) & 0xffff_0000);
    let tensor = drawn("blk.0.attn_q.weight", &[32, 64]);
    let mut other = changed(&transpose(&tensor), |values| values.iter().map(round).collect());
    other.1 = GgmlType::BF16;
    match relation_of(&tensor, &other) {
        Some(TensorRelation::Transposed { rel_rmse }) => assert!(rel_rmse > 0.0 && rel_rmse < 0.004, "{rel_rmse}"),
        found => panic!("{found:?}"),
    }
}

#[test]
fn a_quantized_transpose_is_told_from_unrelated_and_smooth_matrices() {
    let quantized = |tensor: &Made| {
        let mut tensor = tensor.clone();
        tensor.1 = GgmlType::Q8_0;
        tensor
    };
    for shape in [[64, 64], [32, 64]] {
        let tensor = drawn("blk.0.attn_q.weight", &shape);
        match relation_of(&quantized(&tensor), &quantized(&transpose(&tensor))) {
            Some(TensorRelation::Transposed { rel_rmse }) => assert!(rel_rmse > 0.0 && rel_rmse < 0.02, "{rel_rmse}"),
            found => panic!("{shape:?}: {found:?}"),
        }
        let unrelated = drawn("blk.0.attn_k.weight", &[shape[1], shape[0]]);
        let unrelated = (tensor.0.clone(), unrelated.1, unrelated.2, unrelated.3);
        assert_eq!(relation_of(&quantized(&tensor), &quantized(&unrelated)), None, "{shape:?}");
        // A matrix of positive values around one has a cosine near 1 with every other one.
        let raised = |tensor: &Made| quantized(&changed(tensor, |values| values.iter().map(|x| 5.0 + x).collect()));
        assert_eq!(relation_of(&raised(&tensor), &raised(&unrelated)), None, "{shape:?}");
    }
}

/// The tensor in Q8_0.
fn in_q8_0(tensor: &Made) -> Made {
    (tensor.0.clone(), GgmlType::Q8_0, tensor.2.clone(), tensor.3.clone())
}

#[test]
fn a_factor_a_sign_and_an_order_are_found_through_quantized_types() {
    let tensor = drawn("blk.0.attn_q.weight", &[32, 64]);
    let is_small = |rel_rmse: f64| rel_rmse > 0.0 && rel_rmse < 0.02;
    for wanted in [1.7, -1.0, 3e-4] {
        let scaled = changed(&tensor, |values| values.iter().map(|x| x * wanted as f32).collect());
        for (a, b) in [(tensor.clone(), in_q8_0(&scaled)), (in_q8_0(&tensor), in_q8_0(&scaled))] {
            match relation_of(&a, &b) {
                Some(TensorRelation::Factor { factor, rel_rmse }) => {
                    assert!((factor / wanted - 1.0).abs() < 1e-2 && is_small(rel_rmse), "{factor} {rel_rmse}");
                }
                // Of Q8_0, the same codes with the other sign are exactly that.
                Some(TensorRelation::OppositeSign) => assert!(wanted == -1.0 && a.1 == GgmlType::Q8_0),
                found => panic!("{wanted}: {found:?}"),
            }
        }
    }
    let reversed = changed(&tensor, |values| values.chunks(32).rev().flatten().copied().collect());
    match relation_of(&tensor, &in_q8_0(&reversed)) {
        Some(TensorRelation::RowsPermuted { rel_rmse }) => assert!(is_small(rel_rmse), "{rel_rmse}"),
        found => panic!("{found:?}"),
    }
    let one_row_lost = changed(&reversed, |values| [&values[..32], &values[..32], &values[64..]].concat());
    assert_eq!(relation_of(&tensor, &in_q8_0(&one_row_lost)), None);
}

#[test]
fn exchanged_layers_are_found_through_quantized_types() {
    let (a, b) = (drawn("blk.0.attn_q.weight", &[32, 64]), drawn("blk.1.attn_q.weight", &[32, 64]));
    let exchanged = [in_q8_0(&changed(&a, |_| b.3.clone())), in_q8_0(&changed(&b, |_| a.3.clone()))];
    let answer = compared(&[a, b], &exchanged);
    for (row, wanted) in answer.tensors.iter().zip(["blk.1.attn_q.weight", "blk.0.attn_q.weight"]) {
        match &row.relation {
            Some(TensorRelation::TensorOfA { name, rel_rmse }) => assert!(name == wanted && *rel_rmse < 0.02),
            found => panic!("{wanted}: {found:?}"),
        }
    }
}

#[test]
fn a_quantized_tensor_and_unrelated_ones_have_no_relation() {
    let tensor = drawn("blk.0.attn_q.weight", &[32, 64]);
    assert_eq!(relation_of(&tensor, &in_q8_0(&tensor)), None, "the same values");
    let other = drawn("blk.0.attn_k.weight", &[32, 64]);
    let other = (tensor.0.clone(), other.1, other.2, other.3);
    assert_eq!(relation_of(&tensor, &in_q8_0(&other)), None);
    // Values around one centre are near every other such values, and near every multiple of them.
    let raised = |tensor: &Made, by: f32| changed(tensor, |values| values.iter().map(|x| by * (5.0 + x)).collect());
    for by in [1.0, 2.0] {
        assert_eq!(relation_of(&raised(&tensor, 1.0), &in_q8_0(&raised(&other, by))), None, "{by}");
    }
}
