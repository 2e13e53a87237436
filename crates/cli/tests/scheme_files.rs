//! Importance matrices and codebooks from files, through the program: read with distrust, matched by name, part of what
//! a number is known by.

mod support;

use std::path::Path;
use support::bytes::{ARRAY, Bytes, F32, STRING};
use support::{TinyModel, assay, json, refused, stdout, text};

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "32", "--chunks", "4"];
const WEIGHT: &str = "blk.0.attn_q.weight";
const N: usize = TinyModel::N_EMBD;

/// Σ x² of each input channel over 4 calls.
fn sums() -> Vec<f32> {
    (0..N).map(|i| if i % 5 == 0 { 400.0 } else { 0.25 + i as f32 / 64.0 }).collect()
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn gguf_imatrix(sums: &[f32], count: f32) -> Vec<u8> {
    let bytes = Bytes::header(2, 3)
        .key("imatrix.datasets", ARRAY)
        .u32(STRING)
        .u64(1)
        .string("wiki")
        .kv_u32("imatrix.chunk_count", 4)
        .kv_u32("imatrix.chunk_size", 512)
        .tensor(format!("{WEIGHT}.in_sum2"), &[sums.len() as u64, 1], F32, 0)
        .tensor(format!("{WEIGHT}.counts"), &[1, 1], F32, (sums.len() * 4).next_multiple_of(32) as u64);
    bytes.data(32, 0).raw(&le(sums)).data(32, 0).raw(&le(&[count])).data(32, 0).0
}

fn legacy_imatrix(values: &[f32], ncall: u32) -> Vec<u8> {
    let bytes = Bytes(Vec::new()).u32(1).u32(WEIGHT.len() as u32).raw(WEIGHT.as_bytes()).u32(ncall);
    bytes.u32(values.len() as u32).raw(&le(values)).0
}

fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    write("text.txt", text(600).as_bytes());
    write("Im.GGUF", &gguf_imatrix(&sums(), 4.0));
    write("im.dat", &legacy_imatrix(&sums(), 4));
    write("other.dat", &legacy_imatrix(&[1.0; N], 1));
    write("levels.txt", b"# thirds\n-1, -0.333\n0 0.333 1\n");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "m.gguf");
    folder
}

/// Bytes of the first attn_q as stored by `assay quantize … --carrier q4_0`.
fn stored(folder: &Path, scheme: &str) -> Vec<u8> {
    let apply = format!("{WEIGHT}={scheme}");
    stdout(folder, &["quantize", "m.gguf", "out.gguf", "--apply", &apply, "--carrier", "q4_0", "--force"]);
    let file = gguf::GgufFile::open(folder.join("out.gguf")).expect("sound");
    file.read_tensor(file.tensor(WEIGHT).expect("there")).expect("read")
}

#[test]
fn both_formats_give_ggml_the_same_importances_and_the_file_says_which() {
    let room = room();
    let with = stored(room.path(), "q4_0:imatrix=Im.GGUF");
    let file = gguf::GgufFile::open(room.path().join("out.gguf")).expect("sound");
    let apply = file.get("assay.0.apply").and_then(gguf::Value::as_array).and_then(gguf::Array::as_strings);
    let apply = String::from_utf8_lossy(apply.and_then(|a| a.get(0)).expect("provenance")).into_owned();
    let hash = blake3_of(&room.path().join("Im.GGUF"));
    assert_eq!(apply, format!("{WEIGHT}=q4_0:imatrix=blake3-{}", &hash[..32]));

    assert_eq!(stored(room.path(), "q4_0:imatrix=im.dat"), with);
    assert_ne!(stored(room.path(), "q4_0:imatrix=other.dat"), with);
    assert_ne!(stored(room.path(), "q4_0"), with);

    // The same bits as ggml's own function with sum / count.
    let model = gguf::GgufFile::open(room.path().join("m.gguf")).expect("sound");
    let raw = model.read_tensor(model.tensor(WEIGHT).expect("there")).expect("read");
    let values: Vec<f32> = raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let importances: Vec<f32> = sums().iter().map(|x| x / 4.0).collect();
    let direct = numerics::BlockCodec::quantize(&llama::GgmlCodec, "q4_0", &values, N, Some(&importances));
    assert_eq!(direct.expect("quantizes"), with);
}

fn blake3_of(path: &Path) -> String {
    blake3::hash(&std::fs::read(path).expect("a file")).to_hex().to_string()
}

#[test]
fn a_file_that_a_scheme_reads_is_never_the_output() {
    let room = room();
    std::fs::hard_link(room.path().join("levels.txt"), room.path().join("same.txt")).expect("a link");
    for out in ["levels.txt", "./levels.txt", "same.txt"] {
        let apply = "attn_q=codebook@block32:table=levels.txt";
        let said = refused(room.path(), &["quantize", "m.gguf", out, "--apply", apply, "--force"]);
        assert!(said.contains("is the input itself (levels.txt)"), "{said}");
    }
}

#[test]
fn what_a_file_makes_of_a_weight_is_measured_and_a_changed_file_is_another_run() {
    let room = room();
    let apply = format!("{WEIGHT}=q4_0:imatrix=Im.GGUF");
    let eval = |apply: &str| json(room.path(), &[&["eval", "m.gguf", "--json", "--apply", apply], &SMALL[..]].concat());
    let (with, without) = (eval(&apply), eval(&format!("{WEIGHT}=q4_0")));
    assert!(with["kld_mean"].as_f64().is_some_and(|kld| kld > 0.0), "{with}");
    assert_ne!(with["kld_mean"], without["kld_mean"]);
    assert_eq!(eval(&format!("{WEIGHT}=q4_0:imatrix=im.dat"))["kld_mean"], with["kld_mean"]);
    let table = eval("attn_q=codebook@block32:table=levels.txt");
    assert!(table["kld_mean"].as_f64().is_some_and(|kld| kld > 0.0), "{table}");

    let run = [&["run", "--apply", apply.as_str(), "m.gguf", "--out", "out", "--json"], &SMALL[..]].concat();
    let first = json(room.path(), &run);
    let variant = first["verdicts"].as_array().and_then(|all| all.first()).expect("a verdict");
    assert!(variant["scheme"].as_str().is_some_and(|s| s.starts_with("q4_0:imatrix=blake3-")), "{variant}");
    assert_eq!(json(room.path(), &run), first, "a finished run is read");
    // The same contents elsewhere are the same run; other contents in the same place are not.
    std::fs::create_dir(room.path().join("sub")).expect("a folder");
    std::fs::copy(room.path().join("Im.GGUF"), room.path().join("sub/Im.GGUF")).expect("copied");
    let moved = format!("{WEIGHT}=q4_0:imatrix=sub/Im.GGUF");
    let again = [&["run", "--apply", moved.as_str(), "m.gguf", "--out", "out", "--json"], &SMALL[..]].concat();
    assert_eq!(json(room.path(), &again), first);
    std::fs::write(room.path().join("Im.GGUF"), gguf_imatrix(&sums(), 5.0)).expect("written");
    let said = refused(room.path(), &run);
    assert!(said.contains("question") && said.contains("blake3-"), "{said}");
}

#[test]
fn files_that_cannot_serve_are_refused_by_name_with_a_hint() {
    let room = room();
    let write = |name: &str, bytes: &[u8]| std::fs::write(room.path().join(name), bytes).expect("a file");
    write("short.dat", &legacy_imatrix(&sums(), 4)[..40]);
    write("nan.gguf", &gguf_imatrix(&[f32::NAN; N], 4.0));
    write("negative.gguf", &gguf_imatrix(&sums(), -4.0));
    write("narrow.gguf", &gguf_imatrix(&sums()[..16], 4.0));
    write("cut.gguf", &gguf_imatrix(&sums(), 4.0)[..400]);
    let mut no_keys = gguf_imatrix(&sums(), 4.0);
    let at = no_keys.windows(15).position(|w| w == b"imatrix.chunk_c").expect("the key");
    no_keys[at] = b'x';
    write("nokeys.gguf", &no_keys);
    write("words.txt", b"-1 0 one\n");
    for (scheme, says) in [
        ("q4_0:imatrix=nowhere.gguf", &["nowhere.gguf: cannot be opened", "wanted an importance matrix"][..]),
        ("q4_0:imatrix=.", &["this is not a regular file"]),
        ("q4_0:imatrix=/dev/zero", &["this is not a regular file"]),
        ("q4_0:imatrix=m.gguf", &["m.gguf: found no imatrix.datasets"]),
        ("q4_0:imatrix=nokeys.gguf", &["found no imatrix.chunk_count"]),
        ("q4_0:imatrix=text.txt", &["text.txt: byte 0: found "]),
        ("q4_0:imatrix=short.dat", &["short.dat: byte 31: found 32 with 5 bytes to come"]),
        ("q4_0:imatrix=nan.gguf", &["entry \"blk.0.attn_q.weight\": value 0 is NaN"]),
        ("q4_0:imatrix=negative.gguf", &["value 0 is -4"]),
        ("q4_0:imatrix=cut.gguf", &["cut.gguf"]),
        ("q4_0:imatrix=narrow.gguf", &["has 16 values for it, wanted 1 times a row of 32"]),
        ("codebook@row:table=words.txt", &["words.txt: line 1: found \"one\""]),
        ("codebook@row:table=Im.GGUF", &["Im.GGUF: "]),
        ("codebook@row:table=nowhere", &["nowhere: cannot be opened", "wanted a text with the entries"]),
    ] {
        let apply = format!("{WEIGHT}={scheme}");
        for command in [
            &["quantize", "m.gguf", "out.gguf", "--apply", &apply][..],
            &["eval", "m.gguf", "--apply", &apply],
            &["run", "--apply", &apply, "m.gguf", "--out", "out"],
        ] {
            let said = refused(room.path(), command);
            assert!(says.iter().all(|part| said.contains(part)), "{command:?}: {said}");
        }
    }
    // A run has no place to say that it went on without importances. The file knows attn_q of layer 0 only.
    let said =
        refused(room.path(), &["run", "--apply", "attn_q=q4_0:imatrix=Im.GGUF", "m.gguf", "--out", "out", "--quiet"]);
    assert!(said.contains("\"blk.1.attn_q.weight\"") && said.contains("no entry of that name"), "{said}");
    let said = refused(room.path(), &["eval", "m.gguf", "--apply", "ffn_down=iq2_xxs"]);
    assert!(said.contains("blocks of 256"), "{said}");
}

#[test]
fn a_tensor_without_an_entry_is_quantized_without_importances_and_named() {
    let room = room();
    let args = ["m.gguf", "out.gguf", "--apply", "attn_q=q4_0:imatrix=Im.GGUF", "--carrier", "own"];
    let answer = json(room.path(), &[&["quantize", "--json"], &args[..]].concat());
    assert_eq!(answer["without_importance"], serde_json::json!(["blk.1.attn_q.weight"]));
    let file = gguf::GgufFile::open(room.path().join("out.gguf")).expect("sound");
    let bytes =
        |file: &gguf::GgufFile| file.read_tensor(file.tensor("blk.1.attn_q.weight").expect("there")).expect("read");
    let with = bytes(&file);
    stdout(room.path(), &["quantize", "m.gguf", "plain.gguf", "--apply", "attn_q=q4_0", "--carrier", "own"]);
    assert_eq!(bytes(&gguf::GgufFile::open(room.path().join("plain.gguf")).expect("sound")), with);
    let output = assay(room.path(), &[&["eval", "m.gguf", "--apply", args[3]], &SMALL[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("blk.1.attn_q.weight"), "{said}");
}

#[test]
fn importances_of_zero_alone_are_refused_by_the_tensors_name() {
    let room = room();
    std::fs::write(room.path().join("zero.gguf"), gguf_imatrix(&[0.0; N], 4.0)).expect("a file");
    let apply = format!("{WEIGHT}=q4_0:imatrix=zero.gguf");
    for command in [
        &["quantize", "m.gguf", "out.gguf", "--apply", &apply, "--carrier", "own"][..],
        &["eval", "m.gguf", "--apply", &apply],
        &["run", "--apply", &apply, "m.gguf", "--out", "out"],
    ] {
        let said = refused(room.path(), command);
        assert!(said.contains(WEIGHT) && said.contains("all its importances are zero"), "{command:?}: {said}");
    }
    // One that was never used has a count of zero, and counts as 1 throughout.
    std::fs::write(room.path().join("zero.gguf"), gguf_imatrix(&[0.0; N], 0.0)).expect("a file");
    stdout(room.path(), &["quantize", "m.gguf", "out.gguf", "--apply", &apply, "--carrier", "own"]);
}

#[test]
fn a_question_of_ones_own_can_keep_what_is_not_finite() {
    let room = room();
    let path = room.path().join("m.gguf");
    let mut bytes = std::fs::read(&path).expect("a model");
    let file = gguf::GgufFile::open(&path).expect("sound");
    // A value of a token that the text does not use.
    let embd = file.tensor("token_embd.weight").expect("there");
    let at = file.data_offset() as usize + embd.offset as usize + 200 * N * 4;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("writes");
    let folder = room.path();
    let said = refused(folder, &["run", "--apply", "token_embd=bf16", "m.gguf", "--out", "out"]);
    assert!(
        said.contains("is NaN") && said.contains("assay run --apply 'token_embd=bf16:nonfinite=keep' MODEL"),
        "{said}"
    );
    let output = assay(
        folder,
        &[&["run", "--apply", "token_embd=bf16:nonfinite=keep", "m.gguf", "--out", "out"], &SMALL[..]].concat(),
    );
    // The head is the embedding here, so the NaN reaches the logits and says so.
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("window 0: non-finite logits"), "{said}");
    // The census is what names the tensors; the engine is not at fault.
    assert!(said.contains("token_embd.weight has values that are not finite"), "{said}");
    assert!(said.contains("hint: `assay census FILE` names the tensors") && !said.contains("doctor"), "{said}");
    let output = assay(folder, &[&["eval", "m.gguf"], &SMALL[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("hint: `assay census FILE` names the tensors"), "{said}");
}
