//! Advice that goes with an error, as a value.
//!
//! The room that finds an error knows what would help, and a front knows what that is called there: the command line
//! speaks of `--ctx`, a library of an argument. So an error displays as one line, and its [`Hint`] stands beside it.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Advice on an error. It states only what was established when the error was found.
///
/// Advice about a setting or a command of a front has its own variant, which every front words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// Advice about the world, as a sentence that is the same in every front.
    Words(Cow<'static, str>),
    /// An invariant of assay itself was broken, and its authors should know.
    Bug,
    /// The self-check can tell whether the engine works on this machine.
    CheckEngine,
    /// The census of the model file names the tensors whose values are not finite.
    NonfiniteTensors,
    /// The output needs another name, or permission to replace the file that has it.
    ReplaceOutput,
    /// The system's limit on file size is too low for the output, unless it is split into smaller files.
    SmallerFiles,
    /// One of the model's chat templates is to be named.
    NameTemplate,
    /// The limit on the size of each file of a split output is too low.
    LargerFiles,
    /// Tensors that the wanted type does not fit can be stored in another type, if the user allows it.
    AllowFallback {
        /// The type that would be used instead.
        ty: Cow<'static, str>,
    },
    /// Another type would store the values of a scheme exactly.
    StoreExactly {
        /// Whether the scheme has a ggml type of its own.
        own: bool,
    },
    /// A written model can be given its name without being opened by the engine.
    SkipCheck,
    /// The limit on main memory is too low for what is indispensable.
    RaiseMemory {
        /// Whether the need includes weights in F32, which the native arm does without.
        has_f32_weights: bool,
    },
    /// The system has too little main memory for what is indispensable.
    NeedLessMemory {
        /// Whether the need includes weights in F32, which the native arm does without.
        has_f32_weights: bool,
    },
    /// The memory of the machine ran out, and a limit keeps a measurement within it.
    LimitMemory,
    /// The text is too short for a window.
    LongerText,
    /// The context is too short for what goes into it.
    LargerContext,
    /// The folder cannot be a run folder.
    OtherFolder {
        /// What else would help, as the rest of a sentence; `None` where nothing else would.
        or: Option<Cow<'static, str>>,
    },
    /// Layers were to be computed on a GPU, and there is none that this build can use.
    ComputeOnCpu {
        /// Whether the build has a back end for GPUs.
        has_backend: bool,
    },
    /// A key of the model file tells more.
    ShowMetadata {
        /// The key to look at.
        key: Cow<'static, str>,
    },
    /// What was chosen exists only in a running model and can be measured there.
    MeasureInModel,
    /// A Python with the packages of the reference implementations lets the self-check compare with them.
    AddReferencePython,
    /// The list of schemes shows which formats and options exist.
    ListSchemes {
        /// The names that the unknown one may have meant, the nearest first; empty if the name is known.
        near: Vec<String>,
    },
    /// The same question can be asked with NaN and infinite values left as they are.
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

/// An error that may come with advice. An error that wraps another passes the inner one's advice on.
pub trait Advice {
    /// The advice on this error; `None` where none was established.
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
