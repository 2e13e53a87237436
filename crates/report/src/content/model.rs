//! One model: census, arms, layers, failures, controls.

use super::{arms, controls, evidence, layers, phrase, precision, whole_target};
use crate::document::{Block, Table, Text};
use record::{CensusRow, JudgedCell, ModelRecord, Role, RunRecord};
use words::{count, evidence_bits, of, plural};

pub(super) fn blocks(record: &RunRecord, model: &ModelRecord, nth: usize, withheld: bool) -> Vec<Block> {
    let mut blocks = vec![
        Block::Heading { level: 2, text: Text::new().plain("Model: ").code(&model.name) },
        Block::Paragraph(identity(model)),
    ];
    blocks.extend(model.notes.iter().map(|note| {
        let about = Text::new().strong("Note").plain(format!(": {note}. "));
        Block::Paragraph(about.plain("Numbers of a run without this note may not be comparable with these."))
    }));
    blocks.extend(census(record, model, nth));
    if withheld {
        blocks.extend(control_cells(model));
    } else {
        for arm in arms(model) {
            blocks.extend(whole_target::blocks(model, arm));
            blocks.extend(evidence::blocks(model, arm));
        }
        blocks.extend(layers::blocks(model, nth));
    }
    blocks.extend(failures(model, withheld));
    if !withheld {
        blocks.push(Block::Heading { level: 3, text: "Controls".into() });
        blocks.push(controls::table(model));
    }
    blocks
}

fn identity(model: &ModelRecord) -> Text {
    let types: Vec<String> = model.types.iter().map(|(ty, n)| format!("{} {ty}", count(*n as u64))).collect();
    Text::new()
        .plain("Architecture ")
        .code(&model.arch)
        .plain(format!(
            ", {}, {} vocabulary entries; ",
            plural(model.engine.n_layer, "layer"),
            count(model.engine.n_vocab as u64)
        ))
        .plain(format!("tensors by stored type: {}; ", types.join(", ")))
        .plain(format!("{} bytes, blake3 ", count(model.file_bytes)))
        .code(&model.file_blake3)
        .plain(".")
}

fn census(record: &RunRecord, model: &ModelRecord, nth: usize) -> Vec<Block> {
    let mut table = Table::new(
        "Baseline census of the target, from the file; nothing here was measured in the engine",
        &[
            "Tensor",
            "Stored",
            "n values>",
            "Effectively",
            "on that grid>",
            "Evidence, bits>",
            "Predicted to change>",
            "Note",
        ],
    );
    for row in phrase::by_layer(&model.census, |row| &row.name) {
        table.push(census_row(row));
    }
    let mut blocks = vec![Block::Heading { level: 3, text: "What the weights are before anything is done".into() }];
    blocks.extend(precision::blocks(model, nth));
    blocks.push(Block::Paragraph(model.census_sentence(&record.question).into()));
    if !table.rows.is_empty() {
        blocks.push(Block::Table(table.folded_if_long()));
        blocks.push(Block::Paragraph(
            Text::new()
                .plain("“Predicted to change” is what ")
                .code(&record.question.scheme)
                .plain(" would do to the file's values; signs of zeros are counted apart."),
        ));
    }
    blocks
}

fn census_row(row: &CensusRow) -> Vec<Text> {
    let predicted = row.predicted.as_ref().map_or("outside the target".into(), |p| {
        let zeros = match p.zero_sign + p.minus_zero {
            0 => String::new(),
            signs => format!(" (and {} zero signs)", count(signs)),
        };
        format!("{}{zeros}", of(p.changed, p.n))
    });
    vec![
        Text::new().code(&row.name),
        row.ty.clone().into(),
        count(row.n).into(),
        row.effective.clone().into(),
        of(row.on_grid, row.n).into(),
        evidence_bits(row.evidence_bits).into(),
        predicted.into(),
        row.note.clone().into(),
    ]
}

/// The cells of a withheld model that may be shown: those that are controls.
fn control_cells(model: &ModelRecord) -> Vec<Block> {
    let cells: Vec<&JudgedCell> = model.cells.iter().filter(|j| j.cell.role != Role::Variant).collect();
    if cells.is_empty() {
        return Vec::new();
    }
    vec![
        Block::Heading { level: 3, text: "Control cells".into() },
        Block::Table(whole_target::table("Measured: control cells of both arms; n is scored tokens", &cells, true)),
    ]
}

fn failures(model: &ModelRecord, withheld: bool) -> Vec<Block> {
    let mut table = Table::new("Cells that were not measured", &["Cell", "Arm", "Target", "Reason"]);
    for judged in &model.cells {
        let cell = &judged.cell;
        if let Some(why) = &cell.failure
            && !(withheld && cell.role == Role::Variant)
        {
            table.push(vec![
                phrase::cell(cell).into(),
                cell.arm.name().into(),
                Text::new().code(&cell.target),
                // A worker's last words may be several lines.
                Text::new().code(why.lines().map(str::trim).collect::<Vec<_>>().join(" ⏎ ")),
            ]);
        }
    }
    if table.rows.is_empty() {
        return Vec::new();
    }
    vec![Block::Heading { level: 3, text: "Failed cells".into() }, Block::Table(table)]
}
