//! `assay diff A B`: two files, their metadata key by key and their tensors value by value.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::{self, Align};
use lab::ask::{self, DiffRequest};
use numerics::BlockCodec;
use record::answer::{
    DiffAnswer, ExtraRows, GroupDifference, MetadataDifference, MetadataEffect, MetadataSide, TensorDifference,
    TensorRelation, ValueDifference,
};
use std::path::PathBuf;
use words::{Lines, count, decibels, deviation, escape_terminal, number, of, plural};

/// The arguments of `assay diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The GGUF file to measure differences from; for a split model, any of its shards
    a: PathBuf,
    /// The GGUF file to compare with it; for a split model, any of its shards
    b: PathBuf,
    /// Exit with 1 if tensors differ, or metadata other than labels
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
    ("to inf or NaN", Align::Right),
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

/// The metadata keys that differ, by what they change.
fn metadata(answer: &DiffAnswer, out: &mut Lines) {
    const KINDS: [(MetadataEffect, &str); 4] = [
        (MetadataEffect::Numbers, "metadata that change numbers"),
        (MetadataEffect::Text, "metadata that change the text in or out"),
        (MetadataEffect::Unknown, "metadata of unknown effect"),
        (MetadataEffect::Label, "labels, which change neither"),
    ];
    for (effect, title) in KINDS {
        let of_kind: Vec<&MetadataDifference> = answer.metadata.iter().filter(|key| key.effect == effect).collect();
        if of_kind.is_empty() {
            continue;
        }
        out.line(format_args!("{title}: {} in the two files", differ(of_kind.len())));
        for key in of_kind {
            let meaning = key.meaning.as_ref().map_or(String::new(), |meaning| format!(" ({meaning})"));
            out.line(format_args!("  {}{meaning}: {}", escape_terminal(&key.key), both(key)));
        }
    }
    match (answer.metadata.is_empty(), answer.same, answer.same_tensors) {
        (true, ..) => out.line("the metadata are the same in both"),
        (false, true, _) => out.line("only labels differ in the two files"),
        (false, false, true) => out.line("the tensors are the same, the metadata are not"),
        (false, false, false) => {}
    }
}

fn differ(n: usize) -> String {
    if n == 1 { "1 key differs".into() } else { format!("{n} keys differ") }
}

/// The two values of a key, so far as they explain the difference.
fn both(key: &MetadataDifference) -> String {
    let (Some(a), Some(b)) = (&key.a, &key.b) else {
        return match (&key.a, &key.b) {
            (Some(a), _) => format!("only in A, {}", alone(a)),
            (_, Some(b)) => format!("only in B, {}", alone(b)),
            _ => String::new(),
        };
    };
    let types = if a.ty == b.ty { String::new() } else { format!("{} and {}, ", a.ty, b.ty) };
    let value = |side: &MetadataSide| side.value.as_deref().map_or("nothing".into(), quoted(side));
    let values = format!("{types}{} and {}", value(a), value(b));
    match (key.first_difference, a.n, b.n) {
        (Some(index), Some(n_a), Some(n_b)) if a.ty.starts_with("arr[") => {
            let lengths =
                if n_a == n_b { plural(n_a, "value") } else { format!("{} and {}", count(n_a), plural(n_b, "value")) };
            format!("{lengths}, the first difference at index {index}: {values}")
        }
        (Some(index), ..) if a.sha256.is_some() || b.sha256.is_some() => {
            let hash = |side: &MetadataSide| match &side.sha256 {
                Some(hash) => format!("SHA-256 {}…", &hash[..hash.len().min(8)]),
                None => plural(side.n.unwrap_or(0), "byte"),
            };
            format!("{} and {}, the first difference at byte {index}: {values}", hash(a), hash(b))
        }
        _ => values,
    }
}

/// The value of a key that only one file has.
fn alone(side: &MetadataSide) -> String {
    match (&side.value, side.n) {
        (Some(value), _) => quoted(side)(value),
        (None, n) => format!("{} of {}", side.ty, plural(n.unwrap_or(0), "value")),
    }
}

/// How a value of this side is shown: texts in quotes, numbers as they are.
fn quoted(side: &MetadataSide) -> impl Fn(&str) -> String {
    let is_text = side.ty.ends_with("str") || side.ty.ends_with("str]");
    move |value| if is_text { format!("\"{}\"", escape_terminal(value)) } else { escape_terminal(value) }
}

/// What the values of B are of those of A.
fn related(relation: &TensorRelation) -> String {
    let (words, rel_rmse) = match relation {
        TensorRelation::OppositeSign => ("every value of B is that of A with the opposite sign".into(), 0.0),
        TensorRelation::Factor { factor, rel_rmse } => {
            (format!("every value of B is that of A times {}", number(*factor, 5)), *rel_rmse)
        }
        TensorRelation::Transposed { rel_rmse } => ("B is the transpose of A".into(), *rel_rmse),
        TensorRelation::RowsPermuted { rel_rmse } => ("B has the rows of A in another order".into(), *rel_rmse),
        TensorRelation::TensorOfA { name, rel_rmse } => {
            (format!("in B this is {} of A", escape_terminal(name)), *rel_rmse)
        }
    };
    match rel_rmse == 0.0 {
        true => words,
        false => format!("{words}, with a relative RMSE of {} that the types leave", deviation(rel_rmse)),
    }
}

/// Sentences about nonzero values that are zero in B and zeros that are not, where there are any.
fn zeros(tensors: &[TensorDifference]) -> impl Iterator<Item = String> {
    let sum = |of: fn(&ValueDifference) -> u64| tensors.iter().map(|row| of(&row.difference)).sum::<u64>();
    let gained = sum(|difference| difference.zeroed);
    let lost = sum(|difference| difference.unzeroed);
    let is = |n: u64| if n == 1 { "is" } else { "are" };
    let gained = (gained > 0).then(|| format!("{} {} zero in B alone", plural(gained, "value"), is(gained)));
    let lost = (lost > 0).then(|| format!("{} {} zero in A alone", plural(lost, "value"), is(lost)));
    gained.into_iter().chain(lost)
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
    metadata(answer, &mut out);
    let same = answer.tensors.len() - answer.tensors.iter().filter(differing).count();
    if same < answer.tensors.len() {
        out.text(&table::render(&columns, rows));
    }
    out.line(format_args!("{} tensors have the same values in both", of(same as u64, answer.tensors.len() as u64)));
    let signs: u64 = answer.tensors.iter().map(|row| row.difference.zero_sign + row.difference.minus_zero).sum();
    if signs > 0 {
        out.line(format_args!("{} zeros have another sign, which is the same value", count(signs)));
    }
    for line in zeros(&answer.tensors) {
        out.line(line);
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
    for row in &answer.tensors {
        if let Some(relation) = &row.relation {
            out.line(format_args!("{}: {}", escape_terminal(&row.name), related(relation)));
        }
    }
    for (file, copies) in [(&answer.a, &answer.copies_a), (&answer.b, &answer.copies_b)] {
        for copy in copies {
            out.line(format_args!("in {}: {}", escape_terminal(file), files::copy_sentence(copy)));
        }
    }
    for row in &answer.padded {
        let (common, extra) = (row.rows_a.min(row.rows_b), row.rows_a.abs_diff(row.rows_b));
        let file = if row.rows_a > row.rows_b { "A" } else { "B" };
        let what = match row.extra {
            ExtraRows::Zeros => "which are zeros",
            ExtraRows::OneRowRepeated => "which are one row repeated",
            ExtraRows::OtherValues => "which have values of their own",
        };
        out.line(format_args!(
            "{}: {} of {} values differ in the {} that both have; {file} has {} more, {what}",
            escape_terminal(&row.name),
            count(row.difference.changed),
            count(row.difference.n),
            plural(common, "row"),
            count(extra),
        ));
    }
    for row in &answer.incomparable {
        let name = escape_terminal(&row.name);
        out.line(match &row.relation {
            Some(relation) => format!("{name}: {} and {}: {}", row.a, row.b, related(relation)),
            None => format!("not compared: {name}: {} and {}: {}", row.a, row.b, escape_terminal(&row.why)),
        });
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
