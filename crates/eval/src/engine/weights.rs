//! The weights of the model's graph, which can be read back, swapped in place and restored.

use super::EngineError;
use record::WeightUse;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A weight tensor as the engine's graph uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightInfo {
    /// The GGUF name of the tensor.
    pub name: String,
    /// The ggml type, in upstream spelling (`q4_K`), of the bytes now in place.
    pub ty: String,
    /// The extents; `ne[0]` is the contiguous dimension.
    pub ne: [u64; 4],
    /// The number of graph nodes that read this tensor in a full pass; 0 means that the graph does not use it.
    pub consumers: usize,
    /// The number of these nodes that look up rows by token.
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

    /// The type and bytes that are in use now, read back from the engine. They are those of the weight itself, or those
    /// that nodes read that use it as `used_as`.
    ///
    /// # Errors
    /// When the graph has no such weight, or no node uses it as `used_as`.
    fn read_weight(&self, name: &str, used_as: Option<WeightUse>) -> Result<(String, Vec<u8>), EngineError>;

    /// Replaces a weight by other bytes of any ggml type. This affects all nodes that read the weight itself, or only
    /// those that use it as `used_as`.
    ///
    /// # Errors
    /// When the graph has no such weight, no node uses it as `used_as`, the type is unknown, or the byte count does not
    /// fit `ne`.
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
    /// When the graph has no such weight, no node uses it as `used_as`, or it has not been swapped.
    fn restore_weight(&mut self, name: &str, used_as: Option<WeightUse>) -> Result<(), EngineError>;
}
