//! `assay quantize` through the program: what is written is what was asked for, and loads.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::bytes::{Bytes, F32};
use support::quantized::{quantize, read, room};
use support::skip::skipped;
use support::{json, names_in, refused, stdout};

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "32", "--chunks", "4"];

fn metadata(folder: &Path, file: &str) -> Vec<(String, Value)> {
    let answer = json(folder, &["inspect", "--json", file]);
    let rows = answer["metadata"].as_array().expect("rows").iter();
    rows.map(|row| (row["key"].as_str().expect("a key").to_owned(), row["value"].clone())).collect()
}

#[test]
fn identity_in_the_stored_types_is_the_input_byte_for_byte() {
    let room = room();
    let answer = quantize(room.path(), "out.gguf", &["--target", "all", "--scheme", "identity", "--carrier", "keep"]);
    assert_eq!(read(room.path(), "out.gguf"), read(room.path(), "m.gguf"));
    assert_eq!(answer["verbatim"], true);
    let rows = answer["changed"].as_array().expect("rows");
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|row| row["changed"] == 0 && row["n"].as_u64() > Some(0)), "{answer}");
    let sum = Command::new("sha256sum").arg(room.path().join("out.gguf")).output().expect("sha256sum");
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    assert!(sum.starts_with(answer["out_sha256"].as_str().expect("a hash")), "{sum}: {answer}");
}

#[test]
fn a_written_file_measures_to_the_bits_of_the_same_scheme_in_memory() {
    let room = room();
    let ppl = |args: &[&str]| json(room.path(), &[&["eval", "--json"], args, &SMALL].concat())["ppl"].clone();
    let untouched = ppl(&["m.gguf"]);
    for (i, (apply, carrier)) in [
        ("ffn_norm=bf16", "f32"),
        ("attn_v=bf16", "bf16"),
        ("attn_k=f16", "f16"),
        ("attn=int8@row", "f32"),
        ("weights=q4_0", "q4_0"),
        ("ffn[layers=1]=int4@block32", "f32"),
        ("ffn=int8@tensor", "f32"),
        ("ffn=int8@col", "f32"),
        ("attn=nvfp4", "f32"),
        ("attn=bf16:stochastic", "f32"),
        ("ffn=noise(30)", "f32"),
        ("ffn_down=jitter", "f32"),
        ("attn=int4@tensor:clip=mse", "f32"),
        ("attn=int4@tensor:clip=p99.9", "f32"),
        ("token_embd=identity", "keep"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("{i}.gguf");
        quantize(room.path(), &out, &["--apply", apply, "--carrier", carrier]);
        let in_memory = ppl(&["m.gguf", "--apply", apply]);
        assert_eq!(ppl(&[&out]), in_memory, "{apply} in {carrier}");
        assert_eq!(in_memory == untouched, apply.ends_with("identity"), "{apply}");
    }
}

#[test]
fn what_is_stored_for_real_says_so_in_its_types_and_its_metadata() {
    let room = room();
    let args = ["--target", "weights", "--scheme", "q8_0", "--carrier", "q8_0"];
    let answer = quantize(room.path(), "out.gguf", &args);
    let row = &answer["changed"][0];
    assert_eq!(
        (&row["type_source"], &row["type_requested"], &row["type_realised"]),
        (&"f32".into(), &"q8_0".into(), &"q8_0".into())
    );
    assert_eq!((&row["fallback"], &row["carrier_rounded"]), (&false.into(), &0.into()));
    let (before, after) = (metadata(room.path(), "m.gguf"), metadata(room.path(), "out.gguf"));
    assert_eq!(after[..before.len()], before[..]);
    let new = &after[before.len()..];
    let value = |key: &str| new.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
    // 7 is LLAMA_FTYPE_MOSTLY_Q8_0.
    assert_eq!(value("general.file_type"), Some(7.into()));
    assert_eq!(value("general.quantization_version"), Some(2.into()));
    assert_eq!(value("assay.0.apply"), Some(serde_json::json!(["weights=q8_0"])));
    assert_eq!(value("assay.0.source_blake3").and_then(|v| v.as_str().map(str::len)), Some(64));

    // Again on top of that: both steps are told, and the same command gives the same bytes.
    let again =
        ["quantize", "out.gguf", "twice.gguf", "--json", "--apply", "ffn_norm=bf16", "--apply", "attn_norm=f16"];
    json(room.path(), &again);
    let twice = metadata(room.path(), "twice.gguf");
    assert_eq!(twice[..after.len()], after[..]);
    assert!(twice.iter().any(|(key, value)| key == "assay.1.apply" && value.as_array().map(Vec::len) == Some(2)));
    let bytes = read(room.path(), "twice.gguf");
    json(room.path(), &[&again[..], &["--force"]].concat());
    assert_eq!(read(room.path(), "twice.gguf"), bytes);
    assert_eq!(names_in(room.path()), ["m.gguf", "out.gguf", "text.txt", "twice.gguf"]);
}

#[test]
fn a_type_that_does_not_fit_is_refused_or_named_and_the_two_stand_side_by_side() {
    let room = room();
    let args = ["quantize", "m.gguf", "out.gguf", "--target", "attn_q", "--scheme", "q4_k", "--carrier", "q4_k"];
    let said = refused(room.path(), &args);
    assert!(said.contains("blk.0.attn_q.weight") && said.contains("--allow-fallback takes q5_0"), "{said}");
    let answer = quantize(room.path(), "out.gguf", &[&args[3..], &["--allow-fallback"]].concat());
    let row = &answer["changed"][0];
    assert_eq!((&row["type_requested"], &row["type_realised"]), (&"q4_K".into(), &"q5_0".into()));
    assert_eq!((&row["scheme_requested"], &row["scheme_realised"]), (&"q4_k".into(), &"q5_0".into()));
    let text = stdout(room.path(), &[&args[..], &["--allow-fallback", "--force"]].concat());
    assert!(text.contains("q4_k in q4_K") && text.contains("q5_0 in q5_0"), "{text}");
    assert!(text.contains("fallback: blk.0.attn_q.weight is q5_0 in q5_0, not q4_k in q4_K"), "{text}");
    let told = metadata(room.path(), "out.gguf");
    assert!(told.iter().any(|(key, value)| key == "assay.0.fallback" && value.as_array().map(Vec::len) == Some(2)));
}

#[test]
fn a_vector_is_not_stored_in_a_type_that_llama_cpp_would_abort_on() {
    let room = room();
    let args = ["--apply", "all=q8_0", "--carrier", "q8_0"];
    let said = refused(room.path(), &[&["quantize", "m.gguf", "out.gguf"], &args[..]].concat());
    assert!(said.contains("blk.0.attn_norm.weight") && said.contains("wanted f32"), "{said}");
    let answer = quantize(room.path(), "out.gguf", &[&args[..], &["--allow-fallback"]].concat());
    let rows = answer["changed"].as_array().expect("rows");
    let stored = |ty: &str| rows.iter().filter(|row| row["type_realised"] == ty).count();
    assert_eq!((stored("f32"), stored("q8_0")), (5, 15));
    assert_eq!(rows.iter().filter(|row| row["fallback"] == true).count(), 5);
    let ppl = |args: &[&str]| json(room.path(), &[&["eval", "--json"], args, &SMALL].concat())["ppl"].clone();
    assert_eq!(ppl(&["out.gguf"]), ppl(&["m.gguf", "--apply", "all=q8_0"]));
}

#[test]
fn a_carrier_that_rounds_is_refused_or_says_how_many_values() {
    let room = room();
    let args = ["quantize", "m.gguf", "out.gguf", "--apply", "attn_q=int8@row", "--carrier", "bf16"];
    let said = refused(room.path(), &args);
    assert!(said.contains("bf16 does not store the values of int8@row exactly"), "{said}");
    let answer = quantize(room.path(), "out.gguf", &[&args[3..], &["--force-carrier"]].concat());
    let row = &answer["changed"][0];
    assert!(row["carrier_rounded"].as_u64() > Some(0), "{row}");
    let exact = quantize(room.path(), "exact.gguf", &["--apply", "attn_q=int8@row"]);
    assert_eq!(exact["changed"][0]["carrier_rounded"], 0);
    // What keep cannot hold apart from what it holds already is copied: bf16 changes no block of bf16.
    json(room.path(), &["quantize", "out.gguf", "kept.gguf", "--apply", "attn_q=bf16", "--carrier", "keep", "--json"]);
    assert_eq!(json(room.path(), &["diff", "out.gguf", "kept.gguf", "--json"])["same"], true);
}

#[test]
fn a_model_is_split_on_request_and_opens_from_any_shard() {
    let room = room();
    let answer = quantize(room.path(), "out.gguf", &["--apply", "ffn_norm=bf16", "--split-max-size", "40K"]);
    let files = answer["out"].as_array().expect("rows");
    assert!(files.len() > 2, "{answer}");
    for file in files {
        let bytes = read(room.path(), file["name"].as_str().expect("a name"));
        assert_eq!(file["bytes"].as_u64(), Some(bytes.len() as u64), "{answer}");
        assert_eq!(file["sha256"].as_str().map(str::len), Some(64), "{answer}");
    }
    // The file that opens the model, by both of its numbers.
    assert_eq!((&answer["out_bytes"], &answer["out_sha256"]), (&files[0]["bytes"], &files[0]["sha256"]));
    assert!(files.iter().all(|file| file["bytes"].as_u64() <= Some(40 << 10)), "{answer}");
    quantize(room.path(), "whole.gguf", &["--apply", "ffn_norm=bf16"]);
    let last = files.last().and_then(|file| file["name"].as_str()).expect("a name");
    let diff = json(room.path(), &["diff", "whole.gguf", last, "--json"]);
    assert_eq!((&diff["same"], diff["tensors"].as_array().map(Vec::len)), (&true.into(), Some(20)), "{diff}");
    let shown = json(room.path(), &["inspect", last, "--json"]);
    assert_eq!(shown["shards"].as_u64(), Some(files.len() as u64));
    assert_eq!(shown["tensors"][19]["shard"].as_u64(), Some(files.len() as u64 - 1));
    // llama.cpp loads it, whichever shard is named, and reads the same model.
    let ppl = |model: &str| json(room.path(), &[&["eval", "--json", model], &SMALL[..]].concat())["ppl"].clone();
    assert_eq!(ppl(last), ppl("whole.gguf"));

    // So does a run, which reads the values of all shards itself as well.
    let run =
        ["run", "ffn-norm-bf16", last, "--text", "text.txt", "--ctx", "32", "--chunks", "2", "--out", "run", "--json"];
    let answer = json(room.path(), &run);
    assert!(answer["verdicts"].as_array().is_some_and(|verdicts| !verdicts.is_empty()), "{answer}");

    let merged = ["quantize", last, "merged.gguf", "--apply", "all=identity", "--carrier", "keep", "--json"];
    json(room.path(), &merged);
    assert_eq!(json(room.path(), &["diff", "whole.gguf", "merged.gguf", "--json"])["same"], true);
    assert!(!metadata(room.path(), "merged.gguf").iter().any(|(key, _)| key.starts_with("split.")));
    let said = refused(room.path(), &["quantize", "m.gguf", "x.gguf", "--apply", "all=bf16", "--split-max-size", "9K"]);
    assert!(said.contains("does not fit a file of 9216 bytes"), "{said}");
}

#[test]
fn a_multimodal_projector_is_rewritten_and_compared_like_any_other_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let names = ["v.blk.0.attn_q.weight", "v.blk.0.ln1.weight", "a.blk.1.ffn_up.weight", "mm.0.weight"];
    let infos = (0..).zip(names).fold(Bytes::header(4, 1).kv_u32("clip.vision.block_count", 1), |b, (i, name)| {
        let ne: &[u64] = if name.contains("ln1") { &[64] } else { &[32, 2] };
        b.tensor(name, ne, F32, 256 * i)
    });
    let mut bytes = infos.data(32, 0);
    (0..256).for_each(|i| bytes.0.extend((i as f32 / 7.0).to_le_bytes()));
    std::fs::write(folder.path().join("m.gguf"), bytes.0).expect("a file");
    let apply = ["--apply", "vision=bf16", "--apply", "audio=q8_0", "--apply", "projector=int8@row"];
    let answer = quantize(folder.path(), "out.gguf", &apply);
    assert_eq!(answer["changed"].as_array().map(Vec::len), Some(4), "{answer}");
    let diff = json(folder.path(), &["diff", "m.gguf", "out.gguf", "--json"]);
    let groups = |list: &str| -> Vec<String> {
        let rows = diff[list].as_array().expect("rows").iter();
        rows.filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(groups("roles"), ["vision", "audio", "projector"]);
    assert_eq!(groups("layers"), ["v.blk.0", "a.blk.1", "outside the layers"]);
    assert_eq!(json(folder.path(), &["census", "out.gguf", "--json"])["n_tensors"], 4);
    let shown = json(folder.path(), &["inspect", "out.gguf", "--json"]);
    let shown: Vec<&str> =
        shown["tensors"].as_array().expect("rows").iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(shown, names);
}

/// A sparse file of a large tensor of zeros and a small one: all of their work, and nothing on the disk of the source's.
fn zeros(folder: &Path, ne: &[u64]) {
    let n: u64 = ne.iter().product::<u64>() + 32;
    let header = Bytes::header(2, 0).tensor("blk.0.ffn_up.weight", ne, F32, 0).tensor(
        "output_norm.weight",
        &[32],
        F32,
        4 * (n - 32),
    );
    let header = header.data(32, 0);
    let begins = header.0.len() as u64;
    let path = folder.join("m.gguf");
    std::fs::write(&path, header.0).expect("a file");
    let sparse = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    sparse.set_len(begins + 4 * n).expect("a sparse file");
}

#[test]
fn memory_does_not_grow_with_a_tensor_however_it_is_laid_out() {
    const N: u64 = 24 << 20;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let peak_kib = |ne: &[u64], target: &str, scheme: &str| -> u64 {
        zeros(folder.path(), ne);
        let args = ["quantize", "m.gguf", "out.gguf", "--force", "--quiet", "--target", target, "--scheme", scheme];
        let script = "\"$0\" \"$@\" >&2 & pid=$!; peak=0
            while kill -0 $pid 2>/dev/null; do
                now=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status 2>/dev/null); peak=${now:-$peak}; sleep 0.02
            done
            wait $pid && echo $peak";
        let output = Command::new("sh")
            .current_dir(folder.path())
            .args(["-c", script, env!("CARGO_BIN_EXE_assay")])
            .args(args)
            .output()
            .expect("sh");
        let said = String::from_utf8_lossy(&output.stdout).trim().parse();
        said.unwrap_or_else(|e| panic!("{scheme}: {e}: {}", String::from_utf8_lossy(&output.stderr)))
    };
    // Values alone are 96 MiB in F32; treated whole, five times that would be in memory, and kept in buffers once.
    for (ne, target, scheme) in [
        (&[4096, N / 4096][..], "all", "bf16"),
        (&[N], "all", "bf16"),
        (&[N / 2, 2], "all", "int4@block32"),
        (&[4096, N / 4096], "all", "int8@2x64"),
        (&[4096, N / 4096], "output_norm", "bf16"),
        (&[4096, N / 4096], "all", "int8@tensor"),
        (&[N], "all", "int8@tensor"),
        (&[4096, N / 4096], "all", "int8@col"),
        (&[4096, N / 4096], "all", "nvfp4"),
        (&[4096, N / 4096], "all", "bf16:stochastic"),
        (&[4096, N / 4096], "all", "jitter"),
        (&[4096, N / 4096], "all", "noise(30)"),
        (&[4096, N / 4096], "all", "int4@tensor:clip=mse"),
        (&[4096, N / 4096], "all", "int4@tensor:clip=p99.9"),
    ] {
        let peak = peak_kib(ne, target, scheme);
        assert!(peak > 1 << 12 && peak < 90 << 10, "{target}={scheme} of {ne:?} took {peak} KiB");
    }
}

/// 3000 rows of 1000 values in F32, several pieces; the last but one row holds `odd`.
fn several_pieces(folder: &Path, odd: &[f32]) -> Vec<f32> {
    let mut state = 1u32;
    let mut values: Vec<f32> = (0..3_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    values[2_998_000..2_998_000 + odd.len()].copy_from_slice(odd);
    let header = Bytes::header(1, 0).tensor("blk.0.ffn_up.weight", &[1000, 3000], F32, 0).data(32, 0);
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(folder.join("m.gguf"), header.raw(&data).0).expect("a file");
    values
}

#[test]
fn a_tensor_in_pieces_is_held_as_it_is_in_memory_though_all_of_it_must_be_known_first() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let values = several_pieces(folder.path(), &[40.0, -3.0]);
    for scheme in [
        "int8@tensor",
        "int8@tensor:asym",
        "int8@col",
        "nvfp4",
        "bf16:stochastic",
        "int8@row:stochastic(3)",
        "jitter",
        "noise(30)",
        "noise(30)@row",
        "shuffle@row",
        "shuffle",
        "int4@tensor:clip=mse",
        "int4@tensor:clip=p99.9",
        "int4@col:clip=p99",
    ] {
        let apply = format!("ffn_up={scheme}");
        json(folder.path(), &["quantize", "m.gguf", "out.gguf", "--force", "--json", "--apply", &apply]);
        let written = gguf::GgufFile::open(folder.path().join("out.gguf")).expect("a model file");
        let stored = written.read_tensor(&written.tensors()[0]).expect("its values");
        let mut held = values.clone();
        let context = numerics::TensorContext { name: "blk.0.ffn_up.weight", n_per_row: 1000 };
        let scheme_of_text: numerics::Scheme = scheme.parse().expect("a scheme");
        scheme_of_text.fake_quantize(&mut held, &context, &numerics::PlainCodec).expect("finite values");
        let differs = stored.chunks_exact(4).zip(&held).position(|(a, b)| a != b.to_le_bytes());
        assert_eq!((stored.len(), differs), (4 * held.len(), None), "{scheme}");
    }
}

#[test]
fn what_cannot_be_held_is_found_in_the_last_piece_too_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refusal = |scheme: &str| {
        let apply = format!("ffn_up={scheme}");
        refused(folder.path(), &["quantize", "m.gguf", "out.gguf", "--apply", &apply])
    };
    several_pieces(folder.path(), &[1.0, f32::NAN, f32::INFINITY]);
    for scheme in ["int8@tensor", "int8@col", "nvfp4", "noise(30)", "int4@tensor:clip=mse", "bf16:stochastic", "jitter"]
    {
        let said = refusal(scheme);
        assert!(said.contains("blk.0.ffn_up.weight") && said.contains("value 2998001 is NaN"), "{scheme}: {said}");
    }
    several_pieces(folder.path(), &[f32::MAX, f32::MIN]);
    let said = refusal("int8@tensor:asym");
    assert!(said.contains("a group span -3.4028235e38 to 3.4028235e38"), "{said}");
}

/// gguf-py reads what is written, and restores its blocks to the bits that assay restores them to.
const ORACLE: &str = r#"
import sys, numpy
from gguf import GGUFReader, dequantize
blocks, floats = (GGUFReader(name) for name in sys.argv[1:3])
plain = {t.name: t for t in floats.tensors}
for t in blocks.tensors:
    ours = numpy.asarray(plain[t.name].data, dtype=numpy.float32).reshape(-1)
    theirs = dequantize(t.data, t.tensor_type).astype(numpy.float32).reshape(-1)
    assert ours.tobytes() == theirs.tobytes(), t.name
print(len(blocks.tensors), blocks.tensors[1].tensor_type.name)
"#;

#[test]
fn gguf_py_reads_the_same_values_from_what_is_written() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/python");
    if !python.exists() {
        skipped(&format!("{} is missing, which scripts/setup-tools.sh installs", python.display()));
        return;
    }
    let room = room();
    for carrier in ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16", "bf16", "iq4_nl", "mxfp4"] {
        let args = ["--apply", "attn=identity", "--apply", "ffn=identity", "--carrier", carrier, "--force"];
        quantize(room.path(), "blocks.gguf", &args);
        let back = ["quantize", "blocks.gguf", "floats.gguf", "--apply", "all=identity", "--force", "--json"];
        json(room.path(), &back);
        let checked = Command::new(&python)
            .current_dir(room.path())
            .args(["-c", ORACLE, "blocks.gguf", "floats.gguf"])
            .output()
            .expect("python");
        let said = String::from_utf8_lossy(&checked.stderr);
        if said.contains("No module named") {
            skipped("gguf-py is not installed beside the build tools");
            return;
        }
        assert!(checked.status.success(), "{carrier}: {said}");
        assert!(String::from_utf8_lossy(&checked.stdout).starts_with("20 "), "{carrier}");
    }
}

#[test]
fn a_big_endian_file_is_inspected_and_counted_but_not_rewritten_or_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut b = b"GGUF".to_vec();
    b.extend([3u32.to_be_bytes().as_slice(), &1u64.to_be_bytes(), &0u64.to_be_bytes()].concat());
    let name = b"blk.0.ffn_norm.weight";
    b.extend([&(name.len() as u64).to_be_bytes()[..], name, &1u32.to_be_bytes(), &8u64.to_be_bytes()].concat());
    b.extend([&0u32.to_be_bytes()[..], &0u64.to_be_bytes()].concat());
    b.resize(b.len().next_multiple_of(32), 0);
    (0..8).for_each(|i| b.extend((1.0 + i as f32 / 64.0).to_be_bytes()));
    std::fs::write(folder.path().join("big.gguf"), b).expect("a file");
    assert_eq!(json(folder.path(), &["inspect", "big.gguf", "--json"])["endian"], "big");
    let census = json(folder.path(), &["census", "big.gguf", "--against", "bf16", "--json"]);
    assert_eq!(census["predictions"][0]["changed"], 0, "{census}");
    let said = refused(folder.path(), &["quantize", "big.gguf", "out.gguf", "--apply", "all=bf16"]);
    assert!(said.contains("big-endian"), "{said}");
}

#[test]
fn a_census_of_large_blocks_and_equal_integers_in_the_other_byte_order_ends_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut b = b"GGUF".to_vec();
    b.extend([3u32.to_be_bytes().as_slice(), &3u64.to_be_bytes(), &0u64.to_be_bytes()].concat());
    // A Q4_0 matrix of more bytes than are looked at at once, and two I32 tensors with the same values.
    let (blocks, n) = (18 * 512u64, 64u64);
    for (name, ty, ne, offset) in
        [("blk.0.ffn_up.weight", 2u32, 32 * 512, 0), ("a", 26, n, blocks), ("b", 26, n, blocks + 4 * n)]
    {
        b.extend(
            [&(name.len() as u64).to_be_bytes()[..], name.as_bytes(), &1u32.to_be_bytes(), &ne.to_be_bytes()].concat(),
        );
        b.extend([&ty.to_be_bytes()[..], &offset.to_be_bytes()].concat());
    }
    b.resize(b.len().next_multiple_of(32), 0);
    (0..blocks).for_each(|i| b.push((i % 23) as u8));
    (0..2).for_each(|_| (0..n as i32).for_each(|i| b.extend(i.to_be_bytes())));
    std::fs::write(folder.path().join("big.gguf"), b).expect("a file");
    let census = json(folder.path(), &["census", "big.gguf", "--json", "--quiet"]);
    assert_eq!(census["copies"].as_array().map(Vec::len), Some(0), "{census}");
    let diff = json(folder.path(), &["diff", "big.gguf", "big.gguf", "--json", "--quiet"]);
    assert_eq!(diff["same"], true, "{diff}");
}
