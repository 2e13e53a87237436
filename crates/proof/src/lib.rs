//! Proof that assay computes what it says: on the user's machine, against other implementations, and by mutation.
//!
//! ```text
//! known answers   formats, ggml_types, canary, worked ──┐
//!                    ▲ oracle, python                   ├─▶ Check… ─▶ Report
//! a model         model, run (through parts) ───────────┘
//! mutation        faults planted in parts ─▶ the same checks ─▶ who caught what
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`check`] | what a check is and what comes of it |
//! | [`known_answers`] | all checks that need no model |
//! | [`formats`], [`ggml_types`], [`canary`], [`worked`] | those, by subject |
//! | [`model`], [`run`] | a model in the engine and through the worker; a run with its controls and its folder |
//! | [`mutate`] | planted faults, a row each, and what catches them |
//! | [`oracle`] | formats and ggml's blocks written a second time; nothing of the kernels is used |
//! | [`python`] | the third implementation, where the user has one |
//! | [`inputs`] | values that break kernels |
//! | [`parts`], [`quantizer`], [`scorer`], [`tap`] | boundaries at which implementations, and planted faults, are put in; `forward` is what an engine there passes on |
//!
//! A check knows what is right, never what may be wrong: planted faults are found by the checks that a user runs.

pub mod canary;
pub mod check;
pub mod formats;
mod forward;
pub mod ggml_types;
pub mod inputs;
pub mod model;
pub mod mutate;
pub mod oracle;
pub mod parts;
pub mod python;
pub mod quantizer;
pub mod run;
pub mod scorer;
mod session;
pub mod tap;
pub mod worked;

pub use check::{Area, Check, Report, Status};
pub use parts::Parts;
pub use python::Python;
pub use quantizer::{Fast, Quantizer};
pub use scorer::{Scorer, Scores};

use numerics::BlockCodec;

/// How many checks [`known_answers`] makes.
pub fn n_known_answers() -> usize {
    let ggml_row = 1;
    let formats = numerics::formats::FORMATS.len() - ggml_row + formats::N_OVER_ALL;
    let ggml = numerics::ggml::GGML_FORMATS.len() + oracle::ggml::QUANTIZED.len() + ggml_types::N_OVER_ALL;
    canary::N_CANARIES + formats + ggml + worked::N_CHECKS
}

/// Every check that needs no model, in a fixed order.
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
