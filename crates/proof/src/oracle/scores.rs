//! The scores of a window by the textbook: sums in F64 in the order of the vocabulary, one row after the other.

use eval::Token;

/// The scores of a variant's logits beside its reference's.
#[derive(Clone, Debug, PartialEq)]
pub struct BruteScores {
    /// Negative log-likelihood of each target under the variant, in nats.
    pub nll: Vec<f64>,
    /// Negative log-likelihood of each target under the reference, in nats.
    pub nll_ref: Vec<f64>,
    /// KL divergence of the variant from the reference at each position, in nats.
    pub kld: Vec<f64>,
    /// The number of positions at which both have the same most likely token, of equal ones the first.
    pub same_top: usize,
    /// The number of positions at which any logit differs in any bit.
    pub changed: usize,
}

/// Scores of `variant` against `reference`, both `[targets.len()][n_vocab]`: ln p = x − ln Σ exp x and
/// KLD = Σ p (ln p − ln q), with p the reference.
pub fn brute_force(reference: &[f32], variant: &[f32], n_vocab: usize, targets: &[Token]) -> BruteScores {
    let log_p = |row: &[f32]| -> Vec<f64> {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&x| libm::exp(f64::from(x) - f64::from(max))).sum();
        let log_sum = f64::from(max) + libm::log(sum);
        row.iter().map(|&x| f64::from(x) - log_sum).collect()
    };
    let top = |row: &[f32]| row.iter().enumerate().fold(0, |best, (i, &x)| if x > row[best] { i } else { best });
    let mut brute = BruteScores { nll: vec![], nll_ref: vec![], kld: vec![], same_top: 0, changed: 0 };
    let rows = reference.chunks_exact(n_vocab).zip(variant.chunks_exact(n_vocab));
    for ((a, b), &target) in rows.zip(targets) {
        let (ln_p, ln_q) = (log_p(a), log_p(b));
        brute.nll_ref.push(-ln_p.get(target as usize).copied().unwrap_or(f64::NAN));
        brute.nll.push(-ln_q.get(target as usize).copied().unwrap_or(f64::NAN));
        brute.kld.push(ln_p.iter().zip(&ln_q).map(|(p, q)| libm::exp(*p) * (p - q)).sum());
        brute.same_top += usize::from(top(a) == top(b));
        brute.changed += usize::from(a.iter().zip(b).any(|(x, y)| x.to_bits() != y.to_bits()));
    }
    brute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_worked_out_by_hand() {
        // p = (3/4, 1/4) and q = (1/2, 1/2): KLD = 3/4 ln 3/2 + 1/4 ln 1/2.
        let brute = brute_force(&[3f32.ln(), 0.0], &[0.0, 0.0], 2, &[1]);
        let near = |found: &[f64], wanted: f64| found.len() == 1 && (found[0] - wanted).abs() < 1e-7;
        assert!(near(&brute.nll, 2f64.ln()) && near(&brute.nll_ref, 4f64.ln()), "{brute:?}");
        assert!(near(&brute.kld, 0.75 * 1.5f64.ln() - 0.25 * 2f64.ln()), "{brute:?}");
        assert_eq!((brute.same_top, brute.changed), (1, 1));
    }
}
