//! Draws, and values as storage gives them back.

use half::{bf16, f16};
use lineage::StoredPrecision;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::RngCore;

fn uniform(rng: &mut Pcg64) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A roughly normal value from twelve uniform ones, which uses every bit of the significand.
pub(crate) fn gaussian(rng: &mut Pcg64) -> f64 {
    (0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0
}

/// The nearest F16 value.
pub(crate) fn half(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

/// The values as they read back from this storage.
pub(crate) fn store(values: &[f32], stored: StoredPrecision) -> Vec<f32> {
    let to = |x: &f32| match stored {
        StoredPrecision::F16 => half(*x),
        StoredPrecision::Bf16 => bf16::from_f32(*x).to_f32(),
        _ => *x,
    };
    values.iter().map(to).collect()
}
