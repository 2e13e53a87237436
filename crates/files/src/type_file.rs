//! Reads the files of `llama-quantize --tensor-type-file`, and matches their rules as llama-quantize does.
//!
//! ```text
//! PATTERN=TYPE PATTERN=TYPE          separated by blanks or line ends
//! PATTERN=TYPE
//! ```
//!
//! The first `=` ends the pattern. The pattern is turned into lower case and searched for, as a regular expression,
//! anywhere in the name of a tensor, which keeps its case. The case of a type does not matter. Of several rules that
//! match a tensor, the first one counts.
//!
//! # Source
//! `parse_tensor_type_file` and `parse_tensor_type` in tools/quantize/quantize.cpp, and `llama_tensor_get_type` in
//! src/llama-quant.cpp of the pinned engine. Versions of 2025 differ: the last rule that matches counts there, rules are
//! ignored with `--pure` and where the mixture's own type does not fit the rows, and the first of those versions take
//! only names of a list as patterns.

use crate::rewrite::weight_type;
use gguf::GgmlType;
use regex::bytes::{Regex, RegexBuilder};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use words::{Advice, Hint, count, escape_terminal, plural};

/// The size of the largest file, in bytes. A rule for every tensor of the largest models takes some hundred kilobytes.
const MAX_BYTES: u64 = 4 << 20;
/// The largest number of rules. Each is searched for in every name.
const MAX_RULES: usize = 10_000;
/// The memory that a compiled pattern may take, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 16;

/// Why a file of tensor types cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TypeFileError {
    /// The file cannot be read.
    #[error("{file}: {what}, wanted a text of PATTERN=TYPE")]
    Read {
        /// The path of the file, escaped for a terminal.
        file: String,
        /// What is wrong with the file.
        what: String,
    },
    /// A rule cannot be used.
    #[error("{file}, line {line}: {what}, wanted {wanted}")]
    Rule {
        /// The path of the file, escaped for a terminal.
        file: String,
        /// The number of the line, counted from 1.
        line: usize,
        /// What is wrong with the rule.
        what: String,
        /// What the rule should be.
        wanted: &'static str,
    },
}

impl Advice for TypeFileError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words(match self {
            TypeFileError::Read { .. } => "the format is that of llama-quantize's --tensor-type-file",
            TypeFileError::Rule { .. } => "for example attn_v=q6_K or blk\\.[0-3]\\.ffn_down=q5_K; blanks end a rule",
        }))
    }
}

/// One rule of a file.
#[derive(Clone, Debug)]
pub struct TypeRule {
    pattern: String,
    regex: Regex,
    /// The type in which a tensor that matches is stored.
    pub ty: GgmlType,
}

impl fmt::Display for TypeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.ty)
    }
}

/// The rules of a file, in its order.
#[derive(Clone, Debug)]
pub struct TypeFile {
    name: String,
    rules: Vec<TypeRule>,
}

impl TypeFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read, or a rule names no type or has a pattern that cannot be searched for.
    pub fn read(path: &Path) -> Result<TypeFile, TypeFileError> {
        let file = escape_terminal(path.as_os_str().as_encoded_bytes());
        let refuse = |what: String| TypeFileError::Read { file: file.clone(), what };
        let failed = |error: std::io::Error| refuse(format!("cannot be read: {error}"));
        let metadata = std::fs::metadata(path).map_err(failed)?;
        // Opening a FIFO would wait.
        if !metadata.is_file() {
            return Err(refuse("this is not a regular file".into()));
        }
        if metadata.len() > MAX_BYTES {
            return Err(refuse(format!("found {}", plural(metadata.len(), "byte"))));
        }
        let mut text = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text)).map_err(failed)?;
        let text = String::from_utf8(text).map_err(|_| refuse("found bytes that are not UTF-8".into()))?;
        TypeFile::parse(&file, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When a rule cannot be used, or there is none.
    pub(crate) fn parse(file: &str, text: &str) -> Result<TypeFile, TypeFileError> {
        let mut rules = Vec::new();
        for (line, words) in (1..).zip(text.lines()) {
            // C++'s stream ends a word at these.
            for word in words.split(|c: char| c.is_ascii_whitespace() || c == '\u{b}').filter(|word| !word.is_empty()) {
                let refuse = |what: String, wanted| TypeFileError::Rule { file: file.into(), line, what, wanted };
                if rules.len() >= MAX_RULES {
                    return Err(refuse(format!("found more than {} rules", count(MAX_RULES as u64)), "fewer"));
                }
                rules.push(TypeRule::parse(word).map_err(|(what, wanted)| refuse(what, wanted))?);
            }
        }
        if rules.is_empty() {
            return Err(TypeFileError::Read { file: file.into(), what: "found no rule".into() });
        }
        Ok(TypeFile { name: file.into(), rules })
    }

    /// The path of the file, escaped for a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules, in the order of the file.
    pub fn rules(&self) -> &[TypeRule] {
        &self.rules
    }

    /// The index of the rule that a tensor of this name gets: the first one that matches.
    pub fn rule_for(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.regex.is_match(name.as_bytes()))
    }
}

impl TypeRule {
    fn parse(word: &str) -> Result<TypeRule, (String, &'static str)> {
        const WANTED: &str = "PATTERN=TYPE";
        let quoted = |text: &str| format!("found \"{}\"", escape_terminal(text));
        let (pattern, ty) = word.split_once('=').ok_or_else(|| (quoted(word), WANTED))?;
        if pattern.is_empty() || ty.is_empty() {
            return Err((quoted(word), WANTED));
        }
        let ty = weight_type(ty).map_err(|_| (quoted(ty), "a ggml type of weights, such as q4_K"))?;
        let pattern = pattern.to_ascii_lowercase();
        // As in C++'s regular expressions, a character is a byte and a dot does not match a line end.
        let built = RegexBuilder::new(&pattern).unicode(false).size_limit(MAX_PATTERN_BYTES).build();
        let regex = built.map_err(|error| {
            let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            (format!("found the pattern \"{}\" ({why})", escape_terminal(&pattern)), "a regular expression")
        })?;
        Ok(TypeRule { pattern, regex, ty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinned_source::pinned_function;

    fn rules(text: &str) -> Vec<String> {
        TypeFile::parse("types.txt", text).expect("sound").rules().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_are_separated_by_blanks_and_lines_and_written_in_any_case() {
        assert_eq!(
            rules("attn_v=Q6_K\tffn_down=q5_k\n\n  ATTN_Q=q4_0 \r\n"),
            ["attn_v=q6_K", "ffn_down=q5_K", "attn_q=q4_0"]
        );
        // The first = ends the pattern, and a comment is not known.
        let error = |text: &str| TypeFile::parse("types.txt", text).expect_err(text).to_string();
        assert!(
            error("attn_v=q6_K\na=b=q4_0").contains("types.txt, line 2: found \"b=q4_0\""),
            "{}",
            error("\na=b=q4_0")
        );
        assert!(error("# attention").contains("line 1: found \"#\", wanted PATTERN=TYPE"));
        for text in
            ["", " \n", "attn_v", "=q4_0", "attn_v=", "attn_v=q9", "attn_v=i32", "attn_v=keep", "(=q4_0", "(?=a)=f16"]
        {
            let error = TypeFile::parse("types.txt", text).expect_err(text);
            assert!(error.hint().is_some() && error.to_string().starts_with("types.txt"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_pattern_is_searched_for_anywhere_in_lower_case_and_the_first_rule_counts() {
        let text = "blk\\.1\\.attn_v=q8_0 attn_(q|V)=q4_0 attn=q5_0 ^v=q6_K ffn_[A-B]=q4_0";
        let file = TypeFile::parse("types.txt", text).expect("sound");
        for (name, rule) in [
            ("blk.1.attn_v.weight", Some(0)),
            ("blk.11.attn_v.weight", Some(1)),
            ("blk.0.attn_q_norm.weight", Some(1)),
            ("blk.0.attn_output.weight", Some(2)),
            ("output.weight", None),
            ("v.blk.0.ffn_up.weight", Some(3)),
            ("blk.0.ffn_a.weight", Some(4)),
            // The pattern is in lower case, the name is not.
            ("blk.0.ATTN_V.weight", None),
        ] {
            assert_eq!(file.rule_for(name), rule, "{name}");
        }
    }

    #[test]
    fn the_pinned_engine_searches_and_takes_the_first_rule_that_matches() {
        let source = pinned_function("src/llama-quant.cpp", "static ggml_type llama_tensor_get_type(");
        let manual = &source[source.find("bool manual = false;").expect("the loop over the rules")..];
        let search = manual.find("if (std::regex_search(tensor_name, pattern)) {").expect("an unanchored search");
        let ends = manual[search..].find("break;").expect("the first match ends the loop");
        assert!(manual[search..search + ends].contains("manual = true;"), "{manual}");
        // Only matrices that may be quantized come here.
        assert!(source.contains("if (!tensor_allows_quantization(params, qs.model.arch, tensor)) {"), "{source}");
    }
}
