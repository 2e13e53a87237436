//! The number formats: every row of the table against its plain form, against its definition written a second time,
//! and, where there is a Python, against numpy and ml_dtypes.

mod controls;
mod floats;
pub mod rows;
pub(crate) mod third;

use crate::check::{Area, Check, Tally};
use crate::inputs::{Input, edges};
use crate::oracle;
use crate::python::Python;
use crate::quantizer::{Plain, Quantizer};
use numerics::formats::{FORMATS, Family, FormatInfo};
use numerics::{FakeQuantError, Format, Nonfinite, PlainCodec, Scheme, TensorContext};

/// The tensor's name under which inputs are quantized. Seeds depend on it. It names a norm, since tools tend to leave
/// norms out.
const TENSOR: &str = "blk.0.ffn_norm.weight";

/// The number of checks that look at all formats together.
pub(crate) const N_OVER_ALL: usize = 5;

/// Makes all checks of formats.
pub fn checks(quantizer: &dyn Quantizer, mut python: Option<&mut Python>, put: &mut dyn FnMut(Check)) {
    by_row(quantizer, python.as_deref_mut(), put);
    put(floats::every_sixteen_bit_pattern(quantizer, python.as_deref_mut()));
    put(floats::random_floats(quantizer, python));
}

/// Makes the checks that look at every row of the table, without the two sweeps over millions of values.
pub fn by_row(quantizer: &dyn Quantizer, mut python: Option<&mut Python>, put: &mut dyn FnMut(Check)) {
    let inputs = edges();
    for row in FORMATS {
        match row.family() {
            Family::Ggml => {}
            Family::Control => put(controls::row(row, quantizer)),
            _ => put(format(row, quantizer, &inputs, python.as_deref_mut())),
        }
    }
    put(floats::every_code_and_tie(quantizer));
    put(nonfinite_is_refused(quantizer));
    put(controls::seeds_matter(quantizer));
}

/// Checks the schemes of one row on all inputs.
fn format(row: &FormatInfo, quantizer: &dyn Quantizer, inputs: &[Input], python: Option<&mut Python>) -> Check {
    let mut tally = Tally::default();
    let (mut defined, mut all, mut third) = (0, 0, None);
    match rows::schemes(row) {
        Err(why) => tally.could_not(why),
        Ok(schemes) => {
            all = schemes.len();
            for scheme in &schemes {
                let mut on = |input| against_plain_and_definition(quantizer, scheme, input, &mut tally);
                defined += usize::from(inputs.iter().fold(false, |defined, input| on(input) | defined));
            }
            third = Some(match python {
                Some(python) => rows::third(row, &schemes, quantizer, python, &mut tally),
                None => Err("numpy and ml_dtypes: no Python".to_owned()),
            });
        }
    }
    let mut check = tally.check(Area::Formats, format!("format {}", row.name), &["fast", "plain"]);
    if defined > 0 {
        check.compared.push(rows::of_schemes("definition in F64", defined, all));
    }
    match third {
        Some(Ok(name)) => check.compared.push(name),
        Some(Err(why)) => check.not_compared.push(why),
        None => {}
    }
    check
}

/// Compares the quantizer with the plain form and with the definition. Returns whether the definition has the scheme.
fn against_plain_and_definition(quantizer: &dyn Quantizer, scheme: &Scheme, input: &Input, tally: &mut Tally) -> bool {
    let what = || format!("{scheme} on {}", input.kind);
    match (held(quantizer, scheme, input), held(&Plain, scheme, input)) {
        (Ok(fast), Ok(plain)) => {
            tally.same_bits(&what(), &input.values, &fast, &plain);
            // What a scale stretches over a group's values reaches them all.
            let has_scale =
                scheme.granularity().is_some() || matches!(scheme.format(), Format::Mx { .. } | Format::Nvfp4 { .. });
            let beyond = || fast.iter().position(|x| !x.is_finite());
            tally.hold(!has_scale || beyond().is_none(), || {
                format!("{}: value {} was finite and is not finite afterwards", what(), beyond().unwrap_or_default())
            });
            let Some(defined) = oracle::hold(scheme, &input.values, input.n_per_row) else { return false };
            tally.same_bits(&format!("{}, by definition", what()), &input.values, &fast, &defined);
            true
        }
        (Err(FakeQuantError::RangeOverflow { .. }), Err(FakeQuantError::RangeOverflow { .. })) => {
            tally.agree(1);
            false
        }
        (fast, plain) => {
            let words =
                |result: Result<Vec<f32>, FakeQuantError>| result.err().map_or("values".into(), |e| e.to_string());
            tally.hold(false, || format!("{}: {} against {}", what(), words(fast), words(plain)));
            false
        }
    }
}

/// The values of `input` quantized in `scheme`.
pub(crate) fn held(quantizer: &dyn Quantizer, scheme: &Scheme, input: &Input) -> Result<Vec<f32>, FakeQuantError> {
    let mut values = input.values.clone();
    let ctx = TensorContext { name: TENSOR, n_per_row: input.n_per_row };
    quantizer.hold(scheme, &mut values, &ctx, &PlainCodec).map(|()| values)
}

/// Checks that NaN and infinity are an error that names tensor and index, and stay as they are under `nonfinite=keep`.
fn nonfinite_is_refused(quantizer: &dyn Quantizer) -> Check {
    let mut tally = Tally::default();
    for row in FORMATS.iter().filter(|row| row.family() != Family::Ggml && row.name != "identity") {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut input = Input { kind: "one bad value", values: vec![0.75; 64], n_per_row: 64 };
            input.values[41] = bad;
            let parse = |text: &str| text.parse().map_err(|_| text.to_owned()).and_then(rows::with_levels);
            let Ok(scheme) = parse(row.example) else {
                tally.hold(false, || format!("{} is not a scheme", row.example));
                continue;
            };
            let refused = held(quantizer, &scheme, &input);
            let named =
                matches!(&refused, Err(FakeQuantError::Nonfinite { tensor, index: 41, .. }) if tensor == TENSOR);
            tally.hold(named, || format!("{scheme}: value 41 of {TENSOR} is {bad}, but the answer was {refused:?}"));
            let keeping = scheme.clone().with_nonfinite(Nonfinite::Keep);
            let kept = held(quantizer, &keeping, &input);
            let stays = matches!(&kept, Ok(values) if values[41].to_bits() == bad.to_bits());
            tally.hold(stays, || format!("{keeping}: value 41 was {bad} and was changed"));
        }
    }
    tally.check(Area::Formats, "non-finite values are refused or kept", &["fast", "its contract"])
}
