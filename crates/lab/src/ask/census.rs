//! What precision the values of a file really have, and what schemes would change in them.

use super::AskError;
use files::census::CensusError;
use files::pieces::ValuesError;
use files::{Model, SchemeFiles};
use numerics::{BlockCodec, Scheme};
use record::answer::CensusAnswer;
use select::Selector;
use std::path::PathBuf;

/// The file and tensors to look at, and the schemes to predict.
#[derive(Clone, Debug)]
pub struct CensusRequest {
    /// The model file, in either byte order.
    pub file: PathBuf,
    /// The selector of the tensors.
    pub target: Selector,
    /// The schemes whose changes are predicted.
    pub against: Vec<Scheme>,
    /// Whether a ggml type whose blocks do not divide the rows of a tensor gives way to the type that llama-quantize takes.
    pub allow_fallback: bool,
}

/// Looks at the values of a file. `progress` hears how many tensors are done, and of how many.
///
/// # Errors
/// When the file or a file of a scheme cannot be read, the selector matches nothing, or a scheme fits none of the tensors.
pub fn census(
    request: &CensusRequest,
    codec: &dyn BlockCodec,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<CensusAnswer, AskError> {
    let mut files = SchemeFiles::default();
    let schemes = request.against.iter().map(|scheme| files.read(scheme)).collect::<Result<Vec<Scheme>, _>>()?;
    let model = Model::open_to_look(&request.file)?;
    files::census::census(&model, &request.target, &schemes, request.allow_fallback, codec, progress).map_err(|error| {
        let shown = model.shown();
        match error {
            CensusError::Selector(error) => AskError::Selection { model: shown, source: Box::new(error.into()) },
            CensusError::Values(error) => unreadable(&model, error),
            CensusError::FitsNone { scheme, why, hint } => AskError::FitsNone { model: shown, scheme, why, hint },
        }
    })
}

/// The error for values that cannot be read. It names the file where `error` does not.
pub(super) fn unreadable(model: &Model, error: ValuesError) -> AskError {
    match error {
        ValuesError::Gguf(error) => AskError::Unreadable(error),
        source => AskError::Values { model: model.shown(), source: Box::new(source) },
    }
}
