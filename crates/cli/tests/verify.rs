//! `assay verify` through the binary.

mod support;

use support::{assay, json, refused};

#[test]
fn this_build_computes_what_it_says_on_this_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = json(folder.path(), &["verify", "--json"]);
    let checks = report["checks"].as_array().expect("a list");
    assert_eq!((report["failed"].as_u64(), report["skipped"].is_u64()), (Some(0), true));
    assert_eq!(
        report["passed"].as_u64().map(|n| n as usize + report["skipped"].as_u64().unwrap_or(0) as usize),
        Some(checks.len())
    );
    let canary =
        checks.iter().find(|check| check["name"] == "canary: ggml's quantizers, fused or not").expect("a canary");
    assert!(
        canary["detail"]
            .as_str()
            .is_some_and(|detail| detail.starts_with("rounded twice") || detail.starts_with("fused"))
    );
    for check in checks {
        let compared =
            check["compared"].as_array().map_or(0, Vec::len) + check["not_compared"].as_array().map_or(0, Vec::len);
        assert!(compared >= 2, "{check}");
    }
}

#[test]
fn a_python_that_cannot_answer_is_refused_and_a_stranger_is_no_argument() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = refused(folder.path(), &["verify", "--python", "/bin/true"]);
    assert!(said.contains("--python: /bin/true has no numpy, ml_dtypes and gguf"), "{said}");
    assert_eq!(assay(folder.path(), &["verify", "--pithon", "x"]).status.code(), Some(2));
}
