//! The search for a regular grid that a tensor's blocks lie on: the simplest description that is accepted.

use crate::census::{Effective, StoredPrecision, TensorCensus, all_equal};
use crate::few_levels::FewLevels;
use crate::interval::Precision;
use crate::lattice::{self, BlockCount, Lattice, ScaleClass};
use crate::sample::{Axis, BlockExtent, Lines, Sample};
use crate::scaled_float::ScaledFloat;
use crate::small_float::SmallFloat;
use crate::table::{self, TableGrid};
use crate::values::TensorValues;
use numerics::Minifloat;
use std::borrow::Cow;
use words::{about_percent, plural, whole};

/// The grid that a search found.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockGrid {
    /// Multiples of a step.
    Lattice(Lattice),
    /// A scale times the entries of a known table.
    Codebook(TableGrid),
    /// Floats of few significant bits with power-of-two scales.
    SmallFloat(SmallFloat),
    /// Floats of few significant bits with scales of any value.
    ScaledFloat(ScaledFloat),
    /// Multiples of a step in some of the blocks; the others are on no grid.
    InPart(Lattice),
    /// Few distinct values in 95 % of the blocks, which fit no known table.
    FewLevels(FewLevels),
    /// Rows with many distinct values, but far fewer than chance gives.
    LowCardinality(FewLevels),
    /// No grid that is coarser than storage shows.
    NoneFound,
    /// The values cannot tell, for this reason.
    NotDecidable(Cow<'static, str>),
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The grid that was found.
    pub grid: BlockGrid,
    /// The number of values that were read.
    pub sampled: u64,
}

/// The fewest values that can fill the blocks that a claim needs.
const MIN_VALUES: usize = 12 * 16;

/// The shortest column that can have a block of a grid made on the transposed tensor.
const MIN_COLUMN: usize = 32;

/// The largest multiple up to which all multiples have at most four significant bits, as scaled floats have.
const MAX_TOP_BEFORE_FLOATS: u32 = 16;

/// Looks for a grid that is coarser than the stored precision. `values` are `[n / n_per_row][n_per_row]`, restored to
/// F32, and `census` is their census. A claim is about the sampled blocks alone, except for small floats.
pub fn search(values: &[f32], n_per_row: usize, census: &TensorCensus) -> Search {
    search_values(TensorValues::Restored(values, census.stored), n_per_row, census)
}

pub(crate) fn search_values(values: TensorValues<'_>, n_per_row: usize, census: &TensorCensus) -> Search {
    let nothing = |why: &'static str| Search { grid: BlockGrid::NotDecidable(why.into()), sampled: 0 };
    let finite = census.n - census.nonfinite;
    if let Effective::Transformed(_) = census.effective {
        return nothing("the converter's constant is not taken off before looking for a grid");
    }
    if finite == 0 && census.n > 0 {
        return nothing("no value is finite");
    }
    if (finite as usize) < MIN_VALUES {
        return nothing("too few values for a grid of blocks to show");
    }
    if census.zeros == finite {
        return nothing("every value is zero");
    }
    if let Some(value) = census.constant {
        return Search { grid: BlockGrid::NotDecidable(all_equal(value).into()), sampled: 0 };
    }
    let Some(rows) = Lines::new(values, n_per_row, Axis::Row) else {
        return nothing("the values do not fill whole rows");
    };
    if let Some(small) = SmallFloat::of(values) {
        return Search { grid: BlockGrid::SmallFloat(small), sampled: small.n };
    }

    let precision = precision_of(census);
    let mut lines = vec![(rows, Sample::of(&rows))];
    if n_per_row > 1 && values.len() >= MIN_COLUMN * n_per_row {
        lines.extend(Lines::new(values, n_per_row, Axis::Column).map(|columns| (columns, Sample::of(&columns))));
    }
    let several_rows = values.len() > n_per_row;
    let find = |lines: &Lines<'_>, sample: &Sample| {
        // Of a table and a lattice that both pass, the one that describes the sampled blocks in fewer bits is claimed.
        let lattice = lattice::find(lines, sample, precision);
        let (table, lattice) = match (table::find(sample, lines.axis, precision), lattice) {
            (Some(table), Some(lattice)) if lattice.cost() < table.cost() => (None, Some(lattice)),
            (Some(table), _) => (Some(table), None),
            (None, lattice) => (None, lattice),
        };
        match (table, lattice) {
            // Levels that are far apart and all floats of few bits are floats.
            (None, Some(l)) if l.top > MAX_TOP_BEFORE_FLOATS => {
                let float =
                    ScaledFloat::find(sample, lines.axis, precision).filter(|s| !l.extent.is_larger_than(s.extent));
                Some(float.map_or(BlockGrid::Lattice(l), BlockGrid::ScaledFloat))
            }
            (_, Some(l)) => Some(BlockGrid::Lattice(l)),
            (Some(table), None) => Some(BlockGrid::Codebook(table)),
            (None, None) => None,
        }
    };
    let float = |(lines, sample): &(Lines<'_>, Sample)| ScaledFloat::find(sample, lines.axis, precision);
    let sampled = lines.iter().map(|(_, sample)| sample.n()).sum();
    // By precedence, and each along rows before columns. One row of noise with repeated values is not a codebook, and
    // rows that repeat make columns of few values.
    let found = lines
        .iter()
        .find_map(|(lines, sample)| find(lines, sample))
        .or_else(|| lines.iter().find_map(float).map(BlockGrid::ScaledFloat))
        .or_else(|| {
            let (rows, sample) = lines.first().filter(|_| several_rows)?;
            FewLevels::find(sample, rows.axis, precision)
                .map(BlockGrid::FewLevels)
                .or_else(|| lattice::find_in_part(sample, rows.axis, precision).map(BlockGrid::InPart))
                .or_else(|| {
                    let few = FewLevels::of_rows(rows, precision)?;
                    Some(if few.are_few() { BlockGrid::FewLevels(few) } else { BlockGrid::LowCardinality(few) })
                })
        });
    Search { grid: found.unwrap_or(BlockGrid::NoneFound), sampled }
}

/// The coarsest float grid on which every value lies: differences below it tell nothing.
fn precision_of(census: &TensorCensus) -> Precision {
    let finite = census.n - census.nonfinite;
    let on_f16 = census.stored != StoredPrecision::Quantized && census.on_f16 == finite;
    match (census.effective, census.stored) {
        _ if census.on_bf16 == finite && on_f16 => Precision::of(Minifloat::Bf16).and(Minifloat::F16),
        _ if census.on_bf16 == finite => Precision::of(Minifloat::Bf16),
        (Effective::F16, _) | (_, StoredPrecision::F16) => Precision::of(Minifloat::F16),
        _ if on_f16 => Precision::of(Minifloat::F16),
        (Effective::Tf32, _) => Precision::of(Minifloat::Tf32),
        _ => Precision::F32,
    }
}

impl BlockExtent {
    /// Whether more values share a step than under `other`.
    fn is_larger_than(self, other: BlockExtent) -> bool {
        let size = |extent| match extent {
            BlockExtent::Block(size) => size,
            BlockExtent::Whole => usize::MAX - 1,
            BlockExtent::Tensor => usize::MAX,
        };
        size(self) > size(other)
    }

    fn words(self, axis: Axis) -> String {
        match (self, axis) {
            (BlockExtent::Block(size), Axis::Row) => format!("{size}-blocks"),
            (BlockExtent::Block(size), Axis::Column) => format!("{size}-blocks down the columns"),
            (BlockExtent::Whole, Axis::Row) => "one step per row".into(),
            (BlockExtent::Whole, Axis::Column) => "one step per column".into(),
            (BlockExtent::Tensor, _) => "one step for the tensor".into(),
        }
    }
}

impl Lattice {
    /// The best known format with this shape, such as `Q4_1`, or a scheme's name.
    pub fn like(&self) -> String {
        let Lattice { symmetric, bits, top, extent, super_blocks, axis, .. } = *self;
        let known = match (extent, symmetric, bits, super_blocks) {
            _ if axis == Axis::Column => None,
            (BlockExtent::Block(32), true, 4, _) if top == 8 => Some("Q4_0"),
            (BlockExtent::Block(32), true, 5, _) if top == 16 => Some("Q5_0"),
            (BlockExtent::Block(32), true, 8, _) => Some("Q8_0"),
            (BlockExtent::Block(32), false, 4, true) => Some("Q4_K"),
            (BlockExtent::Block(32), false, 5, true) => Some("Q5_K"),
            (BlockExtent::Block(32), false, 4, false) => Some("Q4_1"),
            (BlockExtent::Block(32), false, 5, false) => Some("Q5_1"),
            (BlockExtent::Block(16), true, 3, true) => Some("Q3_K"),
            (BlockExtent::Block(16), true, 6, true) => Some("Q6_K"),
            (BlockExtent::Block(16), false, 2, true) => Some("Q2_K"),
            _ => None,
        };
        known.map_or_else(|| format!("INT{bits}"), str::to_owned)
    }
}

/// The article before a grid's name. Names that begin with E, F, I or N take "an", since the letter is spoken by its
/// name.
pub fn article(name: &str) -> &'static str {
    if name.starts_with(['E', 'F', 'I', 'N']) { "an" } else { "a" }
}

impl Search {
    /// Whether a grid that is coarser than storage was found.
    pub fn is_found(&self) -> bool {
        !matches!(self.grid, BlockGrid::NoneFound | BlockGrid::NotDecidable(_))
    }

    /// A short name for the grid: `Q4_1-like`, `NF4`, `none found`, `not decidable`.
    pub fn name(&self) -> String {
        match &self.grid {
            BlockGrid::Lattice(l) => match l.requantized {
                Some(_) => format!("{}-like over a coarser lattice", l.like()),
                None => format!("{}-like", l.like()),
            },
            BlockGrid::Codebook(t) => format!("{} codebook", t.name),
            BlockGrid::SmallFloat(s) => format!("{}-like", s.like()),
            BlockGrid::ScaledFloat(s) => format!("scaled {}-like", s.like()),
            BlockGrid::InPart(l) => format!("{}-like in part", l.like()),
            BlockGrid::FewLevels(f) => format!("at most {} levels", f.levels),
            BlockGrid::LowCardinality(_) => "low-cardinality rows".into(),
            BlockGrid::NoneFound => "none found".into(),
            BlockGrid::NotDecidable(_) => "not decidable".into(),
        }
    }

    /// The number of bits that name a level, without the scale; `None` where there is no grid that all values lie on.
    pub fn bits(&self) -> Option<f64> {
        match &self.grid {
            BlockGrid::Lattice(l) => Some(f64::from(l.requantized.and_then(|r| r.about_bits).unwrap_or(l.bits))),
            BlockGrid::Codebook(t) => Some(libm::log2(f64::from(t.entries)).ceil()),
            BlockGrid::ScaledFloat(s) => {
                Some(f64::from(s.significant_bits) + libm::log2(f64::from(s.octaves.max(1))).ceil())
            }
            BlockGrid::SmallFloat(s) => {
                let of_format = f64::from(s.significant_bits) + libm::log2(f64::from(s.octaves.max(1))).ceil();
                // Numbers of one sign need none, and few numbers fewer bits than their format has.
                Some(s.levels.map_or(of_format, |n| libm::log2(f64::from(n)).ceil().min(of_format)))
            }
            BlockGrid::FewLevels(f) => Some(libm::log2(f64::from(f.levels)).ceil()),
            BlockGrid::InPart(_) | BlockGrid::LowCardinality(_) | BlockGrid::NoneFound | BlockGrid::NotDecidable(_) => {
                None
            }
        }
    }

    /// The evidence for what was found, in bits.
    pub fn evidence_bits(&self) -> f64 {
        match &self.grid {
            BlockGrid::Lattice(l) | BlockGrid::InPart(l) => l.blocks.evidence_bits,
            BlockGrid::Codebook(t) => t.blocks.evidence_bits,
            BlockGrid::SmallFloat(s) => s.evidence_bits,
            BlockGrid::ScaledFloat(s) => s.blocks.evidence_bits,
            BlockGrid::FewLevels(f) | BlockGrid::LowCardinality(f) => f.blocks.evidence_bits,
            BlockGrid::NoneFound | BlockGrid::NotDecidable(_) => 0.0,
        }
    }

    /// The result as a sentence without its subject, such as `lies on a Q4_1-like grid: 32-blocks, asymmetric, 4 bits
    /// (192 of 192 sampled blocks, surrogate 0)`.
    pub fn note(&self) -> String {
        let of = |b: &BlockCount| format!("{} of {} sampled blocks, surrogate {}", b.hits, b.n, b.surrogate_hits);
        match &self.grid {
            BlockGrid::Lattice(l) => {
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
                    let (levels, expected) = (whole(r.levels), whole(r.expected));
                    format!("; ~{levels} of {expected} expected levels: looks requantized from {from}")
                });
                format!(
                    "lies on {} {}-like grid: {extent}, {symmetric}, {} bits{scales} ({}){requantized}",
                    article(&l.like()),
                    l.like(),
                    l.bits,
                    of(&l.blocks)
                )
            }
            BlockGrid::Codebook(t) => {
                format!(
                    "lies on {} {} grid: {}, {} entries ({})",
                    article(t.name),
                    t.name,
                    t.extent.words(t.axis),
                    t.entries,
                    of(&t.blocks)
                )
            }
            BlockGrid::SmallFloat(s) => format!(
                "lies on {} {}-like grid: {} over {}, power-of-two scales ({} of {} values, exact)",
                article(s.like()),
                s.like(),
                plural(u64::from(s.significant_bits), "significant bit"),
                plural(u64::from(s.octaves), "binade"),
                s.n,
                s.n
            ),
            BlockGrid::ScaledFloat(s) => format!(
                "lies on an {}-like grid: {}, {} significant bits over {} binades, scales of any value ({})",
                s.like(),
                s.extent.words(s.axis),
                s.significant_bits,
                s.octaves,
                of(&s.blocks)
            ),
            BlockGrid::FewLevels(f) => format!(
                "has at most {} distinct values where {} are expected: {}, no known table ({} of {} sampled blocks)",
                f.levels,
                f.expected,
                f.extent.words(f.axis),
                f.blocks.hits,
                f.blocks.n
            ),
            BlockGrid::InPart(l) => format!(
                "lies in part on {} {}-like grid: {} of the blocks, {}, {}, {} bits ({})",
                article(&l.like()),
                l.like(),
                about_percent(l.blocks.hits as f64 / l.blocks.n as f64),
                l.extent.words(l.axis),
                if l.symmetric { "symmetric" } else { "asymmetric" },
                l.bits,
                of(&l.blocks)
            ),
            BlockGrid::LowCardinality(f) => format!(
                "has low-cardinality rows: at most {} distinct values where {} are expected, on no grid of blocks ({} of {} sampled rows)",
                f.levels, f.expected, f.blocks.hits, f.blocks.n
            ),
            BlockGrid::NoneFound => format!("no grid of blocks coarser than storage found ({} sampled)", self.sampled),
            BlockGrid::NotDecidable(why) => format!("not decidable: {why}"),
        }
    }
}
