//! Every scheme of our own in its obvious form: one thread, one value at a time, nothing clever.
//! Slow, and there to be compared with; ggml's types are not here, since ggml is their definition.

use crate::control;
use crate::fake_quantize::{FakeQuantError, TensorContext};
use crate::minifloat::{Minifloat, Rounding};
use crate::scheme::{Format, Granularity, Scheme, Symmetry};

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
    scheme.set_aside_nonfinite(&mut out, ctx)?;
    let groups = match scheme.granularity() {
        None => (0..values.len()).map(|i| vec![i]).collect(),
        Some(granularity) => group_indices(granularity, values.len(), ctx.n_per_row),
    };
    match scheme.format() {
        Format::Minifloat { minifloat, rounding } => {
            for group in groups {
                let finite = group.iter().map(|&i| values[i]).filter(|x| x.is_finite());
                let absmax = finite.fold(0.0f32, |m, x| m.max(x.abs()));
                let d = absmax / minifloat.largest();
                for i in group {
                    out[i] = match scheme.granularity() {
                        _ if !values[i].is_finite() => values[i],
                        None => cast(minifloat, rounding, values[i]),
                        Some(_) if d == 0.0 => 0.0f32.copysign(values[i]),
                        Some(_) => {
                            let q = values[i] / d;
                            let cast = cast(minifloat, rounding, q);
                            let saturated = if cast.is_infinite() { minifloat.largest().copysign(q) } else { cast };
                            saturated * d
                        }
                    };
                }
            }
        }
        Format::Int { bits, symmetry } => {
            for group in groups {
                let finite: Vec<f32> = group.iter().map(|&i| values[i]).filter(|x| x.is_finite()).collect();
                for i in group {
                    out[i] = match symmetry {
                        _ if !values[i].is_finite() => values[i],
                        Symmetry::Sym => symmetric(bits, &finite, values[i]),
                        Symmetry::Asym => asymmetric(bits, &finite, values[i], ctx)?,
                    };
                }
            }
        }
        Format::Zero => out.iter_mut().filter(|x| x.is_finite()).for_each(|x| *x = 0.0),
        // Their definition is the stream itself: there is no other way to write it down.
        Format::Jitter { seed } => control::jitter(seed, ctx.name, &mut out),
        Format::Noise { sqnr_db, seed } => {
            let granularity = scheme.granularity().unwrap_or(Granularity::Tensor);
            control::noise(sqnr_db, seed, granularity, ctx.name, &mut out, ctx.n_per_row);
        }
        Format::Identity => {}
        Format::Ggml(_) => return Ok(None),
    }
    Ok(Some(out))
}

/// x to the nearest multiple of the format's spacing at x, in f64, where every step is exact.
pub fn cast(format: Minifloat, rounding: Rounding, x: f32) -> f32 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let wide = f64::from(x);
    let exponent = wide.abs().log2().floor() as i32;
    // log2 may be off by one next to a power of two.
    let exponent =
        exponent + i32::from(wide.abs() >= 2f64.powi(exponent + 1)) - i32::from(wide.abs() < 2f64.powi(exponent));
    let spacing = 2f64.powi(exponent.max(format.min_exponent()) - format.mantissa_bits() as i32);
    let steps = wide / spacing;
    let largest = f64::from(format.largest());
    let rounded = match rounding {
        Rounding::Rne => steps.round_ties_even() * spacing,
        Rounding::Trunc => (steps.trunc() * spacing).clamp(-largest, largest),
    };
    let rounded = if rounded.abs() > largest { f64::INFINITY.copysign(rounded) } else { rounded };
    (rounded as f32).copysign(x)
}

fn symmetric(bits: u8, group: &[f32], x: f32) -> f32 {
    let qmax = ((1 << (bits - 1)) - 1) as f32;
    let absmax = group.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let d = absmax / qmax;
    if d == 0.0 {
        return 0.0;
    }
    let q = (x / d).round_ties_even().clamp(-qmax, qmax) as i32;
    q as f32 * d
}

fn asymmetric(bits: u8, group: &[f32], x: f32, ctx: &TensorContext<'_>) -> Result<f32, FakeQuantError> {
    let qmax = ((1u32 << bits) - 1) as f32;
    let min = group.iter().copied().fold(f32::INFINITY, f32::min);
    let max = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if (max - min).is_infinite() {
        return Err(FakeQuantError::RangeOverflow { tensor: ctx.name.to_owned(), min, max });
    }
    let d = (max - min) / qmax;
    let q = if d == 0.0 { 0 } else { ((x - min) / d).round_ties_even().clamp(0.0, qmax) as i32 };
    Ok(min + q as f32 * d)
}

/// Which values share a scale, as lists of their places.
fn group_indices(granularity: Granularity, n: usize, n_per_row: usize) -> Vec<Vec<usize>> {
    let rows = n / n_per_row;
    let row = |r: usize| (r * n_per_row..(r + 1) * n_per_row).collect::<Vec<_>>();
    match granularity {
        Granularity::Tensor => vec![(0..n).collect()],
        Granularity::Row => (0..rows).map(row).collect(),
        Granularity::Col => (0..n_per_row).map(|c| (0..rows).map(|r| r * n_per_row + c).collect()).collect(),
        Granularity::Block(b) => {
            (0..rows).flat_map(|r| row(r).chunks(b.get() as usize).map(<[_]>::to_vec).collect::<Vec<_>>()).collect()
        }
    }
}
