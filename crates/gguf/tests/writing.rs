//! What is written is what was read, and appears whole or not at all.

mod support;

use gguf::{
    Array, FileLayout, GgmlType, GgufFile, GgufWriter, OutputFile, OutputProblem, SealedFiles, StringArray, TensorSpec,
    Value, check_output, commit_all,
};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::*;

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// Writes a file again from what the reader made of it.
fn written_again(model: &GgufFile) -> Vec<u8> {
    let specs: Vec<TensorSpec> = model
        .tensors()
        .iter()
        .map(|t| TensorSpec { name: t.name.clone(), ty: t.ty, shape: t.shape().to_vec() })
        .collect();
    let metadata = model.metadata().iter().map(|(key, value)| (key.as_str(), value));
    let layout = FileLayout::new(model.version(), metadata, &specs).expect("a layout");
    let mut writer = GgufWriter::new(Vec::new(), layout).expect("a vector takes all");
    for tensor in model.tensors() {
        writer.data(&model.read_tensor(tensor).expect("its bytes")).expect("a vector takes all");
    }
    writer.finish().expect("complete")
}

/// One of every kind of value and tensor, as a good writer leaves it.
fn everything(version: u32) -> Vec<u8> {
    let mut bytes = Bytes(b"GGUF".to_vec()).u32(version).u64(5).u64(14);
    for (ty, width) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (10, 8), (11, 8), (12, 8)] {
        bytes = bytes.key(format!("number.{ty}"), ty).raw(&[0xfe, 0xff, 3, 4, 5, 6, 7, 8][..width]);
    }
    // A signalling NaN keeps its bits.
    bytes = bytes.key("nan", F32_VALUE).raw(&[1, 0, 0x80, 0x7f]);
    bytes = bytes.key("yes", BOOL).u8(1).key("not text", STRING).string(b"\xff\x00\xfe");
    bytes =
        bytes.key("nested", ARRAY).u32(ARRAY).u64(2).u32(STRING).u64(2).string("a").string("").u32(BOOL).u64(1).u8(1);
    bytes = bytes.kv_u32("general.alignment", 64);
    bytes
        .tensor("scalar", &[], F32, 0)
        .tensor("nothing", &[0, 5], F32, 64)
        .tensor("four", &[32, 2, 1, 3], Q4_0, 64)
        .tensor([b'n'; 63], &[3], F32, 192)
        .tensor("last", &[256], Q4_K, 256)
        .data(64, 4)
        .data(64, 6 * 18)
        .data(64, 12)
        .data(64, 144)
        .data(64, 0)
        .0
}

#[test]
fn a_file_written_again_from_what_was_read_is_the_same_bytes() {
    for version in [2, 3] {
        let bytes = everything(version);
        let (_folder, path) = file(&bytes);
        let model = GgufFile::open(&path).expect("a sound file");
        assert!(written_again(&model) == bytes, "version {version}");
    }
    let (_folder, path) = file(&Bytes::header(0, 1).kv_u32("k", 1).0);
    assert_eq!(written_again(&GgufFile::open(&path).expect("no tensors")), std::fs::read(&path).expect("a file"));
}

fn small_layout() -> FileLayout {
    let strings = Value::Array(Array::String(StringArray::of(["x", "y"]).expect("short")));
    let spec = TensorSpec { name: "t".into(), ty: GgmlType::F32, shape: vec![8] };
    FileLayout::new(3, [("k", &strings)].into_iter(), &[spec]).expect("a layout")
}

fn output(path: &Path) -> OutputFile {
    let layout = small_layout();
    let file = OutputFile::create(path, layout.file_bytes()).expect("a file");
    let mut writer = GgufWriter::new(file, layout).expect("written");
    writer.data(&[5; 32]).expect("written");
    writer.finish().expect("complete")
}

#[test]
fn a_file_has_no_name_before_it_is_complete_and_none_if_it_is_given_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.gguf");
    let file = output(&path);
    assert_eq!(names_in(folder.path()), [""; 0]);
    commit_all(vec![file], false).expect("named");
    assert_eq!(names_in(folder.path()), ["out.gguf"]);
    assert_eq!(GgufFile::open(&path).expect("sound").tensors().len(), 1);
    // As any program makes files: readable as the umask allows, not by its owner alone.
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    drop(output(&folder.path().join("given up.gguf")));
    assert_eq!(names_in(folder.path()), ["out.gguf"]);
}

#[test]
fn a_name_that_is_taken_meanwhile_is_not_overwritten_and_the_other_files_go() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (a, b) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    let files = vec![output(&a), output(&b)];
    std::fs::write(&b, b"precious").expect("a file");
    let error = commit_all(files, false).expect_err("b exists");
    assert!(matches!(error.problem, OutputProblem::Exists), "{error}");
    assert_eq!(names_in(folder.path()), ["b.gguf"]);
    assert_eq!(std::fs::read(&b).expect("a file"), b"precious");

    commit_all(vec![output(&a), output(&b)], true).expect("replaced");
    assert_eq!(names_in(folder.path()), ["a.gguf", "b.gguf"]);
    assert_eq!(std::fs::read(&a).expect("a file"), std::fs::read(&b).expect("a file"));
}

#[test]
fn sealed_files_can_be_read_together_before_they_have_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let one = SealedFiles::seal(vec![output(&path("one.gguf"))]).expect("sealed");
    let readable = one.readable().expect("a path");
    assert_eq!(GgufFile::open(readable.path()).expect("sound").tensors().len(), 1);
    drop(readable);

    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    let two = SealedFiles::seal(names.map(|name| output(&path(name))).into()).expect("sealed");
    let readable = two.readable().expect("a path");
    let beside = readable.path().with_file_name(names[1]);
    assert_eq!(readable.path().file_name().and_then(|name| name.to_str()), Some(names[0]));
    // Another process reads them too.
    let cat = std::process::Command::new("cat").arg(readable.path()).arg(beside).output().expect("cat");
    assert!(cat.status.success() && cat.stdout.starts_with(b"GGUF"), "{cat:?}");
    drop(readable);
    assert_eq!(names_in(folder.path()), [""; 0]);
    two.commit(false).expect("named");
    drop(one);
    assert_eq!(names_in(folder.path()), names);
}

#[test]
fn what_the_reader_would_refuse_gets_no_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.gguf");
    let mut file = OutputFile::create(&path, 4).expect("a file");
    file.write_all(b"GGUF").expect("written");
    let error = commit_all(vec![file], false).expect_err("a cut header");
    assert!(matches!(error.problem, OutputProblem::Malformed(_)), "{error}");
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn the_input_by_any_name_and_what_is_there_already_are_refused() {
    let (folder, input) = file(&Bytes::header(0, 0).0);
    let (link, hard) = (folder.path().join("link.gguf"), folder.path().join("hard.gguf"));
    std::os::unix::fs::symlink(&input, &link).expect("a link");
    std::fs::hard_link(&input, &hard).expect("a link");
    std::fs::create_dir(folder.path().join("sub")).expect("a folder");
    let roundabout = folder.path().join("sub/../model.gguf");
    for alias in [&input, &link, &hard, &roundabout] {
        for replace in [false, true] {
            let error = check_output(alias, [input.as_path()], replace).expect_err("an alias");
            assert!(matches!(error.problem, OutputProblem::IsInput { .. }), "{error}");
        }
    }

    let other = folder.path().join("other.gguf");
    std::fs::write(&other, b"").expect("a file");
    assert!(matches!(
        check_output(&other, [input.as_path()], false).expect_err("there").problem,
        OutputProblem::Exists
    ));
    check_output(&other, [input.as_path()], true).expect("may be replaced");
    let dangling = folder.path().join("dangling.gguf");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).expect("a link");
    assert!(matches!(check_output(&dangling, [], false).expect_err("there").problem, OutputProblem::Exists));
    for path in [folder.path(), Path::new("/dev/null")] {
        let error = check_output(path, [], true).expect_err("no file");
        assert!(matches!(error.problem, OutputProblem::NotAFile { .. }), "{error}");
        assert!(told(&error).contains("\nhint: "), "{error}");
    }
    assert!(matches!(check_output(Path::new(".."), [], true).expect_err("no name").problem, OutputProblem::NoName));
    check_output(&folder.path().join("new.gguf"), [input.as_path()], false).expect("a new name");
}

#[test]
fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
    let error = OutputFile::create(Path::new("/nowhere/at/all/out.gguf"), 1).expect_err("no folder");
    assert!(matches!(error.problem, OutputProblem::Create(_)), "{error}");
    assert!(error.to_string().contains("/nowhere/at/all/out.gguf: cannot be made"), "{error}");
}
