//! Codebooks: a table of values, a scale for each group, and the nearest entry.
//!
//! ```text
//!  B bits a value    2^B entries, ascending            one a group
//! ┌──────┐          ┌──────┬──────┬─  ─┬──────┐       ┌─────┐
//! │ code │────────▶ │  e0  │  e1  │ …  │  en  │       │  d  │      value = e[code]·d
//! └──────┘          └──────┴──────┴─  ─┴──────┘       └─────┘
//!
//! d = absmax / |E|      value = (entry nearest to x / d)·d      (d = 0 → 0)
//! ```
//!
//! E is the entry of greatest magnitude. Where the table has no entry −E, d takes the sign that brings the group's
//! value of greatest magnitude onto E (the positive one of two). Halfway between two entries, the one with the even
//! index in the sorted table is taken.

use super::group::{GroupKernel, Places, Range, RangeOverflow};
use super::scale::{Levels, ScaleFormat};

/// A built-in table of values, and how it is used when a scheme says nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodebookFormat {
    /// The name of the codebook in a scheme.
    pub name: &'static str,
    /// The entries in ascending order, each value once.
    pub entries: &'static [f32],
    /// The number of values that share a scale where the scheme gives no granularity.
    pub blck_size: u32,
    /// The format of the scale where the scheme gives none.
    pub scale: ScaleFormat,
}

/// NF4: quantiles of the normal distribution, for sixteen codes.
pub(crate) const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// FP4 of bitsandbytes: fifteen values, since the codes for +0 and −0 are one entry.
pub(crate) const FP4: [f32; 15] = [
    -1.0,
    -2.0 / 3.0,
    -0.5,
    -1.0 / 3.0,
    -0.25,
    -1.0 / 6.0,
    -1.0 / 192.0,
    0.0,
    1.0 / 192.0,
    1.0 / 6.0,
    0.25,
    1.0 / 3.0,
    0.5,
    2.0 / 3.0,
    1.0,
];

/// IQ4_NL: integers, a codebook that ggml stores.
pub(crate) const IQ4_NL: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

impl CodebookFormat {
    /// The number of bits of a code.
    pub fn bits(&self) -> u32 {
        self.entries.len().next_power_of_two().ilog2()
    }

    /// The entry of greatest magnitude: the last one, unless the first lies farther from zero.
    pub fn extreme(&self) -> f32 {
        extreme(self.entries)
    }
}

/// The entry of greatest magnitude, the positive one of two.
pub(crate) fn extreme(entries: &[f32]) -> f32 {
    let ends = |end: Option<&f32>| end.copied().unwrap_or_default();
    let (first, last) = (ends(entries.first()), ends(entries.last()));
    if -first > last { first } else { last }
}

/// The kernel of a codebook.
pub(crate) struct Codebook<'a> {
    entries: &'a [f32],
    /// For each entry but the last, the least F32 that goes to the next entry.
    up_from: Vec<f32>,
    extreme: f32,
    /// The values half a step before the first entry and half a step after the last.
    beyond: (f32, f32),
    symmetric: bool,
    scale: ScaleFormat,
}

impl<'a> Codebook<'a> {
    /// A kernel for these entries, which ascend.
    pub(crate) fn new(entries: &'a [f32], scale: ScaleFormat) -> Self {
        let extreme = extreme(entries);
        Codebook {
            entries,
            up_from: entries.windows(2).enumerate().map(|(i, e)| first_above(e[0], e[1], i)).collect(),
            extreme,
            beyond: (half_a_step_on(entries.iter()), half_a_step_on(entries.iter().rev())),
            symmetric: entries.contains(&-extreme),
            scale,
        }
    }
}

/// The value that lies beyond the first of `entries` by half the way to the second.
fn half_a_step_on<'e>(mut entries: impl Iterator<Item = &'e f32>) -> f32 {
    let mut next = || entries.next().copied().map_or(0.0, f64::from);
    let (end, before) = (next(), next());
    (end + (end - before) / 2.0) as f32
}

/// The number of entries up to which a loop over all of them, which vectorises, is faster than a binary search.
const FEW_ENTRIES: usize = 32;

/// The least F32 that is nearer to `high` than to `low`, entries i and i + 1 of a table; or their middle, if the entry
/// with the even index is `high`.
fn first_above(low: f32, high: f32, i: usize) -> f32 {
    let (low, high) = (f64::from(low), f64::from(high));
    let sum = low + high;
    // What rounding the sum lost, exactly (Knuth's two-sum): entries from a file may lie farther apart than f64 has
    // bits.
    let of_high = sum - low;
    let lost = (low - (sum - of_high)) + (high - of_high);
    let rounded = (sum / 2.0) as f32;
    let side = (2.0 * f64::from(rounded)).total_cmp(&sum).then(0.0f64.total_cmp(&(lost + 0.0)));
    let wins = side.is_gt() || (side.is_eq() && i % 2 == 1);
    if wins { rounded } else { rounded.next_up() }
}

impl GroupKernel for Codebook<'_> {
    type Scale = f32;

    #[inline(always)]
    fn scale(&self, range: Range) -> Result<f32, RangeOverflow> {
        let d = self.scale.step(range.absmax(), Levels::up_to(self.extreme.abs()));
        let negative = range.absmax() > range.max;
        let turned = !self.symmetric && negative != (self.extreme < 0.0);
        Ok(if turned { -d } else { d })
    }

    fn largest(&self) -> f32 {
        self.extreme.abs()
    }

    #[inline(always)]
    fn apply(&self, d: f32, values: &mut [f32], _: Places) {
        if d == 0.0 {
            return values.fill(0.0);
        }
        if self.entries.len() > FEW_ENTRIES {
            for x in values {
                let q = *x / d;
                *x = self.entries[self.up_from.partition_point(|&from| q >= from)] * d;
            }
            return;
        }
        for x in values {
            let q = *x / d;
            let mut entry = self.entries[0];
            for (&from, &next) in self.up_from.iter().zip(&self.entries[1..]) {
                entry = if q >= from { next } else { entry };
            }
            *x = entry * d;
        }
    }

    #[inline(always)]
    fn is_beyond(&self, d: f32, x: f32) -> bool {
        d != 0.0 && (x / d < self.beyond.0 || x / d > self.beyond.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_has_every_entry_and_nothing_else() {
        for codebook in crate::scheme::table::codebooks() {
            let (first, last) = (codebook.entries[0], codebook.entries[codebook.entries.len() - 1]);
            let step = (last - first) / 8192.0;
            let mut values: Vec<f32> = (0..=8192).map(|i| first + i as f32 * step).collect();
            let ctx = crate::TensorContext { name: "t", n_per_row: values.len() };
            let scheme: crate::Scheme = format!("{}@tensor", codebook.name).parse().unwrap();
            scheme.fake_quantize(&mut values, &ctx, &crate::PlainCodec).unwrap();
            values.dedup();
            assert_eq!(values, codebook.entries, "{scheme}");
            assert_eq!(codebook.bits(), 4, "{scheme}");
        }
    }

    #[test]
    fn tables_ascend_fit_their_codes_and_map_each_entry_to_itself() {
        for format in crate::scheme::table::codebooks() {
            assert!(format.entries.windows(2).all(|e| e[0] < e[1]), "{}", format.name);
            let mut values = format.entries.to_vec();
            let kernel = Codebook::new(format.entries, ScaleFormat::F32);
            let d = kernel.scale(Range::of(&values)).unwrap();
            kernel.apply(d, &mut values, Places::contiguous(0));
            assert_eq!((d, &values[..]), (1.0, format.entries), "{}", format.name);
        }
    }

    #[test]
    fn nf4_is_the_table_of_the_paper_to_its_printed_digits() {
        // Appendix E prints sixteen digits; these are the first, a middle and the last three.
        for (i, printed) in
            [(1, -0.6961928009986877), (6, -0.09105003625154495), (12, 0.44070982933044434), (14, 0.7229568362236023)]
        {
            assert_eq!(NF4[i], printed as f32);
        }
    }

    #[test]
    fn a_block_of_iq4_nl_is_turned_so_that_its_greatest_magnitude_is_the_first_entry() {
        let kernel = Codebook::new(&IQ4_NL, ScaleFormat::F32);
        for sign in [1.0f32, -1.0] {
            let mut values = [127.0 * sign, -113.0 * sign, 60.0 * sign, 0.0];
            let d = kernel.scale(Range::of(&values)).unwrap();
            assert_eq!(d, -sign);
            kernel.apply(d, &mut values, Places::contiguous(0));
            // −60 is nearest to −65. There is no entry for 0, which goes to 1.
            assert_eq!(values, [127.0 * sign, -113.0 * sign, 65.0 * sign, -sign]);
        }
    }

    #[test]
    fn the_middle_of_entries_that_lie_far_apart_is_exact() {
        // The middles are one half and a little more, one half and a little less, nothing and a little more.
        let (half, little) = (0.5f32, 1e-30f32);
        assert_eq!(first_above(little, 1.0, 0), half.next_up());
        assert_eq!(first_above(little, 1.0, 1), half.next_up());
        assert_eq!(first_above(-little, 1.0, 0), half);
        assert_eq!(first_above(0.0, 1.0, 0), half.next_up());
        assert_eq!(first_above(0.0, 1.0, 1), half);
        assert_eq!(first_above(-0.0625, 0.0625, 0), f32::from_bits(1));
        assert_eq!(first_above(-0.0625, 0.0625, 1), 0.0);
    }

    #[test]
    fn a_tie_goes_to_the_entry_with_the_even_index() {
        let kernel = Codebook::new(&IQ4_NL, ScaleFormat::F32);
        // (38 + 53)/2 between entries 11 and 12; (25 + 38)/2 between 10 and 11.
        let mut values = [45.5, 31.5, 45.5f32.next_down(), 31.5f32.next_up()];
        kernel.apply(1.0, &mut values, Places::contiguous(0));
        assert_eq!(values, [53.0, 25.0, 38.0, 38.0]);
    }
}
