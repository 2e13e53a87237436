//! `assay selectors MODEL` shows what each role of the selector grammar matches in a model.

use crate::failure::{Exit, Outcome};
use crate::model::Model;
use crate::output::Output;
use crate::table::{self, Align};
use lab::{ActivationRole, TargetRole};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use words::{count, plural};

/// The arguments of `assay selectors`.
#[derive(Debug, clap::Args)]
pub struct SelectorsArgs {
    /// A GGUF file
    model: PathBuf,
}

/// Runs `assay selectors`.
pub fn run(args: &SelectorsArgs, output: &Output) -> Outcome {
    let model = Model::open(&args.model)?;
    let answer = Selectors {
        model: model.name(),
        n_tensors: model.ids.len(),
        n_layer: lab::n_layer(&model.ids),
        selectors: TargetRole::all().map(|role| Row::of(role, &model)).collect(),
        activations: ActivationRole::all().map(|role| Nodes::of(role, &model)).collect(),
        tied: lab::is_tied(&model.ids),
    };
    output.answer(&answer, || answer.text())?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Selectors {
    model: String,
    n_tensors: usize,
    n_layer: u32,
    selectors: Vec<Row>,
    /// The activations by role. Only the engine knows whether its graph has nodes of these names for the architecture.
    activations: Vec<Nodes>,
    /// Whether token embedding and output head are one matrix.
    tied: bool,
}

#[derive(Serialize)]
struct Nodes {
    name: String,
    meaning: &'static str,
    n_nodes: usize,
}

impl Nodes {
    fn of(role: ActivationRole, model: &Model) -> Self {
        let shares_its_name = TargetRole::all().any(|target| target.name() == role.name());
        let name = if shares_its_name { format!("{}[where=activation]", role.name()) } else { role.name().to_owned() };
        Nodes { name, meaning: role.meaning(), n_nodes: role.nodes(&model.ids).len() }
    }
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    meaning: &'static str,
    n_tensors: usize,
    n_values: u64,
    /// The number of tensors by stored type.
    types: BTreeMap<String, usize>,
}

impl Row {
    fn of(role: TargetRole, model: &Model) -> Self {
        let mut row =
            Row { name: role.name(), meaning: role.meaning(), n_tensors: 0, n_values: 0, types: BTreeMap::new() };
        let matched =
            model.file.tensors().iter().zip(&model.ids).filter(|(_, id)| role.holds(id) && !id.holds_no_weights());
        for (tensor, _) in matched {
            row.n_tensors += 1;
            row.n_values = row.n_values.saturating_add(tensor.n_elements());
            *row.types.entry(tensor.ty.to_string()).or_default() += 1;
        }
        row
    }
}

impl Selectors {
    fn text(&self) -> String {
        let columns = [
            ("selector", Align::Left),
            ("tensors", Align::Right),
            ("values", Align::Right),
            ("stored as", Align::Left),
            ("meaning", Align::Left),
        ];
        let rows = self.selectors.iter().map(|row| {
            let types: Vec<String> = row.types.iter().map(|(ty, n)| format!("{n} {ty}")).collect();
            let types = if types.is_empty() { "–".to_owned() } else { types.join(", ") };
            vec![row.name.to_owned(), row.n_tensors.to_string(), count(row.n_values), types, row.meaning.to_owned()]
        });
        let mut out = format!("{}, {}\n\n", plural(self.n_tensors, "tensor"), plural(self.n_layer as usize, "layer"));
        out.push_str(&table::render(&columns, rows));
        let columns = [("activation", Align::Left), ("nodes", Align::Right), ("meaning", Align::Left)];
        let rows =
            self.activations.iter().map(|row| vec![row.name.clone(), row.n_nodes.to_string(), row.meaning.to_owned()]);
        out.push('\n');
        out.push_str(&table::render(&columns, rows));
        if self.tied {
            out.push_str("\nToken embedding and output head are one matrix: token_embd[use=lookup] and output[use=head] are its uses, each by itself.\n");
        }
        out.push_str("\nAlso: a tensor's exact name, re:/REGEX/, several separated by commas; layers in brackets: ffn_norm[layers=0,3-5], attn[layers=-1].\n");
        out
    }
}
