//! Formats with scales, one group of values at a time.

use super::{Ladder, held_scale, whole};
use numerics::{ExMy, Granularity, Rounding, ScaleFormat};
use std::collections::BTreeMap;

/// Which values share a scale, as lists of their places; `None` where there is no granularity.
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

/// A scale format that can be written down here.
#[derive(Clone, Copy)]
pub(super) struct Scale(ScaleFormat);

impl Scale {
    pub(super) fn of(format: ScaleFormat) -> Option<Scale> {
        held_scale(format, 1.0).map(|_| Scale(format))
    }

    fn hold(self, d: f32) -> f32 {
        held_scale(self.0, d).unwrap_or(d)
    }
}

fn divided(a: f32, b: f32) -> f32 {
    (f64::from(a) / f64::from(b)) as f32
}

fn times(a: f32, b: f32) -> f32 {
    (f64::from(a) * f64::from(b)) as f32
}

fn plus(a: f32, b: f32) -> f32 {
    (f64::from(a) + f64::from(b)) as f32
}

fn absmax(values: &[f32], group: &[usize]) -> f32 {
    group.iter().map(|&i| values[i].abs()).fold(0.0, f32::max)
}

/// `hold(value, group)` for every value of every group, in place.
fn each(values: &[f32], groups: &[Vec<usize>], mut hold: impl FnMut(&[usize], &mut dyn FnMut(usize, f32))) -> Vec<f32> {
    let mut out = values.to_vec();
    for group in groups {
        hold(group, &mut |i, held| out[i] = held);
    }
    out
}

pub(super) fn scaled_float(
    ladder: &Ladder,
    rounding: Rounding,
    scale: Scale,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Vec<f32> {
    let largest = ladder.largest() as f32;
    each(values, groups, |group, put| {
        let d = scale.hold(divided(absmax(values, group), largest));
        for &i in group {
            put(
                i,
                match d == 0.0 {
                    true => 0.0f32.copysign(values[i]),
                    false => times(ladder.cast(rounding, divided(values[i], d)).clamp(-largest, largest), d),
                },
            );
        }
    })
}

pub(super) fn symmetric(bits: u8, rounding: Rounding, scale: Scale, values: &[f32], groups: &[Vec<usize>]) -> Vec<f32> {
    let qmax = f64::from((1u32 << (bits - 1)) - 1);
    each(values, groups, |group, put| {
        let d = scale.hold(divided(absmax(values, group), qmax as f32));
        for &i in group {
            let q = || whole(rounding, f64::from(divided(values[i], d)).clamp(-qmax, qmax));
            // Through an integer: a zero has no sign.
            put(i, if d == 0.0 { 0.0 } else { times(q() as i32 as f32, d) });
        }
    })
}

/// `None` when a group's span is beyond F32.
pub(super) fn asymmetric(
    bits: u8,
    rounding: Rounding,
    scale: Scale,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Option<Vec<f32>> {
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
        let d = scale.hold(divided(plus(max, -min), qmax as f32));
        let min = scale.hold(min);
        for &i in group {
            let q = || whole(rounding, f64::from(divided(plus(values[i], -min), d)).clamp(0.0, qmax));
            let steps = if d == 0.0 { 0.0 } else { q() as i32 as f32 };
            put(i, plus(min, times(steps, d)));
        }
    }))
}

/// `None` when a group's span is beyond F32.
pub(super) fn zero_point(
    bits: u8,
    rounding: Rounding,
    scale: Scale,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Option<Vec<f32>> {
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
        let d = scale.hold(divided(plus(greatest, -least), qmax as f32));
        let z = || f64::from(divided(-least, d)).min(qmax).round_ties_even();
        for &i in group {
            // The stored code, between 0 and qmax, less the stored zero.
            let steps = || (whole(rounding, f64::from(divided(values[i], d))) + z()).clamp(0.0, qmax) - z();
            put(i, if d == 0.0 { 0.0 } else { times(steps() as i32 as f32, d) });
        }
    }))
}

pub(super) fn full_range(
    bits: u8,
    rounding: Rounding,
    scale: Scale,
    values: &[f32],
    groups: &[Vec<usize>],
) -> Vec<f32> {
    let levels = f64::from(1u32 << (bits - 1));
    each(values, groups, |group, put| {
        let greatest = absmax(values, group);
        // The positive one of two of equal magnitude decides.
        let positive = group.iter().any(|&i| values[i] == greatest);
        let magnitude = scale.hold(divided(greatest, levels as f32));
        let d = if positive { -magnitude } else { magnitude };
        for &i in group {
            let q = || whole(rounding, f64::from(divided(values[i], d))).clamp(-levels, levels - 1.0);
            // Zero without a sign: through an integer, and not by a negative step.
            put(i, if d == 0.0 || q() == 0.0 { 0.0 } else { times(q() as i32 as f32, d) });
        }
    })
}

pub(super) fn codebook(entries: &[f32], scale: Scale, values: &[f32], groups: &[Vec<usize>]) -> Vec<f32> {
    let (first, last) = (entries[0], entries[entries.len() - 1]);
    let extreme = if -first > last { first } else { last };
    let symmetric = entries.contains(&-extreme);
    each(values, groups, |group, put| {
        let greatest = absmax(values, group);
        // The positive one of two of equal magnitude decides.
        let positive = group.iter().any(|&i| values[i] == greatest);
        let d = scale.hold(divided(greatest, extreme.abs()));
        let d = if symmetric || positive == (extreme > 0.0) { d } else { -d };
        for &i in group {
            put(i, if d == 0.0 { 0.0 } else { times(entries[nearest(entries, divided(values[i], d))], d) });
        }
    })
}

/// Index of the nearest entry, of two as near the even one.
fn nearest(entries: &[f32], q: f32) -> usize {
    let (low, high) = (f64::from(entries[0]), f64::from(entries[entries.len() - 1]));
    let q = f64::from(q).clamp(low, high);
    let distance = |i: usize| (f64::from(entries[i]) - q).abs();
    (0..entries.len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a % 2).cmp(&(b % 2)))).unwrap_or(0)
}

/// NVIDIA's two levels: an E4M3 scale for 16 values, an F32 scale for the tensor.
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
        block
            .iter()
            .map(|&x| times(times(e2m1.cast(Rounding::Rne, times(x, factor).clamp(f32::MIN, f32::MAX)), s), decode))
            .collect()
    };
    values.chunks(n_per_row).flat_map(|row| row.chunks(16).flat_map(block)).collect()
}
