//! What the census remarks on values of an implausible size.

mod made;

use files::census::census;
use gguf::GgmlType;
use made::{Made, drawn, metadata, model};
use numerics::PlainCodec;

fn verdict(tensors: &[Made]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path(), "m.gguf", &metadata(), tensors);
    let found = census(&model, &"all".parse().expect("a selector"), &[], false, &PlainCodec, &mut |_, _| {});
    found.expect("readable").verdict
}

#[test]
fn codes_that_were_stored_without_their_scales_are_remarked() {
    let mut codes = drawn("blk.0.ffn_up.weight", &[128, 256]);
    codes.1 = GgmlType::BF16;
    // Three bits of mantissa, as E4M3 has them, with the largest value 448.
    let e4m3 = |x: f32| f32::from_bits((x.to_bits() + 0x7ffff) & 0xfff0_0000).clamp(-448.0, 448.0);
    codes.3.iter_mut().for_each(|x| *x = e4m3(*x * 470.0));
    let said = verdict(&[codes.clone()]);
    let remark = "blk.0.ffn_up.weight lies on an E4M3 grid, and its largest value is the largest of FP8 E4M3, 448";
    assert!(said.iter().any(|sentence| sentence.starts_with(remark)), "{said:?}");
    codes.3.iter_mut().for_each(|x| *x /= 4096.0);
    let said = verdict(&[codes]);
    assert!(!said.iter().any(|sentence| sentence.contains("without their scales")), "{said:?}");
}

#[test]
fn a_matrix_far_out_of_proportion_to_its_role_is_remarked_and_a_plausible_one_is_not() {
    let layers = |factor: f32| -> Vec<Made> {
        let layer = |i: usize| drawn(&format!("blk.{i}.ffn_up.weight"), &[64, 64]);
        let mut layers: Vec<Made> = (0..6).map(layer).collect();
        layers[2].3.iter_mut().for_each(|x| *x *= factor);
        layers
    };
    let remarked = |factor: f32| -> Vec<String> {
        verdict(&layers(factor)).into_iter().filter(|sentence| sentence.contains("implausibly")).collect()
    };
    assert!(remarked(3361.0)[0].starts_with("blk.2.ffn_up.weight is implausibly large: "), "{:?}", remarked(3361.0));
    assert!(remarked(1e-4)[0].starts_with("blk.2.ffn_up.weight is implausibly small: "), "{:?}", remarked(1e-4));
    assert!(remarked(10.0).is_empty() && remarked(0.1).is_empty());
}

#[test]
fn matrices_without_a_role_are_not_compared_with_one_another() {
    let mut tensors: Vec<Made> = (0..6).map(|i| drawn(&format!("blk.{i}.ssm_in.weight"), &[64, 64])).collect();
    tensors[3] = drawn("blk.3.ssm_a", &[64, 64]);
    tensors[3].3.iter_mut().for_each(|x| *x *= 1e4);
    assert!(!verdict(&tensors).iter().any(|sentence| sentence.contains("implausibly")));
}
