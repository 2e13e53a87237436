//! What a stored ggml type means for the values that it stores, by its name.

/// Whether a type stores one float for each value. Types with blocks have no sign of zero to store.
pub fn stores_floats(ty: &str) -> bool {
    matches!(ty, "f32" | "f16" | "bf16")
}

/// Whether a type is F32, in whichever case it is written.
pub fn is_f32(ty: &str) -> bool {
    ty.eq_ignore_ascii_case("f32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_told_from_blocks_and_f32_from_other_floats() {
        for (ty, floats, f32) in
            [("f32", true, true), ("bf16", true, false), ("f16", true, false), ("q8_0", false, false)]
        {
            assert_eq!((stores_floats(ty), is_f32(ty)), (floats, f32), "{ty}");
        }
        assert!(is_f32("F32"));
    }
}
