//! Going through a tensor group by group: how groups lie in it, and how they are spread over threads without any effect
//! on the result.

use super::BATCH;
use super::kernel::AnyKernel;
use super::part::Piece;
use crate::format::group::{Places, Range, RangeOverflow};
use crate::format::rounding::with_rounding;
use crate::format::{ExMy, Format, MX_BLCK_SIZE, Minifloat, NVFP4_BLCK_SIZE, Rounding, RoundingMode, ScaleFormat};
use crate::scheme::{Clip, Granularity, Scheme};
use rayon::prelude::*;
use std::borrow::Cow;

/// Which values share a scale, and what the scale is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grouping {
    pub(crate) granularity: Granularity,
    pub(crate) clip: Clip,
    /// Whether the scales of a super-block share a second scale.
    pub(crate) in_two_levels: bool,
}

impl Scheme {
    /// How the values of a tensor share scales under this scheme.
    pub(crate) fn grouping(&self) -> Grouping {
        let granularity = match self.format {
            Format::Mx { .. } => Granularity::block(MX_BLCK_SIZE),
            Format::Nvfp4 { .. } => Granularity::block(NVFP4_BLCK_SIZE),
            _ => self.granularity.unwrap_or(Granularity::Tensor),
        };
        Grouping { granularity, clip: self.clip, in_two_levels: self.scale == ScaleFormat::F16Hier }
    }
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
        (Granularity::Tile { .. }, _) => for_each(granularity, values, piece, |group, at| {
            kernel.whole_group(clip.range(kernel, group, at)?, group, at)
        }),
        (Granularity::Col | Granularity::Tensor, _) => {
            for_each(granularity, values, piece, |group, at| kernel.group(clip.range(kernel, group, at)?, group, at))
        }
    }
}

/// Runs a kernel over a piece of groups that run through the whole tensor, whose ranges are known: the range of the
/// tensor, or one for each of the piece's columns.
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

/// The values that one piece has of each group that runs through the whole tensor, under `@tensor` and `@col`.
pub(crate) struct GroupParts<'v> {
    values: Cow<'v, [f32]>,
    /// The number of values of each group in this piece.
    n_each: usize,
    columns: bool,
    piece: Piece,
}

impl<'v> GroupParts<'v> {
    /// The parts that a piece has of its tensor's groups: all values are one group, or each column is one.
    pub(crate) fn of(granularity: Granularity, values: &'v [f32], piece: Piece) -> Self {
        let columns = granularity == Granularity::Col;
        match columns {
            true => {
                let n_each = values.len() / piece.width;
                GroupParts { values: transposed(values, piece.width).into(), n_each, columns, piece }
            }
            false => GroupParts { values: values.into(), n_each: values.len(), columns, piece },
        }
    }

    /// The values of each group in the order of their positions, group by group.
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

/// Runs a kernel over blocks within rows, a batch of rows at a time.
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

/// Runs a kernel over blocks whose ranges are clipped.
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

/// Runs a kernel over blocks of `n_per_block` values with scales in two levels: all scales within `n_per_super` values
/// of a row are computed before any is used.
///
/// # Errors
/// As for [`apply`].
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

/// Passes each group to `work`, its values side by side in the order of their positions. Groups may be worked on at the
/// same time.
///
/// # Errors
/// The error of the first group, in order of position, that fails; the others are completed.
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

/// Passes blocks to `work`. Blocks start anew in each row; the last block of a row may be shorter.
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

/// Passes tiles of `rows` by `cols` values to `work`, from the piece's first value on. The last tiles in either
/// direction may be shorter.
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

/// The number of columns that are gathered together: their values of one row fill a line of the cache.
const COLUMNS_AT_ONCE: usize = 16;

/// Transposes `[rows][n_per_row]` to `[n_per_row][rows]`.
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

/// Rounds every value to a small float without a scale. The values are the tensor's from its `start`-th on. BF16, F16
/// and TF32 have faster casts of their own.
pub(crate) fn cast(exmy: ExMy, rounding: RoundingMode, values: &mut [f32], tensor: &str, start: usize) {
    let wide = Minifloat::ALL.into_iter().find(|&m| ExMy::from(m) == exmy);
    if let (Some(minifloat), RoundingMode::Value(rounding @ (Rounding::Rne | Rounding::Trunc))) = (wide, rounding) {
        return values.par_chunks_mut(BATCH).for_each(|part| minifloat.cast_slice(rounding, part));
    }
    with_rounding!(rounding, tensor, round => {
        values.par_chunks_mut(BATCH).enumerate().for_each(|(i, part)| exmy.cast_slice(round, part, start + i * BATCH));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

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
    fn transposing_twice_restores_the_tensor() {
        let v: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(transposed(&v, 4)[..4], [0.0, 4.0, 8.0, 1.0]);
        assert_eq!(transposed(&transposed(&v, 4), 3), v);
    }
}
