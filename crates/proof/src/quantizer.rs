//! The boundary between schemes and their users, at which two implementations are compared.

use numerics::{BlockCodec, FakeQuantError, Scheme, TensorContext, reference};

/// An implementation of schemes: it quantizes values.
pub trait Quantizer: Sync {
    /// Replaces `values`, rows of `ctx.n_per_row`, by what they become in `scheme`.
    ///
    /// # Errors
    /// As [`Scheme::fake_quantize`].
    fn hold(
        &self,
        scheme: &Scheme,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
        codec: &dyn BlockCodec,
    ) -> Result<(), FakeQuantError>;
}

/// The fast paths, which the program uses everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast;

/// The plain form of every scheme that assay computes itself; ggml's types go through the codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Quantizer for Fast {
    fn hold(
        &self,
        scheme: &Scheme,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
        codec: &dyn BlockCodec,
    ) -> Result<(), FakeQuantError> {
        scheme.fake_quantize(values, ctx, codec)
    }
}

impl Quantizer for Plain {
    fn hold(
        &self,
        scheme: &Scheme,
        values: &mut [f32],
        ctx: &TensorContext<'_>,
        codec: &dyn BlockCodec,
    ) -> Result<(), FakeQuantError> {
        match reference::fake_quantize(scheme, values, ctx)? {
            Some(held) => values.copy_from_slice(&held),
            None => scheme.fake_quantize(values, ctx, codec)?,
        }
        Ok(())
    }
}
