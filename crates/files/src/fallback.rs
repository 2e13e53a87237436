//! The ggml type that replaces another one where the rows of a tensor are not whole blocks of it.

use gguf::GgmlType;
use numerics::Scheme;
use numerics::ggml::GgmlFormat;

/// `wanted` where its blocks divide rows of `n_per_row` values, otherwise the type that llama-quantize takes.
pub fn type_for_rows(wanted: GgmlType, n_per_row: u64) -> GgmlType {
    let fits = |ty: GgmlType| n_per_row.is_multiple_of(ty.blck_size());
    if fits(wanted) { wanted } else { Some(fallback_of(wanted)).filter(|&ty| fits(ty)).unwrap_or(GgmlType::F16) }
}

/// `scheme` where rows of `n_per_row` values allow it, otherwise the same options with the ggml type that
/// llama-quantize takes. Only the blocks of a ggml type can fail to divide a row, so every other scheme stays as it is.
pub fn scheme_for_rows(scheme: &Scheme, n_per_row: u64) -> Scheme {
    let Some(wanted) = scheme.ggml_format().and_then(|format| GgmlType::from_name(format.name)) else {
        return scheme.clone();
    };
    match type_for_rows(wanted, n_per_row) {
        ty if ty == wanted => scheme.clone(),
        // The names of ggml's types are schemes. A test goes through every fallback.
        ty => GgmlFormat::find(ty.name()).map_or_else(|| scheme.clone(), |format| scheme.in_ggml(format)),
    }
}

/// The type that replaces one whose blocks do not divide a row.
///
/// # Source
/// `tensor_type_fallback` in `src/llama-quant.cpp` of the pinned engine.
fn fallback_of(ty: GgmlType) -> GgmlType {
    use GgmlType::*;
    match ty {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        Q2_0 | Q2_K | Q3_K | TQ1_0 | TQ2_0 => Q4_0,
        Q4_K => Q5_0,
        Q5_K => Q5_1,
        Q6_K => Q8_0,
        _ => F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fallback_is_a_scheme_that_can_be_typed() {
        for &ty in GgmlType::ALL {
            let fallback = fallback_of(ty);
            let format = GgmlFormat::find(fallback.name()).expect("a scheme of that name");
            let scheme = Scheme::identity().in_ggml(format);
            assert_eq!(scheme.ggml_format().and_then(|f| GgmlType::from_name(f.name)), Some(fallback), "{ty}");
            assert_eq!(scheme.to_string().parse::<Scheme>().ok(), Some(scheme), "{ty}");
        }
    }

    #[test]
    fn rows_that_are_not_whole_blocks_take_the_fallback_and_others_the_scheme() {
        let realised =
            |scheme: &str, n_per_row| scheme_for_rows(&scheme.parse().expect("a scheme"), n_per_row).to_string();
        for (scheme, n_per_row, wanted) in [
            ("q4_k", 512, "q4_k"),
            ("q4_k", 576, "q5_0"),
            ("q4_k:nonfinite=keep", 576, "q5_0:nonfinite=keep"),
            ("iq4_xs", 96, "ggml:iq4_nl"),
            // Blocks of 32 do not divide this row either.
            ("q6_k", 100, "ggml:f16"),
            ("q8_0", 100, "ggml:f16"),
            ("int4@block32", 100, "int4@block32"),
            ("bf16", 7, "bf16"),
        ] {
            assert_eq!(realised(scheme, n_per_row), wanted, "{scheme} in rows of {n_per_row}");
        }
    }
}
