//! The census of tensors that are too large to be in memory as a whole.

mod made;

use files::Model;
use files::census::{census, census_with_whole};
use gguf::GgmlType;
use made::{Made, MadeCodec, drawn, metadata, model};
use numerics::Scheme;
use record::answer::CensusAnswer;

const ALL: &str = "all";

/// A census with at most `whole_values` values of a tensor in memory as a whole.
fn looked_at(model: &Model, whole_values: u64, schemes: &[Scheme]) -> CensusAnswer {
    let target = ALL.parse().expect("a selector");
    census_with_whole(whole_values, model, &target, schemes, false, &MadeCodec, &mut |_, _| {}).expect("readable")
}

fn of_type(mut tensor: Made, ty: GgmlType) -> Made {
    tensor.1 = ty;
    tensor
}

/// Tensors of every storage, one of them longer than a piece, and one with a factor for each of its experts.
fn tensors() -> Vec<Made> {
    let mut upcast = drawn("blk.0.attn_k.weight", &[96, 128]);
    upcast.3.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_0000));
    let mut spoilt = drawn("blk.0.attn_v.weight", &[96, 128]);
    spoilt.3[96 * 3..96 * 5].fill(0.0);
    spoilt.3.copy_within(96 * 7..96 * 8, 96 * 100);
    let factors = ("blk.0.ffn_up_exps.scale".to_owned(), GgmlType::F32, vec![3], vec![0.5, 2.0, 0.25]);
    vec![
        drawn("token_embd.weight", &[96, 50_000]),
        upcast,
        spoilt,
        of_type(drawn("blk.0.attn_q.weight", &[96, 128]), GgmlType::F16),
        of_type(drawn("blk.1.attn_q.weight", &[96, 128]), GgmlType::BF16),
        of_type(drawn("blk.0.attn_output.weight", &[96, 128]), GgmlType::Q8_0),
        of_type(drawn("blk.0.ffn_up_exps.weight", &[96, 64, 3]), GgmlType::Q8_0),
        factors,
        drawn("output_norm.weight", &[96]),
    ]
}

#[test]
fn a_census_in_pieces_has_every_number_of_a_census_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path(), "m.gguf", &metadata(), &tensors());
    let schemes = [
        "bf16",
        "fp8_e4m3",
        "int4@row",
        "int4@tensor",
        "int8@col",
        "int4@block32:clip=mse",
        "fp4_e2m1@tensor:clip=p99.9",
        "int3@32x4",
        "nvfp4",
        "mxfp4",
        "shuffle",
        "noise(20)",
    ];
    let schemes = schemes.map(|scheme| scheme.parse().expect("a scheme"));
    let (in_memory, in_pieces) = (looked_at(&model, u64::MAX, &schemes), looked_at(&model, 0, &schemes));
    for (whole, pieces) in in_memory.tensors.iter().zip(&in_pieces.tensors) {
        assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "{}", whole.name);
        assert!(whole.predicted.len() >= 10, "{}: {}", whole.name, whole.predicted.len());
    }
    let json = |answer: &CensusAnswer| serde_json::to_string(answer).expect("JSON");
    assert_eq!(json(&in_pieces), json(&in_memory));
}

#[test]
fn a_file_that_ends_while_it_is_read_in_pieces_has_no_census() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path(), "m.gguf", &metadata(), &tensors());
    std::fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("m.gguf"))
        .and_then(|file| file.set_len(1 << 20))
        .expect("cut");
    let target = ALL.parse().expect("a selector");
    let found = census_with_whole(0, &model, &target, &[], false, &MadeCodec, &mut |_, _| {});
    assert!(found.expect_err("cut").to_string().contains("m.gguf"));
    assert!(census(&model, &target, &[], false, &MadeCodec, &mut |_, _| {}).is_err());
}
