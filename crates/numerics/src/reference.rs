//! Every scheme of our own in its obvious form: one thread, one value at a time, nothing clever.
//! Slow, and there to be compared with; ggml's types are not here, since ggml is their definition.

use crate::clip::Clip;
use crate::codebook::extreme;
use crate::control;
use crate::exmy::{ExMy, Specials};
use crate::fake_quantize::{FakeQuantError, TensorContext};
use crate::groups::Piece;
use crate::mx::{MX_BLCK_SIZE, MxElement};
use crate::nvfp4::NVFP4_BLCK_SIZE;
use crate::rounding::{Rounding, RoundingMode};
use crate::scale::ScaleFormat;
use crate::scheme::{Format, Granularity, Scheme, Symmetry};
use crate::stream::Draws;

/// [`Scheme::fake_quantize`], the plain way. `None` for ggml's types.
///
/// # Errors
/// As [`Scheme::fake_quantize`].
pub fn fake_quantize(
    scheme: &Scheme,
    values: &[f32],
    ctx: &TensorContext<'_>,
) -> Result<Option<Vec<f32>>, FakeQuantError> {
    let mut out = values.to_vec();
    if values.is_empty() || scheme.format() == Format::Identity {
        return Ok(Some(out));
    }
    ctx.rows(values.len())?;
    scheme.set_aside_nonfinite(&mut out, ctx.name, 0)?;
    let granularity = match scheme.format() {
        Format::Mx { .. } => Some(Granularity::block(MX_BLCK_SIZE)),
        Format::Nvfp4 { .. } => Some(Granularity::block(NVFP4_BLCK_SIZE)),
        _ => scheme.granularity(),
    };
    let element = match scheme.format() {
        Format::Minifloat { exmy, rounding } => Element::Float(exmy, Roll::new(rounding, ctx)),
        Format::Int { bits, symmetry: Symmetry::Sym, rounding } => {
            Element::Int { qmax: (1 << (bits - 1)) - 1, fraction_bits: 0, roll: Roll::new(rounding, ctx) }
        }
        Format::Mx { format, rounding } => match format.element {
            MxElement::Float(float) => Element::Float(float, Roll::new(rounding, ctx)),
            MxElement::Int8 => Element::Int { qmax: 127, fraction_bits: 6, roll: Roll::new(rounding, ctx) },
        },
        Format::Int { bits, symmetry: Symmetry::FullRange, rounding } => {
            Element::FullRange { qmax: 1 << (bits - 1), roll: Roll::new(rounding, ctx) }
        }
        Format::Int { bits, symmetry: Symmetry::ZeroPoint, rounding } => {
            let roll = Roll::new(rounding, ctx);
            for group in groups(granularity, values.len(), ctx.n_per_row) {
                zero_point(bits, scheme.scale(), roll, values, &group, &mut out, ctx)?;
            }
            return Ok(Some(restored(values, out)));
        }
        Format::Codebook(codebook) => Element::Entry(codebook.entries),
        Format::Table => Element::Entry(scheme.table().ok_or_else(|| scheme.not_read(ctx.name))?.entries()),
        Format::Int { bits, symmetry: Symmetry::Asym, rounding } => {
            let roll = Roll::new(rounding, ctx);
            for group in groups(granularity, values.len(), ctx.n_per_row) {
                asymmetric(bits, scheme.scale(), roll, values, &group, &mut out, ctx)?;
            }
            return Ok(Some(restored(values, out)));
        }
        Format::Nvfp4 { rounding } => {
            nvfp4(values, ctx, Roll::new(rounding, ctx), &mut out);
            return Ok(Some(restored(values, out)));
        }
        Format::Zero => return Ok(Some(restored(values, vec![0.0; values.len()]))),
        // Their definition is the stream itself: there is no other way to write it down.
        Format::Jitter { seed } => {
            control::jitter(seed, ctx.name, &mut out, 0);
            return Ok(Some(restored(values, out)));
        }
        Format::Noise { sqnr_db, seed } => {
            let granularity = granularity.unwrap_or(Granularity::Tensor);
            control::noise(sqnr_db, seed, granularity, ctx.name, &mut out, Piece::whole(ctx.n_per_row));
            return Ok(Some(restored(values, out)));
        }
        Format::Shuffle { seed } => {
            let granularity = granularity.unwrap_or(Granularity::Tensor);
            control::shuffle(seed, granularity, ctx.name, &mut out, Piece::whole(ctx.n_per_row));
            return Ok(Some(restored(values, out)));
        }
        Format::Identity => return Ok(Some(out)),
        Format::Ggml(_) => return Ok(None),
    };
    let scale = match scheme.format() {
        Format::Mx { .. } => ScaleFormat::E8m0,
        _ => scheme.scale(),
    };
    let groups = groups(granularity, values.len(), ctx.n_per_row);
    let computed = groups.iter().map(|group| clipped_scale(&element, scale, scheme.clip(), values, group));
    let mut steps: Vec<Option<f32>> = computed.map(|d| granularity.map(|_| d)).collect();
    if scale == ScaleFormat::F16Hier {
        hold_in_two_levels(&groups, &mut steps, granularity, ctx.n_per_row);
    }
    for (group, d) in groups.iter().zip(steps) {
        for &i in group {
            out[i] = element.hold(values[i], d, i);
        }
    }
    Ok(Some(restored(values, out)))
}

/// `scale=f16hier`: of the blocks that begin in the same super-block of a row, the greatest scale over 63 in F16, and
/// the nearest multiple of that for each.
fn hold_in_two_levels(groups: &[Vec<usize>], steps: &mut [Option<f32>], of: Option<Granularity>, n_per_row: usize) {
    let Some(Granularity::Block(n)) = of else { return };
    let n_per_super = (256 / n.get() as usize).max(1) * n.get() as usize;
    let place = |group: &Vec<usize>| (group[0] / n_per_row, group[0] % n_per_row / n_per_super);
    let known: Vec<f32> = steps.iter().map(|d| d.unwrap_or(0.0)).collect();
    for (group, d) in groups.iter().zip(steps) {
        let alike = groups.iter().zip(&known).filter(|(other, _)| place(other) == place(group));
        let above = held_scale(ScaleFormat::F16, alike.fold(0.0, |m, (_, &d)| f32::max(m, d)) / 63.0);
        *d = d.map(|d| if above == 0.0 { 0.0 } else { (d / above).round_ties_even().min(63.0) * above });
    }
}

/// Non-finite values stay what they were.
fn restored(values: &[f32], out: Vec<f32>) -> Vec<f32> {
    values.iter().zip(out).map(|(&x, y)| if x.is_finite() { y } else { x }).collect()
}

/// What values are held in, once they are divided by their scale.
enum Element<'a> {
    Float(ExMy, Roll),
    /// Whole steps; the scale that is stored is 2^fraction_bits of them.
    Int {
        qmax: i32,
        fraction_bits: i32,
        roll: Roll,
    },
    /// Whole steps of a step with a sign, one more below than above.
    FullRange {
        qmax: i32,
        roll: Roll,
    },
    Entry(&'a [f32]),
}

impl Element<'_> {
    /// Greatest magnitude.
    fn largest(&self) -> f32 {
        match self {
            Element::Float(exmy, _) => exmy.largest(),
            Element::Int { qmax, .. } | Element::FullRange { qmax, .. } => *qmax as f32,
            Element::Entry(entries) => extreme(entries).abs(),
        }
    }

    /// x over d, to the nearest element, times d; with no scale, the nearest element.
    fn hold(&self, x: f32, d: Option<f32>, place: usize) -> f32 {
        match self {
            Element::Float(exmy, roll) => match d {
                None => roll.float(*exmy, x, place),
                Some(0.0) => 0.0f32.copysign(x),
                Some(d) => {
                    let q = roll.float(*exmy, x / d, place);
                    q.clamp(-exmy.largest(), exmy.largest()) * d
                }
            },
            Element::Int { qmax, roll, .. } => match d {
                None | Some(0.0) => 0.0,
                Some(d) => {
                    let steps = f64::from(x / d).clamp(-f64::from(*qmax), f64::from(*qmax));
                    roll.integer(steps, place) as i32 as f32 * d
                }
            },
            Element::FullRange { qmax, roll } => match d {
                None | Some(0.0) => 0.0,
                Some(d) => {
                    let steps = f64::from(x / d).clamp(-f64::from(*qmax), f64::from(*qmax - 1));
                    // Zero is +0 whatever the signs.
                    roll.integer(steps, place) as i32 as f32 * d + 0.0
                }
            },
            Element::Entry(entries) => match d {
                None | Some(0.0) => 0.0,
                Some(d) => nearest_entry(entries, x / d) * d,
            },
        }
    }
}

/// The rounding, with the draws of stochastic rounding.
#[derive(Clone, Copy)]
struct Roll {
    mode: RoundingMode,
    draws: Draws,
}

impl Roll {
    fn new(mode: RoundingMode, ctx: &TensorContext<'_>) -> Roll {
        let seed = match mode {
            RoundingMode::Stochastic { seed } => seed,
            RoundingMode::Value(_) => 0,
        };
        Roll { mode, draws: Draws::new(seed, ctx.name) }
    }

    /// Whether a magnitude that lies `fraction` of the way from one level to the next, of which the
    /// first is `even` or not, goes to the next.
    fn goes_up(self, fraction: f64, even: bool, place: usize) -> bool {
        match self.mode {
            RoundingMode::Value(Rounding::Rne) => fraction > 0.5 || (fraction == 0.5 && !even),
            RoundingMode::Value(Rounding::Trunc) => false,
            RoundingMode::Value(Rounding::Away) => fraction >= 0.5,
            RoundingMode::Stochastic { .. } => self.draws.unit(place) < fraction,
        }
    }

    fn integer(self, s: f64, place: usize) -> f64 {
        let below = s.abs().floor();
        let up = self.goes_up(s.abs() - below, below % 2.0 == 0.0, place);
        (below + f64::from(u8::from(up))).copysign(s)
    }

    /// The codes of a sign ascend with their values, so the two around x are found by halving.
    fn float(self, exmy: ExMy, x: f32, place: usize) -> f32 {
        let magnitude = f64::from(x.abs());
        let last = exmy.largest_code();
        let (mut low, mut high) = (0u32, last + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if exmy.decode(middle) <= magnitude { low = middle } else { high = middle }
        }
        let (below, above) = (exmy.decode(low), exmy.decode(low + 1));
        let fraction = (magnitude - below) / (above - below);
        // Beyond the largest code the format is thought to go on for one more.
        let code =
            if fraction >= 1.0 { last + 1 } else { low + u32::from(self.goes_up(fraction, low % 2 == 0, place)) };
        let overflows = code > last && self.mode != RoundingMode::Value(Rounding::Trunc);
        let value = match exmy.specials() {
            Specials::Ieee if overflows => f64::INFINITY,
            _ => exmy.decode(code.min(last)),
        };
        (value as f32).copysign(x)
    }
}

/// [`ExMy::cast`], the plain way.
pub fn cast(format: ExMy, rounding: Rounding, x: f32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    Roll { mode: RoundingMode::Value(rounding), draws: Draws::new(0, "") }.float(format, x, 0)
}

fn nearest_entry(entries: &[f32], q: f32) -> f32 {
    // By middles, which are exact in f64 unless entries lie more than 2^28 apart; distances are not for a q near zero.
    let mut best = 0;
    for (i, pair) in entries.windows(2).enumerate() {
        let middle = (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
        if f64::from(q) > middle || (f64::from(q) == middle && i % 2 == 1) {
            best = i + 1;
        }
    }
    entries[best]
}

/// The scale of one group under every way of choosing its range.
fn clipped_scale(element: &Element<'_>, scale: ScaleFormat, clip: Clip, values: &[f32], group: &[usize]) -> f32 {
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

fn group_scale(element: &Element<'_>, scale: ScaleFormat, min: f32, max: f32) -> f32 {
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
        _ => held_scale(scale, absmax / element.largest()),
    };
    match element {
        Element::Entry(entries) if !entries.contains(&-extreme(entries)) => {
            let to_extreme = if max >= -min { max } else { min };
            if (to_extreme < 0.0) == (extreme(entries) < 0.0) { d } else { -d }
        }
        // Its extreme is −qmax.
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

fn held_scale(scale: ScaleFormat, d: f32) -> f32 {
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

fn asymmetric(
    bits: u8,
    scale: ScaleFormat,
    roll: Roll,
    values: &[f32],
    group: &[usize],
    out: &mut [f32],
    ctx: &TensorContext<'_>,
) -> Result<(), FakeQuantError> {
    let qmax = ((1u32 << bits) - 1) as f32;
    let finite = || group.iter().map(|&i| values[i]).filter(|x| x.is_finite());
    let (min, max) = match finite().next() {
        None => return Ok(()),
        Some(_) => (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max)),
    };
    if (max - min).is_infinite() {
        return Err(FakeQuantError::RangeOverflow { tensor: ctx.name.to_owned(), min, max });
    }
    let (d, min) = (held_scale(scale, (max - min) / qmax), held_scale(scale, min));
    for &i in group {
        let steps = if d == 0.0 { 0.0 } else { f64::from((values[i] - min) / d).clamp(0.0, f64::from(qmax)) };
        out[i] = min + roll.integer(steps, i) as f32 * d;
    }
    Ok(())
}

fn zero_point(
    bits: u8,
    scale: ScaleFormat,
    roll: Roll,
    values: &[f32],
    group: &[usize],
    out: &mut [f32],
    ctx: &TensorContext<'_>,
) -> Result<(), FakeQuantError> {
    let qmax = f64::from((1u32 << bits) - 1);
    let finite = || group.iter().map(|&i| values[i]).filter(|x| x.is_finite());
    let (least, greatest) = (finite().fold(0.0, f32::min), finite().fold(0.0, f32::max));
    if (greatest - least).is_infinite() {
        let (min, max) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        return Err(FakeQuantError::RangeOverflow { tensor: ctx.name.to_owned(), min, max });
    }
    let d = held_scale(scale, (greatest - least) / qmax as f32);
    let z = if d == 0.0 { 0.0 } else { f64::from(-least / d).min(qmax).round_ties_even() };
    for &i in group {
        let steps = if d == 0.0 { 0.0 } else { f64::from(values[i] / d).clamp(-z, qmax - z) };
        // A zero is +0 whatever the sign of what became one.
        out[i] = roll.integer(steps, i) as f32 * d + 0.0;
    }
    Ok(())
}

fn nvfp4(values: &[f32], ctx: &TensorContext<'_>, roll: Roll, out: &mut [f32]) {
    let absmax =
        |part: &mut dyn Iterator<Item = f32>| part.filter(|x| x.is_finite()).fold(0.0f32, |m, x| m.max(x.abs()));
    let tensor_absmax = absmax(&mut values.iter().copied());
    let s_enc = if tensor_absmax == 0.0 { 1.0 } else { (6.0 * 448.0 / tensor_absmax).min(f32::MAX) };
    let s_dec = 1.0 / s_enc;
    for block in groups(Some(Granularity::block(NVFP4_BLCK_SIZE)), values.len(), ctx.n_per_row) {
        let block_absmax = absmax(&mut block.iter().map(|&i| values[i]));
        let s = cast(ExMy::FP8_E4M3, Rounding::Rne, block_absmax / 6.0 * s_enc);
        for i in block {
            out[i] = if s == 0.0 {
                0.0f32.copysign(values[i])
            } else {
                roll.float(ExMy::FP4_E2M1, values[i] * (1.0 / (s * s_dec)).min(f32::MAX), i) * s * s_dec
            };
        }
    }
}

/// Which values share a scale, as lists of their places; each alone where there is none.
fn groups(granularity: Option<Granularity>, n: usize, n_per_row: usize) -> Vec<Vec<usize>> {
    let mut groups = std::collections::BTreeMap::<(usize, usize), Vec<usize>>::new();
    for i in 0..n {
        let (row, col) = (i / n_per_row, i % n_per_row);
        let group = match granularity {
            None => (i, 0),
            Some(Granularity::Tensor) => (0, 0),
            Some(Granularity::Row) => (row, 0),
            Some(Granularity::Col) => (0, col),
            Some(Granularity::Block(b)) => (row, col / b.get() as usize),
            Some(Granularity::Tile { rows, cols }) => (row / rows.get() as usize, col / cols.get() as usize),
        };
        groups.entry(group).or_default().push(i);
    }
    groups.into_values().collect()
}
