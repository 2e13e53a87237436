//! What a reader of a number should know of the text and the windows that it was measured on. It decides whether two
//! numbers are comparable, so it is part of answers and records, and it depends on nothing but text, model and settings.

use crate::plan::Corpus;
use files::SpecialTokens;
use record::{Note, SpelledToken};

/// The remarks about the text alone.
pub(crate) fn of_text(corpus: &Corpus, special: &SpecialTokens) -> Vec<Note> {
    let mut notes = Vec::new();
    if corpus.had_bom {
        notes.push(Note::ByteOrderMark { text: corpus.name.clone() });
    }
    let found = special.found_in(&corpus.text);
    if !found.is_empty() {
        let tokens = found.into_iter().map(|(token, n)| SpelledToken { token, n }).collect();
        notes.push(Note::SpecialTokens { text: corpus.name.clone(), tokens, parsed: corpus.special });
    }
    notes
}
