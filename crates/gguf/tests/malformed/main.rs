//! Files that are wrong, each in one way, and what is said about it.

mod cases;
mod sound;
#[path = "../support/mod.rs"]
mod support;

use cases::malformed;
use gguf::{GgufFile, GgufProblem};
use support::*;

#[test]
fn every_malformed_file_is_refused_by_its_own_problem_in_words_that_name_the_place() {
    let cases = malformed();
    assert!(cases.len() >= 120, "only {} cases", cases.len());
    for case in cases {
        let (_folder, path) = file(&case.bytes);
        let error = match GgufFile::open(&path) {
            Ok(file) => panic!("{}: opened as {file:?}", case.name),
            Err(error) => error,
        };
        let variant = format!("{:?}", error.problem);
        let variant = variant.split([' ', '(', '{']).next().unwrap_or_default();
        let said = told(&error);
        assert_eq!(variant, case.problem, "{}: {said}", case.name);
        assert!(said.contains("model.gguf: "), "{}: the file is not named: {said}", case.name);
        for words in &case.says {
            assert!(said.contains(words.as_str()), "{}: {words:?} is not said: {said}", case.name);
        }
        assert_eq!(error.to_string().lines().count(), 1, "{}: {error}", case.name);
        assert!(said.lines().skip(1).all(|line| line.starts_with("hint: ")), "{}: {said}", case.name);
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{}: not escaped: {said:?}", case.name);
    }
}

#[test]
fn every_sound_file_is_opened_and_read_however_unusual() {
    for (name, bytes) in sound::sound() {
        let (_folder, path) = file(&bytes.0);
        let model = GgufFile::open(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        for tensor in model.tensors() {
            let bytes = model.read_tensor(tensor).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(bytes.len() as u64, tensor.nbytes, "{name}");
        }
    }
}

/// A sound file with one of everything, to be damaged.
fn one_of_everything() -> Bytes {
    Bytes::header(2, 4)
        .kv_u32("general.alignment", 64)
        .key("name", STRING)
        .string("a model")
        .key("flags", ARRAY)
        .u32(BOOL)
        .u64(2)
        .raw(&[0, 1])
        .key("tokens", ARRAY)
        .u32(STRING)
        .u64(2)
        .string("the")
        .string("")
        .tensor("a", &[32, 2], Q4_0, 0)
        .tensor("b", &[3], F32, 64)
        .data(64, 64 + 12)
}

#[test]
fn a_file_cut_anywhere_is_refused_and_never_panics() {
    let whole = one_of_everything().0;
    let (folder, path) = file(&whole);
    GgufFile::open(&path).expect("the whole file is sound");
    for n in 0..whole.len() {
        std::fs::write(&path, &whole[..n]).expect("a temporary file");
        let error = GgufFile::open(&path).expect_err("a cut file is refused");
        assert!(
            matches!(
                error.problem,
                GgufProblem::Empty
                    | GgufProblem::Truncated { .. }
                    | GgufProblem::Count { .. }
                    | GgufProblem::OutOfFile { .. }
            ),
            "cut at {n}: {error}"
        );
    }
    drop(folder);
}

#[test]
fn a_file_with_any_byte_changed_opens_or_is_refused_but_never_panics() {
    let whole = one_of_everything().0;
    let (_folder, path) = file(&whole);
    let mut refused = 0;
    for i in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[i] ^= flip;
            std::fs::write(&path, &damaged).expect("a temporary file");
            match GgufFile::open(&path) {
                // What is accepted must be readable.
                Ok(file) => {
                    for tensor in file.tensors() {
                        let bytes = file.read_tensor(tensor).expect("checked tensors can be read");
                        assert_eq!(bytes.len() as u64, tensor.nbytes);
                    }
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > whole.len(), "only {refused} of {} were refused", 3 * whole.len());
}

#[test]
fn a_header_that_claims_gigabytes_is_refused_before_memory_is_asked_for() {
    // A sparse file has the bytes that the header claims, and costs its maker nothing.
    let (_folder, path) = file(&Bytes::header(0, 2).key("k", ARRAY).u32(U8).u64(1 << 30).0);
    let sparse = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    sparse.set_len(1 << 40).expect("a sparse file");
    let error = GgufFile::open(&path).expect_err("passes the cap of the header");
    assert!(matches!(error.problem, GgufProblem::HeaderTooLarge { .. }), "{error}");
}
