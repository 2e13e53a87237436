//! The effect of one layer at a time: a figure and the table behind it.

use super::{arms, phrase};
use crate::document::{Block, Table, Text};
use crate::figure::{Figure, Form, Layers, Mark};
use record::Arm;
use record::FLOOR_FACTOR;
use record::{CellExtent, JudgedCell, ModelRecord, Role};
use words::{count, deviation, of, plural};

pub(super) fn blocks(model: &ModelRecord, nth: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    for arm in arms(model) {
        let cells = layer_cells(model, arm);
        if cells.is_empty() {
            continue;
        }
        blocks.push(Block::Heading { level: 3, text: format!("Layer by layer, {} arm", arm.name()).into() });
        blocks.push(figure(&cells, format!("layers-{nth}-{}", arm.name())));
        blocks.push(Block::Table(table(&cells).folded_if_long()));
    }
    blocks
}

/// The variant cells of single layers, each once, in the order of the layers.
fn layer_cells(model: &ModelRecord, arm: Arm) -> Vec<&JudgedCell> {
    let mut cells: Vec<&JudgedCell> = Vec::new();
    for judged in &model.cells {
        let cell = &judged.cell;
        // The layer of the one-layer stage comes round again with each layer.
        if cell.arm == arm
            && cell.role == Role::Variant
            && cell.extent() == CellExtent::Layer
            && !cells.iter().any(|seen| seen.cell.key == cell.key)
        {
            cells.push(judged);
        }
    }
    cells.sort_by_key(|j| j.cell.layers.clone());
    cells
}

fn figure(cells: &[&JudgedCell], slug: String) -> Block {
    let marks: Vec<(u32, Mark, String)> = cells
        .iter()
        .map(|j| {
            let mark = j.cell.measured.as_ref().map_or(Mark::Failed, |m| Mark::of(m.kld().mean, m.kld().se));
            let value = j.cell.measured.as_ref().map_or("failed".to_string(), phrase::kld);
            let layer = j.cell.layers.first().copied().unwrap_or_default();
            (layer, mark, format!("layer {layer}: KLD {value}, {}", j.verdict.name()))
        })
        .collect();
    let zeros = marks.iter().filter(|(_, m, _)| *m == Mark::Zero).count();
    let failed = marks.iter().filter(|(_, m, _)| *m == Mark::Failed).count();
    let largest = cells
        .iter()
        .filter_map(|j| j.cell.measured.as_ref().map(|m| (j, m)))
        .filter(|(_, m)| m.kld().mean > 0.0)
        .max_by(|a, b| a.1.kld().mean.total_cmp(&b.1.kld().mean))
        .map_or("none is above zero".to_string(), |(j, m)| {
            format!("the largest is layer {} with {}", layer_names(j), phrase::kld_mean(m))
        });
    let summary = format!(
        "KLD of {}, one at a time: {zeros} exactly zero, {failed} failed; {largest}.",
        plural(marks.len(), "layer")
    );
    let threshold = common_threshold(cells);
    let of_floor = match &threshold {
        Some((_, of)) => format!(" Shaded: {of}."),
        None => " Floors differ by layer or were not measured; see the table.".into(),
    };
    let chunks = cells.iter().filter_map(|j| j.cell.measured.as_ref()).map(|m| (m.n_chunks, m.n_tokens)).max();
    let n = chunks.map_or(String::new(), |(chunks, n)| {
        format!(" n = {} scored tokens in {} per layer.", count(n as u64), plural(chunks, "window"))
    });
    Block::Figure {
        figure: Figure { alt: summary.clone(), form: Form::Layers(Layers { marks, threshold }) },
        slug,
        caption: format!("{summary}{n}{of_floor} Open circles lie in the lane of exact zeros.").into(),
    }
}

/// Twice the floor, when every layer is compared with the same floor.
fn common_threshold(cells: &[&JudgedCell]) -> Option<(f64, String)> {
    let first = cells.first()?.floor.as_ref()?;
    let same = cells
        .iter()
        .all(|j| j.floor.as_ref().is_some_and(|f| f.kld_mean_max == first.kld_mean_max && f.target == first.target));
    same.then(|| {
        (
            FLOOR_FACTOR * first.kld_mean_max,
            format!("below {FLOOR_FACTOR} × the largest jitter seed on {}", first.target),
        )
    })
}

fn layer_names(judged: &JudgedCell) -> String {
    let layers: Vec<String> = judged.cell.layers.iter().map(u32::to_string).collect();
    if layers.is_empty() { "–".into() } else { layers.join(", ") }
}

fn table(cells: &[&JudgedCell]) -> Table {
    let mut table = Table::new(
        "One layer at a time; n is scored tokens",
        &[
            "Layer>",
            "predicted: values changed>",
            "measured: values changed>",
            "relative RMSE>",
            "KLD, nats/token>",
            "× floor>",
            "same top>",
            "Δ ln PPL>",
            "n>",
            "Verdict",
        ],
    );
    for judged in cells {
        let e = &judged.cell.evidence;
        let changed = e.tensors.iter().map(|t| t.changed).sum();
        let values = e.tensors.iter().map(|t| t.n).sum();
        let rel_rmse = e.tensors.iter().map(|t| t.rel_rmse).fold(0.0, f64::max);
        let reached = !e.tensors.is_empty();
        let mut row: Vec<Text> = vec![
            layer_names(judged).into(),
            phrase::predicted(e).into(),
            if reached { of(changed, values) } else { "not reached".into() }.into(),
            if reached { deviation(rel_rmse) } else { "–".into() }.into(),
        ];
        row.extend::<[Text; 5]>(match &judged.cell.measured {
            Some(m) => [
                phrase::kld(m).into(),
                phrase::floor_ratio(judged.floor.as_ref()).into(),
                phrase::same_top(m).into(),
                phrase::difference(m.dlnppl()).into(),
                count(m.n_tokens as u64).into(),
            ],
            None => ["failed", "–", "–", "–", "–"].map(Text::from),
        });
        row.push(judged.verdict.name().into());
        table.push(row);
    }
    table
}
