//! The measurements on a model, and what they need from an engine.
//!
//! text → tokens ([`engine`]) → [`window`]s → logits of reference and variant → per-token [`score`]s, made of two sums
//! over the vocabulary ([`softmax`])

pub mod attention;
mod chat_template;
pub mod choices;
pub mod engine;
pub mod generate;
pub mod routing;
pub mod score;
pub mod softmax;
pub mod window;

pub use attention::HeadShift;
pub use chat_template::{ChatTemplateError, TEMPLATE_DATE, render_chat};
pub use engine::{
    Ask, Engine, EngineError, EngineMemory, Graph, Hook, Memory, NodeInfo, NonFiniteNode, Passes, Prefix, Replace,
    RoutedLayer, Seen, Sequence, TakeLogits, Tokens, WatchedActivation, WeightInfo, Weights,
};
pub use generate::{ChatMessage, ChatPrompt, choose_token, first_divergence};
pub use record::{EngineInfo, EngineSettings, LayerError, Sampling, Token, WeightUse};
pub use routing::RoutingError;
pub use score::{NonFinite, ReferenceWindow};
