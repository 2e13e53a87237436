//! The scale of a group in its obvious form: how its range is chosen, and how it is rounded to its own format.

use super::Element;
use super::float::cast;
use crate::format::codebook::extreme;
use crate::format::{ExMy, Rounding, ScaleFormat};
use crate::scheme::{Clip, Granularity};

/// The scale of one group under every rule for its range.
pub(super) fn clipped_scale(
    element: &Element<'_>,
    scale: ScaleFormat,
    clip: Clip,
    values: &[f32],
    group: &[usize],
) -> f32 {
    let finite: Vec<usize> = group.iter().copied().filter(|&i| values[i].is_finite()).collect();
    let min = finite.iter().map(|&i| values[i]).fold(0.0, f32::min);
    let max = finite.iter().map(|&i| values[i]).fold(0.0, f32::max);
    match clip {
        Clip::Absmax => group_scale(element, scale, min, max),
        Clip::Quantile(percent) => {
            let mut magnitudes: Vec<f32> = finite.iter().map(|&i| values[i].abs()).collect();
            magnitudes.sort_by(f32::total_cmp);
            let rank = (percent / 100.0 * magnitudes.len() as f64).ceil() as usize;
            let limit = magnitudes.get(rank.max(1) - 1).copied().unwrap_or(0.0);
            group_scale(element, scale, min.max(-limit), max.min(limit))
        }
        Clip::Mse => {
            let tried = |k: u32| {
                let share = k as f32 / 100.0;
                let d = group_scale(element, scale, min * share, max * share);
                let mut error = 0.0;
                for &i in &finite {
                    error += (f64::from(values[i]) - f64::from(element.hold(values[i], Some(d), i))).powi(2);
                }
                (error, d)
            };
            (1..100).rev().map(tried).fold(tried(100), |best, next| if next.0 < best.0 { next } else { best }).1
        }
    }
}

pub(super) fn group_scale(element: &Element<'_>, scale: ScaleFormat, min: f32, max: f32) -> f32 {
    let absmax = max.max(-min);
    let exponent = |x: f32| {
        let mut e = -149;
        while e < 127 && 2f64.powi(e + 1) <= f64::from(x) {
            e += 1;
        }
        e
    };
    let d = match scale {
        _ if absmax == 0.0 => 0.0,
        ScaleFormat::E8m0 => {
            let fraction_bits = if let Element::Int { fraction_bits, .. } = element { *fraction_bits } else { 0 };
            let stored = exponent(absmax) - (exponent(element.largest()) - fraction_bits);
            2f64.powi(stored.clamp(-127, 127) - fraction_bits) as f32
        }
        _ => held_within(scale, absmax / element.largest(), |d| d * element.largest()),
    };
    match element {
        Element::Entry(entries) if !entries.contains(&-extreme(entries)) => {
            let to_extreme = if max >= -min { max } else { min };
            if (to_extreme < 0.0) == (extreme(entries) < 0.0) { d } else { -d }
        }
        // The extreme level is −qmax.
        Element::FullRange { .. } => {
            if max >= -min {
                -d
            } else {
                d
            }
        }
        _ => d,
    }
}

pub(super) fn held_scale(scale: ScaleFormat, d: f32) -> f32 {
    let saturated = |format: ExMy| cast(format, Rounding::Rne, d).clamp(-format.largest(), format.largest());
    match scale {
        ScaleFormat::F32 | ScaleFormat::F16Hier => d,
        ScaleFormat::F16 => saturated(ExMy::F16),
        ScaleFormat::Bf16 => saturated(ExMy::BF16),
        ScaleFormat::E8m0 | ScaleFormat::Pow2 if d == 0.0 => 0.0,
        ScaleFormat::E8m0 | ScaleFormat::Pow2 => {
            (-126..127).map(|e| 2f64.powi(e) as f32).find(|&p| p >= d).unwrap_or(2f32.powi(127))
        }
    }
}

/// The greatest scale of the format, up to the rounded `d`, under which `top(scale)` is finite.
pub(super) fn held_within(scale: ScaleFormat, d: f32, top: impl Fn(f32) -> f32) -> f32 {
    let all_below = |format: ExMy, held: f32| {
        let below = (0..=format.largest_code()).map(|code| format.decode(code) as f32).filter(|&value| value < held);
        below.fold(0.0, f32::max)
    };
    let mut held = held_scale(scale, d.min(f32::MAX));
    while !top(held).is_finite() {
        held = match scale {
            ScaleFormat::F32 | ScaleFormat::F16Hier => f32::from_bits(held.to_bits() - 1),
            ScaleFormat::F16 => all_below(ExMy::F16, held),
            ScaleFormat::Bf16 => all_below(ExMy::BF16, held),
            ScaleFormat::E8m0 | ScaleFormat::Pow2 => held / 2.0,
        };
    }
    held
}

/// `scale=f16hier`: a super-block stores the greatest of its blocks' scales over 63 in F16, and each block the nearest
/// multiple of that. A block belongs to the super-block in which it begins.
pub(super) fn hold_in_two_levels(
    groups: &[Vec<usize>],
    steps: &mut [Option<f32>],
    of: Option<Granularity>,
    n_per_row: usize,
    largest: f32,
) {
    let Some(Granularity::Block(n)) = of else { return };
    let n_per_super = (256 / n.get() as usize).max(1) * n.get() as usize;
    let place = |group: &Vec<usize>| (group[0] / n_per_row, group[0] % n_per_row / n_per_super);
    let known: Vec<f32> = steps.iter().map(|d| d.unwrap_or(0.0)).collect();
    for (group, d) in groups.iter().zip(steps) {
        let alike = groups.iter().zip(&known).filter(|(other, _)| place(other) == place(group));
        let above = held_scale(ScaleFormat::F16, alike.fold(0.0, |m, (_, &d)| f32::max(m, d)) / 63.0);
        *d = d.map(|d| {
            let mut q = if above == 0.0 { 0.0 } else { (d / above).round_ties_even().min(63.0) };
            while (q * above * largest).is_infinite() {
                q -= 1.0;
            }
            q * above
        });
    }
}
