//! All checks that need no model, without C++: ggml's block types need the engine's codec and fail here by name.
//! With the Python of `.tools` where that is; otherwise its part is skipped with a message.

#[path = "../../gguf/tests/support/skip.rs"]
mod skip;

use numerics::PlainCodec;
use proof::check::Area;
use proof::inputs::rows_of_256;
use proof::oracle::ggml::{Contraction, QUANTIZED, quantize};
use proof::{Fast, Python, Report, Scores, Status, known_answers, n_known_answers};
use std::path::Path;

fn python() -> Option<Python> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/python");
    let python = Python::start(&program);
    python.map_err(|why| skip::skipped(&format!("{why}; scripts/setup-tools.sh installs it"))).ok()
}

/// Blocks of 32 zeros that begin with −0: where gguf-py has another sign than ggml.
const NEGATIVE_ZEROS: [f32; 32] = [-0.0; 32];

#[test]
fn second_forms_of_ggmls_quantizers_equal_gguf_pys_but_for_the_sign_of_zeros() {
    let mut q4_0 = vec![0x88u8; 18];
    q4_0[..2].copy_from_slice(&[0x00, 0x80]);
    assert_eq!(quantize("q4_0", &NEGATIVE_ZEROS, Contraction::Separate), Some(q4_0), "ggml's bytes");
    let Some(mut python) = python() else { return };
    let values: Vec<f32> = rows_of_256(64).into_iter().map(|x| if x == 0.0 { 0.0 } else { x }).collect();
    for ty in QUANTIZED.iter().filter(|ty| !["q1_0", "q2_0"].contains(ty)) {
        let ours = quantize(ty, &values, Contraction::Separate);
        assert!(ours == Some(python.quantize(ty, &values).expect(ty)), "{ty}");
        let (ours, theirs) = (
            quantize(ty, &NEGATIVE_ZEROS.repeat(8), Contraction::Separate),
            python.quantize(ty, &NEGATIVE_ZEROS.repeat(8)),
        );
        assert_eq!(ours == theirs.ok(), !["q4_0", "q5_0"].contains(ty), "{ty}");
    }
}

#[test]
fn formats_machine_and_metrics_hold_and_every_check_has_a_name_of_its_own() {
    let mut report = Report::default();
    let mut python = python();
    known_answers(&Fast, &PlainCodec, &Scores, python.as_mut(), &mut |check| report.add(check));
    assert_eq!(report.checks.len(), n_known_answers());
    for check in &report.checks {
        let without_cpp = check.area == Area::Ggml || check.name.starts_with("canary: ggml");
        assert!(check.status == Status::Passed || without_cpp, "{}: {}", check.name, check.detail);
        let same = report.checks.iter().filter(|other| other.name == check.name).count();
        assert_eq!(same, 1, "{}", check.name);
    }
    for sweep in ["ten million random F32 in every named float", "all BF16 and F16 patterns, all their ties"] {
        let check = report.checks.iter().find(|check| check.name == sweep).expect(sweep);
        let third = check.compared.iter().any(|name| name.starts_with("ml_dtypes"));
        assert_eq!((third, check.not_compared.is_empty()), (python.is_some(), python.is_some()), "{check:?}");
    }
}
