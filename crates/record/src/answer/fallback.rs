//! Schemes that stand in for others in an answer.

use crate::EditPlace;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tensor whose rows are not whole blocks of the requested ggml type, so that another scheme quantized it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemeFallback {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The uses of the tensor on which the scheme acts.
    pub place: EditPlace,
    /// The scheme that was asked for.
    pub scheme_requested: String,
    /// The scheme that was applied.
    pub scheme_realised: String,
}
