//! Every scheme of our own in its obvious form: one thread, one value at a time, nothing clever.
//!
//! This is slow, and exists to be compared with the fast paths. ggml's types are not here, since ggml defines them.
//! Each family of formats has a file: `float`, `integer`, `codebook`, `nvfp4`. The OCP MX formats are floats
//! and integers with a scale from `scale`.

mod codebook;
mod float;
mod integer;
mod nvfp4;
mod rounding;
mod scale;

use crate::format::codebook::extreme;
use crate::format::nvfp4::LOST;
use crate::format::{ExMy, Format, MX_BLCK_SIZE, MxElement, NVFP4_BLCK_SIZE, ScaleFormat, Symmetry};
use crate::hold::control;
use crate::hold::error::FakeQuantError;
use crate::hold::fake_quantize::TensorContext;
use crate::hold::part::Piece;
use crate::scheme::{Granularity, Scheme};
use codebook::nearest_entry;
pub use float::cast;
use integer::{asymmetric, zero_point};
use nvfp4::nvfp4;
use rounding::Roll;
use scale::{clipped_scale, hold_in_two_levels};

/// [`Scheme::fake_quantize`] in its obvious form; `values` are `[n / n_per_row][n_per_row]`. `None` for ggml's types.
///
/// # Errors
/// As for [`Scheme::fake_quantize`].
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
    let scale = match scheme.format() {
        Format::Mx { .. } => ScaleFormat::E8m0,
        _ => scheme.scale(),
    };
    let roll = |rounding| Roll::new(rounding, ctx, scale.lost());
    let whole = !matches!(granularity, Some(Granularity::Tensor | Granularity::Col));
    let element = match scheme.format() {
        Format::Minifloat { exmy, rounding } => Element::Float(exmy, roll(rounding)),
        Format::Int { bits, symmetry: Symmetry::Sym, rounding } => {
            Element::Int { qmax: (1 << (bits - 1)) - 1, fraction_bits: 0, roll: roll(rounding) }
        }
        Format::Mx { format, rounding } => match format.element {
            MxElement::Float(float) => Element::Float(float, roll(rounding)),
            MxElement::Int8 => Element::Int { qmax: 127, fraction_bits: 6, roll: roll(rounding) },
        },
        Format::Int { bits, symmetry: Symmetry::FullRange, rounding } => {
            Element::FullRange { qmax: 1 << (bits - 1), roll: roll(rounding) }
        }
        Format::Int { bits, symmetry: Symmetry::ZeroPoint, rounding } => {
            let roll = roll(rounding);
            for group in groups(granularity, values.len(), ctx.n_per_row) {
                zero_point(bits, (scheme.scale(), whole), roll, values, &group, &mut out, ctx)?;
            }
            return Ok(Some(restored(values, out)));
        }
        Format::Codebook(codebook) => Element::Entry(codebook.entries),
        Format::Table => Element::Entry(scheme.table().ok_or_else(|| scheme.not_read(ctx.name))?.entries()),
        Format::Int { bits, symmetry: Symmetry::Asym, rounding } => {
            let roll = roll(rounding);
            for group in groups(granularity, values.len(), ctx.n_per_row) {
                asymmetric(bits, (scheme.scale(), whole), roll, values, &group, &mut out, ctx)?;
            }
            return Ok(Some(restored(values, out)));
        }
        Format::Nvfp4 { rounding } => {
            nvfp4(values, ctx, Roll::new(rounding, ctx, LOST), &mut out);
            return Ok(Some(restored(values, out)));
        }
        Format::Zero => return Ok(Some(restored(values, vec![0.0; values.len()]))),
        // The stream of draws is the definition of these controls: there is no other way to write it down.
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
    let groups = groups(granularity, values.len(), ctx.n_per_row);
    let computed = groups.iter().map(|group| clipped_scale(&element, scale, scheme.clip(), values, group));
    let mut steps: Vec<Option<f32>> = computed.map(|d| granularity.map(|_| d)).collect();
    if scale == ScaleFormat::F16Hier {
        hold_in_two_levels(&groups, &mut steps, granularity, ctx.n_per_row, element.largest());
    }
    for (group, d) in groups.iter().zip(steps) {
        for &i in group {
            out[i] = element.hold(values[i], d, i);
        }
    }
    Ok(Some(restored(values, out)))
}

/// The results, with non-finite values as they were.
fn restored(values: &[f32], out: Vec<f32>) -> Vec<f32> {
    values.iter().zip(out).map(|(&x, y)| if x.is_finite() { y } else { x }).collect()
}

/// The levels of a format, for values that are divided by their scale.
enum Element<'a> {
    Float(ExMy, Roll),
    /// Whole steps; the stored scale is 2^fraction_bits steps.
    Int {
        qmax: i32,
        fraction_bits: i32,
        roll: Roll,
    },
    /// Whole steps of a step that has a sign, with one more below zero than above.
    FullRange {
        qmax: i32,
        roll: Roll,
    },
    Entry(&'a [f32]),
}

impl Element<'_> {
    /// The greatest magnitude of a level.
    fn largest(&self) -> f32 {
        match self {
            Element::Float(exmy, _) => exmy.largest(),
            Element::Int { qmax, .. } | Element::FullRange { qmax, .. } => *qmax as f32,
            Element::Entry(entries) => extreme(entries).abs(),
        }
    }

    /// The level nearest to x / d, times d; without a scale, the level nearest to x.
    fn hold(&self, x: f32, d: Option<f32>, place: usize) -> f32 {
        match self {
            Element::Float(exmy, roll) => match d {
                None => roll.float(*exmy, x, place),
                Some(0.0) => 0.0f32.copysign(x),
                Some(d) => {
                    let q = roll.scaled_float(*exmy, x / d, place);
                    q.clamp(-exmy.largest(), exmy.largest()) * d
                }
            },
            Element::Int { qmax, roll, .. } => match d {
                None | Some(0.0) => 0.0,
                Some(d) => {
                    let steps = roll.steps(x / d).clamp(-f64::from(*qmax), f64::from(*qmax));
                    roll.integer(steps, place) as i32 as f32 * d
                }
            },
            Element::FullRange { qmax, roll } => match d {
                None | Some(0.0) => 0.0,
                Some(d) => {
                    let steps = roll.steps(x / d).clamp(-f64::from(*qmax), f64::from(*qmax - 1));
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

/// The groups of values that share a scale, as lists of their indices; without a granularity each value is alone.
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
