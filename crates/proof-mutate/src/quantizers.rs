//! Faults in schemes.

use crate::{Fault, FaultPlace, Parts};
use numerics::{BlockCodec, FakeQuantError, Format, Granularity, Scheme, TensorContext};
use proof::inputs::BELOW_HALF;
use proof::{Fast, Quantizer};
use std::sync::Arc;

/// What a faulty implementation does in place of the scheme.
type Hold = fn(&Scheme, &mut [f32], &TensorContext<'_>, &dyn BlockCodec) -> Result<(), FakeQuantError>;

/// A faulty implementation of schemes.
struct Faulty(Hold);

impl Quantizer for Faulty {
    fn hold(
        &self,
        scheme: &Scheme,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
        codec: &dyn BlockCodec,
    ) -> Result<(), FakeQuantError> {
        (self.0)(scheme, values, ctx, codec)
    }
}

fn plant(parts: &mut Parts, hold: Hold) {
    parts.quantizer = Arc::new(Faulty(hold));
}

const fn fault(name: &'static str, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place: FaultPlace::Quantizer, plant }
}

pub(super) const FAULTS: &[Fault] = &[
    fault("truncation for rounding", |parts| plant(parts, |s, v, c, k| rewritten(s, ":trunc", v, c, k))),
    fault("ties away from zero", |parts| plant(parts, |s, v, c, k| rewritten(s, ":away", v, c, k))),
    fault("0.49999997 rounded up", |parts| plant(parts, half_added)),
    fault("scale in F16 for F32", |parts| plant(parts, |s, v, c, k| rewritten(s, ":scale=f16", v, c, k))),
    fault("sign of negative values lost", |parts| {
        plant(parts, |s, v, c, k| {
            Fast.hold(s, v, c, k)?;
            last(v, |x| *x = x.abs());
            Ok(())
        })
    }),
    fault("saturates instead of overflowing", |parts| {
        plant(parts, |s, v, c, k| {
            if let Format::Minifloat { exmy, .. } = s.format() {
                v.iter_mut().filter(|x| x.is_finite()).for_each(|x| *x = x.clamp(-exmy.largest(), exmy.largest()));
            }
            Fast.hold(s, v, c, k)
        })
    }),
    fault("blocks begin one value late", |parts| {
        plant(parts, |s, v, c, k| {
            if has_blocks(s) {
                v.rotate_left(1);
            }
            Fast.hold(s, v, c, k)?;
            if has_blocks(s) {
                v.rotate_right(1);
            }
            Ok(())
        })
    }),
    fault("neighbour's scale", |parts| plant(parts, neighbours_scale)),
    fault("NaN swallowed", |parts| {
        plant(parts, |s, v, c, k| {
            v.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
            Fast.hold(s, v, c, k)
        })
    }),
    fault("seed ignored", |parts| {
        plant(parts, |s, v, c, k| {
            let text = s.to_string();
            let unseeded = text.split(":seed=").next().unwrap_or(&text).replace("stochastic(2)", "stochastic");
            // A scheme without a seed stays the same one: parsed again, it would lose what is in its file.
            let seeded = (unseeded != text).then(|| unseeded.parse().ok()).flatten();
            Fast.hold(seeded.as_ref().unwrap_or(s), v, c, k)
        })
    }),
    fault("tensor name left out of the seed", |parts| {
        plant(parts, |s, v, c, k| Fast.hold(s, v, &TensorContext { name: "", ..*c }, k))
    }),
    fault("transform left out", |parts| {
        plant(parts, |s, v, c, k| match s.format() {
            Format::Jitter { .. } | Format::Noise { .. } | Format::Shuffle { .. } => Ok(()),
            _ => Fast.hold(s, v, c, k),
        })
    }),
    fault("norm silently left out", |parts| {
        plant(parts, |s, v, c, k| match c.name.contains("norm") {
            true => Ok(()),
            false => Fast.hold(s, v, c, k),
        })
    }),
    fault("subnormals flushed to zero", |parts| {
        plant(parts, |s, v, c, k| {
            v.iter_mut().filter(|x| x.is_subnormal()).for_each(|x| *x = 0.0f32.copysign(*x));
            Fast.hold(s, v, c, k)
        })
    }),
    fault("clip= left out", |parts| {
        plant(parts, |s, v, c, k| match s.to_string().contains(":clip=mse") {
            true => exchanged(s, (":clip=mse", ""), v, c, k),
            false => exchanged(s, (":clip=p90", ""), v, c, k),
        })
    }),
    fault("power-of-two scale rounded down", |parts| {
        plant(parts, |s, v, c, k| exchanged(s, ("scale=pow2", "scale=e8m0"), v, c, k))
    }),
    fault("MX scale that covers all values", |parts| {
        plant(parts, |s, v, c, k| exchanged(s, ("mxfp4", "fp4_e2m1@block32:scale=pow2"), v, c, k))
    }),
    fault("NVFP4 without the tensor's scale", |parts| {
        plant(parts, |s, v, c, k| exchanged(s, ("nvfp4", "fp4_e2m1@block16"), v, c, k))
    }),
    fault("minimum of asymmetric integers taken for zero", |parts| {
        plant(parts, |s, v, c, k| exchanged(s, (":asym", ":zeropoint"), v, c, k))
    }),
    fault("two levels of scales taken for one", |parts| {
        plant(parts, |s, v, c, k| exchanged(s, (":scale=f16hier", ""), v, c, k))
    }),
    fault("codebook ties to the other side", |parts| {
        plant(parts, |s, v, c, k| {
            // Mirrored, the even entry of two is the other one.
            let is_mirrored =
                matches!(s.format(), Format::Codebook(codebook) if codebook.entries.contains(&-codebook.extreme()));
            let turn = |v: &mut [f32]| v.iter_mut().filter(|x| is_mirrored && **x != 0.0).for_each(|x| *x = -*x);
            turn(v);
            let held = Fast.hold(s, v, c, k);
            turn(v);
            held
        })
    }),
    fault("last block of a row left as it was", |parts| {
        plant(parts, |s, v, c, k| {
            let before = v.to_vec();
            Fast.hold(s, v, c, k)?;
            let n = c.n_per_row - c.n_per_row % 32;
            if n < c.n_per_row && has_blocks(s) {
                v.chunks_mut(c.n_per_row)
                    .zip(before.chunks(c.n_per_row))
                    .for_each(|(v, b)| v[n..].copy_from_slice(&b[n..]));
            }
            Ok(())
        })
    }),
];

/// Quantizes in the scheme with one part of its text replaced, if it has that part.
fn exchanged(
    scheme: &Scheme,
    (part, other): (&str, &str),
    values: &mut [f32],
    ctx: &TensorContext<'_>,
    codec: &dyn BlockCodec,
) -> Result<(), FakeQuantError> {
    let text = scheme.to_string();
    // A scheme that names a file stays the same one: parsed again, it would lose what is in it.
    let changed = if text.contains(part) { text.replace(part, other).parse().ok() } else { None };
    Fast.hold(changed.as_ref().unwrap_or(scheme), values, ctx, codec)
}

/// Changes the last negative value.
fn last(values: &mut [f32], change: impl FnOnce(&mut f32)) {
    if let Some(x) = values.iter_mut().rev().find(|x| **x < 0.0) {
        change(x);
    }
}

fn has_blocks(scheme: &Scheme) -> bool {
    matches!(scheme.granularity(), Some(Granularity::Block(_))) || matches!(scheme.format(), Format::Mx { .. })
}

/// Quantizes in the scheme with one option more, if it can have it.
fn rewritten(
    scheme: &Scheme,
    option: &str,
    values: &mut [f32],
    ctx: &TensorContext<'_>,
    codec: &dyn BlockCodec,
) -> Result<(), FakeQuantError> {
    Fast.hold(&format!("{scheme}{option}").parse().unwrap_or_else(|_| scheme.clone()), values, ctx, codec)
}

/// Quantizes integers by floor(x + 0.5): a value just below one half is taken for one half.
fn half_added(
    scheme: &Scheme,
    values: &mut [f32],
    ctx: &TensorContext<'_>,
    codec: &dyn BlockCodec,
) -> Result<(), FakeQuantError> {
    let before = values.to_vec();
    Fast.hold(scheme, values, ctx, codec)?;
    if let (Format::Int { bits, .. }, Some(Granularity::Row)) = (scheme.format(), scheme.granularity()) {
        let qmax = ((1u32 << (bits - 1)) - 1) as f32;
        for (row, before) in values.chunks_mut(ctx.n_per_row).zip(before.chunks(ctx.n_per_row)) {
            let d = before.iter().fold(0.0f32, |m, x| m.max(x.abs())) / qmax;
            row.iter_mut()
                .zip(before)
                .filter(|(_, x)| (*x / d).abs() == BELOW_HALF)
                .for_each(|(y, x)| *y = d.copysign(*x));
        }
    }
    Ok(())
}

/// Quantizes symmetric integers in blocks, each with the scale of the block before it.
fn neighbours_scale(
    scheme: &Scheme,
    values: &mut [f32],
    ctx: &TensorContext<'_>,
    codec: &dyn BlockCodec,
) -> Result<(), FakeQuantError> {
    let (Format::Int { bits, .. }, Some(Granularity::Block(n))) = (scheme.format(), scheme.granularity()) else {
        return Fast.hold(scheme, values, ctx, codec);
    };
    let qmax = ((1u32 << (bits - 1)) - 1) as f32;
    for row in values.chunks_mut(ctx.n_per_row) {
        let mut before = None;
        for block in row.chunks_mut(n.get() as usize) {
            let own = block.iter().fold(0.0f32, |m, x| m.max(x.abs())) / qmax;
            let d = before.replace(own).unwrap_or(own);
            for x in block {
                *x = if d == 0.0 { 0.0 } else { (*x / d).round_ties_even().clamp(-qmax, qmax) * d };
            }
        }
    }
    Ok(())
}
