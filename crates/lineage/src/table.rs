//! Codebooks: blocks whose values are a scale times the entries of a known table.

use crate::few_levels::moved_values;
use crate::interval::{F32_ARITHMETIC, HIT_BITS, Precision, Zero, levels};
use crate::lattice::{self, BlockCount};
use crate::sample::{Axis, BlockExtent, Sample};

/// A table that quantizers are known to use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codebook {
    /// The name as it is printed.
    pub name: &'static str,
    /// The entries in ascending order, in any unit.
    pub entries: &'static [f64],
}

/// The tables that the search knows.
///
/// # Source
/// NF4: Dettmers et al., "QLoRA" (2023), appendix E. FP4: bitsandbytes `dDequantizeFP4Tree`, times 192. IQ4_NL:
/// `kvalues_iq4nl` (ggml-common.h). E2M1: OCP Microscaling Formats 1.0, times 2. IQ2, IQ3_XXS, IQ3_S: the magnitudes in
/// the grids of ggml-common.h (`iq2xs_grid`, `iq3xxs_grid`, `iq3s_grid`), with either sign. IQ1: −1, 0, 1 plus or minus
/// `IQ1S_DELTA`, times 8.
pub const CODEBOOKS: [Codebook; 8] = [
    Codebook {
        name: "NF4",
        entries: &[
            -1.0,
            -0.696_192_800_998_687_7,
            -0.525_073_051_452_636_7,
            -0.394_917_488_098_144_53,
            -0.284_441_381_692_886_35,
            -0.184_773_430_228_233_34,
            -0.091_050_036_251_544_95,
            0.0,
            0.079_580_299_556_255_34,
            0.160_930_201_411_247_25,
            0.246_112_301_945_686_34,
            0.337_915_241_718_292_24,
            0.440_709_829_330_444_34,
            0.562_617_003_917_694_1,
            0.722_956_836_223_602_3,
            1.0,
        ],
    },
    Codebook {
        name: "FP4",
        entries: &[-192.0, -128.0, -96.0, -64.0, -48.0, -32.0, -1.0, 0.0, 1.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0],
    },
    Codebook {
        name: "IQ4_NL",
        entries: &[
            -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
        ],
    },
    Codebook {
        name: "E2M1",
        entries: &[-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0],
    },
    Codebook { name: "IQ2", entries: &[-43.0, -25.0, -8.0, 8.0, 25.0, 43.0] },
    Codebook {
        name: "IQ3_XXS",
        entries: &[
            -62.0, -52.0, -44.0, -36.0, -28.0, -20.0, -12.0, -4.0, 4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0,
        ],
    },
    Codebook {
        name: "IQ3_S",
        entries: &[-15.0, -13.0, -11.0, -9.0, -7.0, -5.0, -3.0, -1.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0],
    },
    Codebook { name: "IQ1", entries: &[-9.0, -7.0, -1.0, 1.0, 7.0, 9.0] },
];

/// A known table that the sampled blocks of a tensor lie on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TableGrid {
    /// The name of the table.
    pub name: &'static str,
    /// The number of entries of the table.
    pub entries: u32,
    /// The values that share a scale.
    pub extent: BlockExtent,
    /// The axis along which blocks run.
    pub axis: Axis,
    /// The evidence of the sampled blocks.
    pub blocks: BlockCount,
}

impl TableGrid {
    /// The bits that describe a value, as [`lattice::cost`] counts them.
    pub(crate) fn cost(&self) -> f64 {
        lattice::cost(self.entries.into(), lattice::SCALE_BITS, self.extent, &self.blocks)
    }
}

impl Codebook {
    /// The entries that occur, as bits by index, and for a symmetric table also their negatives, since the sign of its
    /// scale is arbitrary.
    fn with_mirrored(&self, used: u32) -> u32 {
        let n = self.entries.len() as u32;
        let symmetric = self.entries.iter().zip(self.entries.iter().rev()).all(|(a, b)| *a == -*b);
        if symmetric { used | used.reverse_bits() >> (u32::BITS - n) } else { used }
    }
}

/// The extents that tables are tried on, the one that says most first.
pub(crate) const TABLE_EXTENTS: [BlockExtent; 5] = [
    BlockExtent::Block(256),
    BlockExtent::Block(128),
    BlockExtent::Block(64),
    BlockExtent::Block(32),
    BlockExtent::Block(16),
];

/// The least share of a table's entries that must occur somewhere: a few levels fit into any table.
const MIN_TABLE_USE: f64 = 0.85;

fn uses_all(used: u32, table: &Codebook) -> bool {
    f64::from(used) >= MIN_TABLE_USE * table.entries.len() as f64
}

/// The share of the explained blocks that need not be full.
const FULLEST: f64 = 0.05;
/// The least share of a table's entries that the fullest blocks must each have. A table whose entries outnumber the
/// distinct values of every block says nothing: an integer lattice of few levels leaves −1, 0, 1, 2 and 4 steps beside
/// an outlier, which are entries of FP4. On the development sources the fullest blocks of a table have at least 81 % of
/// its entries, and those of a lattice at most 60 %.
const MIN_FULL: f64 = 0.7;

/// Whether the fullest of the blocks, of whose values these are the entries, have most of the table.
fn fills_blocks(mut used: Vec<u32>, table: &Codebook) -> bool {
    used.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
    let fullest = used.get((used.len() as f64 * FULLEST) as usize);
    fullest.is_some_and(|n| f64::from(*n) >= MIN_FULL * table.entries.len() as f64)
}

/// The known table that explains the largest blocks.
pub(crate) fn find(sample: &Sample, axis: Axis, precision: Precision) -> Option<TableGrid> {
    for extent in TABLE_EXTENTS {
        let sampled = sample.blocks(extent, lattice::sampled(extent));
        let of = |block: &Vec<f32>| levels(block, Zero::AtLeast);
        // Two values fit into every table, and more values than a table has entries fit into none.
        let blocks: Vec<Vec<f32>> = sampled.iter().map(of).filter(|levels| levels.len() > 2).collect();
        let possible = blocks.iter().filter(|levels| levels.len() <= 16).count();
        if blocks.is_empty() || blocks.len() * 2 < sampled.len() || possible * 10 < blocks.len() * 9 {
            continue;
        }
        for known in CODEBOOKS {
            let fits: Vec<TableFit> =
                blocks.iter().filter_map(|block| fit(block, precision, &known)).filter(TableFit::is_hit).collect();
            let used = known.with_mirrored(fits.iter().fold(0, |used, fit| used | fit.used)).count_ones();
            let surrogates = blocks.iter().enumerate().filter(|(index, block)| {
                let moved = levels(&moved_values(block, *index as u64, precision), Zero::AtLeast);
                fit(&moved, precision, &known).is_some_and(|fit| fit.is_hit())
            });
            let surrogates = surrogates.count() as u64;
            let blocks = BlockCount::new(fits.len() as u64, blocks.len() as u64, surrogates, lattice::CHANCE_RATE);
            let entries = known.entries.len() as u32;
            let of_each = fits.iter().map(|fit| known.with_mirrored(fit.used).count_ones()).collect();
            if blocks.is_accepted() && uses_all(used, &known) && fills_blocks(of_each, &known) {
                return Some(TableGrid { name: known.name, entries, extent, axis, blocks });
            }
        }
    }
    None
}

/// The best explanation of one block by one table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableFit {
    pub(crate) bits: f64,
    /// The least scale that is possible.
    pub(crate) lo: f64,
    pub(crate) hi: f64,
    /// The entries that occur, as bits by index.
    pub(crate) used: u32,
}

impl TableFit {
    pub(crate) fn is_hit(&self) -> bool {
        self.bits >= HIT_BITS
    }
}

/// The scale with the most evidence, of either sign, under which all `levels` (distinct values) are entries.
pub(crate) fn fit(levels: &[f32], precision: Precision, table: &Codebook) -> Option<TableFit> {
    let top = levels.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).filter(|x| *x != 0.0)?;
    if levels.len() > table.entries.len() {
        return None;
    }
    let error = |x: f32| precision.half_ulp(x) + f64::from(x.abs()) * 2.0 * F32_ARITHMETIC;
    let span = table.entries[table.entries.len() - 1] - table.entries[0];
    let mut best: Option<TableFit> = None;
    for (index, &entry) in table.entries.iter().enumerate().filter(|(_, entry)| **entry != 0.0) {
        // The scale may be negative: then the table is upside down.
        let (x, h) = (f64::from(top) / entry, error(top) / entry.abs());
        let (sign, mut lo, mut hi) = (x.signum(), x.abs() - h, x.abs() + h);
        let mut bits = -libm::log2(2.0 * table.entries.len() as f64);
        let mut used = 1u32 << index;
        let all = lo > 0.0
            && levels.iter().filter(|x| **x != top).all(|&x| {
                let (value, h, d) = (f64::from(x) * sign, error(x), (lo + hi) / 2.0);
                let near = |entry: f64| (value - entry * d).abs();
                let (index, &entry) = table
                    .entries
                    .iter()
                    .enumerate()
                    .min_by(|a, b| near(*a.1).total_cmp(&near(*b.1)))
                    .unwrap_or((0, &0.0));
                let reach = h + entry.abs() * (hi - lo) / 2.0;
                if near(entry) > reach {
                    return false;
                }
                let chance = table.entries.len() as f64 * 2.0 * reach / (span * d);
                used |= 1 << index;
                bits -= libm::log2(chance.min(1.0));
                if entry != 0.0 {
                    let (a, b) = ((value - h) / entry, (value + h) / entry);
                    (lo, hi) = (lo.max(a.min(b)), hi.min(a.max(b)));
                }
                lo <= hi
            });
        if all && best.as_ref().is_none_or(|b| bits > b.bits) {
            best = Some(TableFit { bits, lo, hi, used });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::{Zero, levels};
    use numerics::Minifloat;

    #[test]
    fn a_block_made_from_a_table_is_explained_by_it_and_by_no_other() {
        for made in CODEBOOKS {
            let n = made.entries.len();
            for (precision, scale) in [(Precision::F32, 0.0137), (Precision::of(Minifloat::F16), -0.0219)] {
                let block: Vec<f32> =
                    (0..40).map(|i| precision.round((made.entries[i * 7 % n] as f32 * scale).into())).collect();
                for tried in CODEBOOKS {
                    let found = fit(&levels(&block, Zero::AtLeast), precision, &tried);
                    // Some tables are parts of others; what decides is that all entries occur.
                    let hit = found.as_ref().is_some_and(|fit| fit.is_hit() && uses_all(fit.used.count_ones(), &tried));
                    assert_eq!(hit, tried.name == made.name, "{} tried as {}: {found:?}", made.name, tried.name);
                }
            }
        }
    }

    #[test]
    fn tables_are_ascending_and_reach_their_known_ends() {
        for table in CODEBOOKS {
            assert!(table.entries.windows(2).all(|w| w[0] < w[1]), "{}", table.name);
        }
    }

    #[test]
    fn zeros_alone_fit_nothing() {
        assert_eq!(fit(&[0.0], Precision::F32, &CODEBOOKS[0]), None);
        assert_eq!(fit(&[], Precision::F32, &CODEBOOKS[0]), None);
    }
}
