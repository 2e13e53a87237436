//! Tests that cannot run everywhere.

/// Says that a test was skipped, and why. Where `ASSAY_NO_SKIPS` is set, as in CI, a skip is a failure: all that tests need
/// is there.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("ASSAY_NO_SKIPS").is_none(), "skipped although ASSAY_NO_SKIPS is set: {why}");
    eprintln!("skipped: {why}");
}
