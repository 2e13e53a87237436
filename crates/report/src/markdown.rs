//! A [`Document`] as Markdown that GitHub renders, with its figures in files beside it.

use crate::document::{Block, Document, Span, Table, Text};
use crate::write::FIGURES;
use words::{escape_markdown, escape_markdown_code, escape_markdown_line_start, longest_run, plural, printable};

/// The document as Markdown.
pub fn render(document: &Document) -> String {
    let mut out = format!("# {}\n", escape_markdown(&document.title));
    for block in &document.blocks {
        out.push('\n');
        out.push_str(&block_text(block));
        out.push('\n');
    }
    out
}

fn block_text(block: &Block) -> String {
    match block {
        Block::Heading { level, text } => format!("{} {}", "#".repeat(usize::from(*level)), line(text, false)),
        Block::Paragraph(text) => escape_markdown_line_start(&line(text, false)),
        Block::Question { question, hypothesis } => {
            format!(
                "> **{}**\n>\n> Hypothesis, written before the data: {}",
                escape_markdown(question),
                escape_markdown(hypothesis)
            )
        }
        Block::Answer { model, badges, sentence } => {
            let badges: Vec<String> = badges
                .iter()
                .map(|b| format!("{}: **{}**", escape_markdown(&b.arm), escape_markdown(&b.class)))
                .collect();
            format!(
                "- {} — {}  \n  {}",
                escape_markdown_code(model, false),
                badges.join(" · "),
                escape_markdown_line_start(&escape_markdown(sentence))
            )
        }
        Block::Notice(text) => format!("> ⚠ {}", line(text, false)),
        Block::Table(table) => table_text(table),
        Block::Figure { figure, slug, caption } => {
            // The caption carries the words; the alternative text must be free of brackets and line breaks.
            format!("![{}]({FIGURES}/{slug}.svg)\n\n*Figure.* {}", escape_markdown(&figure.alt), line(caption, false))
        }
        Block::Command(command) => {
            let command = printable(command);
            let fence = "`".repeat(longest_run(&command, '`').max(2) + 1);
            format!("{fence}sh\n{command}\n{fence}")
        }
    }
}

fn line(text: &Text, in_table: bool) -> String {
    text.0
        .iter()
        .map(|span| match span {
            Span::Plain(words) => escape_markdown(words),
            Span::Code(name) => escape_markdown_code(name, in_table),
            Span::Strong(words) => format!("**{}**", escape_markdown(words)),
        })
        .collect()
}

fn table_text(table: &Table) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = row(table.columns.iter().map(|c| escape_markdown(&c.head)).collect());
    out.push_str(&row(table.columns.iter().map(|c| if c.numeric { "---:" } else { "---" }.to_string()).collect()));
    for cells in &table.rows {
        out.push_str(&row(cells.iter().map(|cell| line(cell, true)).collect()));
    }
    let out = out.trim_end();
    let caption = escape_markdown(&table.caption);
    if table.folded {
        format!("<details><summary>{caption} ({})</summary>\n\n{out}\n\n</details>", plural(table.rows.len(), "row"))
    } else {
        format!("*{caption}*\n\n{out}")
    }
}
