//! `assay census FILE`: what precision the weights really have, and what a scheme would change.

mod verdict;

use crate::failure::{Exit, Outcome};
use crate::json::finite_f64;
use crate::model::Model;
use crate::output::Output;
use crate::progress::Progress;
use crate::table::{self, Align, thousands};
use anyhow::anyhow;
use gguf::{TensorInfo, escape_terminal};
use lab::tensor_values::ValuesError;
use lab::{Held, SchemeFiles, Selector, TargetRole};
use lineage::{
    Distribution, Effective, Grid, Search, StoredPrecision, TensorCensus, Undecided, Under, Values, undecided,
};
use numerics::{BlockCodec, Scheme, TensorContext};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
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
    let look = |index: usize, held: &mut Held| look_at(&model.file.tensors()[index], held, &schemes, codec);
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
        if prediction.n_tensors == 0 && !rows.is_empty() {
            let why = prediction.refused.first().map_or("", |refused| refused.why.as_str());
            return Err(anyhow!("{}: {} fits none of the tensors: {why}", model.shown(), prediction.scheme).into());
        }
        prediction.noop = prediction.changed == 0 && prediction.refused.is_empty();
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
    output.answer(&answer, || answer.text())?;
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

#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    ty: &'static str,
    n: u64,
    effective: String,
    /// What a converter did: the constant it added, such as `1.0`, or `"-exp"`.
    transform: Option<Transform>,
    /// The grid under the transform.
    grid: Option<&'static str>,
    /// Values on `effective`.
    on_grid: Option<u64>,
    #[serde(serialize_with = "finite_f64")]
    evidence_bits: f64,
    coverage: Coverage,
    /// `null` where the values were not looked at.
    nonfinite: Option<u64>,
    note: String,
    /// Questions about the origin that the values leave open, with the reason.
    not_decidable: Vec<&'static str>,
    /// The grid of blocks that the values lie on, if any.
    blocks: Blocks,
    /// The scales of a quantized tensor are such as BF16 weights give; `null` where they cannot tell.
    under_bf16: Option<bool>,
    /// `null` where no value is finite or none was looked at.
    distribution: Option<Spread>,
    /// Rows of a coarser precision than the tensor.
    row_note: Option<String>,
    /// Per scheme, in the order asked for.
    predicted: Vec<Predicted>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum Transform {
    Plus(f32),
    Other(&'static str),
}

impl From<lineage::Transform> for Transform {
    fn from(transform: lineage::Transform) -> Self {
        match transform {
            lineage::Transform::Plus(offset) => Transform::Plus(offset.value),
            lineage::Transform::NegExp => Transform::Other("-exp"),
        }
    }
}

/// A search for a grid of blocks.
#[derive(Default, Serialize)]
struct Blocks {
    /// `Q4_1-like`, `none found`, `not decidable`.
    grid: String,
    /// Bits that name a level.
    bits: Option<f64>,
    #[serde(serialize_with = "finite_f64")]
    evidence_bits: f64,
    /// Values that went into the search.
    sampled: u64,
    /// A coarser lattice shows inside.
    requantized: bool,
    note: String,
    /// The values could have shown a grid.
    #[serde(skip)]
    could_tell: bool,
}

impl Blocks {
    fn of(found: &Search) -> Self {
        Blocks {
            grid: found.name(),
            bits: found.bits(),
            evidence_bits: found.evidence_bits(),
            sampled: found.sampled,
            requantized: matches!(&found.grid, Grid::Lattice(lattice) if lattice.requantized.is_some()),
            note: found.note(),
            could_tell: !matches!(found.grid, Grid::NotDecidable(_)),
        }
    }

    /// A quantized tensor lies on its own grid, which is no news; only what lies inside that is.
    fn inside_storage(found: &Search) -> Self {
        match &found.grid {
            Grid::Lattice(lattice) if lattice.requantized.is_some() => Blocks::of(found),
            _ => Blocks { grid: "its own".into(), sampled: found.sampled, ..Blocks::default() },
        }
    }
}

/// How a tensor's values are spread.
#[derive(Serialize)]
struct Spread {
    min: f32,
    max: f32,
    absmax: f32,
    #[serde(serialize_with = "finite_f64")]
    mean: f64,
    #[serde(serialize_with = "finite_f64")]
    std: f64,
    #[serde(serialize_with = "finite_f64")]
    kurtosis: f64,
    /// Share of values beyond six standard deviations.
    #[serde(serialize_with = "finite_f64")]
    outlier_share: f64,
    zeros: u64,
    constant: bool,
    rows: u64,
    zero_rows: u64,
    duplicate_rows: u64,
}

impl Spread {
    fn of(d: &Distribution, census: &TensorCensus) -> Self {
        Spread {
            min: d.min,
            max: d.max,
            absmax: d.absmax,
            mean: d.mean,
            std: d.std,
            kurtosis: d.kurtosis,
            outlier_share: d.outliers as f64 / d.n as f64,
            zeros: census.zeros,
            constant: census.constant,
            rows: d.rows,
            zero_rows: d.zero_rows,
            duplicate_rows: d.duplicate_rows,
        }
    }
}

#[derive(Serialize)]
struct Coverage {
    /// Values looked at.
    n: u64,
    /// They are all the tensor's values.
    exact: bool,
}

#[derive(Serialize)]
struct Predicted {
    scheme: String,
    changed: u64,
    zero_sign: u64,
    overflowed: u64,
    zeroed: u64,
    noop: bool,
}

/// What a scheme would change in the whole target.
#[derive(Serialize)]
struct Prediction {
    scheme: String,
    target: String,
    changed: u64,
    n: u64,
    noop: bool,
    /// −0 that would become +0; not among `changed`.
    zero_sign: u64,
    /// Finite values that would become infinite.
    overflowed: u64,
    /// Nonzero values that would become zero.
    zeroed: u64,
    n_tensors: usize,
    /// Tensors that the scheme cannot be applied to.
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    name: String,
    why: String,
}

impl Prediction {
    fn none_yet(scheme: &Scheme, target: &Selector) -> Self {
        Prediction {
            scheme: scheme.to_string(),
            target: target.to_string(),
            changed: 0,
            n: 0,
            noop: false,
            zero_sign: 0,
            overflowed: 0,
            zeroed: 0,
            n_tensors: 0,
            refused: Vec::new(),
        }
    }
}

/// What becomes of one tensor under one scheme, or why nothing does.
type Answer = Result<lineage::Prediction, String>;

impl Prediction {
    /// Takes what was found for a tensor into the sum, and into the tensor's row.
    fn add(&mut self, row: &mut Row, answer: Answer) {
        match answer {
            Ok(found) => {
                self.n_tensors += 1;
                self.n += found.n;
                self.changed += found.changed;
                self.zero_sign += found.zero_sign;
                self.overflowed += found.overflowed;
                self.zeroed += found.zeroed;
                row.predicted.push(Predicted {
                    scheme: self.scheme.clone(),
                    changed: found.changed,
                    zero_sign: found.zero_sign,
                    overflowed: found.overflowed,
                    zeroed: found.zeroed,
                    noop: found.noop,
                });
            }
            Err(why) => self.refused.push(Refused { name: row.name.clone(), why }),
        }
    }
}

/// One tensor: its census, and what each scheme would do to it.
fn look_at(
    tensor: &TensorInfo,
    held: &mut Held,
    schemes: &[Scheme],
    codec: &dyn BlockCodec,
) -> Result<(Row, Vec<Answer>), ValuesError> {
    let mut row = Row {
        name: tensor.name.clone(),
        ty: tensor.ty.name(),
        n: tensor.n_elements(),
        effective: Effective::NotDecided.to_string(),
        transform: None,
        grid: None,
        on_grid: None,
        evidence_bits: 0.0,
        coverage: Coverage { n: 0, exact: false },
        nonfinite: None,
        note: String::new(),
        not_decidable: Vec::new(),
        blocks: Blocks { grid: "not decidable".into(), ..Blocks::default() },
        under_bf16: None,
        distribution: None,
        row_note: None,
        predicted: Vec::new(),
    };
    let Some(stored) = StoredPrecision::of_ggml_type(row.ty) else {
        row.note = format!("not decidable: {} is not looked at in this version", row.ty);
        let answers = schemes.iter().map(|_| Err(row.note.clone())).collect();
        return Ok((row, answers));
    };
    let n_per_row = tensor.n_per_row() as usize;
    let survey = match stored {
        // Values of two bytes are looked at where they lie.
        StoredPrecision::F16 => lineage::survey(Values::F16(held.bytes()), n_per_row),
        StoredPrecision::Bf16 => lineage::survey(Values::Bf16(held.bytes()), n_per_row),
        StoredPrecision::F32 | StoredPrecision::Quantized => {
            lineage::survey(Values::Restored(held.values(tensor, codec)?, stored), n_per_row)
        }
    };
    let (found, grid) = (&survey.census, &survey.search);
    row.fill(found);
    row.distribution = survey.distribution.map(|d| Spread::of(&d, found));
    match stored {
        StoredPrecision::Quantized => row.look_under(&lineage::under(row.ty, held.bytes()), grid),
        _ => row.add_grid(grid, found, survey.rows.note()),
    }
    if schemes.is_empty() {
        return Ok((row, Vec::new()));
    }
    let context = TensorContext { name: &tensor.name, n_per_row };
    let values = held.values(tensor, codec)?;
    let predict = |scheme| lineage::predict(scheme, values, &context, codec).map_err(|error| error.to_string());
    let answers = schemes.iter().map(predict).collect();
    Ok((row, answers))
}

impl Row {
    fn fill(&mut self, found: &TensorCensus) {
        self.effective = found.effective.to_string();
        self.transform = found.transform.map(Transform::from);
        self.grid = match found.effective {
            Effective::F32 => Some("F32"),
            Effective::Tf32 => Some("TF32"),
            Effective::F16 => Some("F16"),
            Effective::Bf16 | Effective::Transformed(_) => Some("BF16"),
            Effective::NotDecided => None,
        };
        self.on_grid = self.grid.map(|_| found.on_grid);
        self.evidence_bits = found.evidence_bits;
        self.coverage = Coverage { n: found.n, exact: found.exact };
        self.nonfinite = Some(found.nonfinite);
        self.note = found.note();
    }

    /// What the blocks of a float tensor lie on, and rows that are coarser than the tensor.
    fn add_grid(&mut self, grid: &Search, census: &TensorCensus, row_note: Option<String>) {
        self.blocks = Blocks::of(grid);
        self.not_decidable = undecided(census, grid).into_iter().map(Undecided::words).collect();
        if grid.is_found() {
            self.note = format!("stored {}, {}; as floats: {}", census.stored, grid.note(), self.note);
        }
        // Rows say nothing new where the whole tensor is on their grid.
        let effective_is_storage = matches!(
            (census.stored, census.effective),
            (StoredPrecision::F32, Effective::F32) | (StoredPrecision::F16, Effective::F16)
        );
        self.row_note = row_note.filter(|_| effective_is_storage);
        if let Some(note) = &self.row_note {
            self.note = format!("{}; {note}", self.note);
        }
    }

    /// What lies under the blocks of a quantized tensor.
    fn look_under(&mut self, under: &Under, grid: &Search) {
        self.blocks = Blocks::inside_storage(grid);
        self.under_bf16 = match under {
            Under::Bf16 { .. } => Some(true),
            Under::NotShown { .. } => Some(false),
            Under::NotDecidable(_) => None,
        };
        self.note = format!("stored {}, {}", self.ty, under.note());
        if self.blocks.requantized {
            self.note = format!("{}; {}", self.note, self.blocks.note);
        }
    }
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
            (None, _) => match row.under_bf16 {
                Some(true) => "a BF16 source under it".to_owned(),
                Some(false) => "no coarser source shown".to_owned(),
                None => "not decidable".to_owned(),
            },
            _ if row.blocks.bits.is_some() => format!("on a {} grid", row.blocks.grid),
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

impl Census {
    fn text(&self) -> String {
        let mut columns = vec![
            ("name", Align::Left),
            ("type", Align::Left),
            ("values", Align::Right),
            ("effective", Align::Left),
            ("evidence", Align::Right),
            ("on grid", Align::Right),
            ("block grid", Align::Left),
        ];
        columns.extend(self.predictions.iter().map(|p| (p.scheme.as_str(), Align::Right)));
        let rows = self.tensors.iter().map(|row| {
            let evidence =
                if row.evidence_bits > 0.0 { format!("{:.0} bits", row.evidence_bits) } else { "–".into() };
            let mut cells = vec![
                escape_terminal(&row.name),
                row.ty.to_owned(),
                thousands(row.n),
                row.effective.clone(),
                evidence,
                row.on_grid.map_or("–".into(), thousands),
                row.blocks.grid.clone(),
            ];
            cells.extend(self.predictions.iter().map(|prediction| {
                let found = row.predicted.iter().find(|predicted| predicted.scheme == prediction.scheme);
                found.map_or("refused".into(), |predicted| thousands(predicted.changed))
            }));
            cells
        });
        let mut out = table::render(&columns, rows);
        if !self.predictions.is_empty() {
            out.push_str("\nThe last columns predict how many values the scheme would change.\n");
        }

        if !self.verdict.is_empty() {
            out.push_str("\nverdict\n");
        }
        for line in &self.verdict {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {line}");
        }
        out.push_str("\nsummary\n");
        for line in &self.summary {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {line}");
        }
        for row in self.tensors.iter().filter(|row| row.nonfinite.is_some_and(|n| n > 0)) {
            let _ = writeln!(out, "  {}: {} non-finite values", escape_terminal(&row.name), row.nonfinite.unwrap_or(0));
        }
        if !self.skipped.is_empty() {
            let _ = writeln!(out, "  skipped: {} integer tensors, which hold no weights", self.skipped.len());
        }
        for prediction in &self.predictions {
            let _ = writeln!(out, "  {}", prediction.words());
        }
        out
    }
}

impl Prediction {
    fn words(&self) -> String {
        let is = match (self.noop, self.changed) {
            (true, _) => ": a no-op",
            (false, 0) => "",
            (false, _) => ": not a no-op",
        };
        let (changed, n) = (thousands(self.changed), thousands(self.n));
        let mut words = format!("{} on {}: would change {changed} of {n} values{is}", self.scheme, self.target);
        for (n, what) in [(self.overflowed, "overflow to infinity"), (self.zeroed, "are flushed to zero")] {
            if n > 0 {
                let _ = write!(words, "; {} {what}", thousands(n));
            }
        }
        if let Some(first) = self.refused.first() {
            let why = first.why.lines().next().unwrap_or_default();
            let _ = write!(words, "; {} tensors cannot be held in it ({})", self.refused.len(), escape_terminal(why));
        }
        words
    }
}
