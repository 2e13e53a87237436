//! All checks that need no model, without C++: ggml's block types need the engine's codec and fail here by name.

use numerics::PlainCodec;
use proof::check::Area;
use proof::{Fast, Report, Scores, Status, known_answers, n_known_answers};

#[test]
fn formats_machine_and_metrics_hold_and_every_check_has_a_name_of_its_own() {
    let mut report = Report::default();
    known_answers(&Fast, &PlainCodec, &Scores, None, &mut |check| report.add(check));
    assert_eq!(report.checks.len(), n_known_answers());
    for check in &report.checks {
        let without_cpp = check.area == Area::Ggml || check.name.starts_with("canary: ggml");
        assert!(check.status == Status::Passed || without_cpp, "{}: {}", check.name, check.detail);
        let same = report.checks.iter().filter(|other| other.name == check.name).count();
        assert_eq!(same, 1, "{}", check.name);
    }
}
