//! What a reader should know of how something was measured, as facts in fields. The module
//! [`sentence`](crate::sentence) words them, so rewording a sentence changes no stored record.

use crate::reason::value_or_sentence;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A remark that changes no number, but may decide whether two numbers are comparable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "note", rename_all = "snake_case", deny_unknown_fields)]
pub enum Note {
    /// The text begins with a byte order mark, which is not text and was left out.
    ByteOrderMark {
        /// The name of the text.
        text: String,
    },
    /// The text spells special tokens of the model's vocabulary.
    SpecialTokens {
        /// The name of the text.
        text: String,
        /// The tokens that it spells, the most frequent first.
        tokens: Vec<SpelledToken>,
        /// Whether they were read as these tokens, instead of as plain text.
        parsed: bool,
    },
    /// The windows are longer than the model was trained for.
    LongWindows {
        /// The length of a window in tokens.
        n_ctx: u32,
        /// The length in tokens that the model was trained for.
        n_ctx_train: u32,
    },
    /// A conversation is longer than the model was trained for.
    LongConversation {
        /// The length of the longest conversation in tokens, with its answer.
        n_tokens: usize,
        /// The length in tokens that the model was trained for.
        n_ctx_train: u32,
    },
    /// A rule is applied to no tensor, because later rules are applied to all of its tensors.
    RuleWithoutEffect {
        /// The rule, as `SELECTOR=SCHEME`.
        rule: String,
    },
    /// A scheme has no importances for a tensor, so the tensor is quantized without.
    NoImportances {
        /// The name of the tensor.
        tensor: String,
        /// The scheme in canonical form.
        scheme: String,
    },
    /// The engine's graph does not use some of the target's tensors, which stay as they are.
    UnusedTensors {
        /// The names of the tensors.
        tensors: Vec<String>,
    },
    /// Roles of the selector do not include tensors that are similar to theirs.
    SimilarLeftOut {
        /// The tensors that are left out, by role.
        left_out: Vec<LeftOut>,
    },
    /// More threads were asked for than there are cores; no more threads than cores are used.
    MoreThreadsThanCores {
        /// The number of threads that were asked for.
        asked: usize,
        /// The number of cores.
        cores: usize,
    },
    /// Starting from a recorded prefix does not give the bits of a full pass, so every pass is full.
    EveryPassFull,
    /// The note is a sentence, as in records from before format 5.
    Stated {
        /// The sentence of that record.
        sentence: String,
    },
}

/// A special token that a text spells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpelledToken {
    /// The spelling of the token.
    pub token: String,
    /// How often the text spells it.
    pub n: usize,
}

/// Tensors that a role does not include although their names are similar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The name of the role.
    pub role: String,
    /// The tensors' name without layer and suffix.
    pub similar: String,
    /// The number of these tensors.
    pub n: usize,
}

impl From<String> for Note {
    fn from(sentence: String) -> Self {
        Note::Stated { sentence }
    }
}

/// Reads notes that are values today and were sentences before format 5.
pub(crate) fn notes_or_sentences<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Note>, D::Error> {
    #[derive(Deserialize)]
    struct Either(#[serde(deserialize_with = "value_or_sentence")] Note);
    Ok(Vec::<Either>::deserialize(deserializer)?.into_iter().map(|Either(note)| note).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Field(#[serde(deserialize_with = "notes_or_sentences")] Vec<Note>);

    #[test]
    fn notes_are_stored_as_values_and_a_sentence_is_read_in_the_place_of_one() {
        let note = Note::SpecialTokens {
            text: "a.txt".into(),
            tokens: vec![SpelledToken { token: "<s>".into(), n: 2 }],
            parsed: false,
        };
        let json = r#"{"note":"special_tokens","text":"a.txt","tokens":[{"token":"<s>","n":2}],"parsed":false}"#;
        assert_eq!(serde_json::to_string(&note).expect("prints"), json);
        let read = |text: &str| serde_json::from_str::<Field>(text).map(|Field(notes)| notes);
        assert_eq!(
            read(&format!("[{json},\"as it was\"]")).expect("reads"),
            [note, Note::Stated { sentence: "as it was".into() }]
        );
        for wrong in [r#"[{"note":"of another program"}]"#, r#"[{"note":"stated","sentence":"","added":1}]"#, "[1]"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
