//! Every cell as one row, at full precision, for pandas or polars. A metric is named as in the answers of commands; KLD and
//! Δ ln PPL are in nats a token, same top is a share of positions.

use crate::content::is_withheld;
use record::{Estimate, JudgedCell, Measured, ModelRecord, Predicted, Role, RunRecord};
use words::{escape_csv, exact};

const COLUMNS: [&str; 42] = [
    "model",
    "arm",
    "stage",
    "role",
    "seed",
    "target",
    "scheme",
    "layers",
    "withheld",
    "verdict",
    "why",
    "failure",
    "n_chunks",
    "n_tokens",
    "kld_mean",
    "kld_se",
    "kld_se_iid",
    "kld_median",
    "kld_p99",
    "kld_max",
    "same_top",
    "dlnppl",
    "dlnppl_se",
    "dlnppl_se_iid",
    "ppl",
    "ppl_ref",
    "logits_changed",
    "floor_target",
    "floor_kld_mean_max",
    "floor_ratio",
    "n_tensors",
    "predicted_n",
    "predicted_changed",
    "predicted_zero_sign",
    "predicted_overflowed",
    "predicted_zeroed",
    "predicted_saturated",
    "measured_changed",
    "measured_zero_sign",
    "measured_carrier_rounded",
    "measured_changed_bytes",
    "key",
];

/// The table with its header first and its lines ended by `\r\n`, as RFC 4180 has it.
///
/// No text is run as a formula by a spreadsheet. Numbers are plain, and non-finite ones are `NaN` and `inf`. In a
/// withheld run the cells that answer the question keep their rows and lose their numbers.
pub fn render(record: &RunRecord) -> String {
    let withheld = is_withheld(record);
    let mut out = COLUMNS.join(",");
    out.push_str("\r\n");
    for model in &record.models {
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
        if withheld { String::new() } else { escape_csv(&judged.why) },
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
        predicted(|p| Some(p.overflowed)),
        predicted(|p| Some(p.zeroed)),
        predicted(|p| p.saturated),
    ]);
    let sum = |of: fn(&record::TensorEvidence) -> u64| {
        if withheld || evidence.tensors.is_empty() {
            String::new()
        } else {
            evidence.tensors.iter().map(of).sum::<u64>().to_string()
        }
    };
    row.extend([sum(|t| t.changed), sum(|t| t.zero_sign), sum(|t| t.carrier_rounded), sum(|t| t.changed_bytes)]);
    row.push(escape_csv(&cell.key));
    row
}

fn measured(measured: Option<&Measured>) -> Vec<String> {
    let Some(m) = measured else {
        return vec![String::new(); 15];
    };
    let estimate = |e: Estimate| [exact(e.mean), e.se.map_or(String::new(), exact), exact(e.se_iid)];
    let mut row = vec![m.n_chunks.to_string(), m.n_tokens.to_string()];
    row.extend(estimate(m.kld));
    row.extend([m.kld_median, m.kld_p99, m.kld_max, m.same_top].map(exact));
    row.extend(estimate(m.dlnppl));
    row.extend([m.ppl, m.ppl_ref].map(exact));
    row.push(m.logits_changed.to_string());
    row
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
