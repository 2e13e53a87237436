//! The stages of a plan: what each measures, in which order, and which gate decides after it.
//!
//! A stage adds cells to the run and has a number of windows. It measures its own cells and those of the stages before
//! it, as far as their windows lie within its own. So the controls are first measured on the few windows of the layer
//! cells, before the first gate. The rest of their windows are measured together with the cells on the whole target.
//!
//! The stages of the presets:
//!
//! | stage | cells | windows | arms | gate |
//! |---|---|---|---|---|
//! | `controls` | controls | layer | all | controls-hold |
//! | `one_layer` | one-layer | layer | first | controls-hold |
//! | `each_layer` | each-layer | layer | first | controls-hold |
//! | `each_part` | each-part | whole | all | none: it is measured together with the next one |
//! | `all_layers` | all | whole | all | controls-hold |

use crate::plan::gate::Gate;
use record::plan::{ArmSet, CellSet, PlanStage, StageArms, StageWindows, WindowSet};
use record::{Arm, StageName};

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name of the stage.
    pub name: StageName,
    /// The cells that the stage adds.
    pub cells: CellSet,
    /// The number of windows that the stage measures.
    pub windows: StageWindows,
    /// The arms in which the stage has cells.
    pub arms: StageArms,
    /// The gate that decides after the stage. A stage without a gate is measured together with the next one.
    pub gate: Option<Gate>,
}

impl Stage {
    /// The arms in which the stage has cells, in the order of the plan.
    pub fn arms_of(&self, plan: &[Arm]) -> Vec<Arm> {
        match &self.arms {
            StageArms::Named(ArmSet::First) => plan.iter().take(1).copied().collect(),
            StageArms::Named(ArmSet::All) => plan.to_vec(),
            StageArms::Listed(listed) => plan.iter().filter(|arm| listed.contains(arm)).copied().collect(),
        }
    }

    /// The number of windows that the stage measures, if the text has `chunks` and single layers get `layer_chunks`.
    pub fn n_windows(&self, layer_chunks: usize, chunks: usize) -> usize {
        match self.windows {
            StageWindows::Named(WindowSet::Layer) => layer_chunks.min(chunks),
            StageWindows::Named(WindowSet::Whole) => chunks,
            StageWindows::First(n) => n.min(chunks),
        }
    }
}

impl From<PlanStage> for Stage {
    fn from(PlanStage { name, cells, windows, arms, gate }: PlanStage) -> Stage {
        Stage { name, cells, windows, arms, gate: gate.map(Gate::from) }
    }
}

impl From<Stage> for PlanStage {
    fn from(Stage { name, cells, windows, arms, gate }: Stage) -> PlanStage {
        PlanStage { name, cells, windows, arms, gate: gate.map(Into::into) }
    }
}

/// Stages that are measured together: one with a gate, and the stages before it that have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the step's last stage.
    pub name: StageName,
    /// The names of the step's stages.
    pub stages: Vec<StageName>,
    /// The number of windows that the step measures of its cells and of the cells before it.
    pub n_windows: usize,
    /// The gate that decides after the step.
    pub gate: Option<Gate>,
}

/// The steps of a plan. Every stage is in exactly one of them.
pub fn steps(stages: &[Stage], layer_chunks: usize, chunks: usize) -> Vec<Step> {
    let group = |stages: &[Stage]| {
        let last = stages.last()?;
        Some(Step {
            name: last.name.clone(),
            stages: stages.iter().map(|stage| stage.name.clone()).collect(),
            n_windows: stages.iter().map(|stage| stage.n_windows(layer_chunks, chunks)).max().unwrap_or(0),
            gate: last.gate,
        })
    };
    stages.split_inclusive(|stage| stage.gate.is_some()).filter_map(group).collect()
}

/// A stage that a plan cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageProblem {
    /// The index of the stage, counted from 0.
    pub(crate) index: usize,
    /// The key that is wrong.
    pub(crate) key: &'static str,
    /// The value that was found.
    pub(crate) found: String,
    /// The values that are possible.
    pub(crate) wanted: String,
}

/// The problems that keep these stages from being a method, in the order of the stages.
pub(crate) fn problems(stages: &[Stage], arms: &[Arm]) -> Vec<StageProblem> {
    let mut problems = Vec::new();
    let mut wrong = |index, key, found: String, wanted: String| {
        problems.push(StageProblem { index, key, found, wanted });
    };
    let names = |arms: &[Arm]| arms.iter().map(|arm| arm.name()).collect::<Vec<_>>().join(", ");
    let controlled = stages.first().map_or(Vec::new(), |first| first.arms_of(arms));
    for (index, stage) in stages.iter().enumerate() {
        let before = &stages[..index];
        if before.iter().any(|other| other.name == stage.name) {
            wrong(index, "name", stage.name.to_string(), "a name that no stage before it has".into());
        }
        if index == 0 && stage.cells != CellSet::Controls {
            let wanted = "controls: nothing is measured before them".to_string();
            wrong(index, "cells", stage.cells.name().into(), wanted);
        } else if let Some(other) = before.iter().find(|other| other.cells == stage.cells) {
            let wanted = format!("cells that no stage before it has; {} has these", other.name);
            wrong(index, "cells", stage.cells.name().into(), wanted);
        }
        if stage.windows == StageWindows::First(0) {
            wrong(index, "windows", "0".into(), "at least 1".into());
        }
        if let StageArms::Listed(listed) = &stage.arms {
            let mut once = listed.clone();
            once.sort_unstable();
            once.dedup();
            if listed.is_empty() || once.len() != listed.len() || listed.iter().any(|arm| !arms.contains(arm)) {
                let wanted = format!("some of the plan's arms ({}), each once", names(arms));
                wrong(index, "arms", format!("[{}]", names(listed)), wanted);
                continue;
            }
        }
        let uncontrolled: Vec<Arm> = stage.arms_of(arms).into_iter().filter(|arm| !controlled.contains(arm)).collect();
        if !uncontrolled.is_empty() {
            let wanted = format!("arms that the controls are measured in ({})", names(&controlled));
            wrong(index, "arms", names(&uncontrolled), wanted);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::plan::GateName;

    const ARMS: [Arm; 2] = [Arm::Exact, Arm::Native];

    fn stage(name: &'static str, cells: CellSet, windows: WindowSet, gate: bool) -> Stage {
        let (windows, arms) = (StageWindows::Named(windows), StageArms::Named(ArmSet::All));
        Stage { name: StageName::of(name), cells, windows, arms, gate: gate.then_some(Gate::ControlsHold) }
    }

    fn sound() -> Vec<Stage> {
        vec![
            stage("controls", CellSet::Controls, WindowSet::Layer, true),
            stage("each_part", CellSet::EachPart, WindowSet::Whole, false),
            stage("all_layers", CellSet::All, WindowSet::Whole, true),
        ]
    }

    #[test]
    fn a_stage_without_a_gate_is_measured_with_the_next_one() {
        let found = steps(&sound(), 2, 16);
        let shown: Vec<(&str, usize, usize)> =
            found.iter().map(|step| (step.name.as_str(), step.stages.len(), step.n_windows)).collect();
        assert_eq!(shown, [("controls", 1, 2), ("all_layers", 2, 16)]);
        assert!(found.iter().all(|step| step.gate == Some(Gate::ControlsHold)));
        let mut open = sound();
        open[2].gate = None;
        assert_eq!(steps(&open, 2, 16)[1].gate, None);
        assert!(steps(&[], 2, 16).is_empty());
    }

    #[test]
    fn a_short_text_leaves_no_stage_more_windows_than_it_has() {
        let mut stage = stage("s", CellSet::All, WindowSet::Layer, true);
        for (windows, n) in [
            (StageWindows::Named(WindowSet::Layer), 3),
            (StageWindows::Named(WindowSet::Whole), 3),
            (StageWindows::First(2), 2),
            (StageWindows::First(9), 3),
        ] {
            stage.windows = windows;
            assert_eq!(stage.n_windows(8, 3), n, "{windows:?}");
        }
        stage.windows = StageWindows::Named(WindowSet::Layer);
        assert_eq!(stage.n_windows(2, 16), 2);
    }

    #[test]
    fn arms_come_in_the_order_of_the_plan() {
        let mut stage = stage("s", CellSet::All, WindowSet::Layer, true);
        assert_eq!(stage.arms_of(&[Arm::Native, Arm::Exact]), [Arm::Native, Arm::Exact]);
        stage.arms = StageArms::Named(ArmSet::First);
        assert_eq!(stage.arms_of(&[Arm::Native, Arm::Exact]), [Arm::Native]);
        stage.arms = StageArms::Listed(vec![Arm::Native, Arm::Exact]);
        assert_eq!(stage.arms_of(&ARMS), ARMS);
        assert!(stage.arms_of(&[]).is_empty());
    }

    #[test]
    fn stages_that_are_no_method_are_refused_and_the_key_is_named() {
        type Edit = (fn(&mut Vec<Stage>), (usize, &'static str), &'static str);
        let edits: [Edit; 8] = [
            (|s| s[2].name = StageName::of("controls"), (2, "name"), "no stage before it"),
            (|s| s[0].cells = CellSet::OneLayer, (0, "cells"), "controls: nothing is measured before them"),
            (|s| s[1].cells = CellSet::Controls, (1, "cells"), "controls has these"),
            (|s| s[2].cells = CellSet::EachPart, (2, "cells"), "each_part has these"),
            (|s| s[1].windows = StageWindows::First(0), (1, "windows"), "at least 1"),
            (|s| s[1].arms = StageArms::Listed(Vec::new()), (1, "arms"), "some of the plan's arms (exact, native)"),
            (|s| s[1].arms = StageArms::Listed(vec![Arm::Exact; 2]), (1, "arms"), "each once"),
            (|s| s[0].arms = StageArms::Named(ArmSet::First), (1, "arms"), "controls are measured in (exact)"),
        ];
        assert_eq!(problems(&sound(), &ARMS), []);
        for (edit, (index, key), wanted) in edits {
            let mut stages = sound();
            edit(&mut stages);
            let found = problems(&stages, &ARMS);
            let first = found.first().expect(wanted);
            assert_eq!((first.index, first.key), (index, key), "{found:?}");
            assert!(first.wanted.contains(wanted), "{found:?}");
        }
        assert_eq!(problems(&sound(), &[Arm::Native]), []);
        let mut stages = sound();
        stages[1].arms = StageArms::Listed(vec![Arm::Exact]);
        assert_eq!(problems(&stages, &[Arm::Native]).len(), 1, "an arm that the plan does not have");
    }

    #[test]
    fn a_stage_goes_into_a_plan_file_and_back() {
        for stage in sound() {
            let typed = PlanStage::from(stage.clone());
            assert_eq!(typed.gate, stage.gate.map(|_| GateName::ControlsHold));
            assert_eq!(Stage::from(typed), stage);
        }
    }
}
