//! Formats with scales, computed one group of values at a time.

use super::{Ladder, held_scale, whole};
use numerics::{ExMy, Granularity, Rounding, ScaleFormat, Scheme};
use std::collections::BTreeMap;

/// The groups of values that share a scale, as lists of indices; `None` where there is no granularity.
pub(super) fn groups(granularity: Option<Granularity>, n: usize, n_per_row: usize) -> Option<Vec<Vec<usize>>> {
    let granularity = granularity?;
    let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for i in 0..n {
        let (row, col) = (i / n_per_row, i % n_per_row);
        let key = match granularity {
            Granularity::Tensor => (0, 0),
            Granularity::Row => (row, 0),
            Granularity::Col => (0, col),
            Granularity::Block(b) => (row, col / b.get() as usize),
            Granularity::Tile { rows, cols } => (row / rows.get() as usize, col / cols.get() as usize),
        };
        groups.entry(key).or_default().push(i);
    }
    Some(groups.into_values().collect())
}

/// The scales of groups, in their format.
pub(super) struct Scales {
    format: ScaleFormat,
    /// The number of values in a row.
    n_per_row: usize,
    /// Whether groups lie within rows or tiles. Others run through the tensor and come in parts.
    within_rows: bool,
}

/// The number of values that share the upper of two levels of scales.
const SUPER_BLOCK: usize = 256;
/// The greatest integer of the lower level.
const SUPER_MAX: f32 = 63.0;

impl Scales {
    pub(super) fn new(scheme: &Scheme, n_per_row: usize) -> Scales {
        let within_rows = !matches!(scheme.granularity(), Some(Granularity::Tensor | Granularity::Col));
        Scales { format: scheme.scale(), n_per_row, within_rows }
    }

    /// Whether the values of a group lie on the levels nearest to them, up to the rounding of the step `d`, and so stay as
    /// they are.
    fn on_grid(&self, values: &[f32], group: &[usize], top: f32, d: f32, nearest: impl Fn(f32) -> f32) -> bool {
        let near = times(top, 2f32.powi(-21)).min(times(d, 2f32.powi(-4)));
        let lies = |x: f32| plus(nearest(x), -x).abs() <= near && x.to_bits() != (-0.0f32).to_bits();
        self.within_rows && d != 0.0 && group.iter().all(|&i| lies(values[i]))
    }

    /// The scale `d` in this format; `None` for powers of two and two levels, which are not made of one number alone.
    pub(super) fn hold(&self, d: f32) -> Option<f32> {
        held_scale(self.format, d)
    }

    /// The scale of each group, with which its greatest magnitude becomes `largest`.
    fn of(&self, values: &[f32], groups: &[Vec<usize>], largest: f32) -> Vec<f32> {
        let greatest = |group: &Vec<usize>| absmax(values, group);
        match self.format {
            // OCP MX 1.0, section 6.3: the exponent of the greatest magnitude less that of the format's.
            ScaleFormat::E8m0 => {
                let of = |x: f32| power(exponent(x) - exponent(largest), -127);
                groups.iter().map(greatest).map(|x| if x == 0.0 { 0.0 } else { of(x) }).collect()
            }
            ScaleFormat::Pow2 => {
                let not_below = |d: f32| {
                    let below = exponent(d);
                    power(if power(below, -149) == d { below } else { below + 1 }, -126)
                };
                let steps = groups.iter().map(|group| divided(greatest(group), largest));
                let held = steps.map(|d| if d == 0.0 { 0.0 } else { not_below(d) });
                held.map(|d| self.finite_under(d, |d| times(largest, d))).collect()
            }
            ScaleFormat::F16Hier => {
                let step = |group| self.finite_under(divided(greatest(group), largest), |d| times(largest, d));
                let steps: Vec<f32> = groups.iter().map(step).collect();
                // A whole number of blocks; the first of a row is as long as any.
                let n_per_block = groups.first().map_or(1, Vec::len);
                let span = (SUPER_BLOCK / n_per_block).max(1) * n_per_block;
                let block_of = |group: &Vec<usize>| (group[0] / self.n_per_row, group[0] % self.n_per_row / span);
                let mut above: BTreeMap<(usize, usize), f32> = BTreeMap::new();
                for (group, &d) in groups.iter().zip(&steps) {
                    let most = above.entry(block_of(group)).or_default();
                    *most = most.max(d);
                }
                let held = |group: &Vec<usize>, d: f32| {
                    let upper =
                        held_scale(ScaleFormat::F16, divided(above[&block_of(group)], SUPER_MAX)).unwrap_or(0.0);
                    let integer = || f64::from(divided(d, upper).min(SUPER_MAX)).round_ties_even() as f32;
                    // Of the integers up to it the greatest under which the largest value is finite.
                    let is_finite = |q: &i32| times(times(*q as f32, upper), largest).is_finite();
                    let held = || (0..=integer() as i32).rev().find(is_finite).unwrap_or(0);
                    if upper == 0.0 { 0.0 } else { times(held() as f32, upper) }
                };
                groups.iter().zip(&steps).map(|(group, &d)| held(group, d)).collect()
            }
            format => {
                let steps = groups.iter().map(|group| divided(greatest(group), largest));
                let held = steps.map(|d| held_scale(format, d).unwrap_or(d));
                held.map(|d| self.finite_under(d, |d| times(largest, d))).collect()
            }
        }
    }

    /// The greatest scale up to `d` under which `top` is a finite F32.
    fn finite_under(&self, d: f32, top: impl Fn(f32) -> f32) -> f32 {
        let below = |d: f32| match self.format {
            ScaleFormat::F32 | ScaleFormat::F16Hier => d.next_down(),
            ScaleFormat::F16 => half::f16::from_bits(half::f16::from_f32(d).to_bits() - 1).to_f32(),
            ScaleFormat::Bf16 => half::bf16::from_bits(half::bf16::from_f32(d).to_bits() - 1).to_f32(),
            ScaleFormat::E8m0 | ScaleFormat::Pow2 => d / 2.0,
        };
        let mut d = d.min(f32::MAX);
        while top(d).is_infinite() {
            d = below(d);
        }
        d
    }

    /// A quotient, or the level that it stands for. Truncation takes the F32 before a level for the level, where the scale
    /// is an F32 that was itself rounded.
    fn kept(&self, rounding: Rounding, quotient: f32, is_level: impl Fn(f32) -> bool) -> f32 {
        let next = if quotient < 0.0 { quotient.next_down() } else { quotient.next_up() };
        let may_lose = rounding == Rounding::Trunc && self.format == ScaleFormat::F32;
        if may_lose && is_level(next) { next } else { quotient }
    }

    /// The whole number of steps that a quotient is rounded to, from `first` to `last`.
    fn whole(&self, rounding: Rounding, quotient: f32, first: f64, last: f64) -> f64 {
        let kept = self.kept(rounding, quotient, |q| q.fract() == 0.0);
        whole(rounding, f64::from(kept)).clamp(first, last)
    }
}

/// The e with 2^e ≤ x < 2^(e+1). Every positive F32 is a normal F64.
fn exponent(x: f32) -> i32 {
    ((f64::from(x).to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// 2^e, with e from `least` to 127.
fn power(e: i32, least: i32) -> f32 {
    2f64.powi(e.clamp(least, 127)) as f32
}

/// The quotient, rounded to F32.
fn divided(a: f32, b: f32) -> f32 {
    (f64::from(a) / f64::from(b)) as f32
}

/// The product, rounded to F32.
fn times(a: f32, b: f32) -> f32 {
    (f64::from(a) * f64::from(b)) as f32
}

/// The sum, rounded to F32.
fn plus(a: f32, b: f32) -> f32 {
    (f64::from(a) + f64::from(b)) as f32
}

/// The greatest magnitude of a group.
fn absmax(values: &[f32], group: &[usize]) -> f32 {
    group.iter().map(|&i| values[i].abs()).fold(0.0, f32::max)
}

/// As [`each`], with the scale of each group.
fn each_scaled(
    values: &[f32],
    groups: &[Vec<usize>],
    steps: &[f32],
    hold: impl Fn(&[usize], f32, &mut dyn FnMut(usize, f32)),
) -> Vec<f32> {
    let mut steps = steps.iter();
    each(values, groups, |group, put| hold(group, steps.next().copied().unwrap_or(f32::NAN), put))
}

/// A copy of `values` in which `hold` has replaced the values of every group.
fn each(values: &[f32], groups: &[Vec<usize>], mut hold: impl FnMut(&[usize], &mut dyn FnMut(usize, f32))) -> Vec<f32> {
    let mut out = values.to_vec();
    for group in groups {
        hold(group, &mut |i, held| out[i] = held);
    }
    out
}

/// Floats with a scale; `d` makes the greatest magnitude of a group the format's largest value.
pub(super) fn scaled_float(
    ladder: &Ladder,
    rounding: Rounding,
    scales: &Scales,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Vec<f32> {
    let largest = ladder.largest() as f32;
    each_scaled(values, groups, &scales.of(values, groups, largest), |group, d, put| {
        for &i in group {
            put(
                i,
                match d == 0.0 {
                    true => 0.0f32.copysign(values[i]),
                    false => {
                        let q = scales.kept(rounding, divided(values[i], d), |q| ladder.cast(Rounding::Trunc, q) == q);
                        times(ladder.cast(rounding, q).clamp(-largest, largest), d)
                    }
                },
            );
        }
    })
}

/// Symmetric integers: q·d with |q| at most 2^(bits − 1) − 1.
pub(super) fn symmetric(
    bits: u8,
    rounding: Rounding,
    scales: &Scales,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Vec<f32> {
    let qmax = f64::from((1u32 << (bits - 1)) - 1);
    each_scaled(values, groups, &scales.of(values, groups, qmax as f32), |group, d, put| {
        for &i in group {
            let q = || scales.whole(rounding, divided(values[i], d), -qmax, qmax);
            // Through an integer: a zero has no sign.
            put(i, if d == 0.0 { 0.0 } else { times(q() as i32 as f32, d) });
        }
    })
}

/// Asymmetric integers: min + q·d with q from 0 to 2^bits − 1. `None` when a group's span is beyond F32.
pub(super) fn asymmetric(
    bits: u8,
    rounding: Rounding,
    scales: &Scales,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Option<Vec<f32>> {
    // The scale is made of a span, and the least value is rounded like it.
    let hold = |d: f32| scales.hold(d).unwrap_or(d);
    scales.hold(1.0)?;
    let qmax = f64::from((1u32 << bits) - 1);
    let ends = |group: &[usize]| {
        let of = |fold: fn(f32, f32) -> f32, start| group.iter().map(|&i| values[i]).fold(start, fold);
        (of(f32::min, f32::INFINITY), of(f32::max, f32::NEG_INFINITY))
    };
    if groups.iter().map(|group| ends(group)).any(|(min, max)| plus(max, -min).is_infinite()) {
        return None;
    }
    Some(each(values, groups, |group, put| {
        let (min, max) = ends(group);
        let span = plus(max, -min);
        let min = hold(min);
        let d = scales.finite_under(hold(divided(span, qmax as f32)), |d| plus(min, times(qmax as f32, d)));
        let steps = |rounding, x: f32| scales.whole(rounding, divided(plus(x, -min), d), 0.0, qmax) as i32 as f32;
        let top = min.abs().max(plus(min, times(qmax as f32, d)).abs());
        if scales.on_grid(values, group, top, d, |x| plus(min, times(steps(Rounding::Rne, x), d))) {
            return;
        }
        for &i in group {
            put(i, plus(min, times(if d == 0.0 { 0.0 } else { steps(rounding, values[i]) }, d)));
        }
    }))
}

/// Integers with a zero point: (q − z)·d with q and z from 0 to 2^bits − 1. `None` when a group's span is beyond F32.
pub(super) fn zero_point(
    bits: u8,
    rounding: Rounding,
    scales: &Scales,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Option<Vec<f32>> {
    // The scale is made of a span, and the least value is rounded like it.
    let hold = |d: f32| scales.hold(d).unwrap_or(d);
    scales.hold(1.0)?;
    let qmax = f64::from((1u32 << bits) - 1);
    let ends = |group: &[usize]| {
        let of = |fold: fn(f32, f32) -> f32| group.iter().map(|&i| values[i]).fold(0.0, fold);
        (of(f32::min), of(f32::max))
    };
    if groups.iter().map(|group| ends(group)).any(|(least, greatest)| plus(greatest, -least).is_infinite()) {
        return None;
    }
    Some(each(values, groups, |group, put| {
        let (least, greatest) = ends(group);
        let zero = |d: f32| f64::from(divided(-least, d)).min(qmax).round_ties_even();
        let farthest = |d: f32| if d == 0.0 { 0.0 } else { times(zero(d).max(qmax - zero(d)) as f32, d) };
        let d = scales.finite_under(hold(divided(plus(greatest, -least), qmax as f32)), farthest);
        let z = || zero(d);
        // The stored code, between 0 and qmax, less the stored zero.
        let steps = |rounding, x: f32| scales.whole(rounding, divided(x, d), -z(), qmax - z()) as i32 as f32;
        if scales.on_grid(values, group, farthest(d), d, |x| times(steps(Rounding::Rne, x), d)) {
            return;
        }
        for &i in group {
            put(i, if d == 0.0 { 0.0 } else { times(steps(rounding, values[i]), d) });
        }
    }))
}

/// Integers over the full range of two's complement: q·d with q from −2^(bits − 1) to 2^(bits − 1) − 1, where the value of
/// greatest magnitude becomes the negative end.
pub(super) fn full_range(
    bits: u8,
    rounding: Rounding,
    scales: &Scales,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Vec<f32> {
    let levels = f64::from(1u32 << (bits - 1));
    each_scaled(values, groups, &scales.of(values, groups, levels as f32), |group, magnitude, put| {
        let greatest = absmax(values, group);
        // The positive one of two of equal magnitude decides.
        let positive = group.iter().any(|&i| values[i] == greatest);
        let d = if positive { -magnitude } else { magnitude };
        for &i in group {
            let q = || scales.whole(rounding, divided(values[i], d), -levels, levels - 1.0);
            // Zero without a sign: through an integer, and not by a negative step.
            put(i, if d == 0.0 || q() == 0.0 { 0.0 } else { times(q() as i32 as f32, d) });
        }
    })
}

/// Codebooks: the nearest entry times d, which makes the greatest magnitude of a group the entry farthest from zero.
pub(super) fn codebook(entries: &[f32], scales: &Scales, values: &[f32], groups: &[Vec<usize>]) -> Vec<f32> {
    let (first, last) = (entries[0], entries[entries.len() - 1]);
    let extreme = if -first > last { first } else { last };
    let symmetric = entries.contains(&-extreme);
    each_scaled(values, groups, &scales.of(values, groups, extreme.abs()), |group, d, put| {
        let greatest = absmax(values, group);
        // The positive one of two of equal magnitude decides.
        let positive = group.iter().any(|&i| values[i] == greatest);
        let d = if symmetric || positive == (extreme > 0.0) { d } else { -d };
        for &i in group {
            put(i, if d == 0.0 { 0.0 } else { times(entries[nearest(entries, divided(values[i], d))], d) });
        }
    })
}

/// The index of the nearest entry; of two that are as near, the even one.
fn nearest(entries: &[f32], q: f32) -> usize {
    let (low, high) = (f64::from(entries[0]), f64::from(entries[entries.len() - 1]));
    let q = f64::from(q).clamp(low, high);
    let distance = |i: usize| (f64::from(entries[i]) - q).abs();
    (0..entries.len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a % 2).cmp(&(b % 2)))).unwrap_or(0)
}

/// NVFP4 by NVIDIA's two levels of scales: an E4M3 scale for 16 values and an F32 scale for the tensor.
pub(super) fn nvfp4(values: &[f32], n_per_row: usize) -> Vec<f32> {
    let (Some(e2m1), Some(e4m3)) = (Ladder::of(ExMy::FP4_E2M1), Ladder::of(ExMy::FP8_E4M3)) else { return Vec::new() };
    let greatest = values.iter().map(|x| x.abs()).fold(0.0, f32::max);
    let encode = if greatest == 0.0 { 1.0 } else { divided(6.0 * 448.0, greatest).min(f32::MAX) };
    let decode = divided(1.0, encode);
    let block = |block: &[f32]| -> Vec<f32> {
        let absmax = block.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let s = e4m3.cast(Rounding::Rne, times(divided(absmax, 6.0), encode));
        if s == 0.0 {
            return block.iter().map(|&x| 0.0f32.copysign(x)).collect();
        }
        let factor = divided(1.0, times(s, decode)).min(f32::MAX);
        let level =
            |x: f32| times(times(e2m1.cast(Rounding::Rne, times(x, factor).clamp(f32::MIN, f32::MAX)), s), decode);
        // What lies on levels, up to the rounding of the factors, stays as it is.
        let on_grid = block.iter().all(|&x| plus(level(x), -x).abs() <= times(x.abs(), 2f32.powi(-21)));
        block.iter().map(|&x| if on_grid { x } else { level(x) }).collect()
    };
    values.chunks(n_per_row).flat_map(|row| row.chunks(16).flat_map(block)).collect()
}
