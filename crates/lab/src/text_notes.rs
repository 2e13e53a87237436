//! What a reader of a number should know of the text and the windows that it was measured on. It decides whether two
//! numbers are comparable, so it is part of answers and records, and it depends on nothing but text, model and settings.

use crate::plan::Corpus;
use files::SpecialTokens;
use words::{escape_terminal, plural};

/// The number of special tokens that a note names.
const NAMED: usize = 4;

/// The remarks about the text alone.
pub(crate) fn of_text(corpus: &Corpus, special: &SpecialTokens) -> Vec<String> {
    let name = escape_terminal(&corpus.name);
    let mut notes = Vec::new();
    if corpus.had_bom {
        notes.push(format!("{name} begins with a byte order mark, which is not text; all at its head are left out"));
    }
    let found = special.found_in(&corpus.text);
    let n: usize = found.iter().map(|(_, n)| n).sum();
    if n > 0 {
        let named: Vec<String> =
            found.iter().take(NAMED).map(|(token, n)| format!("{} {n} ×", escape_terminal(token))).collect();
        let more = if found.len() > NAMED { ", …" } else { "" };
        let read = match corpus.special {
            true => "as these tokens, as requested",
            false => "as plain text, as llama-perplexity reads them unless special tokens are parsed",
        };
        let tokens = plural(n, "special token");
        notes.push(format!("{name} spells {tokens} ({}{more}), read {read}", named.join(", ")));
    }
    notes
}
