//! The reference that a variant is compared with (decision 0003).
//!
//! The exact arm stores every weight in F32, in the reference and in the variant. The native arm runs the model as
//! shipped, but a variant's quantized weights are stored in F32, so other kernels read them. Its reference therefore
//! stores the same weights in F32, with their values unchanged. The change of kernels is then not mistaken for an
//! effect of the scheme.

use gguf::GgmlType;
use record::{Arm, Base, EditPlace};
use select::TensorId;
use select::companion::companion_of;

/// The reference of a variant that edits these tensors or graph nodes. The reference lists them by name in the same
/// order.
///
/// Graph nodes are computed in F32 in every arm, and what the file stores in F32 stays as it is, unless it has factors.
pub fn reference<'a>(arm: Arm, tensors: &[TensorId], edited: impl IntoIterator<Item = (&'a str, EditPlace)>) -> Base {
    match arm {
        Arm::Exact => Base { arm, carried: Vec::new() },
        Arm::Native => Base::native(edited.into_iter().filter(|(name, place)| {
            let is_stored_so = |tensor: &TensorId| is_f32(tensor) && !has_factors(&tensor.name, tensors);
            let is_other = |tensor: &TensorId| tensor.name == *name && !is_stored_so(tensor);
            *place != EditPlace::Activation && tensors.iter().any(is_other)
        })),
    }
}

/// Whether the weight of that name has factors in a tensor of its own. F32 stores the weight multiplied by them.
fn has_factors(weight: &str, tensors: &[TensorId]) -> bool {
    companion_of(weight).is_some_and(|name| tensors.iter().any(|tensor| tensor.name == name))
}

/// Whether the file already stores a tensor in F32.
fn is_f32(tensor: &TensorId) -> bool {
    tensor.ty.eq_ignore_ascii_case(GgmlType::F32.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Carried;

    fn tensors() -> Vec<TensorId> {
        [("token_embd.weight", "q8_0"), ("blk.0.ffn_norm.weight", "f32"), ("blk.0.attn_q.weight", "q4_K")]
            .map(|(name, ty)| TensorId { name: name.into(), ty: ty.into(), ne: vec![256, 2] })
            .to_vec()
    }

    #[test]
    fn the_native_reference_stores_in_f32_what_the_variant_does_and_nothing_else() {
        let edited = [
            ("token_embd.weight", EditPlace::Head),
            ("blk.0.attn_q.weight", EditPlace::Weight),
            ("blk.0.ffn_norm.weight", EditPlace::Weight),
            ("Kcur-0", EditPlace::Activation),
        ];
        let native = reference(Arm::Native, &tensors(), edited);
        let head = Carried::Use { tensor: "token_embd.weight".into(), place: EditPlace::Head };
        assert_eq!(native.carried, [head, Carried::Whole("blk.0.attn_q.weight".into())]);
        assert_eq!(native.arm, Arm::Native);
        assert_eq!(reference(Arm::Exact, &tensors(), edited), Base { arm: Arm::Exact, carried: Vec::new() });
    }

    #[test]
    fn a_weight_with_factors_is_stored_multiplied_by_them_even_where_it_is_f32() {
        let tensor = |name: &str| TensorId { name: name.into(), ty: "f32".into(), ne: vec![1] };
        let tensors = ["blk.0.attn_q.weight", "blk.0.attn_q.scale", "blk.0.attn_k.weight"].map(tensor);
        let edited = ["blk.0.attn_q.weight", "blk.0.attn_k.weight"].map(|name| (name, EditPlace::Weight));
        let native = reference(Arm::Native, &tensors, edited);
        assert_eq!(native.carried, [Carried::Whole("blk.0.attn_q.weight".into())]);
    }

    #[test]
    fn f32_is_known_in_either_spelling() {
        for (ty, carried) in [("f32", 0), ("F32", 0), ("f16", 1), ("bf16", 1)] {
            let tensors = [TensorId { name: "a".into(), ty: ty.into(), ne: vec![8] }];
            assert_eq!(reference(Arm::Native, &tensors, [("a", EditPlace::Weight)]).carried.len(), carried, "{ty}");
        }
    }
}
