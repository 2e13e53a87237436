//! The boundary behind the logits: the scores of a window, and the numbers of a cell.

use eval::{NonFinite, ReferenceWindow, Token};
use lab::judge::evidence::{self, EvidenceError, References};
use record::Cell;
use record::store::CellSamples;
use record::{CellRecord, Columns, Predicted};

/// Turns logits into scores and scores into a record.
pub trait Scorer: Sync {
    /// Returns the columns of the reference and those of a variant's logits against the reference's.
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
    ) -> Result<(Columns, Columns), NonFinite>;

    /// Derives the numbers of a cell from its samples.
    ///
    /// # Errors
    /// As [`evidence::derive`].
    fn derive(
        &self,
        cell: &Cell,
        samples: &CellSamples,
        references: &References,
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
    ) -> Result<(Columns, Columns), NonFinite> {
        let mut window = ReferenceWindow::default();
        window.set(reference, n_vocab, targets)?;
        Ok((window.columns(), window.compare(variant)?))
    }

    fn derive(
        &self,
        cell: &Cell,
        samples: &CellSamples,
        references: &References,
        predicted: Option<&Predicted>,
    ) -> Result<CellRecord, EvidenceError> {
        evidence::derive(cell, samples, references, predicted)
    }
}
