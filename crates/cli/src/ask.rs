//! The text of events while a question is answered, and the failure of a question that is not answered.

use crate::advice;
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
use lab::ask::{AskError, AskErrorKind, AskEvent};
use record::answer::SchemeFallback;
use record::sentence::signs_of_zeros;
use std::collections::BTreeMap;
use words::{escape_terminal, plural};

/// The remark that is printed when a matrix with two uses is changed as a whole.
const BOTH_USES: &str =
    "token_embd.weight is the output head too: both uses change; token_embd[use=lookup] is one of them";

/// Shows an event. Each command has its own text for the start of measuring: `begun` makes it from the name of the
/// model and the number of parts.
pub fn show(progress: &mut Progress, event: AskEvent<'_>, begun: impl FnOnce(&str, usize) -> (String, String)) {
    match event {
        AskEvent::Begun { model, parts } => {
            let (label, line) = begun(&escape_terminal(model), parts);
            progress.label(&label);
            progress.say(&line);
        }
        AskEvent::BothUses => progress.say(BOTH_USES),
        AskEvent::FewerWindows { wanted, used } => {
            let there = plural(used, "window");
            progress.say(&format!("the text has {there}, {wanted} were asked for; all of it is used"));
        }
        AskEvent::TasksTaken { file, n, n_in_file } => {
            progress.say(&format!("{}: {n} of {}", escape_terminal(file), plural(n_in_file, "task")));
        }
        AskEvent::Memory(plan) => progress.say(&format!("memory {}", plan.words())),
        AskEvent::Note(note) => progress.say(&note.to_string()),
        AskEvent::ComparingAttention => progress.say("comparing attention"),
        AskEvent::WorkerDied(died) => {
            progress.say(&format!("{}; another one goes on", escape_terminal(died.to_string())));
        }
        AskEvent::Progress { done, total } => progress.at(done, total),
    }
}

/// The number of tensors that a line names.
const NAMED: usize = 3;

/// A line for each scheme that replaces the one that was asked for.
pub fn fallbacks(fallbacks: &[SchemeFallback]) -> Vec<String> {
    let mut by_scheme: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for row in fallbacks {
        let schemes = (row.scheme_realised.as_str(), row.scheme_requested.as_str());
        by_scheme.entry(schemes).or_default().push(escape_terminal(&row.name));
    }
    let line = |((realised, requested), names): ((&str, &str), Vec<String>)| {
        let more = if names.len() > NAMED { ", …" } else { "" };
        let (n, named) = (plural(names.len(), "tensor"), names[..names.len().min(NAMED)].join(", "));
        format!("fallback: {realised}, not {requested}, in {n}: {named}{more}")
    };
    by_scheme.into_iter().map(line).collect()
}

/// Turns an unanswered question into a failure: its exit code, and advice in the words of the command line.
pub fn failed(error: &AskError) -> Failure {
    let exit = match error.kind() {
        AskErrorKind::Input => Exit::BadInput,
        AskErrorKind::Withheld => Exit::ControlFailed,
        AskErrorKind::Engine => Exit::Engine,
    };
    Failure { exit, error: anyhow::anyhow!("{error}"), hint: advice::of_question(error) }
}

/// How many zeros change their sign, after a number of changed values; empty where none does.
pub fn signs((zero_sign, minus_zero): (u64, u64)) -> String {
    match zero_sign + minus_zero {
        0 => String::new(),
        _ => format!(", and the sign of zeros ({})", signs_of_zeros(zero_sign, minus_zero)),
    }
}
