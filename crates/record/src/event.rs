//! What happens in a run, as it happens: one stream, read by the display and by the journal.

use crate::cell::{Role, Stage, Verdict};
use crate::edit::Arm;
use crate::memory::MemoryPlan;
use serde::Serialize;

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
        stage: Stage,
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
        stage: Stage,
    },
    /// A cell is finished.
    CellDone {
        /// Model.
        model: String,
        /// Key.
        key: String,
        /// Stage.
        stage: Stage,
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
        /// Selector.
        target: String,
        /// Why.
        why: String,
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
        after: Stage,
        /// Whether the next one is begun.
        go_on: bool,
        /// Why.
        why: String,
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
