//! How to repeat the run, the settings it was done with, and what the words mean.

use super::phrase;
use crate::document::{Block, Table, Text};
use record::RunRecord;
use std::collections::BTreeSet;
use words::count;

/// The words that this report uses in a sense of its own.
const WORDS: [(&str, &str); 9] = [
    (
        "KLD",
        "Σ p_ref (ln p_ref − ln p_var) over the whole vocabulary at each scored position, in nats; mean over positions. 0 is equality.",
    ),
    ("same top", "share of scored positions at which reference and variant have the same most probable token."),
    (
        "Δ ln PPL",
        "mean negative log-likelihood of the variant minus that of the reference on the same tokens, nats a token; positive is worse.",
    ),
    (
        "floor",
        "the mean KLD when each value of the target moves by one ulp of F32, up or down by a seeded coin; at least three seeds, the largest counts.",
    ),
    ("REAL", "at least twice the floor."),
    ("BELOW-FLOOR", "less than twice the floor: not distinguishable from moving the same weights by one ulp."),
    ("NO-OP", "the values already lie on the scheme's grid, so nothing changed."),
    ("SUBSTITUTED, DEAD", "the carrier could not store what was asked for; the graph does not use the tensors."),
    ("BROKEN", "non-finite numbers, a failed cell, or a link of the evidence chain that contradicts another."),
];

pub(super) fn blocks(record: &RunRecord) -> Vec<Block> {
    vec![
        Block::Heading { level: 2, text: "How to reproduce".into() },
        Block::Command(record.reproduce.clone()),
        Block::Paragraph("Equal settings, model, text and engine build give equal bits; a number is reused only if its whole key matches.".into()),
        Block::Table(settings(record)),
        Block::Table(cells(record).folded_if_long()),
        Block::Heading { level: 2, text: "Words".into() },
        Block::Table(glossary()),
    ]
}

fn settings(record: &RunRecord) -> Table {
    let s = &record.settings;
    let mut table = Table::new("Settings that determine the bits", &["Setting", "Value"]);
    let mut set = |name: &str, value: Text| table.push(vec![name.into(), value]);
    set("assay", record.assay_version.clone().into());
    set("record format", record.format.to_string().into());
    let mut builds: Vec<&str> = record.models.iter().map(|m| m.engine.build.as_str()).collect();
    builds.sort_unstable();
    builds.dedup();
    for build in builds {
        set("engine build", Text::new().code(build));
    }
    set(
        "text",
        Text::new()
            .code(&record.corpus.name)
            .plain(format!(", {} bytes, blake3 ", count(record.corpus.bytes)))
            .code(&record.corpus.blake3)
            .plain(if record.corpus.special { ", special tokens parsed" } else { "" }),
    );
    set("windows, whole target", count(record.chunks as u64).into());
    set("windows, single layers", count(record.layer_chunks as u64).into());
    let seeds: Vec<String> = record.jitter_seeds.iter().map(u64::to_string).collect();
    set("jitter seeds", seeds.join(", ").into());
    set("n_ctx, n_ubatch, n_seq", [s.n_ctx, s.n_ubatch, s.n_seq].map(|n| count(n.into())).join(", ").into());
    set("flash attention", if s.flash_attn { "on" } else { "off" }.into());
    set("KV cache", Text::new().plain("K ").code(&s.type_k).plain(", V ").code(&s.type_v));
    set("weight repacking", if s.repack { "on" } else { "off" }.into());
    set("scored positions", "second half of each window, as llama-perplexity has it".into());
    table
}

fn cells(record: &RunRecord) -> Table {
    let mut table = Table::new("Cells of this report, by key", &["Model", "Cell", "Arm", "Target", "Key"]);
    for model in &record.models {
        let mut seen = BTreeSet::new();
        for cell in model.cells.iter().map(|judged| &judged.cell) {
            // The layer of the one-layer stage comes round again with each layer.
            if !seen.insert(cell.key.as_str()) {
                continue;
            }
            table.push(vec![
                Text::new().code(&model.name),
                phrase::cell(cell).into(),
                cell.arm.name().into(),
                Text::new().code(&cell.target),
                Text::new().code(&cell.key),
            ]);
        }
    }
    table
}

fn glossary() -> Table {
    let mut table = Table::new("As used above", &["Word", "Meaning"]);
    for (word, meaning) in WORDS {
        table.push(vec![Text::new().strong(word), meaning.into()]);
    }
    table
}
