//! What a cell's evidence amounts to (DESIGN §9). Pure functions of the record.
//!
//! The chain is walked from request to logits. A link that contradicts another makes the cell `BROKEN`, whatever
//! the metric says; only a chain that holds is classified.

use crate::phrase::{count, nats, share};
use crate::record::{CellRecord, EvidenceChain, Floor, Measured, Role, Verdict};

/// A native or exact effect below this multiple of the largest jitter seed is not told apart from it (DESIGN §6).
pub const FLOOR_FACTOR: f64 = 2.0;

/// Sums over the tensors of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub n: u64,
    pub changed: u64,
    pub zero_sign: u64,
    pub carrier_rounded: u64,
    pub changed_bytes: u64,
    pub unused: usize,
}

impl Found {
    pub(crate) fn of(chain: &EvidenceChain) -> Found {
        let mut found = Found::default();
        for tensor in &chain.tensors {
            found.n += tensor.n;
            found.changed += tensor.changed;
            found.zero_sign += tensor.zero_sign;
            found.carrier_rounded += tensor.carrier_rounded;
            found.changed_bytes += tensor.changed_bytes;
            found.unused += usize::from(tensor.consumers == 0);
        }
        found
    }
}

/// The first link of the chain that contradicts another, in words; `None` when the chain holds.
pub fn contradiction(cell: &CellRecord) -> Option<String> {
    let chain = &cell.evidence;
    let found = Found::of(chain);
    if chain.tensors.len() != cell.edits.len() {
        return Some(format!("{} edits were asked for and {} were reported", cell.edits.len(), chain.tensors.len()));
    }
    if let Some((edit, tensor)) =
        cell.edits.iter().zip(&chain.tensors).find(|(edit, tensor)| edit.tensor != tensor.tensor)
    {
        return Some(format!("tensor {} was asked for and {} was reported", edit.tensor, tensor.tensor));
    }
    if let Some(tensor) = chain.tensors.iter().find(|tensor| !tensor.read_back) {
        return Some(format!("what was read back of {} is not what was written", tensor.tensor));
    }
    let predicted = &chain.predicted;
    if (found.changed, found.zero_sign) != (predicted.changed, predicted.zero_sign) {
        return Some(format!(
            "{} values were predicted to change ({} from −0 to +0) and {} did ({})",
            count(predicted.changed),
            count(predicted.zero_sign),
            count(found.changed),
            count(found.zero_sign)
        ));
    }
    if found.n != predicted.n {
        return Some(format!("the file has {} values and the engine {}", count(predicted.n), count(found.n)));
    }
    let asked = found.changed + found.zero_sign;
    if asked == 0 && found.carrier_rounded == 0 && found.changed_bytes > 0 {
        return Some(format!("no value changes, yet {} bytes in the engine do", count(found.changed_bytes)));
    }
    if asked > 0 && found.carrier_rounded == 0 && found.changed_bytes == 0 {
        return Some(format!("{} values change, yet no byte in the engine does", count(asked)));
    }
    let activations = chain.activations.as_ref().map_or(0, |activations| activations.changed);
    // Another type brings other kernels, which move logits though every value stays: that is the carrier control.
    let is_retyped = chain.tensors.iter().any(|tensor| tensor.type_base != tensor.type_variant);
    if found.changed_bytes == 0 && !is_retyped && (activations > 0 || chain.logits_changed > 0) {
        return Some(format!(
            "no byte changes, yet {activations} activations and the logits of {} of {} positions do",
            count(chain.logits_changed as u64),
            count(chain.n_scored as u64)
        ));
    }
    if found.unused == chain.tensors.len() && chain.logits_changed > 0 {
        return Some("the graph uses none of the tensors, yet logits differ".into());
    }
    if let Some(activations) = &chain.activations
        && activations.watched > 0
        && activations.changed == 0
        && chain.logits_changed > 0
    {
        return Some("no activation behind the tensors changes, yet logits differ".into());
    }
    if let Some(measured) = &cell.measured
        && chain.logits_changed == 0
        && (measured.kld_max != 0.0 || measured.dlnppl.mean != 0.0)
    {
        return Some("all logits are bit-identical, yet a metric is not zero".into());
    }
    None
}

/// Classifies a cell, with the reason in one sentence.
///
/// `floor` is `None` for controls; one of another target than the cell's is said to be borrowed.
pub fn judge(cell: &CellRecord, floor: Option<&Floor>) -> (Verdict, String) {
    if let Some(failure) = &cell.failure {
        return (Verdict::Broken, format!("not measured: {failure}"));
    }
    let Some(measured) = &cell.measured else { return (Verdict::Broken, "not measured".into()) };
    if let Some(link) = contradiction(cell) {
        return (Verdict::Broken, format!("the chain of evidence does not hold: {link}"));
    }
    let chain = &cell.evidence;
    let found = Found::of(chain);
    let tensors = count(chain.tensors.len() as u64);
    let zero_sign = match found.zero_sign {
        0 => String::new(),
        n => format!(" ({} from −0 to +0)", count(n)),
    };

    if chain.logits_changed == 0 && found.changed == 0 && found.carrier_rounded == 0 {
        let why = if chain.tensors.is_empty() {
            "nothing was edited and the logits are bit-identical".to_string()
        } else if found.zero_sign > 0 {
            format!("no value of {} changes but the sign of zeros{zero_sign}; logits are bit-identical", count(found.n))
        } else {
            format!(
                "all {} values of {tensors} tensors are on the grid of {} already: no byte changes, the logits of all {} \
                 positions are bit-identical",
                count(found.n),
                cell.scheme,
                count(chain.n_scored as u64)
            )
        };
        return (Verdict::NoOp, why);
    }
    if !chain.tensors.is_empty() && found.unused == chain.tensors.len() {
        return (Verdict::Dead, format!("the graph uses none of the {tensors} tensors, so their values do not matter"));
    }
    if found.carrier_rounded > 0 {
        let why = format!(
            "the carrier rounded {} of {} values away from what {} asked for: what was measured is not the scheme",
            count(found.carrier_rounded),
            count(found.n),
            cell.scheme
        );
        return (Verdict::Substituted, why);
    }
    let changes = format!("{} of {} values change{zero_sign}", count(found.changed), count(found.n));
    match (cell.role, floor) {
        (Role::Variant, Some(floor)) => against_floor(cell, measured, floor, &changes),
        (Role::Variant, None) => (Verdict::Broken, "its perturbation floor was not measured".into()),
        _ => (Verdict::Real, format!("{changes}; {}", effect(measured))),
    }
}

fn against_floor(cell: &CellRecord, measured: &Measured, floor: &Floor, changes: &str) -> (Verdict, String) {
    let kld = measured.kld.mean;
    let borrowed = floor.target != cell.target;
    let caveat = if borrowed {
        format!("; its own floor was not measured, this is the floor of {}, an upper bound in practice", floor.target)
    } else {
        String::new()
    };
    if cell.evidence.logits_changed == 0 {
        return (Verdict::BelowFloor, format!("{changes}, and no logit differs in any bit"));
    }
    match floor.ratio {
        Some(ratio) if kld < FLOOR_FACTOR * floor.kld_mean_max => {
            let why = format!(
                "{changes}; KLD {} is {} the largest jitter seed ({}): not distinguishable from moving {} by one ulp{caveat}",
                nats(kld),
                times(ratio),
                nats(floor.kld_mean_max),
                if borrowed { "the whole target" } else { "the same weights" },
            );
            (Verdict::BelowFloor, why)
        }
        Some(ratio) => {
            let why = format!(
                "{changes}; {}, {} the largest jitter seed ({}){caveat}",
                effect(measured),
                times(ratio),
                nats(floor.kld_mean_max)
            );
            (Verdict::Real, why)
        }
        None if kld > 0.0 => (
            Verdict::Real,
            format!("{changes}; {}, and moving the target by one ulp changes nothing{caveat}", effect(measured)),
        ),
        None => (Verdict::BelowFloor, format!("{changes}; KLD is 0, and so is the floor{caveat}")),
    }
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1} ×") } else { format!("{} ×", count(ratio.round() as u64)) }
}

/// KLD with its error where there is one, and the share of equal top tokens.
pub(crate) fn effect(measured: &Measured) -> String {
    let kld = match measured.kld.se {
        Some(se) => format!(
            "{} ± {} nats",
            nats(measured.kld.mean).trim_end_matches(" nats"),
            nats(se).trim_end_matches(" nats")
        ),
        None => nats(measured.kld.mean),
    };
    format!("KLD {kld}, same top {}", share(measured.same_top))
}
