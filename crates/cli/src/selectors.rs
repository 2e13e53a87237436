//! `assay selectors MODEL`: what each role of the selector grammar matches in a model.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::table::{self, Align};
use record::answer::SelectorsAnswer;
use std::path::PathBuf;
use words::{count, plural};

/// The arguments of `assay selectors`.
#[derive(Debug, clap::Args)]
pub struct SelectorsArgs {
    /// The GGUF file whose tensors are matched
    model: PathBuf,
}

/// Runs `assay selectors`.
pub fn run(args: &SelectorsArgs, output: &Output) -> Outcome {
    let answer = lab::ask::selectors(&args.model)?;
    output.answer(&answer, || text(&answer))?;
    Ok(Exit::Done)
}

fn text(answer: &SelectorsAnswer) -> String {
    let columns = [
        ("selector", Align::Left),
        ("tensors", Align::Right),
        ("values", Align::Right),
        ("stored as", Align::Left),
        ("meaning", Align::Left),
    ];
    let rows = answer.selectors.iter().map(|row| {
        let types: Vec<String> = row.types.iter().map(|(ty, n)| format!("{} {ty}", count(*n as u64))).collect();
        let types = if types.is_empty() { "–".to_owned() } else { types.join(", ") };
        vec![row.name.clone(), count(row.n_tensors as u64), count(row.n_values), types, row.meaning.clone()]
    });
    let mut out = format!("{}, {}\n\n", plural(answer.n_tensors, "tensor"), plural(answer.n_layer as usize, "layer"));
    out.push_str(&table::render(&columns, rows));
    let columns = [("activation", Align::Left), ("nodes", Align::Right), ("meaning", Align::Left)];
    let rows =
        answer.activations.iter().map(|row| vec![row.name.clone(), row.n_nodes.to_string(), row.meaning.clone()]);
    out.push('\n');
    out.push_str(&table::render(&columns, rows));
    if answer.tied {
        out.push_str("\nToken embedding and output head are one matrix: token_embd[use=lookup] and output[use=head] are its uses, each by itself.\n");
    }
    out.push_str("\nAlso: a tensor's exact name, re:/REGEX/, several separated by commas; layers in brackets: ffn_norm[layers=0,3-5], attn[layers=-1].\n");
    out
}
