//! Faults in ggml's conversions.

use crate::{Fault, FaultPlace, Parts};
use numerics::{BlockCodec, BlockLayout, CodecError};
use std::sync::Arc;
use worker::link::SharedCodec;

/// A codec that changes what goes in or what comes out.
struct Faulty {
    codec: SharedCodec,
    /// Changes blocks before they are restored.
    restore: fn(&str, BlockLayout, &mut Vec<u8>),
    /// Changes values before they are quantized.
    values: fn(&str, &mut Vec<f32>),
    /// Changes the blocks that came of them.
    quantized: fn(&str, BlockLayout, &mut Vec<u8>),
    /// Whether importances are handed on.
    importances: bool,
}

impl BlockCodec for Faulty {
    fn layout(&self, ty: &str) -> Option<BlockLayout> {
        self.codec.layout(ty)
    }

    fn dequantize(&self, ty: &str, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        let mut bytes = bytes.to_vec();
        if let Some(layout) = self.layout(ty) {
            (self.restore)(ty, layout, &mut bytes);
        }
        self.codec.dequantize(ty, &bytes, out)
    }

    fn quantize(
        &self,
        ty: &str,
        values: &[f32],
        n_per_row: usize,
        imatrix: Option<&[f32]>,
    ) -> Result<Vec<u8>, CodecError> {
        let mut values = values.to_vec();
        (self.values)(ty, &mut values);
        let mut bytes = self.codec.quantize(ty, &values, n_per_row, imatrix.filter(|_| self.importances))?;
        if let Some(layout) = self.layout(ty) {
            (self.quantized)(ty, layout, &mut bytes);
        }
        Ok(bytes)
    }
}

fn plant(parts: &mut Parts, fault: impl FnOnce(Faulty) -> Faulty) {
    let whole = Faulty {
        codec: parts.codec.clone(),
        restore: |_, _, _| {},
        values: |_, _| {},
        quantized: |_, _, _| {},
        importances: true,
    };
    parts.codec = Arc::new(fault(whole));
}

const fn fault(name: &'static str, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place: FaultPlace::Codec, plant }
}

/// A number of blocks that is more than a thread quantizes at a time.
const LARGE: usize = 300;

fn is(ty: &str, name: &str) -> bool {
    ty.eq_ignore_ascii_case(name)
}

pub(super) const FAULTS: &[Fault] = &[
    fault("imatrix ignored", |parts| plant(parts, |whole| Faulty { importances: false, ..whole })),
    fault("q8_0 restored with the neighbour's scale", |parts| {
        plant(parts, |whole| Faulty {
            restore: |ty, layout, bytes| {
                if is(ty, "q8_0") && bytes.len() >= 2 * layout.type_size {
                    let first = [bytes[0], bytes[1]];
                    let blocks = bytes.len() / layout.type_size;
                    for block in 0..blocks {
                        let next = (block + 1) * layout.type_size;
                        let scale = if next < bytes.len() { [bytes[next], bytes[next + 1]] } else { first };
                        bytes[next - layout.type_size..][..2].copy_from_slice(&scale);
                    }
                }
            },
            ..whole
        })
    }),
    fault("q4_0 nibbles exchanged", |parts| {
        plant(parts, |whole| Faulty {
            restore: |ty, layout, bytes| {
                if is(ty, "q4_0") {
                    bytes
                        .chunks_mut(layout.type_size)
                        .for_each(|b| b[2..].iter_mut().for_each(|q| *q = q.rotate_left(4)));
                }
            },
            ..whole
        })
    }),
    fault("q6_K upper bits lost", |parts| {
        plant(parts, |whole| Faulty {
            restore: |ty, layout, bytes| {
                if is(ty, "q6_K") {
                    bytes.chunks_mut(layout.type_size).for_each(|block| block[128..192].fill(0));
                }
            },
            ..whole
        })
    }),
    fault("q4_K restored from the block before", |parts| {
        plant(parts, |whole| Faulty {
            restore: |ty, layout, bytes| {
                if is(ty, "q4_K") {
                    bytes.rotate_right(layout.type_size);
                }
            },
            ..whole
        })
    }),
    fault("rows of a large tensor one place on", |parts| {
        plant(parts, |whole| Faulty {
            quantized: |ty, layout, bytes| {
                if is(ty, "q5_K") && bytes.len() > LARGE * layout.type_size {
                    bytes.rotate_left(layout.type_size);
                }
            },
            ..whole
        })
    }),
    fault("a thread's share left empty", |parts| {
        plant(parts, |whole| Faulty {
            quantized: |ty, layout, bytes| {
                if is(ty, "iq4_xs") && bytes.len() > LARGE * layout.type_size {
                    bytes[LARGE * layout.type_size..].fill(0);
                }
            },
            ..whole
        })
    }),
    fault("F16 truncated where it is rounded", |parts| {
        plant(parts, |whole| Faulty {
            values: |ty, values| {
                if is(ty, "q8_0") || is(ty, "q4_0") {
                    values.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_e000));
                }
            },
            ..whole
        })
    }),
];
