//! `assay diff A B` compares two files value by value.

use crate::failure::{Exit, Outcome};
use crate::json::finite_f64;
use crate::model::Model;
use crate::output::Output;
use crate::progress::Progress;
use crate::table::{self, Align};
use lab::file_diff::{self, FileDiff, GroupDiff};
use numerics::{BlockCodec, Difference};
use serde::Serialize;
use std::path::PathBuf;
use words::{Lines, count, decibels, deviation, escape_terminal};

/// The arguments of `assay diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The GGUF file that is the reference; of a split model, any shard
    a: PathBuf,
    /// The GGUF file that is compared with it
    b: PathBuf,
    /// Exit with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
}

/// Runs `assay diff`.
pub fn run(args: &DiffArgs, codec: &dyn BlockCodec, output: &Output) -> Outcome {
    let a = Model::open_either_endian(&args.a)?;
    let b = Model::open_either_endian(&args.b)?;
    let mut progress = Progress::new("diff", output.quiet());
    let mut at = |done: u64, total: u64| progress.at((done >> 20) as usize, (total >> 20) as usize);
    let diff = file_diff::diff(&a.file, &b.file, codec, &mut at)?;
    drop(progress);
    let answer = Answer::of(&a, &b, &diff);
    output.answer(&answer, || answer.text())?;
    Ok(if args.exit_code && !answer.same { Exit::Difference } else { Exit::Done })
}

/// The answer in JSON.
#[derive(Serialize)]
struct Answer {
    a: String,
    b: String,
    /// Whether every tensor is in both files, with the same values.
    same: bool,
    tensors: Vec<TensorRow>,
    only_a: Vec<String>,
    only_b: Vec<String>,
    incomparable: Vec<IncomparableRow>,
    roles: Vec<GroupRow>,
    layers: Vec<GroupRow>,
    total: Option<GroupRow>,
}

#[derive(Serialize)]
struct TensorRow {
    name: String,
    type_a: &'static str,
    type_b: &'static str,
    #[serde(flatten)]
    metrics: Metrics,
}

#[derive(Serialize)]
struct GroupRow {
    name: String,
    n_tensors: usize,
    #[serde(flatten)]
    metrics: Metrics,
}

#[derive(Serialize)]
struct IncomparableRow {
    name: String,
    a: String,
    b: String,
    why: String,
}

#[derive(Serialize)]
struct Metrics {
    n: u64,
    changed: u64,
    zero_sign: u64,
    zeroed: u64,
    sign_flipped: u64,
    overflowed: u64,
    nonfinite: u64,
    #[serde(serialize_with = "finite_f64")]
    max_abs: f64,
    #[serde(serialize_with = "finite_f64")]
    mean_abs: f64,
    #[serde(serialize_with = "finite_f64")]
    rmse: f64,
    #[serde(serialize_with = "finite_f64")]
    rel_rmse: f64,
    #[serde(serialize_with = "finite_f64")]
    sqnr_db: f64,
    #[serde(serialize_with = "finite_f64")]
    cosine: f64,
    max_ulp: u32,
}

impl From<&Difference> for Metrics {
    fn from(d: &Difference) -> Self {
        Metrics {
            n: d.n,
            changed: d.changed,
            zero_sign: d.zero_sign,
            zeroed: d.zeroed,
            sign_flipped: d.sign_flipped,
            overflowed: d.overflowed,
            nonfinite: d.nonfinite,
            max_abs: d.max_abs,
            mean_abs: d.mean_abs,
            rmse: d.rmse,
            rel_rmse: d.rel_rmse,
            sqnr_db: d.sqnr_db,
            cosine: d.cosine,
            max_ulp: d.max_ulp,
        }
    }
}

impl From<&GroupDiff> for GroupRow {
    fn from(group: &GroupDiff) -> Self {
        GroupRow { name: group.name.clone(), n_tensors: group.n_tensors, metrics: (&group.difference).into() }
    }
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

impl Metrics {
    fn cells(&self) -> [String; METRICS.len()] {
        [
            count(self.changed),
            count(self.n),
            count(self.overflowed),
            deviation(self.max_abs),
            deviation(self.rel_rmse),
            decibels(self.sqnr_db),
            deviation(1.0 - self.cosine),
            count(self.max_ulp.into()),
        ]
    }
}

fn groups(title: &str, rows: &[&GroupRow]) -> String {
    let columns = [&[(title, Align::Left), ("tensors", Align::Right)], &METRICS[..]].concat();
    let cells = rows.iter().map(|row| {
        let mut cells = vec![row.name.clone(), row.n_tensors.to_string()];
        cells.extend(row.metrics.cells());
        cells
    });
    table::render(&columns, cells)
}

impl Answer {
    fn of(a: &Model, b: &Model, diff: &FileDiff) -> Self {
        let tensor = |t: &file_diff::TensorDiff| TensorRow {
            name: t.name.clone(),
            type_a: t.type_a,
            type_b: t.type_b,
            metrics: (&t.difference).into(),
        };
        let incomparable = |t: &file_diff::Incomparable| IncomparableRow {
            name: t.name.clone(),
            a: t.a.clone(),
            b: t.b.clone(),
            why: t.why.clone(),
        };
        Answer {
            a: a.name(),
            b: b.name(),
            same: diff.is_empty(),
            tensors: diff.tensors.iter().map(tensor).collect(),
            only_a: diff.only_a.clone(),
            only_b: diff.only_b.clone(),
            incomparable: diff.incomparable.iter().map(incomparable).collect(),
            roles: diff.roles.iter().map(GroupRow::from).collect(),
            layers: diff.layers.iter().map(GroupRow::from).collect(),
            total: diff.total.as_ref().map(GroupRow::from),
        }
    }

    fn text(&self) -> String {
        let columns =
            [&[("name", Align::Left), ("type A", Align::Left), ("type B", Align::Left)], &METRICS[..]].concat();
        let differing = |row: &&TensorRow| row.metrics.changed > 0 || row.metrics.zero_sign > 0;
        let rows = self.tensors.iter().filter(differing).map(|row| {
            let mut cells = vec![escape_terminal(&row.name), row.type_a.to_owned(), row.type_b.to_owned()];
            cells.extend(row.metrics.cells());
            cells
        });
        let mut out = Lines::new();
        out.text(&table::render(&columns, rows));
        let same = self.tensors.len() - self.tensors.iter().filter(differing).count();
        out.line(format_args!("{same} of {} tensors have the same values in both", self.tensors.len()));
        let nonfinite: u64 = self.tensors.iter().map(|row| row.metrics.nonfinite).sum();
        if nonfinite > 0 {
            out.line(format_args!(
                "{} values are infinite or NaN in one of the two: the errors above leave them out, and are NaN where nothing is left",
                count(nonfinite)
            ));
        }
        for row in &self.incomparable {
            let (name, why) = (escape_terminal(&row.name), escape_terminal(&row.why));
            out.line(format_args!("not compared: {name}: {} and {}: {why}", row.a, row.b));
        }
        for (names, file) in [(&self.only_a, &self.a), (&self.only_b, &self.b)] {
            for name in names {
                out.line(format_args!("only in {}: {}", escape_terminal(file), escape_terminal(name)));
            }
        }
        if let Some(total) = &self.total {
            let rows: Vec<&GroupRow> = self.roles.iter().collect();
            out.line(format_args!("\n{}", groups("role", &rows).trim_end()));
            let rows: Vec<&GroupRow> = self.layers.iter().chain([total]).collect();
            out.line(format_args!("\n{}", groups("layer", &rows).trim_end()));
        }
        out.into_string()
    }
}
