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
pub struct FinishedSoFar<'a> {
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
    pub fn decide(&self, finished: &FinishedSoFar<'_>) -> Decision {
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
