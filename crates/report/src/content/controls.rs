//! The controls: what was expected, what was found, and whether they held.

use crate::document::{Block, Table, Text};
use record::Arm;
use record::{ControlOutcome, ControlRecord, ModelRecord};

const HEADS: [&str; 5] = ["Control", "Arm", "Expected", "Found", "Held"];

/// The controls of one model.
pub(super) fn table(model: &ModelRecord) -> Block {
    let mut table = Table::new("What had to be, and what was", &HEADS);
    for control in &model.controls {
        table.push(row(control));
    }
    Block::Table(table)
}

/// The controls of these models, in one table for each outcome; those that failed come first.
pub(super) fn failed_first(models: &[&ModelRecord]) -> Vec<Block> {
    let mut tables = Vec::new();
    for (outcome, caption) in [
        (ControlOutcome::Failed, "Controls that failed"),
        (ControlOutcome::NotMeasured, "Controls that were not measured"),
        (ControlOutcome::Held, "Controls that held"),
    ] {
        let mut heads = vec!["Model"];
        heads.extend(HEADS);
        let mut table = Table::new(caption, &heads);
        for model in models {
            for control in model.controls.iter().filter(|c| c.outcome() == outcome) {
                let mut cells = vec![Text::new().code(&model.name)];
                cells.extend(row(control));
                table.push(cells);
            }
        }
        if !table.rows.is_empty() {
            tables.push(Block::Table(table));
        }
    }
    tables
}

fn row(control: &ControlRecord) -> Vec<Text> {
    vec![
        control.name.clone().into(),
        control.arm.map_or("–", Arm::name).into(),
        control.expected.to_string().into(),
        control.found.to_string().into(),
        match (control.ok, control.measured) {
            (true, _) => "yes".into(),
            (false, true) => Text::new().strong("NO"),
            (false, false) => Text::new().strong("not measured"),
        },
    ]
}
