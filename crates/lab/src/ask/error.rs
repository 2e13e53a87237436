//! The errors of questions, and whose fault each is.

use crate::judge::evidence::EvidenceError;
use crate::plan::PlanError;
use crate::run::RunError;
use crate::sweep::SweepError;
use eval::choices::ChoiceError;
use files::pieces::ValuesError;
use files::rewrite::RewriteError;
use files::{OpenError, SchemeFileError, TypeFileError};
use gguf::{GgufError, OutputError};
use numerics::FakeQuantError;
use record::store::StoreError;
use select::ApplyError;
use stats::StatsError;
use words::{Advice, Hint, count, plural};
use worker::SessionError;

/// Who is at fault when a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskErrorKind {
    /// The user asked for something that cannot be measured.
    Input,
    /// A control failed, and results are withheld.
    Withheld,
    /// The engine failed, or its answer makes no sense.
    Engine,
}

/// What the user asked for that needs a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsVariant {
    /// A choice of layers.
    Layers,
    /// A fallback for schemes that do not fit.
    Fallback,
    /// A trace of the residual stream.
    Trace,
    /// A comparison of attention.
    Attention,
    /// A sweep over the layers.
    Sweep,
}

impl std::fmt::Display for NeedsVariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NeedsVariant::Layers => "a choice of layers",
            NeedsVariant::Fallback => "a fallback",
            NeedsVariant::Trace => "a trace of the residual stream",
            NeedsVariant::Attention => "a comparison of attention",
            NeedsVariant::Sweep => "a sweep",
        })
    }
}

/// Why a question is not answered. The fields `model` and `file` are names or paths as they may be shown.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The model file is not sound, or no engine can score it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data of a file cannot be read; the error names the file.
    #[error(transparent)]
    Unreadable(Box<GgufError>),
    /// The values of a tensor cannot be restored.
    #[error("{model}: {source}")]
    Values {
        /// The name of the model.
        model: String,
        /// The tensor and the reason.
        source: Box<ValuesError>,
    },
    /// A scheme fits none of the tensors that were chosen.
    #[error("{model}: {scheme} fits none of the tensors: {why}")]
    FitsNone {
        /// The name of the model.
        model: String,
        /// The scheme in canonical form.
        scheme: String,
        /// Why the scheme does not fit the first of the tensors.
        why: String,
        /// What the user can do about it; `None` where nothing helps.
        hint: Option<Hint>,
    },
    /// A file cannot be rewritten as asked.
    #[error("{model}: {source}")]
    Rewrite {
        /// The name of the model.
        model: String,
        /// The reason why the file cannot be rewritten.
        source: Box<RewriteError>,
    },
    /// The output cannot be written; the error names it.
    #[error(transparent)]
    Output(Box<OutputError>),
    /// The engine does not open a file that was written. The file was not given its name.
    #[error("{output}: the engine does not open what was written, and nothing is left behind: {}", without_name(.source, .output))]
    Unopened {
        /// The name that the file was to have.
        output: String,
        /// Why the engine does not open it.
        source: Box<SessionError>,
    },
    /// A file of tensor types cannot be used.
    #[error(transparent)]
    TypeFile(#[from] TypeFileError),
    /// There is no run folder at a path.
    #[error("{dir}: {found}, wanted a run folder")]
    NotARunFolder {
        /// The path that was given.
        dir: String,
        /// What was found at the path.
        found: String,
    },
    /// A kill ended a run before its plan was written.
    #[error("{dir}: a run began here and was killed before its plan was written, so nothing was measured")]
    KilledEarly {
        /// The path of the run folder.
        dir: String,
    },
    /// A run has not ended.
    #[error("{dir}: the run has not come to its end, so there is nothing to report")]
    Unfinished {
        /// The path of the run folder.
        dir: String,
    },
    /// A run folder cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that a scheme names cannot be used.
    #[error(transparent)]
    SchemeFile(#[from] SchemeFileError),
    /// A selector matches nothing in the model, or two applications overlap.
    #[error("{model}: {source}")]
    Selection {
        /// The name of the model.
        model: String,
        /// What is wrong with the selection.
        source: Box<ApplyError>,
    },
    /// A scheme cannot quantize a tensor.
    #[error("{model}: {source}")]
    Unfit {
        /// The name of the model.
        model: String,
        /// The tensor and the reason.
        source: Box<FakeQuantError>,
        /// The scheme that fits the tensor's rows; `None` unless their length is the reason.
        fallback: Option<String>,
    },
    /// The user asked for something that needs a variant, but no scheme is applied.
    #[error("{0} needs a scheme to apply, and none is given")]
    NothingApplied(NeedsVariant),
    /// A sweep finds no tensor that is in a layer.
    #[error("{model}: none of the tensors is in a layer")]
    NoLayer {
        /// The name of the model.
        model: String,
    },
    /// A file of tasks cannot be read.
    #[error("{file}: {source}")]
    Tasks {
        /// The name of the file.
        file: String,
        /// What is wrong with the file.
        source: ChoiceError,
    },
    /// The graph names no layers, so a trace finds nothing.
    #[error("{model}: the graph of {arch} names no layers, so there is nothing to trace")]
    NothingToTrace {
        /// The name of the model.
        model: String,
        /// The architecture of the model.
        arch: String,
    },
    /// The residual stream differs from the reference's before the first layer that the variant touches.
    #[error(
        "{model}: the residual stream differs after layer {layer} ({}), before anything was touched; results are withheld",
        words::deviation(*.rel_rmse)
    )]
    TouchedEarly {
        /// The name of the model.
        model: String,
        /// The first layer after which it differs.
        layer: usize,
        /// The relative error after that layer.
        rel_rmse: f64,
    },
    /// The variant cannot be measured.
    #[error("{model}: the variant cannot be measured: {why}")]
    Variant {
        /// The name of the model.
        model: String,
        /// The reason in one line.
        why: String,
        /// What the user can do about it; `None` where nothing helps.
        hint: Option<Hint>,
    },
    /// No numbers can be computed from the scores.
    #[error("{model}: {source}")]
    Scores {
        /// The name of the model.
        model: String,
        /// What is wrong with the scores.
        source: EvidenceError,
    },
    /// The worker scored another number of tasks than was asked for.
    #[error("{model}: scores of {} came back, {} were asked for", plural(.found, "task"), count(*.wanted as u64))]
    MissingTasks {
        /// The name of the model.
        model: String,
        /// The number of tasks that came back.
        found: usize,
        /// The number of tasks that were asked for.
        wanted: usize,
    },
    /// The race cannot be decided.
    #[error("{model}: {source}")]
    Race {
        /// The name of the model.
        model: String,
        /// The reason why the race cannot be decided.
        source: StatsError,
    },
    /// The session with the worker ended without an answer, or the weights were changed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A run ended without a record.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The folder for reports lies in the folder of a run.
    #[error("{folder}: lies in the folder of the run, which only a run writes to")]
    InsideTheRun {
        /// The path of the folder that was given.
        folder: String,
    },
    /// A carrier would round the values of a scheme a second time.
    #[error("{model}: {source}")]
    RoundsTwice {
        /// The name of the model.
        model: String,
        /// The tensor, and the first value that is rounded again.
        source: Box<RewriteError>,
        /// Whether every scheme has a ggml type of its own, which stores its values exactly. Otherwise F32 does.
        have_own_types: bool,
    },
    /// The path for the folder of a run is a file.
    #[error("{dir}: is a file, wanted a folder for the run")]
    FileForAFolder {
        /// The path that was given.
        dir: String,
    },
}

impl From<PlanError> for AskError {
    fn from(error: PlanError) -> Self {
        AskError::Run(error.into())
    }
}

impl Advice for AskError {
    fn hint(&self) -> Option<Hint> {
        match self {
            AskError::Open(error) => error.hint(),
            AskError::Unreadable(error) => error.hint(),
            AskError::Values { source, .. } => source.hint(),
            AskError::FitsNone { hint, .. } | AskError::Variant { hint, .. } => hint.clone(),
            AskError::Rewrite { source, .. } => source.hint(),
            AskError::Output(error) => error.hint(),
            AskError::Unopened { .. } => Some(Hint::SkipCheck),
            AskError::TypeFile(error) => error.hint(),
            AskError::Store(error) => error.hint(),
            AskError::SchemeFile(error) => error.hint(),
            AskError::Selection { source, .. } => source.hint(),
            AskError::Unfit { fallback: Some(ty), .. } => Some(Hint::AllowFallback { ty: ty.clone().into() }),
            AskError::Unfit { source, .. } => source.hint(),
            AskError::Tasks { source, .. } => source.hint(),
            AskError::TouchedEarly { .. } | AskError::MissingTasks { .. } => Some(Hint::Bug),
            AskError::Session(error) => error.hint(),
            AskError::Run(error) => error.hint(),
            AskError::RoundsTwice { have_own_types, .. } => Some(Hint::StoreExactly { own: *have_own_types }),
            AskError::FileForAFolder { .. } => Some(Hint::OtherFolder { or: None }),
            // The error itself says what is missing, and each front knows how to ask for it.
            AskError::NotARunFolder { .. }
            | AskError::InsideTheRun { .. }
            | AskError::KilledEarly { .. }
            | AskError::Unfinished { .. }
            | AskError::NothingApplied(_)
            | AskError::NoLayer { .. }
            | AskError::NothingToTrace { .. } => None,
            AskError::Scores { .. } | AskError::Race { .. } => None,
        }
    }
}

/// An error about a file, without the name of the file.
fn without_name(error: &SessionError, name: &str) -> String {
    let said = error.to_string();
    said.strip_prefix(&format!("{name}: ")).map(str::to_owned).unwrap_or(said)
}

impl AskErrorKind {
    /// The party at fault when a session ends without an answer.
    pub(crate) fn of_session(error: &SessionError) -> AskErrorKind {
        match error {
            SessionError::NotRestored { .. } => AskErrorKind::Withheld,
            error if error.is_input() => AskErrorKind::Input,
            _ => AskErrorKind::Engine,
        }
    }
}

impl AskError {
    /// The party that is at fault.
    pub fn kind(&self) -> AskErrorKind {
        match self {
            AskError::Rewrite { source, .. } if matches!(**source, RewriteError::Thread(_)) => AskErrorKind::Engine,
            AskError::Open(_)
            | AskError::Unreadable(_)
            | AskError::Values { .. }
            | AskError::FitsNone { .. }
            | AskError::Rewrite { .. }
            | AskError::Output(_)
            | AskError::TypeFile(_)
            | AskError::NotARunFolder { .. }
            | AskError::FileForAFolder { .. }
            | AskError::InsideTheRun { .. }
            | AskError::RoundsTwice { .. }
            | AskError::KilledEarly { .. }
            | AskError::Unfinished { .. }
            | AskError::Store(_)
            | AskError::SchemeFile(_)
            | AskError::Selection { .. }
            | AskError::Unfit { .. }
            | AskError::NothingApplied(_)
            | AskError::NoLayer { .. }
            | AskError::Tasks { .. }
            | AskError::NothingToTrace { .. } => AskErrorKind::Input,
            AskError::TouchedEarly { .. } => AskErrorKind::Withheld,
            AskError::Session(error) => AskErrorKind::of_session(error),
            AskError::Run(error) => error.kind(),
            AskError::Unopened { source, .. } if source.is_input() => AskErrorKind::Input,
            AskError::Unopened { .. }
            | AskError::Variant { .. }
            | AskError::Scores { .. }
            | AskError::MissingTasks { .. }
            | AskError::Race { .. } => AskErrorKind::Engine,
        }
    }

    /// The error of a sweep over a model.
    pub(crate) fn of_sweep(model: &str, error: SweepError) -> AskError {
        let model = model.to_owned();
        match error {
            // The error itself says which model it is about.
            SweepError::Session(error) => AskError::Session(error),
            SweepError::Evidence { source, .. } => AskError::Scores { model, source },
            SweepError::Race(source) => AskError::Race { model, source },
        }
    }
}
