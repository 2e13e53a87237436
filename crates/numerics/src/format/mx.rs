//! OCP Microscaling (MX) formats: small elements, with one E8M0 scale for each 32 values of a row.
//!
//! ```text
//! ┌────────┬──────────┬──────────┬─   ─┬───────────┐
//! │ X 8 bit│ P1       │ P2       │ …   │ P32       │     value = P · 2^(X − 127)
//! └────────┴──────────┴──────────┴─   ─┴───────────┘
//! P   mxfp4 e2m1 · mxfp6 e2m3 or e3m2 · mxfp8 e4m3 or e5m2 · mxint8 an integer of ±127 over 64
//! ```
//!
//! X is the exponent of the block's greatest magnitude less that of the element's largest value. An element beyond that
//! largest value is clamped to it. The code −128 of `mxint8` is not used.
//!
//! # Source
//! OCP Microscaling Formats (MX) Specification 1.0, sections 5 and 6.3.

use super::exmy::ExMy;

/// The number of values that share a scale.
pub const MX_BLCK_SIZE: u32 = 32;

/// A format of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MxFormat {
    /// The name of the format in a scheme.
    pub name: &'static str,
    /// The format of each value within a block.
    pub element: MxElement,
}

/// The format of the elements of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MxElement {
    /// A small float with these fields.
    Float(ExMy),
    /// An integer of eight bits: ±127, counted in sixty-fourths.
    Int8,
}

impl MxFormat {
    /// The number of bits of one element.
    pub fn element_bits(&self) -> u32 {
        match self.element {
            MxElement::Float(float) => float.bits(),
            MxElement::Int8 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::table::{Kind, named};

    #[test]
    fn blocks_have_the_bits_of_the_specification() {
        let bits = |name| match named(name).map(|row| row.kind) {
            Some(Kind::Mx(format)) => format.element_bits() * MX_BLCK_SIZE + 8,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(
            ["mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8"].map(bits),
            [136, 200, 200, 264, 264, 264]
        );
    }
}
