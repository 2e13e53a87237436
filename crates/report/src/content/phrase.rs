//! The phrases for what is enumerated and measured.

use record::MetricValues;
use record::metric::{Direction, How, Metric, MetricUnit, Of, Sum};
use record::{Arm, Carrier};
use record::{CellExtent, CellRecord, Estimate, EvidenceChain, Floor, Measured, Predicted, Role};
use words::{bits, count, divergence, perplexity, perplexity_ratio, plus_minus, share, standard_error, times};

/// What an arm is, in one sentence.
pub(super) fn arm_explained(arm: Arm) -> &'static str {
    match arm {
        Arm::Exact => {
            "Every quantized or half-precision weight is stored in F32, so no kernel rounds activations to match a weight: this is the effect of the scheme."
        }
        Arm::Native => {
            "The model as shipped, only the targets changed: this is what the runtime makes of it, its own rounding included."
        }
    }
}

/// What a cell is, for the first column of a table.
pub(super) fn cell(cell: &CellRecord) -> String {
    match cell.role {
        Role::Variant if cell.extent() == CellExtent::Part => format!("variant, {} alone", cell.target),
        Role::Variant => "variant".into(),
        Role::AA => "A/A: reference once more".into(),
        Role::Identity => match cell.edits.first().map(|edit| edit.carrier) {
            Some(Carrier::Keep) => "identity write-back (stored type)".into(),
            _ => "identity write-back (F32)".into(),
        },
        Role::Jitter { seed } => format!("jitter, seed {seed}"),
        Role::Positive => "positive control".into(),
        Role::CarrierControl => "carrier control: stored type → F32".into(),
    }
}

/// The mean KLD without its error. A zero says whether it is zero because nothing moved.
pub(super) fn kld_mean(m: &Measured) -> String {
    if m.kld().mean == 0.0 {
        return if m.logits_changed() == 0 { "0 (bit-identical)".into() } else { "0 (logits differ)".into() };
    }
    divergence(m.kld().mean)
}

/// The mean KLD with its standard error clustered by window, where there is one.
pub(super) fn kld(m: &Measured) -> String {
    let mean = kld_mean(m);
    if m.kld().mean == 0.0 { mean } else { mean + &plus_minus(m.kld().se) }
}

/// A difference with its standard error clustered by window, where there is one.
pub(super) fn difference(e: Estimate) -> String {
    // Equal in every window: an error of zero says nothing more.
    let se = e.se.filter(|se| e.mean != 0.0 || *se != 0.0);
    words::difference(e.mean) + &plus_minus(se)
}

/// The share of scored positions with the same most probable token.
pub(super) fn same_top(m: &Measured) -> String {
    share(m.same_top())
}

/// A number of a metric in the digits of its unit; the headline has its standard error by window, where there is one.
pub(super) fn number(metric: &Metric, sum: &Sum, values: &MetricValues) -> Option<String> {
    let value = values.get(sum.key)?;
    let number = match metric.unit {
        MetricUnit::Positions => count(value as u64),
        MetricUnit::Share if metric.direction == Direction::Zero => divergence(value),
        MetricUnit::Share => share(value),
        MetricUnit::Perplexity => perplexity(value),
        MetricUnit::Ratio => perplexity_ratio(value),
        MetricUnit::BitsPerByte => bits(value),
        // A divergence is never negative, a difference has its sign.
        MetricUnit::Nats if matches!(metric.of, Of::Difference(_)) => words::difference(value),
        MetricUnit::Nats if metric.direction == Direction::Zero => divergence(value),
        MetricUnit::Nats => perplexity(value),
    };
    let by_window = metric.sums.iter().find(|sum| matches!(sum.how, How::Se | How::ExpSe));
    let is_headline = sum.key == metric.sums[0].key;
    // Equal in every window: an error of zero says nothing more.
    let se = by_window.filter(|_| is_headline).and_then(|sum| values.get(sum.key)).filter(|se| *se != 0.0);
    let error = match metric.unit {
        MetricUnit::Share if metric.direction != Direction::Zero => {
            se.map_or(String::new(), |se| format!(" ± {} %", standard_error(100.0 * se)))
        }
        _ => plus_minus(se),
    };
    Some(number + &error)
}

/// The effect of a cell as a multiple of its floor.
pub(super) fn floor_ratio(floor: Option<&Floor>) -> String {
    match floor {
        None => "–".into(),
        Some(Floor { ratio: Some(ratio), .. }) => times(*ratio),
        Some(Floor { ratio: None, .. }) => "floor is 0".into(),
    }
}

/// What stands in place of a prediction for activations, since their values do not exist beforehand.
pub(super) const NOT_KNOWN: &str = "not known beforehand";

/// The values that were predicted to change, of all. For activations there is no prediction.
pub(super) fn predicted(evidence: &EvidenceChain) -> String {
    let of = |predicted: &Predicted| words::of(predicted.changed, predicted.n);
    evidence.predicted.as_ref().map_or(NOT_KNOWN.into(), of)
}

/// A part of some tensors: `2 of 3 tensors`, `1 of 1 tensor`.
pub(super) fn of_tensors(part: u64, whole: u64) -> String {
    format!("{} of {}", words::count(part), words::plural(whole, "tensor"))
}

/// Items by the layer in their GGUF tensor name, then in the order given. Files often list layer 10 before layer 2.
pub(super) fn by_layer<T>(items: &[T], name: impl Fn(&T) -> &str) -> Vec<&T> {
    let layer = |item: &T| name(item).strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_by_key(|item| layer(item));
    sorted
}
