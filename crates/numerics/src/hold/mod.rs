//! What happens to the values of a tensor.

pub(crate) mod check;
pub(crate) mod clip;
pub(crate) mod control;
pub(crate) mod error;
pub(crate) mod fake_quantize;
mod ggml;
pub(crate) mod groups;
pub(crate) mod holder;
pub(crate) mod kernel;
pub(crate) mod observer;
pub(crate) mod part;
mod saturation;

/// Values one thread works on at a time.
pub(crate) const BATCH: usize = 1 << 16;
