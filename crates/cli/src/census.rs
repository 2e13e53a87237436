//! `assay census FILE`: what precision the weights really have, and what a scheme would change.

mod prediction;
mod row;
mod text;
mod verdict;

use crate::failure::{Exit, Outcome};
use crate::model::Model;
use crate::output::Output;
use crate::progress::Progress;
use anyhow::anyhow;
use lab::tensor_values::ValuesError;
use lab::{Held, SchemeFiles, Selector, TargetRole};
use numerics::{BlockCodec, Scheme};
use prediction::{Answer, Prediction};
use row::Row;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `assay census`.
#[derive(Debug, clap::Args)]
pub struct CensusArgs {
    /// A GGUF file
    file: PathBuf,
    /// Which tensors: a role such as ffn_norm, a name, or re:/REGEX/ (see `assay selectors FILE`)
    #[arg(long, value_name = "SEL", default_value = "all")]
    target: String,
    /// A scheme such as bf16 or int8@row: predict what it would change (may be repeated)
    #[arg(long, value_name = "SCHEME")]
    against: Vec<String>,
}

/// Runs `assay census`.
pub fn run(args: &CensusArgs, codec: &dyn BlockCodec, output: &Output) -> Outcome {
    let selector: Selector = args.target.parse()?;
    let schemes = args.against.iter().map(|text| text.parse()).collect::<Result<Vec<Scheme>, _>>()?;
    let mut files = SchemeFiles::default();
    let schemes = schemes.iter().map(|scheme| files.read(scheme)).collect::<Result<Vec<Scheme>, _>>()?;
    let model = Model::open_either_endian(&args.file)?;
    let selection = selector.select(&model.ids).map_err(|error| model.refuses(error))?;

    let mut progress = Progress::new("census", output.quiet());
    let total = selection.tensors.len();
    let look = |index: usize, held: &mut Held| row::look_at(&model.file.tensors()[index], held, &schemes, codec);
    let looked_at = lab::side_by_side(&model.file, &selection.tensors, look, |done| progress.at(done, total));
    let looked_at: Vec<(Row, Vec<Answer>)> = looked_at.map_err(|error| match error {
        // Says which file.
        ValuesError::Gguf(error) => (*error).into(),
        error => model.refuses(error),
    })?;
    drop(progress);

    let mut predictions: Vec<Prediction> = schemes.iter().map(|s| Prediction::none_yet(s, &selector)).collect();
    let mut rows = Vec::with_capacity(total);
    for (mut row, answers) in looked_at {
        for (prediction, answer) in predictions.iter_mut().zip(answers) {
            prediction.add(&mut row, answer);
        }
        rows.push(row);
    }
    for prediction in &mut predictions {
        prediction.finish();
        if let Some(refused) = prediction.refused.first().filter(|_| prediction.refused.len() == rows.len()) {
            let (why, scheme) = (&refused.why, &prediction.scheme);
            let hint = refused.hint.as_ref().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
            return Err(anyhow!("{}: {scheme} fits none of the tensors: {why}{hint}", model.shown()).into());
        }
    }
    let answer = Census {
        file: model.name(),
        target: selector.to_string(),
        n_tensors: rows.len(),
        skipped: selection.skipped.iter().map(|&i| model.ids[i].name.clone()).collect(),
        verdict: verdict::verdict(&rows),
        summary: summary(&model, &selection.tensors, &rows),
        tensors: rows,
        predictions,
    };
    output.answer(&answer, || answer.text(output.verbose()))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Census {
    file: String,
    target: String,
    n_tensors: usize,
    tensors: Vec<Row>,
    predictions: Vec<Prediction>,
    /// Integer tensors, which hold no weights.
    skipped: Vec<String>,
    /// What the tensors say together.
    verdict: Vec<String>,
    /// One line per role.
    summary: Vec<String>,
}

/// `norms: 61 of 61 stored f32, effectively BF16`.
fn summary(model: &Model, tensors: &[usize], rows: &[Row]) -> Vec<String> {
    let mut left: Vec<usize> = (0..rows.len()).collect();
    let mut lines = Vec::new();
    for role in TargetRole::groups() {
        let (of_role, others) = left.into_iter().partition(|&row| role.holds(&model.ids[tensors[row]]));
        left = others;
        lines.extend(sum_up(role.name(), &of_role, rows));
    }
    lines.extend(sum_up("others", &left, rows));
    lines
}

fn sum_up(role: &str, of_role: &[usize], rows: &[Row]) -> Option<String> {
    if of_role.is_empty() {
        return None;
    }
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for row in of_role.iter().map(|&i| &rows[i]) {
        let what = match (row.grid, row.transform) {
            _ if row.blocks.share.is_some() => format!("block grid {}", row.blocks.grid),
            _ if row.blocks.family.is_some() && row.blocks.bits.is_none() => row.blocks.grid.clone(),
            (None, _) => match row.under_bf16 {
                Some(true) => "a BF16 source under it".to_owned(),
                Some(false) => "no coarser source shown".to_owned(),
                None => "not decidable".to_owned(),
            },
            _ if row.blocks.bits.is_some() => format!("block grid {}", row.blocks.grid),
            (_, Some(_)) => format!("= {}", row.effective),
            (Some(_), None) if row.effective.eq_ignore_ascii_case(row.ty) => "no coarser grid found".to_owned(),
            (Some(_), None) => format!("effectively {}", row.effective),
        };
        *counts.entry((row.ty, what)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let parts: Vec<String> =
        counts.iter().map(|((ty, what), n)| format!("{n} of {} stored {ty}, {what}", of_role.len())).collect();
    Some(format!("{role}: {}", parts.join("; ")))
}
