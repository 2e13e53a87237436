//! What happens in a run, as it happens: one stream, read by the display and by the journal.

use crate::cell::{Role, Verdict};
use crate::edit::Arm;
use crate::memory::MemoryPlan;
use crate::note::Note;
use crate::reason::{FaultFound, Found, Reason};
use crate::stage::StageName;
use serde::Serialize;
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
        /// The note as a value.
        note: Note,
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
        /// What the control found, as a value.
        found: FaultFound,
    },
    /// A gate after a stage was decided.
    Gate {
        /// The name of the model.
        model: String,
        /// The stage that ended.
        after: StageName,
        /// Whether the next stage begins.
        go_on: bool,
        /// The reason for the decision, as a value.
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
        /// The reason for the verdict, as a value.
        why: Reason,
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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
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
        found: Found,
    },
    /// A control could not be measured.
    ControlNotMeasured {
        /// The name of the control.
        control: String,
        /// What was found in place of a measurement.
        found: Found,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::BrokenLink;

    #[test]
    fn the_journal_records_reasons_findings_and_notes_as_values() {
        let printed = |event: RunEvent| serde_json::to_string(&event).expect("prints");
        let model = || "m".to_owned();
        let gate =
            |go_on, why| printed(RunEvent::Gate { model: model(), after: StageName::of("one_layer"), go_on, why });
        assert_eq!(
            gate(true, GateReason::ControlsHold { decided: 9 }),
            r#"{"what":"gate","model":"m","after":"one_layer","go_on":true,"why":{"reason":"controls_hold","decided":9}}"#
        );
        let found = Found::Chains { broken: 1, n: 3, first: Some(BrokenLink::EffectWithoutUse) };
        assert_eq!(
            gate(false, GateReason::ControlFailed { control: "evidence chains".into(), found }),
            r#"{"what":"gate","model":"m","after":"one_layer","go_on":false,"why":{"reason":"control_failed","control":"evidence chains","found":{"found":"chains","broken":1,"n":3,"first":{"link":"effect_without_use"}}}}"#
        );
        let found = FaultFound::FileChanged { before: "aa".into(), after: "bb".into() };
        assert_eq!(
            printed(RunEvent::Fault { model: model(), control: "file".into(), found }),
            r#"{"what":"fault","model":"m","control":"file","found":{"fault":"file_changed","before":"aa","after":"bb"}}"#
        );
        assert_eq!(
            printed(RunEvent::Note { model: model(), note: Note::EveryPassFull }),
            r#"{"what":"note","model":"m","note":{"note":"every_pass_full"}}"#
        );
        let why = Reason::NoFloor;
        assert_eq!(
            printed(RunEvent::Verdict { model: model(), arm: Arm::Exact, verdict: Verdict::Broken, why }),
            r#"{"what":"verdict","model":"m","arm":"exact","verdict":"BROKEN","why":{"rule":"no_floor"}}"#
        );
    }
}
