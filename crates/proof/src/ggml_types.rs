//! ggml's types: ggml's own functions, reached through [`BlockCodec`], against drawings of the blocks and against gguf-py.

use crate::canary;
use crate::check::{Area, Check, Tally};
use crate::inputs::{Draw, rows_of_256};
use crate::oracle::Ladder;
use crate::oracle::ggml::{Contraction, Drawn, QUANTIZED, block_of, quantize};
use crate::python::Python;
use numerics::ggml::{GGML_FORMATS, GgmlFormat};
use numerics::{BlockCodec, ExMy, PlainCodec};

const GGML: &str = "ggml";
const ONLY_GGML: &str = "drawing of its bytes: its grid is ggml's alone";
/// The number of rows of 256 values that each type is tried on.
const ROWS: usize = 64;
/// The number of blocks of random bytes.
const RANDOM_BLOCKS: usize = 400;

/// A second way to restore values from bytes.
type Restore<'a> = dyn Fn(&[u8]) -> Vec<f32> + 'a;

/// The number of checks that look at all types together.
pub(crate) const N_OVER_ALL: usize = 2;

/// Makes all checks of ggml's types.
pub fn checks(codec: &dyn BlockCodec, mut python: Option<&mut Python>, put: &mut dyn FnMut(Check)) {
    for format in GGML_FORMATS {
        put(restored(format, codec, python.as_deref_mut()));
    }
    for ty in QUANTIZED {
        put(quantized(ty, codec, python.as_deref_mut()));
    }
    put(importances_are_heeded(codec));
    put(shares_come_together(codec));
}

/// The number of rows of 256 values of a tensor that several threads share.
const SHARED_ROWS: usize = 520;
/// The rows that are quantized again by themselves: the first, the last, and those on both sides of where a share may end.
const ROWS_ALONE: [usize; 8] = [0, 1, 255, 256, 257, 511, 512, SHARED_ROWS - 1];

/// Checks that a large tensor, which threads share, gets the bytes that its rows get when they are quantized one by one.
fn shares_come_together(codec: &dyn BlockCodec) -> Check {
    let (mut tally, ones) = (Tally::default(), [1.0f32; 256]);
    let values = rows_of_256(SHARED_ROWS);
    for format in GGML_FORMATS.iter().filter(|format| format.blck_size > 1) {
        let ty = format.name;
        let Some(layout) = codec.layout(ty) else {
            tally.hold(false, || format!("ggml does not have {ty}"));
            continue;
        };
        let quantize = |values| codec.quantize(ty, values, 256, layout.requires_imatrix.then_some(&ones[..]));
        let row_size = 256 / layout.blck_size * layout.type_size;
        let alone = |row: usize| quantize(&values[row * 256..(row + 1) * 256]);
        match quantize(&values) {
            Err(error) => tally.could_not(error),
            Ok(together) => {
                for row in ROWS_ALONE {
                    let same = alone(row)
                        .is_ok_and(|bytes| together.get(row * row_size..(row + 1) * row_size) == Some(&bytes[..]));
                    tally.hold(same, || {
                        format!("{ty}: the bytes of row {row} of {SHARED_ROWS} differ from those of the row alone")
                    });
                }
            }
        }
    }
    tally.check(Area::Ggml, "ggml: shares of threads", &["a tensor at once", "its rows one by one"])
}

/// The bytes of quantized weights in a type. A type that needs importances gets importances of one.
fn stored(format: &GgmlFormat, codec: &dyn BlockCodec) -> Result<Vec<u8>, String> {
    let needs = codec.layout(format.name).is_some_and(|layout| layout.requires_imatrix);
    let ones = [1.0f32; 256];
    codec.quantize(format.name, &rows_of_256(ROWS), 256, needs.then_some(&ones[..])).map_err(|error| error.to_string())
}

/// Blocks of random bytes whose F16 fields are finite. They have codes that no quantizer writes.
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

/// Checks that a type is restored alike by ggml, by a second way where there is one, and by gguf-py.
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
            tally.could_not(why);
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
            Err(error) => tally.could_not(error),
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

/// Compares the values that ggml restored, `theirs`, with gguf-py's.
///
/// # Errors
/// In words, when gguf-py cannot restore the type or is gone.
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

/// The values that a type is quantized from, in whole blocks. A float type gets all values and ties of BF16 and F16 too.
fn inputs_of(ty: &str) -> Vec<f32> {
    let mut values = rows_of_256(ROWS);
    if block_of(ty).0 == 1 {
        let ladders = [ExMy::BF16, ExMy::F16].into_iter().filter_map(Ladder::of);
        values.extend(ladders.flat_map(|ladder| ladder.corners()));
    }
    values
}

/// Checks that ggml, the second form and gguf-py quantize to the same bytes.
fn quantized(ty: &str, codec: &dyn BlockCodec, python: Option<&mut Python>) -> Check {
    let mut tally = Tally::default();
    let contraction = canary::of_ggml(codec).unwrap_or(Contraction::Separate);
    let third = quantized_alike(ty, &inputs_of(ty), codec, contraction, python, &mut tally);
    let mut check = tally.check(Area::Ggml, format!("ggml {ty}: quantized"), &[GGML, second_form(contraction)]);
    match third {
        Ok(name) => check.compared.push(name),
        Err(why) => check.not_compared.push(format!("gguf-py: {why}")),
    }
    check
}

/// The name of the second form that [`quantized_alike`] compares ggml's bytes with.
pub(crate) fn second_form(contraction: Contraction) -> &'static str {
    match contraction {
        Contraction::Separate => "second form, every operation rounded",
        Contraction::Fused => "second form, products and sums fused",
    }
}

/// Quantizes whole blocks of values to one of [`QUANTIZED`] and compares ggml's bytes with the second form's and with
/// gguf-py's. `Ok` names the latter.
///
/// # Errors
/// In words, why gguf-py was not compared.
pub(crate) fn quantized_alike(
    ty: &str,
    values: &[f32],
    codec: &dyn BlockCodec,
    contraction: Contraction,
    python: Option<&mut Python>,
    tally: &mut Tally,
) -> Result<String, String> {
    let (blck_size, _) = block_of(ty);
    let second = |contraction| quantize(ty, values, contraction).unwrap_or_default();
    let theirs = match codec.quantize(ty, values, blck_size, None) {
        Ok(theirs) => theirs,
        Err(error) => {
            tally.could_not(error);
            return Err("ggml did not give a value".into());
        }
    };
    blocks_agree(ty, "the second form", &theirs, &second(contraction), tally);
    let python = python.ok_or("no Python")?;
    let third = python.quantize(ty, values)?;
    let against = |theirs: &[u8]| {
        let mut of_python = Tally::default();
        blocks_agree(ty, "gguf-py", &with_zeros_of(ty, values, theirs, &third), &third, &mut of_python);
        of_python
    };
    let mut of_python = against(&theirs);
    // gguf-py rounds every operation: where ggml does not, it must agree with the form that rounds instead.
    if contraction == Contraction::Fused && !of_python.holds() {
        of_python = against(&second(Contraction::Separate));
    }
    tally.add(of_python);
    Ok(python.name("gguf"))
}

/// `theirs` with the sign of the step from `third` where a type around zero has a block of zeros that begins with −0. ggml
/// begins its search for the greatest magnitude at +0, so its step is −0. gguf-py takes the first value, so its step is +0.
fn with_zeros_of(ty: &str, values: &[f32], theirs: &[u8], third: &[u8]) -> Vec<u8> {
    const SIGN: u8 = 0x80;
    let (blck_size, type_size) = block_of(ty);
    let mut theirs = theirs.to_vec();
    if matches!(ty, "q4_0" | "q5_0") {
        let blocks = theirs.chunks_mut(type_size).zip(third.chunks(type_size)).zip(values.chunks(blck_size));
        for ((theirs, third), _) in blocks.filter(|(_, x)| x.iter().all(|&x| x == 0.0) && x[0].is_sign_negative()) {
            // The upper byte of an F16.
            theirs[1] = theirs[1] & !SIGN | third.get(1).map_or(0, |byte| byte & SIGN);
        }
    }
    theirs
}

/// Compares two lists of blocks, one comparison a block.
fn blocks_agree(ty: &str, whose: &str, theirs: &[u8], ours: &[u8], tally: &mut Tally) {
    let (_, type_size) = block_of(ty);
    tally.hold(theirs.len() == ours.len(), || format!("{ty}: {} bytes, by {whose} {}", theirs.len(), ours.len()));
    for (i, (a, b)) in theirs.chunks(type_size).zip(ours.chunks(type_size)).enumerate() {
        tally.hold(a == b, || format!("{ty}: block {i} is {a:02x?}, by {whose} {b:02x?}"));
    }
}

/// Checks that the error weighed by importances is smaller with them than without, for every type that takes them.
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
