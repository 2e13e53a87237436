//! A plan file as typed: the question, and the stages that answer it.
//!
//! Selectors and schemes are plain text here. The room `lab` reads plan files, fills in what they leave out and checks
//! them.
//!
//! ```toml
//! format = 1
//! name = "ffn-norm-bf16"
//! question = "Does it matter if the FFN norm weights are quantized to BF16?"
//! hypothesis = "No: norm weights are few."
//! target = "ffn_norm"
//! scheme = "bf16"
//!
//! [windows]
//! chunks = 16
//!
//! [[stage]]
//! name = "controls"
//! cells = "controls"
//! windows = "layer"
//! arms = "all"
//! gate = "controls-hold"
//! ```

use crate::edit::Arm;
use crate::stage::{CellExtent, StageName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of a plan file's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PlanFormat(pub u32);

/// The version of the layout that this program reads and writes.
pub const PLAN_FORMAT: PlanFormat = PlanFormat(1);

/// The contents of a plan file. What the file leaves out has a default, which `lab` knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// The version of the file's layout.
    pub format: PlanFormat,
    /// The name of the plan, which begins the name of its run folders.
    pub name: String,
    /// The question in plain words.
    pub question: String,
    /// The hypothesis, written before the data.
    pub hypothesis: String,
    /// The selector of the tensors that the question is about; commas join several.
    pub target: String,
    /// The selectors of the parts of the target that are also measured one at a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// The scheme that quantizes the target.
    pub scheme: String,
    /// The destructive scheme of the positive control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// The seeds of the jitter. Each gives one control cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_seeds: Option<Vec<u64>>,
    /// The arms to measure in, in the order of the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arms: Option<Vec<Arm>>,
    /// How many windows there are, and how long they are.
    #[serde(default, skip_serializing_if = "PlanWindows::is_empty")]
    pub windows: PlanWindows,
    /// The stages in their order. A plan without stages uses those of the presets.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "stage")]
    pub stages: Vec<PlanStage>,
}

/// How many windows there are, and how long they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanWindows {
    /// The number of windows of the cells on the whole target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<usize>,
    /// The number of windows of the cells on single layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_chunks: Option<usize>,
    /// The length of a window in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx: Option<u32>,
}

impl PlanWindows {
    fn is_empty(&self) -> bool {
        *self == PlanWindows::default()
    }
}

/// One stage of a plan file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanStage {
    /// The name of the stage, which no other stage has.
    pub name: StageName,
    /// The cells that the stage adds.
    pub cells: CellSet,
    /// The windows that the stage measures.
    pub windows: StageWindows,
    /// The arms in which the stage has cells.
    pub arms: StageArms,
    /// The gate that decides after the stage whether to go on. A stage without a gate is measured together with the
    /// next one, so that both share the passes of the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateName>,
}

/// The cells that a stage adds to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellSet {
    /// The controls of every arm: A/A, identity write-back, positive control, jitter, carrier control.
    Controls,
    /// The middle layer of the target alone.
    OneLayer,
    /// Every layer of the target, one at a time.
    EachLayer,
    /// Every part that the question names, one at a time.
    EachPart,
    /// The whole target at once.
    All,
}

impl CellSet {
    /// Every set, in the order of the method.
    pub const ALL: [CellSet; 5] =
        [CellSet::Controls, CellSet::OneLayer, CellSet::EachLayer, CellSet::EachPart, CellSet::All];

    /// The set as typed, such as `each-layer`.
    pub fn name(self) -> &'static str {
        match self {
            CellSet::Controls => "controls",
            CellSet::OneLayer => "one-layer",
            CellSet::EachLayer => "each-layer",
            CellSet::EachPart => "each-part",
            CellSet::All => "all",
        }
    }

    /// How much of the target each cell of the set covers.
    pub fn extent(self) -> CellExtent {
        match self {
            CellSet::Controls | CellSet::All => CellExtent::Whole,
            CellSet::OneLayer | CellSet::EachLayer => CellExtent::Layer,
            CellSet::EachPart => CellExtent::Part,
        }
    }
}

/// The number of windows of a stage, by name or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StageWindows {
    /// As many windows as the plan has for cells of that kind.
    Named(WindowSet),
    /// This many windows, counted from the first.
    First(usize),
}

/// A number of windows that the plan states once for all stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WindowSet {
    /// The number `windows.layer_chunks`.
    Layer,
    /// The number `windows.chunks`.
    Whole,
}

impl WindowSet {
    /// Both named numbers.
    pub const ALL: [WindowSet; 2] = [WindowSet::Layer, WindowSet::Whole];

    /// The named number as typed.
    pub fn name(self) -> &'static str {
        match self {
            WindowSet::Layer => "layer",
            WindowSet::Whole => "whole",
        }
    }
}

/// The arms in which a stage has cells, chosen from those of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StageArms {
    /// The plan's first arm, or all of its arms.
    Named(ArmSet),
    /// The arms that the stage lists.
    Listed(Vec<Arm>),
}

/// A choice of arms that any plan can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArmSet {
    /// The plan's first arm.
    First,
    /// Every arm of the plan.
    All,
}

impl ArmSet {
    /// The two choices, in the order in which an error lists them.
    pub const ALL: [ArmSet; 2] = [ArmSet::First, ArmSet::All];

    /// The choice as typed.
    pub fn name(self) -> &'static str {
        match self {
            ArmSet::First => "first",
            ArmSet::All => "all",
        }
    }
}

/// The gate after a stage, which decides whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateName {
    /// The run goes on if every control that can be decided holds.
    ControlsHold,
}

impl GateName {
    /// The gates that a plan can name, in the order in which an error lists them.
    pub const ALL: [GateName; 1] = [GateName::ControlsHold];

    /// The gate as typed.
    pub fn name(self) -> &'static str {
        match self {
            GateName::ControlsHold => "controls-hold",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_plan_file_is_stored_as_it_is_typed() {
        let stored = |value: serde_json::Value| value.as_str().map(str::to_owned).expect("a word");
        for set in CellSet::ALL {
            assert_eq!(stored(serde_json::to_value(set).expect("prints")), set.name());
        }
        for set in WindowSet::ALL {
            assert_eq!(stored(serde_json::to_value(StageWindows::Named(set)).expect("prints")), set.name());
        }
        for set in ArmSet::ALL {
            assert_eq!(stored(serde_json::to_value(StageArms::Named(set)).expect("prints")), set.name());
        }
        for gate in GateName::ALL {
            assert_eq!(stored(serde_json::to_value(gate).expect("prints")), gate.name());
        }
        assert_eq!(serde_json::to_value(StageWindows::First(3)).expect("prints"), 3);
        let arms = StageArms::Listed(vec![Arm::Native]);
        assert_eq!(serde_json::to_value(arms).expect("prints"), serde_json::json!(["native"]));
    }
}
