//! What is measured, and the engine it is measured through.
//!
//! text → tokens → [`chunk`]s → logits of reference and variant ([`engine`]) → per-token scores ([`score`])

pub mod engine;

pub use engine::{Engine, EngineError, EngineInfo, EngineSettings, Token, WatchedActivation, WeightInfo};
