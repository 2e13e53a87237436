//! Tests of the gates between stages.

use lab::plan::gate::{Decision, FinishedSoFar, Gate};
use record::{ControlRecord, Found, GateReason};

fn control(name: &str, ok: bool, measured: bool) -> ControlRecord {
    ControlRecord {
        name: name.into(),
        model: "m.gguf".into(),
        arm: None,
        ok,
        measured,
        expected: "logits bit-identical".into(),
        found: format!("what {name} found").into(),
        cells: Vec::new(),
    }
}

fn decide(controls: &[ControlRecord]) -> Decision {
    Gate::ControlsHold.decide(&FinishedSoFar { controls })
}

#[test]
fn a_gate_is_open_while_every_control_holds() {
    let held = [control("A/A", true, true), control("jitter floor", true, true)];
    assert_eq!(decide(&held), Decision { go_on: true, why: GateReason::ControlsHold { decided: 2 } });
    assert_eq!(decide(&[]), Decision { go_on: true, why: GateReason::ControlsHold { decided: 0 } });
}

#[test]
fn a_gate_closes_on_the_first_failure_and_only_then_on_what_was_not_measured() {
    let (held, unmeasured) = (control("A/A", true, true), control("jitter floor", false, false));
    let failed = control("evidence chains", false, true);
    let (control, found) = ("evidence chains".into(), Found::from("what evidence chains found"));
    assert_eq!(
        decide(&[held.clone(), unmeasured.clone(), failed]),
        Decision { go_on: false, why: GateReason::ControlFailed { control, found } }
    );
    let (control, found) = ("jitter floor".into(), Found::from("what jitter floor found"));
    assert_eq!(
        decide(&[held, unmeasured]),
        Decision { go_on: false, why: GateReason::ControlNotMeasured { control, found } }
    );
}

#[test]
fn the_reason_has_the_words_of_the_control() {
    for (ok, measured) in [(false, true), (false, false)] {
        let control = control("A/A", ok, measured);
        let why = decide(std::slice::from_ref(&control)).why.to_string();
        assert_eq!(why, format!("A/A {}: what A/A found; results are withheld", control.outcome().name()));
    }
}
