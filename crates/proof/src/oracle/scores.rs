//! The scores of a window by the textbook: sums in F64 in the order of the vocabulary, one row after the other.

use eval::Token;
use record::{Bits, Column, Columns};

/// Two rows of one position, and the log-probabilities that follow from them.
struct Rows<'a> {
    reference: &'a [f32],
    variant: &'a [f32],
    ln_p: Vec<f64>,
    ln_q: Vec<f64>,
}

impl Rows<'_> {
    /// Σ over the vocabulary of a function of p and q, the reference's and the variant's probabilities, and their logarithms.
    fn sum(&self, term: impl Fn(f64, f64) -> f64) -> f64 {
        self.ln_p.iter().zip(&self.ln_q).map(|(&ln_p, &ln_q)| term(ln_p, ln_q)).sum()
    }
}

/// The number of leading places at which both rows' tokens, sorted by their logits and then by their numbers, agree; at most 5,
/// and 5 where a smaller vocabulary agrees in all of them.
fn agreement(rows: &Rows<'_>) -> u32 {
    let sorted = |row: &[f32]| -> Vec<usize> {
        let mut tokens: Vec<usize> = (0..row.len()).collect();
        tokens.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        tokens.truncate(5);
        tokens
    };
    let (reference, variant) = (sorted(rows.reference), sorted(rows.variant));
    let first_other = reference.iter().zip(&variant).position(|(a, b)| a != b);
    first_other.map_or(5, |place| place as u32)
}

/// The columns of the reference and of a variant, both `[targets.len()][n_vocab]`: ln p = x − ln Σ exp x and
/// KLD = Σ p (ln p − ln q), with p the reference.
pub fn brute_force(reference: &[f32], variant: &[f32], n_vocab: usize, targets: &[Token]) -> (Columns, Columns) {
    let log_p = |row: &[f32]| -> Vec<f64> {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&x| libm::exp(f64::from(x) - f64::from(max))).sum();
        let log_sum = f64::from(max) + libm::log(sum);
        row.iter().map(|&x| f64::from(x) - log_sum).collect()
    };
    let rows = reference.chunks_exact(n_vocab).zip(variant.chunks_exact(n_vocab));
    let rows: Vec<Rows<'_>> = rows
        .zip(targets)
        .map(|((reference, variant), _)| Rows { reference, variant, ln_p: log_p(reference), ln_q: log_p(variant) })
        .collect();
    let numbers = |of: &dyn Fn(&Rows<'_>) -> f64| Column::F64(rows.iter().map(of).collect());
    let bits = |of: &dyn Fn(&Rows<'_>) -> bool| Column::Bits(Bits(rows.iter().map(of).collect()));
    let nll = |of: for<'r> fn(&'r Rows<'_>) -> &'r [f64]| -> Column {
        let of_target = |(rows, &target): (_, &Token)| -of(rows).get(target as usize).copied().unwrap_or(f64::NAN);
        Column::F64(rows.iter().zip(targets).map(of_target).collect())
    };
    let top = |row: &[f32]| row.iter().enumerate().fold(0, |best, (i, &x)| if x > row[best] { i } else { best });
    let top_p = |ln_p: &[f64]| libm::exp(ln_p.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let entropy = |ln_p: &[f64]| -ln_p.iter().map(|&ln_p| libm::exp(ln_p) * ln_p).sum::<f64>();
    let hits = |of: for<'r> fn(&'r Rows<'_>) -> &'r [f32]| -> Column {
        let is_hit = |(rows, &target): (_, &Token)| top(of(rows)) == target as usize;
        Column::Bits(Bits(rows.iter().zip(targets).map(is_hit).collect()))
    };
    let columns = [
        ("top_p", numbers(&|rows| top_p(&rows.ln_q))),
        ("entropy", numbers(&|rows| entropy(&rows.ln_q))),
        ("hit", hits(|rows| rows.variant)),
        ("nll", nll(|rows| &rows.ln_q)),
        ("kld", numbers(&|rows| rows.sum(|p, q| libm::exp(p) * (p - q)))),
        ("kld_reverse", numbers(&|rows| rows.sum(|p, q| libm::exp(q) * (q - p)))),
        ("tv", numbers(&|rows| rows.sum(|p, q| 0.5 * (libm::exp(p) - libm::exp(q)).abs()))),
        ("top_agreement", Column::Counts(rows.iter().map(agreement).collect())),
        ("same_top", bits(&|rows| top(rows.reference) == top(rows.variant))),
        (
            "logits_changed",
            bits(&|rows| rows.reference.iter().zip(rows.variant).any(|(x, y)| x.to_bits() != y.to_bits())),
        ),
    ];
    let named = |(id, column): (&str, Column)| (id.to_owned(), column);
    let of_reference = [
        ("top_p", numbers(&|rows| top_p(&rows.ln_p))),
        ("entropy", numbers(&|rows| entropy(&rows.ln_p))),
        ("hit", hits(|rows| rows.reference)),
        ("nll", nll(|rows| &rows.ln_p)),
    ];
    (Columns(of_reference.map(named).into()), Columns(columns.map(named).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_worked_out_by_hand() {
        // p = (3/4, 1/4) and q = (1/2, 1/2): KLD = 3/4 ln 3/2 + 1/4 ln 1/2.
        let (reference, brute) = brute_force(&[3f32.ln(), 0.0], &[0.0, 0.0], 2, &[1]);
        let near = |found: &[f64], wanted: f64| found.len() == 1 && (found[0] - wanted).abs() < 1e-7;
        assert!(near(brute.numbers("nll"), 2f64.ln()) && near(reference.numbers("nll"), 4f64.ln()), "{brute:?}");
        assert!(near(brute.numbers("kld"), 0.75 * 1.5f64.ln() - 0.25 * 2f64.ln()), "{brute:?}");
        assert_eq!((brute.bits("same_top"), brute.bits("logits_changed")), (&[true][..], &[true][..]));
    }
}
