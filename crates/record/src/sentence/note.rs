//! The sentences of notes and of gates.

use crate::event::GateReason;
use crate::note::{Note, SpelledToken};
use std::fmt::{self, Display, Formatter};
use words::{count, escape_terminal, named, plural};

/// The number of special tokens that a sentence names.
const NAMED_TOKENS: usize = 4;
/// The number of tensors that a sentence names before it says how many more there are.
const NAMED_TENSORS: usize = 6;

impl Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Note::ByteOrderMark { text } => write!(
                f,
                "{} begins with a byte order mark, which is not text; all at its head are left out",
                escape_terminal(text)
            ),
            Note::SpecialTokens { text, tokens, parsed } => {
                let read = match parsed {
                    true => "as these tokens, as requested",
                    false => "as plain text, as llama-perplexity reads them unless special tokens are parsed",
                };
                let (n, text) = (tokens.iter().map(|token| token.n).sum::<usize>(), escape_terminal(text));
                write!(f, "{text} spells {} ({}), read {read}", plural(n, "special token"), spelled(tokens))
            }
            Note::LongWindows { n_ctx, n_ctx_train } => {
                let (windows, trained) = (plural(*n_ctx, "token"), count((*n_ctx_train).into()));
                write!(f, "windows of {windows} are longer than the {trained} that the model was trained for")
            }
            Note::LongConversation { n_tokens, n_ctx_train } => {
                let (n, trained) = (plural(*n_tokens, "token"), count((*n_ctx_train).into()));
                write!(f, "a conversation of {n} is longer than the {trained} that the model was trained for")
            }
            Note::RuleWithoutEffect { rule } => {
                write!(f, "{rule} is applied to no tensor, because later rules are applied to all of its tensors")
            }
            Note::NoImportances { tensor, scheme } => write!(
                f,
                "{}: {scheme} has no importances for it, so it is quantized without, as llama-quantize does",
                escape_terminal(tensor)
            ),
            Note::UnusedTensors { tensors } => {
                let (n, names) = (plural(tensors.len(), "tensor"), named(tensors, NAMED_TENSORS));
                write!(f, "the engine's graph does not use {n} of the target, which stay as they are: {names}")
            }
            Note::SimilarLeftOut { left_out } => {
                let words =
                    left_out.iter().map(|of| format!("{} does not include {} ({})", of.role, of.similar, plural(of.n, "tensor")));
                f.write_str(&words.collect::<Vec<_>>().join("; "))
            }
            Note::MoreThreadsThanCores { asked, cores } => {
                let (asked, cores) = (plural(*asked, "thread"), plural(*cores, "core"));
                write!(f, "{asked} were asked for, and there are {cores}: no more threads than cores are used")
            }
            Note::EveryPassFull => f.write_str(
                "starting from a recorded prefix does not give the bits of a full pass on this model; every pass computes all layers",
            ),
            Note::Stated { sentence } => f.write_str(sentence),
        }
    }
}

/// The most frequent of the tokens with their numbers: `<s> 30 ×, </s> 2 ×`.
fn spelled(tokens: &[SpelledToken]) -> String {
    let named = tokens.iter().take(NAMED_TOKENS).map(|of| format!("{} {} ×", escape_terminal(&of.token), of.n));
    let more = if tokens.len() > NAMED_TOKENS { ", …" } else { "" };
    named.collect::<Vec<_>>().join(", ") + more
}

impl Display for GateReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            GateReason::ControlsHold { decided } => {
                write!(f, "all {decided} control checks that can be decided so far hold")
            }
            GateReason::ControlFailed { control, found } => {
                write!(f, "{control} failed: {found}; results are withheld")
            }
            GateReason::ControlNotMeasured { control, found } => {
                write!(f, "{control} was not measured: {found}; results are withheld")
            }
        }
    }
}
