//! `assay diff A B`: two files, value by value.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::{self, Align};
use lab::ask::{self, DiffRequest};
use numerics::BlockCodec;
use record::answer::{DiffAnswer, GroupDifference, TensorDifference, ValueDifference};
use std::path::PathBuf;
use words::{Lines, count, decibels, deviation, escape_terminal, of, plural};

/// The arguments of `assay diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The GGUF file to measure differences from; of a split model, any shard
    a: PathBuf,
    /// The GGUF file to compare with it; of a split model, any shard
    b: PathBuf,
    /// Exit with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
}

/// Runs `assay diff`.
pub fn run(args: &DiffArgs, codec: &dyn BlockCodec, output: &Output) -> Outcome {
    let request = DiffRequest { a: args.a.clone(), b: args.b.clone() };
    let mut progress = Progress::new("diff", output.quiet());
    let mut at = |done: u64, total: u64| progress.at((done >> 20) as usize, (total >> 20) as usize);
    let answer = ask::diff(&request, codec, &mut at)?;
    drop(progress);
    output.answer(&answer, || text(&answer))?;
    Ok(if args.exit_code && !answer.same { Exit::Difference } else { Exit::Done })
}

/// The columns that the tables of tensors and groups share.
const METRICS: [(&str, Align); 8] = [
    ("changed", Align::Right),
    ("of", Align::Right),
    ("overflowed", Align::Right),
    ("max abs", Align::Right),
    ("rel. RMSE", Align::Right),
    ("SQNR dB", Align::Right),
    ("1 - cosine", Align::Right),
    ("max ulp", Align::Right),
];

fn cells(difference: &ValueDifference) -> [String; METRICS.len()] {
    [
        count(difference.changed),
        count(difference.n),
        count(difference.overflowed),
        deviation(difference.max_abs),
        deviation(difference.rel_rmse),
        decibels(difference.sqnr_db),
        deviation(1.0 - difference.cosine),
        count(difference.max_ulp.into()),
    ]
}

fn groups(title: &str, rows: &[&GroupDifference]) -> String {
    let columns = [&[(title, Align::Left), ("tensors", Align::Right)], &METRICS[..]].concat();
    let rows = rows.iter().map(|row| {
        let mut cells = vec![row.name.clone(), row.n_tensors.to_string()];
        cells.extend(self::cells(&row.difference));
        cells
    });
    table::render(&columns, rows)
}

fn text(answer: &DiffAnswer) -> String {
    let columns = [&[("name", Align::Left), ("type A", Align::Left), ("type B", Align::Left)], &METRICS[..]].concat();
    let differing = |row: &&TensorDifference| row.difference.changed > 0;
    let rows = answer.tensors.iter().filter(differing).map(|row| {
        let mut cells = vec![escape_terminal(&row.name), row.type_a.clone(), row.type_b.clone()];
        cells.extend(self::cells(&row.difference));
        cells
    });
    let mut out = Lines::new();
    out.text(&table::render(&columns, rows));
    let same = answer.tensors.len() - answer.tensors.iter().filter(differing).count();
    out.line(format_args!("{} tensors have the same values in both", of(same as u64, answer.tensors.len() as u64)));
    let signs: u64 = answer.tensors.iter().map(|row| row.difference.zero_sign + row.difference.minus_zero).sum();
    if signs > 0 {
        out.line(format_args!("{} zeros have another sign, which is the same value", count(signs)));
    }
    let nonfinite: u64 = answer.tensors.iter().map(|row| row.difference.nonfinite).sum();
    if nonfinite > 0 {
        out.line(format_args!(
            "{} infinite or NaN in one of the two: the errors above leave them out, and are NaN where nothing is left",
            if nonfinite == 1 { "1 value is".into() } else { format!("{} are", plural(nonfinite, "value")) }
        ));
    }
    for (in_a, in_b) in [(true, true), (true, false), (false, true)] {
        let of_weights = answer.tensors.iter().filter_map(|row| row.factors.as_ref());
        let found: Vec<_> = of_weights.filter(|f| (f.in_a, f.in_b) == (in_a, in_b)).collect();
        let Some(first) = found.first() else { continue };
        out.line(format_args!(
            "{} in {} with factors in a tensor of their own, such as {}, which are multiplied in",
            plural(found.len(), "weight"),
            match (in_a, in_b) {
                (true, true) => "both files".to_owned(),
                (true, false) => escape_terminal(&answer.a),
                _ => escape_terminal(&answer.b),
            },
            escape_terminal(&first.name)
        ));
    }
    for row in &answer.incomparable {
        let (name, why) = (escape_terminal(&row.name), escape_terminal(&row.why));
        out.line(format_args!("not compared: {name}: {} and {}: {why}", row.a, row.b));
    }
    for (names, file) in [(&answer.only_a, &answer.a), (&answer.only_b, &answer.b)] {
        for name in names {
            out.line(format_args!("only in {}: {}", escape_terminal(file), escape_terminal(name)));
        }
    }
    if let Some(total) = &answer.total {
        let rows: Vec<&GroupDifference> = answer.roles.iter().collect();
        out.line(format_args!("\n{}", groups("role", &rows).trim_end()));
        let rows: Vec<&GroupDifference> = answer.layers.iter().chain([total]).collect();
        out.line(format_args!("\n{}", groups("layer", &rows).trim_end()));
    }
    out.into_string()
}
