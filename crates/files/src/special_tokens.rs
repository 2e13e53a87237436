//! Special tokens that a text spells out, such as `<|im_start|>`.
//!
//! llama.cpp reads them as plain text unless it is told to parse them: `tokenizer_st_partition` in `llama-vocab.cpp`
//! leaves out tokens that control the model or stand for the unknown. Tokens that a user defined are always parsed.

use aho_corasick::{AhoCorasick, MatchKind};
use gguf::{GgufFile, Value};
use std::collections::HashMap;

/// The types of tokens that are parsed only on request: unknown and control.
const TYPES: [u64; 2] = [2, 3];

/// The spellings of a vocabulary's special tokens, which plain text is not meant to have.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    spellings: Vec<String>,
    /// Searches for all of them at once. `None` where there are none, or too many to search for.
    search: Option<AhoCorasick>,
}

impl SpecialTokens {
    /// The special tokens of a model file. There are none where the file has no types of tokens.
    pub fn of(file: &GgufFile) -> SpecialTokens {
        let array = |key: &str| file.get(key).and_then(Value::as_array);
        let tokens = array("tokenizer.ggml.tokens").and_then(|tokens| tokens.as_strings());
        let Some((tokens, types)) = tokens.zip(array("tokenizer.ggml.token_type")) else {
            return SpecialTokens::default();
        };
        let is_special = |i: usize| {
            let ty = types.get(i).and_then(|ty| ty.as_u64());
            ty.is_some_and(|ty| TYPES.contains(&ty))
        };
        let spelled = tokens.iter().enumerate().filter(|(i, _)| is_special(*i));
        SpecialTokens::spelled(spelled.filter_map(|(_, token)| std::str::from_utf8(token).ok()))
    }

    fn spelled<'a>(tokens: impl Iterator<Item = &'a str>) -> SpecialTokens {
        let spellings: Vec<String> = tokens.filter(|token| !token.is_empty()).map(str::to_owned).collect();
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&spellings);
        SpecialTokens { search: search.ok().filter(|_| !spellings.is_empty()), spellings }
    }

    /// The special tokens that a text spells, each with how often it does, the most frequent first. Where several fit,
    /// the longest counts.
    pub fn found_in(&self, text: &str) -> Vec<(String, usize)> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for found in self.search.iter().flat_map(|search| search.find_iter(text)) {
            *counts.entry(&self.spellings[found.pattern()]).or_default() += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().map(|(token, n)| (token.to_owned(), n)).collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_of_a_text_are_counted_and_the_longest_wins() {
        let tokens = SpecialTokens::spelled(["<s>", "<|im_end|>", "<|im_end|>\n<|im_start|>", ""].into_iter());
        let text = "<s>hi<|im_end|> <|im_end|>\n<|im_start|><|im_end|> < s> <é>";
        let found = tokens.found_in(text);
        let wanted = [("<|im_end|>", 2), ("<s>", 1), ("<|im_end|>\n<|im_start|>", 1)];
        let mut wanted: Vec<(String, usize)> = wanted.map(|(token, n)| (token.to_owned(), n)).to_vec();
        wanted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        assert_eq!(found, wanted);
        assert_eq!(SpecialTokens::default().found_in(text), []);
    }
}
