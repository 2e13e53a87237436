//! Text that a model writes, token by token. The next token is chosen here from the logits, so that it depends on nothing
//! but them and a seed.

use crate::engine::Token;
use crate::softmax::exp;
use serde::{Deserialize, Serialize};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`, as chat templates know them.
    pub role: String,
    /// The text of the turn.
    pub content: String,
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Sampling {
    /// The most probable token is taken, the first of equals.
    Greedy,
    /// The token is drawn from softmax(logits / temperature) by a generator with this seed.
    Seeded {
        /// The temperature, greater than 0; 1 is the model's own distribution.
        temperature: f64,
        /// The seed; the same logits and seed give the same tokens.
        seed: u64,
    },
}

impl Sampling {
    /// The token that follows `step` others of this answer, from `logits[n_vocab]`; `None` when a logit is not a number.
    pub fn choose(self, logits: &[f32], step: u64) -> Option<Token> {
        if logits.is_empty() || logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        let mut top = 0;
        for (index, &logit) in logits.iter().enumerate() {
            if logit > logits[top] {
                top = index;
            }
        }
        let index = match self {
            Sampling::Greedy => top,
            Sampling::Seeded { temperature, seed } => {
                let highest = f64::from(logits[top]);
                let weight = |logit: f32| exp(((f64::from(logit) - highest) / temperature).max(-1e4));
                let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
                let mut left = uniform(seed, step) * sum;
                let found = logits.iter().position(|&logit| {
                    left -= weight(logit);
                    left < 0.0
                });
                // Rounding may leave a little of the sum: then it is the last, or whatever is possible at all.
                found.unwrap_or(top)
            }
        };
        Token::try_from(index).ok()
    }
}

/// A number in [0, 1) that depends on nothing but seed and step.
///
/// # Source
/// Steele, Lea and Flood, *Fast splittable pseudorandom number generators* (2014): the finalizer of SplitMix64.
fn uniform(seed: u64, step: u64) -> f64 {
    let mut z = seed.wrapping_add((step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Position of the first token in which two answers differ; `None` when they are the same.
pub fn first_divergence(a: &[Token], b: &[Token]) -> Option<usize> {
    if a == b {
        return None;
    }
    Some(a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_most_probable() {
        assert_eq!(Sampling::Greedy.choose(&[0.0, 2.0, 2.0, -1.0], 0), Some(1));
        assert_eq!(Sampling::Greedy.choose(&[0.0, f32::NAN], 0), None);
        assert_eq!(Sampling::Greedy.choose(&[], 0), None);
    }

    #[test]
    fn seeded_draws_follow_the_distribution_and_repeat() {
        // p = 1/2, 1/4, 1/4.
        let logits = [2f32.ln(), 0.0, 0.0];
        let sampling = Sampling::Seeded { temperature: 1.0, seed: 7 };
        let draws: Vec<Token> = (0..20_000).map(|step| sampling.choose(&logits, step).expect("finite")).collect();
        let again: Vec<Token> = (0..20_000).map(|step| sampling.choose(&logits, step).expect("finite")).collect();
        assert_eq!(draws, again);
        for (token, p) in [(0, 0.5), (1, 0.25), (2, 0.25)] {
            let share = draws.iter().filter(|&&draw| draw == token).count() as f64 / 20_000.0;
            // Five standard errors of a share at n = 20,000 are 0.018.
            assert!((share - p).abs() < 0.018, "token {token}: {share}");
        }
        let other = Sampling::Seeded { temperature: 1.0, seed: 8 };
        assert!((0..100).any(|step| other.choose(&logits, step) != sampling.choose(&logits, step)));
    }

    #[test]
    fn a_low_temperature_is_greedy_and_an_impossible_token_never_comes() {
        let cold = Sampling::Seeded { temperature: 1e-3, seed: 1 };
        assert!((0..100).all(|step| cold.choose(&[0.0, 1.0, 0.5], step) == Some(1)));
        let hot = Sampling::Seeded { temperature: 10.0, seed: 1 };
        assert!((0..1000).all(|step| hot.choose(&[f32::NEG_INFINITY, 0.0, 0.0], step) != Some(0)));
    }

    #[test]
    fn answers_diverge_at_their_first_difference_or_where_one_ends() {
        assert_eq!(first_divergence(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_divergence(&[1, 2, 3], &[1, 9, 3]), Some(1));
        assert_eq!(first_divergence(&[1, 2], &[1, 2, 3]), Some(2));
    }
}
