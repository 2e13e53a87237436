//! Scores of one window: the reference once, then each variant against it.

use crate::softmax::{RowSummary, kl_divergence, summarize};
use record::Token;

/// A logit is infinite or not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("non-finite logits at scored position {row} of the window")]
pub struct NonFinite {
    /// Index of its row among the scored positions.
    pub row: usize,
}

/// The reference on one window: its logits and what follows from them. They are kept only while that window is worked on.
#[derive(Debug, Default)]
pub struct ReferenceWindow {
    logits: Vec<f32>,
    rows: Vec<RowSummary>,
    targets: Vec<Token>,
    n_vocab: usize,
}

/// The scores of a variant against its reference on one window.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantScores {
    /// Negative log-likelihood of each scored token, nats.
    pub nll: Vec<f64>,
    /// Σ p_ref (ln p_ref − ln p_var) at each scored position, nats.
    pub kld: Vec<f64>,
    /// Number of positions at which both have the same most probable token.
    pub same_top: usize,
    /// Number of positions whose logits differ in any bit.
    pub logits_changed: usize,
}

/// −ln p(token) by the logits of one row, nats.
fn nll(row: &[f32], summary: RowSummary, token: Token) -> f64 {
    summary.lse - f64::from(row[token as usize])
}

impl ReferenceWindow {
    /// Takes the reference's logits `[n_scored or more][n_vocab]` and the tokens that each row predicts `[n_scored]`.
    /// The buffers of the previous window are reused.
    ///
    /// # Errors
    /// At the first row that is not finite.
    ///
    /// # Panics
    /// When there are fewer rows than targets or a target lies outside the vocabulary.
    pub fn set(&mut self, logits: &[f32], n_vocab: usize, targets: &[Token]) -> Result<(), NonFinite> {
        let logits = &logits[..targets.len() * n_vocab];
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.targets = targets.to_vec();
        self.n_vocab = n_vocab;
        self.rows.clear();
        for (row, logits) in logits.chunks_exact(n_vocab).enumerate() {
            self.rows.push(summarize(logits).ok_or(NonFinite { row })?);
        }
        Ok(())
    }

    /// Negative log-likelihood of each scored token, nats.
    pub fn nll(&self) -> Vec<f64> {
        self.logits
            .chunks_exact(self.n_vocab)
            .zip(&self.rows)
            .zip(&self.targets)
            .map(|((row, &summary), &token)| nll(row, summary, token))
            .collect()
    }

    /// The reference's logits, row-major `[n_scored][n_vocab]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Scores a variant's logits on the same window.
    ///
    /// # Errors
    /// At the first row that is not finite.
    ///
    /// # Panics
    /// When there are fewer rows than the reference has.
    pub fn compare(&self, logits: &[f32]) -> Result<VariantScores, NonFinite> {
        let n_vocab = self.n_vocab;
        let mut scores = VariantScores {
            nll: Vec::with_capacity(self.rows.len()),
            kld: Vec::with_capacity(self.rows.len()),
            same_top: 0,
            logits_changed: 0,
        };
        let rows = self.logits.chunks_exact(n_vocab).zip(logits[..self.logits.len()].chunks_exact(n_vocab));
        for (row, ((reference, variant), (&base, &token))) in rows.zip(self.rows.iter().zip(&self.targets)).enumerate()
        {
            let changed = reference.iter().zip(variant).any(|(a, b)| a.to_bits() != b.to_bits());
            // The same bits have the same summary and diverge by exactly 0: nothing is left to compute.
            let summary = if changed { summarize(variant).ok_or(NonFinite { row })? } else { base };
            let kld = if changed { kl_divergence(reference, base.lse, variant, summary.lse) } else { 0.0 };
            scores.nll.push(nll(variant, summary, token));
            scores.kld.push(kld);
            scores.same_top += usize::from(base.top == summary.top);
            scores.logits_changed += usize::from(changed);
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_compared_with_itself_is_equal_in_everything() {
        let logits: Vec<f32> = (0..4 * 50).map(|i| ((i * 29) % 83) as f32 * 0.1).collect();
        let mut reference = ReferenceWindow::default();
        reference.set(&logits, 50, &[3, 4, 5, 49]).unwrap();
        let scores = reference.compare(&logits).unwrap();
        assert_eq!(scores.kld, vec![0.0; 4]);
        assert_eq!(scores.nll, reference.nll());
        assert_eq!((scores.same_top, scores.logits_changed), (4, 0));
    }

    #[test]
    fn one_moved_logit_is_seen_in_its_row_alone() {
        let logits = vec![0.0f32; 3 * 10];
        let mut reference = ReferenceWindow::default();
        reference.set(&logits, 10, &[0, 0, 9]).unwrap();
        let mut moved = logits.clone();
        moved[10 + 4] = 1.0;
        let scores = reference.compare(&moved).unwrap();
        assert_eq!((scores.logits_changed, scores.same_top), (1, 2));
        assert_eq!((scores.kld[0], scores.kld[2]), (0.0, 0.0));
        // q = e^x_i / (9 + e): KLD(uniform || q) = ln((9 + e) / 10) − 1/10.
        let worked = ((9.0 + std::f64::consts::E) / 10.0).ln() - 0.1;
        assert!((scores.kld[1] - worked).abs() < 1e-15);
        // −ln q(0) = ln(9 + e).
        assert!((scores.nll[1] - (9.0 + std::f64::consts::E).ln()).abs() < 1e-15);
    }

    #[test]
    fn a_row_that_is_not_finite_is_named() {
        let mut logits = vec![0.0f32; 3 * 10];
        let mut reference = ReferenceWindow::default();
        reference.set(&logits, 10, &[0, 0, 9]).unwrap();
        logits[25] = f32::NAN;
        assert_eq!(reference.compare(&logits), Err(NonFinite { row: 2 }));
        assert_eq!(ReferenceWindow::default().set(&logits, 10, &[0, 0, 9]), Err(NonFinite { row: 2 }));
    }
}
