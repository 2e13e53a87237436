//! What is heard while a question is answered, in words; and what an unanswered one means for the exit code.

use crate::advice;
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
use lab::ask::{AskError, AskErrorKind, AskEvent};
use record::answer::SchemeFallback;
use std::collections::BTreeMap;
use words::{Lines, escape_terminal, plural};

/// Said where a matrix that is used in two ways is changed as a whole.
const BOTH_USES: &str =
    "token_embd.weight is the output head too: both uses change; token_embd[use=lookup] is one of them";

/// Shows an event. What is said when measuring begins is the command's own: `begun` words it from the model's name and
/// the number of parts.
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
        AskEvent::Note(text) => progress.say(text),
        AskEvent::ComparingAttention => progress.say("comparing attention"),
        AskEvent::WorkerDied(died) => {
            progress.say(&format!("{}; another one goes on", escape_terminal(died.to_string())));
        }
        AskEvent::Progress { done, total } => progress.at(done, total),
    }
}

/// The number of tensors that a line names.
const NAMED: usize = 3;

/// A line for each scheme that stood in for the one that was asked for.
pub fn fallbacks(fallbacks: &[SchemeFallback], out: &mut Lines) {
    let mut by_scheme: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for row in fallbacks {
        let schemes = (row.scheme_realised.as_str(), row.scheme_requested.as_str());
        by_scheme.entry(schemes).or_default().push(escape_terminal(&row.name));
    }
    for ((realised, requested), names) in by_scheme {
        let more = if names.len() > NAMED { ", …" } else { "" };
        let (n, named) = (plural(names.len(), "tensor"), names[..names.len().min(NAMED)].join(", "));
        out.line(format_args!("fallback: {realised}, not {requested}, in {n}: {named}{more}"));
    }
}

/// The failure that an unanswered question is: its exit code, and advice in the words of the command line.
pub fn failed(error: &AskError) -> Failure {
    let exit = match error.kind() {
        AskErrorKind::Input => Exit::BadInput,
        AskErrorKind::Withheld => Exit::ControlFailed,
        AskErrorKind::Engine => Exit::Engine,
    };
    Failure { exit, error: anyhow::anyhow!("{error}"), hint: advice::of_question(error) }
}
