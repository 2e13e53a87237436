//! How the tokens of an answer are chosen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the next token is chosen from the logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Sampling {
    /// The most probable token is chosen, the first where several are equal.
    Greedy,
    /// A token is drawn from softmax(logits / temperature) by a generator with this seed.
    Seeded {
        /// The temperature, greater than 0; 1 is the model's own distribution.
        temperature: f64,
        /// The seed; the same logits and seed give the same tokens.
        seed: u64,
    },
}
