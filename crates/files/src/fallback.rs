//! The ggml type that replaces another one where the rows of a tensor are not whole blocks of it.

use gguf::GgmlType;
use numerics::Scheme;
use numerics::ggml::GgmlFormat;

/// `wanted` where its blocks divide rows of `n_per_row` values, otherwise the type that llama-quantize takes. `None`
/// when llama-quantize refuses such rows.
pub fn type_for_rows(wanted: GgmlType, n_per_row: u64) -> Option<GgmlType> {
    let fits = |ty: GgmlType| n_per_row.is_multiple_of(ty.blck_size());
    if fits(wanted) {
        return Some(wanted);
    }
    let fallback = fallback_of(wanted)?;
    // Rows that are not whole blocks of the fallback either are stored in F16.
    Some(if fits(fallback) { fallback } else { GgmlType::F16 })
}

/// `scheme` where rows of `n_per_row` values allow it, otherwise the same options with the ggml type that
/// llama-quantize takes. Only the blocks of a ggml type can fail to divide a row, so every other scheme stays as it is,
/// and so does one for which llama-quantize has no other type.
pub fn scheme_for_rows(scheme: &Scheme, n_per_row: u64) -> Scheme {
    let Some(wanted) = scheme.ggml_format().and_then(|format| GgmlType::from_name(format.name)) else {
        return scheme.clone();
    };
    match type_for_rows(wanted, n_per_row) {
        None => scheme.clone(),
        Some(ty) if ty == wanted => scheme.clone(),
        // The names of ggml's types are schemes. A test goes through every fallback.
        Some(ty) => GgmlFormat::find(ty.name()).map_or_else(|| scheme.clone(), |format| scheme.in_ggml(format)),
    }
}

/// The largest block of a type that needs no row in the table below. No type has smaller blocks, so
/// rows that are not whole blocks of it are stored in F16.
const LARGEST_BLOCK_WITHOUT_ROW: u64 = 32;

/// The type that replaces one whose blocks do not divide a row. `None` when llama-quantize refuses.
///
/// # Source
/// `tensor_type_fallback` in `src/llama-quant.cpp` of the pinned engine. A test reads that function and compares.
fn fallback_of(ty: GgmlType) -> Option<GgmlType> {
    use GgmlType::*;
    Some(match ty {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        Q2_0 | Q2_K | Q3_K | TQ1_0 | TQ2_0 => Q4_0,
        Q4_K => Q5_0,
        Q5_K => Q5_1,
        Q6_K => Q8_0,
        ty if ty.blck_size() <= LARGEST_BLOCK_WITHOUT_ROW => ty,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinned_source::pinned_function;
    use std::collections::BTreeMap;

    #[test]
    fn every_type_falls_back_as_in_llama_cpps_own_table() {
        let source = pinned_function("src/llama-quant.cpp", "static ggml_type tensor_type_fallback(");
        let after = |line: &str, word: &str| -> Option<String> {
            let rest = &line[line.find(word)? + word.len()..];
            Some(rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?.to_owned())
        };
        let (mut waiting, mut table) = (Vec::new(), BTreeMap::new());
        for line in source.lines() {
            waiting.extend(after(line, "case GGML_TYPE_"));
            if let Some(fallback) = after(line, "return_type = GGML_TYPE_") {
                table.extend(waiting.drain(..).map(|ty| (ty, fallback.clone())));
            }
        }
        assert!(waiting.is_empty() && table.len() > 15, "{table:?}");
        let default = format!("if (qk_k <= {LARGEST_BLOCK_WITHOUT_ROW}) {{");
        assert!(source.contains(&default) && source.contains("no tensor type fallback is defined"), "{source}");
        assert!(source.contains("return_type = GGML_TYPE_F16;"), "{source}");
        for &ty in GgmlType::ALL {
            let theirs = table.remove(&format!("{ty:?}"));
            let is_small = ty.blck_size() <= LARGEST_BLOCK_WITHOUT_ROW;
            let theirs = theirs.or_else(|| is_small.then(|| format!("{ty:?}")));
            assert_eq!(fallback_of(ty).map(|ty| format!("{ty:?}")), theirs, "{ty}");
        }
        assert!(table.is_empty(), "types that are not ours: {table:?}");
    }

    #[test]
    fn rows_that_llama_quantize_refuses_have_no_fallback() {
        for (ty, n_per_row, wanted) in [
            (GgmlType::Q1_0, 96, None),
            (GgmlType::NVFP4, 96, None),
            (GgmlType::NVFP4, 128, Some(GgmlType::NVFP4)),
            (GgmlType::Q2_0, 96, Some(GgmlType::Q4_0)),
            (GgmlType::Q2_K, 100, Some(GgmlType::F16)),
            (GgmlType::MXFP4, 100, Some(GgmlType::F16)),
        ] {
            assert_eq!(type_for_rows(ty, n_per_row), wanted, "{ty} in rows of {n_per_row}");
        }
    }

    #[test]
    fn every_fallback_is_a_scheme_that_can_be_typed() {
        for &ty in GgmlType::ALL {
            let Some(fallback) = fallback_of(ty).filter(|&fallback| fallback != ty) else { continue };
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
