//! Tells from the header whether a sound file contains a model that predicts the next token. An engine that is started
//! on anything else fails late, with an unclear message, or not at all.

use crate::hyperparameters::{self, FatalHyperparameter};
use gguf::{Array, GgufFile, Value};
use words::{Advice, Hint};

/// Why a sound file cannot be scored token by token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotScorable {
    /// The file is a multimodal projector, the other half of a multimodal model.
    #[error("found a multimodal projector (general.architecture \"clip\"), wanted a language model")]
    Projector,
    /// The file has metadata but no weights.
    #[error("found a vocabulary without a model (no tensors), wanted a language model")]
    NoWeights,
    /// The file is an embedding model, which only encodes.
    #[error("found an embedding model ({found}), wanted one that predicts the next token")]
    Embedding {
        /// The metadata that say so.
        found: String,
    },
    /// The file has no tokenizer that can turn text into tokens.
    #[error("found {found}, wanted a tokenizer to measure with")]
    NoTokenizer {
        /// What the file has instead of a tokenizer.
        found: &'static str,
    },
    /// llama.cpp aborts on a value of the metadata.
    #[error(transparent)]
    Fatal(#[from] FatalHyperparameter),
}

impl Advice for NotScorable {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words(match self {
            NotScorable::Fatal(_) => "convert the model again; census, quantize and diff take the file",
            NotScorable::Projector => "name the language model's own file; census, quantize and diff take this one too",
            NotScorable::NoWeights => "name a file with weights; files called ggml-vocab-* are for testing tokenizers",
            NotScorable::Embedding { .. } => {
                "perplexity and KL divergence are not defined for it; census, quantize and diff take it"
            }
            NotScorable::NoTokenizer { .. } => {
                "use a GGUF file that carries its tokenizer; convert again with its tokenizer files beside it"
            }
        }))
    }
}

/// The architectures of llama.cpp that only encode.
const ENCODERS: [&str; 11] = [
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "eurobert",
    "gemma-embedding",
    "t5encoder",
    "wavtokenizer-dec",
];

/// Checks from the header whether an engine can score the file.
///
/// # Errors
/// When no engine could score the file; the error says why.
pub fn check_scorable(file: &GgufFile) -> Result<(), NotScorable> {
    let arch = file.architecture().unwrap_or_default();
    if arch == "clip" || file.get("general.type").and_then(Value::as_str) == Some("mmproj") {
        return Err(NotScorable::Projector);
    }
    if file.tensors().is_empty() {
        return Err(NotScorable::NoWeights);
    }
    let causal = format!("{arch}.attention.causal");
    if file.get(&causal).and_then(Value::as_bool) == Some(false) {
        return Err(NotScorable::Embedding { found: format!("{causal} is false") });
    }
    if ENCODERS.contains(&arch) {
        return Err(NotScorable::Embedding { found: format!("general.architecture {arch:?}") });
    }
    let tokens = file.get("tokenizer.ggml.tokens").and_then(Value::as_array).map_or(0, Array::len);
    let found = match file.get("tokenizer.ggml.model").and_then(Value::as_str) {
        None => "no tokenizer.ggml.model",
        Some("no_vocab" | "none") => "tokenizer.ggml.model \"no_vocab\"",
        Some(_) if tokens == 0 => "no tokenizer.ggml.tokens",
        Some(_) => return Ok(hyperparameters::check(file)?),
    };
    Err(NotScorable::NoTokenizer { found })
}
