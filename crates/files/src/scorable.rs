//! Tells from the header what a sound file is, and whether it contains a model that predicts the next token. An engine
//! that is started on anything else fails late, with an unclear message, or not at all.

use crate::hyperparameters::{self, FatalHyperparameter};
use gguf::{Array, GgufFile, Value};
use words::{Advice, Hint};

/// Why a sound file cannot be scored token by token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotScorable {
    /// The file is an adapter, which changes a model and is not one.
    #[error("found {}adapter for models of architecture {arch:?}, wanted a language model", article(.kind))]
    Adapter {
        /// The kind of the adapter, such as `LoRA`; empty where the file does not say it.
        kind: String,
        /// The architecture of the models that it changes.
        arch: String,
    },
    /// The file is a control vector, which changes a model and is not one.
    #[error("found a control vector, wanted a language model")]
    ControlVector,
    /// The file has the importances of a model's weights.
    #[error("found an importance matrix, wanted a language model")]
    Imatrix,
    /// The file is a model that makes images or video.
    #[error("found a model that makes images or video (general.architecture {arch:?}), wanted a language model")]
    ImageModel {
        /// The value of `general.architecture`.
        arch: String,
    },
    /// The file is a multimodal projector, the other half of a multimodal model.
    #[error("found a multimodal projector, which is the other half of a multimodal model, wanted a language model")]
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
    /// The file is a reranker, which scores pairs of texts.
    #[error("found a reranker ({found}), wanted a model that predicts the next token")]
    Reranker {
        /// The metadata that say so.
        found: String,
    },
    /// The model has bidirectional attention: a token attends to later ones too.
    #[error("found a model with bidirectional attention ({found}), wanted one that predicts the next token")]
    Bidirectional {
        /// The metadata that say so.
        found: String,
    },
    /// The file is the decoder of an audio codec.
    #[error("found the decoder of an audio codec (general.architecture {arch:?}), wanted a language model")]
    AudioDecoder {
        /// The value of `general.architecture`.
        arch: String,
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
            NotScorable::Adapter { .. } => {
                "assay does not apply adapters: merge it into its model, and name the merged file; census, quantize and diff take this one"
            }
            NotScorable::ControlVector => {
                "assay does not apply control vectors; census, quantize and diff take the file"
            }
            NotScorable::Imatrix => "name the model; a scheme takes this file as :imatrix=FILE",
            NotScorable::ImageModel { .. }
            | NotScorable::Reranker { .. }
            | NotScorable::Bidirectional { .. }
            | NotScorable::AudioDecoder { .. } => {
                "perplexity and KL divergence are not defined for it; census, quantize and diff take it"
            }
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
const ENCODERS: [&str; 10] = [
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
];

/// The architectures of llama.cpp that turn codes of an audio codec into sound.
const AUDIO_DECODERS: [&str; 1] = ["wavtokenizer-dec"];

/// `LLAMA_POOLING_TYPE_RANK` of llama.cpp's `llama.h`: the output is the score of a pair of texts.
const POOLING_RANK: u64 = 4;

/// The architectures of models that make images or video.
///
/// # Source
/// `IMG_ARCH_LIST` of city96/ComfyUI-GGUF, whose converter makes such files.
const IMAGE_MODELS: [&str; 13] = [
    "flux",
    "sd1",
    "sdxl",
    "sd3",
    "aura",
    "hidream",
    "cosmos",
    "ltxv",
    "hyvid",
    "wan",
    "lumina2",
    "qwen_image",
    "z_image",
];

/// The kind of an adapter with its article, as the start of a noun phrase: `a LoRA `, or `an ` where the kind is not
/// known.
fn article(kind: &str) -> String {
    if kind.is_empty() { "an ".into() } else { format!("a {kind} ") }
}

/// What the file is if it is not a language model, as the header says. `None` for language models.
pub fn other_kind(file: &GgufFile) -> Option<NotScorable> {
    let arch = file.architecture().unwrap_or_default();
    let text = |key: &str| file.get(key).and_then(Value::as_str);
    let kind = text("general.type");
    if kind == Some("adapter") || file.get("adapter.type").is_some() {
        let kind = match text("adapter.type").unwrap_or_default() {
            "lora" => "LoRA".to_owned(),
            other => words::escape_terminal(other),
        };
        return Some(NotScorable::Adapter { kind, arch: arch.into() });
    }
    if kind == Some("imatrix") {
        return Some(NotScorable::Imatrix);
    }
    if arch == "controlvector" {
        return Some(NotScorable::ControlVector);
    }
    if arch == "clip" || kind == Some("mmproj") {
        return Some(NotScorable::Projector);
    }
    if IMAGE_MODELS.contains(&arch) {
        return Some(NotScorable::ImageModel { arch: arch.into() });
    }
    if file.tensors().is_empty() && file.foreign_tensors().is_empty() {
        return Some(NotScorable::NoWeights);
    }
    if AUDIO_DECODERS.contains(&arch) {
        return Some(NotScorable::AudioDecoder { arch: arch.into() });
    }
    // Converters write a way of pooling for models that are made to give one vector, or one score, for a text.
    let key = format!("{arch}.pooling_type");
    match file.get(&key).and_then(Value::as_u64) {
        Some(POOLING_RANK) => return Some(NotScorable::Reranker { found: format!("{key} is {POOLING_RANK}, rank") }),
        Some(n @ 1..POOLING_RANK) => return Some(NotScorable::Embedding { found: format!("{key} is {n}") }),
        _ => {}
    }
    if ENCODERS.contains(&arch) {
        return Some(NotScorable::Embedding { found: format!("general.architecture {arch:?}") });
    }
    let causal = format!("{arch}.attention.causal");
    let is_bidirectional = file.get(&causal).and_then(Value::as_bool) == Some(false);
    is_bidirectional.then(|| NotScorable::Bidirectional { found: format!("{causal} is false") })
}

/// Checks from the header whether an engine can score the file.
///
/// # Errors
/// When no engine could score the file; the error says why.
pub fn check_scorable(file: &GgufFile) -> Result<(), NotScorable> {
    if let Some(other) = other_kind(file) {
        return Err(other);
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

/// What the file is, as a sentence for a reader, if it is not a language model.
pub fn kind_sentence(file: &GgufFile) -> Option<String> {
    other_kind(file).map(|other| match other {
        NotScorable::Adapter { kind, arch } => format!(
            "This file is {}adapter for models of architecture {}: it changes such a model and is not one.",
            article(&kind),
            words::escape_terminal(arch)
        ),
        NotScorable::ControlVector => "This file is a control vector: it changes a model and is not one.".into(),
        NotScorable::Imatrix => {
            "This file is an importance matrix: it says which weights of a model matter most.".into()
        }
        NotScorable::ImageModel { .. } => "This file is a model that makes images or video, not text.".into(),
        NotScorable::Projector => {
            "This file is a multimodal projector: it turns images or sound into the embeddings of a language model."
                .into()
        }
        NotScorable::NoWeights => "This file is a vocabulary: it has metadata and no weights.".into(),
        NotScorable::Embedding { .. } => {
            "This file is an embedding model: it encodes text and predicts no next token.".into()
        }
        NotScorable::Reranker { .. } => {
            "This file is a reranker: it scores how well two texts go together and predicts no next token.".into()
        }
        NotScorable::Bidirectional { .. } => {
            "This model has bidirectional attention, as embedding and diffusion models have: it predicts no next token."
                .into()
        }
        NotScorable::AudioDecoder { .. } => {
            "This file is the decoder of an audio codec: it turns codes into sound.".into()
        }
        NotScorable::NoTokenizer { .. } | NotScorable::Fatal(_) => String::new(),
    })
}
