//! A group of values that share a scale: where they stand in the tensor, what is measured of them, and what a format does with them.

use super::scale::GroupScale;
use multiversion::multiversion;

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
        RangeKeys::of(values).range()
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
    pub(crate) start: usize,
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
    pub(crate) fn column(start: usize, n_per_row: usize) -> Places {
        Places { start, width: 1, pitch: n_per_row, offset: 0 }
    }

    /// Rows of `width`.
    pub(crate) fn tile(start: usize, width: usize, n_per_row: usize) -> Places {
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

/// [`GroupKernel::apply`], compiled for what the machine has.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(crate) fn apply_wide<K: GroupKernel>(kernel: &K, scale: K::Scale, values: &mut [f32], at: Places) {
    kernel.apply(scale, values, at);
}

/// [`RangeKeys::of`], compiled for what the machine has.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn keys_wide(values: &[f32]) -> RangeKeys {
    RangeKeys::of(values)
}

/// Least and greatest value as integers that order as the floats do: an integer fold vectorises,
/// a float one may not, and the order of −0 and +0 is settled.
#[derive(Clone, Copy)]
pub(crate) struct RangeKeys {
    min: i32,
    max: i32,
}

impl RangeKeys {
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
