//! Every cell as one row, at full precision, for pandas or polars. The columns of metrics are the keys of
//! [`METRICS`](record::METRICS), as in the answers of commands.

use record::metric::{How, Sum, sums};
use record::{JudgedCell, Measured, ModelRecord, Predicted, Role, RunRecord};
use words::{escape_csv, exact};

/// The columns in front of the metrics.
const BEFORE: [&str; 14] = [
    "model", "arm", "stage", "role", "seed", "target", "scheme", "layers", "withheld", "verdict", "why", "failure",
    "n_chunks", "n_tokens",
];

/// The columns behind the metrics.
const AFTER: [&str; 18] = [
    "floor_target",
    "floor_kld_mean_max",
    "floor_ratio",
    "n_tensors",
    "predicted_n",
    "predicted_changed",
    "predicted_zero_sign",
    "predicted_minus_zero",
    "predicted_overflowed",
    "predicted_zeroed",
    "predicted_unzeroed",
    "predicted_saturated",
    "measured_changed",
    "measured_zero_sign",
    "measured_minus_zero",
    "measured_carrier_rounded",
    "measured_changed_bytes",
    "key",
];

/// The table with its header first and its lines ended by `\r\n`, as RFC 4180 has it.
///
/// No text is run as a formula by a spreadsheet. Numbers are plain, and non-finite ones are `NaN` and `inf`. The cells that
/// answer the question for a model whose results are withheld keep their rows and lose their numbers.
pub fn render(record: &RunRecord) -> String {
    let metrics = sums().map(|(_, sum)| sum.key);
    let columns: Vec<&str> = BEFORE.into_iter().chain(metrics).chain(AFTER).collect();
    let mut out = columns.join(",");
    out.push_str("\r\n");
    for model in &record.models {
        let withheld = record.withholds(model);
        for judged in &model.cells {
            out.push_str(&row(model, judged, withheld && judged.cell.role == Role::Variant).join(","));
            out.push_str("\r\n");
        }
    }
    out
}

fn row(model: &ModelRecord, judged: &JudgedCell, withheld: bool) -> Vec<String> {
    let cell = &judged.cell;
    let layers: Vec<String> = cell.layers.iter().map(u32::to_string).collect();
    let mut row = vec![
        escape_csv(&model.name),
        cell.arm.name().into(),
        cell.stage.to_string(),
        role(cell.role).into(),
        if let Role::Jitter { seed } = cell.role { seed.to_string() } else { String::new() },
        escape_csv(&cell.target),
        escape_csv(&cell.scheme),
        layers.join(" "),
        withheld.to_string(),
        if withheld { String::new() } else { judged.verdict.name().into() },
        if withheld { String::new() } else { escape_csv(&judged.why.to_string()) },
        escape_csv(cell.failure.as_deref().unwrap_or_default()),
    ];
    row.extend(measured(cell.measured.as_ref().filter(|_| !withheld)));
    let floor = judged.floor.as_ref().filter(|_| !withheld);
    row.extend([
        floor.map_or(String::new(), |f| escape_csv(&f.target)),
        floor.map_or(String::new(), |f| exact(f.kld_mean_max)),
        floor.and_then(|f| f.ratio).map_or(String::new(), exact),
    ]);
    let evidence = &cell.evidence;
    row.push(evidence.matched.to_string());
    let predicted = |of: fn(&Predicted) -> Option<u64>| {
        evidence.predicted.as_ref().and_then(of).map_or(String::new(), |n| n.to_string())
    };
    row.extend([
        predicted(|p| Some(p.n)),
        predicted(|p| Some(p.changed)),
        predicted(|p| Some(p.zero_sign)),
        predicted(|p| Some(p.minus_zero)),
        predicted(|p| Some(p.overflowed)),
        predicted(|p| Some(p.zeroed)),
        predicted(|p| Some(p.unzeroed)),
        predicted(|p| p.saturated),
    ]);
    let sum = |of: fn(&record::TensorEvidence) -> u64| {
        if withheld || evidence.tensors.is_empty() {
            String::new()
        } else {
            evidence.tensors.iter().map(of).sum::<u64>().to_string()
        }
    };
    row.extend([
        sum(|t| t.changed),
        sum(|t| t.zero_sign),
        sum(|t| t.minus_zero),
        sum(|t| t.carrier_rounded),
        sum(|t| t.changed_bytes),
    ]);
    row.push(escape_csv(&cell.key));
    row
}

/// The columns `n_chunks` and `n_tokens`, and one for each number of the table of metrics.
fn measured(measured: Option<&Measured>) -> Vec<String> {
    let of = |number: fn(&Measured) -> usize| measured.map_or(String::new(), |m| number(m).to_string());
    let number = |sum: &Sum| match measured.and_then(|m| m.values().get(sum.key)) {
        Some(value) if sum.how == How::Count => (value as u64).to_string(),
        Some(value) => exact(value),
        None => String::new(),
    };
    let metrics = sums().map(|(_, sum)| number(sum));
    [of(|m| m.n_chunks), of(|m| m.n_tokens)].into_iter().chain(metrics).collect()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Variant => "variant",
        Role::AA => "aa",
        Role::Identity => "identity",
        Role::Jitter { .. } => "jitter",
        Role::Positive => "positive",
        Role::CarrierControl => "carrier_control",
    }
}
