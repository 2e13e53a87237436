//! The sample of a tensor: a few blocks, spread evenly, and the same ones every time.

use crate::values::TensorValues;
use stats::rng;

/// The axis along which the values of a block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Consecutive values of a row, as in ggml's blocks.
    Row,
    /// The same column of consecutive rows, as in a grid that was made on the transposed tensor.
    Column,
}

/// How much of a row or column one block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockExtent {
    /// This many consecutive values.
    Block(usize),
    /// The whole row or column. At most 256 of its values are read.
    Whole,
    /// The whole tensor, which has one step.
    Tensor,
}

/// The number of values that are read of a whole row: any subset of a lattice lies on it.
pub(crate) const WHOLE_SEEN: usize = 256;

/// 64 random bits for each counter: the first output of SplitMix64 with the counter as its seed.
pub(crate) fn mix(counter: u64) -> u64 {
    rng::nth(counter, 1)
}

/// A random number in [−1, 1) for each counter.
pub(crate) fn symmetric_uniform(counter: u64) -> f64 {
    rng::symmetric_unit(mix(counter))
}

/// A tensor as lines along one axis: its rows, or its columns.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    values: TensorValues<'a>,
    n_per_row: usize,
    pub(crate) axis: Axis,
}

impl<'a> Lines<'a> {
    /// The lines of `values`, `[n / n_per_row][n_per_row]`; `None` unless they are whole rows.
    pub(crate) fn new(values: TensorValues<'a>, n_per_row: usize, axis: Axis) -> Option<Self> {
        (n_per_row > 0 && !values.is_empty() && values.len().is_multiple_of(n_per_row)).then_some(Lines {
            values,
            n_per_row,
            axis,
        })
    }

    /// The number of lines, and the length of each.
    fn shape(&self) -> (usize, usize) {
        let rows = self.values.len() / self.n_per_row;
        match self.axis {
            Axis::Row => (rows, self.n_per_row),
            Axis::Column => (self.n_per_row, rows),
        }
    }

    /// The greatest finite magnitude (`from_zero`), or the greatest distance between finite values.
    pub(crate) fn range(&self, from_zero: bool) -> f64 {
        let (mut least, mut most) = (0.0f32, 0.0f32);
        self.values.each_piece(1, |piece| {
            let finite = (0..piece.len()).map(|i| piece.at(i)).filter(|x| x.is_finite());
            (least, most) = finite.fold((least, most), |(a, z), x| (a.min(x), z.max(x)));
            true
        });
        match from_zero {
            true => f64::from(most.max(-least)),
            false => f64::from(most) - f64::from(least),
        }
    }

    /// At most `n_lines` different lines, spread evenly, with at most `n_values` values of each. Lines with a value
    /// that is not finite are left out.
    pub(crate) fn seen(&self, n_lines: usize, n_values: usize) -> Vec<Vec<f32>> {
        let (all, length) = self.shape();
        let (n_lines, n_values) = (n_lines.min(all), n_values.min(length));
        let line = |part| {
            let line = place_in_part(part, n_lines, all);
            (0..n_values).map(|i| self.at(line, i * length / n_values)).collect()
        };
        different((0..n_lines).map(line).collect())
    }

    fn at(&self, line: usize, i: usize) -> f32 {
        match self.axis {
            Axis::Row => self.values.at(line * self.n_per_row + i),
            Axis::Column => self.values.at(i * self.n_per_row + line),
        }
    }
}

/// What is read of a tensor along one axis: contiguous places, which are cut into blocks of every size, and whole lines
/// with some of their values. These are at most [`PLACE_VALUES`] + [`LINES_SEEN`] × [`WHOLE_SEEN`] values.
pub(crate) struct Sample {
    places: Vec<Vec<f32>>,
    /// The number of values of a place; 0 where no size fits the lines.
    size: usize,
    lines: Vec<Vec<f32>>,
}

/// The most values in places; with both axes and all lines a sample stays below 40,000 values.
const PLACE_VALUES: usize = 48 * 256;
const LINES_SEEN: usize = 28;

/// Sizes of a place. A smaller one is only used where a larger one does not fit the lines.
const PLACE_SIZES: [usize; 5] = [256, 128, 64, 32, 16];

/// A pseudo-random place in the part'th of `count` equal parts of `total`. A regular stride could meet the same columns
/// in every row.
fn place_in_part(part: usize, count: usize, total: usize) -> usize {
    let (start, end) = (part * total / count, (part + 1) * total / count);
    start + (mix(part as u64) % (end - start) as u64) as usize
}

impl Sample {
    pub(crate) fn of(lines: &Lines<'_>) -> Sample {
        let (n_lines, length) = lines.shape();
        let size = PLACE_SIZES.into_iter().find(|size| length.is_multiple_of(*size)).unwrap_or(0);
        let per_line = length.checked_div(size).unwrap_or(0);
        let count = (n_lines * per_line).min(PLACE_VALUES.checked_div(size).unwrap_or(0));
        let place = |part| {
            let index = place_in_part(part, count, n_lines * per_line);
            let (line, first) = (index / per_line, index % per_line * size);
            (0..size).map(|i| lines.at(line, first + i)).collect()
        };
        Sample { places: (0..count).map(place).collect(), size, lines: lines.seen(LINES_SEEN, WHOLE_SEEN) }
    }

    /// The number of values of the sample.
    pub(crate) fn n(&self) -> u64 {
        self.places.iter().chain(&self.lines).map(|part| part.len() as u64).sum()
    }

    /// At most `at_most` different blocks, spread evenly, without those that have a value that is not finite. Empty
    /// where blocks of this extent do not fit the lines.
    pub(crate) fn blocks(&self, extent: BlockExtent, at_most: usize) -> Vec<Vec<f32>> {
        let blocks: Vec<Vec<f32>> = match extent {
            BlockExtent::Block(size) if size == 0 || size > self.size => Vec::new(),
            BlockExtent::Block(size) => {
                let parts: Vec<&[f32]> = self.places.iter().flat_map(|place| place.chunks_exact(size)).collect();
                let count = parts.len().min(at_most);
                (0..count).map(|part| parts[place_in_part(part, count, parts.len())].to_vec()).collect()
            }
            BlockExtent::Whole | BlockExtent::Tensor => self.lines.clone(),
        };
        different(blocks)
    }
}

/// The blocks without repetitions, which are one observation, and without values that are not finite.
fn different(mut blocks: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let bits = |block: &[f32]| block.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let mut seen_before = std::collections::BTreeSet::new();
    blocks.retain(|block| block.iter().all(|x| x.is_finite()) && seen_before.insert(bits(block)));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::StoredPrecision;

    fn sample(values: &[f32], n_per_row: usize, axis: Axis) -> Sample {
        Sample::of(&Lines::new(TensorValues::Restored(values, StoredPrecision::F32), n_per_row, axis).unwrap())
    }

    #[test]
    fn blocks_run_along_the_axis_asked_for() {
        let values: Vec<f32> = (0..12 * 16).map(|i| i as f32).collect();
        let rows = sample(&values, 16, Axis::Row);
        assert_eq!(rows.blocks(BlockExtent::Block(16), 99)[1][..3], [16.0, 17.0, 18.0]);
        let columns = sample(&values, 12, Axis::Column);
        assert_eq!(columns.blocks(BlockExtent::Whole, 99)[1][..3], [1.0, 13.0, 25.0]);
        assert!(rows.blocks(BlockExtent::Block(32), 99).is_empty());
        let restored = TensorValues::Restored(&values, StoredPrecision::F32);
        assert!(Lines::new(restored, 5, Axis::Row).is_none() && Lines::new(restored, 0, Axis::Row).is_none());
    }

    #[test]
    fn numbers_by_counter_are_pinned_so_that_a_census_says_the_same_again() {
        // Worked out by a second implementation, in Python integers.
        assert_eq!([0, 1, 1 << 40].map(mix), [0xe220_a839_7b1d_cdaf, 0x910a_2dec_8902_5cc1, 0x1fdd_7128_f310_c389]);
        assert_eq!(
            [0, 1, 5].map(|counter| symmetric_uniform(counter).to_bits()),
            [0x3fe8_882a_0e5e_c772, 0x3fc1_0a2d_ec89_0258, 0xbfcc_fcc4_f35c_7640]
        );
    }

    #[test]
    fn a_sample_is_bounded_spread_and_the_same_each_time() {
        let values: Vec<f32> = (0..1024 * 1024).map(|i| i as f32).collect();
        let [rows, columns] = [Axis::Row, Axis::Column].map(|axis| sample(&values, 1024, axis));
        assert!(rows.n() + columns.n() <= 40_000, "{} + {}", rows.n(), columns.n());
        let blocks = rows.blocks(BlockExtent::Block(32), 16);
        assert_eq!(blocks.len(), 16);
        for (part, block) in blocks.iter().enumerate() {
            assert_eq!(block[0] as usize / (1024 * 1024 / 16), part, "one from each part");
        }
        assert_eq!(blocks, sample(&values, 1024, Axis::Row).blocks(BlockExtent::Block(32), 16));
        assert_eq!(rows.blocks(BlockExtent::Whole, 8)[0].len(), WHOLE_SEEN);
    }

    #[test]
    fn blocks_that_repeat_or_are_not_finite_are_left_out() {
        let mut values = vec![1.0; 96];
        values[64] = f32::NAN;
        assert_eq!(sample(&values, 32, Axis::Row).blocks(BlockExtent::Block(32), 9).len(), 1);
    }
}
