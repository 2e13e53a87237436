//! NVFP4 in its obvious form: E2M1 with an E4M3 scale for each 16 values and an F32 scale for the tensor.

use super::float::cast;
use super::groups;
use super::rounding::Roll;
use crate::format::{ExMy, NVFP4_BLCK_SIZE, Rounding};
use crate::hold::fake_quantize::TensorContext;
use crate::scheme::Granularity;

pub(super) fn nvfp4(values: &[f32], ctx: &TensorContext<'_>, roll: Roll, out: &mut [f32]) {
    let absmax =
        |part: &mut dyn Iterator<Item = f32>| part.filter(|x| x.is_finite()).fold(0.0f32, |m, x| m.max(x.abs()));
    let tensor_absmax = absmax(&mut values.iter().copied());
    let s_enc = if tensor_absmax == 0.0 { 1.0 } else { (6.0 * 448.0 / tensor_absmax).min(f32::MAX) };
    let s_dec = 1.0 / s_enc;
    for block in groups(Some(Granularity::block(NVFP4_BLCK_SIZE)), values.len(), ctx.n_per_row) {
        let block_absmax = absmax(&mut block.iter().map(|&i| values[i]));
        let s = cast(ExMy::FP8_E4M3, Rounding::Rne, block_absmax / 6.0 * s_enc);
        let factor = (1.0 / (s * s_dec)).min(f32::MAX);
        let nearest = |x: f32| cast(ExMy::FP4_E2M1, Rounding::Rne, x * factor) * s * s_dec;
        let mut finite = block.iter().map(|&i| values[i]).filter(|x| x.is_finite());
        if s != 0.0 && finite.all(|x| (nearest(x) - x).abs() <= x.abs() / 2f32.powi(21)) {
            continue;
        }
        for i in block {
            out[i] = if s == 0.0 {
                0.0f32.copysign(values[i])
            } else {
                roll.scaled_float(ExMy::FP4_E2M1, values[i] * factor, i) * s * s_dec
            };
        }
    }
}
