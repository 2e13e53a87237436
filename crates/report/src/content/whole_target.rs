//! The cells on the whole target in one arm: the variant beside everything it must be compared with.

use super::phrase;
use crate::document::{Block, Table, Text};
use record::metric::sums;
use record::{Arm, CellExtent, Floor, JudgedCell, Measured, ModelRecord, Role};
use words::{count, divergence};

pub(super) fn blocks(model: &ModelRecord, arm: Arm) -> Vec<Block> {
    let mut cells: Vec<&JudgedCell> =
        model.cells.iter().filter(|j| j.cell.arm == arm && j.cell.extent() != CellExtent::Layer).collect();
    // The variant first, then its parts; the rest in the order of the method.
    cells.sort_by_key(|j| (j.cell.role != Role::Variant, j.cell.extent() != CellExtent::Whole));
    let mut blocks = vec![
        Block::Heading { level: 3, text: format!("The whole target, {} arm", arm.name()).into() },
        Block::Paragraph(phrase::arm_explained(arm).into()),
    ];
    if let Some(verdict) = model.verdicts.iter().find(|v| v.arm == arm) {
        blocks.push(Block::Paragraph(
            Text::new().strong(verdict.verdict.name()).plain(": ").plain(verdict.why.to_string()),
        ));
    }
    if cells.is_empty() {
        return blocks;
    }
    blocks.push(Block::Table(table(
        "Measured: effect; ± is the standard error clustered by window (none below 8 windows); n is scored tokens",
        &cells,
        false,
    )));
    if let Some(floor) = cells.iter().find(|j| j.cell.role == Role::Variant).and_then(|j| j.floor.as_ref()) {
        blocks.push(Block::Paragraph(floor_sentence(floor)));
    }
    blocks.push(Block::Table(every_metric(&cells)));
    blocks
}

/// One row per cell with effect, agreement and perplexity. `arm` adds a column for cells of several arms.
pub(super) fn table(caption: &str, cells: &[&JudgedCell], arm: bool) -> Table {
    let mut heads =
        vec!["Cell", "Scheme", "KLD, nats/token>", "× floor>", "same top>", "Δ ln PPL, nats/token>", "windows>", "n>"];
    if arm {
        heads.insert(1, "Arm");
    }
    let mut table = Table::new(caption, &heads);
    for judged in cells {
        let cell = &judged.cell;
        let mut row = vec![phrase::cell(cell).into(), Text::new().code(&cell.scheme)];
        if cell.scheme.is_empty() {
            row[1] = "–".into();
        }
        if arm {
            row.insert(1, cell.arm.name().into());
        }
        row.extend::<[Text; 6]>(match &cell.measured {
            Some(m) => [
                phrase::kld(m).into(),
                phrase::floor_ratio(judged.floor.as_ref()).into(),
                phrase::same_top(m).into(),
                phrase::difference(m.dlnppl()).into(),
                count(m.n_chunks as u64).into(),
                count(m.n_tokens as u64).into(),
            ],
            None => ["failed", "–", "–", "–", "–", "–"].map(Text::from),
        });
        table.push(row);
    }
    table
}

/// Every metric of the table: one row for each number, one column for each cell.
fn every_metric(cells: &[&JudgedCell]) -> Table {
    let measured: Vec<(String, &Measured)> = cells
        .iter()
        .filter_map(|judged| Some((format!("{}>", phrase::cell(&judged.cell)), judged.cell.measured.as_ref()?)))
        .collect();
    let heads: Vec<&str> =
        ["Metric", "Unit", "Better"].into_iter().chain(measured.iter().map(|(head, _)| head.as_str())).collect();
    let caption = "Measured: every metric, named as in cells.csv; ± is the standard error clustered by window";
    let mut table = Table::new(caption, &heads);
    for (metric, sum) in sums().filter(|(_, sum)| !sum.how.is_error()) {
        let numbers: Vec<Option<String>> =
            measured.iter().map(|(_, m)| phrase::number(metric, sum, m.values())).collect();
        if numbers.iter().any(Option::is_some) {
            let row = [Text::new().code(sum.key), metric.unit.name().into(), metric.direction.name().into()];
            let numbers = numbers.into_iter().map(|number| Text::from(number.unwrap_or("–".into())));
            table.push(row.into_iter().chain(numbers).collect());
        }
    }
    table
}

fn floor_sentence(floor: &Floor) -> Text {
    let seeds: Vec<String> =
        floor.kld_mean_by_seed.iter().map(|(seed, kld)| format!("{} (seed {seed})", divergence(*kld))).collect();
    Text::new().plain("Floor: jitter of one ulp on ").code(&floor.target).plain(format!(
        " gives mean KLD {} nats; the largest is {}. Less than twice that would be BELOW-FLOOR.",
        seeds.join(", "),
        divergence(floor.kld_mean_max)
    ))
}
