//! Size alone costs nothing.

mod support;

use gguf::{GgufFile, GgufProblem, limits};
use std::time::{Duration, Instant};
use support::*;

#[test]
fn a_file_of_eight_gibibytes_opens_at_once() {
    const MODEL_BYTES: u64 = 8 << 30;
    let n = (MODEL_BYTES - 4096) / 2 / 4;
    let header = Bytes::header(2, 0).tensor("a", &[n], F32, 0).tensor("b", &[n], F32, n * 4).data(32, 0);
    let (_folder, path) = file(&header.0);
    let sparse = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    sparse.set_len(MODEL_BYTES).expect("a sparse file");
    let start = Instant::now();
    let model = GgufFile::open(&path).expect("a sound file");
    // Half of what `assay inspect` may take in all.
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    let mut last = [1; 8];
    let b = model.tensor("b").expect("there");
    model.read_at(b, b.nbytes - 8, &mut last).expect("the end of the file");
    assert_eq!(last, [0; 8]);
}

/// Empty arrays are zeros in the file, and many times as large in memory.
#[test]
fn arrays_within_arrays_without_end_are_refused_before_they_take_memory() {
    let header = Bytes::header(0, 1).key("k", ARRAY).u32(ARRAY).u64(20_000_000);
    let (_folder, path) = file(&header.0);
    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(8 << 30)).expect("a sparse file");
    let start = Instant::now();
    let error = GgufFile::open(&path).expect_err("too many");
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    assert!(matches!(error.problem, GgufProblem::NestedArrays { found: 20_000_000, .. }), "{error}");
    assert!(error.to_string().contains(&words::count(limits::MAX_NESTED_ARRAYS)), "{error}");
}
