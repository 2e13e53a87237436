//! Gates, which decide after a stage whether to go on.

use record::plan::GateName;
use record::sentence::withholding;
use record::{ControlRecord, GateReason};

/// A gate after a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The run goes on if every control that can be decided holds.
    ControlsHold,
}

/// What is finished on one model when a gate decides.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The controls that can be decided.
    pub controls: &'a [ControlRecord],
}

/// The decision of a gate and its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Whether the next stage begins.
    pub go_on: bool,
    /// The reason for the decision.
    pub why: GateReason,
}

impl Gate {
    /// Decides whether to go on. Equal inputs give equal decisions.
    pub fn decide(&self, finished: &Finished<'_>) -> Decision {
        match self {
            Gate::ControlsHold => match withholding(finished.controls) {
                None => Decision { go_on: true, why: GateReason::ControlsHold { decided: finished.controls.len() } },
                Some(ControlRecord { name, found, measured, .. }) => {
                    let (control, found) = (name.clone(), found.clone());
                    let why = match measured {
                        true => GateReason::ControlFailed { control, found },
                        false => GateReason::ControlNotMeasured { control, found },
                    };
                    Decision { go_on: false, why }
                }
            },
        }
    }
}

impl From<GateName> for Gate {
    fn from(name: GateName) -> Gate {
        match name {
            GateName::ControlsHold => Gate::ControlsHold,
        }
    }
}

impl From<Gate> for GateName {
    fn from(gate: Gate) -> GateName {
        match gate {
            Gate::ControlsHold => GateName::ControlsHold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Found;

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
        Gate::ControlsHold.decide(&Finished { controls })
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
}
