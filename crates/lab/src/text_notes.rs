//! What a reader of a number should know of the text and the windows that it was measured on. It decides whether two
//! numbers are comparable, so it is part of answers and records, and it depends on nothing but text, model and settings.

use crate::plan::Corpus;
use files::SpecialTokens;
use words::{escape_terminal, plural};

/// The number of special tokens that a note names.
const NAMED: usize = 4;

/// The remarks about a text, windows of `n_ctx` tokens, and a model with these special tokens that was trained on
/// windows of `n_ctx_train` tokens. A context of 0 is not known.
pub fn notes(corpus: &Corpus, special: &SpecialTokens, n_ctx: u32, n_ctx_train: u32) -> Vec<String> {
    let mut notes = of_text(corpus, special);
    notes.extend(worker::beyond_training(n_ctx, n_ctx_train));
    notes
}

/// The remarks about the text alone.
pub(crate) fn of_text(corpus: &Corpus, special: &SpecialTokens) -> Vec<String> {
    let name = escape_terminal(&corpus.name);
    let mut notes = Vec::new();
    if corpus.had_bom {
        notes.push(format!("{name} begins with a byte order mark, which is not text and is left out"));
    }
    let found = special.found_in(&corpus.text);
    let n: usize = found.iter().map(|(_, n)| n).sum();
    if n > 0 {
        let named: Vec<String> =
            found.iter().take(NAMED).map(|(token, n)| format!("{} {n} ×", escape_terminal(token))).collect();
        let more = if found.len() > NAMED { ", …" } else { "" };
        let read = match corpus.special {
            true => "as these tokens, as was asked for",
            false => "as plain text, as llama-perplexity reads them unless special tokens are parsed",
        };
        let tokens = plural(n, "special token");
        notes.push(format!("{name} spells {tokens} ({}{more}), read {read}", named.join(", ")));
    }
    notes
}
