//! `assay census` on files made on the spot: what it says of upcast, requantized and native tensors.

mod support;

use std::path::Path;
use support::bytes::{Bytes, F32};
use support::{json, stdout};

const BF16: u32 = 30;
const Q8_0: u32 = 8;
const NE: [u64; 2] = [256, 96];

/// Sums of three pseudo-random numbers (Knuth's 64-bit linear congruential generator).
fn noise(mut state: u64) -> Vec<f32> {
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..NE[0] * NE[1]).map(|_| 0.05 * (draw() + draw() + draw())).collect()
}

fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// Multiples −8 … 7 of a step for each 32 values.
fn four_bits(values: &[f32]) -> Vec<f32> {
    let of = |block: &[f32]| {
        let top = block.iter().fold(0.0f32, |m, x| if x.abs() > m.abs() { *x } else { m });
        let d = bf16(top / -8.0);
        block.iter().map(|x| d * (x / d).round().clamp(-8.0, 7.0)).collect::<Vec<f32>>()
    };
    values.chunks(32).flat_map(of).collect()
}

/// Blocks as `quantize_row_q8_0_ref` makes them, the scale with BF16's bits so that it needs no rounding.
fn q8_0(values: &[f32]) -> Vec<u8> {
    let of = |block: &[f32]| {
        let d = bf16(block.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0);
        let exponent = (d.to_bits() >> 23) as u16 - 127 + 15;
        let f16 = exponent << 10 | (d.to_bits() >> 13 & 0x3ff) as u16;
        let codes = block.iter().map(|x| (x / d).round().clamp(-127.0, 127.0) as i8 as u8);
        f16.to_le_bytes().into_iter().chain(codes).collect::<Vec<u8>>()
    };
    values.chunks(32).flat_map(of).collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A file of matrices by name, type and bytes.
fn write(folder: &Path, tensors: &[(&str, u32, Vec<u8>)]) {
    let mut bytes = Bytes::header(tensors.len() as u64, 0);
    let mut offset = 0;
    for (name, ty, data) in tensors {
        bytes = bytes.tensor(name, &NE, *ty, offset);
        offset += data.len().next_multiple_of(32) as u64;
    }
    for (_, _, data) in tensors {
        bytes = bytes.data(32, 0).raw(data);
    }
    std::fs::write(folder.join("m.gguf"), bytes.data(32, 0).0).expect("a temporary file");
}

#[test]
fn an_upcast_file_is_named_with_the_tensors_that_disagree() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upper_half =
        |values: &[f32]| values.iter().flat_map(|x| bf16(*x).to_bits().to_le_bytes()[2..].to_vec()).collect();
    write(
        folder.path(),
        &[
            ("blk.0.ffn_up.weight", BF16, upper_half(&four_bits(&noise(1)))),
            ("blk.1.ffn_up.weight", BF16, upper_half(&four_bits(&noise(2)))),
            ("blk.2.ffn_up.weight", BF16, upper_half(&noise(3))),
        ],
    );
    let answer = json(folder.path(), &["census", "m.gguf", "--json"]);
    let verdict = answer["verdict"].as_array().expect("verdicts");
    assert_eq!(verdict.len(), 1, "{verdict:?}");
    let said = verdict[0].as_str().expect("a sentence");
    assert!(said.starts_with("2 of 3 bf16 tensors that can tell lie on a Q4_0-like grid"), "{said}");
    assert!(said.contains("about 4 bits a value; not blk.2.ffn_up.weight"), "{said}");
    let upcast = &answer["tensors"][0];
    assert_eq!((&upcast["blocks"]["grid"], &upcast["blocks"]["bits"]), (&"Q4_0-like".into(), &4.0.into()));
    assert!(upcast["note"].as_str().is_some_and(|note| note.contains("lies on a Q4_0-like grid")), "{upcast}");
    let native = &answer["tensors"][2];
    assert_eq!(native["blocks"]["grid"], "none found");
    let open: Vec<&str> =
        native["not_decidable"].as_array().into_iter().flatten().filter_map(|why| why.as_str()).collect();
    assert_eq!(open.len(), 2, "{open:?}");
    assert!(open[0].contains("rounding to BF16 leaves no trace") && open[1].contains("leave no trace"), "{open:?}");
    let of_upcast = upcast_reasons(&answer);
    assert!(of_upcast.len() == 1 && of_upcast[0].contains("finer grid"), "{of_upcast:?}");
    let text = stdout(folder.path(), &["census", "m.gguf"]);
    assert!(text.contains("\nverdict\n  2 of 3 bf16 tensors"), "{text}");
    let claims = text.split_once("\nverdict\n").map_or("", |(_, claims)| claims);
    assert!(!claims.contains(" was "), "a grid is lain on, and nothing more is claimed: {text}");
}

fn upcast_reasons(answer: &serde_json::Value) -> Vec<String> {
    let reasons = answer["tensors"][0]["not_decidable"].as_array().expect("reasons");
    reasons.iter().map(|why| why.as_str().expect("words").to_owned()).collect()
}

#[test]
fn a_finer_format_over_a_coarser_lattice_is_called_requantized_and_one_over_noise_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tensors =
        [("blk.0.ffn_up.weight", Q8_0, q8_0(&four_bits(&noise(4)))), ("blk.1.ffn_up.weight", Q8_0, q8_0(&noise(5)))];
    write(folder.path(), &tensors);
    let answer = json(folder.path(), &["census", "m.gguf", "--json"]);
    let requantized = |i: usize| answer["tensors"][i]["blocks"]["requantized"].clone();
    assert_eq!((requantized(0), requantized(1)), (true.into(), false.into()), "{answer}");
    let verdict = answer["verdict"].to_string();
    assert!(
        verdict.contains(
            "1 of 2 q8_0 tensors look requantized: q8_0 over a lattice of about 4 bits (blk.0.ffn_up.weight)"
        ),
        "{verdict}"
    );
}

#[test]
fn spread_rows_overflow_and_flushes_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut values = noise(6);
    values[..256].fill(0.0);
    let row: Vec<f32> = values[256..512].to_vec();
    values[512..768].copy_from_slice(&row);
    values[1000] = 70_000.0;
    values[1001] = 1e-9;
    write(folder.path(), &[("blk.0.ffn_up.weight", F32, f32s(&values))]);
    let answer = json(folder.path(), &["census", "m.gguf", "--against", "f16", "--json"]);
    let spread = &answer["tensors"][0]["distribution"];
    assert_eq!((&spread["rows"], &spread["zero_rows"], &spread["duplicate_rows"]), (&96.into(), &1.into(), &1.into()));
    assert_eq!((&spread["absmax"], &spread["zeros"]), (&70_000.0.into(), &256.into()));
    let prediction = &answer["predictions"][0];
    assert_eq!((&prediction["overflowed"], &prediction["zeroed"]), (&1.into(), &1.into()), "{prediction}");
    assert_eq!(
        (&prediction["saturated"], &prediction["from"][0]["overflowed"]),
        (&0.into(), &1.into()),
        "{prediction}"
    );
    let text = stdout(folder.path(), &["census", "m.gguf", "--against", "f16"]);
    let line = "F32 → f16 (1 tensor): 24,303 of 24,576 change; 1 overflow to infinity, 1 flushed to zero, 0 clamped to the largest value";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("blk.0.ffn_up.weight: 1 of 96 rows are zeros alone, 1 of 96 rows have the bits"), "{text}");
    let verbose = stdout(folder.path(), &["census", "m.gguf", "-v"]);
    assert!(verbose.contains("kurtosis") && verbose.contains("70,000") && verbose.contains("\nnotes\n"), "{verbose}");
}

#[test]
fn values_beyond_the_largest_of_a_format_are_counted_apart_and_ggml_does_not_say() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut values = noise(7);
    values[3] = 500.0;
    values[4] = -460.0;
    write(folder.path(), &[("blk.0.ffn_up.weight", F32, f32s(&values))]);
    let against = ["census", "m.gguf", "--json", "--against", "fp8_e4m3", "--against", "mxfp4", "--against", "q8_0"];
    let answer = json(folder.path(), &against);
    let saturated = |i: usize| answer["predictions"][i]["saturated"].clone();
    assert_eq!(saturated(0), 1, "460 is nearer to 448 than to 480: {answer}");
    // By hand: E8M0 gives a block of 32 the step 2^(⌊log2 absmax⌋ − 2); E2M1 ends at 6, and 8 would come next.
    let blocks = values.chunks(32).map(|block| {
        let step = (block.iter().fold(0.0f32, |m, x| m.max(x.abs())).log2().floor() - 2.0).exp2();
        block.iter().filter(|x| x.abs() > 7.0 * step).count()
    });
    let by_hand: usize = blocks.sum();
    assert!(by_hand > 100, "{by_hand}");
    assert_eq!(saturated(1), by_hand, "{answer}");
    assert!(saturated(2).is_null(), "{answer}");
    assert_eq!(answer["tensors"][0]["predicted"][1]["saturated"], by_hand);
    let text = stdout(folder.path(), &["census", "m.gguf", "--against", "fp8_e4m3", "--against", "q8_0"]);
    assert!(text.contains(" 1 clamped to the largest value") && text.contains("ggml does not say"), "{text}");
}

#[test]
fn what_is_not_decidable_is_said_with_its_reason_in_the_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(
        folder.path(),
        &[("blk.0.ffn_up.weight", F32, f32s(&noise(8))), ("blk.1.ffn_up.weight", F32, f32s(&[0.5; 256 * 96]))],
    );
    let text = stdout(folder.path(), &["census", "m.gguf"]);
    let (table, rest) = text.split_once("\nnot decidable\n").expect("reasons");
    assert!(rest.contains("  a  whether there was a grid before a merge") && rest.contains("(1 tensor)"), "{text}");
    assert!(
        rest.contains("  b  which float format the values are of: all values are equal (0.5) (1 tensor)"),
        "{text}"
    );
    assert!(
        rest.contains("  c  which grid of blocks the values lie on: all values are equal (0.5) (1 tensor)"),
        "{text}"
    );
    assert!(rest.contains("1 of 2 stored f32, not decidable"), "{text}");
    let marks: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(marks, ["a", "c"], "{table}");
}

#[test]
fn values_on_q4_0s_grid_and_zeros_are_a_no_op_whatever_the_signs_of_zeros() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // ggml gives zero back as its scale times 0, which is −0 where the scale is negative.
    let mut grid: Vec<f32> = four_bits(&noise(20)).iter().map(|x| x + 0.0).collect();
    grid[..512].fill(0.0);
    grid[512] = -0.0;
    write(folder.path(), &[("blk.0.ffn_up.weight", F32, f32s(&grid))]);
    let answer = json(folder.path(), &["census", "m.gguf", "--against", "q4_0", "--against", "bf16", "--json"]);
    let q4_0 = &answer["predictions"][0];
    assert_eq!((&q4_0["changed"], &q4_0["noop"]), (&0.into(), &true.into()), "{q4_0}");
    assert!(q4_0["minus_zero"].as_u64().is_some_and(|n| n > 100), "{q4_0}");
    assert_eq!(
        (&answer["predictions"][1]["minus_zero"], &answer["predictions"][1]["zero_sign"]),
        (&0.into(), &0.into())
    );

    // Two zeros in four, as 2:4 sparsity leaves them, between weights that change.
    let sparse: Vec<f32> = noise(21).iter().enumerate().map(|(i, x)| if i % 4 < 2 { 0.0 } else { *x }).collect();
    write(folder.path(), &[("blk.0.ffn_up.weight", F32, f32s(&sparse))]);
    let answer = json(folder.path(), &["census", "m.gguf", "--against", "q4_0", "--json"]);
    let (found, n) = (&answer["predictions"][0], sparse.len() as u64);
    let of = |key: &str| found[key].as_u64().expect("a count");
    assert!(of("changed") <= n / 2, "a zero changes no value: {found}");
    assert!(of("minus_zero") > n / 8 && of("unzeroed") == 0 && of("zeroed") > 0, "{found}");

    // Steps from a row's least value do not meet zero.
    let answer = json(folder.path(), &["census", "m.gguf", "--against", "int2@row:asym", "--json"]);
    let found = &answer["predictions"][0];
    assert_eq!(found["unzeroed"].as_u64(), Some(n / 2), "{found}");
    let text = stdout(folder.path(), &["census", "m.gguf", "--against", "int2@row:asym"]);
    assert!(text.contains(" zeros become nonzero, "), "{text}");
}

#[test]
fn one_value_everywhere_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), &[("blk.0.ffn_up.weight", F32, f32s(&[0.1; 256 * 96]))]);
    let text = stdout(folder.path(), &["census", "m.gguf"]);
    assert!(text.contains("blk.0.ffn_up.weight: all values are equal (0.1)"), "{text}");
    assert!(!text.contains("all values are one"), "{text}");
}

#[test]
fn one_value_everywhere_is_named_as_the_product_where_the_weight_has_a_factor() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ne = [256, 2];
    let bytes = Bytes::header(2, 0).tensor("blk.0.attn_q.weight", &ne, F32, 0);
    let mut bytes = bytes.tensor("blk.0.attn_q.scale", &[1], F32, 4 * 512).data(32, 0).0;
    bytes.extend(f32s(&[0.1; 512]));
    bytes.extend(0.5f32.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    std::fs::write(folder.path().join("m.gguf"), bytes).expect("a file");
    let text = stdout(folder.path(), &["census", "m.gguf"]);
    let wanted = "blk.0.attn_q.weight: all values are equal (0.05, the product with blk.0.attn_q.scale)";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("which float format the stored values are of: all values are equal (0.1)"), "{text}");
}

#[test]
fn norms_that_need_f16_beside_bf16_floats_are_told_for_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to_bf16 = |values: Vec<f32>| values.into_iter().map(bf16).collect::<Vec<f32>>();
    // Eleven significant bits, above F16's subnormals.
    let f16 = |x: f32| f32::from_bits((x.to_bits() + 0x1000) & 0xffff_e000);
    let scaled = |seed: u64| to_bf16(noise(seed)).iter().map(|x| f16((x + 1.0) / 1.37)).collect::<Vec<f32>>();
    let norm = |i: u64, values: Vec<f32>| (format!("blk.{i}.ffn_norm.weight"), values);
    let write_all = |norms: &[(String, Vec<f32>)]| {
        let bias = ("blk.0.attn_q.bias", F32, f32s(&to_bf16(noise(30))));
        let norms = norms.iter().map(|(name, values)| (name.as_str(), F32, f32s(values)));
        write(folder.path(), &norms.chain([bias]).collect::<Vec<_>>());
        json(folder.path(), &["census", "m.gguf", "--json"])
    };
    let answer = write_all(&[norm(0, scaled(31)), norm(1, scaled(32)), norm(2, to_bf16(noise(33)))]);
    let found = &answer["rescaled_norms"];
    assert_eq!(
        (&found["norms"], &found["others"], &found["values"]),
        (&2.into(), &2.into(), &49_152.into()),
        "{found}"
    );
    let verdict = answer["verdict"].to_string();
    assert!(verdict.contains("2 norms need F16 (") && verdict.contains("while all 2 other float tensors"), "{verdict}");
    let answer = write_all(&[norm(0, to_bf16(noise(31))), norm(1, to_bf16(noise(32)))]);
    assert!(answer["rescaled_norms"].is_null() && !answer["verdict"].to_string().contains("norms need"), "{answer}");
}

#[test]
fn the_summary_names_frequency_factors_and_one_value_in_the_singular() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut spoilt = noise(3);
    spoilt[7] = f32::NAN;
    let tensors = [("rope_freqs.weight", F32, f32s(&noise(1))), ("blk.0.ffn_up.weight", F32, f32s(&spoilt))];
    write(folder.path(), &tensors);
    let text = stdout(folder.path(), &["census", "m.gguf"]);
    assert!(text.contains("  rope_freqs: 1 of 1 stored f32"), "{text}");
    assert!(!text.contains("  others:"), "{text}");
    assert!(text.contains("blk.0.ffn_up.weight: 1 non-finite value\n"), "{text}");
}
