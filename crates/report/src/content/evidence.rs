//! The evidence chain of the whole-target cell, link by link.

use super::{answer_cell, phrase};
use crate::document::{Block, Table, Text};
use record::{Arm, TensorEvidence};
use record::{EvidenceChain, JudgedCell, ModelRecord, Predicted};
use words::{count, deviation, of, plural};

pub(super) fn blocks(model: &ModelRecord, arm: Arm) -> Vec<Block> {
    let Some(judged) = model.verdicts.iter().find(|v| v.arm == arm).and_then(|v| answer_cell(model, v)) else {
        return Vec::new();
    };
    let mut blocks = vec![Block::Table(chain(judged))];
    let tensors = &judged.cell.evidence.tensors;
    if !tensors.is_empty() {
        blocks.push(Block::Table(by_tensor(tensors)));
    }
    blocks
}

fn chain(judged: &JudgedCell) -> Table {
    let e = &judged.cell.evidence;
    let tensors = e.tensors.len() as u64;
    let sum = |part: fn(&TensorEvidence) -> u64| e.tensors.iter().map(part).sum::<u64>();
    let holding = |test: fn(&TensorEvidence) -> bool| e.tensors.iter().filter(|t| test(t)).count() as u64;
    // A link that was never reached is not a zero.
    let if_reached = |words: String| if e.tensors.is_empty() { "not reached".into() } else { words };

    let mut table = Table::new(
        format!("Evidence chain, {} arm: from request to metric", judged.cell.arm.name()),
        &["Link", "Predicted from the file", "Measured in the engine"],
    );
    let mut link = |name: &str, predicted: Text, measured: Text| table.push(vec![name.into(), predicted, measured]);
    link("requested", Text::new().code(&e.requested), "–".into());
    let what = if e.predicted.is_some() { "tensor" } else { "graph node" };
    link("matched", plural(e.matched, what).into(), if_reached(plural(e.tensors.len(), what)).into());
    link("values changed", phrase::predicted(e).into(), if_reached(of(sum(|t| t.changed), sum(|t| t.n))).into());
    let known = |of: fn(&Predicted) -> String| e.predicted.as_ref().map_or(phrase::NOT_KNOWN.into(), of);
    let zero_sign = known(|predicted| count(predicted.zero_sign));
    link("−0 → +0", zero_sign.into(), if_reached(count(sum(|t| t.zero_sign))).into());
    let minus_zero = known(|predicted| count(predicted.minus_zero));
    link("+0 → −0", minus_zero.into(), if_reached(count(sum(|t| t.minus_zero))).into());
    link("beyond the format's range", known(beyond).into(), "–".into());
    link("values the carrier rounded", "–".into(), if_reached(count(sum(|t| t.carrier_rounded))).into());
    link("bytes changed", "–".into(), if_reached(count(sum(|t| t.changed_bytes))).into());
    link("read back as written", "–".into(), if_reached(phrase::of_tensors(holding(|t| t.read_back), tensors)).into());
    link("used by the graph", "–".into(), if_reached(phrase::of_tensors(holding(|t| t.consumers > 0), tensors)).into());
    link("activations changed", "–".into(), activations(e).into());
    link("logits changed", "–".into(), logits(e, judged).into());
    link(
        "metric",
        "–".into(),
        judged
            .cell
            .measured
            .as_ref()
            .map_or("none".into(), |m| format!("KLD, nats per token: {}", phrase::kld(m)))
            .into(),
    );
    table
}

/// What lies beyond the range of the format. It has no measured counterpart: the engine has only the values that came of it.
fn beyond(predicted: &Predicted) -> String {
    let clamped = predicted.saturated.map_or("uncounted".into(), count);
    let (overflowed, zeroed) = (count(predicted.overflowed), count(predicted.zeroed));
    format!("{overflowed} to infinity, {zeroed} flushed to zero, {clamped} clamped to the largest value")
}

fn activations(e: &EvidenceChain) -> String {
    match &e.activations {
        Some(a) => format!("behind {} watched tensors", of(a.changed as u64, a.watched as u64)),
        None => "not watched".into(),
    }
}

fn logits(e: &EvidenceChain, judged: &JudgedCell) -> String {
    if judged.cell.measured.is_none() {
        return "not reached".into();
    }
    format!("at {} scored positions", of(e.logits_changed as u64, e.n_scored as u64))
}

fn by_tensor(tensors: &[TensorEvidence]) -> Table {
    let mut table = Table::new(
        "Measured: the target's tensors as read back from the engine",
        &["Tensor", "stored as", "values changed>", "bytes changed>", "relative RMSE>", "read back", "graph nodes>"],
    );
    for t in phrase::by_layer(tensors, |t| &t.tensor) {
        let held = if t.type_base == t.type_variant {
            t.type_base.clone()
        } else {
            format!("{} → {}", t.type_base, t.type_variant)
        };
        table.push(vec![
            Text::new().code(&t.tensor),
            held.into(),
            of(t.changed, t.n).into(),
            count(t.changed_bytes).into(),
            deviation(t.rel_rmse).into(),
            if t.read_back { "as written".into() } else { Text::new().strong("DIFFERS") },
            count(t.consumers as u64).into(),
        ]);
    }
    Table { folded: true, ..table }
}
