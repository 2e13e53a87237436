//! Any bytes are opened as a model or refused; what is opened can be read, shown, and written again as the same model.

#![no_main]

use gguf::{FileLayout, GgufFile, GgufWriter, TensorSpec};
use words::escape_terminal;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

fuzz_target!(|bytes: &[u8]| {
    let file = in_memory(bytes);
    match GgufFile::open_either_endian(path(&file)) {
        Ok(model) => {
            show(&model);
            read(&model);
        }
        Err(error) => is_fit_to_show(&error.to_string()),
    }
    if let Ok(model) = GgufFile::open(path(&file)) {
        write_again(&model);
    }
});

/// A regular file without a name; the reader wants a path, and gets one of the system's own.
fn in_memory(bytes: &[u8]) -> File {
    let file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory"));
    file.write_all_at(bytes, 0).expect("memory");
    file
}

fn path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn is_fit_to_show(said: &str) {
    assert!(said.lines().skip(1).all(|line| line.starts_with("hint: ")), "{said:?}");
    assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
}

/// Everything in the header can be printed.
fn show(model: &GgufFile) {
    for (key, value) in model.metadata() {
        is_fit_to_show(&escape_terminal(key).replace('\n', ""));
        let _ = value.to_string();
    }
}

/// Every byte of every tensor is there.
fn read(model: &GgufFile) {
    for tensor in model.tensors() {
        if let Ok(bytes) = model.read_tensor(tensor) {
            assert_eq!(bytes.len() as u64, tensor.nbytes);
        }
        assert!(model.tensor(&tensor.name).is_some());
    }
}

/// The writer takes what the reader hands out, and the reader takes what the writer makes of it.
fn write_again(model: &GgufFile) {
    let metadata = model.metadata().iter().map(|(key, value)| (key.as_str(), value));
    let specs: Vec<TensorSpec> = model
        .tensors()
        .iter()
        .map(|t| TensorSpec { name: t.name.clone(), ty: t.ty, shape: t.shape().to_vec() })
        .collect();
    let layout = FileLayout::new(model.version(), metadata, &specs).expect("a layout of what was read");
    if layout.file_bytes() > 1 << 24 {
        // A huge alignment: nothing to be learnt from so many zeros.
        return;
    }
    let mut file = File::from(memfd_create("again", MemfdFlags::CLOEXEC).expect("memory"));
    let mut writer = GgufWriter::new(Vec::new(), layout).expect("memory");
    for tensor in model.tensors() {
        writer.data(&model.read_tensor(tensor).expect("checked when it was opened")).expect("memory");
    }
    file.write_all(&writer.finish().expect("complete")).expect("memory");
    let again = GgufFile::open(path(&file)).expect("what was written is sound");
    assert_eq!(format!("{:?}", again.metadata()), format!("{:?}", model.metadata()));
    assert_eq!((again.version(), again.alignment()), (model.version(), model.alignment()));
    for (a, b) in again.tensors().iter().zip(model.tensors()) {
        assert_eq!((&a.name, a.ty, a.shape()), (&b.name, b.ty, b.shape()));
        assert_eq!(again.read_tensor(a).expect("sound"), model.read_tensor(b).expect("sound"));
    }
}
