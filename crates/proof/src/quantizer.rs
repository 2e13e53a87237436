//! The boundary between schemes and whoever uses them, so that two implementations can be held against each other.

use numerics::{BlockCodec, FakeQuantError, Scheme, TensorContext, reference};

/// Holds values in a scheme.
pub trait Quantizer: Sync {
    /// Replaces `values` by what they become in `scheme`.
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

/// What the program uses everywhere: the fast paths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast;

/// The obvious form of every scheme of our own; ggml's types go through the codec.
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
