//! The file's own tensors: restored, and held in schemes, by every implementation there is.

use super::Subject;
use crate::check::{Area, Check, Tally};
use crate::oracle::{self, ggml::Drawn};
use crate::python::Python;
use crate::quantizer::Plain;
use crate::quantizer::Quantizer;
use numerics::{BlockCodec, PlainCodec, Scheme, TensorContext};
use std::collections::BTreeMap;

/// Values of a tensor that are restored a second time: all, in models of this size.
const SECOND_VALUES: usize = 1 << 24;
/// Values of a type that go to gguf-py, which is slow.
const THIRD_VALUES: usize = 1 << 19;
/// Values of a picked tensor that are held in schemes.
const SCHEME_VALUES: usize = 1 << 16;

/// Schemes that the picks are held in.
const SCHEMES: [&str; 9] =
    ["bf16", "f16", "fp8_e4m3@row", "int8@row", "int4@block32", "int4@row:asym", "mxfp4", "nvfp4", "nf4"];

pub(super) fn checks(subject: &Subject<'_>, mut python: Option<&mut Python>, put: &mut dyn FnMut(Check)) {
    let mut by_type: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, tensor) in subject.file.tensors().iter().enumerate() {
        by_type.entry(tensor.ty.name()).or_default().push(index);
    }
    for (ty, tensors) in by_type {
        put(stored(subject, ty, &tensors, python.as_deref_mut()));
    }
    for pick in 0..subject.picks.len() {
        put(in_schemes(subject, pick, python.as_deref_mut()));
    }
}

/// A second way to restore a type, where there is one.
fn second(ty: &str, bytes: &[u8], n: usize) -> Option<Vec<f32>> {
    if let Some(drawn) = Drawn::find(ty) {
        return Some(drawn.restore(bytes));
    }
    let mut values = vec![0.0; n];
    PlainCodec.dequantize(ty, bytes, &mut values).ok().map(|()| values)
}

fn stored(subject: &Subject<'_>, ty: &str, tensors: &[usize], python: Option<&mut Python>) -> Check {
    let name = format!("stored {ty}: restored alike");
    let mut tally = Tally::default();
    let mut for_python: (Vec<u8>, Vec<f32>) = Default::default();
    let mut has_second = false;
    for &index in tensors {
        let tensor = &subject.file.tensors()[index];
        let bytes = match (subject.parts.weights)(&subject.file, tensor) {
            Ok(bytes) => bytes,
            Err(error) => {
                tally.hold(false, || error.to_string());
                continue;
            }
        };
        let per_row = tensor.n_per_row().max(1) as usize;
        let rows = (tensor.n_elements() as usize / per_row).min((SECOND_VALUES / per_row).max(1));
        let row_bytes = tensor.ty.bytes_of(per_row as u64).unwrap_or(0) as usize;
        let Some(bytes) = bytes.get(..rows * row_bytes) else {
            tally
                .hold(false, || format!("{}: {} bytes, wanted {} rows of {row_bytes}", tensor.name, bytes.len(), rows));
            continue;
        };
        let mut values = vec![0.0; rows * per_row];
        if let Err(error) = subject.parts.codec.dequantize(ty, bytes, &mut values) {
            // An integer tensor, say: nothing of a scheme's.
            return Check::skipped(Area::Model, name, error.to_string());
        }
        if let Some(second) = second(ty, bytes, values.len()) {
            has_second = true;
            tally.same_bits(&tensor.name, &[], &values, &second);
        }
        let room = (THIRD_VALUES - for_python.1.len().min(THIRD_VALUES)) / per_row;
        let rows = rows.min(room);
        for_python.0.extend(&bytes[..rows * row_bytes]);
        for_python.1.extend(&values[..rows * per_row]);
    }
    let mut compared = vec!["ggml"];
    if has_second {
        compared.push(if Drawn::find(ty).is_some() { "drawing of its bytes" } else { "half crate" });
    }
    let third = match python {
        None => Err("no Python".to_owned()),
        Some(python) => python.restore(ty, &for_python.0).map(|third| {
            tally.hold(third.len() == for_python.1.len(), || format!("{} values by gguf-py", third.len()));
            for (i, (a, b)) in for_python.1.iter().zip(&third).enumerate() {
                tally.hold(a == b, || format!("value {i} of {ty} is {a:e}, by gguf-py {b:e}"));
            }
            python.name("gguf")
        }),
    };
    if !has_second && third.is_err() && tally.holds() {
        return Check::skipped(Area::Model, name, "nothing to compare ggml with");
    }
    let mut check = tally.check(Area::Model, name, &compared);
    match third {
        Ok(name) => check.compared.push(name),
        Err(why) => check.not_compared.push(format!("gguf-py: {why}")),
    }
    check
}

fn in_schemes(subject: &Subject<'_>, pick: usize, mut python: Option<&mut Python>) -> Check {
    let pick = &subject.picks[pick];
    let (mut tally, mut third) = (Tally::default(), None);
    let values = subject.values(&pick.name);
    let n_per_row = subject.file.tensor(&pick.name).map_or(1, |tensor| tensor.n_per_row() as usize);
    let values = values.map(|mut values| {
        values.truncate((SCHEME_VALUES / n_per_row).max(1) * n_per_row);
        values
    });
    let codec = &*subject.parts.codec;
    let ctx = TensorContext { name: &pick.name, n_per_row };
    for text in SCHEMES {
        let (Ok(values), Ok(scheme)) = (&values, text.parse::<Scheme>()) else {
            tally.hold(false, || format!("{}: cannot be held in {text}", pick.name));
            continue;
        };
        let hold = |quantizer: &dyn Quantizer| {
            let mut held = values.clone();
            quantizer.hold(&scheme, &mut held, &ctx, codec).map(|()| held).map_err(|error| error.to_string())
        };
        match (hold(&*subject.parts.quantizer), hold(&Plain)) {
            (Ok(fast), Ok(plain)) => {
                tally.same_bits(&format!("{} in {scheme}", pick.name), values, &fast, &plain);
                if let Some(defined) = oracle::hold(&scheme, values, n_per_row) {
                    tally.same_bits(&format!("{} in {scheme}, by definition", pick.name), values, &fast, &defined);
                }
                let kind = match text {
                    "bf16" => "cast:bfloat16",
                    "f16" => "cast:float16",
                    "mxfp4" if n_per_row.is_multiple_of(32) => "mx:float4_e2m1fn",
                    "nvfp4" if n_per_row.is_multiple_of(16) => "nvfp4",
                    _ => continue,
                };
                if let Some(python) = python.as_deref_mut() {
                    match python.floats(kind, values) {
                        Ok(theirs) => {
                            let same = fast.len() == theirs.len() && fast.iter().zip(&theirs).all(|(a, b)| a == b);
                            tally.hold(same, || format!("{} in {scheme}: other values by Python", pick.name));
                            third = Some(python.name("ml_dtypes"));
                        }
                        Err(why) => tally.hold(false, || why),
                    }
                }
            }
            (Err(why), _) | (_, Err(why)) => tally.hold(false, || format!("{scheme}: {why}")),
        }
    }
    let compared = ["fast", "plain", "definition in F64"];
    let mut check = tally.check(Area::Model, format!("own values in schemes: {}", kind_of(&pick.name)), &compared);
    match third {
        Some(name) => check.compared.push(name),
        None => check.not_compared.push("numpy and ml_dtypes: no Python".into()),
    }
    check
}

/// The tensor's name without its layer: the same in every model.
fn kind_of(name: &str) -> &str {
    name.splitn(3, '.').nth(2).unwrap_or(name)
}

impl Subject<'_> {
    /// A tensor's values, from the file.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.file.tensor(name).ok_or_else(|| format!("the file has no {name}"))?;
        let bytes = (self.parts.weights)(&self.file, tensor).map_err(|error| error.to_string())?;
        let mut values = vec![0.0; tensor.n_elements() as usize];
        self.parts.codec.dequantize(tensor.ty.name(), &bytes, &mut values).map_err(|error| error.to_string())?;
        Ok(values)
    }
}
