//! What `assay quantize` does on bad input, on a bad disk and when it is killed, and what `assay diff` tells.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::bytes::{Bytes, F32};
use support::quantized::{quantize, read, room};
use support::skip::skipped;
use support::{assay, json, names_in, refused, stdout};

#[test]
fn the_input_by_any_name_an_existing_file_and_nonsense_are_refused_and_nothing_is_written() {
    let room = room();
    let folder = room.path();
    std::os::unix::fs::symlink(folder.join("m.gguf"), folder.join("link.gguf")).expect("a link");
    std::fs::hard_link(folder.join("m.gguf"), folder.join("hard.gguf")).expect("a link");
    std::fs::write(folder.join("there.gguf"), b"precious").expect("a file");
    let before = read(folder, "m.gguf");
    let with = |out: &str, more: &[&str]| {
        refused(folder, &[&["quantize", "m.gguf", out, "--target", "ffn_norm", "--scheme", "bf16"], more].concat())
    };
    for alias in ["m.gguf", "./m.gguf", "link.gguf", "hard.gguf"] {
        let said = with(alias, &["--force"]);
        assert!(said.contains("is the input itself"), "{said}");
    }
    assert!(with("there.gguf", &[]).contains("exists already"));
    with(".", &["--force"]);
    with("/dev/null", &["--force"]);
    with("no/such/folder/out.gguf", &[]);
    with("out.gguf", &["--carrier", "q4_9"]);
    with("out.gguf", &["--carrier", "i32"]);
    with("out.gguf", &["--carrier", "iq2_xxs"]);
    with("out.gguf", &["--layers", "7"]);
    with("out.gguf", &["--split-max-size", "0"]);
    refused(folder, &["quantize", "m.gguf", "out.gguf"]);
    refused(folder, &["quantize", "m.gguf", "out.gguf", "--target", "ffn_norm"]);
    refused(folder, &["quantize", "m.gguf", "out.gguf", "--scheme", "bf16"]);
    assert_eq!(read(folder, "m.gguf"), before);
    assert_eq!(read(folder, "there.gguf"), b"precious");
}

#[test]
fn values_that_are_not_finite_are_named_by_tensor_and_index() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bytes = Bytes::header(1, 0).tensor("w.weight", &[32, 4], F32, 0).data(32, 0);
    (0..128).for_each(|i| bytes.0.extend(if i == 100 { f32::NAN } else { i as f32 }.to_le_bytes()));
    std::fs::write(folder.path().join("m.gguf"), bytes.0).expect("a file");
    for more in [&["--scheme", "bf16"][..], &["--scheme", "identity", "--carrier", "q8_0"]] {
        let args = [&["quantize", "m.gguf", "out.gguf", "--target", "all"], more].concat();
        let said = refused(folder.path(), &args);
        assert!(said.contains("w.weight") && said.contains("value 100 is NaN"), "{said}");
    }
}

#[test]
fn a_file_size_limit_is_found_before_anything_is_written() {
    let room = room();
    let script = "ulimit -f 8; exec \"$0\" quantize m.gguf out.gguf --target ffn_norm --scheme bf16";
    let output = Command::new("sh")
        .current_dir(room.path())
        .args(["-c", script, env!("CARGO_BIN_EXE_assay")])
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("out.gguf: would have") && said.contains("hint: raise the limit"), "{said}");
    assert_eq!(names_in(room.path()), ["m.gguf", "text.txt"]);
}

/// Lets the shell run `script` in `folder`, as root of a name space where it may mount; `$0` is assay. `None`, and a word on
/// stderr, where the system does not let everybody have one.
fn where_one_may_mount(folder: &Path, script: &str) -> Option<(Option<i32>, String)> {
    let output = Command::new("unshare")
        .current_dir(folder)
        .args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_assay")])
        .output()
        .inspect_err(|e| skipped(&format!("unshare: {e}")))
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(77) || said.starts_with("unshare: ") {
        skipped(&format!("no file system of one's own here: {said}"));
        return None;
    }
    Some((output.status.code(), said))
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing_behind() {
    let room = room();
    std::fs::create_dir(room.path().join("disk")).expect("a folder");
    // A file system of 64 KiB.
    let script = "mount -t tmpfs -o size=64k none disk || exit 77
        \"$0\" quantize m.gguf disk/out.gguf --target ffn_norm --scheme bf16; code=$?
        test -z \"$(ls -A disk)\" || exit 78
        exit $code";
    let Some((code, said)) = where_one_may_mount(room.path(), script) else { return };
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("disk/out.gguf: cannot be written") && said.contains("hint: free some space"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_before_anything_is_read() {
    let room = room();
    std::fs::create_dir(room.path().join("disk")).expect("a folder");
    // A read-only file system: modes do not keep root out.
    let script = "mount -t tmpfs -o ro none disk || exit 77
        \"$0\" quantize m.gguf disk/out.gguf --target ffn_norm --scheme bf16";
    let Some((code, said)) = where_one_may_mount(room.path(), script) else { return };
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("disk/out.gguf: cannot be made") && said.contains("hint: check that the folder"), "{said}");
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_or_the_whole_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    const N: u64 = 4 << 20;
    let header = Bytes::header(2, 0).tensor("a.weight", &[1024, N / 1024], F32, 0).tensor("b.weight", &[N], F32, 4 * N);
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, header.data(32, 0).0).expect("a file");
    let sparse = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    sparse.set_len(8 * N + 1024).expect("a sparse file");
    let mut killed = 0;
    for delay_ms in [5, 15, 30, 45, 60, 90, 120, 160] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
            .current_dir(folder.path())
            .args(["quantize", "m.gguf", "out.gguf", "--target", "all", "--scheme", "bf16"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("assay starts");
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().expect("SIGKILL");
        let ended_well = child.wait().expect("it ends").success();
        killed += u32::from(!ended_well);
        let names = names_in(folder.path());
        if names == ["m.gguf", "out.gguf"] {
            stdout(folder.path(), &["inspect", "out.gguf"]);
            std::fs::remove_file(folder.path().join("out.gguf")).expect("a whole file");
        } else {
            assert!(!ended_well);
            assert_eq!(names, ["m.gguf"], "after {delay_ms} ms");
        }
    }
    assert!(killed > 0, "every run was over in 5 ms");
}

#[test]
fn a_difference_is_told_by_tensor_role_and_layer_and_only_values_count() {
    let room = room();
    quantize(room.path(), "out.gguf", &["--apply", "ffn_norm[layers=1]=bf16", "--apply", "attn_q=q4_0"]);
    let diff = json(room.path(), &["diff", "m.gguf", "out.gguf", "--json"]);
    let row = |list: &str, name: &str| {
        let rows = diff[list].as_array().expect("rows");
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{list} {name}: {diff}")).clone()
    };
    let norm = row("tensors", "blk.1.ffn_norm.weight");
    assert_eq!((&norm["n"], &norm["type_a"], &norm["type_b"]), (&32.into(), &"f32".into(), &"f32".into()));
    // BF16 keeps eight significant bits: an error of at most one part in 2^9 of the value.
    assert!(norm["rel_rmse"].as_f64().is_some_and(|x| x > 0.0 && x < 1.0 / 512.0), "{norm}");
    assert!(norm["cosine"].as_f64().is_some_and(|x| x > 0.9999), "{norm}");
    let untouched = row("tensors", "blk.0.ffn_norm.weight");
    assert_eq!((&untouched["changed"], &untouched["sqnr_db"]), (&0.into(), &"Infinity".into()));
    let q = row("tensors", "blk.0.attn_q.weight");
    assert_eq!(q["n"], 1024);
    assert!(q["sqnr_db"].as_f64().is_some_and(|db| db > 15.0 && db < 30.0), "{q}");
    for (list, name, n_tensors) in
        [("roles", "norms", 5), ("roles", "attn", 8), ("layers", "blk.0", 9), ("layers", "outside the layers", 2)]
    {
        assert_eq!(row(list, name)["n_tensors"], n_tensors, "{list} {name}");
    }
    assert_eq!(row("layers", "blk.0")["changed"], q["changed"]);
    assert_eq!(diff["total"]["n_tensors"], 20);
    assert_eq!((&diff["only_a"], &diff["only_b"]), (&serde_json::json!([]), &serde_json::json!([])));

    let text = stdout(room.path(), &["diff", "m.gguf", "out.gguf"]);
    assert!(text.contains("17 of 20 tensors have the same values in both"), "{text}");
    assert!(text.contains("\nrole") && text.contains("\nlayer"), "{text}");
    assert_eq!(assay(room.path(), &["diff", "m.gguf", "out.gguf", "--exit-code"]).status.code(), Some(1));
    // The same values in another type are the same values.
    json(room.path(), &["quantize", "out.gguf", "copy.gguf", "--apply", "attn_q=q4_0", "--carrier", "q4_0", "--json"]);
    let again = assay(room.path(), &["diff", "copy.gguf", "copy.gguf", "--exit-code"]);
    assert_eq!(again.status.code(), Some(0));
}

#[test]
fn transposes_and_zeros_of_one_file_alone_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let put = |name: &str, ne: [u64; 2], up: [f32; 6], norm: [f32; 4]| {
        let bytes = Bytes::header(2, 0).tensor("blk.0.ffn_up.weight", &ne, F32, 0).tensor("norm.weight", &[4], F32, 32);
        let mut bytes = bytes.data(32, 0).0;
        for values in [&up[..], &norm] {
            bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
            bytes.resize(bytes.len().next_multiple_of(32), 0);
        }
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    };
    put("a.gguf", [3, 2], [0.1, -0.2, 0.3, -0.4, 0.5, 0.6], [0.0, 1.0, 0.0, 2.0]);
    put("b.gguf", [2, 3], [0.1, -0.4, -0.2, 0.5, 0.3, 0.6], [0.5, 0.0, 0.5, 2.0]);
    let text = stdout(folder.path(), &["diff", "a.gguf", "b.gguf"]);
    for said in [
        "blk.0.ffn_up.weight: f32 [3, 2] and f32 [2, 3]: B is the transpose of A",
        "1 value is zero in B alone",
        "2 values are zero in A alone",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("not compared"), "{text}");
    let diff = json(folder.path(), &["diff", "a.gguf", "b.gguf", "--json"]);
    let relation = &diff["incomparable"][0]["relation"];
    assert_eq!(*relation, serde_json::json!({"kind": "transposed", "rel_rmse": 0.0}), "{diff}");
    assert_eq!((&diff["same"], &diff["same_tensors"]), (&false.into(), &false.into()));
}

#[test]
fn tensors_that_cannot_be_paired_are_listed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let put = |name: &str, bytes: Bytes| std::fs::write(folder.path().join(name), bytes.0).expect("a file");
    const I32: u32 = 26;
    let tensors = |ne: u64, last: &str, table: u8| {
        let b = Bytes::header(3, 0).tensor("a.weight", &[ne], F32, 0).tensor("t\u{7}", &[2], I32, 32);
        b.tensor(last, &[2], F32, 64).data(32, 32).data(32, 0).raw(&[table; 8]).data(32, 8)
    };
    put("a.gguf", tensors(8, "x", 0));
    put("b.gguf", tensors(4, "y", 1));
    let diff = json(folder.path(), &["diff", "a.gguf", "b.gguf", "--json"]);
    assert_eq!((&diff["only_a"], &diff["only_b"]), (&serde_json::json!(["x"]), &serde_json::json!(["y"])));
    let why: Vec<&str> =
        diff["incomparable"].as_array().expect("rows").iter().filter_map(|row| row["why"].as_str()).collect();
    assert_eq!(why, ["their extents differ", "2 of 2 values differ, of a type without error metrics"]);
    let text = stdout(folder.path(), &["diff", "a.gguf", "b.gguf"]);
    assert!(text.contains("only in a.gguf: x") && text.contains("t\\u{7}") && !text.contains('\u{7}'), "{text}");
}

#[test]
fn values_that_overflow_are_told_and_left_out_of_errors_alike_in_tensors_layers_and_totals() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let f32s = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    // All of the first tensor is beyond F16, one value of the second.
    let lost = f32s(&[1e5; 64]);
    let mut some = [1.0f32 + 1.0 / 4096.0; 64];
    some[7] = -1e5;
    let mut bytes = Bytes::header(2, 1).key("general.architecture", 8).string("llama");
    bytes = bytes.tensor("blk.0.ffn_up.weight", &[32, 2], F32, 0).tensor("blk.0.ffn_down.weight", &[32, 2], F32, 256);
    let mut bytes = bytes.data(32, 0).0;
    bytes.extend([lost, f32s(&some)].concat());
    std::fs::write(folder.path().join("m.gguf"), bytes).expect("a file");

    let out = ["quantize", "m.gguf", "out.gguf", "--target", "weights", "--scheme", "f16"];
    let answer = json(folder.path(), &[&out[..], &["--json"]].concat());
    let row = |i: usize| &answer["changed"][i];
    assert_eq!((&row(0)["overflowed"], &row(1)["overflowed"]), (&64.into(), &1.into()), "{answer}");
    assert_eq!((&row(0)["rel_rmse"], &row(0)["sqnr_db"]), (&"NaN".into(), &"NaN".into()), "{answer}");
    assert!(row(1)["rel_rmse"].as_f64().is_some_and(|x| (2e-4..3e-4).contains(&x)), "{answer}");
    let told = stdout(folder.path(), &[&out[..], &["--force"]].concat());
    assert!(told.contains("warning: 65 values became infinite or NaN: the errors above leave them out"), "{told}");

    let diff = json(folder.path(), &["diff", "m.gguf", "out.gguf", "--json"]);
    assert_eq!((&diff["tensors"][0]["rmse"], &diff["tensors"][0]["nonfinite"]), (&"NaN".into(), &64.into()), "{diff}");
    for group in [&diff["roles"][0], &diff["layers"][0], &diff["total"]] {
        assert_eq!((&group["overflowed"], &group["nonfinite"]), (&65.into(), &65.into()), "{group}");
        assert_eq!(group["rel_rmse"], diff["tensors"][1]["rel_rmse"], "{group}");
    }
    let told = stdout(folder.path(), &["diff", "m.gguf", "out.gguf"]);
    assert!(
        told.contains("65 values are infinite or NaN in one of the two: the errors above leave them out"),
        "{told}"
    );
}
