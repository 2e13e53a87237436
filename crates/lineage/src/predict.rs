//! What a scheme would do to a tensor, found by doing it to a copy.

use numerics::{BlockCodec, FakeQuantError, Scheme, TensorContext, difference};

/// What a scheme would change. A type of its own: predicted and measured are never mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Values.
    pub n: u64,
    /// Values whose bits would change, −0 → +0 excepted.
    pub changed: u64,
    /// −0 → +0, counted apart.
    pub zero_sign: u64,
    /// Nonzero values that would become zero.
    pub zeroed: u64,
    /// Nonzero values that would change sign.
    pub sign_flipped: u64,
    /// Finite values that would become infinite or NaN.
    pub overflowed: u64,
    /// Values that would be held at the largest that the format has for them, being beyond it
    /// ([`Scheme::saturated`]); `None` for ggml's types, which do not say.
    pub saturated: Option<u64>,
    /// No value would change: `changed` is 0, so the scheme does nothing but perhaps tidy signs of zeros.
    pub noop: bool,
}

/// Runs `scheme` over a copy of all of `values`, `[n / n_per_row][n_per_row]`: exact, not estimated.
///
/// # Errors
/// When the scheme cannot be applied to this tensor.
pub fn predict(
    scheme: &Scheme,
    values: &[f32],
    ctx: &TensorContext<'_>,
    codec: &dyn BlockCodec,
) -> Result<Prediction, FakeQuantError> {
    let mut after = values.to_vec();
    let saturated = scheme.saturated(&mut after, ctx)?;
    scheme.fake_quantize(&mut after, ctx, codec)?;
    let d = difference(values, &after);
    Ok(Prediction {
        n: d.n,
        changed: d.changed,
        zero_sign: d.zero_sign,
        zeroed: d.zeroed,
        sign_flipped: d.sign_flipped,
        overflowed: d.overflowed,
        saturated,
        noop: d.changed == 0,
    })
}
