//! Makes models from a seed: files that llama.cpp loads, with weights that nobody trained.
//!
//! Such models show, without a download, what a program does with an architecture, a shape or a type. The text that
//! they produce has no meaning. The flow:
//!
//! ```text
//! SmallModel or ClassicModel, Vocabulary ─▶ Recipe (metadata, tensors, how each is drawn) ─▶ write ─▶ a GGUF file
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `small` | [`SmallModel`]: a few layers of each kind of architecture, small enough for every test |
//! | `classic` | [`ClassicModel`]: well-known models by their tensors, types and extents |
//! | `vocabulary` | [`Vocabulary`]: tokens made of bytes, or taken from another file |
//! | `recipe` | [`Recipe`]: the contents of a file, and writing it |
//! | `draw` | values that follow from seed, name and place alone |

mod classic;
mod draw;
mod recipe;
mod small;
mod vocabulary;

pub use classic::ClassicModel;
pub use draw::{DrawnValues, ValueGrid};
pub use recipe::{Recipe, SynthError, TensorRecipe};
pub use small::{Architecture, SmallModel};
pub use vocabulary::{Vocabulary, VocabularyError};
