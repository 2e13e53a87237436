//! What happens in a run, as it happens: one stream, read by the display and by the journal.

use crate::cell::{Role, Verdict};
use crate::edit::Arm;
use crate::memory::MemoryPlan;
use crate::stage::StageName;
use serde::{Serialize, Serializer};
use std::fmt;
use words::Hint;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run folder is open.
    Begun {
        /// Run id.
        id: String,
        /// Command that repeats the run.
        command: String,
        /// The folder held this run already.
        resumed: bool,
        /// Cells of all models; one that stands in two stages counts once.
        cells: usize,
        /// Of those, finished before.
        finished: usize,
        /// Windows of the whole-target cells.
        chunks: usize,
    },
    /// The text has fewer windows than were asked for.
    FewerChunks {
        /// Asked for.
        wanted: usize,
        /// Used.
        used: usize,
    },
    /// A model's target was read and the scheme's changes predicted.
    Census {
        /// Model.
        model: String,
        /// In one sentence.
        summary: String,
    },
    /// A stage begins on a model.
    StageStarted {
        /// Model.
        model: String,
        /// Which.
        stage: StageName,
        /// Cells with something left to measure.
        cells: usize,
    },
    /// A measurement is handed to a worker.
    Measuring {
        /// Model.
        model: String,
        /// Kernels.
        arm: Arm,
        /// Cells.
        cells: usize,
        /// Windows.
        chunks: usize,
    },
    /// What a measurement takes of main memory, before it begins.
    Memory {
        /// Model.
        model: String,
        /// Kernels.
        arm: Arm,
        /// Its parts, and what was given up.
        plan: MemoryPlan,
    },
    /// Something that changes no number but should be known.
    Note {
        /// Model.
        model: String,
        /// In one line.
        text: String,
    },
    /// A window of a cell or of a reference is done. Not in the journal.
    Progress {
        /// Units done in this run, one per window of a cell or reference.
        done: usize,
        /// Units in all.
        total: usize,
        /// Model.
        model: String,
        /// Stage.
        stage: StageName,
    },
    /// A cell is finished.
    CellDone {
        /// Model.
        model: String,
        /// Key.
        key: String,
        /// Stage.
        stage: StageName,
        /// Purpose.
        role: Role,
        /// Kernels.
        arm: Arm,
        /// Selector.
        target: String,
        /// Scheme.
        scheme: String,
        /// Mean KLD, nats.
        kld_mean: f64,
        /// Share of positions with the same most probable token.
        same_top: f64,
    },
    /// A cell cannot be measured; the run goes on.
    CellFailed {
        /// Model.
        model: String,
        /// Key.
        key: String,
        /// The selector of the target.
        target: String,
        /// The reason in one line.
        why: String,
        /// Advice for whoever watches; the journal does not have it.
        #[serde(skip)]
        hint: Option<Hint>,
    },
    /// A worker is gone.
    WorkerDied {
        /// Model.
        model: String,
        /// What it was working on.
        during: String,
        /// How it ended.
        last_words: String,
        /// The work is tried once more.
        again: bool,
    },
    /// A control failed while something was measured.
    Fault {
        /// Model.
        model: String,
        /// Control.
        control: String,
        /// What was found.
        found: String,
    },
    /// What was decided after a stage.
    Gate {
        /// Model.
        model: String,
        /// The stage that ended.
        after: StageName,
        /// Whether the next one is begun.
        go_on: bool,
        /// Why; a sentence in the journal.
        why: GateReason,
    },
    /// The verdict on the whole target in one arm.
    Verdict {
        /// Model.
        model: String,
        /// Kernels.
        arm: Arm,
        /// Class.
        verdict: Verdict,
        /// Why.
        why: String,
    },
    /// The record is written.
    Finished {
        /// All controls held.
        controls_ok: bool,
        /// Cells that could not be measured.
        failed_cells: usize,
    },
}

impl RunEvent {
    /// Progress is for the eye; everything else is kept.
    pub fn is_kept(&self) -> bool {
        !matches!(self, RunEvent::Progress { .. })
    }
}

/// Why a gate is open or shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateReason {
    /// Every control that can be decided holds.
    ControlsHold {
        /// The number of controls that can be decided.
        decided: usize,
    },
    /// A control was measured and does not hold.
    ControlFailed {
        /// The name of the control.
        control: String,
        /// What was found.
        found: String,
    },
    /// A control could not be measured.
    ControlNotMeasured {
        /// The name of the control.
        control: String,
        /// What was found in place of a measurement.
        found: String,
    },
}

impl fmt::Display for GateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateReason::ControlsHold { decided } => {
                write!(f, "all {decided} controls that can be decided so far hold")
            }
            GateReason::ControlFailed { control, found } => {
                write!(f, "{control} failed: {found}; results are withheld")
            }
            GateReason::ControlNotMeasured { control, found } => {
                write!(f, "{control} was not measured: {found}; results are withheld")
            }
        }
    }
}

impl Serialize for GateReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_stands_in_the_journal_with_its_reason_as_a_sentence() {
        let gate = |go_on, why| {
            let event = RunEvent::Gate { model: "m".into(), after: StageName::of("one_layer"), go_on, why };
            serde_json::to_string(&event).expect("prints")
        };
        assert_eq!(
            gate(true, GateReason::ControlsHold { decided: 9 }),
            r#"{"what":"gate","model":"m","after":"one_layer","go_on":true,"why":"all 9 controls that can be decided so far hold"}"#
        );
        let (control, found) = ("A/A".to_string(), "12 positions differ".to_string());
        assert_eq!(
            gate(false, GateReason::ControlFailed { control: control.clone(), found: found.clone() }),
            r#"{"what":"gate","model":"m","after":"one_layer","go_on":false,"why":"A/A failed: 12 positions differ; results are withheld"}"#
        );
        assert_eq!(
            GateReason::ControlNotMeasured { control, found }.to_string(),
            "A/A was not measured: 12 positions differ; results are withheld"
        );
    }
}
