//! A scheme as a value: its bits for each weight, and its text in JSON.

use numerics::{FileContents, Imatrix, Scheme, TensorShape};
use std::sync::Arc;

#[test]
fn bits_per_weight_counts_the_scales_of_short_blocks_too() {
    let bpw = |s: &str, n, n_per_row| s.parse::<Scheme>().unwrap().bits_per_weight(n, n_per_row);
    assert_eq!(bpw("bf16", 576, 576), 16.0);
    assert_eq!(bpw("int4@block32", 64, 64), 5.0);
    assert_eq!(bpw("int4@block32:asym", 64, 64), 6.0);
    assert_eq!(bpw("int8@row", 200, 100), 8.32);
    // 100 = 32 + 32 + 32 + 4, so a row has four scales.
    assert_eq!(bpw("int4@block32", 200, 100), 4.0 + 8.0 * 32.0 / 200.0);
    assert_eq!(bpw("q4_k", 256, 256), 4.5);
    assert_eq!(bpw("mxfp4", 64, 64), 4.25);
    assert_eq!(bpw("mxfp8_e5m2", 100, 100), 8.0 + 4.0 * 8.0 / 100.0);
    assert_eq!(bpw("nvfp4", 64, 64), 4.0 + 0.5 + 0.5);
    assert_eq!(bpw("nf4", 128, 128), 4.5);
    assert_eq!(bpw("iq4_nl", 64, 64), 4.5);
    assert_eq!(bpw("fp8_e4m3@128x128:scale=bf16", 256 * 192, 192), 8.0 + 4.0 * 16.0 / (256.0 * 192.0));
    assert_eq!(bpw("int4@block32:scale=e8m0", 64, 64), 4.25);
    // As Q4_K without its minima: eight scales of six bits and one of sixteen.
    assert_eq!(bpw("int4@block32:scale=f16hier", 512, 256), 4.0 + (8.0 * 6.0 + 16.0) / 256.0);
    assert_eq!(bpw("int4@block16:scale=f16hier", 512, 512), 4.0 + (16.0 * 6.0 + 16.0) / 256.0);
    assert_eq!(bpw("int4@block512:scale=f16hier", 512, 512), 4.0 + (6.0 + 16.0) / 512.0);
    assert_eq!(bpw("int4@block32:zeropoint:scale=f16", 64, 64), 4.0 + (16.0 + 4.0) / 32.0);
    assert_eq!(bpw("int4@block32:fullrange", 64, 64), 5.0);
    assert!(bpw("codebook@row:table=t.txt", 64, 64).is_nan());
}

#[test]
fn a_scheme_is_a_string_in_json() {
    let scheme: Scheme = serde_json::from_str("\"INT8@Row:asym\"").unwrap();
    assert_eq!(serde_json::to_string(&scheme).unwrap(), "\"int8@row:asym\"");
    assert!(serde_json::from_str::<Scheme>("\"int8\"").unwrap_err().to_string().contains("granularity"));
}

#[test]
fn importances_of_zero_alone_are_refused_and_a_tensor_without_an_entry_has_none() {
    let entries =
        [("zero", vec![0.0; 4]), ("one_expert", vec![1.0, 0.0, 0.0, 0.0]), ("sound", vec![0.0, 1.0, 1.0, 0.0])];
    let imatrix = Imatrix::new(entries.map(|(name, values)| (name.to_owned(), values)).into());
    let scheme: Scheme = "q4_k:imatrix=f".parse().unwrap();
    let scheme = scheme.with_contents("ab", FileContents::Imatrix(Arc::new(imatrix)));
    let importance = |name: &str, ne: &[u64]| scheme.importance(name, TensorShape::of(ne));
    let error = |name: &str, ne: &[u64]| importance(name, ne).expect_err(name).to_string();
    assert!(
        error("zero", &[4, 8]).contains("\"zero\"") && error("zero", &[4, 8]).contains("all its importances are zero")
    );
    assert!(error("one_expert", &[2, 8, 2]).contains("all importances of expert 1 are zero"));
    assert!(importance("sound", &[2, 8, 2]).unwrap().is_some() && scheme.no_importance("sound").is_none());
    assert!(importance("absent", &[4, 8]).unwrap().is_none() && scheme.no_importance("absent").is_some());
    assert!(Scheme::identity().no_importance("absent").is_none());
}
