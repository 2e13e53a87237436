//! Which kernel holds the groups of a scheme.

use crate::codebook::Codebook;
use crate::exmy::Scaled;
use crate::fake_quantize::FakeQuantError;
use crate::groups::{AnyKernel, Grouping, Range};
use crate::integer::{Asymmetric, FullRange, Symmetric, ZeroPoint};
use crate::mx::{MX_BLCK_SIZE, MxElement};
use crate::nvfp4::{NVFP4_BLCK_SIZE, Nvfp4};
use crate::rounding::with_rounding;
use crate::scale::ScaleFormat;
use crate::scheme::{Format, Granularity, Scheme, Symmetry};

impl Scheme {
    /// The kernel for a tensor, where the scheme has scales; `range` is that of all values, for a scheme that has a scale
    /// for the tensor beside those of its groups.
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

    /// How the values share their scales.
    pub(crate) fn grouping(&self) -> Grouping {
        let granularity = match self.format {
            Format::Mx { .. } => Granularity::block(MX_BLCK_SIZE),
            Format::Nvfp4 { .. } => Granularity::block(NVFP4_BLCK_SIZE),
            _ => self.granularity.unwrap_or(Granularity::Tensor),
        };
        Grouping { granularity, clip: self.clip, in_two_levels: self.scale == ScaleFormat::F16Hier }
    }
}
