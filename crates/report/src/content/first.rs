//! The first screen: what was asked, what came out, one figure, and whether to believe it.

use super::{answer_cell, controls, phrase};
use crate::document::{Badge, Block, Table, Text};
use crate::figure::{EffectRow, Figure, Form, Mark};
use record::{FLOOR_FACTOR, ModelRecord, RunRecord, headline};
use words::{count, of, plural};

/// The first screen; `shown` are the models whose results are not withheld.
pub(super) fn blocks(record: &RunRecord, shown: &[&ModelRecord]) -> Vec<Block> {
    let q = &record.question;
    let mut blocks = vec![
        Block::Question { question: q.question.clone(), hypothesis: q.hypothesis.clone() },
        Block::Paragraph(
            Text::new()
                .plain("Target ")
                .code(&q.target)
                .plain(", scheme ")
                .code(&q.scheme)
                .plain(format!(
                    "; {} of {} tokens from ",
                    plural(record.chunks, "window"),
                    count(record.settings.n_ctx.into())
                ))
                .code(&record.corpus.name)
                .plain("; run ")
                .code(&record.id)
                .plain("."),
        ),
    ];
    let withheld: Vec<&ModelRecord> =
        record.models.iter().filter(|model| !shown.iter().any(|other| other.name == model.name)).collect();
    if !withheld.is_empty() {
        blocks.push(Block::Notice(notice(&withheld, shown.is_empty())));
        blocks.extend(controls::failed_first(&withheld));
    }
    if shown.is_empty() {
        return blocks;
    }
    if record.models.len() > 1 {
        blocks.push(Block::Paragraph(Text::new().strong(headline::of_run(record))));
    }
    blocks.extend(shown.iter().map(|model| {
        Block::Answer {
            model: model.name.clone(),
            badges: model
                .verdicts
                .iter()
                .map(|v| Badge { arm: format!("{} arm", v.arm.name()), class: v.verdict.name().into() })
                .collect(),
            sentence: model.answer(q),
        }
    }));
    blocks.extend(effects(shown));
    blocks.push(controls_held(shown));
    blocks
}

/// What is said in place of the results that are withheld.
fn notice(withheld: &[&ModelRecord], is_all: bool) -> Text {
    let has_failed = withheld.iter().flat_map(|model| &model.controls).any(|control| control.has_failed());
    let (what, which) = match has_failed {
        true => ("a control failed", "the failed control below is explained"),
        false => ("a control was not measured", "the control below is measured"),
    };
    if is_all {
        return Text::new().strong(format!("Results are withheld: {what}.")).plain(format!(
            " What the run measured cannot be believed until {which}, so nothing that would answer the question is shown \
             here. The cells themselves are kept in the run folder."
        ));
    }
    let which_models = format!("Results are withheld for {}: {what}.", plural(withheld.len(), "model"));
    let mut text = Text::new().strong(which_models).plain(" What was measured on ");
    for (i, model) in withheld.iter().enumerate() {
        text = if i > 0 { text.plain(", ") } else { text };
        text = text.code(&model.name);
    }
    text.plain(format!(
        " cannot be believed until {which}. The controls of the other models hold, and their results are shown. The cells of \
         all models are kept in the run folder."
    ))
}

fn effects(models: &[&ModelRecord]) -> Option<Block> {
    let rows: Vec<EffectRow> = models.iter().flat_map(|model| effect_rows(model)).collect();
    if rows.is_empty() {
        return None;
    }
    let alt: Vec<String> = rows.iter().map(|r| format!("{}, {}: KLD {}", r.label, r.sublabel, r.value)).collect();
    Some(Block::Figure {
        figure: Figure { alt: format!("Effect against floor. {}.", alt.join("; ")), form: Form::Effects(rows) },
        slug: "effects".into(),
        caption: Text::from(
            "Mean KLD of the whole target, with the jitter seeds that make its floor: the same tensors moved by one ulp. \
             Inside the shaded region, which ends at twice the largest seed, an effect cannot be told from one ulp. \
             Bars are ± 2 standard errors clustered by window, where there are at least 8 windows.",
        ),
    })
}

fn effect_rows(model: &ModelRecord) -> Vec<EffectRow> {
    let row = |verdict: &record::ArmVerdict| {
        let judged = answer_cell(model, verdict)?;
        let measured = judged.cell.measured.as_ref();
        Some(EffectRow {
            label: model.name.clone(),
            sublabel: format!("{} arm · {}", verdict.arm.name(), verdict.verdict.name()),
            mark: measured.map_or(Mark::Failed, |m| Mark::of(m.kld().mean, m.kld().se)),
            jitter: judged.floor.iter().flat_map(|f| f.kld_mean_by_seed.iter().map(|(_, kld)| *kld)).collect(),
            threshold: judged.floor.as_ref().map(|f| FLOOR_FACTOR * f.kld_mean_max),
            value: measured.map_or("failed".into(), phrase::kld_mean),
        })
    };
    model.verdicts.iter().filter_map(row).collect()
}

fn controls_held(models: &[&ModelRecord]) -> Block {
    let mut table = Table::new(
        "Controls: what had to hold before any number here may be read",
        &["Model", "Checks held>", "Which"],
    );
    for model in models {
        let held = model.controls.iter().filter(|c| c.ok).count() as u64;
        let mut names: Vec<&str> = Vec::new();
        for control in &model.controls {
            if !names.contains(&control.name.as_str()) {
                names.push(&control.name);
            }
        }
        table.push(vec![
            Text::new().code(&model.name),
            of(held, model.controls.len() as u64).into(),
            names.join(", ").into(),
        ]);
    }
    Block::Table(table)
}
