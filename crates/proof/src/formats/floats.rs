//! Small floats without a scale, one value at a time.

use super::third::Shared;
use crate::check::{Area, Check, Tally};
use crate::inputs::Draw;
use crate::oracle::Ladder;
use crate::python::Python;
use crate::quantizer::Quantizer;
use half::{bf16, f16};
use numerics::{ExMy, PlainCodec, Rounding, Scheme, Specials, TensorContext};
use rayon::prelude::*;

const ROUNDINGS: [(Rounding, &str); 3] = [(Rounding::Rne, ""), (Rounding::Trunc, ":trunc"), (Rounding::Away, ":away")];

/// The scheme of a float format, with the option of a rounding behind it.
fn scheme_of(format: ExMy, rounding: &str) -> Option<Scheme> {
    let specials = match format.specials() {
        Specials::Ieee => "",
        Specials::Fn => ":fn",
        Specials::Finite => ":finite",
    };
    let (x, y, bias) = (format.exponent_bits(), format.mantissa_bits(), format.bias());
    format!("e{x}m{y}{specials}:bias={bias}{rounding}").parse().ok()
}

/// Compares the quantizer with the list of a format's values under three roundings. `third` takes part where numpy and
/// ml_dtypes have the format, in the rounding to nearest with ties to even.
fn against_list(
    quantizer: &dyn Quantizer,
    format: ExMy,
    inputs: &[f32],
    third: Option<&Shared<'_>>,
    tally: &mut Tally,
) {
    let Some(ladder) = Ladder::of(format) else {
        return tally.hold(false, || format!("the values of {format} are not listed"));
    };
    for (rounding, text) in ROUNDINGS {
        let Some(scheme) = scheme_of(format, text) else {
            tally.hold(false, || format!("{format}{text} is not a scheme"));
            continue;
        };
        let mut held = inputs.to_vec();
        let ctx = TensorContext { name: "output.weight", n_per_row: 1 };
        match quantizer.hold(&scheme, &mut held, &ctx, &PlainCodec) {
            Ok(()) => {
                let listed: Vec<f32> = inputs.iter().map(|&x| ladder.cast(rounding, x)).collect();
                tally.same_bits(&scheme.to_string(), inputs, &held, &listed);
                if let Some(third) = third.filter(|_| rounding == Rounding::Rne) {
                    third.compare(&scheme, inputs, &held, tally);
                }
            }
            Err(error) => tally.could_not(format!("{scheme}: {error}")),
        }
    }
}

/// Checks every float format of up to eight bits exhaustively: each value, each middle of two, and their neighbours in F32.
pub(super) fn every_code_and_tie(quantizer: &dyn Quantizer) -> Check {
    let mut tally = Tally::default();
    for bits in 2..=8u8 {
        for x in 1..bits {
            let y = bits - 1 - x;
            for specials in [Specials::Ieee, Specials::Fn, Specials::Finite] {
                let Some(format) = ExMy::new(x, y, specials, ExMy::default_bias(x)) else { continue };
                let corners = Ladder::of(format).map_or(Vec::new(), |ladder| ladder.corners());
                against_list(quantizer, format, &corners, None, &mut tally);
            }
        }
    }
    tally.check(Area::Formats, "floats of 8 bits and less: every code and every tie", &["fast", "list of values"])
}

/// The floats with names whose values can be listed: all but TF32.
fn named() -> impl Iterator<Item = ExMy> {
    numerics::formats::floats().map(|(_, exmy)| exmy).filter(|exmy| exmy.bits() <= Ladder::MOST_BITS)
}

/// Checks all 65,536 patterns of BF16 and of F16 in every named format, and all ties of BF16 and F16 in these two formats.
pub(super) fn every_sixteen_bit_pattern(quantizer: &dyn Quantizer, python: Option<&mut Python>) -> Check {
    let third = Shared::new(python);
    let patterns = (0..=u16::MAX).flat_map(|bits| [bf16::from_bits(bits).to_f32(), f16::from_bits(bits).to_f32()]);
    let inputs: Vec<f32> = patterns.filter(|x| x.is_finite()).collect();
    let mut tally = Tally::default();
    for format in named() {
        against_list(quantizer, format, &inputs, Some(&third), &mut tally);
    }
    for format in [ExMy::BF16, ExMy::F16] {
        let corners = Ladder::of(format).map_or(Vec::new(), |ladder| ladder.corners());
        against_list(quantizer, format, &corners, Some(&third), &mut tally);
    }
    third.tell(tally.check(Area::Formats, "all BF16 and F16 patterns, all their ties", &["fast", "list of values"]))
}

/// Checks ten million finite bit patterns of F32 in every named format. Python gets one share of them at a time.
pub(super) fn random_floats(quantizer: &dyn Quantizer, python: Option<&mut Python>) -> Check {
    const SHARES: u64 = 80;
    const SHARE: usize = 125_000;
    let third = Shared::new(python);
    let of_share = |seed: u64| {
        let (mut draw, mut tally) = (Draw::new(seed), Tally::default());
        let inputs: Vec<f32> = std::iter::repeat_with(|| draw.finite()).take(SHARE).collect();
        for format in named() {
            against_list(quantizer, format, &inputs, Some(&third), &mut tally);
        }
        tally
    };
    let shares: Vec<Tally> = (0..SHARES).into_par_iter().map(|share| of_share(5 + share)).collect();
    let mut tally = Tally::default();
    shares.into_iter().for_each(|share| tally.add(share));
    third.tell(tally.check(Area::Formats, "ten million random F32 in every named float", &["fast", "list of values"]))
}
