//! llama.cpp in this process: eval's engine traits over a loaded model. The only crate that compiles C++.
//!
//! [`LlamaEngine`] loads the model and finds its `weights` and `nodes`. Each `context` decodes one sequence at a time, with
//! a visitor at every graph node (`callback`). Swapped bytes are `held` where the back end reads them. [`GgmlCodec`] is
//! ggml's own quantization behind [`numerics::BlockCodec`].

mod callback;
mod chat;
mod codec;
mod context;
mod engine;
mod graph_reuse;
mod guard;
mod held;
mod log;
mod nodes;
mod routing;
mod weights;

pub use codec::{GgmlCodec, quantize_chunk};
pub use engine::{LlamaEngine, build};
pub use graph_reuse::{GRAPHS_BUILT_ANEW, graphs_are_built_anew};

/// The names and the values of the variables with which a process that opens an engine is started.
pub const ENVIRONMENT: [(&str, &str); 2] = [GRAPHS_BUILT_ANEW, log::NO_DEBUGGER];
pub use held::Writes;
