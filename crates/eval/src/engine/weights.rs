//! The weights of the model's graph: read back, swapped in place, restored.

use super::EngineError;
use record::WeightUse;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A weight tensor as the engine's graph uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightInfo {
    /// GGUF tensor name.
    pub name: String,
    /// ggml type, in upstream spelling (`q4_K`), of the bytes now in place.
    pub ty: String,
    /// Extents, `ne[0]` contiguous.
    pub ne: [u64; 4],
    /// Number of graph nodes that read this tensor in a full pass; 0 means that the graph does not use it.
    pub consumers: usize,
    /// How many of those nodes look rows up by token.
    pub lookups: usize,
}

/// The weights that the model's graph reads.
///
/// Each weight has three stacks of replacements: one for the weight itself (`used_as` is `None`) and one for each
/// [`WeightUse`] (virtual untying). [`swap_weight`](Weights::swap_weight) pushes on a stack and
/// [`restore_weight`](Weights::restore_weight) pops. A node reads the top of the stack of its own use, and the weight
/// itself where that stack is empty. The exact arm is one push for every weight; a cell is another push on top of it.
pub trait Weights {
    /// All weights of the model's graph, in graph order.
    fn weights(&self) -> &[WeightInfo];

    /// The type and bytes that are read now, taken back from the engine: of the weight itself, or by the nodes that use it
    /// as `used_as`.
    ///
    /// # Errors
    /// When the graph has no such weight, or no node uses it so.
    fn read_weight(&self, name: &str, used_as: Option<WeightUse>) -> Result<(String, Vec<u8>), EngineError>;

    /// Puts other bytes, of any ggml type, in a weight's place: for all nodes that read the weight itself, or for those
    /// alone that use it as `used_as`.
    ///
    /// # Errors
    /// When the graph has no such weight, no node uses it so, the type is unknown, or the byte count does not fit `ne`.
    fn swap_weight(
        &mut self,
        name: &str,
        used_as: Option<WeightUse>,
        ty: &str,
        bytes: Arc<Vec<u8>>,
    ) -> Result<(), EngineError>;

    /// Undoes the last [`swap_weight`](Weights::swap_weight) of that weight with the same `used_as`.
    ///
    /// # Errors
    /// When the graph has no such weight, no node uses it so, or nothing is swapped.
    fn restore_weight(&mut self, name: &str, used_as: Option<WeightUse>) -> Result<(), EngineError>;
}
