//! A group of values that share a scale: its range, the positions of its values, and what a format does with it.

use super::scale::GroupScale;
use multiversion::multiversion;

/// The least and the greatest finite value of a group; both are 0 when it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) min: f32,
    pub(crate) max: f32,
}

impl Range {
    /// The range of a group without finite values.
    pub(crate) const NONE: Range = Range { min: 0.0, max: 0.0 };

    #[inline(always)]
    pub(crate) fn of(values: &[f32]) -> Range {
        RangeKeys::of(values).range()
    }

    pub(crate) fn absmax(self) -> f32 {
        self.min.abs().max(self.max.abs())
    }

    /// The range clamped to ±`limit`; `limit` is not negative.
    pub(crate) fn within(self, limit: f32) -> Range {
        Range { min: self.min.clamp(-limit, limit), max: self.max.clamp(-limit, limit) }
    }
}

/// An error: the greatest value of a group less its least value is beyond F32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RangeOverflow {
    pub(crate) min: f32,
    pub(crate) max: f32,
}

/// The positions in their tensor of the values of one group. A group is a run of values, a column or a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// The position of the group's first value.
    pub(crate) start: usize,
    /// The number of values that stand side by side.
    width: usize,
    /// The distance from the start of one such run to the start of the next.
    pitch: usize,
    /// The number of values of the group that come before the ones at hand.
    offset: usize,
}

impl Places {
    pub(crate) fn contiguous(start: usize) -> Places {
        Places { start, width: usize::MAX, pitch: 0, offset: 0 }
    }

    /// The positions of a column, whose values stand one below the other.
    pub(crate) fn column(start: usize, n_per_row: usize) -> Places {
        Places { start, width: 1, pitch: n_per_row, offset: 0 }
    }

    /// The positions of a tile with rows of `width` values.
    pub(crate) fn tile(start: usize, width: usize, n_per_row: usize) -> Places {
        Places { start, width, pitch: n_per_row, offset: 0 }
    }

    /// The positions of the same group from its `offset`-th value on.
    pub(crate) fn from(self, offset: usize) -> Places {
        Places { offset: self.offset + offset, ..self }
    }

    /// The position of the i-th value at hand.
    #[inline(always)]
    pub(crate) fn of(self, i: usize) -> usize {
        let i = i + self.offset;
        self.start + i / self.width * self.pitch + i % self.width
    }
}

/// What a format with a scale does to one group: the arithmetic of a format.
pub(crate) trait GroupKernel: Send + Sync {
    /// What the values of a group share.
    type Scale: GroupScale;

    fn scale(&self, range: Range) -> Result<Self::Scale, RangeOverflow>;

    /// The largest level that a scale multiplies; only asked of formats whose scales may be stored in two levels.
    fn largest(&self) -> f32 {
        1.0
    }

    /// Quantizes and restores values in place. Non-finite values may become anything: the caller puts them back. A
    /// group may be passed in several parts.
    fn apply(&self, scale: Self::Scale, values: &mut [f32], at: Places);

    /// Whether the values of a whole group lie on a grid of the format as they are: on levels of a scale that is the group's
    /// own up to rounding. False where that is not asked.
    fn is_on_grid(&self, _: Self::Scale, _: &[f32]) -> bool {
        false
    }

    /// Does the same to a copy of the values, to find the error of a scale.
    fn try_out(&self, scale: Self::Scale, values: &mut [f32], at: Places)
    where
        Self: Sized,
    {
        apply_wide(self, scale, values, at);
    }

    /// Whether a finite value lies beyond the last level by more than half of the step that would come next. False
    /// where the scale is 0, since no level is left.
    fn is_beyond(&self, scale: Self::Scale, x: f32) -> bool;
}

/// The rounding of scales, products and sums may move a value that lies on a level by this share of the greatest
/// magnitude: eight units in its last place.
pub(crate) const ROUNDING: f32 = 1.0 / (1 << 21) as f32;
/// The greatest such distance as a share of the step: two levels are far more apart.
const SHARE_OF_STEP: f32 = 1.0 / 16.0;

/// Whether finite values lie on `level`s up to the rounding of a scale with this step and greatest magnitude. A zero that
/// has a sign is on no level of an integer.
#[inline(always)]
pub(crate) fn lie_on(values: &[f32], greatest: f32, step: f32, level: impl Fn(f32) -> f32) -> bool {
    let near = (greatest * ROUNDING).min(step * SHARE_OF_STEP);
    let lies = |x: &f32| (level(*x) - x).abs() <= near && x.to_bits() != (-0.0f32).to_bits();
    values.iter().filter(|x| x.is_finite()).all(lies)
}

/// [`GroupKernel::apply`], compiled for several instruction sets.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(crate) fn apply_wide<K: GroupKernel>(kernel: &K, scale: K::Scale, values: &mut [f32], at: Places) {
    kernel.apply(scale, values, at);
}

/// [`RangeKeys::of`], compiled for several instruction sets.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn keys_wide(values: &[f32]) -> RangeKeys {
    RangeKeys::of(values)
}

/// The least and the greatest value of a group while it is still being read, as integers that order as the floats do. A
/// fold over integers vectorises where one over floats may not, and it settles the order of −0 and +0.
#[derive(Clone, Copy)]
pub(crate) struct RangeKeys {
    min: i32,
    max: i32,
}

impl RangeKeys {
    /// The keys of a group before its first value has been read.
    pub(crate) const EMPTY: RangeKeys = RangeKeys { min: i32::MAX, max: i32::MIN };

    #[inline(always)]
    pub(crate) fn of(values: &[f32]) -> RangeKeys {
        let keys = values.iter().fold(RangeKeys::EMPTY, |k, x| {
            let key = ordered(x.to_bits());
            RangeKeys { min: k.min.min(key), max: k.max.max(key) }
        });
        if keys.min > ordered(f32::NEG_INFINITY.to_bits()) && keys.max < ordered(f32::INFINITY.to_bits()) {
            return keys;
        }
        // Only under `:nonfinite=keep`, where such values take no part in the scale.
        values.iter().filter(|x| x.is_finite()).fold(RangeKeys::EMPTY, |k, x| {
            let key = ordered(x.to_bits());
            RangeKeys { min: k.min.min(key), max: k.max.max(key) }
        })
    }

    pub(crate) fn merge(self, other: RangeKeys) -> RangeKeys {
        RangeKeys { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The range of what was read.
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

/// Maps F32 bits to an integer that orders as the value does (−NaN < −∞ < … < −0 < +0 < … < ∞ < NaN).
#[inline(always)]
fn ordered(bits: u32) -> i32 {
    let bits = bits as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

/// Whether no value is NaN or infinite.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn all_finite(values: &[f32]) -> bool {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    values.iter().fold(0, |m: u32, x| m.max(x.to_bits() & 0x7fff_ffff)) < INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_that_of_the_finite_values_in_any_order() {
        let range = |v: &[f32]| RangeKeys::of(v).range();
        assert_eq!(range(&[3.0, -7.5, 0.0, 1e-40]), Range { min: -7.5, max: 3.0 });
        assert_eq!(range(&[f32::NAN, 2.0, f32::NEG_INFINITY, 1.0]), Range { min: 1.0, max: 2.0 });
        assert_eq!(range(&[-f32::NAN]), Range { min: 0.0, max: 0.0 });
        assert_eq!(range(&[f32::MAX, f32::MIN]).absmax(), f32::MAX);
        assert_eq!(range(&[0.0, -0.0]).min.to_bits(), (-0.0f32).to_bits());
    }
}
