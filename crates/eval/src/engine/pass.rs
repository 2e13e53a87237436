//! One pass: what is asked of it ([`Ask`]), and what it saw ([`Seen`]).

use super::{EngineError, Hook, NonFiniteNode, RoutedLayer, WatchedActivation};
use record::{LayerError, Token};

/// Tokens that are computed alone in an empty context, and the first position whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// The tokens from the start of the context, BOS included where the vocabulary asks for one; at most `n_ctx`.
    pub tokens: &'a [Token],
    /// The position of the first row of logits; less than `tokens.len()`.
    pub first_output: usize,
}

/// What a pass does with the hidden states that enter each layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefix {
    /// Every layer is computed.
    #[default]
    Full,
    /// Every layer is computed, and the hidden states are recorded for each slot.
    Record,
    /// The pass starts at this layer, from the state that was recorded for the same slot, and skips the layers before
    /// it. This is correct only when the tokens and the weights before that layer are those of the recorded pass.
    Reuse(usize),
}

/// What is asked of one pass. [`Ask::of`] asks for logits alone; the other fields are set on top of it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The sequences to compute. The index of a sequence in this list is its *slot*.
    pub sequences: &'a [Sequence<'a>],
    /// What to do with the hidden states that enter each layer.
    pub prefix: Prefix,
    /// The nodes whose values are replaced as soon as they are computed. Several hooks on one node run in this order.
    pub hooks: &'a [Hook<'a>],
    /// The names of weights. The outputs of the nodes that read them are hashed. A name that the graph lacks is left
    /// out.
    pub watch: &'a [String],
    /// Whether the hidden state that leaves each layer is compared with the one of the last [`Prefix::Record`] pass of the
    /// same slot.
    pub trace: bool,
    /// Whether the choices of the routers are read, in models that have routers. Layers that are skipped with the
    /// prefix have none to read.
    pub routing: bool,
    /// Whether every node is searched for a value that is not finite. A sequence ends where one is found, without logits.
    pub stop_at_non_finite: bool,
    /// The largest number of sequences to compute side by side. An engine never takes more than [`Passes::n_parallel`].
    pub n_parallel: usize,
}

impl<'a> Ask<'a> {
    /// A full pass that gives logits and observes nothing else, with as many sequences side by side as the engine
    /// takes.
    pub fn of(sequences: &'a [Sequence<'a>]) -> Self {
        Ask {
            sequences,
            prefix: Prefix::Full,
            hooks: &[],
            watch: &[],
            trace: false,
            routing: false,
            stop_at_non_finite: false,
            n_parallel: usize::MAX,
        }
    }
}

/// What a pass saw of one sequence besides its logits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The hashes of [`Ask::watch`], in its order.
    pub watched: Vec<WatchedActivation>,
    /// What [`Ask::trace`] found, layer by layer; empty where the graph gives the outputs of its layers other names.
    pub traced: Vec<LayerError>,
    /// What [`Ask::routing`] found, by ascending layer; empty where no layer has a router. A layer is left out where the
    /// graph does not have one row of experts for each token.
    pub routed: Vec<RoutedLayer>,
    /// What [`Ask::stop_at_non_finite`] found; `None` where all values are finite or were not searched.
    pub non_finite: Option<NonFiniteNode>,
}

/// The function that receives logits as `(slot, logits)`, where the logits are row-major `[tokens.len() -
/// first_output][n_vocab]`. Row `i` predicts the token after position `first_output + i`. It is called once for each
/// sequence that has logits, from several threads at once.
pub type TakeLogits<'a> = dyn Fn(usize, &[f32]) + Sync + 'a;

/// Passes of the model over tokens.
pub trait Passes {
    /// The largest number of sequences that the engine computes side by side.
    fn n_parallel(&self) -> usize;

    /// Computes sequences, each alone in an empty context, and passes their logits to `score`. Returns what else it saw
    /// of each, in the order of the slots. The bits do not depend on how many sequences are computed side by side.
    ///
    /// A full pass that is not traced may have any number of sequences. In the others each slot has a recorded state of
    /// its own, so there may be no more sequences than are computed side by side. Recorded states last until the next
    /// recording pass, or until a pass asks for more rows of logits than contexts have room for.
    ///
    /// Nodes are processed in the order of the graph. At one node, the order is: skipped with the prefix, replaced,
    /// compared or recorded, read as a choice of experts, hashed, searched for values that are not finite.
    ///
    /// # Errors
    /// When a sequence is empty, too long or asks for no output, when there are too many of them, when a [`Prefix::Reuse`]
    /// finds nothing recorded, when the graph has no node for a hook or its values are not F32, and when a hook or the
    /// engine fails.
    fn pass(&mut self, ask: &Ask<'_>, score: &TakeLogits<'_>) -> Result<Vec<Seen>, EngineError>;

    /// Continues a prompt token by token, in a context of its own. `next` gets the logits of the last position and
    /// returns the next token, or `None` to stop. The text also ends where `n_ctx` tokens are reached.
    ///
    /// # Errors
    /// When the prompt is empty or longer than `n_ctx`, and when a hook or the engine fails.
    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_without_more_is_a_full_pass_for_logits_alone() {
        let sequences = [Sequence { tokens: &[1, 2, 3], first_output: 1 }];
        let ask = Ask::of(&sequences);
        assert_eq!((ask.sequences, ask.prefix, ask.n_parallel), (&sequences[..], Prefix::default(), usize::MAX));
        assert!(ask.hooks.is_empty() && ask.watch.is_empty() && !ask.trace && !ask.routing && !ask.stop_at_non_finite);
    }
}
