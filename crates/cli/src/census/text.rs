//! A census as text: a table of tensors, then what they say together.

use crate::ask;
use crate::table::{self, Align};
use record::Predicted;
use record::answer::{CensusAnswer, CensusPrediction, CensusSpread, CensusTensor};
use words::{Lines, count, escape_terminal, evidence_bits, exact_f32, number, of, plural, share};

/// The reasons for refusals that are written out.
const REASONS: usize = 4;

/// The whole census; `verbose` adds how the values of each tensor are spread, and its note.
pub(super) fn text(census: &CensusAnswer, verbose: bool) -> String {
    let reasons = Reasons::of(&census.tensors);
    let mut out = Lines::new();
    out.text(&table(census, &reasons));
    let mut part = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            out.line(format_args!("\n{title}"));
            lines.iter().for_each(|line| out.line(format_args!("  {line}")));
        }
    };
    part("not decidable", reasons.lines());
    if verbose {
        part("values", spread(&census.tensors).lines().map(str::to_owned).collect());
        let note = |row: &CensusTensor| format!("{}: {}", escape_terminal(&row.name), escape_terminal(&row.note));
        part("notes", census.tensors.iter().map(note).collect());
    }
    part("verdict", census.verdict.clone());
    let mut summary = census.summary.clone();
    summary.extend(census.tensors.iter().filter_map(|row| {
        let n = row.nonfinite.filter(|n| *n > 0)?;
        Some(format!("{}: {}", escape_terminal(&row.name), plural(n, "non-finite value")))
    }));
    summary.extend(census.tensors.iter().filter_map(degenerate));
    let with_factors: Vec<&str> = census
        .tensors
        .iter()
        .filter(|row| !has_refused_factors(row))
        .filter_map(|row| row.factors.as_deref())
        .collect();
    if let Some(first) = with_factors.first() {
        summary.push(format!(
            "{} with factors in a tensor of their own, such as {}: predictions and the spread of values are of the \
             products, precision and grids of the stored values",
            plural(with_factors.len(), "weight"),
            escape_terminal(first)
        ));
    }
    if !census.skipped.is_empty() {
        summary.push(format!(
            "skipped: {} of integers or f64, which hold no weights",
            plural(census.skipped.len(), "tensor")
        ));
    }
    part("summary", summary);
    let mut predictions: Vec<String> = census.predictions.iter().flat_map(prediction_lines).collect();
    predictions.extend(ask::fallbacks(&census.fallbacks));
    part("prediction", predictions);
    out.into_string()
}

/// Whether a weight has factors that are refused, so that its values are not known.
fn has_refused_factors(row: &CensusTensor) -> bool {
    row.not_decidable.iter().any(|why| why.starts_with(files::census::VALUES_OF_THE_WEIGHT))
}

fn table(census: &CensusAnswer, reasons: &Reasons<'_>) -> String {
    let mut columns = vec![
        ("name", Align::Left),
        ("type", Align::Left),
        ("values", Align::Right),
        ("effective", Align::Left),
        ("evidence", Align::Right),
        ("on grid", Align::Right),
        ("block grid", Align::Left),
        ("not decidable", Align::Left),
    ];
    let changed: Vec<String> = census.predictions.iter().map(|p| format!("{} changes", p.scheme)).collect();
    columns.extend(changed.iter().map(|head| (head.as_str(), Align::Right)));
    let rows = census.tensors.iter().map(|row| {
        let evidence = match row.evidence_bits > 0.0 {
            true => format!("{} bits", evidence_bits(row.evidence_bits)),
            false => "–".into(),
        };
        let mut cells = vec![
            escape_terminal(&row.name),
            row.ty.clone(),
            count(row.n),
            really(row),
            evidence,
            row.on_grid.map_or("–".into(), count),
            row.blocks.grid.clone(),
            reasons.marks(row),
        ];
        cells.extend(census.predictions.iter().map(|prediction| {
            let found = row.predicted.iter().find(|predicted| predicted.scheme == prediction.scheme);
            found.map_or("refused".into(), |predicted| count(predicted.changed))
        }));
        cells
    });
    table::render(&columns, rows)
}

/// The precision or grid of a tensor's values, in a word or two.
fn really(row: &CensusTensor) -> String {
    match (&row.grid, row.under_bf16) {
        (Some(_), _) => row.effective.clone(),
        (None, Some(true)) => "BF16 under it".into(),
        (None, Some(false)) => "none coarser shown".into(),
        (None, None) => "not decidable".into(),
    }
}

/// What a scheme would change: one line about all values, one for each kind of values, and one about what was refused.
fn prediction_lines(prediction: &CensusPrediction) -> Vec<String> {
    let (scheme, counts) = (&prediction.scheme, &prediction.counts);
    let is = match (prediction.noop, counts.changed) {
        (true, _) => ": a no-op",
        (false, 0) => "",
        (false, _) => ": not a no-op",
    };
    let changed = of(counts.changed, counts.n);
    let signs = ask::signs((counts.zero_sign, counts.minus_zero));
    let mut lines = vec![format!("{scheme} on {}: would change {changed} values{signs}{is}", prediction.target)];
    lines.extend(prediction.from.iter().map(|one| {
        let tensors = plural(one.n_tensors, "tensor");
        format!("  {} → {scheme} ({tensors}): {}", one.from, changes(&one.counts))
    }));
    // The reasons are in the order of the first tensors that have them.
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for refused in &prediction.refused {
        let of_all = refused.why.strip_prefix(&format!("tensor \"{}\": ", escape_terminal(&refused.name)));
        let why = of_all.unwrap_or(&refused.why);
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, n)) => *n += 1,
            None => reasons.push((why, 1)),
        }
    }
    lines.extend(reasons.iter().take(REASONS).map(|(why, n)| {
        let tensors = plural(*n, "tensor");
        format!("  {tensors} cannot be quantized in it ({})", escape_terminal(why))
    }));
    if let Some(more) = reasons.len().checked_sub(REASONS).filter(|more| *more > 0) {
        lines.push(format!("  and more for {}; --json lists all", plural(more, "other reason")));
    }
    lines
}

fn changes(counts: &Predicted) -> String {
    let Predicted { n, changed, zero_sign, minus_zero, overflowed, zeroed, unzeroed, saturated, .. } = counts;
    let clamped = saturated.map_or("ggml does not say how many are clamped to the largest value".into(), |saturated| {
        format!("{} clamped to the largest value", count(saturated))
    });
    format!(
        "{} change{}; {} overflow to infinity, {} flushed to zero, {}{clamped}",
        of(*changed, *n),
        ask::signs((*zero_sign, *minus_zero)),
        count(*overflowed),
        count(*zeroed),
        if *unzeroed > 0 { format!("{} zeros become nonzero, ", count(*unzeroed)) } else { String::new() }
    )
}

/// The reasons why things are not decidable, each once. A letter marks them in the table.
struct Reasons<'a>(Vec<(&'a str, usize)>);

impl<'a> Reasons<'a> {
    fn of(rows: &'a [CensusTensor]) -> Self {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for why in rows.iter().flat_map(|row| &row.not_decidable) {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, n)) => *n += 1,
                None => reasons.push((why, 1)),
            }
        }
        Reasons(reasons)
    }

    /// The letters of a tensor's reasons, such as `a, c`. The text is empty when there are none.
    fn marks(&self, row: &CensusTensor) -> String {
        let of = |why: &String| self.0.iter().position(|(known, _)| known == why).map(mark);
        row.not_decidable.iter().filter_map(of).collect::<Vec<String>>().join(", ")
    }

    fn lines(&self) -> Vec<String> {
        let line = |(i, (why, n)): (usize, &(&str, usize))| format!("{}  {why} ({})", mark(i), plural(*n, "tensor"));
        self.0.iter().enumerate().map(line).collect()
    }
}

/// The mark of reason `i`: a, b, … z, then 27, 28 …
fn mark(i: usize) -> String {
    u8::try_from(i).ok().filter(|i| *i < 26).map_or_else(|| (i + 1).to_string(), |i| char::from(b'a' + i).to_string())
}

/// How the values of each tensor are distributed.
fn spread(rows: &[CensusTensor]) -> String {
    let columns = [
        ("name", Align::Left),
        ("min", Align::Right),
        ("max", Align::Right),
        ("mean", Align::Right),
        ("std", Align::Right),
        ("kurtosis", Align::Right),
        ("outliers", Align::Right),
        ("zeros", Align::Right),
        ("non-finite", Align::Right),
        ("rows", Align::Right),
        ("zero rows", Align::Right),
        ("duplicate rows", Align::Right),
    ];
    let cells = rows.iter().map(|row| {
        let of = |what: fn(&CensusSpread) -> String| row.distribution.as_ref().map_or("–".into(), what);
        vec![
            escape_terminal(&row.name),
            of(|d| number(f64::from(d.min), 4)),
            of(|d| number(f64::from(d.max), 4)),
            of(|d| number(d.mean, 3)),
            of(|d| number(d.std, 4)),
            of(|d| number(d.kurtosis, 3)),
            of(|d| share(d.outlier_share)),
            of(|d| count(d.zeros)),
            row.nonfinite.map_or("–".into(), count),
            of(|d| count(d.rows)),
            of(|d| count(d.zero_rows)),
            of(|d| count(d.duplicate_rows)),
        ]
    });
    table::render(&columns, cells)
}

/// A note about a tensor that carries less information than its size suggests. `None` for other tensors.
fn degenerate(row: &CensusTensor) -> Option<String> {
    let spread = row.distribution.as_ref()?;
    let mut said = Vec::new();
    match (spread.constant, spread.zeros == row.n) {
        (_, true) => said.push("every value is zero".to_owned()),
        (true, false) => {
            let value = exact_f32(spread.min);
            said.push(match &row.factors {
                Some(factors) => {
                    format!("all values are equal ({value}, the product with {})", escape_terminal(factors))
                }
                None => format!("all values are equal ({value})"),
            });
        }
        (false, false) => {
            let of =
                |n: u64, what: &str| (n > 0).then(|| format!("{} of {} rows {what}", count(n), count(spread.rows)));
            said.extend(of(spread.zero_rows, "are zeros alone"));
            said.extend(of(spread.duplicate_rows, "have the bits of an earlier one"));
        }
    }
    (!said.is_empty() && row.n > 1).then(|| format!("{}: {}", escape_terminal(&row.name), said.join(", ")))
}
