//! Models made from a seed: files that llama.cpp loads, with weights that nobody trained.
//!
//! What a program does with an architecture, a shape or a type can be shown on them without a download; what they *say*
//! means nothing. The flow:
//!
//! ```text
//! SmallModel or ClassicModel, Vocabulary ─▶ Recipe (metadata, tensors, how each is drawn) ─▶ write ─▶ a GGUF file
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `small` | [`SmallModel`]: a few layers of each kind of architecture, small enough for every test |
//! | `classic` | [`ClassicModel`]: well-known models by their tensors, types and extents |
//! | `vocabulary` | [`Vocabulary`]: tokens made of bytes, or taken from another file |
//! | `recipe` | [`Recipe`]: what a file will hold, and writing it |
//! | `draw` | values from seed, name and place alone |

mod classic;
mod draw;
mod recipe;
mod small;
mod vocabulary;

pub use classic::ClassicModel;
pub use draw::{Grid, Values};
pub use recipe::{Recipe, SynthError, TensorRecipe};
pub use small::{Architecture, SmallModel};
pub use vocabulary::{Vocabulary, VocabularyError};
