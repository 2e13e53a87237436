//! Which blocks of a tensor are looked at: a few, spread evenly, the same ones every time.

/// Along which extent a block runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Consecutive values of a row, as ggml's blocks are.
    Row,
    /// The same column of consecutive rows: a grid made on the transposed tensor.
    Column,
}

/// How much of a row or column one block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This many consecutive values.
    Block(usize),
    /// All of it, seen through [`WHOLE_SEEN`] values.
    Whole,
    /// All of the tensor has one step.
    Tensor,
}

/// Values that stand for a whole row: any subset of a lattice lies on it.
pub(crate) const WHOLE_SEEN: usize = 256;

/// SplitMix64: a number for each counter, without state.
///
/// # Source
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
pub(crate) fn mix(counter: u64) -> u64 {
    let z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Uniform in −1 … 1, by counter.
pub(crate) fn symmetric_uniform(counter: u64) -> f64 {
    (mix(counter) >> 11) as f64 * (2.0 / (1u64 << 53) as f64) - 1.0
}

/// A tensor as rows along one axis.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    values: &'a [f32],
    n_per_row: usize,
    axis: Axis,
}

impl<'a> Lines<'a> {
    /// `values` are `[n / n_per_row][n_per_row]`, whole rows.
    pub(crate) fn new(values: &'a [f32], n_per_row: usize, axis: Axis) -> Option<Self> {
        (n_per_row > 0 && !values.is_empty() && values.len().is_multiple_of(n_per_row)).then_some(Lines {
            values,
            n_per_row,
            axis,
        })
    }

    /// Lines along the axis, and how long each is.
    fn shape(&self) -> (usize, usize) {
        let rows = self.values.len() / self.n_per_row;
        match self.axis {
            Axis::Row => (rows, self.n_per_row),
            Axis::Column => (self.n_per_row, rows),
        }
    }

    /// The greatest finite magnitude, or the greatest distance between finite values.
    pub(crate) fn range(&self, from_zero: bool) -> f64 {
        let finite = self.values.iter().copied().filter(|x| x.is_finite());
        let (least, most) = finite.fold((0.0f32, 0.0f32), |(a, z), x| (a.min(x), z.max(x)));
        match from_zero {
            true => f64::from(most.max(-least)),
            false => f64::from(most) - f64::from(least),
        }
    }

    fn at(&self, line: usize, i: usize) -> f32 {
        match self.axis {
            Axis::Row => self.values[line * self.n_per_row + i],
            Axis::Column => self.values[i * self.n_per_row + line],
        }
    }

    /// At most `at_most` different blocks, one from each of as many equal parts of the tensor, without those
    /// that hold a value that is not finite. Empty where blocks of this extent do not fit the lines.
    pub(crate) fn blocks(&self, extent: Extent, at_most: usize) -> Vec<Vec<f32>> {
        let (lines, length) = self.shape();
        let size = match extent {
            Extent::Block(size) => size,
            Extent::Whole | Extent::Tensor => length,
        };
        if size == 0 || !length.is_multiple_of(size) {
            return Vec::new();
        }
        let (per_line, seen) = (length / size, size.min(WHOLE_SEEN));
        let total = lines * per_line;
        let count = total.min(at_most);
        let mut blocks: Vec<Vec<f32>> = (0..count)
            .map(|part| {
                // A pseudo-random place in each part: a regular stride could meet the same columns in every row.
                let (start, end) = (part * total / count, (part + 1) * total / count);
                let index = start + (mix(part as u64) % (end - start) as u64) as usize;
                let (line, first) = (index / per_line, index % per_line * size);
                (0..seen).map(|i| self.at(line, first + i * size / seen)).collect::<Vec<f32>>()
            })
            .filter(|block| block.iter().all(|x| x.is_finite()))
            .collect();
        // Rows that repeat are one observation, not many.
        let bits = |block: &[f32]| block.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        let mut seen_before = std::collections::BTreeSet::new();
        blocks.retain(|block| seen_before.insert(bits(block)));
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_run_along_the_axis_asked_for() {
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let along = |axis, extent| Lines::new(&values, 4, axis).unwrap().blocks(extent, 99);
        assert_eq!(along(Axis::Row, Extent::Block(2))[1], [2.0, 3.0]);
        assert_eq!(
            along(Axis::Column, Extent::Whole),
            [[0.0, 4.0, 8.0], [1.0, 5.0, 9.0], [2.0, 6.0, 10.0], [3.0, 7.0, 11.0]]
        );
        assert!(along(Axis::Row, Extent::Block(3)).is_empty());
        assert!(Lines::new(&values, 5, Axis::Row).is_none() && Lines::new(&values, 0, Axis::Row).is_none());
    }

    #[test]
    fn a_sample_is_bounded_spread_and_the_same_each_time() {
        let values: Vec<f32> = (0..64 * 1024).map(|i| i as f32).collect();
        let lines = Lines::new(&values, 1024, Axis::Row).unwrap();
        let blocks = lines.blocks(Extent::Block(32), 16);
        assert_eq!(blocks.len(), 16);
        for (part, block) in blocks.iter().enumerate() {
            assert_eq!(block[0] as usize / (64 * 1024 / 16), part, "one from each part");
        }
        assert_eq!(blocks, lines.blocks(Extent::Block(32), 16));
        assert_eq!(lines.blocks(Extent::Whole, 8)[0].len(), WHOLE_SEEN);
    }

    #[test]
    fn blocks_that_repeat_or_are_not_finite_are_left_out() {
        let mut values = vec![1.0; 96];
        values[64] = f32::NAN;
        assert_eq!(Lines::new(&values, 32, Axis::Row).unwrap().blocks(Extent::Block(32), 9).len(), 1);
    }
}
