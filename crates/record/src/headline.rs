//! The answer to the question of a run in one short sentence, derived from its verdicts.

use crate::cell::Verdict;
use crate::edit::Arm;
use crate::run::{ModelRecord, Question, RunRecord};
use crate::sentence::withholding;
use words::plural;

/// Whether the scheme matters on the target of one model, as far as the verdicts tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matters {
    /// An arm has a real effect.
    Yes,
    /// The scheme changes nothing, nothing reads the target, or no effect stands out from the floor with exact weights.
    No,
    /// The results are withheld, or no arm gives an answer.
    NotDecided,
}

impl Matters {
    /// The answer for a model. A real effect in either arm is a yes. Otherwise the exact arm decides, since its effect
    /// is that of the scheme. The native arm decides alone only where the scheme changes nothing at all: an effect that
    /// does not stand out there may be hidden by the kernels.
    pub fn of(model: &ModelRecord) -> Matters {
        if withholding(&model.controls).is_some() {
            return Matters::NotDecided;
        }
        match (verdict(model, Arm::Exact), verdict(model, Arm::Native)) {
            (Some(Verdict::Real), _) | (_, Some(Verdict::Real)) => Matters::Yes,
            (Some(Verdict::NoOp | Verdict::Dead | Verdict::BelowFloor), _) => Matters::No,
            (None, Some(Verdict::NoOp | Verdict::Dead)) => Matters::No,
            (Some(Verdict::Substituted | Verdict::Broken), _) | (None, _) => Matters::NotDecided,
        }
    }

    /// The answer in words.
    fn word(self, question: &Question) -> &'static str {
        match (self, asks_whether(question)) {
            (Matters::Yes, true) => "Yes",
            (Matters::Yes, false) => "A real effect",
            (Matters::No, true) => "No",
            (Matters::No, false) => "No visible effect",
            (Matters::NotDecided, _) => "Not decided",
        }
    }
}

fn verdict(model: &ModelRecord, arm: Arm) -> Option<Verdict> {
    model.verdicts.iter().find(|of_arm| of_arm.arm == arm).map(|of_arm| of_arm.verdict)
}

/// The scheme that the answer is about: the question's, or what replaces it in the whole target, such as
/// `q5_0 instead of q4_k`.
fn used(question: &Question, model: &ModelRecord) -> String {
    if !model.is_all_fallback() {
        return question.scheme.clone();
    }
    let fallbacks: Vec<&str> = model.census_fallbacks.iter().map(|(scheme, _)| scheme.as_str()).collect();
    format!("{} instead of {}", fallbacks.join(" and "), question.scheme)
}

/// The answer for one model in one short sentence:
/// `Yes: quantizing ffn_norm to bf16 has a real effect.`
pub fn of_model(question: &Question, model: &ModelRecord) -> String {
    let matters = Matters::of(model);
    let (target, scheme) = (&question.target, &used(question, model));
    let (exact, native) = (verdict(model, Arm::Exact), verdict(model, Arm::Native));
    let why = match matters {
        _ if withholding(&model.controls).is_some() => {
            format!("the results for {scheme} on {target} are withheld")
        }
        Matters::Yes => {
            let arms = match (exact, native) {
                (Some(Verdict::Real), None | Some(Verdict::Real)) => "",
                (Some(Verdict::Real), Some(Verdict::BelowFloor)) => {
                    " with exact weights, but none that stands out through the model's own kernels"
                }
                (Some(Verdict::Real), Some(_)) => " with exact weights",
                _ => " through the model's own kernels",
            };
            format!("quantizing {target} to {scheme} has a real effect{arms}")
        }
        Matters::No | Matters::NotDecided => match exact.or(native) {
            Some(Verdict::NoOp) => format!("quantizing {target} to {scheme} changes nothing"),
            Some(Verdict::Dead) => format!("the graph does not use {target}, so quantizing it cannot matter"),
            Some(Verdict::BelowFloor) => {
                format!("quantizing {target} to {scheme} has no effect that stands out from its floor")
            }
            Some(Verdict::Substituted) => {
                format!("{scheme} could not be tested on {target}, since the carrier rounded what it should store")
            }
            Some(Verdict::Broken) => format!("the effect of {scheme} on {target} could not be measured"),
            Some(Verdict::Real) | None => format!("nothing was measured about {scheme} on {target}"),
        },
    };
    match matters {
        // What was found, where the question is not one of yes and no.
        Matters::Yes | Matters::No if !asks_whether(question) => {
            let mut letters = why.chars();
            let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
            format!("{first}{}.", letters.as_str())
        }
        _ => format!("{}: {why}.", matters.word(question)),
    }
}

/// Whether the question can be answered by yes or no. A plan's question is free text, and to "Is it safe?" a yes would
/// mean the opposite.
fn asks_whether(question: &Question) -> bool {
    question.question.starts_with("Does it matter")
}

/// The answer of a run over several models in one short sentence, such as `Yes, in 1 of 2 models: a.gguf.`; for a
/// single model it is that model's own.
pub fn of_run(record: &RunRecord) -> String {
    let question = &record.question;
    if let [model] = record.models.as_slice() {
        return of_model(question, model);
    }
    let n = record.models.len();
    let all = plural(n, "model");
    let groups = [Matters::Yes, Matters::NotDecided, Matters::No].map(|answer| {
        let of: Vec<&str> =
            record.models.iter().filter(|m| Matters::of(m) == answer).map(|m| m.name.as_str()).collect();
        (answer, of)
    });
    let mut given = groups.iter().filter(|(_, models)| !models.is_empty());
    let Some((first, models)) = given.next() else { return "Not decided: the run has no models.".into() };
    let word = first.word(question);
    if models.len() == n {
        return format!("{word}, in all of {all}.");
    }
    let mut sentence = format!("{word}, in {} of {all}: {}", models.len(), models.join(", "));
    for (answer, models) in given {
        // The models that are left when nothing is undecided need no words of their own.
        if *answer == Matters::NotDecided || *first == Matters::NotDecided {
            let word = answer.word(question).to_lowercase();
            sentence += &format!("; {word} in {}: {}", models.len(), models.join(", "));
        }
    }
    sentence + "."
}
