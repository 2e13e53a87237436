//! The sentences of verdicts, controls, gates and notes. They are not stored.

mod note;

use crate::cell::{JudgedCell, Role, Verdict};
use crate::edit::Arm;
use crate::reason::{
    BrokenLink, Changes, ControlOutcome, EffectFacts, FaultFound, FloorFacts, Found, Reason, SeedFound, TargetValues,
    Wanted,
};
use crate::run::{ArmVerdict, CensusRow, ControlRecord, ModelRecord, Question};
use crate::stage::CellExtent;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use words::{count, divergence, first_line, nats, plural, share, times};

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotMeasured { failure: None } => f.write_str("not measured"),
            Reason::NotMeasured { failure: Some(failure) } => write!(f, "not measured: {}", first_line(failure)),
            Reason::Withheld { control, outcome } => {
                write!(f, "withheld, because the control {control:?} {}", outcome.name())
            }
            Reason::ChainBroken { link } => write!(f, "the chain of evidence does not hold: {link}"),
            Reason::NothingEdited { n_scored } => write!(f, "nothing was edited and {}", same_logits(*n_scored)),
            Reason::SignOfZeros { n, zero_sign, minus_zero, n_scored } => write!(
                f,
                "no value of {} changes but the sign of zeros ({}); {}",
                count(*n),
                signs_of_zeros(*zero_sign, *minus_zero),
                same_logits(*n_scored)
            ),
            Reason::WrittenBack { n, subject, n_scored } => {
                let (n, of_window, same) = (count(*n), subject.of_window(), same_logits(*n_scored));
                write!(f, "{n} values{of_window} written back: no byte changes, {same}")
            }
            Reason::OnGrid { n, n_targets, subject, scheme, n_scored } => {
                let (n, targets, of_window) = (count(*n), subject.targets(*n_targets), subject.of_window());
                let same = same_logits(*n_scored);
                write!(
                    f,
                    "all {n} values of {targets}{of_window} are on the grid of {scheme} already: no byte changes, {same}"
                )
            }
            Reason::Unused { n_targets, subject } => {
                write!(f, "the graph uses none of the {}, so their values do not matter", subject.targets(*n_targets))
            }
            Reason::CarrierRounded { carrier_rounded, n, scheme } => write!(
                f,
                "the carrier rounded {} of {} values away from what {scheme} asked for: what was measured is not the scheme",
                count(*carrier_rounded),
                count(*n)
            ),
            Reason::NoFloor => f.write_str("its perturbation floor was not measured"),
            Reason::NoLogitDiffers { changes } => write!(f, "{changes}, and no logit differs in any bit"),
            Reason::NearFloor { changes, kld_mean, floor } => {
                let values = match (&floor.borrowed_from, changes.subject) {
                    (Some(_), _) => "the whole target",
                    (None, TargetValues::Activations) => "the same values",
                    (None, TargetValues::Weights) => "the same weights",
                };
                write!(
                    f,
                    "{changes}; KLD {} is {} the largest jitter seed ({}): not distinguishable from moving {values} by one ulp{}",
                    nats(*kld_mean),
                    floor.ratio.map_or("above".into(), times),
                    nats(floor.kld_mean_max),
                    floor.caveat()
                )
            }
            Reason::ZeroLikeFloor { changes, floor } => {
                write!(f, "{changes}; KLD is 0, and so is the floor{}", floor.caveat())
            }
            Reason::AboveFloor { changes, effect, floor } => match floor.ratio {
                Some(ratio) => write!(
                    f,
                    "{changes}; {effect}, {} the largest jitter seed ({}){}",
                    times(ratio),
                    nats(floor.kld_mean_max),
                    floor.caveat()
                ),
                None => {
                    write!(f, "{changes}; {effect}, and moving the target by one ulp changes nothing{}", floor.caveat())
                }
            },
            Reason::Seen { changes, effect } => write!(f, "{changes}; {effect}"),
            Reason::Stated { sentence } => f.write_str(sentence),
        }
    }
}

fn same_logits(n_scored: u64) -> String {
    format!("the logits of all {} positions are bit-identical", count(n_scored))
}

impl TargetValues {
    fn of_window(self) -> &'static str {
        match self {
            TargetValues::Weights => "",
            TargetValues::Activations => " of activations",
        }
    }

    fn targets(self, n: usize) -> String {
        match self {
            TargetValues::Weights => plural(n, "tensor"),
            TargetValues::Activations => plural(n, "graph node"),
        }
    }
}

/// How many zeros change their sign, in the directions that occur: `3 from −0 to +0`.
pub fn signs_of_zeros(zero_sign: u64, minus_zero: u64) -> String {
    let (to_plus, to_minus) = (count(zero_sign), count(minus_zero));
    match (zero_sign, minus_zero) {
        (_, 0) => format!("{to_plus} from −0 to +0"),
        (0, _) => format!("{to_minus} from +0 to −0"),
        _ => format!("{to_plus} from −0 to +0, {to_minus} from +0 to −0"),
    }
}

impl Display for Changes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let of_window = self.subject.of_window();
        write!(f, "{} of {} values{of_window} change", count(self.changed), count(self.n))?;
        match (self.zero_sign, self.minus_zero) {
            (0, 0) => Ok(()),
            (zero_sign, minus_zero) => write!(f, " ({})", signs_of_zeros(zero_sign, minus_zero)),
        }
    }
}

impl Display for EffectFacts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kld = match self.kld_se {
            Some(se) => format!("{} ± {} nats", divergence(self.kld_mean), divergence(se)),
            None => nats(self.kld_mean),
        };
        write!(f, "KLD {kld}, same top {}", share(self.same_top))
    }
}

impl FloorFacts {
    fn caveat(&self) -> String {
        self.borrowed_from.as_ref().map_or_else(String::new, |target| {
            format!("; its own floor was not measured, this is the floor of {target}, an upper bound in practice")
        })
    }
}

/// `do` with a number of things as its subject.
fn does(n: u64) -> &'static str {
    if n == 1 { "does" } else { "do" }
}

/// `change` with a number of things as its subject.
fn changes(n: u64) -> &'static str {
    if n == 1 { "changes" } else { "change" }
}

impl Display for BrokenLink {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            BrokenLink::Reported { asked, reported } => {
                write!(f, "{} asked for, {} reported", plural(asked, "edit"), count(*reported as u64))
            }
            BrokenLink::OtherTensor { asked, reported } => {
                write!(f, "tensor {asked} was asked for and {reported} was reported")
            }
            BrokenLink::ReadBack { tensor } => write!(f, "what was read back of {tensor} is not what was written"),
            BrokenLink::Prediction {
                predicted,
                predicted_zero_sign,
                predicted_minus_zero,
                changed,
                zero_sign,
                minus_zero,
            } => write!(
                f,
                "{} values were predicted to change ({}) and {} did ({})",
                count(*predicted),
                signs_of_zeros(*predicted_zero_sign, *predicted_minus_zero),
                count(*changed),
                match (predicted_minus_zero, minus_zero) {
                    (0, 0) => count(*zero_sign),
                    _ => signs_of_zeros(*zero_sign, *minus_zero),
                }
            ),
            BrokenLink::Size { file, engine } => {
                write!(f, "the file has {} values and the engine {}", count(*file), count(*engine))
            }
            BrokenLink::BytesWithoutValues { bytes } => {
                write!(f, "no value changes, yet {} in the engine {}", plural(bytes, "byte"), does(*bytes))
            }
            BrokenLink::ValuesWithoutBytes { values } => {
                write!(f, "{} {}, yet no byte in the engine does", plural(values, "value"), changes(*values))
            }
            BrokenLink::EffectWithoutBytes { activations, logits_changed, n_scored } => write!(
                f,
                "no byte changes, yet {} and the logits of {} of {} positions do",
                plural(activations, "activation"),
                count(*logits_changed),
                count(*n_scored)
            ),
            BrokenLink::EffectWithoutUse => f.write_str("the graph uses none of the tensors, yet logits differ"),
            BrokenLink::LogitsWithoutActivations => {
                f.write_str("no activation behind the tensors changes, yet logits differ")
            }
            BrokenLink::MetricWithoutLogits => f.write_str("all logits are bit-identical, yet a metric is not zero"),
        }
    }
}

impl ControlOutcome {
    /// The word after the name of a control: `held`, `failed` or `was not measured`.
    pub fn name(self) -> &'static str {
        match self {
            ControlOutcome::Held => "held",
            ControlOutcome::Failed => "failed",
            ControlOutcome::NotMeasured => "was not measured",
        }
    }
}

impl Display for Wanted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words = match self {
            Wanted::SameLogits => "logits bit-identical",
            Wanted::SameBytesAndLogits => "bytes and logits bit-identical",
            Wanted::Effect { kld_mean, floor_ratio } => {
                return write!(f, "KLD at least {kld_mean} nats and {floor_ratio} × the floor");
            }
            Wanted::SameValues => "measured, values unchanged",
            Wanted::EverySeed => "every seed measured, on the variant's own windows",
            Wanted::WeightsRestored => "every touched weight hashes the same before and after each measurement",
            Wanted::ReferenceRepeats => "the reference's logits hash the same whenever a window is measured",
            Wanted::FileUnchanged => "the model file hashes the same before and after the run",
            Wanted::ChainsHold => "prediction, bytes, activations, logits and metrics agree in every cell",
            Wanted::Stated { sentence } => sentence,
        };
        f.write_str(words)
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Found::Cell { reason } => reason.fmt(f),
            Found::RuntimePart { effect } => write!(f, "the runtime's part: {effect}"),
            Found::NothingToSee { reason } => write!(f, "nothing to be seen: {reason}"),
            Found::NonFiniteLogits { place } => write!(f, "the logits become non-finite: {}", first_line(place)),
            Found::NothingMeasured => f.write_str("nothing was measured"),
            Found::NoFloor => f.write_str("the floor that it is compared with was not measured"),
            Found::Effect { effect, floor_kld_mean_max } => write!(f, "{effect}, floor {}", nats(*floor_kld_mean_max)),
            Found::Seeds { seeds } => {
                let words: Vec<String> = seeds.iter().map(SeedFound::to_string).collect();
                f.write_str(&words.join("; "))
            }
            Found::AsWanted => f.write_str("as expected"),
            Found::Faults { faults } => {
                let words: Vec<String> = faults.iter().map(FaultFound::to_string).collect();
                f.write_str(&words.join("; "))
            }
            Found::Chains { n, first: None, .. } => write!(f, "{} of {} hold", count(*n), count(*n)),
            Found::Chains { broken, n, first: Some(first) } => {
                write!(f, "{} of {} do not; the first: {first}", count(*broken), count(*n))
            }
            Found::Stated { sentence } => f.write_str(sentence),
        }
    }
}

impl Display for FaultFound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            FaultFound::WeightsChanged { before, after } => write!(f, "{before} before, {after} after"),
            FaultFound::ReferenceChanged { window, before, after } => {
                write!(f, "window {window}: logits {before} at first, {after} now")
            }
            FaultFound::FileChanged { .. } => f.write_str("the file's hash is another one now"),
        }
    }
}

impl Display for SeedFound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seed = self.seed;
        match (self.kld_mean, &self.failure) {
            (Some(kld), _) => write!(f, "seed {seed}: KLD {}", nats(kld)),
            (None, Some(failure)) => write!(f, "seed {seed}: not measured: {}", first_line(failure)),
            (None, None) => write!(f, "seed {seed}: not measured"),
        }
    }
}

/// The control because of which the results of a model are withheld: the first that failed, or else the first that was
/// not measured.
pub fn withholding(controls: &[ControlRecord]) -> Option<&ControlRecord> {
    let failed = controls.iter().find(|control| control.has_failed());
    failed.or_else(|| controls.iter().find(|control| !control.ok))
}

/// The answer for a model: [one short sentence](crate::headline::of_model), then the reasons with their numbers.
pub fn answer(question: &Question, model: &ModelRecord) -> String {
    let ModelRecord { verdicts, cells, controls, .. } = model;
    let headline = crate::headline::of_model(question, model);
    if let Some(control) = withholding(controls) {
        return format!(
            "{headline} The control {:?} {} (expected: {}; found: {}).",
            control.name,
            control.outcome().name(),
            control.expected,
            control.found
        );
    }
    let of = |arm| verdicts.iter().find(|verdict| verdict.arm == arm);
    // Beside another arm the class tells the two apart. A single arm's class is what the headline says.
    let reason = |verdict: &ArmVerdict| format!("{}, because {}", verdict.verdict.name(), verdict.why);
    let reasons = match (of(Arm::Exact), of(Arm::Native)) {
        (Some(exact), Some(native)) if exact.verdict == Verdict::NoOp && native.verdict == Verdict::NoOp => format!(
            " With exact weights and through the model's own kernels alike: {}{}.",
            exact.why,
            positive_clause(cells)
        ),
        (Some(exact), Some(native)) => format!(
            " With exact weights, where only the scheme acts: {}. Through the model's own kernels: {}.",
            reason(exact),
            reason(native)
        ),
        (Some(exact), None) => format!(" With exact weights: {}.", exact.why),
        (None, Some(native)) => format!(" Through the model's own kernels: {}.", native.why),
        (None, None) => String::new(),
    };
    headline + &reasons + &fallback_clause(&question.scheme, model) + &parts_clause(cells)
}

/// The clause on the schemes that stand in for the question's: what was measured there is theirs.
fn fallback_clause(scheme: &str, model: &ModelRecord) -> String {
    let words = model
        .census_fallbacks
        .iter()
        .map(|(fallback, n)| format!("{fallback} stands in for {scheme} in {}", plural(*n, "tensor")));
    let words: Vec<String> = words.collect();
    let how_much = if model.is_all_fallback() { "None" } else { "Not all" };
    if words.is_empty() { String::new() } else { format!(" {how_much} of it is {scheme}: {}.", words.join("; ")) }
}

/// The clause that says what each part costs alone, in the arm that answers the question.
fn parts_clause(cells: &[JudgedCell]) -> String {
    let parts = cells.iter().filter(|judged| judged.cell.extent() == CellExtent::Part);
    let arm = parts.clone().map(|judged| judged.cell.arm).min();
    let words = parts.filter(|judged| Some(judged.cell.arm) == arm).map(|judged| {
        let kld =
            judged.cell.measured.as_ref().map_or("not measured".into(), |m| format!("KLD {}", nats(m.kld().mean)));
        format!("{} {kld} ({})", judged.cell.target, judged.verdict.name())
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!(" Singly: {}.", words.join("; ")) }
}

/// The clause that says what it costs to destroy the target. A no-op means something only where that cost would have
/// been seen.
fn positive_clause(cells: &[JudgedCell]) -> String {
    let positive = cells.iter().find(|judged| judged.cell.role == Role::Positive);
    positive.and_then(|judged| Some((judged, judged.cell.measured.as_ref()?))).map_or_else(
        String::new,
        |(judged, measured)| {
            let destroyed = match judged.cell.scheme.as_str() {
                "zero" => "setting them to zero".to_owned(),
                scheme => format!("quantizing them to {scheme}"),
            };
            format!("; the tensors do matter: {destroyed} costs KLD {}", nats(measured.kld().mean))
        },
    )
}

/// The census of the target in one sentence.
pub fn census(question: &Question, model: &ModelRecord) -> String {
    census_of(question, &model.census, model.census_nodes, &model.census_fallbacks)
}

/// The census of a target in one sentence, from its tensors, the number of its graph nodes, and the schemes that
/// replace the question's.
pub fn census_of(question: &Question, rows: &[CensusRow], nodes: usize, fallbacks: &[(String, usize)]) -> String {
    let (target, scheme) = (&question.target, &question.scheme);
    let mut sentence = rows_and_nodes(rows, nodes, target, scheme);
    for (fallback, n) in fallbacks {
        sentence += &format!("; {fallback} stands in for {scheme} in {}", plural(*n, "tensor"));
    }
    sentence
}

/// The census of tensors and graph nodes of a target:
/// `30 tensors of ffn_norm, stored f32, effectively BF16 (30 of 30); bf16 is predicted to change 0 of 17,280 values`.
fn rows_and_nodes(rows: &[CensusRow], nodes: usize, target: &str, scheme: &str) -> String {
    let computed = format!(
        "{} of {target}: computed, so what {scheme} changes of {} values is known only when they are",
        plural(nodes, "graph node"),
        if nodes == 1 { "its" } else { "their" }
    );
    match (rows.is_empty(), nodes) {
        (_, 0) => {}
        (true, _) => return computed,
        (false, _) => return format!("{}; {computed}", rows_and_nodes(rows, 0, target, scheme)),
    }
    let tally = |key: fn(&CensusRow) -> &str| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(key(row)).or_default() += 1);
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        counts.iter().map(|(what, n)| format!("{what} ({n} of {})", rows.len())).collect::<Vec<_>>().join(", ")
    };
    let n: u64 = rows.iter().map(|row| row.n).sum();
    let changed: u64 = rows.iter().filter_map(|row| row.predicted.as_ref()).map(|predicted| predicted.changed).sum();
    format!(
        "{} of {target}: stored {}, effectively {}; {scheme} is predicted to change {} of {} values",
        plural(rows.len(), "tensor"),
        tally(|row| row.ty.as_str()),
        tally(|row| row.effective.as_str()),
        count(changed),
        count(n)
    )
}

#[cfg(test)]
mod tests;
