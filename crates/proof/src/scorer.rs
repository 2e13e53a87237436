//! The boundary behind the logits: the scores of a window, and the numbers of a cell.

use eval::{NonFinite, ReferenceWindow, Token, VariantScores};
use lab::judge::evidence::{self, EvidenceError};
use record::Cell;
use record::store::CellSamples;
use record::{CellRecord, Predicted};

/// Turns logits into scores and scores into a record.
pub trait Scorer: Sync {
    /// Returns the reference's own negative log-likelihoods and the scores of a variant's logits against the reference's.
    /// Both lists of logits are `[targets.len()][n_vocab]`.
    ///
    /// # Errors
    /// At the first row that is not finite.
    fn compare(
        &self,
        n_vocab: usize,
        targets: &[Token],
        reference: &[f32],
        variant: &[f32],
    ) -> Result<(Vec<f64>, VariantScores), NonFinite>;

    /// Derives the numbers of a cell from its samples.
    ///
    /// # Errors
    /// As [`evidence::derive`].
    fn derive(
        &self,
        cell: &Cell,
        samples: &CellSamples,
        predicted: Option<&Predicted>,
    ) -> Result<CellRecord, EvidenceError>;
}

/// The scores that the worker and a run use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scores;

impl Scorer for Scores {
    fn compare(
        &self,
        n_vocab: usize,
        targets: &[Token],
        reference: &[f32],
        variant: &[f32],
    ) -> Result<(Vec<f64>, VariantScores), NonFinite> {
        let mut window = ReferenceWindow::default();
        window.set(reference, n_vocab, targets)?;
        Ok((window.nll(), window.compare(variant)?))
    }

    fn derive(
        &self,
        cell: &Cell,
        samples: &CellSamples,
        predicted: Option<&Predicted>,
    ) -> Result<CellRecord, EvidenceError> {
        evidence::derive(cell, samples, predicted)
    }
}
