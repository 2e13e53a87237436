//! Passes over a tensor before it is quantized piece by piece: the values come in order, as many at a time as there are
//! at hand.
//!
//! ```text
//! Scheme ── observer ──▶ Observer ── see (all values, `Scheme::passes` times) ── holder ──▶ Holder ── hold (any piece) ──▶ values
//! ```
//!
//! What is learned of each group that runs through the tensor, which is all of it or a column:
//!
//! ```text
//! absmax    the least and the greatest value                                      1 pass
//! clip=mse  that, then the sum of squared errors of each candidate                1 + a pass for as many as fit into memory
//! clip=pQ   the magnitude at the rank, by counting, from its highest bits on      2 passes of 16 bits, or more of fewer
//! nvfp4     the greatest magnitude of the tensor                                  1 pass
//! noise     the energies of signal and noise                                      1 pass
//! ```
//!
//! Ranges and counts do not depend on the order of the values. Sums do: they run through each group from its first
//! value to its last (those of noise by chunks), so that neither the cuts nor the threads change the bits.

use super::BATCH;
use super::check::refuse_nonfinite;
use super::clip::{self, Best, CANDIDATES};
use super::control::NoiseGain;
use super::error::{FakeQuantError, beyond_f32};
use super::groups::GroupParts;
use super::holder::{Holder, TensorFacts};
use super::kernel::AnyKernel;
use super::part::Together;
use crate::format::Format;
use crate::format::group::{Range, RangeKeys, RangeOverflow, keys_wide};
use crate::scheme::imatrix::TensorShape;
use crate::scheme::{Clip, Granularity, Nonfinite, Scheme};
use rayon::prelude::*;

/// The most sums or counts that are kept at a time: 16 MiB.
const MAX_SUMS: usize = 1 << 21;

/// The number of bits of a magnitude that are found, with the place of the sign.
const MAGNITUDE_BITS: u32 = 32;

/// A scheme that reads the values of one tensor before it quantizes any of them: [`see`](Self::see) takes all values
/// [`Scheme::passes`] times, then [`holder`](Self::holder) gives what quantizes the pieces.
pub struct Observer<'a> {
    scheme: &'a Scheme,
    tensor: &'a str,
    shape: TensorShape,
    /// The groups that something must be known about: all values, or each column.
    groups: Granularity,
    /// The number of values seen in this pass.
    seen: usize,
    stage: Stage<'a>,
}

/// What the current pass finds.
enum Stage<'a> {
    Ranges(Vec<RangeKeys>),
    Errors(Errors<'a>),
    Ranks(Ranks),
    Noise(NoiseGain<'a>),
    Known(TensorFacts),
}

impl Scheme {
    /// The number of passes over all values of a tensor before any of them can be quantized.
    pub fn passes(&self, shape: TensorShape) -> u32 {
        let Some(groups) = self.observed().filter(|_| shape.n() > 0) else { return 0 };
        let n_groups = n_groups(groups, shape);
        match self.clip {
            Clip::Absmax => 1,
            Clip::Mse => 1 + CANDIDATES.div_ceil(candidates_at_once(n_groups)),
            Clip::Quantile(_) => MAGNITUDE_BITS / bits_at_once(n_groups),
        }
    }

    /// Starts to observe a tensor.
    ///
    /// # Errors
    /// When there is not enough memory for the statistics of each column.
    pub fn observer<'a>(&'a self, tensor: &'a str, shape: TensorShape) -> Result<Observer<'a>, FakeQuantError> {
        let groups = self.observed().filter(|_| shape.n() > 0);
        let n_groups = groups.map_or(0, |groups| n_groups(groups, shape));
        let memory = |_| FakeQuantError::Memory { tensor: tensor.to_owned(), n: n_groups };
        let keys = || filled(n_groups, RangeKeys::EMPTY).map_err(memory);
        let stage = match (self.format, groups, self.clip) {
            (_, None, _) => Stage::Known(TensorFacts::Nothing),
            (Format::Noise { sqnr_db, seed }, ..) => Stage::Noise(NoiseGain::new(sqnr_db, seed, tensor)),
            (_, _, Clip::Quantile(percent)) => Stage::Ranks(Ranks::new(percent, keys()?).map_err(memory)?),
            (_, _, Clip::Absmax | Clip::Mse) => Stage::Ranges(keys()?),
        };
        Ok(Observer { scheme: self, tensor, shape, groups: groups.unwrap_or(Granularity::Tensor), seen: 0, stage })
    }

    /// The groups that must be known before any of their values can be quantized: all values, or each column. `None`
    /// when nothing must be known.
    pub(crate) fn observed(&self) -> Option<Granularity> {
        match self.format {
            Format::Minifloat { .. } | Format::Int { .. } | Format::Codebook(_) | Format::Table => {
                self.granularity.filter(|g| matches!(g, Granularity::Tensor | Granularity::Col))
            }
            Format::Nvfp4 { .. } => Some(Granularity::Tensor),
            Format::Noise { .. } if self.granularity.is_none() => Some(Granularity::Tensor),
            Format::Mx { .. }
            | Format::Ggml(_)
            | Format::Identity
            | Format::Jitter { .. }
            | Format::Noise { .. }
            | Format::Shuffle { .. }
            | Format::Zero => None,
        }
    }
}

impl<'a> Observer<'a> {
    /// Takes in the next values: whole rows, or part of one row. After the tensor's last value comes its first, in the
    /// next pass.
    ///
    /// # Errors
    /// When a value is not finite and the scheme has no `:nonfinite=keep`, when the values are not such a piece, or
    /// when there is not enough memory for the next pass.
    pub fn see(&mut self, values: &[f32]) -> Result<(), FakeQuantError> {
        if self.scheme.nonfinite == Nonfinite::Error {
            refuse_nonfinite(values, self.tensor, self.seen)?;
        }
        if values.is_empty() {
            return Ok(());
        }
        let piece = self.scheme.piece(Together::Values(1), self.tensor, self.shape, self.seen, values.len())?;
        let parts = || GroupParts::of(self.groups, values, piece);
        let first = if self.groups == Granularity::Col { piece.start % self.shape.n_per_row } else { 0 };
        match &mut self.stage {
            Stage::Known(_) => {}
            Stage::Noise(noise) => noise.see(values),
            Stage::Ranges(keys) => see_ranges(&mut keys[first..], &parts()),
            Stage::Ranks(ranks) => ranks.see(first, &parts()),
            Stage::Errors(errors) => {
                errors.see(first, &parts()).map_err(|overflow| beyond_f32(overflow, self.tensor))?;
            }
        }
        self.seen += values.len();
        if self.seen == self.shape.n() {
            self.seen = 0;
            self.end_pass()?;
        }
        Ok(())
    }

    fn end_pass(&mut self) -> Result<(), FakeQuantError> {
        let memory = |n: usize| FakeQuantError::Memory { tensor: self.tensor.to_owned(), n };
        let stage = std::mem::replace(&mut self.stage, Stage::Known(TensorFacts::Nothing));
        let known = |ranges| Stage::Known(TensorFacts::Ranges(self.groups, ranges));
        self.stage = match stage {
            Stage::Known(known) => Stage::Known(known),
            Stage::Noise(noise) => Stage::Known(TensorFacts::Gain(noise.finish())),
            Stage::Ranges(keys) => {
                let ranges: Vec<Range> = keys.into_iter().map(RangeKeys::range).collect();
                match self.scheme.kernel(self.tensor, Range::NONE)?.filter(|_| self.scheme.clip == Clip::Mse) {
                    None => known(ranges),
                    Some(kernel) => {
                        let n = ranges.len();
                        Stage::Errors(Errors::new(kernel, ranges).map_err(|_| memory(n))?)
                    }
                }
            }
            Stage::Errors(mut errors) => match errors.end_pass() {
                true => known(errors.best()),
                false => Stage::Errors(errors),
            },
            Stage::Ranks(mut ranks) => match ranks.end_pass() {
                true => known(ranks.ranges()),
                false => Stage::Ranks(ranks),
            },
        };
        Ok(())
    }

    /// The scheme with what it has learned, once all passes are done.
    ///
    /// # Errors
    /// When passes are missing, a range has no scale, or an importance matrix does not fit.
    pub fn holder(self) -> Result<Holder<'a>, FakeQuantError> {
        let Stage::Known(known) = self.stage else {
            let (tensor, scheme) = (self.tensor.to_owned(), self.scheme.to_string());
            return Err(FakeQuantError::NotSeen { tensor, scheme });
        };
        Holder::new(self.scheme, self.tensor, self.shape, known)
    }
}

/// Merges the values that a piece has of each group into the groups' ranges; `keys` begin with the piece's first group.
fn see_ranges(keys: &mut [RangeKeys], parts: &GroupParts<'_>) {
    keys.par_iter_mut().zip(parts.groups()).for_each(|(keys, (values, _))| *keys = keys.merge(range_of(values)));
}

fn range_of(values: &[f32]) -> RangeKeys {
    match values.len() {
        0..=BATCH => keys_wide(values),
        _ => values.par_chunks(BATCH).map(keys_wide).reduce(|| RangeKeys::EMPTY, RangeKeys::merge),
    }
}

/// The number of groups: one, or one for each column.
fn n_groups(groups: Granularity, shape: TensorShape) -> usize {
    if groups == Granularity::Col { shape.n_per_row } else { 1 }
}

/// The number of candidates of `clip=mse` that one pass tries.
fn candidates_at_once(n_groups: usize) -> u32 {
    (MAX_SUMS / n_groups.max(1)).clamp(1, CANDIDATES as usize) as u32
}

/// The number of bits of a magnitude that one pass finds.
fn bits_at_once(n_groups: usize) -> u32 {
    [16, 8, 4, 2].into_iter().find(|bits| n_groups <= MAX_SUMS >> bits).unwrap_or(1)
}

/// The search of `clip=mse`: for each group the candidate with the least sum of squared errors.
struct Errors<'a> {
    kernel: Box<dyn AnyKernel + 'a>,
    /// The range of all values of each group.
    all: Vec<Range>,
    best: Vec<Best>,
    /// Sums of squared errors, `[groups][at_once]`, of the candidates from `first` on.
    sums: Vec<f64>,
    first: u32,
    at_once: u32,
}

impl<'a> Errors<'a> {
    fn new(kernel: Box<dyn AnyKernel + 'a>, all: Vec<Range>) -> Result<Self, std::collections::TryReserveError> {
        let at_once = candidates_at_once(all.len());
        let (best, sums) = (filled(all.len(), Best::default())?, filled(all.len() * at_once as usize, 0.0)?);
        Ok(Errors { kernel, all, best, sums, first: 1, at_once })
    }

    fn see(&mut self, skipped: usize, parts: &GroupParts<'_>) -> Result<(), RangeOverflow> {
        let at_once = self.at_once as usize;
        let tried = (CANDIDATES + 1 - self.first).min(self.at_once) as usize;
        let (kernel, first) = (&self.kernel, self.first);
        let groups = self.sums[skipped * at_once..].par_chunks_mut(at_once).zip(&self.all[skipped..]);
        let results: Vec<_> = groups
            .zip(parts.groups())
            .map(|((sums, &all), (values, at))| {
                clip::add_squared_errors(&**kernel, all, first, values, at, &mut sums[..tried])
            })
            .collect();
        results.into_iter().collect()
    }

    /// Ends a pass; true if it was the last.
    fn end_pass(&mut self) -> bool {
        for (best, sums) in self.best.iter_mut().zip(self.sums.chunks(self.at_once as usize)) {
            (self.first..=CANDIDATES).zip(sums).for_each(|(k, &error)| best.try_one(k, error));
        }
        self.sums.fill(0.0);
        self.first += self.at_once;
        self.first > CANDIDATES
    }

    fn best(self) -> Vec<Range> {
        self.all.into_iter().zip(self.best).map(|(all, best)| clip::candidate(all, best.k)).collect()
    }
}

/// The search of `clip=pQ`: for each group the magnitude at a rank. Among the magnitudes that begin with the bits known
/// so far, a pass counts those with each value of the next `bits`.
struct Ranks {
    percent: f64,
    keys: Vec<RangeKeys>,
    magnitudes: Vec<Magnitude>,
    /// The counts, `[groups][1 << bits]`.
    counts: Vec<u64>,
    bits: u32,
    /// The number of bits that are not known yet.
    left: u32,
}

#[derive(Clone, Copy)]
struct Magnitude {
    /// The bits known so far.
    known: u32,
    /// The rank of the wanted magnitude among those that begin with these bits; `None` in a group without finite
    /// values.
    rank: Option<u64>,
}

impl Ranks {
    fn new(percent: f64, keys: Vec<RangeKeys>) -> Result<Self, std::collections::TryReserveError> {
        let bits = bits_at_once(keys.len());
        let magnitudes = filled(keys.len(), Magnitude { known: 0, rank: Some(0) })?;
        let counts = filled(keys.len() << bits, 0)?;
        Ok(Ranks { percent, keys, magnitudes, counts, bits, left: MAGNITUDE_BITS })
    }

    fn see(&mut self, skipped: usize, parts: &GroupParts<'_>) {
        let (bits, left) = (self.bits, self.left);
        if left == MAGNITUDE_BITS {
            see_ranges(&mut self.keys[skipped..], parts);
        }
        let groups = self.counts[skipped << bits..].par_chunks_mut(1 << bits).zip(&self.magnitudes[skipped..]);
        groups.zip(parts.groups()).for_each(|((counts, magnitude), (values, _))| {
            let count = |counts: &mut [u64], values: &[f32]| count(counts, values, magnitude.known, left, bits);
            match values.len() {
                0..=BATCH => count(counts, values),
                _ => {
                    let none = || vec![0u64; 1 << bits];
                    let add = |mut counts: Vec<u64>, other: &[u64]| {
                        counts.iter_mut().zip(other).for_each(|(n, more)| *n += more);
                        counts
                    };
                    let of_parts = values.par_chunks(4 * BATCH).fold(none, |mut counts, values| {
                        count(&mut counts, values);
                        counts
                    });
                    let total = of_parts.reduce(none, |a, b| add(a, &b));
                    counts.iter_mut().zip(total).for_each(|(n, more)| *n += more);
                }
            }
        });
    }

    /// Ends a pass; true if all bits are known now.
    fn end_pass(&mut self) -> bool {
        let is_first = self.left == MAGNITUDE_BITS;
        for (magnitude, counts) in self.magnitudes.iter_mut().zip(self.counts.chunks(1 << self.bits)) {
            if is_first {
                let n: u64 = counts.iter().sum();
                magnitude.rank = clip::rank(self.percent, n as usize).map(|rank| rank as u64);
            }
            let Some(rank) = &mut magnitude.rank else { continue };
            let mut next = 0;
            for (bits, &n) in (0..).zip(counts) {
                if *rank < n {
                    next = bits;
                    break;
                }
                *rank -= n;
            }
            magnitude.known = magnitude.known << self.bits | next;
        }
        self.counts.fill(0);
        self.left -= self.bits;
        self.left == 0
    }

    fn ranges(self) -> Vec<Range> {
        let limit = |m: Magnitude| m.rank.map_or(0.0, |_| f32::from_bits(m.known));
        self.keys.into_iter().zip(self.magnitudes).map(|(keys, m)| keys.range().within(limit(m))).collect()
    }
}

/// Counts finite magnitudes whose bits above the lowest `left` are `known`, by the `bits` that follow.
fn count(counts: &mut [u64], values: &[f32], known: u32, left: u32, bits: u32) {
    for x in values.iter().filter(|x| x.is_finite()) {
        let magnitude = u64::from(x.abs().to_bits());
        if magnitude >> left == u64::from(known) {
            let next = (magnitude >> (left - bits)) as usize & (counts.len() - 1);
            counts[next] += 1;
        }
    }
}

/// A vector of `n` equal values, if there is memory for it.
fn filled<T: Clone>(n: usize, value: T) -> Result<Vec<T>, std::collections::TryReserveError> {
    let mut out = Vec::new();
    out.try_reserve_exact(n)?;
    out.resize(n, value);
    Ok(out)
}
