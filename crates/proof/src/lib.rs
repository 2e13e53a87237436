//! Proof that assay computes what it says, on the user's machine: other implementations, and checks against them.
//!
//! ```text
//! known answers   formats, ggml_types, canary, worked ──┐
//!                    ▲ oracle, python                   ├─▶ Check… ─▶ Report
//! a model         model, run ───────────────────────────┘
//!                    ▲ Pipeline: engine, workers, codec, quantizer, files, keys, tap
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`check`] | what a check is and what comes of it |
//! | [`known_answers`] | all checks that need no model |
//! | [`formats`], [`ggml_types`], [`canary`], [`worked`] | those checks, by subject |
//! | [`model`], [`run`] | a model in the engine and through the worker; a run with its controls and its folder |
//! | [`pipeline`] | what the checks of a model work with, part by part |
//! | [`oracle`] | formats, ggml's blocks and scores written a second time, with no code of the kernels |
//! | [`python`] | the third implementation, where the user has one |
//! | [`inputs`] | values that break kernels |
//! | [`quantizer`], [`scorer`] | the boundaries at which two implementations are compared |
//! | [`tap`], `forward` | what an engine itself was given and gave; what an engine around another one passes on |
//!
//! A check knows what is right, never what may be wrong.

pub mod canary;
pub mod check;
pub mod formats;
mod forward;
pub mod ggml_types;
pub mod inputs;
pub mod model;
pub mod oracle;
pub mod pipeline;
pub mod python;
pub mod quantizer;
pub mod run;
pub mod scorer;
mod session;
pub mod tap;
pub mod worked;

pub use check::{Area, Check, Report, Status};
pub use pipeline::{OwnPipeline, Pipeline};
pub use python::Python;
pub use quantizer::{Fast, Quantizer};
pub use scorer::{Scorer, Scores};

use numerics::BlockCodec;

/// The number of checks that [`known_answers`] makes.
pub fn n_known_answers() -> usize {
    let ggml_row = 1;
    let formats = numerics::formats::FORMATS.len() - ggml_row + formats::N_OVER_ALL;
    let ggml = numerics::ggml::GGML_FORMATS.len() + oracle::ggml::QUANTIZED.len() + ggml_types::N_OVER_ALL;
    canary::N_CANARIES + formats + ggml + worked::N_CHECKS
}

/// Makes every check that needs no model, in a fixed order.
pub fn known_answers(
    quantizer: &dyn Quantizer,
    codec: &dyn BlockCodec,
    scorer: &dyn Scorer,
    mut python: Option<&mut Python>,
    put: &mut dyn FnMut(Check),
) {
    canary::checks(codec, put);
    formats::checks(quantizer, python.as_deref_mut(), put);
    ggml_types::checks(codec, python, put);
    worked::checks(scorer, put);
}
