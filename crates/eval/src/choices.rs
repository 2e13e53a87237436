//! Multiple-choice tasks: which ending does the model find most likely?
//!
//! text → [`ChoiceTask`]s → [`pick`] → tokens → [`tokens_of`] (what all share, what each adds) → [`log_likelihood`] of each
//! ending → [`best`]

use crate::softmax::summarize;
use record::Token;
use words::{Advice, Hint, count, plural};

/// A context, several endings, and the index of the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceTask {
    /// The text of each choice: the context, then its ending.
    pub choices: Vec<String>,
    /// The index of the right choice.
    pub gold: usize,
}

/// Why a task file or a task cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// The lines of the file are not whole tasks.
    #[error("found {}, wanted a multiple of 6 (context, index of the right ending, four endings)", plural(.found, "line"))]
    Lines {
        /// The number of lines in the file.
        found: usize,
    },
    /// A label is not the index of an ending.
    #[error("line {line}: found {found:?}, wanted the index of the right ending, 0 to 3")]
    Label {
        /// The number of the line, counted from 1.
        line: usize,
        /// The text of the line, cut short.
        found: String,
    },
    /// A choice has no tokens besides those that all choices share.
    #[error("task {task}: choice {choice} has no tokens of its own after the {shared} that all share")]
    NoEnding {
        /// The index of the task, counted from 0.
        task: usize,
        /// The index of the choice, counted from 0.
        choice: usize,
        /// The number of tokens that all choices share.
        shared: usize,
    },
    /// The choices do not share a first token, so there is nothing to predict from.
    #[error("task {task}: the choices share no first token")]
    NoContext {
        /// The index of the task, counted from 0.
        task: usize,
    },
    /// A choice is longer than the context.
    #[error("task {task}: choice {choice} has {}, wanted at most {}", plural(.found, "token"), count(*.n_ctx as u64))]
    TooLong {
        /// The index of the task, counted from 0.
        task: usize,
        /// The index of the choice, counted from 0.
        choice: usize,
        /// The number of tokens of the choice.
        found: usize,
        /// The length of the context in tokens.
        n_ctx: usize,
    },
}

impl Advice for ChoiceError {
    fn hint(&self) -> Option<Hint> {
        Some(match self {
            ChoiceError::Lines { .. } | ChoiceError::Label { .. } => {
                Hint::words("the format is the one in which llama-perplexity reads HellaSwag tasks")
            }
            ChoiceError::NoEnding { .. } => Hint::words("leave the task out"),
            ChoiceError::NoContext { .. } => Hint::words("a model without a BOS token needs choices that begin alike"),
            ChoiceError::TooLong { .. } => Hint::LargerContext,
        })
    }
}

const LINES_PER_TASK: usize = 6;

/// Reads the text format of HellaSwag tasks: the context, the index of the right ending and four endings, each on a
/// line.
///
/// # Errors
/// When the lines are not whole tasks, or a label is not 0 to 3.
pub fn parse_hellaswag(text: &str) -> Result<Vec<ChoiceTask>, ChoiceError> {
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    if !lines.len().is_multiple_of(LINES_PER_TASK) {
        return Err(ChoiceError::Lines { found: lines.len() });
    }
    let tasks = lines.chunks_exact(LINES_PER_TASK).enumerate().map(|(index, lines)| {
        let gold = lines[1].trim().parse().ok().filter(|&gold: &usize| gold < LINES_PER_TASK - 2);
        let gold = gold.ok_or_else(|| ChoiceError::Label {
            line: index * LINES_PER_TASK + 2,
            found: lines[1].chars().take(40).collect(),
        })?;
        let choices = lines[2..].iter().map(|ending| format!("{} {ending}", lines[0])).collect();
        Ok(ChoiceTask { choices, gold })
    });
    tasks.collect()
}

/// The first `n` of all tasks in llama-perplexity's random order. A Mersenne Twister of seed 1 draws from the remaining
/// tasks as GNU's `uniform_int_distribution` does (Lemire's method).
///
/// # Source
/// `hellaswag_score` in llama.cpp `tools/perplexity/perplexity.cpp`; Lemire 2019, "Fast random integer generation in an
/// interval".
pub fn pick(mut tasks: Vec<ChoiceTask>, n: usize) -> Vec<ChoiceTask> {
    let mut bits = MersenneTwister::new(1);
    let mut picked = Vec::with_capacity(n.min(tasks.len()));
    while picked.len() < n && !tasks.is_empty() {
        // A file of 2^32 tasks would have other problems first.
        let range = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        picked.push(tasks.remove(bits.below(range) as usize));
    }
    picked
}

/// The 32-bit Mersenne Twister, `std::mt19937`.
///
/// # Source
/// Matsumoto and Nishimura 1998, "Mersenne Twister".
struct MersenneTwister {
    state: Vec<u32>,
    at: usize,
}

impl MersenneTwister {
    const N: usize = 624;
    const M: usize = 397;

    fn new(seed: u32) -> Self {
        let mut state = vec![seed];
        for i in 1..Self::N as u32 {
            let last = state[i as usize - 1];
            state.push(1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i));
        }
        MersenneTwister { state, at: Self::N }
    }

    fn next(&mut self) -> u32 {
        if self.at == Self::N {
            for i in 0..Self::N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % Self::N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + Self::M) % Self::N] ^ (y >> 1) ^ twist;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number drawn uniformly from `0 … range − 1`; `range` must be above 0.
    fn below(&mut self, range: u32) -> u32 {
        let mut product = u64::from(self.next()) * u64::from(range);
        if (product as u32) < range {
            let threshold = range.wrapping_neg() % range;
            while (product as u32) < threshold {
                product = u64::from(self.next()) * u64::from(range);
            }
        }
        (product >> 32) as u32
    }
}

/// The tokens of a task's choices, and the number of tokens with which all choices begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceTokens {
    /// The tokens of each choice, special ones included.
    pub choices: Vec<Vec<Token>>,
    /// The number of tokens with which all choices begin, at least one.
    pub n_shared: usize,
}

/// Checks the tokens of a task's choices and counts those with which all choices begin.
///
/// # Errors
/// When the choices share no first token, one has no token of its own, or one is longer than `n_ctx`.
pub fn tokens_of(task: usize, choices: Vec<Vec<Token>>, n_ctx: usize) -> Result<ChoiceTokens, ChoiceError> {
    let shortest = choices.iter().map(Vec::len).min().unwrap_or(0);
    let n_shared = (0..shortest).take_while(|&at| choices.iter().all(|tokens| tokens[at] == choices[0][at])).count();
    if n_shared == 0 {
        return Err(ChoiceError::NoContext { task });
    }
    for (choice, tokens) in choices.iter().enumerate() {
        if tokens.len() == n_shared {
            return Err(ChoiceError::NoEnding { task, choice, shared: n_shared });
        }
        if tokens.len() > n_ctx {
            return Err(ChoiceError::TooLong { task, choice, found: tokens.len(), n_ctx });
        }
    }
    Ok(ChoiceTokens { choices, n_shared })
}

/// Σ ln p of an ending's tokens, in nats, from the logits that predict them: row-major `[ending.len()][n_vocab]`. `None`
/// when a logit is not finite.
///
/// # Panics
/// When there are fewer rows than tokens.
pub fn log_likelihood(logits: &[f32], n_vocab: usize, ending: &[Token]) -> Option<f64> {
    logits[..ending.len() * n_vocab].chunks_exact(n_vocab).zip(ending).try_fold(0.0, |total, (row, &token)| {
        let summary = summarize(row)?;
        Some(total + f64::from(row[token as usize]) - summary.lse)
    })
}

/// The index of the largest score, or of the first where several are equal; `None` when there are no scores.
pub fn best(scores: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, score) in scores.into_iter().enumerate() {
        if best.is_none_or(|(_, so_far)| score > so_far) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 10,000th draw of a default-seeded `std::mt19937` is 4123659995 (ISO C++, [rand.predef]).
    #[test]
    fn the_twister_is_the_standards() {
        let mut bits = MersenneTwister::new(5489);
        assert_eq!((0..10_000).map(|_| bits.next()).last(), Some(4_123_659_995));
    }

    #[test]
    fn lines_become_tasks_with_the_context_before_each_ending() {
        let tasks = parse_hellaswag("Music: She\n2\nsings.\nswims.\nplays.\neats.\n").expect("a task");
        assert_eq!(
            tasks,
            [ChoiceTask {
                choices: ["sings.", "swims.", "plays.", "eats."].map(|ending| format!("Music: She {ending}")).to_vec(),
                gold: 2,
            }]
        );
        assert_eq!(parse_hellaswag("a\n0\nb\n"), Err(ChoiceError::Lines { found: 3 }));
        for label in ["4", "-1", "x", ""] {
            let text = format!("c\n{label}\n1\n2\n3\n4");
            assert_eq!(parse_hellaswag(&text), Err(ChoiceError::Label { line: 2, found: label.into() }));
        }
    }

    #[test]
    fn tasks_are_picked_once_each_and_always_the_same() {
        let all: Vec<ChoiceTask> = (0..50).map(|i| ChoiceTask { choices: vec![i.to_string()], gold: 0 }).collect();
        let picked = pick(all.clone(), 20);
        assert_eq!(picked, pick(all.clone(), 30)[..20]);
        let mut everything = pick(all.clone(), 1000);
        assert_ne!(everything, all);
        everything.sort_by_key(|task| task.choices[0].parse::<u32>().ok());
        assert_eq!(everything, all);
    }

    #[test]
    fn shared_tokens_end_where_the_first_choice_differs() {
        let tokens = tokens_of(0, vec![vec![1, 5, 6, 7], vec![1, 5, 8]], 10).expect("tokens");
        assert_eq!(tokens.n_shared, 2);
        assert!(matches!(
            tokens_of(3, vec![vec![1, 5], vec![1, 5, 8]], 10),
            Err(ChoiceError::NoEnding { task: 3, choice: 0, shared: 2 })
        ));
        assert!(matches!(tokens_of(0, vec![vec![2], vec![3]], 10), Err(ChoiceError::NoContext { .. })));
        assert!(matches!(
            tokens_of(0, vec![vec![1, 2], vec![1, 3, 4]], 2),
            Err(ChoiceError::TooLong { choice: 1, .. })
        ));
    }

    #[test]
    fn a_hand_worked_likelihood() {
        // Two rows over two tokens: p = (3/4, 1/4), then (1/2, 1/2).
        let logits = [3.0f32.ln(), 0.0, 0.0, 0.0];
        let found = log_likelihood(&logits, 2, &[1, 0]).expect("finite");
        assert!((found - (0.25f64.ln() + 0.5f64.ln())).abs() < 1e-7);
        assert_eq!(log_likelihood(&[f32::NAN, 0.0], 2, &[0]), None);
        assert_eq!((best([1.0, 2.0, 2.0]), best([])), (Some(1), None));
    }
}
