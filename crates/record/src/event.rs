//! What happens in a run, as it happens: one stream, read by the display and by the journal.

use crate::cell::{Role, Verdict};
use crate::edit::Arm;
use crate::memory::MemoryPlan;
use crate::stage::StageName;
use serde::{Serialize, Serializer};
use std::fmt;
use words::Hint;

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run folder was opened.
    Begun {
        /// The id of the run, which equal runs share.
        id: String,
        /// The command that repeats the run.
        command: String,
        /// Whether the folder already contained this run.
        resumed: bool,
        /// The number of cells of all models. A cell in two stages counts once.
        cells: usize,
        /// The number of these cells that were finished before.
        finished: usize,
        /// The number of windows of the cells on the whole target.
        chunks: usize,
        /// The keys of all cells, sorted.
        keys: Vec<String>,
    },
    /// The text has fewer windows than were asked for.
    FewerChunks {
        /// The number of windows that were asked for.
        wanted: usize,
        /// The number of windows that are used.
        used: usize,
    },
    /// A model's target was read, and the changes by the scheme were predicted.
    Census {
        /// The name of the model.
        model: String,
        /// The census in one sentence.
        summary: String,
    },
    /// A stage begins on a model.
    StageStarted {
        /// The name of the model.
        model: String,
        /// The name of the stage.
        stage: StageName,
        /// The number of cells that still have something to measure.
        cells: usize,
    },
    /// A worker receives a measurement.
    Measuring {
        /// The name of the model.
        model: String,
        /// The kernels that the model runs through.
        arm: Arm,
        /// The number of cells in the measurement.
        cells: usize,
        /// The number of windows in the measurement.
        chunks: usize,
    },
    /// The main memory that a measurement needs, before it begins.
    Memory {
        /// The name of the model.
        model: String,
        /// The kernels that the model runs through.
        arm: Arm,
        /// The parts of that memory, and what was given up so that it fits.
        plan: MemoryPlan,
    },
    /// Something that changes no number but that the user should know.
    Note {
        /// The name of the model.
        model: String,
        /// The note in one line.
        text: String,
    },
    /// A window of a cell or of a reference is done. The journal does not record this event.
    Progress {
        /// The number of units done in this run. A unit is one window of a cell or reference.
        done: usize,
        /// The number of all units.
        total: usize,
        /// The name of the model.
        model: String,
        /// The name of the stage.
        stage: StageName,
    },
    /// A cell is finished.
    CellDone {
        /// The name of the model.
        model: String,
        /// The key of the cell.
        key: String,
        /// The stage that added the cell.
        stage: StageName,
        /// What the cell is for.
        role: Role,
        /// The kernels that the model ran through.
        arm: Arm,
        /// The selector of the target.
        target: String,
        /// The scheme in canonical form.
        scheme: String,
        /// The mean KL divergence, in nats a token.
        kld_mean: f64,
        /// The share of positions with the same most probable token.
        same_top: f64,
    },
    /// A cell cannot be measured; the run goes on.
    CellFailed {
        /// The name of the model.
        model: String,
        /// The key of the cell.
        key: String,
        /// The selector of the target.
        target: String,
        /// The reason in one line.
        why: String,
        /// Advice for whoever watches the run. The journal does not record it.
        #[serde(skip)]
        hint: Option<Hint>,
    },
    /// A worker process died.
    WorkerDied {
        /// The name of the model.
        model: String,
        /// What the worker was doing.
        during: String,
        /// How the worker ended.
        last_words: String,
        /// Whether the work is tried once more.
        again: bool,
    },
    /// A control failed while something was measured.
    Fault {
        /// The name of the model.
        model: String,
        /// The name of the control.
        control: String,
        /// What the control found.
        found: String,
    },
    /// A gate after a stage was decided.
    Gate {
        /// The name of the model.
        model: String,
        /// The stage that ended.
        after: StageName,
        /// Whether the next stage begins.
        go_on: bool,
        /// The reason for the decision; the journal records it as a sentence.
        why: GateReason,
    },
    /// The verdict on the whole target in one arm.
    Verdict {
        /// The name of the model.
        model: String,
        /// The kernels that the model ran through.
        arm: Arm,
        /// The class of the effect.
        verdict: Verdict,
        /// The reason for the verdict, in one sentence.
        why: String,
    },
    /// The record of the run was written.
    Finished {
        /// Whether all controls hold.
        controls_ok: bool,
        /// The number of cells that could not be measured.
        failed_cells: usize,
    },
}

impl RunEvent {
    /// Whether the journal records the event. It records all but progress, which is only displayed.
    pub fn is_kept(&self) -> bool {
        !matches!(self, RunEvent::Progress { .. })
    }
}

/// The reason why a gate is open or shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateReason {
    /// Every control that can be decided holds.
    ControlsHold {
        /// The number of control checks that can be decided.
        decided: usize,
    },
    /// A control was measured and does not hold.
    ControlFailed {
        /// The name of the control.
        control: String,
        /// What the control found.
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
                write!(f, "all {decided} control checks that can be decided so far hold")
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
            r#"{"what":"gate","model":"m","after":"one_layer","go_on":true,"why":"all 9 control checks that can be decided so far hold"}"#
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
