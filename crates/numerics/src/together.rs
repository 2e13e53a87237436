//! Which values of a tensor have to be at hand together, so that the rest can be done later, or elsewhere.

use crate::mx::MX_BLCK_SIZE;
use crate::rounding::RoundingMode;
use crate::scale::ScaleFormat;
use crate::scheme::{Format, Granularity, Scheme};

/// The least part of a tensor that comes out as it would from the whole, wherever it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// That many contiguous values of a row, and any multiple of them, counted from the row's start; a row may end sooner.
    Values(u64),
    /// That many rows, and any multiple of them, counted from the first.
    Rows(u64),
    /// All of it: all values share something, or what a value draws depends on where in the tensor it stands.
    Tensor,
}

impl Scheme {
    /// What this scheme has to see at once.
    pub fn together(&self) -> Together {
        if self.draws_by_place() {
            return Together::Tensor;
        }
        let of_granularity = match self.granularity() {
            None => Together::Values(1),
            // The scale above the scales is shared within a row.
            Some(Granularity::Block(_)) if self.scale() == ScaleFormat::F16Hier => Together::Rows(1),
            Some(Granularity::Block(n)) => Together::Values(n.get().into()),
            Some(Granularity::Row) => Together::Rows(1),
            Some(Granularity::Tile { rows, .. }) => Together::Rows(rows.get().into()),
            Some(Granularity::Col | Granularity::Tensor) => Together::Tensor,
        };
        match self.format() {
            Format::Minifloat { .. } | Format::Int { .. } | Format::Codebook(_) | Format::Table => of_granularity,
            Format::Mx { .. } => Together::Values(MX_BLCK_SIZE.into()),
            // Importances are those of a row's values in order.
            Format::Ggml(_) if self.file().is_some() => Together::Rows(1),
            Format::Ggml(format) => Together::Values(format.blck_size as u64),
            Format::Identity | Format::Zero => Together::Values(1),
            // One scale of it is the tensor's.
            Format::Nvfp4 { .. } => Together::Tensor,
            Format::Jitter { .. } | Format::Noise { .. } | Format::Shuffle { .. } => Together::Tensor,
        }
    }

    /// What becomes of a value depends on its place in the tensor.
    fn draws_by_place(&self) -> bool {
        match self.format() {
            Format::Minifloat { rounding, .. }
            | Format::Int { rounding, .. }
            | Format::Mx { rounding, .. }
            | Format::Nvfp4 { rounding } => matches!(rounding, RoundingMode::Stochastic { .. }),
            Format::Jitter { .. } | Format::Noise { .. } | Format::Shuffle { .. } => true,
            Format::Codebook(_) | Format::Table | Format::Ggml(_) | Format::Identity | Format::Zero => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PlainCodec, TensorContext};

    #[test]
    fn parts_that_a_scheme_needs_not_see_together_come_out_as_from_the_whole() {
        const N_PER_ROW: usize = 96;
        const ROWS: usize = 16;
        let values: Vec<f32> =
            (0..ROWS * N_PER_ROW).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
        let fake = |scheme: &Scheme, part: &[f32], n_per_row: usize| {
            let mut out = part.to_vec();
            let context = TensorContext { name: "t", n_per_row };
            scheme.fake_quantize(&mut out, &context, &PlainCodec).expect("finite values");
            out
        };
        let mut kinds = [0; 3];
        for text in [
            "bf16",
            "bf16:trunc",
            "e4m3:away",
            "fp8_e4m3@row",
            "int8@row",
            "int4@block32:asym",
            "int4@block24:clip=mse",
            "int4@block40",
            "int4@block32:zeropoint",
            "int4@block16:scale=f16hier",
            "nf4@block64",
            "mxfp4",
            "mxint8",
            "ggml:f16",
            "zero",
            "identity",
            "int8@2x32",
            "fp8_e4m3@4x96",
            "int8@tensor",
            "int8@col",
            "bf16:stochastic(3)",
            "int8@row:stochastic",
            "nvfp4",
            "jitter",
            "noise(20)",
        ] {
            let scheme: Scheme = text.parse().expect(text);
            let whole = fake(&scheme, &values, N_PER_ROW);
            let parts: Vec<f32> = match scheme.together() {
                Together::Values(n) => {
                    kinds[0] += 1;
                    let cut = |row: &[f32]| -> Vec<f32> {
                        row.chunks(n as usize).flat_map(|part| fake(&scheme, part, part.len())).collect()
                    };
                    values.chunks(N_PER_ROW).flat_map(cut).collect()
                }
                Together::Rows(n) => {
                    kinds[1] += 1;
                    let band = n as usize * N_PER_ROW;
                    values.chunks(band).flat_map(|rows| fake(&scheme, rows, N_PER_ROW)).collect()
                }
                Together::Tensor => {
                    kinds[2] += 1;
                    let halves: Vec<f32> =
                        values.chunks(values.len() / 2).flat_map(|half| fake(&scheme, half, N_PER_ROW)).collect();
                    assert_ne!(halves, whole, "{text} could have been cut");
                    continue;
                }
            };
            assert_eq!(parts, whole, "{text}");
        }
        assert!(kinds.iter().all(|&n| n > 3), "{kinds:?}");
    }
}
