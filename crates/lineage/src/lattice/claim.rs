//! When a grid is claimed: how many blocks it explains, and how many it would explain by chance.

/// The least share of the blocks that can tell which must lie on a grid for it to be claimed.
pub const MIN_HIT_SHARE: f64 = 0.75;
/// The greatest share of the blocks of either surrogate that may lie on it.
pub const MAX_SURROGATE_SHARE: f64 = 0.35;
/// The least number of bits of luck that as many hits would take at the surrogates' rate.
pub const MIN_LATTICE_EVIDENCE_BITS: f64 = 40.0;

/// The least share of the blocks for claiming a grid of a part of the tensor.
pub const MIN_PART_SHARE: f64 = 0.25;

/// The least share of the explained blocks that must agree on a further fact, such as one step or a class of scales.
pub(crate) const MIN_AGREEMENT: f64 = 0.90;

/// The rate at which blocks without structure reach [`HIT_BITS`](crate::interval::HIT_BITS).
pub(crate) const CHANCE_RATE: f64 = 0.011;

/// How many of the sampled blocks a grid explains, and how many it would explain by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockCount {
    /// The number of blocks that are explained.
    pub hits: u64,
    /// The number of blocks that could have failed to be.
    pub n: u64,
    /// The number of blocks of the worse surrogate that are explained.
    pub surrogate_hits: u64,
    /// The bits of luck that as many hits would take at the surrogate's rate.
    pub evidence_bits: f64,
}

impl BlockCount {
    /// `chance_rate` is the rate that blocks without structure reach by construction, however few surrogates did.
    pub(crate) fn new(hits: u64, n: u64, surrogate_hits: u64, chance_rate: f64) -> BlockCount {
        let rate = ((surrogate_hits + 1) as f64 / (n + 2) as f64).max(chance_rate);
        BlockCount { hits, n, surrogate_hits, evidence_bits: tail_bits(hits, n, rate) }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.share(self.hits) >= MIN_HIT_SHARE && self.is_beyond_chance(MAX_SURROGATE_SHARE)
    }

    /// Whether a grid that only some of the blocks lie on is accepted. The fewer blocks hit, the fewer may hit by
    /// chance.
    pub(super) fn is_accepted_in_part(&self) -> bool {
        let hits = self.share(self.hits);
        hits >= MIN_PART_SHARE && self.is_beyond_chance(MAX_SURROGATE_SHARE * hits)
    }

    fn share(&self, k: u64) -> f64 {
        k as f64 / self.n.max(1) as f64
    }

    fn is_beyond_chance(&self, max_surrogate_share: f64) -> bool {
        self.n > 0
            && self.share(self.surrogate_hits) <= max_surrogate_share
            && self.evidence_bits >= MIN_LATTICE_EVIDENCE_BITS
    }
}

/// −log2 of Chernoff's bound on the probability of `hits` or more of `n` at `rate`; 0 where the share is not above the
/// rate.
pub(crate) fn tail_bits(hits: u64, n: u64, rate: f64) -> f64 {
    let share = hits as f64 / n.max(1) as f64;
    if share <= rate {
        return 0.0;
    }
    let term = |p: f64, q: f64| if p > 0.0 { p * libm::log2(p / q) } else { 0.0 };
    n as f64 * (term(share, rate) + term(1.0 - share, 1.0 - rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_power_of_the_rate_when_all_hit_and_nothing_at_the_rate() {
        assert_eq!(tail_bits(10, 10, 0.25), 20.0);
        assert_eq!(tail_bits(25, 100, 0.25), 0.0);
        assert_eq!(tail_bits(0, 0, 0.5), 0.0);
        assert!(tail_bits(9, 10, 0.25) < 20.0);
    }

    #[test]
    fn acceptance_needs_hits_few_surrogates_and_enough_blocks() {
        let accepted = |hits, n, surrogates| BlockCount::new(hits, n, surrogates, CHANCE_RATE).is_accepted();
        assert!(accepted(192, 192, 0) && accepted(175, 192, 40));
        assert!(!accepted(143, 192, 0), "too few hits");
        assert!(!accepted(192, 192, 70), "chance does as well");
        assert!(accepted(12, 12, 0) && !accepted(8, 8, 0), "too few blocks");
        assert!(!accepted(0, 0, 0));
    }
}
