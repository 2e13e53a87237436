//! A tokenizer for a model that has none of its own.

use gguf::{Array, GgufFile, StringArray, Value};

/// Why the tokenizer of a file cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// The file has no tokenizer.
    #[error("found no tokenizer.ggml.tokens, wanted a tokenizer to copy")]
    None,
    /// The tokenizer has more tokens than the model has rows.
    #[error("found {found} tokens, wanted at most {wanted}")]
    TooLarge {
        /// The number of tokens of the tokenizer.
        found: usize,
        /// The number of rows of the embedding.
        wanted: usize,
    },
}

/// The `tokenizer.*` metadata, and the number of tokens that they name.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    metadata: Vec<(String, Value)>,
    n_vocab: usize,
}

/// The token types, numbered as in `llama_token_type`.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";

impl Vocabulary {
    /// A tokenizer of `<unk>`, `<s>`, `</s>` and the 256 bytes, in SentencePiece's format. Any text becomes one token
    /// per byte.
    pub fn bytes(add_bos: bool) -> Self {
        let tokens: Vec<String> = ["<unk>", "<s>", "</s>"]
            .map(String::from)
            .into_iter()
            .chain((0..=255u8).map(|byte| format!("<0x{byte:02X}>")))
            .collect();
        let n_vocab = tokens.len();
        let types = [UNKNOWN, CONTROL, CONTROL].into_iter().chain([BYTE; 256]).collect();
        let tokens = StringArray::of(&tokens).unwrap_or_default();
        let metadata = [
            ("model", Value::String(b"llama".to_vec())),
            ("tokens", Value::Array(Array::String(tokens))),
            ("scores", Value::Array(Array::F32(vec![0.0; n_vocab]))),
            ("token_type", Value::Array(Array::I32(types))),
            ("bos_token_id", Value::U32(1)),
            ("eos_token_id", Value::U32(2)),
            ("add_bos_token", Value::Bool(add_bos)),
        ];
        let metadata = metadata.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).to_vec();
        Vocabulary { metadata, n_vocab }
    }

    /// The tokenizer of another model.
    ///
    /// # Errors
    /// When the file has no tokenizer.
    pub fn of(file: &GgufFile) -> Result<Self, VocabularyError> {
        let n_vocab = file.get(TOKENS).and_then(Value::as_array).map_or(0, Array::len);
        if n_vocab == 0 {
            return Err(VocabularyError::None);
        }
        let metadata = file.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer.")).cloned().collect();
        Ok(Vocabulary { metadata, n_vocab })
    }

    /// Adds unused tokens at the end until there are `n_vocab` tokens.
    ///
    /// # Errors
    /// When there are more tokens already.
    pub fn padded_to(mut self, n_vocab: usize) -> Result<Self, VocabularyError> {
        if self.n_vocab > n_vocab {
            return Err(VocabularyError::TooLarge { found: self.n_vocab, wanted: n_vocab });
        }
        let first = self.n_vocab;
        for (key, value) in &mut self.metadata {
            match (key.as_str(), value) {
                (TOKENS, Value::Array(Array::String(tokens))) => {
                    let padding: Vec<Vec<u8>> =
                        (first..n_vocab).map(|i| format!("<unused_{i}>").into_bytes()).collect();
                    let all = tokens.iter().chain(padding.iter().map(Vec::as_slice));
                    *tokens = StringArray::of(all).unwrap_or_default();
                }
                (SCORES, Value::Array(Array::F32(scores))) => scores.resize(n_vocab, 0.0),
                (TOKEN_TYPE, Value::Array(Array::I32(types))) => types.resize(n_vocab, UNUSED),
                _ => {}
            }
        }
        self.n_vocab = n_vocab;
        Ok(self)
    }

    /// The number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// The metadata keys that carry the tokenizer in a model file.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.metadata
    }
}
