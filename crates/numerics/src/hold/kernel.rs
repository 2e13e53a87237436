//! Kernels: which one a scheme has, and the view of one that hides its types.

use super::error::FakeQuantError;
use crate::format::Format;
use crate::format::codebook::Codebook;
use crate::format::group::{GroupKernel, Places, Range, RangeOverflow, apply_wide};
use crate::format::integer::{Asymmetric, FullRange, Symmetric, Symmetry, ZeroPoint};
use crate::format::mx::MxElement;
use crate::format::nvfp4::Nvfp4;
use crate::format::rounding::with_rounding;
use crate::format::scale::{GroupScale, ScaleFormat};
use crate::format::scaled::Scaled;
use crate::scheme::Scheme;
use multiversion::multiversion;

impl Scheme {
    /// The kernel for a tensor; `None` where the scheme has no scales. `range` is the range of all values, for a scheme
    /// that has a scale for the tensor beside those of its groups.
    ///
    /// # Errors
    /// When the scheme names a file that was not read.
    pub(crate) fn kernel(&self, tensor: &str, range: Range) -> Result<Option<Box<dyn AnyKernel + '_>>, FakeQuantError> {
        let scale = self.scale;
        Ok(Some(match self.format {
            Format::Minifloat { .. } if self.granularity.is_none() => return Ok(None),
            Format::Minifloat { exmy, rounding } => with_rounding!(rounding, tensor, round => {
                Box::new(Scaled::new(exmy, scale, round))
            }),
            Format::Int { bits, symmetry, rounding } => with_rounding!(rounding, tensor, round => match symmetry {
                Symmetry::Sym => Box::new(Symmetric::new(bits, scale, round)),
                Symmetry::Asym => Box::new(Asymmetric::new(bits, scale, round)),
                Symmetry::ZeroPoint => Box::new(ZeroPoint::new(bits, scale, round)),
                Symmetry::FullRange => Box::new(FullRange::new(bits, scale, round)),
            }),
            Format::Codebook(codebook) => Box::new(Codebook::new(codebook.entries, scale)),
            Format::Table => {
                let table = self.table().ok_or_else(|| self.not_read(tensor))?;
                Box::new(Codebook::new(table.entries(), scale))
            }
            Format::Mx { format, rounding } => with_rounding!(rounding, tensor, round => match format.element {
                MxElement::Float(float) => Box::new(Scaled::new(float, ScaleFormat::E8m0, round)),
                MxElement::Int8 => Box::new(Symmetric::mxint8(round)),
            }),
            Format::Nvfp4 { rounding } => with_rounding!(rounding, tensor, round => {
                Box::new(Nvfp4::new(range.absmax(), round))
            }),
            Format::Ggml(_)
            | Format::Identity
            | Format::Jitter { .. }
            | Format::Noise { .. }
            | Format::Shuffle { .. }
            | Format::Zero => return Ok(None),
        }))
    }
}

/// An object-safe view of a [`GroupKernel`]. What is compiled once for each kernel is here; the code that goes through
/// a tensor is compiled once for all of them.
pub(crate) trait AnyKernel: Send + Sync {
    /// Checks that a group with this range has a scale.
    fn check(&self, range: Range) -> Result<(), RangeOverflow>;

    /// Quantizes each block of each row, with a scale made from the range of its values.
    fn rows(&self, rows: &mut [f32], n_per_row: usize, n_per_block: usize, start: usize) -> Result<(), RangeOverflow>;

    /// Quantizes a whole group, with the scale made from `range`.
    fn whole_group(&self, range: Range, values: &mut [f32], at: Places) -> Result<(), RangeOverflow>;

    /// Quantizes a group, or a part of one, with the scale made from `range`.
    fn group(&self, range: Range, values: &mut [f32], at: Places) -> Result<(), RangeOverflow>;

    /// Quantizes the blocks of a super-block, which have these ranges and whose scales share a second one.
    fn super_block(
        &self,
        ranges: &[Range],
        values: &mut [f32],
        n_per_block: usize,
        start: usize,
    ) -> Result<(), RangeOverflow>;

    /// `sum` + Σ (x − value)² over the finite values in their order, with the scale made from `range`.
    fn squared_error(&self, range: Range, values: &[f32], at: Places, sum: f64) -> Result<f64, RangeOverflow>;
}

impl<K: GroupKernel> AnyKernel for K {
    fn check(&self, range: Range) -> Result<(), RangeOverflow> {
        self.scale(range).map(drop)
    }

    fn rows(&self, rows: &mut [f32], n_per_row: usize, n_per_block: usize, start: usize) -> Result<(), RangeOverflow> {
        rows_wide(self, rows, n_per_row, n_per_block, start)
    }

    fn whole_group(&self, range: Range, values: &mut [f32], at: Places) -> Result<(), RangeOverflow> {
        let scale = self.scale(range)?;
        if !self.is_on_grid(scale, values) {
            apply_wide(self, scale, values, at);
        }
        Ok(())
    }

    fn group(&self, range: Range, values: &mut [f32], at: Places) -> Result<(), RangeOverflow> {
        apply_wide(self, self.scale(range)?, values, at);
        Ok(())
    }

    fn super_block(
        &self,
        ranges: &[Range],
        values: &mut [f32],
        n_per_block: usize,
        start: usize,
    ) -> Result<(), RangeOverflow> {
        let mut scales = ranges.iter().map(|&range| self.scale(range)).collect::<Result<Vec<_>, _>>()?;
        K::Scale::hold_in_two_levels(&mut scales, self.largest());
        for (i, (block, scale)) in values.chunks_mut(n_per_block).zip(scales).enumerate() {
            self.apply(scale, block, Places::contiguous(start + i * n_per_block));
        }
        Ok(())
    }

    fn squared_error(&self, range: Range, values: &[f32], at: Places, sum: f64) -> Result<f64, RangeOverflow> {
        Ok(squared_error(self, self.scale(range)?, values, at, sum))
    }
}

/// [`rows_of_blocks`], compiled for several instruction sets. Rust fuses no multiplications and additions, so the bits
/// are the same.
///
/// Code that is compiled for each kernel and rounding has at most two forms: a third, for AVX-512, took too long to
/// compile.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn rows_wide<K: GroupKernel>(
    kernel: &K,
    rows: &mut [f32],
    n_per_row: usize,
    n_per_block: usize,
    start: usize,
) -> Result<(), RangeOverflow> {
    rows_of_blocks(kernel, rows, n_per_row, n_per_block, start)
}

#[inline(always)]
fn rows_of_blocks<K: GroupKernel>(
    kernel: &K,
    rows: &mut [f32],
    n_per_row: usize,
    n_per_block: usize,
    mut start: usize,
) -> Result<(), RangeOverflow> {
    for row in rows.chunks_mut(n_per_row) {
        for block in row.chunks_mut(n_per_block) {
            let scale = kernel.scale(Range::of(block))?;
            if !kernel.is_on_grid(scale, block) {
                kernel.apply(scale, block, Places::contiguous(start));
            }
            start += block.len();
        }
    }
    Ok(())
}

/// The number of values that are quantized at once to sum their errors.
const PART: usize = 256;

/// The sum of [`AnyKernel::squared_error`] under a scale that is known.
pub(crate) fn squared_error<K: GroupKernel>(
    kernel: &K,
    scale: K::Scale,
    values: &[f32],
    at: Places,
    mut sum: f64,
) -> f64 {
    let (mut held, mut squares) = ([0.0f32; PART], [0.0f64; PART]);
    for (part, original) in values.chunks(PART).enumerate() {
        let (held, squares) = (&mut held[..original.len()], &mut squares[..original.len()]);
        held.copy_from_slice(original);
        kernel.try_out(scale, held, at.from(part * PART));
        square_errors(original, held, squares);
        // The squares are added one after the other, so zeros for non-finite values leave the sum as it is.
        squares.iter().for_each(|square| sum += square);
    }
    sum
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2", "aarch64+neon"))]
fn square_errors(original: &[f32], held: &[f32], squares: &mut [f64]) {
    for ((square, x), y) in squares.iter_mut().zip(original).zip(held) {
        let error = f64::from(*x) - f64::from(*y);
        *square = if x.is_finite() { error * error } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::group::{RangeKeys, keys_wide};

    #[test]
    fn what_is_compiled_for_this_machine_gives_the_bits_of_what_is_compiled_for_any() {
        let (n_per_row, n_per_block) = (77, 32);
        let mut state = 1u32;
        let mut any_finite = || loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(state ^ state >> 15);
            if x.is_finite() {
                return x;
            }
        };
        let values: Vec<f32> = (0..n_per_row * 500)
            .map(|i| match i / n_per_row % 4 {
                0 => any_finite(),
                1 => (any_finite().to_bits() % 64) as f32 / 4.0 - 8.0,
                2 => (any_finite().to_bits() >> 8) as f32 * 1e-9,
                _ => f32::from_bits(any_finite().to_bits() & 0x807f_ffff),
            })
            .collect();
        fn compare<K: GroupKernel>(kernel: &K, values: &[f32], n_per_row: usize, n_per_block: usize) {
            for n_per_block in [n_per_row, n_per_block] {
                let (mut wide, mut plain) = (values.to_vec(), values.to_vec());
                rows_wide(kernel, &mut wide, n_per_row, n_per_block, 0).unwrap();
                rows_of_blocks(kernel, &mut plain, n_per_row, n_per_block, 0).unwrap();
                assert!(wide.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
        let rne = crate::format::rounding::NearestEven;
        let f32_scale = crate::format::scale::ScaleFormat::F32;
        for bits in [2, 4, 8, 16] {
            compare(&crate::format::integer::Symmetric::new(bits, f32_scale, rne), &values, n_per_row, n_per_block);
            compare(&crate::format::integer::FullRange::new(bits, f32_scale, rne), &values, n_per_row, n_per_block);
        }
        for name in ["bf16", "f16", "fp8_e4m3", "fp8_e5m2", "fp6_e3m2", "fp4_e2m1"] {
            let exmy = crate::ExMy::named(name).unwrap();
            for scale in [f32_scale, crate::format::scale::ScaleFormat::E8m0] {
                compare(&Scaled::new(exmy, scale, rne), &values, n_per_row, n_per_block);
                let stochastic = crate::format::rounding::Stochastic(crate::format::stream::Draws::new(1, "t"));
                compare(&Scaled::new(exmy, scale, stochastic), &values, n_per_row, n_per_block);
            }
        }
        for codebook in crate::scheme::table::codebooks() {
            compare(&Codebook::new(codebook.entries, f32_scale), &values, n_per_row, n_per_block);
        }
        let nvfp4 = Nvfp4::new(Range::of(&values).absmax(), rne);
        compare(&nvfp4, &values, n_per_row, n_per_block);
        assert_eq!(keys_wide(&values).range(), RangeKeys::of(&values).range());
    }
}
