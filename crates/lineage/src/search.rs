//! What regular grid a tensor's blocks lie on, if any: the simplest description that is accepted.

use crate::census::{Effective, StoredPrecision, TensorCensus};
use crate::interval::{Precision, Zero, levels};
use crate::lattice::{self, BlockCount, Lattice, ScaleClass, tail_bits};
use crate::sample::{Axis, Extent, Lines, mix, symmetric_uniform};
use crate::table::{self, CODEBOOKS, TableFit};
use numerics::Minifloat;

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub enum Grid {
    /// Multiples of a step.
    Lattice(Lattice),
    /// A scale times the entries of a known table.
    Codebook(TableGrid),
    /// Floats of few significant bits with power-of-two scales.
    SmallFloat(SmallFloat),
    /// Few distinct values per block, of no known table.
    FewLevels(FewLevels),
    /// Nothing coarser than storage shows.
    NoneFound,
    /// The values cannot tell, and why.
    NotDecidable(&'static str),
}

/// Blocks that lie on a known table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TableGrid {
    /// Which.
    pub name: &'static str,
    /// Values that share a scale.
    pub extent: Extent,
    /// The evidence.
    pub blocks: BlockCount,
}

/// All values are floats of few significant bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmallFloat {
    /// Significant bits, the implicit one included.
    pub significant_bits: u32,
    /// Binades met within a block of 32, at most.
    pub octaves: u32,
    /// Bits that the grid forces to zero.
    pub evidence_bits: f64,
    /// Values, all looked at.
    pub n: u64,
}

/// Blocks with far fewer distinct values than their like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FewLevels {
    /// Distinct values in 95 % of the blocks, at most.
    pub levels: u32,
    /// What blocks of as fine values have, in the median.
    pub expected: u32,
    /// Values of a block.
    pub extent: Extent,
    /// The evidence.
    pub blocks: BlockCount,
}

/// What a search found, and how much it looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// What was found.
    pub grid: Grid,
    /// Values that went into the search.
    pub sampled: u64,
}

/// Fewer values than this cannot fill the blocks that a claim takes.
const MIN_VALUES: usize = 12 * 16;

/// A grid of more significant bits than this is no small float.
const MAX_SMALL_FLOAT_BITS: u32 = 4;

/// Looks for a grid under the stored precision: `values` are `[n / n_per_row][n_per_row]` as restored to F32,
/// and `census` is theirs. What is claimed is claimed of the sampled blocks alone, but for small floats.
pub fn search(values: &[f32], n_per_row: usize, census: &TensorCensus) -> Search {
    let nothing = |grid| Search { grid, sampled: 0 };
    let finite = census.n - census.nonfinite;
    if let Effective::Offset(_) = census.effective {
        return nothing(Grid::NotDecidable("the converter's constant is not taken off before looking for a grid"));
    }
    if (finite as usize) < MIN_VALUES {
        return nothing(Grid::NotDecidable("too few values for a grid of blocks to show"));
    }
    if census.zeros == finite {
        return nothing(Grid::NotDecidable("every value is zero"));
    }
    if census.constant {
        return nothing(Grid::NotDecidable("all values are one"));
    }
    let Some(rows) = Lines::new(values, n_per_row, Axis::Row) else {
        return nothing(Grid::NotDecidable("the values do not fill whole rows"));
    };
    if let Some(small) = SmallFloat::of(values, census.stored) {
        return Search { grid: Grid::SmallFloat(small), sampled: small.n };
    }

    let precision = precision_of(census);
    let mut sampled = sample_size(&rows);
    if let Some(table) = find_table(&rows, precision) {
        return Search { grid: Grid::Codebook(table), sampled };
    }
    if let Some(found) = lattice::find(&rows, Axis::Row, precision) {
        return Search { grid: Grid::Lattice(found), sampled };
    }
    let columns = Lines::new(values, n_per_row, Axis::Column).filter(|_| values.len() >= 32 * n_per_row);
    if let Some(columns) = columns.filter(|_| n_per_row > 1) {
        sampled += sample_size(&columns);
        if let Some(found) = lattice::find(&columns, Axis::Column, precision) {
            return Search { grid: Grid::Lattice(found), sampled };
        }
    }
    let few = (values.len() > n_per_row).then(|| FewLevels::find(&rows, precision)).flatten();
    Search { grid: few.map_or(Grid::NoneFound, Grid::FewLevels), sampled }
}

/// The coarsest float grid that holds every value: what lies below it can tell nothing.
fn precision_of(census: &TensorCensus) -> Precision {
    let finite = census.n - census.nonfinite;
    match (census.effective, census.stored) {
        _ if census.on_bf16 == finite => Precision::of(Minifloat::Bf16),
        (Effective::F16, _) | (_, StoredPrecision::F16) => Precision::of(Minifloat::F16),
        _ if census.stored != StoredPrecision::Quantized && census.on_f16 == finite => Precision::of(Minifloat::F16),
        (Effective::Tf32, _) => Precision::of(Minifloat::Tf32),
        _ => Precision::F32,
    }
}

const TABLE_EXTENTS: [Extent; 5] =
    [Extent::Block(256), Extent::Block(128), Extent::Block(64), Extent::Block(32), Extent::Block(16)];

fn sample_size(lines: &Lines<'_>) -> u64 {
    let of = |extent| lines.blocks(extent, lattice::sampled(extent)).iter().map(|b| b.len() as u64).sum::<u64>();
    TABLE_EXTENTS.into_iter().chain([Extent::Whole]).map(of).sum()
}

/// The known table that explains the largest blocks.
fn find_table(lines: &Lines<'_>, precision: Precision) -> Option<TableGrid> {
    for extent in TABLE_EXTENTS {
        let sampled = lines.blocks(extent, lattice::sampled(extent));
        let of = |block: &Vec<f32>| levels(block, Zero::AtLeast);
        // Two values are an entry of every table; more than a table has are on none.
        let blocks: Vec<Vec<f32>> = sampled.iter().map(of).filter(|levels| levels.len() > 3).collect();
        let possible = blocks.iter().filter(|levels| levels.len() <= 16).count();
        if blocks.is_empty() || blocks.len() * 2 < sampled.len() || possible * 10 < blocks.len() * 9 {
            continue;
        }
        for known in CODEBOOKS {
            let fits: Vec<TableFit> = blocks
                .iter()
                .filter_map(|block| table::fit(block, precision, &known))
                .filter(TableFit::is_hit)
                .collect();
            let used = fits.iter().fold(0, |used, fit| used | fit.used).count_ones();
            let surrogates = blocks.iter().enumerate().filter(|(index, block)| {
                let moved = moved_levels(block, *index as u64, precision);
                table::fit(&moved, precision, &known).is_some_and(|fit| fit.is_hit())
            });
            let count = BlockCount::new(fits.len() as u64, blocks.len() as u64, surrogates.count() as u64);
            if count.is_accepted() && f64::from(used) >= MIN_TABLE_USE * known.entries.len() as f64 {
                return Some(TableGrid { name: known.name, extent, blocks: count });
            }
        }
    }
    None
}

/// Least share of a table's entries that must be met somewhere: a few levels fit into any table.
const MIN_TABLE_USE: f64 = 0.85;

/// Levels, each moved by up to 6 % and rounded to storage again.
fn moved_levels(block: &[f32], index: u64, precision: Precision) -> Vec<f32> {
    let moved = |(i, x): (usize, &f32)| {
        precision.round(f64::from(*x) * (1.0 + 0.06 * symmetric_uniform(mix(index) ^ i as u64)))
    };
    levels(&block.iter().enumerate().map(moved).collect::<Vec<f32>>(), Zero::AtLeast)
}

impl SmallFloat {
    fn of(values: &[f32], stored: StoredPrecision) -> Option<SmallFloat> {
        let finite = || values.iter().copied().filter(|x| *x != 0.0 && x.is_finite());
        let mut significant_bits = 0;
        for x in finite() {
            significant_bits = significant_bits.max(significant(x));
            if significant_bits > MAX_SMALL_FLOAT_BITS {
                return None;
            }
        }
        // Among ones and minus ones, or powers of two, the significand says nothing.
        if significant_bits < 2 {
            return None;
        }
        let available = match stored {
            StoredPrecision::F16 => 11,
            StoredPrecision::Bf16 => 8,
            _ => 24,
        };
        let (mut octaves, mut fixed_point) = (0, true);
        let mut distinct = std::collections::BTreeSet::new();
        for block in values.chunks(32) {
            let exponents = block.iter().filter(|x| **x != 0.0 && x.is_finite()).map(|x| crate::grid::exponent(*x));
            let (least, most) = exponents.fold((i32::MAX, i32::MIN), |(a, b), e| (a.min(e), b.max(e)));
            if least <= most {
                octaves = octaves.max((most - least + 1) as u32);
            }
            // Whole multiples of one spacing up to twice 2^bits (−8 … 7 have three) are a lattice, which says more.
            let spacing = most.saturating_sub(significant_bits as i32);
            fixed_point &= block.iter().all(|x| *x == 0.0 || !x.is_finite() || last_bit(*x) >= spacing);
            if distinct.len() < 256 {
                distinct.extend(block.iter().filter(|x| **x != 0.0 && x.is_finite()).map(|x| x.abs().to_bits()));
            }
        }
        // A magnitude met often is one coincidence.
        let evidence_bits = f64::from(available - significant_bits) * distinct.len() as f64;
        let n = values.len() as u64;
        (!fixed_point && evidence_bits >= lattice::MIN_LATTICE_EVIDENCE_BITS).then_some(SmallFloat {
            significant_bits,
            octaves,
            evidence_bits,
            n,
        })
    }

    /// Formats with so many significant bits that reach over so many binades.
    pub fn like(&self) -> &'static str {
        match (self.significant_bits, self.octaves) {
            (2, ..=4) => "E2M1",
            (2, _) => "two-bit float",
            (3, ..=9) => "E3M2 or E5M2",
            (3, _) => "E5M2",
            (_, ..=6) => "E2M3 or E4M3",
            _ => "E4M3",
        }
    }
}

/// Significant bits of a finite nonzero value.
fn significant(x: f32) -> u32 {
    (crate::grid::exponent(x) - last_bit(x) + 1) as u32
}

/// Exponent of the last bit that is set.
fn last_bit(x: f32) -> i32 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let (biased, fraction) = ((magnitude >> 23) as i32, magnitude & 0x007f_ffff);
    let significand = if biased == 0 { fraction } else { fraction | 0x0080_0000 };
    significand.trailing_zeros() as i32 + biased.max(1) - 127 - 23
}

impl FewLevels {
    /// The cheapest extent whose blocks have at most 16 distinct values, and far fewer than chance gives.
    fn find(lines: &Lines<'_>, precision: Precision) -> Option<FewLevels> {
        let found = [Extent::Whole].into_iter().chain(TABLE_EXTENTS).filter_map(|extent| {
            let blocks = lines.blocks(extent, lattice::sampled(extent).max(MIN_BLOCKS_OF_FEW));
            let size = blocks.first().map_or(0, Vec::len);
            FewLevels::of(&blocks, extent, precision).map(|few| (few.cost(size), few))
        });
        found.reduce(|a, b| if b.0 < a.0 { b } else { a }).map(|(_, few)| few)
    }

    fn of(blocks: &[Vec<f32>], extent: Extent, precision: Precision) -> Option<FewLevels> {
        let mut counts: Vec<(usize, usize)> = blocks
            .iter()
            .enumerate()
            .map(|(index, block)| {
                let own = levels(block, Zero::AtLeast).len();
                (own, moved_levels(block, index as u64, precision).len())
            })
            // Zeros alone, or one value, are no choice of levels.
            .filter(|(own, _)| *own > 1)
            .collect();
        if counts.len() * 2 < blocks.len() || counts.is_empty() {
            return None;
        }
        // Were blocks and surrogates alike, a block would have fewer at most every other time.
        let fewer = counts.iter().filter(|(own, other)| *own as f64 <= MAX_LEVEL_SHARE * *other as f64).count();
        let n = counts.len() as u64;
        let evidence_bits = tail_bits(fewer as u64, n, 0.5);
        counts.sort_unstable();
        let most = counts[(counts.len() - 1) * 95 / 100].0;
        let mut others: Vec<usize> = counts.iter().map(|(_, other)| *other).collect();
        others.sort_unstable();
        let median = others[others.len() / 2];
        let accepted = most <= 16
            && fewer as f64 >= lattice::MIN_HIT_SHARE * n as f64
            && evidence_bits >= lattice::MIN_LATTICE_EVIDENCE_BITS;
        accepted.then_some(FewLevels {
            levels: most as u32,
            expected: median as u32,
            extent,
            blocks: BlockCount { hits: fewer as u64, n, surrogate_hits: 0, evidence_bits },
        })
    }

    /// Bits a value when blocks hold `size` of them, with a scale of 16 bits for each.
    fn cost(&self, size: usize) -> f64 {
        libm::log2(f64::from(self.levels)) + 16.0 / size.max(1) as f64
    }
}

/// At one bit a block, evidence enough takes about so many.
const MIN_BLOCKS_OF_FEW: usize = 64;

/// A block has few levels when it has at most this share of its surrogate's.
const MAX_LEVEL_SHARE: f64 = 0.7;

impl Extent {
    fn words(self, axis: Axis) -> String {
        match (self, axis) {
            (Extent::Block(size), Axis::Row) => format!("{size}-blocks"),
            (Extent::Block(size), Axis::Column) => format!("{size}-blocks down the columns"),
            (Extent::Whole, Axis::Row) => "one step per row".into(),
            (Extent::Whole, Axis::Column) => "one step per column".into(),
            (Extent::Tensor, _) => "one step for the tensor".into(),
        }
    }
}

impl Lattice {
    /// The best known format with this shape, such as `Q4_1`, or a scheme's name.
    pub fn like(&self) -> String {
        let Lattice { symmetric, bits, top, extent, super_blocks, axis, .. } = *self;
        let known = match (extent, symmetric, bits, super_blocks) {
            _ if axis == Axis::Column => None,
            (Extent::Block(32), true, 4, _) if top == 8 => Some("Q4_0"),
            (Extent::Block(32), true, 5, _) if top == 16 => Some("Q5_0"),
            (Extent::Block(32), true, 8, _) => Some("Q8_0"),
            (Extent::Block(32), false, 4, true) => Some("Q4_K"),
            (Extent::Block(32), false, 5, true) => Some("Q5_K"),
            (Extent::Block(32), false, 4, false) => Some("Q4_1"),
            (Extent::Block(32), false, 5, false) => Some("Q5_1"),
            (Extent::Block(16), true, 3, true) => Some("Q3_K"),
            (Extent::Block(16), true, 6, true) => Some("Q6_K"),
            (Extent::Block(16), false, 2, true) => Some("Q2_K"),
            _ => None,
        };
        known.map_or_else(|| format!("INT{bits}"), str::to_owned)
    }
}

impl Search {
    /// A grid coarser than storage was found.
    pub fn is_found(&self) -> bool {
        !matches!(self.grid, Grid::NoneFound | Grid::NotDecidable(_))
    }

    /// A short name for the grid: `Q4_1-like`, `NF4`, `none found`, `not decidable`.
    pub fn name(&self) -> String {
        match &self.grid {
            Grid::Lattice(l) => match l.requantized {
                Some(_) => format!("{}-like over a coarser lattice", l.like()),
                None => format!("{}-like", l.like()),
            },
            Grid::Codebook(t) => format!("{} codebook", t.name),
            Grid::SmallFloat(s) => format!("{}-like", s.like()),
            Grid::FewLevels(f) => format!("at most {} levels", f.levels),
            Grid::NoneFound => "none found".into(),
            Grid::NotDecidable(_) => "not decidable".into(),
        }
    }

    /// Bits that name a level, without the scale; `None` where no grid was found.
    pub fn bits(&self) -> Option<f64> {
        match &self.grid {
            Grid::Lattice(l) => Some(f64::from(l.requantized.and_then(|r| r.about_bits).unwrap_or(l.bits))),
            Grid::Codebook(_) => Some(4.0),
            Grid::SmallFloat(s) => Some(f64::from(s.significant_bits) + libm::log2(f64::from(s.octaves.max(1))).ceil()),
            Grid::FewLevels(f) => Some(libm::log2(f64::from(f.levels)).ceil()),
            Grid::NoneFound | Grid::NotDecidable(_) => None,
        }
    }

    /// Evidence for what was found, in bits.
    pub fn evidence_bits(&self) -> f64 {
        match &self.grid {
            Grid::Lattice(l) => l.blocks.evidence_bits,
            Grid::Codebook(t) => t.blocks.evidence_bits,
            Grid::SmallFloat(s) => s.evidence_bits,
            Grid::FewLevels(f) => f.blocks.evidence_bits,
            Grid::NoneFound | Grid::NotDecidable(_) => 0.0,
        }
    }

    /// In words: `lies on a Q4_1-like grid: 32-blocks, asymmetric, 4 bits (192 of 192 sampled blocks, surrogate 0)`.
    pub fn note(&self) -> String {
        let of = |b: &BlockCount| format!("{} of {} sampled blocks, surrogate {}", b.hits, b.n, b.surrogate_hits);
        match &self.grid {
            Grid::Lattice(l) => {
                let symmetric = if l.symmetric { "symmetric" } else { "asymmetric" };
                let scales = match l.scales {
                    ScaleClass::PowerOfTwo => ", power-of-two steps",
                    ScaleClass::E4m3 => ", E4M3-like steps",
                    ScaleClass::Bf16 => ", BF16 steps",
                    ScaleClass::F16 => ", F16 steps",
                    ScaleClass::Unknown => "",
                };
                let extent = l.extent.words(l.axis);
                let requantized = l.requantized.map_or_else(String::new, |r| {
                    let from = r.about_bits.map_or("a coarser lattice".into(), |bits| format!("about {bits} bits"));
                    format!("; ~{:.0} of {:.0} expected levels: looks requantized from {from}", r.levels, r.expected)
                });
                format!(
                    "lies on a {}-like grid: {extent}, {symmetric}, {} bits{scales} ({}){requantized}",
                    l.like(),
                    l.bits,
                    of(&l.blocks)
                )
            }
            Grid::Codebook(t) => {
                format!("lies on a {} grid: {}, 4 bits ({})", t.name, t.extent.words(Axis::Row), of(&t.blocks))
            }
            Grid::SmallFloat(s) => format!(
                "lies on a {}-like grid: {} significant bits over {} binades, power-of-two scales ({} of {} values, exact)",
                s.like(),
                s.significant_bits,
                s.octaves,
                s.n,
                s.n
            ),
            Grid::FewLevels(f) => format!(
                "has at most {} distinct values where {} are expected: {}, no known table ({} of {} sampled blocks)",
                f.levels,
                f.expected,
                f.extent.words(Axis::Row),
                f.blocks.hits,
                f.blocks.n
            ),
            Grid::NoneFound => format!("no grid of blocks coarser than storage found ({} sampled)", self.sampled),
            Grid::NotDecidable(why) => format!("not decidable: {why}"),
        }
    }
}
