//! The census on two public models, if they are on this machine.

#[path = "../../gguf/tests/support/skip.rs"]
mod skip;

use gguf::{GgmlType, GgufFile};
use lineage::{Effective, StoredPrecision, census, predict};
use numerics::{PlainCodec, Scheme, TensorContext};
use std::path::PathBuf;

/// The F32 tensors of a model, by name; `None`, with a message, where the file is missing.
fn f32_tensors(file: &str) -> Option<Vec<(String, Vec<f32>)>> {
    let folder = std::env::var_os("ASSAY_MODELS").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/assay/models")))?;
    let path = folder.join(file);
    if !path.exists() {
        skip::skipped(&format!("{file} is not in {}; the census of the real model is not checked", folder.display()));
        return None;
    }
    let model = GgufFile::open(&path).unwrap();
    let f32s = model.tensors().iter().filter(|t| t.ty == GgmlType::F32);
    let restored = |t| {
        let bytes = model.read_tensor(t).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    Some(f32s.map(|t| (t.name.clone(), restored(t))).collect())
}

#[test]
fn all_norms_of_smollm2_are_exactly_bf16() {
    let Some(tensors) = f32_tensors("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    assert_eq!(tensors.len(), 61);
    for (name, values) in tensors {
        let c = census(&values, StoredPrecision::F32);
        assert_eq!((c.effective, c.on_grid, c.on_bf16), (Effective::Bf16, c.n, c.n), "{name}: {}", c.note());
    }
}

#[test]
fn all_norms_of_gemma_3_are_one_plus_bf16_and_bf16_moves_2990_of_the_ffn_norms() {
    let Some(tensors) = f32_tensors("gemma-3-270m-q4_k_m.gguf") else { return };
    assert_eq!(tensors.len(), 109);
    let (mut on_grid, mut n, mut ffn_changed, mut ffn_n) = (0, 0, 0, 0);
    for (name, values) in tensors {
        let c = census(&values, StoredPrecision::F32);
        assert_eq!(c.effective.to_string(), "1 + BF16", "{name}: {}", c.note());
        on_grid += c.on_grid;
        n += c.n;
        if name.ends_with("ffn_norm.weight") {
            let ctx = TensorContext { name: &name, n_per_row: values.len() };
            let p = predict(&"bf16".parse::<Scheme>().unwrap(), &values, &ctx, &PlainCodec).unwrap();
            assert!(!p.noop && p.changed == c.n - c.on_bf16, "{name}");
            ffn_changed += p.changed;
            ffn_n += p.n;
        }
    }
    assert_eq!((on_grid, n), (55_936, 55_936));
    assert_eq!((ffn_changed, ffn_n), (2_990, 11_520));
}
