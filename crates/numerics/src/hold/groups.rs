//! Groups of values that share a scale: how they lie in a tensor, what is measured in each, and how
//! the work is spread over threads without the result depending on them.

use crate::clip::{self, Clip};
use crate::scale::GroupScale;
use crate::scheme::Granularity;
use multiversion::multiversion;
use rayon::prelude::*;
use std::borrow::Cow;

/// Values one thread works on at a time.
pub(crate) const BATCH: usize = 1 << 16;

/// Which part of a tensor values are: whole rows, or some of one row, which are taken for a row of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Place of the first value.
    pub(crate) start: usize,
    /// Values side by side in a row.
    pub(crate) width: usize,
}

impl Piece {
    /// All of a tensor.
    pub(crate) fn whole(n_per_row: usize) -> Piece {
        Piece { start: 0, width: n_per_row }
    }
}

/// The least and greatest finite value of a group; both 0 when it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) min: f32,
    pub(crate) max: f32,
}

impl Range {
    /// Of no values.
    pub(crate) const NONE: Range = Range { min: 0.0, max: 0.0 };

    #[inline(always)]
    pub(crate) fn of(values: &[f32]) -> Range {
        Keys::of(values).range()
    }

    pub(crate) fn absmax(self) -> f32 {
        self.min.abs().max(self.max.abs())
    }

    /// Cut off at ±`limit`, which is not negative.
    pub(crate) fn within(self, limit: f32) -> Range {
        Range { min: self.min.clamp(-limit, limit), max: self.max.clamp(-limit, limit) }
    }
}

/// A group's greatest less its least value is beyond F32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RangeOverflow {
    pub(crate) min: f32,
    pub(crate) max: f32,
}

/// Where the values of a group stand in their tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Of the group's first value.
    start: usize,
    /// Values that stand side by side.
    width: usize,
    /// From one such run to the next.
    pitch: usize,
    /// Values of the group before the ones at hand.
    offset: usize,
}

impl Places {
    pub(crate) fn contiguous(start: usize) -> Places {
        Places { start, width: usize::MAX, pitch: 0, offset: 0 }
    }

    /// One below the other.
    fn column(start: usize, n_per_row: usize) -> Places {
        Places { start, width: 1, pitch: n_per_row, offset: 0 }
    }

    /// Rows of `width`.
    fn tile(start: usize, width: usize, n_per_row: usize) -> Places {
        Places { start, width, pitch: n_per_row, offset: 0 }
    }

    /// Those of the same group from its `offset`-th value on.
    pub(crate) fn from(self, offset: usize) -> Places {
        Places { offset: self.offset + offset, ..self }
    }

    /// Of the i-th value at hand.
    #[inline(always)]
    pub(crate) fn of(self, i: usize) -> usize {
        let i = i + self.offset;
        self.start + i / self.width * self.pitch + i % self.width
    }
}

/// What a scheme with a scale does to one group.
pub(crate) trait GroupKernel: Send + Sync {
    /// What the group shares.
    type Scale: GroupScale;

    fn scale(&self, range: Range) -> Result<Self::Scale, RangeOverflow>;

    /// Greatest magnitude that a scale multiplies, where scales may be held in two levels.
    fn largest(&self) -> f32 {
        1.0
    }

    /// Quantizes and restores in place. Non-finite values may become anything: the caller puts them back.
    /// A group may come in several parts.
    fn apply(&self, scale: Self::Scale, values: &mut [f32], at: Places);

    /// The same to a copy, to see what a scale would do.
    fn try_out(&self, scale: Self::Scale, values: &mut [f32], at: Places)
    where
        Self: Sized,
    {
        apply_wide(self, scale, values, at);
    }

    /// Whether a finite value lies beyond the last level by more than half of the step that would come next. Never
    /// where the scale is 0 and nothing is left to be held.
    fn is_beyond(&self, scale: Self::Scale, x: f32) -> bool;
}

/// A [`GroupKernel`] whose types nobody has to know: all that is compiled once for each. How a tensor is gone through is compiled once
/// for all of them.
pub(crate) trait AnyKernel: Send + Sync {
    /// Whether a group of that range has a scale.
    fn check(&self, range: Range) -> Result<(), RangeOverflow>;

    /// Each block of each row by the range of its values.
    fn rows(&self, rows: &mut [f32], n_per_row: usize, n_per_block: usize, start: usize) -> Result<(), RangeOverflow>;

    /// A group, or a part of one, with the scale of that range.
    fn group(&self, range: Range, values: &mut [f32], at: Places) -> Result<(), RangeOverflow>;

    /// Blocks side by side, of these ranges, whose scales share another.
    fn super_block(
        &self,
        ranges: &[Range],
        values: &mut [f32],
        n_per_block: usize,
        start: usize,
    ) -> Result<(), RangeOverflow>;

    /// `sum` and Σ (x − value)² over the finite values, in their order, with the scale of that range.
    fn squared_error(&self, range: Range, values: &[f32], at: Places, sum: f64) -> Result<f64, RangeOverflow>;
}

impl<K: GroupKernel> AnyKernel for K {
    fn check(&self, range: Range) -> Result<(), RangeOverflow> {
        self.scale(range).map(drop)
    }

    fn rows(&self, rows: &mut [f32], n_per_row: usize, n_per_block: usize, start: usize) -> Result<(), RangeOverflow> {
        rows_wide(self, rows, n_per_row, n_per_block, start)
    }

    fn group(&self, range: Range, values: &mut [f32], at: Places) -> Result<(), RangeOverflow> {
        apply_wide(self, self.scale(range)?, values, at);
        Ok(())
    }

    fn super_block(
        &self,
        ranges: &[Range],
        values: &mut [f32],
        n_per_block: usize,
        start: usize,
    ) -> Result<(), RangeOverflow> {
        let mut scales = ranges.iter().map(|&range| self.scale(range)).collect::<Result<Vec<_>, _>>()?;
        K::Scale::hold_in_two_levels(&mut scales, self.largest());
        for (i, (block, scale)) in values.chunks_mut(n_per_block).zip(scales).enumerate() {
            self.apply(scale, block, Places::contiguous(start + i * n_per_block));
        }
        Ok(())
    }

    fn squared_error(&self, range: Range, values: &[f32], at: Places, sum: f64) -> Result<f64, RangeOverflow> {
        Ok(clip::squared_error(self, self.scale(range)?, values, at, sum))
    }
}

/// Which values share a scale, and what it is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grouping {
    pub(crate) granularity: Granularity,
    pub(crate) clip: Clip,
    /// The scales of a super-block share another.
    pub(crate) in_two_levels: bool,
}

/// Runs a kernel over all groups of `values`.
///
/// # Errors
/// The first group, in order of position, that has no scale.
pub(crate) fn apply(
    kernel: &dyn AnyKernel,
    grouping: Grouping,
    values: &mut [f32],
    piece: Piece,
) -> Result<(), RangeOverflow> {
    let Grouping { granularity, clip, in_two_levels } = grouping;
    match (granularity, granularity.super_block()) {
        (Granularity::Block(n), Some(n_per_super)) if in_two_levels => {
            apply_in_super_blocks(kernel, (n.get() as usize, n_per_super as usize), clip, values, piece)
        }
        (Granularity::Row, _) => in_blocks(kernel, clip, values, piece, piece.width),
        (Granularity::Block(n), _) => in_blocks(kernel, clip, values, piece, n.get() as usize),
        (Granularity::Col | Granularity::Tensor | Granularity::Tile { .. }, _) => {
            for_each(granularity, values, piece, |group, at| kernel.group(clip.range(kernel, group, at)?, group, at))
        }
    }
}

/// Runs a kernel over values of groups that reach through the whole tensor and whose ranges are known: that of the tensor,
/// or one for each of the piece's columns.
///
/// # Errors
/// The first group, in order of position, that has no scale.
pub(crate) fn apply_within(
    kernel: &dyn AnyKernel,
    granularity: Granularity,
    ranges: &[Range],
    values: &mut [f32],
    piece: Piece,
) -> Result<(), RangeOverflow> {
    if granularity == Granularity::Col {
        return for_each(granularity, values, piece, |column, at| {
            kernel.group(ranges[at.start - piece.start], column, at)
        });
    }
    for &range in ranges {
        kernel.check(range)?;
        let batches = values.par_chunks_mut(BATCH).enumerate();
        let hold =
            |(i, part): (usize, &mut [f32])| kernel.group(range, part, Places::contiguous(piece.start + i * BATCH));
        batches.map(hold).collect::<Vec<_>>().into_iter().collect::<Result<(), RangeOverflow>>()?;
    }
    Ok(())
}

/// What a piece has of the groups that reach through its whole tensor.
pub(crate) struct Through<'v> {
    values: Cow<'v, [f32]>,
    /// Values of each group.
    n_each: usize,
    columns: bool,
    piece: Piece,
}

impl<'v> Through<'v> {
    /// All values are one group, or each column is one.
    pub(crate) fn of(granularity: Granularity, values: &'v [f32], piece: Piece) -> Self {
        let columns = granularity == Granularity::Col;
        match columns {
            true => {
                let n_each = values.len() / piece.width;
                Through { values: transposed(values, piece.width).into(), n_each, columns, piece }
            }
            false => Through { values: values.into(), n_each: values.len(), columns, piece },
        }
    }

    /// The values of each group in the order of their places, group by group.
    pub(crate) fn groups(&self) -> impl IndexedParallelIterator<Item = (&[f32], Places)> {
        self.values.par_chunks(self.n_each).enumerate().map(|(i, values)| {
            let at = match self.columns {
                true => Places::column(self.piece.start + i, self.piece.width),
                false => Places::contiguous(self.piece.start),
            };
            (values, at)
        })
    }
}

/// Blocks within rows, a batch of rows at a time.
fn in_blocks(
    kernel: &dyn AnyKernel,
    clip: Clip,
    values: &mut [f32],
    Piece { start, width }: Piece,
    n_per_block: usize,
) -> Result<(), RangeOverflow> {
    let n_per_batch = (BATCH / width).max(1) * width;
    let batches = values.par_chunks_mut(n_per_batch).enumerate();
    let results: Vec<_> = batches
        .map(|(i, rows)| {
            let start = start + i * n_per_batch;
            match clip {
                Clip::Absmax => kernel.rows(rows, width, n_per_block, start),
                _ => clipped_rows(kernel, clip, rows, width, n_per_block, start),
            }
        })
        .collect();
    results.into_iter().collect()
}

/// [`rows_of_blocks`], compiled for what the machine has. Rust contracts nothing, so the bits are the same.
///
/// Of what is compiled once for each kernel and rounding there are no more than two forms: the third, for AVX-512, was left
/// out for the time that compiling took.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn rows_wide<K: GroupKernel>(
    kernel: &K,
    rows: &mut [f32],
    n_per_row: usize,
    n_per_block: usize,
    start: usize,
) -> Result<(), RangeOverflow> {
    rows_of_blocks(kernel, rows, n_per_row, n_per_block, start)
}

/// Blocks whose ranges are searched for or cut.
fn clipped_rows(
    kernel: &dyn AnyKernel,
    clip: Clip,
    rows: &mut [f32],
    n_per_row: usize,
    n_per_block: usize,
    mut start: usize,
) -> Result<(), RangeOverflow> {
    for block in rows.chunks_mut(n_per_row).flat_map(|row| row.chunks_mut(n_per_block)) {
        let at = Places::contiguous(start);
        kernel.group(clip.range(kernel, block, at)?, block, at)?;
        start += block.len();
    }
    Ok(())
}

#[inline(always)]
fn rows_of_blocks<K: GroupKernel>(
    kernel: &K,
    rows: &mut [f32],
    n_per_row: usize,
    n_per_block: usize,
    mut start: usize,
) -> Result<(), RangeOverflow> {
    for row in rows.chunks_mut(n_per_row) {
        for block in row.chunks_mut(n_per_block) {
            kernel.apply(kernel.scale(Range::of(block))?, block, Places::contiguous(start));
            start += block.len();
        }
    }
    Ok(())
}

/// [`GroupKernel::apply`], compiled for what the machine has.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn apply_wide<K: GroupKernel>(kernel: &K, scale: K::Scale, values: &mut [f32], at: Places) {
    kernel.apply(scale, values, at);
}

/// [`Keys::of`], compiled for what the machine has.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn keys_wide(values: &[f32]) -> Keys {
    Keys::of(values)
}

/// Runs a kernel over blocks of `n_per_block` values whose scales are held in two levels: those of the blocks within
/// `n_per_super` values of a row are known before any is used.
///
/// # Errors
/// As [`apply`].
fn apply_in_super_blocks(
    kernel: &dyn AnyKernel,
    (n_per_block, n_per_super): (usize, usize),
    clip: Clip,
    values: &mut [f32],
    piece: Piece,
) -> Result<(), RangeOverflow> {
    blocks(values, piece, n_per_super, |super_block, start| {
        let mut ranges = Vec::with_capacity(super_block.len().div_ceil(n_per_block));
        for (i, block) in super_block.chunks(n_per_block).enumerate() {
            ranges.push(clip.range(kernel, block, Places::contiguous(start + i * n_per_block))?);
        }
        kernel.super_block(&ranges, super_block, n_per_block, start)
    })
}

/// Hands each group to `work`, its values side by side in the order of their places; groups may be at
/// work at once.
///
/// # Errors
/// The first failing group, in order of position; the others are done.
pub(crate) fn for_each<E: Send>(
    granularity: Granularity,
    values: &mut [f32],
    piece: Piece,
    work: impl Fn(&mut [f32], Places) -> Result<(), E> + Sync,
) -> Result<(), E> {
    match granularity {
        Granularity::Tensor => work(values, Places::contiguous(piece.start)),
        Granularity::Row => blocks(values, piece, piece.width, |row, start| work(row, Places::contiguous(start))),
        Granularity::Block(n) => {
            blocks(values, piece, n.get() as usize, |block, start| work(block, Places::contiguous(start)))
        }
        Granularity::Col => {
            let rows = values.len() / piece.width;
            let mut columns = transposed(values, piece.width);
            let result = blocks(&mut columns, Piece::whole(rows), rows, |column, start| {
                work(column, Places::column(piece.start + start / rows, piece.width))
            });
            values.copy_from_slice(&transposed(&columns, rows));
            result
        }
        Granularity::Tile { rows, cols } => tiles(values, piece, rows.get() as usize, cols.get() as usize, work),
    }
}

/// Blocks start anew in each row; a row's last block may be short.
fn blocks<E: Send>(
    values: &mut [f32],
    Piece { start, width }: Piece,
    n_per_block: usize,
    work: impl Fn(&mut [f32], usize) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let n_per_batch = (BATCH / width).max(1) * width;
    let results: Vec<_> = values
        .par_chunks_mut(n_per_batch)
        .enumerate()
        .map(|(batch, rows)| {
            let mut start = start + batch * n_per_batch;
            for row in rows.chunks_mut(width) {
                for block in row.chunks_mut(n_per_block) {
                    let n = block.len();
                    work(block, start)?;
                    start += n;
                }
            }
            Ok(())
        })
        .collect();
    results.into_iter().collect()
}

/// Tiles of `rows` by `cols` from the piece's first value on; the last ones in either direction may be short.
fn tiles<E: Send>(
    values: &mut [f32],
    Piece { start, width: n_per_row }: Piece,
    rows: usize,
    cols: usize,
    work: impl Fn(&mut [f32], Places) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let n_per_band = rows.saturating_mul(n_per_row);
    let results: Vec<_> = values
        .par_chunks_mut(n_per_band)
        .enumerate()
        .map(|(band, values)| {
            let mut tile = Vec::new();
            for first in (0..n_per_row).step_by(cols) {
                let columns = first..first.saturating_add(cols).min(n_per_row);
                tile.clear();
                values.chunks(n_per_row).for_each(|row| tile.extend_from_slice(&row[columns.clone()]));
                work(&mut tile, Places::tile(start + band * n_per_band + first, columns.len(), n_per_row))?;
                for (row, held) in values.chunks_mut(n_per_row).zip(tile.chunks(columns.len())) {
                    row[columns.clone()].copy_from_slice(held);
                }
            }
            Ok(())
        })
        .collect();
    results.into_iter().collect()
}

/// Columns that are gathered together: their values of a row are one line of the cache.
const COLUMNS_AT_ONCE: usize = 16;

/// `[rows][n_per_row]` → `[n_per_row][rows]`.
fn transposed(values: &[f32], n_per_row: usize) -> Vec<f32> {
    let rows = values.len() / n_per_row;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(rows * COLUMNS_AT_ONCE).enumerate().for_each(|(i, columns)| {
        for (row, values) in values.chunks_exact(n_per_row).enumerate() {
            let of_columns = &values[i * COLUMNS_AT_ONCE..];
            for (column, x) in columns.chunks_exact_mut(rows).zip(of_columns) {
                column[row] = *x;
            }
        }
    });
    out
}

/// Least and greatest value as integers that order as the floats do: an integer fold vectorises,
/// a float one may not, and the order of −0 and +0 is settled.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    min: i32,
    max: i32,
}

impl Keys {
    pub(crate) const EMPTY: Keys = Keys { min: i32::MAX, max: i32::MIN };

    #[inline(always)]
    fn of(values: &[f32]) -> Keys {
        let keys = values.iter().fold(Keys::EMPTY, |k, x| {
            let key = ordered(x.to_bits());
            Keys { min: k.min.min(key), max: k.max.max(key) }
        });
        if keys.min > ordered(f32::NEG_INFINITY.to_bits()) && keys.max < ordered(f32::INFINITY.to_bits()) {
            return keys;
        }
        // Only under `:nonfinite=keep`, where such values take no part in the scale.
        values.iter().filter(|x| x.is_finite()).fold(Keys::EMPTY, |k, x| {
            let key = ordered(x.to_bits());
            Keys { min: k.min.min(key), max: k.max.max(key) }
        })
    }

    pub(crate) fn merge(self, other: Keys) -> Keys {
        Keys { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    #[inline(always)]
    pub(crate) fn range(self) -> Range {
        if self.min > self.max {
            return Range::NONE;
        }
        // The map is its own inverse.
        let value = |key: i32| f32::from_bits(ordered(key as u32) as u32);
        Range { min: value(self.min), max: value(self.max) }
    }
}

/// F32 bits → an integer that orders as the value does (−NaN < −∞ < … < −0 < +0 < … < ∞ < NaN).
#[inline(always)]
fn ordered(bits: u32) -> i32 {
    let bits = bits as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn the_range_is_that_of_the_finite_values_in_any_order() {
        let range = |v: &[f32]| Keys::of(v).range();
        assert_eq!(range(&[3.0, -7.5, 0.0, 1e-40]), Range { min: -7.5, max: 3.0 });
        assert_eq!(range(&[f32::NAN, 2.0, f32::NEG_INFINITY, 1.0]), Range { min: 1.0, max: 2.0 });
        assert_eq!(range(&[-f32::NAN]), Range { min: 0.0, max: 0.0 });
        assert_eq!(range(&[f32::MAX, f32::MIN]).absmax(), f32::MAX);
        assert_eq!(range(&[0.0, -0.0]).min.to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn every_value_is_handed_out_once_and_with_its_own_place() {
        let (rows, n_per_row) = (5usize, 7usize);
        let n = |n| NonZeroU32::new(n).unwrap();
        for granularity in [
            Granularity::Tensor,
            Granularity::Row,
            Granularity::Col,
            Granularity::Block(n(3)),
            Granularity::Tile { rows: n(2), cols: n(3) },
            Granularity::Tile { rows: n(9), cols: n(u32::MAX) },
        ] {
            let mut values: Vec<f32> = (0..rows * n_per_row).map(|i| i as f32).collect();
            let result: Result<(), ()> = for_each(granularity, &mut values, Piece::whole(n_per_row), |group, at| {
                for (i, x) in group.iter_mut().enumerate() {
                    assert_eq!(at.of(i), *x as usize, "{granularity}");
                    assert_eq!(at.from(i).of(0), *x as usize, "{granularity}");
                    *x += 100.0;
                }
                Ok(())
            });
            result.unwrap();
            assert!(values.iter().enumerate().all(|(i, x)| *x == i as f32 + 100.0), "{granularity}: {values:?}");
        }
    }

    #[test]
    fn what_is_compiled_for_this_machine_gives_the_bits_of_what_is_compiled_for_any() {
        let (n_per_row, n_per_block) = (77, 32);
        let mut state = 1u32;
        let mut any_finite = || loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(state ^ state >> 15);
            if x.is_finite() {
                return x;
            }
        };
        let values: Vec<f32> = (0..n_per_row * 500)
            .map(|i| match i / n_per_row % 4 {
                0 => any_finite(),
                1 => (any_finite().to_bits() % 64) as f32 / 4.0 - 8.0,
                2 => (any_finite().to_bits() >> 8) as f32 * 1e-9,
                _ => f32::from_bits(any_finite().to_bits() & 0x807f_ffff),
            })
            .collect();
        fn compare<K: GroupKernel>(kernel: &K, values: &[f32], n_per_row: usize, n_per_block: usize) {
            for n_per_block in [n_per_row, n_per_block] {
                let (mut wide, mut plain) = (values.to_vec(), values.to_vec());
                rows_wide(kernel, &mut wide, n_per_row, n_per_block, 0).unwrap();
                rows_of_blocks(kernel, &mut plain, n_per_row, n_per_block, 0).unwrap();
                assert!(wide.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
        let rne = crate::rounding::NearestEven;
        let f32_scale = crate::scale::ScaleFormat::F32;
        for bits in [2, 4, 8, 16] {
            compare(&crate::integer::Symmetric::new(bits, f32_scale, rne), &values, n_per_row, n_per_block);
            compare(&crate::integer::FullRange::new(bits, f32_scale, rne), &values, n_per_row, n_per_block);
        }
        for name in ["bf16", "f16", "fp8_e4m3", "fp8_e5m2", "fp6_e3m2", "fp4_e2m1"] {
            let exmy = crate::ExMy::named(name).unwrap();
            for scale in [f32_scale, crate::scale::ScaleFormat::E8m0] {
                compare(&crate::exmy::Scaled::new(exmy, scale, rne), &values, n_per_row, n_per_block);
                let stochastic = crate::rounding::Stochastic(crate::stream::Draws::new(1, "t"));
                compare(&crate::exmy::Scaled::new(exmy, scale, stochastic), &values, n_per_row, n_per_block);
            }
        }
        for codebook in crate::formats::codebooks() {
            compare(&crate::codebook::Codebook::new(codebook.entries, f32_scale), &values, n_per_row, n_per_block);
        }
        let nvfp4 = crate::nvfp4::Nvfp4::new(Range::of(&values).absmax(), rne);
        compare(&nvfp4, &values, n_per_row, n_per_block);
        assert_eq!(keys_wide(&values).range(), Keys::of(&values).range());
    }

    #[test]
    fn transposing_twice_restores_the_tensor() {
        let v: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(transposed(&v, 4)[..4], [0.0, 4.0, 8.0, 1.0]);
        assert_eq!(transposed(&transposed(&v, 4), 3), v);
    }
}
