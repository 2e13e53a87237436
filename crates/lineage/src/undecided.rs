//! What the values of a tensor cannot tell, whatever is found: questions whose answers were erased by storage or
//! arithmetic.

use crate::census::{Effective, StoredPrecision, TensorCensus};
use crate::search::{BlockGrid, Search};

/// A question about the origin of a tensor that its values leave open, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// The values are stored in BF16: F32, F16, TF32 and a converter's constant before it all look alike.
    FinerThanBf16,
    /// The values are stored in F16: TF32 and F32 before it look alike.
    FinerThanF16,
    /// The values are on no grid: a merge, an average or a scale per column would have destroyed one.
    DestroyedLattice,
    /// The values are on a coarse lattice: a finer one before it has left no trace.
    FinerLattice,
    /// The values are on a small float's grid: over so few binades, formats with as many significant bits look alike.
    ExponentRange,
}

impl Undecided {
    /// The question in words, to follow "not decidable: ".
    pub fn words(self) -> &'static str {
        match self {
            Undecided::FinerThanBf16 => {
                "whether the source was BF16, F16, TF32, F32 or a constant plus one of them: rounding to BF16 leaves no trace"
            }
            Undecided::FinerThanF16 => "whether the source was F16, TF32 or F32: rounding to F16 leaves no trace",
            Undecided::DestroyedLattice => {
                "whether there was a grid before a merge, an average or a scale per column: these leave no trace of one"
            }
            Undecided::FinerLattice => {
                "whether a finer grid came before this one: rounding to a coarser one leaves no trace"
            }
            Undecided::ExponentRange => {
                "which of the formats with as many significant bits: the values reach over few binades"
            }
        }
    }

    /// A short name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Undecided::FinerThanBf16 => "finer than BF16",
            Undecided::FinerThanF16 => "finer than F16",
            Undecided::DestroyedLattice => "destroyed lattice",
            Undecided::FinerLattice => "finer lattice",
            Undecided::ExponentRange => "exponent range",
        }
    }
}

/// The most bits of a lattice under which a finer lattice may have come before.
const MAX_COARSE_BITS: f64 = 5.0;

/// The questions that stay open about a tensor with this census and search.
pub fn undecided(census: &TensorCensus, search: &Search) -> Vec<Undecided> {
    if census.n == census.nonfinite || matches!(search.grid, BlockGrid::NotDecidable(_)) && census.transform.is_none() {
        // The search says itself that it cannot tell.
        return Vec::new();
    }
    let (mut open, found) = (Vec::new(), search.is_found());
    let is_bf16 = census.effective == Effective::Bf16;
    match census.stored {
        _ if found || census.transform.is_some() => {}
        StoredPrecision::Bf16 => open.push(Undecided::FinerThanBf16),
        StoredPrecision::F16 if !is_bf16 => open.push(Undecided::FinerThanF16),
        _ => {}
    }
    if !found && census.transform.is_none() {
        open.push(Undecided::DestroyedLattice);
    }
    match &search.grid {
        BlockGrid::Lattice(lattice) if lattice.requantized.is_none() && f64::from(lattice.bits) <= MAX_COARSE_BITS => {
            open.push(Undecided::FinerLattice);
        }
        BlockGrid::Codebook(_) | BlockGrid::FewLevels(_) | BlockGrid::LowCardinality(_) => {
            open.push(Undecided::FinerLattice)
        }
        BlockGrid::SmallFloat(small) if small.like().contains(" or ") => open.push(Undecided::ExponentRange),
        BlockGrid::ScaledFloat(scaled) if scaled.like().contains(" or ") => open.push(Undecided::ExponentRange),
        _ => {}
    }
    open
}
