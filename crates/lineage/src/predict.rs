//! What a scheme would do to a tensor, found by applying it to a copy.

use numerics::{BlockCodec, Difference, FakeQuantError, Scheme, TensorContext, difference};

/// What a scheme would change. This is a type of its own, so that predicted and measured numbers are never mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The number of values.
    pub n: u64,
    /// The number of values that would become another value; zero is zero in either sign.
    pub changed: u64,
    /// The number of values that would go from −0 to +0, which does not change the value.
    pub zero_sign: u64,
    /// The number of values that would go from +0 to −0, which does not change the value.
    pub minus_zero: u64,
    /// The number of nonzero values that would become zero.
    pub zeroed: u64,
    /// The number of zeros that would become nonzero.
    pub unzeroed: u64,
    /// The number of nonzero values that would change sign.
    pub sign_flipped: u64,
    /// The number of finite values that would become infinite or NaN.
    pub overflowed: u64,
    /// The number of values beyond the format's largest value that would be clamped to it ([`Scheme::saturated`]);
    /// `None` for ggml's types, which do not tell.
    pub saturated: Option<u64>,
    /// Whether no value would change: `changed` is 0, and at most the signs of zeros change.
    pub noop: bool,
}

/// Applies `scheme` to a copy of all `values`, `[n / n_per_row][n_per_row]`. The numbers are exact, not estimated.
///
/// # Errors
/// When the scheme cannot be applied to this tensor.
pub fn predict(
    scheme: &Scheme,
    values: &[f32],
    ctx: &TensorContext<'_>,
    codec: &dyn BlockCodec,
) -> Result<Prediction, FakeQuantError> {
    let mut after = Vec::new();
    let memory = |_| FakeQuantError::Values { tensor: ctx.name.to_owned(), n: values.len() };
    after.try_reserve_exact(values.len()).map_err(memory)?;
    after.extend_from_slice(values);
    let saturated = scheme.saturated(&mut after, ctx)?;
    scheme.fake_quantize(&mut after, ctx, codec)?;
    Ok(Prediction::of(&difference(values, &after), saturated))
}

impl Prediction {
    /// The prediction from the difference `d` that the scheme would make, and the number of values that it would clamp.
    pub fn of(d: &Difference, saturated: Option<u64>) -> Prediction {
        Prediction {
            n: d.n,
            changed: d.changed,
            zero_sign: d.zero_sign,
            minus_zero: d.minus_zero,
            zeroed: d.zeroed,
            unzeroed: d.unzeroed,
            sign_flipped: d.sign_flipped,
            overflowed: d.overflowed,
            saturated,
            noop: d.changed == 0,
        }
    }
}
