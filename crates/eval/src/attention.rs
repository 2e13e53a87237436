//! What attention looks at: the probabilities that one head gives to earlier positions, in reference and variant.

use serde::{Deserialize, Serialize};

/// Sums over the query positions of one head. Divergence and entropy are in nats, probabilities are shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadShift {
    /// The number of query positions in the sums.
    pub n: u64,
    /// The sum of the Jensen–Shannon divergences of reference and variant, in nats.
    pub jsd: f64,
    /// The sum of the entropies of the reference, in nats.
    pub entropy_ref: f64,
    /// The sum of the entropies of the variant, in nats.
    pub entropy_var: f64,
    /// The sum of the probabilities that the reference gives to the first position.
    pub sink_ref: f64,
    /// The sum of the probabilities that the variant gives to the first position.
    pub sink_var: f64,
}

impl HeadShift {
    /// Adds one query position with the probabilities that reference and variant give to its key positions. Each sums
    /// to 1.
    pub fn add(&mut self, reference: &[f32], variant: &[f32]) {
        // x ln x, with its limit at 0.
        let x_ln_x = |x: f64| if x > 0.0 { x * libm::log(x) } else { 0.0 };
        let (mut ref_ln_ref, mut var_ln_var, mut apart) = (0.0, 0.0, 0.0);
        for (&p, &q) in reference.iter().zip(variant) {
            let (p, q) = (f64::from(p), f64::from(q));
            ref_ln_ref += x_ln_x(p);
            var_ln_var += x_ln_x(q);
            apart += divergence_at(p, q);
        }
        self.n += 1;
        self.jsd += apart;
        self.entropy_ref -= ref_ln_ref;
        self.entropy_var -= var_ln_var;
        self.sink_ref += reference.first().map_or(0.0, |&p| f64::from(p));
        self.sink_var += variant.first().map_or(0.0, |&q| f64::from(q));
    }

    /// Adds the sums of another window.
    pub fn join(&mut self, other: &HeadShift) {
        self.n += other.n;
        self.jsd += other.jsd;
        self.entropy_ref += other.entropy_ref;
        self.entropy_var += other.entropy_var;
        self.sink_ref += other.sink_ref;
        self.sink_var += other.sink_var;
    }
}

/// Below this δ the two logarithms would cancel to its square, and the series δ² + δ⁴/6 is exact to 1e-16.
const SMALL: f64 = 1e-4;

/// The term of one position in the Jensen–Shannon divergence, which is never negative: m/2 · ((1 + δ) ln(1 + δ) +
/// (1 − δ) ln(1 − δ)) with m = (p + q)/2 and δ = (p − q)/2m. It is 0 for equal probabilities.
fn divergence_at(p: f64, q: f64) -> f64 {
    let sum = p + q;
    if p == q || sum <= 0.0 {
        return 0.0;
    }
    let delta = ((p - q) / sum).abs();
    let square = delta * delta;
    let bracket = match delta {
        1.0 => 2.0 * std::f64::consts::LN_2,
        _ if delta < SMALL => square + square * square / 6.0,
        _ => (1.0 + delta) * libm::log1p(delta) + (1.0 - delta) * libm::log1p(-delta),
    };
    sum / 4.0 * bracket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_shift_nothing_and_disjoint_ones_diverge_by_ln_two() {
        let mut same = HeadShift::default();
        same.add(&[0.25, 0.75, 0.0], &[0.25, 0.75, 0.0]);
        assert_eq!((same.n, same.jsd, same.sink_ref, same.sink_var), (1, 0.0, 0.25, 0.25));
        assert_eq!(same.entropy_ref, same.entropy_var);
        let mut apart = HeadShift::default();
        apart.add(&[1.0, 0.0], &[0.0, 1.0]);
        assert!((apart.jsd - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!((apart.entropy_ref, apart.sink_ref, apart.sink_var), (0.0, 1.0, 0.0));
    }

    #[test]
    fn the_divergence_is_the_mean_of_two_kl_divergences_from_the_mixture() {
        let (p, q) = ([0.5f32, 0.5], [0.25f32, 0.75]);
        let mut shift = HeadShift::default();
        shift.add(&p, &q);
        let kl = |a: &[f32], m: &[f64]| -> f64 {
            a.iter().zip(m).map(|(&a, m)| f64::from(a) * (f64::from(a) / m).ln()).sum()
        };
        let mix = [0.375, 0.625];
        assert!((shift.jsd - 0.5 * (kl(&p, &mix) + kl(&q, &mix))).abs() < 1e-15);
    }

    #[test]
    fn rows_that_hardly_differ_have_the_divergence_of_their_difference() {
        // ½ Σ (p − q)² / 4m to the leading term, far below what the entropies would leave of it.
        for by in [1e-3f32, 1e-5, 1e-6] {
            let (p, q) = ([0.5f32, 0.5], [0.5 + by, 0.5 - by]);
            let mut shift = HeadShift::default();
            shift.add(&p, &q);
            let apart = f64::from(q[0]) - 0.5;
            let expected = apart * apart / 2.0;
            assert!((shift.jsd / expected - 1.0).abs() < 1e-5, "{by}: {:e}, wanted {expected:e}", shift.jsd);
        }
    }
}
