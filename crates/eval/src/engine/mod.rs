//! What evaluation needs from an engine. The traits are here with their user, so that everything above them can be
//! tested without a C++ build; `llama` implements them.
//!
//! | module | trait | subject |
//! |---|---|---|
//! | `tokens` | [`Tokens`] | text to token ids and back, chat prompts |
//! | `weights` | [`Weights`] | the weights of the graph: read, swapped in place, restored |
//! | `pass` | [`Passes`] | a pass ([`Ask`] → logits and [`Seen`]), and text that the model writes |
//! | `probe` | [`Graph`] | what is loaded, its nodes, and what can be seen and changed at them |
//! | `memory` | [`Memory`] | what the engine needs of main memory |
//! | `error` | | why an engine could not do what it was asked |
//!
//! The argument of a pass says what is wanted, and its return value is what the pass saw. Between two passes an engine
//! keeps only swapped weights and recorded hidden states.

mod error;
mod memory;
mod pass;
mod probe;
mod tokens;
mod weights;

pub use error::EngineError;
pub use memory::{EngineMemory, Memory};
pub use pass::{Ask, Passes, Prefix, Seen, Sequence, TakeLogits};
pub use probe::{Graph, Hook, NodeInfo, NonFiniteNode, Replace, RoutedLayer, WatchedActivation};
pub use tokens::Tokens;
pub use weights::{WeightInfo, Weights};

/// A loaded model that runs over windows of tokens, with weights swapped in place.
///
/// An engine is whatever implements the five traits. All of their methods can be called on a `dyn Engine` without
/// importing them.
pub trait Engine: Tokens + Weights + Passes + Graph + Memory {}

impl<E: Tokens + Weights + Passes + Graph + Memory + ?Sized> Engine for E {}
