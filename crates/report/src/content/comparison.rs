//! Several models, one question: where they agree and where they do not.

use super::{answer_cell, phrase};
use crate::document::{Block, Table, Text};
use record::Arm;
use record::{ArmVerdict, ModelRecord, Verdict};
use words::divergence;

pub(super) fn blocks(models: &[&ModelRecord]) -> Vec<Block> {
    let mut blocks = vec![Block::Heading { level: 2, text: "The models side by side".into() }];
    for arm in [Arm::Exact, Arm::Native] {
        let answers: Vec<(&ModelRecord, &ArmVerdict)> =
            models.iter().filter_map(|m| m.verdicts.iter().find(|v| v.arm == arm).map(|v| (*m, v))).collect();
        if answers.len() > 1 {
            blocks.push(Block::Paragraph(agreement(arm, &answers)));
        }
    }
    let mut table = Table::new(
        "Measured: the whole target in each arm; n is scored tokens",
        &["Model", "Arm", "Verdict", "KLD, nats/token>", "floor: largest jitter seed>", "× floor>", "same top>", "n>"],
    );
    for model in models {
        for verdict in &model.verdicts {
            let judged = answer_cell(model, verdict);
            let measured = judged.and_then(|j| j.cell.measured.as_ref());
            let floor = judged.and_then(|j| j.floor.as_ref());
            table.push(vec![
                Text::new().code(&model.name),
                verdict.arm.name().into(),
                verdict.verdict.name().into(),
                measured.map_or("failed".into(), phrase::kld).into(),
                floor.map_or("–".into(), |f| divergence(f.kld_mean_max)).into(),
                phrase::floor_ratio(floor).into(),
                measured.map_or("–".into(), phrase::same_top).into(),
                measured.map_or("–".into(), |m| words::count(m.n_tokens as u64)).into(),
            ]);
        }
    }
    blocks.push(Block::Table(table));
    blocks
}

fn agreement(arm: Arm, answers: &[(&ModelRecord, &ArmVerdict)]) -> Text {
    let start = Text::new().strong(format!("{} arm", capital(arm.name())));
    let mut classes: Vec<Verdict> = answers.iter().map(|(_, v)| v.verdict).collect();
    classes.sort();
    classes.dedup();
    if let [class] = classes[..] {
        return start.plain(format!(": all {} models agree: {}.", answers.len(), class.name()));
    }
    let mut text = start.plain(": the verdicts differ. ");
    for (i, class) in classes.iter().enumerate() {
        text = text.plain(if i > 0 { "; " } else { "" }).plain(format!("{}: ", class.name()));
        for (k, (model, _)) in answers.iter().filter(|(_, v)| v.verdict == *class).enumerate() {
            text = text.plain(if k > 0 { ", " } else { "" }).code(&model.name);
        }
    }
    text.plain(".")
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}
