//! Formats a second time, from their definitions: in F64, with a rounding to F32 after every operation that the
//! definition makes in F32, and with the values of small floats listed one by one. No code of the kernels is used.
//!
//! F64 has more than twice the bits of F32, so a sum, product or quotient of two F32 that is rounded to F64 and then to
//! F32 is the F32 nearest to the exact result (Figueroa 1995): no instruction set can make a difference here.

mod blocks;
mod float;
pub mod ggml;
pub mod ocp_mx;
pub mod scores;

pub use float::Ladder;

use numerics::{Clip, FileContents, Format, Rounding, RoundingMode, ScaleFormat, Scheme, Symmetry};

/// The values that `values`, rows of `n_per_row`, become in `scheme`. `None` where there is no second form here: ggml's
/// types (see [`ggml`]), controls, stochastic rounding, searched ranges, spans with scales of powers of two, and floats of
/// more than 16 bits.
pub fn hold(scheme: &Scheme, values: &[f32], n_per_row: usize) -> Option<Vec<f32>> {
    if scheme.clip() != Clip::Absmax {
        return None;
    }
    let groups = blocks::groups(scheme.granularity(), values.len(), n_per_row);
    let scales = &blocks::Scales::new(scheme, n_per_row);
    Some(match scheme.format() {
        Format::Minifloat { exmy, rounding } => {
            let (ladder, rounding) = (Ladder::of(exmy)?, value(rounding)?);
            match groups {
                None => values.iter().map(|&x| ladder.cast(rounding, x)).collect(),
                Some(groups) => blocks::scaled_float(&ladder, rounding, scales, values, &groups),
            }
        }
        Format::Int { bits, symmetry: Symmetry::Sym, rounding } => {
            blocks::symmetric(bits, value(rounding)?, scales, values, &groups?)
        }
        Format::Int { bits, symmetry: Symmetry::Asym, rounding } => {
            blocks::asymmetric(bits, value(rounding)?, scales, values, &groups?)?
        }
        Format::Int { bits, symmetry: Symmetry::ZeroPoint, rounding } => {
            blocks::zero_point(bits, value(rounding)?, scales, values, &groups?)?
        }
        Format::Int { bits, symmetry: Symmetry::FullRange, rounding } => {
            blocks::full_range(bits, value(rounding)?, scales, values, &groups?)
        }
        Format::Table => match scheme.file()?.contents()? {
            FileContents::Table(table) => blocks::codebook(table.entries(), scales, values, &groups?),
            FileContents::Imatrix(_) => return None,
        },
        Format::Codebook(codebook) => blocks::codebook(codebook.entries, scales, values, &groups?),
        Format::Mx { format, rounding } => {
            let element = ocp_mx::ELEMENTS.iter().find(|element| element.scheme == format.name)?;
            match value(rounding)? {
                Rounding::Rne => ocp_mx::convert_rows(element, values, n_per_row),
                _ => return None,
            }
        }
        Format::Nvfp4 { rounding } => match value(rounding)? {
            Rounding::Rne => blocks::nvfp4(values, n_per_row),
            _ => return None,
        },
        Format::Zero => vec![0.0; values.len()],
        Format::Identity => values.to_vec(),
        _ => return None,
    })
}

/// The rounding of a mode that draws nothing.
fn value(rounding: RoundingMode) -> Option<Rounding> {
    match rounding {
        RoundingMode::Value(rounding) => Some(rounding),
        RoundingMode::Stochastic { .. } => None,
    }
}

/// A number of steps, rounded to a whole one.
pub(crate) fn whole(rounding: Rounding, steps: f64) -> f64 {
    match rounding {
        Rounding::Rne => steps.round_ties_even(),
        Rounding::Trunc => steps.trunc(),
        Rounding::Away => steps.round(),
    }
}

/// The scale `d` in its format, rounded by the `half` crate; `None` for formats that are not made of one number alone.
pub(crate) fn held_scale(scale: ScaleFormat, d: f32) -> Option<f32> {
    match scale {
        ScaleFormat::F32 => Some(d),
        ScaleFormat::F16 => Some(half::f16::from_f32(d).to_f32().clamp(-65_504.0, 65_504.0)),
        ScaleFormat::Bf16 => {
            let largest = half::bf16::MAX.to_f32();
            Some(half::bf16::from_f32(d).to_f32().clamp(-largest, largest))
        }
        _ => None,
    }
}
