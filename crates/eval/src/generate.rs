//! Text that a model writes, token by token. This module chooses the next token from the logits, so that it depends
//! only on them and a seed.

use crate::softmax::exp;
use record::{Sampling, Token};
use serde::{Deserialize, Serialize};
use stats::rng;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// The speaker: `system`, `user` or `assistant`, as chat templates know them.
    pub role: String,
    /// The text of the turn.
    pub content: String,
}

/// A conversation as a model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The text that the chat template wrote.
    pub text: String,
    /// The tokens of the text.
    pub tokens: Vec<Token>,
}

/// The token after `step` others of this answer, chosen from `logits[n_vocab]`; `None` where a logit is NaN.
pub fn choose_token(sampling: Sampling, logits: &[f32], step: u64) -> Option<Token> {
    if logits.is_empty() || logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    let mut top = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if logit > logits[top] {
            top = index;
        }
    }
    let index = match sampling {
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
            // Rounding may leave a little of the sum. The choice is then the most probable token.
            found.unwrap_or(top)
        }
    };
    Token::try_from(index).ok()
}

/// A number in [0, 1) that depends only on seed and step.
fn uniform(seed: u64, step: u64) -> f64 {
    rng::unit(rng::nth(seed, step + 1))
}

/// The position of the first token in which two answers differ; `None` when they are equal.
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
        assert_eq!(choose_token(Sampling::Greedy, &[0.0, 2.0, 2.0, -1.0], 0), Some(1));
        assert_eq!(choose_token(Sampling::Greedy, &[0.0, f32::NAN], 0), None);
        assert_eq!(choose_token(Sampling::Greedy, &[], 0), None);
    }

    #[test]
    fn seeded_draws_follow_the_distribution_and_repeat() {
        // The probabilities are 1/2, 1/4 and 1/4.
        let logits = [2f32.ln(), 0.0, 0.0];
        let sampling = Sampling::Seeded { temperature: 1.0, seed: 7 };
        let draws: Vec<Token> =
            (0..20_000).map(|step| choose_token(sampling, &logits, step).expect("finite")).collect();
        let again: Vec<Token> =
            (0..20_000).map(|step| choose_token(sampling, &logits, step).expect("finite")).collect();
        assert_eq!(draws, again);
        for (token, p) in [(0, 0.5), (1, 0.25), (2, 0.25)] {
            let share = draws.iter().filter(|&&draw| draw == token).count() as f64 / 20_000.0;
            // Five standard errors of a share at n = 20,000 are 0.018.
            assert!((share - p).abs() < 0.018, "token {token}: {share}");
        }
        let other = Sampling::Seeded { temperature: 1.0, seed: 8 };
        assert!((0..100).any(|step| choose_token(other, &logits, step) != choose_token(sampling, &logits, step)));
    }

    #[test]
    fn draws_are_pinned_so_that_an_answer_can_be_reproduced() {
        // The expected bits were computed by a second implementation, in Python integers.
        let drawn = [(7, 0), (7, 1), (u64::MAX, 41)].map(|(seed, step)| uniform(seed, step).to_bits());
        assert_eq!(drawn, [0x3fd8_f2f8_7916_4c82, 0x3f91_30f3_5fd0_f180, 0x3fe6_585d_c6af_6d2d]);
    }

    #[test]
    fn a_low_temperature_is_greedy_and_an_impossible_token_never_comes() {
        let cold = Sampling::Seeded { temperature: 1e-3, seed: 1 };
        assert!((0..100).all(|step| choose_token(cold, &[0.0, 1.0, 0.5], step) == Some(1)));
        let hot = Sampling::Seeded { temperature: 10.0, seed: 1 };
        assert!((0..1000).all(|step| choose_token(hot, &[f32::NEG_INFINITY, 0.0, 0.0], step) != Some(0)));
    }

    #[test]
    fn answers_diverge_at_their_first_difference_or_where_one_ends() {
        assert_eq!(first_divergence(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_divergence(&[1, 2, 3], &[1, 9, 3]), Some(1));
        assert_eq!(first_divergence(&[1, 2], &[1, 2, 3]), Some(2));
    }
}
