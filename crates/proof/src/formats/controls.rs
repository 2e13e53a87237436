//! Transforms for controls. Only its random stream defines such a transform, so the checks look at what it promises.

use super::{TENSOR, held};
use crate::check::{Area, Check, Tally};
use crate::inputs::{Draw, Input};
use crate::quantizer::Quantizer;
use numerics::formats::FormatInfo;
use numerics::{PlainCodec, Scheme, TensorContext};

/// The relative error of the energy of noise. It is exact up to the rounding of each sum to F32, which is 2^−24 of the value
/// and a thousandth of this noise.
const NOISE_TOLERANCE: f64 = 1e-3;

/// Uniform weights with one zero among them.
fn weights() -> Input {
    let mut draw = Draw::new(21);
    Input {
        kind: "weights",
        values: (0..4096).map(|i| if i == 9 { 0.0 } else { draw.unit() }).collect(),
        n_per_row: 64,
    }
}

/// The values of `input` quantized in the scheme of that text.
fn hold(quantizer: &dyn Quantizer, scheme: &str, input: &Input) -> Result<Vec<f32>, String> {
    let scheme: Scheme = scheme.parse().map_err(|error| format!("{scheme}: {error}"))?;
    held(quantizer, &scheme, input).map_err(|error| error.to_string())
}

/// Checks what a control of the table promises.
pub(super) fn row(row: &FormatInfo, quantizer: &dyn Quantizer) -> Check {
    let (input, mut tally) = (weights(), Tally::default());
    match hold(quantizer, row.example, &input) {
        Err(why) => tally.could_not(why),
        Ok(held) => match row.name {
            "identity" => tally.same_bits("identity", &input.values, &held, &input.values),
            "zero" => tally.same_bits("zero", &input.values, &held, &vec![0.0; held.len()]),
            "jitter" => {
                for (x, y) in input.values.iter().zip(&held) {
                    let one_ulp = *y == x.next_up() || *y == x.next_down();
                    tally.hold(if *x == 0.0 { y == x } else { one_ulp }, || format!("jitter: {x:e} became {y:e}"));
                }
            }
            "noise(SQNR_DB)" => {
                let square = |x: f32| f64::from(x) * f64::from(x);
                let signal: f64 = input.values.iter().map(|&x| square(x)).sum();
                let noise: f64 = input.values.iter().zip(&held).map(|(x, y)| square(y - x)).sum();
                let ratio = signal / noise / 1000.0;
                tally.hold((ratio - 1.0).abs() < NOISE_TOLERANCE, || {
                    format!("noise(30): energy is off by a factor of {ratio}")
                });
            }
            "shuffle" => {
                let sorted = |values: &[f32]| {
                    let mut bits: Vec<u32> = values.iter().map(|x| x.to_bits()).collect();
                    bits.sort_unstable();
                    bits
                };
                tally.hold(sorted(&held) == sorted(&input.values), || {
                    "shuffle: the values that came out are not those that went in".into()
                });
                tally.hold(held != input.values, || "shuffle: nothing moved".into());
            }
            other => tally.hold(false, || format!("the control {other} has no check")),
        },
    }
    tally.check(Area::Formats, format!("control {}", row.name), &["fast", "its promise"])
}

/// Checks that a seed gives the same values again, and that another seed or another tensor gives other values.
pub(super) fn seeds_matter(quantizer: &dyn Quantizer) -> Check {
    let (input, mut tally) = (weights(), Tally::default());
    for (one, two) in [
        ("jitter:seed=1", "jitter:seed=2"),
        ("noise(20):seed=1", "noise(20):seed=2"),
        ("shuffle:seed=1", "shuffle:seed=2"),
        ("bf16:stochastic(1)", "bf16:stochastic(2)"),
        ("int4@row:stochastic(1)", "int4@row:stochastic(2)"),
    ] {
        let values = |scheme| hold(quantizer, scheme, &input);
        let elsewhere = || {
            let scheme: Scheme = one.parse().map_err(|error| format!("{error}"))?;
            let mut values = input.values.clone();
            let ctx = TensorContext { name: "blk.1.ffn_norm.weight", n_per_row: input.n_per_row };
            quantizer.hold(&scheme, &mut values, &ctx, &PlainCodec).map_err(|error| error.to_string())?;
            Ok::<_, String>(values)
        };
        match (values(one), values(one), values(two), elsewhere()) {
            (Ok(a), Ok(again), Ok(b), Ok(other)) => {
                tally.hold(a == again, || format!("{one}: not the same twice"));
                tally.hold(a != b, || format!("{one} and {two} give the same values"));
                tally.hold(a != other, || format!("{one}: the same values for {TENSOR} and another tensor"));
            }
            _ => tally.hold(false, || format!("{one}: cannot be applied")),
        }
    }
    tally.check(Area::Formats, "seeds decide what is drawn", &["fast", "its promise"])
}
