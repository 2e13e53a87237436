//! ggml's types: ggml's own functions, through [`BlockCodec`], against drawings of the blocks and against gguf-py.

use crate::canary;
use crate::check::{Area, Check, Tally};
use crate::inputs::{Draw, rows_of_256};
use crate::oracle::ggml::{Contraction, Drawn, QUANTIZED, quantize};
use crate::python::Python;
use numerics::ggml::{GGML_FORMATS, GgmlFormat};
use numerics::{BlockCodec, PlainCodec};

const GGML: &str = "ggml";
const ONLY_GGML: &str = "drawing of its bytes: its grid is ggml's alone";
/// Rows of 256 values.
const ROWS: usize = 64;
/// Blocks of random bytes.
const RANDOM_BLOCKS: usize = 400;

/// A second way from bytes to values.
type Restore<'a> = dyn Fn(&[u8]) -> Vec<f32> + 'a;

/// All checks of ggml's types.
pub fn checks(codec: &dyn BlockCodec, mut python: Option<&mut Python>, put: &mut dyn FnMut(Check)) {
    for format in GGML_FORMATS {
        put(restored(format, codec, python.as_deref_mut()));
    }
    for ty in QUANTIZED {
        put(quantized(ty, codec, python.as_deref_mut()));
    }
    put(importances_are_heeded(codec));
}

/// Bytes of a type: quantized weights, or, where that needs importances, with importances of one.
fn stored(format: &GgmlFormat, codec: &dyn BlockCodec) -> Result<Vec<u8>, String> {
    let needs = codec.layout(format.name).is_some_and(|layout| layout.requires_imatrix);
    let ones = [1.0f32; 256];
    codec.quantize(format.name, &rows_of_256(ROWS), 256, needs.then_some(&ones[..])).map_err(|error| error.to_string())
}

/// Blocks of random bytes whose F16 fields are finite: codes that no quantizer writes are restored alike too.
fn random_blocks(drawn: &Drawn) -> Vec<u8> {
    let mut draw = Draw::new(17);
    let mut bytes = Vec::with_capacity(RANDOM_BLOCKS * drawn.type_size);
    for _ in 0..RANDOM_BLOCKS {
        let mut block: Vec<u8> = (0..drawn.type_size).map(|_| draw.bits() as u8).collect();
        // Bit 6 of the upper byte is the exponent's highest: without it F16 is below 2 and never NaN.
        drawn.f16_at.iter().for_each(|at| block[at + 1] &= 0xbf);
        if drawn.ty == "mxfp4" {
            // E8M0 255 is NaN by the standard and a number to ggml.
            block[0] = block[0].min(254);
        }
        bytes.extend(block);
    }
    bytes
}

fn restored(format: &GgmlFormat, codec: &dyn BlockCodec, python: Option<&mut Python>) -> Check {
    let ty = format.name;
    let name = format!("ggml {ty}: restored");
    let (mut tally, mut compared, mut not_compared) = (Tally::default(), vec![GGML.to_owned()], Vec::new());
    let drawn = Drawn::find(ty);
    if drawn.is_none() && PlainCodec.layout(ty).is_none() && python.is_none() {
        let mut check = Check::skipped(Area::Ggml, name, "nothing to compare ggml with");
        check.not_compared = vec![ONLY_GGML.into(), "gguf-py: no Python".into()];
        return check;
    }
    let bytes = match stored(format, codec) {
        Ok(bytes) => bytes,
        Err(why) => {
            tally.hold(false, || why);
            return tally.check(Area::Ggml, name, &[GGML]);
        }
    };
    let mut samples = vec![bytes];
    samples.extend(drawn.map(random_blocks));
    let mut theirs = Vec::new();
    for bytes in &samples {
        let mut values = vec![0.0; bytes.len() / format.type_size * format.blck_size];
        match codec.dequantize(ty, bytes, &mut values) {
            Ok(()) => theirs.push(values),
            Err(error) => tally.hold(false, || error.to_string()),
        }
    }
    let second: Option<(&str, Box<Restore<'_>>)> = match (drawn, PlainCodec.layout(ty)) {
        (Some(drawn), _) => Some(("drawing of its bytes", Box::new(|bytes| drawn.restore(bytes)))),
        (None, Some(_)) => Some((
            "half crate",
            Box::new(|bytes| {
                let mut values = vec![0.0; bytes.len() / format.type_size];
                // Cannot fail: a plain float of whole values. If it did, the zeros would differ.
                drop(PlainCodec.dequantize(ty, bytes, &mut values));
                values
            }),
        )),
        (None, None) => None,
    };
    match second {
        Some((second, restore)) => {
            compared.push(second.into());
            for (bytes, theirs) in samples.iter().zip(&theirs) {
                tally.same_bits(ty, &[], theirs, &restore(bytes));
            }
        }
        None => not_compared.push(ONLY_GGML.to_owned()),
    }
    match python {
        None => not_compared.push("gguf-py: no Python".into()),
        Some(python) => match by_gguf_py(ty, &samples, &theirs, python, &mut tally) {
            Ok(()) => compared.push(python.name("gguf")),
            Err(why) => not_compared.push(format!("gguf-py: {why}")),
        },
    }
    let mut check = match compared.len() {
        1 if tally.holds() => Check::skipped(Area::Ggml, name, "nothing to compare ggml with"),
        _ => tally.check(Area::Ggml, name, &[]),
    };
    (check.compared, check.not_compared) = (compared, not_compared);
    check
}

fn by_gguf_py(
    ty: &str,
    samples: &[Vec<u8>],
    theirs: &[Vec<f32>],
    python: &mut Python,
    tally: &mut Tally,
) -> Result<(), String> {
    for (bytes, theirs) in samples.iter().zip(theirs) {
        let third = python.restore(ty, bytes)?;
        // numpy gives −0 where a product with zero does; ggml's sums may give +0.
        tally.hold(third.len() == theirs.len(), || format!("{ty}: {} values by gguf-py", third.len()));
        for (i, (a, b)) in theirs.iter().zip(&third).enumerate() {
            tally.hold(a == b, || format!("{ty}: value {i} is {a:e}, by gguf-py {b:e}"));
        }
    }
    Ok(())
}

fn quantized(ty: &'static str, codec: &dyn BlockCodec, python: Option<&mut Python>) -> Check {
    let name = format!("ggml {ty}: quantized");
    let values = rows_of_256(ROWS);
    let mut tally = Tally::default();
    let contraction = canary::of_ggml(codec).unwrap_or(Contraction::Separate);
    let ours = quantize(ty, &values, contraction).unwrap_or_default();
    let compared = match contraction {
        Contraction::Separate => "second form, every operation rounded",
        Contraction::Fused => "second form, products and sums fused",
    };
    let theirs = codec.quantize(ty, &values, 256, None);
    let type_size = Drawn::find(ty).map_or(1, |drawn| drawn.type_size);
    match &theirs {
        Ok(theirs) => blocks_agree(ty, "the second form", theirs, &ours, type_size, &mut tally),
        Err(error) => tally.hold(false, || error.to_string()),
    }
    let third = match (python, &theirs) {
        (Some(python), Ok(theirs)) => python.quantize(ty, &values).map(|third| {
            let mut of_python = Tally::default();
            blocks_agree(ty, "gguf-py", theirs, &third, type_size, &mut of_python);
            // gguf-py rounds every operation: where ggml does not, it must agree with the form that rounds instead.
            if contraction == Contraction::Fused && !of_python.holds() {
                of_python = Tally::default();
                let rounded = quantize(ty, &values, Contraction::Separate).unwrap_or_default();
                blocks_agree(ty, "gguf-py", &rounded, &third, type_size, &mut of_python);
            }
            tally.add(of_python);
            python.name("gguf")
        }),
        (None, _) => Err("no Python".to_owned()),
        (_, Err(_)) => Err("ggml gave nothing".to_owned()),
    };
    let mut check = tally.check(Area::Ggml, name, &[GGML, compared]);
    match third {
        Ok(name) => check.compared.push(name),
        Err(why) => check.not_compared.push(format!("gguf-py: {why}")),
    }
    check
}

fn blocks_agree(ty: &str, whose: &str, theirs: &[u8], ours: &[u8], type_size: usize, tally: &mut Tally) {
    tally.hold(theirs.len() == ours.len(), || format!("{ty}: {} bytes, by {whose} {}", theirs.len(), ours.len()));
    for (i, (a, b)) in theirs.chunks(type_size).zip(ours.chunks(type_size)).enumerate() {
        tally.hold(a == b, || format!("{ty}: block {i} is {a:02x?}, by {whose} {b:02x?}"));
    }
}

/// With importances the error that they weigh is smaller than without, for every type that takes them.
fn importances_are_heeded(codec: &dyn BlockCodec) -> Check {
    let mut draw = Draw::new(31);
    let values: Vec<f32> = (0..32 * 256).map(|_| draw.unit()).collect();
    // One column in eight matters, and by far.
    let importances: Vec<f32> = (0..256).map(|i| if i % 8 == 3 { 1000.0 } else { 0.1 }).collect();
    let mut tally = Tally::default();
    for ty in ["q4_0", "q4_1", "q5_0", "q2_K", "q3_K", "q4_K", "q5_K", "iq4_nl", "iq4_xs"] {
        let error = |imatrix: Option<&[f32]>| -> Result<f64, String> {
            let bytes = codec.quantize(ty, &values, 256, imatrix).map_err(|error| error.to_string())?;
            let mut held = vec![0.0; values.len()];
            codec.dequantize(ty, &bytes, &mut held).map_err(|error| error.to_string())?;
            let weighed = values.iter().zip(&held).zip(importances.iter().cycle());
            Ok(weighed.map(|((x, y), w)| f64::from(*w) * (f64::from(*x) - f64::from(*y)).powi(2)).sum())
        };
        match (error(None), error(Some(&importances))) {
            (Ok(without), Ok(with)) => tally.hold(with < without, || {
                format!("{ty}: the weighed error is {with:e} with importances and {without:e} without")
            }),
            (without, with) => tally.hold(false, || format!("{ty}: {without:?}, {with:?}")),
        }
    }
    tally.check(Area::Ggml, "ggml: importances are heeded", &[GGML, "their promise"])
}
