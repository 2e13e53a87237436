//! What is not a regular file is refused unread; a file that changes under the reader is an error.

mod support;

use gguf::{GgufFile, GgufProblem};
use std::os::unix::net::UnixListener;
use std::process::Command;
use support::*;

#[test]
fn a_missing_file_is_named_with_a_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = GgufFile::open(folder.path().join("absent.gguf")).expect_err("nothing is there");
    assert!(matches!(error.problem, GgufProblem::Open(_)));
    let said = told(&error);
    assert!(said.contains("absent.gguf: cannot be opened") && said.contains("\nhint: check the path"), "{said}");
}

#[test]
fn directories_fifos_devices_and_sockets_are_refused_without_waiting_for_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&fifo, &link).expect("a link");

    let cases = [
        (folder.path().to_owned(), "directory"),
        (fifo, "FIFO (named pipe)"),
        (link, "FIFO (named pipe)"),
        (socket, "socket"),
        ("/dev/zero".into(), "character device"),
        ("/dev/null".into(), "character device"),
    ];
    for (path, wanted) in cases {
        let error = GgufFile::open(&path).expect_err("not a regular file");
        match error.problem {
            GgufProblem::NotAFile { found } => assert_eq!(found, wanted),
            other => panic!("{}: {other}", path.display()),
        }
    }
}

#[test]
fn a_link_to_a_file_is_the_file() {
    let (folder, path) = file(&Bytes::header(0, 0).0);
    let link = folder.path().join("link.gguf");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    assert_eq!(GgufFile::open(&link).expect("the file behind it").tensors().len(), 0);
}

#[test]
fn a_file_that_shrinks_after_opening_is_an_error_that_says_so() {
    let (_folder, path) = file(&Bytes::header(1, 0).tensor("t", &[64], F32, 0).data(32, 256).0);
    let model = GgufFile::open(&path).expect("sound");
    let writer = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    writer.set_len(model.data_offset() + 100).expect("cut");
    let error = model.read_tensor(&model.tensors()[0]).expect_err("bytes are gone");
    assert!(matches!(error.problem, GgufProblem::Shrunk { wanted: 256, .. }), "{error}");
    assert!(error.to_string().contains("model.gguf: shrank while it was read"), "{error}");
}

/// Found by fuzzing: the file ends before the data section that its only tensor, of no values, would begin.
#[test]
fn a_tensor_of_no_values_reads_as_no_bytes_wherever_it_lies() {
    let (_folder, path) = file(&Bytes::header(1, 0).tensor("none", &[0], F32, 0).0);
    let model = GgufFile::open(&path).expect("nothing is missing");
    assert_eq!(model.read_tensor(&model.tensors()[0]).expect("nothing to read"), [0u8; 0]);
}

#[test]
fn bytes_outside_a_tensor_are_never_handed_out() {
    let (_folder, path) = file(&Bytes::header(1, 0).tensor("t", &[8], F32, 0).data(32, 64).0);
    let model = GgufFile::open(&path).expect("sound");
    let tensor = &model.tensors()[0];
    let mut out = [0; 8];
    model.read_at(tensor, 24, &mut out).expect("the last eight bytes");
    assert_eq!(out, [24, 25, 26, 27, 28, 29, 30, 31]);
    for offset in [25, 32, u64::MAX] {
        let error = model.read_at(tensor, offset, &mut out).expect_err("beyond the tensor");
        assert!(matches!(error.problem, GgufProblem::Range { nbytes: 32, .. }), "{error}");
    }
    // A tensor of some other file.
    let mut foreign = tensor.clone();
    foreign.offset = u64::MAX - 31;
    assert!(model.read_tensor(&foreign).is_err());
    foreign.offset = 0;
    foreign.nbytes = 1 << 50;
    assert!(model.read_tensor(&foreign).is_err());
}
