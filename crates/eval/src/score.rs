//! Scores one window: the reference once, then each variant against it.

use crate::softmax::{Divergences, N_TOP, RowSummary, divergences, summarize, top_tokens};
use record::metric::{ColumnKind, column};
use record::{Bits, Column, Columns, Token};

/// The error for a logit that is infinite or NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("non-finite logits at scored position {row} of the window")]
pub struct NonFinite {
    /// The index of the logit's row among the scored positions.
    pub row: usize,
}

/// The reference on one window: its logits and what follows from them. They are in memory only during work on that
/// window.
#[derive(Debug, Default)]
pub struct ReferenceWindow {
    logits: Vec<f32>,
    rows: Vec<RowSummary>,
    tops: Vec<Vec<u32>>,
    targets: Vec<Token>,
    n_vocab: usize,
}

/// A scored position with the variant's row of logits and what follows from both rows.
pub(crate) struct Position<'a> {
    /// The variant's logits `[n_vocab]`.
    variant: &'a [f32],
    /// The summary of the reference's row.
    base: RowSummary,
    /// The summary of the variant's row.
    summary: RowSummary,
    /// The token that is to be predicted.
    token: Token,
    /// Whether any bit of the two rows differs.
    is_changed: bool,
    /// The divergences between the two rows.
    divergences: Divergences,
    /// The reference's most probable tokens, the most probable first.
    top: &'a [u32],
}

/// The value of a column at one position.
pub(crate) enum Score {
    /// A number of f64.
    F64(f64),
    /// A value that is yes or no.
    Bit(bool),
    /// A whole number.
    Count(u32),
}

/// How a column of samples is filled, position by position.
pub(crate) struct Fold {
    /// The name of the column in [`record::metric::COLUMNS`].
    pub(crate) column: &'static str,
    /// The function that computes the value at a position.
    pub(crate) score: fn(&Position<'_>) -> Score,
}

/// The folds, one for each column.
pub(crate) const FOLDS: &[Fold] = &[
    Fold { column: "nll", score: |at| Score::F64(nll(at.variant, at.summary, at.token)) },
    Fold { column: "kld", score: |at| Score::F64(at.divergences.kld) },
    Fold { column: "kld_reverse", score: |at| Score::F64(at.divergences.kld_reverse) },
    Fold { column: "tv", score: |at| Score::F64(at.divergences.tv) },
    Fold { column: "same_top", score: |at| Score::Bit(at.base.top == at.summary.top) },
    Fold { column: "top_agreement", score: |at| Score::Count(at.top_agreement()) },
    Fold { column: "logits_changed", score: |at| Score::Bit(at.is_changed) },
    Fold { column: "top_p", score: |at| Score::F64(at.summary.top_p) },
    Fold { column: "entropy", score: |at| Score::F64(at.summary.entropy) },
    Fold { column: "hit", score: |at| Score::Bit(is_hit(at.summary, at.token)) },
];

impl Position<'_> {
    /// The number of leading places, at most 5, at which both lists of most probable tokens agree. It is also 5 where a
    /// smaller vocabulary agrees completely.
    fn top_agreement(&self) -> u32 {
        if !self.is_changed {
            return N_TOP as u32;
        }
        let of_variant = top_tokens(self.variant);
        let agreeing = self.top.iter().zip(&of_variant).take_while(|(a, b)| a == b).count();
        (if agreeing == self.top.len() { N_TOP } else { agreeing }) as u32
    }
}

/// Whether the most probable token is the one that the text goes on with.
fn is_hit(summary: RowSummary, token: Token) -> bool {
    usize::try_from(token) == Ok(summary.top)
}

/// The negative log-likelihood −ln p(token) in nats, from the logits of one row.
fn nll(row: &[f32], summary: RowSummary, token: Token) -> f64 {
    summary.lse - f64::from(row[token as usize])
}

impl ReferenceWindow {
    /// Takes the reference's logits `[n_scored or more][n_vocab]` and the token that each row predicts `[n_scored]`. It
    /// reuses the buffers of the previous window.
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
        self.tops.clear();
        for (row, logits) in logits.chunks_exact(n_vocab).enumerate() {
            self.rows.push(summarize(logits).ok_or(NonFinite { row })?);
            self.tops.push(top_tokens(logits));
        }
        Ok(())
    }

    /// The negative log-likelihood of each scored token, in nats.
    pub fn nll(&self) -> Vec<f64> {
        self.logits
            .chunks_exact(self.n_vocab)
            .zip(&self.rows)
            .zip(&self.targets)
            .map(|((row, &summary), &token)| nll(row, summary, token))
            .collect()
    }

    /// The columns of [`record::metric::REFERENCE_COLUMNS`] that follow from the logits.
    pub fn columns(&self) -> Columns {
        let rows = self.rows.iter();
        let hits = rows.clone().zip(&self.targets).map(|(&row, &token)| is_hit(row, token)).collect();
        let columns = [
            ("nll", Column::F64(self.nll())),
            ("top_p", Column::F64(rows.clone().map(|row| row.top_p).collect())),
            ("entropy", Column::F64(rows.map(|row| row.entropy).collect())),
            ("hit", Column::Bits(Bits(hits))),
        ];
        Columns(columns.map(|(id, column)| (id.to_owned(), column)).into())
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
    pub fn compare(&self, logits: &[f32]) -> Result<Columns, NonFinite> {
        let n_vocab = self.n_vocab;
        let mut filled: Vec<Column> = FOLDS.iter().map(|fold| empty(fold.column)).collect();
        let rows = self.logits.chunks_exact(n_vocab).zip(logits[..self.logits.len()].chunks_exact(n_vocab));
        for (row, ((reference, variant), (&base, &token))) in rows.zip(self.rows.iter().zip(&self.targets)).enumerate()
        {
            let is_changed = reference.iter().zip(variant).any(|(a, b)| a.to_bits() != b.to_bits());
            let summary = if is_changed { summarize(variant).ok_or(NonFinite { row })? } else { base };
            // Equal bits have the same summary and diverge by exactly 0, so there is nothing to compute.
            let divergences = match is_changed {
                true => divergences(reference, base.lse, variant, summary.lse),
                false => Divergences::default(),
            };
            let top = &self.tops[row];
            let at = Position { variant, base, summary, token, is_changed, divergences, top };
            for (fold, column) in FOLDS.iter().zip(&mut filled) {
                match ((fold.score)(&at), column) {
                    (Score::F64(value), Column::F64(values)) => values.push(value),
                    (Score::Count(value), Column::Counts(values)) => values.push(value),
                    (Score::Bit(value), Column::Bits(Bits(values))) => values.push(value),
                    // A column has the kind that its fold gives. A test checks that the two tables agree.
                    _ => {}
                }
            }
        }
        Ok(Columns(FOLDS.iter().map(|fold| fold.column.to_owned()).zip(filled).collect()))
    }
}

/// An empty column of the kind that the table gives.
fn empty(id: &str) -> Column {
    match column(id).map(|row| row.kind) {
        Some(ColumnKind::Bits) => Column::Bits(Bits::default()),
        Some(ColumnKind::Counts) => Column::Counts(Vec::new()),
        Some(ColumnKind::F64) | None => Column::F64(Vec::new()),
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
        assert_eq!(scores.numbers("kld"), [0.0; 4]);
        assert_eq!(scores.numbers("nll"), reference.nll());
        assert_eq!((scores.bits("same_top"), scores.bits("logits_changed")), (&[true; 4][..], &[false; 4][..]));
    }

    #[test]
    fn every_column_of_the_table_has_one_fold_that_gives_its_kind() {
        let ids: Vec<&str> = record::metric::COLUMNS.iter().map(|column| column.id).collect();
        assert_eq!(FOLDS.iter().map(|fold| fold.column).collect::<Vec<_>>(), ids);
        let mut reference = ReferenceWindow::default();
        reference.set(&[0.0, 1.0], 2, &[0]).unwrap();
        let scores = reference.compare(&[1.0, 0.0]).unwrap();
        for column in record::metric::COLUMNS {
            let filled = scores.get(column.id).expect(column.id);
            assert_eq!((filled.kind(), filled.len()), (column.kind, 1), "{}", column.id);
        }
    }

    #[test]
    fn one_moved_logit_is_seen_in_its_row_alone() {
        let logits = vec![0.0f32; 3 * 10];
        let mut reference = ReferenceWindow::default();
        reference.set(&logits, 10, &[0, 0, 9]).unwrap();
        let mut moved = logits.clone();
        moved[10 + 4] = 1.0;
        let scores = reference.compare(&moved).unwrap();
        assert_eq!(scores.bits("logits_changed"), [false, true, false]);
        assert_eq!(scores.bits("same_top"), [true, false, true]);
        let (kld, nll) = (scores.numbers("kld"), scores.numbers("nll"));
        assert_eq!((kld[0], kld[2]), (0.0, 0.0));
        // q = e^x_i / (9 + e): KLD(uniform || q) = ln((9 + e) / 10) − 1/10.
        let worked = ((9.0 + std::f64::consts::E) / 10.0).ln() - 0.1;
        assert!((kld[1] - worked).abs() < 1e-15);
        // −ln q(0) = ln(9 + e).
        assert!((nll[1] - (9.0 + std::f64::consts::E).ln()).abs() < 1e-15);
    }

    #[test]
    fn confidence_and_hits_of_both_sides_are_columns() {
        // p = (1/2, 1/4, 1/4) with entropy 3/2 ln 2, and the text goes on with the most probable token, then with another.
        let sure: [f32; 3] = [2.0f32.ln(), 0.0, 0.0];
        let mut reference = ReferenceWindow::default();
        reference.set(&[sure, sure].concat(), 3, &[0, 2]).unwrap();
        let of_reference = reference.columns();
        let near = |found: &[f64], wanted: f64| found.iter().all(|value| (value - wanted).abs() < 1e-7);
        assert!(near(of_reference.numbers("top_p"), 0.5) && near(of_reference.numbers("entropy"), 1.5 * 2f64.ln()));
        assert_eq!(of_reference.bits("hit"), [true, false]);
        // A uniform row has entropy ln 3, and the first of equal tokens is the most probable one.
        let variant = reference.compare(&[[0.0; 3], [0.0, 0.0, 100.0]].concat()).unwrap();
        assert_eq!(variant.bits("hit"), [true, true]);
        let (top_p, entropy) = (variant.numbers("top_p"), variant.numbers("entropy"));
        assert!((top_p[0] - 1.0 / 3.0).abs() < 1e-15 && (entropy[0] - 3f64.ln()).abs() < 1e-15);
        assert_eq!((top_p[1], entropy[1] < 1e-40, entropy[1] >= 0.0), (1.0, true, true));
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
