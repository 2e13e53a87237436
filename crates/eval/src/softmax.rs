//! The sums over a vocabulary from which all scores are made: log Σ exp, Σ p (ln p − ln q) both ways, and Σ |p − q|. It
//! also finds the most probable tokens.
//!
//! The sums run in f64 with eight accumulators in a fixed order, so a result does not depend on the instruction set for
//! which the loop was compiled. `exp` is our own, because the library's does not vectorise; it is within 2 ulp of the
//! library's. The logarithm after the loop is libm's own, since a C library may choose another one for each processor.

use multiversion::multiversion;

const LANES: usize = 8;

/// e^x for x ≤ 709, by Cody–Waite reduction and a Taylor polynomial of degree 13 on |r| ≤ ln 2 / 2. Below −708, where the
/// result would be subnormal, it is 0.
///
/// # Source
/// W. J. Cody and W. Waite, *Software Manual for the Elementary Functions* (1980), chapter 6.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    const LN2_HI: f64 = 0.693_147_180_369_123_8;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    // Adding and subtracting 1.5 · 2^52 rounds to the nearest integer without leaving the vector unit.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN2_HI) - k * LN2_LO;
    let mut p = 1.0 / 6_227_020_800.0;
    p = p * r + 1.0 / 479_001_600.0;
    p = p * r + 1.0 / 39_916_800.0;
    p = p * r + 1.0 / 3_628_800.0;
    p = p * r + 1.0 / 362_880.0;
    p = p * r + 1.0 / 40_320.0;
    p = p * r + 1.0 / 5_040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // The low bits of `shifted` are k as an integer; move it into the exponent.
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    // The value is masked, because a branch would keep the surrounding loops from being vectorised.
    let keep = u64::from(x < -708.0).wrapping_sub(1);
    f64::from_bits((p * scale).to_bits() & keep)
}

/// The sum of the lanes in a fixed order: pairs, pairs of pairs, then the two halves.
#[inline(always)]
fn fold(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// The largest value of a row, and whether every value is finite.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn max_and_finite(row: &[f32]) -> (f32, bool) {
    let mut max = [f32::NEG_INFINITY; 16];
    let mut finite = [true; 16];
    let chunks = row.chunks_exact(16);
    let tail = chunks.remainder();
    for chunk in chunks {
        for lane in 0..16 {
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
            finite[lane] &= chunk[lane].is_finite();
        }
    }
    let mut top = max.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut all = finite.iter().all(|&f| f);
    for &x in tail {
        top = top.max(x);
        all &= x.is_finite();
    }
    (top, all)
}

/// The sums Σ e^t and Σ t e^t over a row, with t = x − max.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn sum_exp(row: &[f32], max: f64) -> [f64; 2] {
    let mut sums = [[0.0f64; LANES]; 2];
    let chunks = row.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            let below = f64::from(chunk[lane]) - max;
            let e = exp(below);
            sums[0][lane] += e;
            sums[1][lane] += below * e;
        }
    }
    for (lane, &x) in tail.iter().enumerate() {
        let below = f64::from(x) - max;
        let e = exp(below);
        sums[0][lane] += e;
        sums[1][lane] += below * e;
    }
    sums.map(fold)
}

/// Three sums over the vocabulary: the terms of KL(p‖q), those of KL(q‖p), and |p − q|.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn sum_divergences(p: &[f32], lse_p: f64, q: &[f32], lse_q: f64) -> [f64; 3] {
    #[inline(always)]
    fn terms(a: f32, lse_p: f64, b: f32, lse_q: f64) -> [f64; 3] {
        let ln_p = f64::from(a) - lse_p;
        let ln_q = f64::from(b) - lse_q;
        let (p, q) = (exp(ln_p), exp(ln_q));
        [(q - p) + p * (ln_p - ln_q), (p - q) + q * (ln_q - ln_p), (p - q).abs()]
    }
    let mut sums = [[0.0f64; LANES]; 3];
    let (ps, qs) = (p.chunks_exact(LANES), q.chunks_exact(LANES));
    let tail = ps.remainder().iter().zip(qs.remainder());
    for (a, b) in ps.zip(qs) {
        for lane in 0..LANES {
            let [forward, reverse, distance] = terms(a[lane], lse_p, b[lane], lse_q);
            sums[0][lane] += forward;
            sums[1][lane] += reverse;
            sums[2][lane] += distance;
        }
    }
    for (lane, (&a, &b)) in tail.enumerate() {
        let of_token = terms(a, lse_p, b, lse_q);
        (0..3).for_each(|sum| sums[sum][lane] += of_token[sum]);
    }
    sums.map(fold)
}

/// What follows from one row of logits: the constant that converts them to log-probabilities, the most probable token,
/// and how sure the model is of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowSummary {
    /// ln Σ exp(logit) in nats, so that ln p(i) = logit(i) − lse.
    pub lse: f64,
    /// The index of the largest logit, or of the first where several are equal.
    pub top: usize,
    /// The probability of the most probable token, 1 / n_vocab … 1.
    pub top_p: f64,
    /// The entropy −Σ p ln p of the row's distribution, in nats.
    pub entropy: f64,
}

/// The summary of a row of logits `[n_vocab]`; `None` when a logit is not finite or the row is empty.
pub fn summarize(row: &[f32]) -> Option<RowSummary> {
    let (max, finite) = max_and_finite(row);
    if !finite || row.is_empty() {
        return None;
    }
    let top = row.iter().position(|&x| x == max)?;
    // With t = x − max, S = Σ e^t and p = e^t / S: −Σ p ln p = ln S − Σ t e^t / S. Neither term is negative.
    let [sum, weighted] = sum_exp(row, f64::from(max));
    let ln_sum = libm::log(sum);
    Some(RowSummary { lse: f64::from(max) + ln_sum, top, top_p: 1.0 / sum, entropy: ln_sum - weighted / sum })
}

/// How far apart two rows of logits are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergences {
    /// The KL divergence Σ p (ln p − ln q), in nats.
    pub kld: f64,
    /// The KL divergence in the other direction, Σ q (ln q − ln p), in nats.
    pub kld_reverse: f64,
    /// The total variation distance ½ Σ |p − q|, from 0 to 1.
    pub tv: f64,
}

/// The divergences of two rows of logits `[n_vocab]`.
///
/// A KL divergence is computed as Σ (q − p + p (ln p − ln q)), which is the same number because Σ p and Σ q are both 1.
/// Every term is then p (e^−x − 1 + x) with x = ln p − ln q, which is not negative, so no terms cancel between tokens.
/// At the level of 8-bit formats and below, the textbook sum is a difference of terms 10^4 times its size. Equal rows
/// give exactly 0.
///
/// # Panics
/// When the rows differ in length.
pub fn divergences(p: &[f32], lse_p: f64, q: &[f32], lse_q: f64) -> Divergences {
    assert_eq!(p.len(), q.len(), "rows of one vocabulary");
    let [kld, kld_reverse, distance] = sum_divergences(p, lse_p, q, lse_q);
    // Each term is ≥ 0 up to rounding; the clamp removes a −1e-17 from rows that differ in the last bits only.
    Divergences { kld: kld.max(0.0), kld_reverse: kld_reverse.max(0.0), tv: (0.5 * distance).min(1.0) }
}

/// The number of most probable tokens that [`top_tokens`] lists.
pub const N_TOP: usize = 5;

/// The most probable tokens of a row of logits `[n_vocab]`, most probable first, and the first of equal ones first. It
/// lists all tokens where there are fewer than [`N_TOP`].
pub fn top_tokens(row: &[f32]) -> Vec<u32> {
    const BLOCK: usize = 64;
    let mut top: Vec<(f32, u32)> = Vec::with_capacity(N_TOP + 1);
    for (block, values) in row.chunks(BLOCK).enumerate() {
        // Most blocks have none of them, and the largest value of a block is quickly found.
        let least = if top.len() == N_TOP { top[N_TOP - 1].0 } else { f32::NEG_INFINITY };
        if top.len() == N_TOP && max_and_finite(values).0 <= least {
            continue;
        }
        for (at, &value) in values.iter().enumerate() {
            let place = top.iter().position(|(there, _)| value > *there).unwrap_or(top.len());
            if place < N_TOP {
                top.insert(place, (value, (block * BLOCK + at) as u32));
                top.truncate(N_TOP);
            }
        }
    }
    top.into_iter().map(|(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tolerance is 2 ulp: one for the reduction, one for the polynomial.
    const EXP_REL_TOLERANCE: f64 = 4.5e-16;

    #[test]
    fn exp_agrees_with_the_library_over_its_whole_range() {
        for i in 0..400_000 {
            let x = -707.9 + f64::from(i) * (709.9 + 707.0) / 400_000.0;
            let x = x.min(709.0);
            let (ours, theirs) = (exp(x), x.exp());
            assert!((ours - theirs).abs() <= EXP_REL_TOLERANCE * theirs, "exp({x}) = {ours}, library {theirs}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(-1e4), 0.0);
    }

    fn naive_kld(p: &[f32], q: &[f32]) -> f64 {
        let lse = |r: &[f32]| {
            let m = r.iter().copied().fold(f32::MIN, f32::max) as f64;
            m + r.iter().map(|&x| (x as f64 - m).exp()).sum::<f64>().ln()
        };
        let (lp, lq) = (lse(p), lse(q));
        p.iter().zip(q).map(|(&a, &b)| (a as f64 - lp).exp() * ((a as f64 - lp) - (b as f64 - lq))).sum()
    }

    #[test]
    fn a_hand_worked_pair_of_rows() {
        // p = (3/4, 1/4), q = (1/2, 1/2): KLD = 3/4 ln(3/2) + 1/4 ln(1/2).
        let p = [3.0f32.ln(), 0.0];
        let q = [0.0f32, 0.0];
        let (a, b) = (summarize(&p).unwrap(), summarize(&q).unwrap());
        let kld = divergences(&p, a.lse, &q, b.lse).kld;
        let worked = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        assert!((kld - worked).abs() < 1e-7, "{kld} against {worked}");
        // In the other direction: 1/2 ln(2/3) + 1/2 ln 2. The total variation is half of |1/4| + |1/4|.
        let other = divergences(&p, a.lse, &q, b.lse);
        assert!((other.kld_reverse - 0.5 * (4.0f64 / 3.0).ln()).abs() < 1e-7, "{other:?}");
        assert!((other.tv - 0.25).abs() < 1e-7, "{other:?}");
        assert_eq!((a.top, b.top), (0, 0));
    }

    #[test]
    fn equal_rows_diverge_by_exactly_zero() {
        let row: Vec<f32> = (0..1001).map(|i| ((i * 37) % 101) as f32 * 0.17 - 9.0).collect();
        let s = summarize(&row).unwrap();
        assert_eq!(divergences(&row, s.lse, &row, s.lse), Divergences::default());
    }

    #[test]
    fn a_token_that_one_side_rules_out_is_counted_without_overflow() {
        // p = (1, e^−2000), q = (e^−2000, 1): KLD = 2000 nats.
        let p = [0.0f32, -2000.0];
        let q = [-2000.0f32, 0.0];
        let (a, b) = (summarize(&p).unwrap(), summarize(&q).unwrap());
        let found = divergences(&p, a.lse, &q, b.lse);
        assert_eq!((found.kld, found.kld_reverse, found.tv), (2000.0, 2000.0, 1.0));
    }

    #[test]
    fn non_finite_and_empty_rows_have_no_summary() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 7, 16, 40] {
                let mut row = vec![0.5f32; 41];
                row[place] = bad;
                assert_eq!(summarize(&row), None, "{bad} at {place}");
            }
        }
        assert_eq!(summarize(&[]), None);
    }

    proptest! {
        #[test]
        fn divergence_agrees_with_the_textbook_sum(
            rows in prop::collection::vec((-30f32..30.0, -2f32..2.0), 1..300)
        ) {
            let p: Vec<f32> = rows.iter().map(|r| r.0).collect();
            let q: Vec<f32> = rows.iter().map(|r| r.0 + r.1).collect();
            let (a, b) = (summarize(&p).unwrap(), summarize(&q).unwrap());
            let ours = divergences(&p, a.lse, &q, b.lse).kld;
            let naive = naive_kld(&p, &q);
            prop_assert!((ours - naive).abs() <= 1e-12 + 1e-9 * naive.abs(), "{} against {}", ours, naive);
            prop_assert!(ours >= 0.0);
            let found = divergences(&p, a.lse, &q, b.lse);
            let back = divergences(&q, b.lse, &p, a.lse);
            prop_assert!((found.kld_reverse - back.kld).abs() <= 1e-12 + 1e-9 * back.kld);
            let of = |row: &[f32], lse: f64| -> Vec<f64> { row.iter().map(|&x| (f64::from(x) - lse).exp()).collect() };
            let tv: f64 = of(&p, a.lse).iter().zip(of(&q, b.lse)).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0;
            prop_assert!((found.tv - tv).abs() < 1e-12, "{} against {}", found.tv, tv);
        }

        #[test]
        fn the_top_tokens_are_those_of_a_stable_sort(row in prop::collection::vec((-8i8..8).prop_map(f32::from), 0..400)) {
            let mut sorted: Vec<u32> = (0..row.len() as u32).collect();
            sorted.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
            sorted.truncate(N_TOP);
            prop_assert_eq!(top_tokens(&row), sorted);
        }
    }
}
