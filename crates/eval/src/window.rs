//! Cuts tokens into windows as llama-perplexity does.

use record::Token;
use words::plural;

/// Why a text cannot be cut into windows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The text has fewer tokens than one window.
    #[error("the text is too short: {} found, {wanted} wanted for one window", plural(.found, "token"))]
    TooShort {
        /// The number of tokens in the text.
        found: usize,
        /// The length of a window in tokens.
        wanted: usize,
    },
}

/// Cuts tokens into whole windows of `n_ctx` tokens and drops the rest at the end. If `bos` is given, it replaces the
/// first token of each window, so that every window starts as a document does.
///
/// # Errors
/// When the text is shorter than one window.
///
/// # Source
/// `perplexity()` in llama.cpp `tools/perplexity/perplexity.cpp`.
pub fn windows(tokens: &[Token], n_ctx: usize, bos: Option<Token>) -> Result<Vec<Vec<Token>>, WindowError> {
    if tokens.len() < n_ctx {
        return Err(WindowError::TooShort { found: tokens.len(), wanted: n_ctx });
    }
    Ok(tokens
        .chunks_exact(n_ctx)
        .map(|window| {
            let mut window = window.to_vec();
            if let Some(bos) = bos {
                window[0] = bos;
            }
            window
        })
        .collect())
}

/// The text as llama-perplexity reads a file: without one trailing newline.
pub fn without_trailing_newline(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

/// The first position of a window whose prediction is scored: every scored token has at least half a window of context.
pub fn first_scored(n_ctx: usize) -> usize {
    n_ctx / 2
}

/// The number of scored predictions in a window: positions `n_ctx/2 … n_ctx − 2`, each of which predicts the token
/// after it.
pub fn n_scored(n_ctx: usize) -> usize {
    n_ctx - 1 - first_scored(n_ctx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_windows_start_with_bos_and_the_rest_is_dropped() {
        let tokens: Vec<Token> = (10..21).collect();
        let cut = windows(&tokens, 4, Some(1)).unwrap();
        assert_eq!(cut, vec![vec![1, 11, 12, 13], vec![1, 15, 16, 17]]);
        assert_eq!(windows(&tokens, 4, None).unwrap()[1], vec![14, 15, 16, 17]);
    }

    #[test]
    fn a_text_shorter_than_a_window_is_refused_with_both_counts() {
        assert_eq!(windows(&[1, 2, 3], 4, None), Err(WindowError::TooShort { found: 3, wanted: 4 }));
    }

    #[test]
    fn a_window_of_512_scores_255_tokens_as_llama_perplexity_does() {
        assert_eq!((first_scored(512), n_scored(512)), (256, 255));
    }

    #[test]
    fn exactly_one_trailing_newline_is_dropped() {
        assert_eq!(without_trailing_newline("a\n\n"), "a\n");
        assert_eq!(without_trailing_newline("a"), "a");
    }
}
