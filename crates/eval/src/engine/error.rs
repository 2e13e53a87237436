//! The errors of an engine.

use record::WeightUse;
use words::{Advice, Hint};

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model cannot be used for this, though the file is sound: it has no tokenizer, or only embeds text.
    #[error("{what}")]
    Unsupported {
        /// What was found, with the name of the file.
        what: String,
        /// What the user can do about it.
        hint: Hint,
    },
    /// The engine got no memory for what was asked.
    #[error("{0}")]
    OutOfMemory(String),
    /// The engine refused the request or failed.
    #[error("engine: {0}")]
    Failed(String),
    /// The model's graph has no weight of this name.
    #[error("the engine's graph has no weight named {0:?}")]
    NoSuchWeight(String),
    /// No node uses the weight in this way.
    #[error("{name}: the model's graph does not use it as {}", match .used_as { WeightUse::Lookup => "a lookup table", WeightUse::Head => "the output head" })]
    NotUsedSo {
        /// The GGUF name of the tensor.
        name: String,
        /// The use that was asked for.
        used_as: WeightUse,
    },
    /// The model's graph has no node of this name.
    #[error("the model's graph has no node named {name:?}; near it are {}", .near.join(", "))]
    NoSuchNode {
        /// The name that was asked for.
        name: String,
        /// The names of nodes in the same layer, or at the ends of the graph.
        near: Vec<String>,
    },
}

impl Advice for EngineError {
    fn hint(&self) -> Option<Hint> {
        match self {
            EngineError::Unsupported { hint, .. } => Some(hint.clone()),
            EngineError::OutOfMemory(_) => Some(Hint::LimitMemory),
            EngineError::Failed(_) => Some(Hint::CheckEngine),
            EngineError::NoSuchNode { .. } => {
                Some(Hint::words("name one of its graph's nodes, such as those, in [where=activation]"))
            }
            EngineError::NoSuchWeight(_) | EngineError::NotUsedSo { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_its_hint_stands_beside_it() {
        let hint = Hint::words("convert again");
        let error = EngineError::Unsupported { what: "m.gguf: no tokenizer".into(), hint: hint.clone() };
        assert_eq!((error.to_string().as_str(), error.hint()), ("m.gguf: no tokenizer", Some(hint)));
        let error = EngineError::NotUsedSo { name: "output.weight".into(), used_as: WeightUse::Lookup };
        assert_eq!(error.to_string(), "output.weight: the model's graph does not use it as a lookup table");
        assert_eq!(error.hint(), None);
    }
}
