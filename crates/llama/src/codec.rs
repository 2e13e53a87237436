//! ggml's own conversions between F32 and its types, behind [`BlockCodec`]: the bits of llama.cpp itself.

use crate::weights::type_by_name;
use llama_cpp_sys_2 as sys;
use numerics::{BlockCodec, BlockLayout, CodecError, PlainCodec};
use rayon::prelude::*;
use std::sync::OnceLock;
use words::exact_f32;

/// The codec that converts through `ggml_quantize_chunk` and the type's `to_float`.
///
/// # Source
/// `ggml_quantize_chunk` and `ggml_get_type_traits` in ggml.c.
#[derive(Clone, Copy, Debug, Default)]
pub struct GgmlCodec;

/// Quantizes a tensor in one call of `ggml_quantize_chunk` on the calling thread: what [`GgmlCodec`] is compared with. It
/// takes types that need no importances, and finite values.
///
/// # Errors
/// When there is no such type, it needs importances or cannot be quantized to, a value is not finite, or rows are not whole
/// blocks.
pub fn quantize_chunk(ty: &str, values: &[f32], n_per_row: usize) -> Result<Vec<u8>, CodecError> {
    let ggml_type = find(ty)?;
    let layout = layout_of(ggml_type);
    let row_size = layout.row_size(n_per_row).filter(|_| n_per_row > 0 && values.len().is_multiple_of(n_per_row));
    let row_size =
        row_size.ok_or_else(|| CodecError::PartialBlock { ty: ty.into(), blck_size: layout.blck_size, n_per_row })?;
    if !quantizes(ggml_type) || layout.requires_imatrix || values.iter().any(|x| !x.is_finite()) {
        let what = "one call quantizes finite values only, to a type that needs no importances".into();
        return Err(CodecError::Unsupported { ty: ty.into(), what });
    }
    let n_rows = values.len() / n_per_row;
    let mut bytes = vec![0u8; n_rows * row_size];
    // SAFETY: `values` and `bytes` hold exactly `n_rows` rows of a type that `ggml_quantize_chunk` has and that needs no importances.
    unsafe {
        sys::ggml_quantize_init(ggml_type);
        let (from, to) = (values.as_ptr(), bytes.as_mut_ptr().cast());
        sys::ggml_quantize_chunk(ggml_type, from, to, 0, n_rows as i64, n_per_row as i64, std::ptr::null());
    }
    Ok(bytes)
}

/// The number of values that a thread converts at a time, in whole rows. It is so small that all cores end at about the
/// same time.
const CHUNK_VALUES: usize = 1 << 16;

fn find(ty: &str) -> Result<sys::ggml_type, CodecError> {
    static READY: OnceLock<()> = OnceLock::new();
    // ggml fills its F16 tables and starts its back ends on first use; the type table itself is static.
    // SAFETY: idempotent initialisation, once a process.
    READY.get_or_init(|| unsafe { sys::llama_backend_init() });
    type_by_name(ty).ok_or_else(|| CodecError::UnknownType { ty: ty.into() })
}

fn layout_of(ty: sys::ggml_type) -> BlockLayout {
    // SAFETY: `ty` came from `type_by_name`, so it indexes ggml's tables.
    unsafe {
        BlockLayout {
            blck_size: sys::ggml_blck_size(ty).max(1) as usize,
            type_size: sys::ggml_type_size(ty),
            requires_imatrix: sys::ggml_quantize_requires_imatrix(ty),
        }
    }
}

impl BlockCodec for GgmlCodec {
    fn layout(&self, ty: &str) -> Option<BlockLayout> {
        find(ty).ok().map(layout_of)
    }

    fn dequantize(&self, ty: &str, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        let ggml_type = find(ty)?;
        let layout = layout_of(ggml_type);
        let wanted = layout.row_size(out.len()).ok_or_else(|| CodecError::PartialBlock {
            ty: ty.into(),
            blck_size: layout.blck_size,
            n_per_row: out.len(),
        })?;
        if bytes.len() != wanted {
            return Err(CodecError::ByteCount { ty: ty.into(), n: out.len(), found: bytes.len(), wanted });
        }
        // The same values as from ggml's table, several at once.
        if PlainCodec.layout(ty).is_some() {
            return PlainCodec.dequantize(ty, bytes, out);
        }
        // SAFETY: `ggml_type` indexes the table of traits, which is static.
        let to_float = unsafe { (*sys::ggml_get_type_traits(ggml_type)).to_float }
            .ok_or_else(|| CodecError::Unsupported { ty: ty.into(), what: "ggml cannot restore its values".into() })?;
        let step = CHUNK_VALUES - CHUNK_VALUES % layout.blck_size;
        let step_bytes = step / layout.blck_size * layout.type_size;
        out.par_chunks_mut(step).zip(bytes.par_chunks(step_bytes)).for_each(|(values, raw)| {
            // SAFETY: `raw` holds exactly the blocks of `values`, both of whole blocks; ggml reads the one
            // and fills the other.
            unsafe { to_float(raw.as_ptr().cast(), values.as_mut_ptr(), values.len() as i64) }
        });
        Ok(())
    }

    fn quantize(
        &self,
        ty: &str,
        values: &[f32],
        n_per_row: usize,
        imatrix: Option<&[f32]>,
    ) -> Result<Vec<u8>, CodecError> {
        let ggml_type = find(ty)?;
        let layout = layout_of(ggml_type);
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let shape = |what, found, wanted| CodecError::Shape { ty: ty.into(), what, found, wanted };
        if n_per_row == 0 || !values.len().is_multiple_of(n_per_row) {
            return Err(shape("the tensor", values.len(), format!("whole rows of {n_per_row}")));
        }
        if let Some(importance) = imatrix.filter(|m| m.len() != n_per_row) {
            return Err(shape(
                "the importance matrix",
                importance.len(),
                format!("{n_per_row}, one for each value of a row"),
            ));
        }
        let row_size = layout.row_size(n_per_row).ok_or_else(|| CodecError::PartialBlock {
            ty: ty.into(),
            blck_size: layout.blck_size,
            n_per_row,
        })?;
        if layout.requires_imatrix && imatrix.is_none() {
            return Err(CodecError::RequiresImatrix { ty: ty.into() });
        }
        if ggml_type == sys::GGML_TYPE_F32 {
            return Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect());
        }
        // What is not in its switch, `ggml_quantize_chunk` asserts on; what is not finite, some of its searches do.
        if !quantizes(ggml_type) {
            return Err(CodecError::Unsupported { ty: ty.into(), what: "ggml cannot quantize to it".into() });
        }
        let blocks = layout.blck_size > 1;
        // Without a way out of the loop, it is one for the vector unit.
        let all_finite = |share: &[f32]| share.iter().fold(true, |all, x| all & x.is_finite());
        if blocks
            && !values.par_chunks(CHUNK_VALUES).all(all_finite)
            && let Some(index) = values.iter().position(|x| !x.is_finite())
        {
            let what = format!("value {index} is {}, which ggml cannot quantize", values[index]);
            return Err(CodecError::Unsupported { ty: ty.into(), what });
        }
        if let Some(what) = beyond_the_search(ggml_type, values, imatrix) {
            return Err(CodecError::BeyondSearch { ty: ty.into(), what });
        }
        // SAFETY: builds the type's lookup tables once; ggml guards it with a lock of its own.
        unsafe { sys::ggml_quantize_init(ggml_type) };
        let n_rows = values.len() / n_per_row;
        let mut bytes = vec![0u8; n_rows * row_size];
        let rows_each = (CHUNK_VALUES / n_per_row).max(1);
        let shares = values.par_chunks(rows_each * n_per_row).zip(bytes.par_chunks_mut(rows_each * row_size));
        shares.for_each(|(values, bytes)| {
            let rows = (values.len() / n_per_row) as i64;
            // SAFETY: `values` and `bytes` hold exactly `rows` rows of this type, the importances one value for
            // each column or null, which the type allows (checked above).
            unsafe {
                sys::ggml_quantize_chunk(
                    ggml_type,
                    values.as_ptr(),
                    bytes.as_mut_ptr().cast(),
                    0,
                    rows,
                    n_per_row as i64,
                    imatrix.map_or(std::ptr::null(), <[f32]>::as_ptr),
                );
            }
        });
        Ok(bytes)
    }
}

/// Why ggml's search for a type would abort on these values. The searches of the IQ1, IQ2 and IQ3 types assert that they
/// found something. They find nothing where their sums overflow F32; a sum has up to 32 products of importance, value, value
/// again and a level below 2^7, squared.
///
/// # Source
/// `quantize_row_iq2_xxs_impl` and its like in ggml-quants.c: weights are x², or importance · √(mean x² + x²).
fn beyond_the_search(ty: sys::ggml_type, values: &[f32], imatrix: Option<&[f32]>) -> Option<String> {
    const LIMIT: f32 = (1u64 << 48) as f32;
    let searches = matches!(
        ty,
        sys::GGML_TYPE_IQ1_S
            | sys::GGML_TYPE_IQ1_M
            | sys::GGML_TYPE_IQ2_XXS
            | sys::GGML_TYPE_IQ2_XS
            | sys::GGML_TYPE_IQ2_S
            | sys::GGML_TYPE_IQ3_XXS
            | sys::GGML_TYPE_IQ3_S
    );
    let greatest = |x: &[f32]| x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let (x, importance) = (if searches { greatest(values) } else { 0.0 }, imatrix.map_or(0.0, greatest));
    let sound = x * x * x <= LIMIT && 2.0 * importance * x * x <= LIMIT;
    let of =
        if importance > 0.0 { format!(" with importances up to {}", exact_f32(importance)) } else { String::new() };
    (!sound).then(|| {
        let x = exact_f32(x);
        format!("found values x up to {x}{of}, wanted x³ and 2 · importance · x² up to 2^48, beyond which ggml's search fails")
    })
}

/// Whether the switch of `ggml_quantize_chunk` has a type.
fn quantizes(ty: sys::ggml_type) -> bool {
    matches!(
        ty,
        sys::GGML_TYPE_F16
            | sys::GGML_TYPE_BF16
            | sys::GGML_TYPE_Q1_0
            | sys::GGML_TYPE_Q2_0
            | sys::GGML_TYPE_Q4_0
            | sys::GGML_TYPE_Q4_1
            | sys::GGML_TYPE_Q5_0
            | sys::GGML_TYPE_Q5_1
            | sys::GGML_TYPE_Q8_0
            | sys::GGML_TYPE_MXFP4
            | sys::GGML_TYPE_NVFP4
            | sys::GGML_TYPE_Q2_K
            | sys::GGML_TYPE_Q3_K
            | sys::GGML_TYPE_Q4_K
            | sys::GGML_TYPE_Q5_K
            | sys::GGML_TYPE_Q6_K
            | sys::GGML_TYPE_TQ1_0
            | sys::GGML_TYPE_TQ2_0
            | sys::GGML_TYPE_IQ1_S
            | sys::GGML_TYPE_IQ1_M
            | sys::GGML_TYPE_IQ2_XXS
            | sys::GGML_TYPE_IQ2_XS
            | sys::GGML_TYPE_IQ2_S
            | sys::GGML_TYPE_IQ3_XXS
            | sys::GGML_TYPE_IQ3_S
            | sys::GGML_TYPE_IQ4_NL
            | sys::GGML_TYPE_IQ4_XS
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::ggml::{GGML_FORMATS, ImatrixUse};
    use numerics::{FileContents, Imatrix, Scheme, TensorContext};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// `n` deterministic values between −2 and 2, with zeros and a few outliers.
    fn values(n: usize) -> Vec<f32> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        (0..n)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let unit = (state >> 40) as f32 / (1u64 << 24) as f32;
                if i % 97 == 0 { 0.0 } else { (unit - 0.5) * if i % 301 == 0 { 40.0 } else { 4.0 } }
            })
            .collect()
    }

    #[test]
    fn plain_floats_agree_with_the_codec_that_needs_no_ggml() {
        let x = values(4096);
        for ty in ["f32", "f16", "bf16"] {
            let ggml = GgmlCodec.quantize(ty, &x, 512, None).unwrap();
            assert_eq!(ggml, PlainCodec.quantize(ty, &x, 512, None).unwrap(), "{ty}");
            let (mut a, mut b) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            GgmlCodec.dequantize(ty, &ggml, &mut a).unwrap();
            PlainCodec.dequantize(ty, &ggml, &mut b).unwrap();
            assert_eq!(a, b, "{ty}");
        }
    }

    #[test]
    fn every_half_precision_pattern_is_restored_to_the_bits_of_ggml() {
        let words: Vec<u16> = (0..=u16::MAX).collect();
        for (ty, ggml_type) in [("f16", sys::GGML_TYPE_F16), ("bf16", sys::GGML_TYPE_BF16)] {
            find(ty).expect("a type");
            let (mut ours, mut theirs) = (vec![0.0f32; words.len()], vec![0.0f32; words.len()]);
            GgmlCodec.dequantize(ty, bytemuck::cast_slice(&words), &mut ours).expect("restored");
            // SAFETY: `words` and `theirs` hold as many values as is said, of a type without blocks.
            unsafe {
                let to_float = (*sys::ggml_get_type_traits(ggml_type)).to_float.expect("a function");
                to_float(words.as_ptr().cast(), theirs.as_mut_ptr(), words.len() as i64);
            }
            for (word, (a, b)) in words.iter().zip(ours.iter().zip(&theirs)) {
                assert_eq!(a.to_bits(), b.to_bits(), "{ty} pattern {word:#06x}");
            }
        }
    }

    #[test]
    fn a_large_tensor_converts_to_the_same_bits_in_pieces_as_whole() {
        // More than CHUNK_VALUES, so that several threads share it; row by row is the unsplit truth.
        let x = values(512 * 4100);
        let whole = GgmlCodec.quantize("q4_K", &x, 512, None).unwrap();
        let rows: Vec<u8> = x.chunks(512).flat_map(|row| GgmlCodec.quantize("Q4_k", row, 512, None).unwrap()).collect();
        assert_eq!(whole, rows);
        let mut back = vec![0.0; x.len()];
        GgmlCodec.dequantize("q4_K", &whole, &mut back).unwrap();
        let row_bytes = whole.len() / 4100;
        for (raw, values) in whole.chunks(row_bytes).zip(back.chunks(512)) {
            let mut row = vec![0.0; 512];
            GgmlCodec.dequantize("q4_K", raw, &mut row).unwrap();
            assert_eq!(row, values);
        }
    }

    #[test]
    fn every_type_round_trips_or_says_why_not() {
        let x = values(1024);
        let importance = vec![1.0f32; 256];
        let mut converted = Vec::new();
        for id in 0..sys::GGML_TYPE_COUNT {
            // SAFETY: below GGML_TYPE_COUNT; removed types have a null or empty name.
            let raw = unsafe { sys::ggml_type_name(id) };
            if raw.is_null() {
                continue;
            }
            // SAFETY: static C string.
            let name = unsafe { std::ffi::CStr::from_ptr(raw) }.to_str().unwrap();
            let Some(layout) = GgmlCodec.layout(name) else { continue };
            if layout.type_size == 0 {
                continue;
            }
            match GgmlCodec.quantize(name, &x, 256, Some(&importance)) {
                Ok(bytes) => {
                    assert_eq!(bytes.len(), layout.row_size(1024).unwrap(), "{name}");
                    let mut back = vec![0.0; 1024];
                    match GgmlCodec.dequantize(name, &bytes, &mut back) {
                        Ok(()) => {
                            assert!(back.iter().all(|v| v.is_finite()), "{name}");
                            converted.push(name);
                        }
                        Err(CodecError::Unsupported { .. }) => {}
                        Err(other) => panic!("{name}: {other}"),
                    }
                }
                Err(CodecError::Unsupported { .. }) => {}
                Err(other) => panic!("{name}: {other}"),
            }
        }
        for must in
            ["q4_0", "q4_1", "q5_0", "q8_0", "q2_K", "q6_K", "iq4_nl", "iq4_xs", "iq2_xxs", "iq3_s", "tq1_0", "mxfp4"]
        {
            assert!(converted.contains(&must), "{must} is not among {converted:?}");
        }
    }

    #[test]
    fn a_scheme_with_an_importance_matrix_has_the_bits_of_ggml_quantize_chunk_with_the_same_importances() {
        let (n_per_row, rows, n_matrices) = (512, 3, 2);
        let x = values(n_per_row * rows * n_matrices);
        let importances: Vec<f32> = values(n_per_row * n_matrices).iter().map(|v| v * v * 100.0).collect();
        let imatrix = Imatrix::new(BTreeMap::from([("exps".to_owned(), importances.clone())]));
        let contents = FileContents::Imatrix(Arc::new(imatrix));
        for format in GGML_FORMATS.iter().filter(|format| format.imatrix != ImatrixUse::Ignored) {
            let scheme: Scheme = format!("ggml:{}:imatrix=f", format.name).parse().unwrap();
            let scheme = scheme.with_contents("00", contents.clone());
            let mut ours = x.clone();
            scheme.fake_quantize(&mut ours, &TensorContext { name: "exps", n_per_row }, &GgmlCodec).unwrap();

            let ty = type_by_name(format.name).unwrap();
            // SAFETY: a type of ggml's table.
            let row_size = unsafe { sys::ggml_row_size(ty, n_per_row as i64) };
            let mut theirs = vec![0.0f32; x.len()];
            for row in 0..rows * n_matrices {
                let (of_row, matrix) = (row * n_per_row..(row + 1) * n_per_row, row / rows * n_per_row);
                let mut bytes = vec![0u8; row_size];
                // SAFETY: one row of `n_per_row` values and importances, and the bytes that it takes.
                let written = unsafe {
                    let (x, importances) = (x[of_row.clone()].as_ptr(), importances[matrix..].as_ptr());
                    sys::ggml_quantize_chunk(ty, x, bytes.as_mut_ptr().cast(), 0, 1, n_per_row as i64, importances)
                };
                assert_eq!(written, row_size);
                GgmlCodec.dequantize(format.name, &bytes, &mut theirs[of_row]).unwrap();
            }
            let same = ours.iter().zip(&theirs).filter(|(a, b)| a.to_bits() == b.to_bits()).count();
            assert_eq!(same, x.len(), "{}", format.name);
            if format.imatrix == ImatrixUse::Optional {
                let mut without = x.clone();
                let plain: Scheme = format!("ggml:{}", format.name).parse().unwrap();
                plain.fake_quantize(&mut without, &TensorContext { name: "exps", n_per_row }, &GgmlCodec).unwrap();
                assert!(without != ours, "{}: the importances change nothing", format.name);
            }
        }
    }

    #[test]
    fn the_table_of_formats_says_of_importance_matrices_what_ggml_does() {
        let x = values(512);
        let importances: Vec<f32> = (0..512).map(|i| if i % 3 == 0 { 100.0 } else { 0.01 }).collect();
        for format in GGML_FORMATS {
            let required = GgmlCodec.layout(format.name).unwrap().requires_imatrix;
            assert_eq!(required, format.imatrix == ImatrixUse::Required, "{}", format.name);
            if !required {
                let with = GgmlCodec.quantize(format.name, &x, 512, Some(&importances)).unwrap();
                let ignored = with == GgmlCodec.quantize(format.name, &x, 512, None).unwrap();
                assert_eq!(ignored, format.imatrix == ImatrixUse::Ignored, "{}", format.name);
            }
        }
    }

    #[test]
    fn importances_and_values_of_any_size_are_quantized_or_refused_and_never_abort() {
        let shapes: [fn(usize) -> f32; 6] = [
            |i| (i % 7) as f32 - 3.0,
            |i| if i % 256 == 3 { 1.0 } else { 0.0 },
            |_| 1.0,
            |i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0,
            |_| 0.0,
            |i| if i % 2 == 0 { 1.0 } else { -1e-6 },
        ];
        let weights: [fn(usize) -> f32; 4] =
            [|_| 1.0, |_| 0.0, |i| if i % 5 == 0 { 1.0 } else { 0.0 }, |i| (i % 9) as f32 * 0.1];
        let mut refused = 0;
        for format in GGML_FORMATS.iter().filter(|format| format.imatrix != ImatrixUse::Ignored) {
            for (shape, weight) in shapes.iter().flat_map(|s| weights.iter().map(move |w| (s, w))) {
                for (x_size, w_size) in [
                    (1e-38, 1e-38),
                    (1e-20, 1e30),
                    (1.0, 1e-45),
                    (1.0, 1.4e14),
                    (1.0, f32::MAX),
                    (65_000.0, 16_000.0),
                    (65_000.0, 1e-30),
                    (1e10, 1.0),
                    (f32::MAX, 1.0),
                ] {
                    let x: Vec<f32> = (0..256).map(|i| shape(i) / 3.0 * x_size).collect();
                    let w: Vec<f32> = (0..256).map(|i| weight(i) * w_size).collect();
                    match GgmlCodec.quantize(format.name, &x, 256, Some(&w)) {
                        Ok(_) => {}
                        Err(CodecError::BeyondSearch { .. }) => refused += 1,
                        Err(other) => panic!("{}: {other}", format.name),
                    }
                    if format.imatrix == ImatrixUse::Optional {
                        let _ = GgmlCodec.quantize(format.name, &x, 256, None);
                    }
                }
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn misfits_are_errors_and_never_reach_ggml() {
        let x = values(96);
        assert!(matches!(GgmlCodec.quantize("q4_K", &x, 96, None), Err(CodecError::PartialBlock { .. })));
        assert!(matches!(GgmlCodec.quantize("q4_0", &x, 64, None), Err(CodecError::Shape { .. })));
        assert!(matches!(GgmlCodec.quantize("q4_9", &x, 96, None), Err(CodecError::UnknownType { .. })));
        assert!(matches!(GgmlCodec.quantize("i32", &x, 96, None), Err(CodecError::Unsupported { .. })));
        assert!(matches!(
            GgmlCodec.quantize("iq2_xxs", &values(256), 256, None),
            Err(CodecError::RequiresImatrix { .. })
        ));
        assert!(matches!(GgmlCodec.quantize("q4_0", &x, 32, Some(&[1.0; 31])), Err(CodecError::Shape { .. })));
        assert!(matches!(GgmlCodec.dequantize("q4_0", &[0; 17], &mut [0.0; 32]), Err(CodecError::ByteCount { .. })));
    }
}
