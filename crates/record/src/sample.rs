//! Raw samples: the scores of one window, token by token.

use crate::engine::LayerError;
use crate::evidence::ActivationEvidence;
use serde::{Deserialize, Serialize};

/// The reference's scores on one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSample {
    /// Window.
    pub chunk: usize,
    /// Negative log-likelihood of each scored token, in nats.
    pub nll: Vec<f64>,
    /// blake3 of the logits' bytes.
    pub logits_blake3: String,
}

/// A cell's scores on one window, beside its reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Cell key.
    pub cell: String,
    /// Window.
    pub chunk: usize,
    /// Negative log-likelihood of each scored token, in nats.
    pub nll: Vec<f64>,
    /// The reference's, of the same tokens.
    pub nll_ref: Vec<f64>,
    /// Σ p_ref (ln p_ref − ln p_var) at each scored position, in nats.
    pub kld: Vec<f64>,
    /// Scored positions at which both have the same most probable token.
    pub same_top: usize,
    /// Scored positions whose logits differ in any bit.
    pub logits_changed: usize,
    /// Watched activations whose bits differ from the reference's, of those watched; on a cell's first window only.
    pub activations: Option<ActivationEvidence>,
    /// How far the hidden state that leaves each layer is from the reference's; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<LayerError>,
}
