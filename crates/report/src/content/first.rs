//! The first screen: what was asked, what came out, one figure, and whether to believe it.

use super::{answer_cell, controls, phrase};
use crate::document::{Badge, Block, Table, Text};
use crate::figure::{EffectRow, Figure, Form, Mark};
use record::{FLOOR_FACTOR, ModelRecord, RunRecord, headline};
use words::{count, of, plural};

pub(super) fn blocks(record: &RunRecord, withheld: bool) -> Vec<Block> {
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
    if withheld {
        let has_failed = record.models.iter().flat_map(|m| &m.controls).any(|c| c.has_failed());
        let (what, which) = if has_failed {
            ("Results are withheld: a control failed.", "the failed control below is explained")
        } else {
            ("Results are withheld: a control was not measured.", "the control below is measured")
        };
        blocks.push(Block::Notice(Text::new().strong(what).plain(format!(
            " What the run measured cannot be believed until {which}, so nothing that would answer the question is shown \
             here. The cells themselves are kept in the run folder."
        ))));
        blocks.extend(controls::failed_first(record));
        return blocks;
    }
    if record.models.len() > 1 {
        blocks.push(Block::Paragraph(Text::new().strong(headline::of_run(record))));
    }
    blocks.extend(record.models.iter().map(|model| {
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
    blocks.extend(effects(record));
    blocks.push(controls_held(record));
    blocks
}

fn effects(record: &RunRecord) -> Option<Block> {
    let rows: Vec<EffectRow> = record.models.iter().flat_map(effect_rows).collect();
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

fn controls_held(record: &RunRecord) -> Block {
    let mut table = Table::new(
        "Controls: what had to hold before any number here may be read",
        &["Model", "Checks held>", "Which"],
    );
    for model in &record.models {
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
