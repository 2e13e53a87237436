//! Advice that goes with an error, as a value.
//!
//! The room that finds an error knows what would help, and a front knows what that is called there: the command line
//! speaks of `--ctx`, a library of an argument. So an error displays as one line, and its [`Hint`] stands beside it.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What to do about an error. It states only what was established when the error was found.
///
/// What concerns a setting or a command of a front is a variant of its own, which every front words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// Advice about the world, as a sentence that is the same in every front.
    Words(Cow<'static, str>),
    /// An invariant of assay's own was broken, which its authors should know.
    Bug,
    /// The self-check tells whether the engine works on this machine.
    CheckEngine,
    /// The output needs another name, or leave to replace the file that has it.
    ReplaceOutput,
    /// The system's limit to the size of a file is too low for the output, unless it is split into smaller files.
    SmallerFiles,
    /// The limit to the size of each file of a split output is too low.
    LargerFiles,
    /// Tensors that the wanted type does not fit can be stored in another one, if that is allowed.
    AllowFallback {
        /// The type that would be taken.
        ty: Cow<'static, str>,
    },
    /// The limit to main memory is too low for what cannot be given up.
    RaiseMemory {
        /// Whether the need includes weights in F32, which the native arm does without.
        has_f32_weights: bool,
    },
    /// The memory of the machine ran out, and a limit keeps a measurement within it.
    LimitMemory,
    /// The text is too short for a window.
    LongerText,
    /// The context is too short for what is put into it.
    LargerContext,
    /// The folder cannot be the run's.
    OtherFolder {
        /// What else would help, as the rest of a sentence.
        or: Option<Cow<'static, str>>,
    },
    /// Layers were to be computed on a GPU, and this build finds none.
    ComputeOnCpu,
    /// A key of the model file tells more.
    ShowMetadata {
        /// The key.
        key: Cow<'static, str>,
    },
    /// What was chosen exists only in a running model, where it can be measured.
    MeasureInModel,
    /// The list of schemes tells which formats and options there are.
    ListSchemes {
        /// The names that the unknown one may have meant, the nearest first; none if the name is known.
        near: Vec<String>,
    },
    /// The same question can be asked with the values that are not finite left as they are.
    KeepNonfinite {
        /// The question, as `SELECTOR=SCHEME`.
        apply: String,
    },
}

impl Hint {
    /// Advice about the world.
    pub fn words(words: impl Into<Cow<'static, str>>) -> Hint {
        Hint::Words(words.into())
    }
}

/// An error that may come with advice. One that wraps another passes the inner one's on.
pub trait Advice {
    /// What to do about it, where that was established.
    fn hint(&self) -> Option<Hint>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_survives_the_way_through_a_pipe() {
        for hint in [
            Hint::words("leave the task out"),
            Hint::Bug,
            Hint::AllowFallback { ty: "q8_0".into() },
            Hint::RaiseMemory { has_f32_weights: true },
            Hint::OtherFolder { or: None },
            Hint::ListSchemes { near: vec!["bf16".into()] },
        ] {
            let line = serde_json::to_string(&hint).expect("JSON");
            assert_eq!(serde_json::from_str::<Hint>(&line).expect("advice"), hint, "{line}");
        }
    }
}
