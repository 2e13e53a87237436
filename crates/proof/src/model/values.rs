//! Checks of the file's own tensors: every implementation restores them and quantizes them.

use super::ModelUnderTest;
use crate::check::{Area, Check, Status, Tally};
use crate::formats::third::NumpyQuestion;
use crate::oracle;
use crate::oracle::ggml::{Contraction, Drawn, block_of};
use crate::python::Python;
use crate::quantizer::{Plain, Quantizer};
use crate::{canary, ggml_types};
use gguf::TensorInfo;
use numerics::{BlockCodec, PlainCodec, Scheme, TensorContext};
use select::TensorId;
use select::companion::companion_of;
use std::collections::BTreeMap;

/// The most values of a tensor that are restored a second time. Few tensors have more.
const SECOND_VALUES: usize = 1 << 24;
/// The most values of a type that go to gguf-py, which is slow.
const THIRD_VALUES: usize = 1 << 19;
/// The most values of a picked tensor that are quantized, in whole rows. One row is taken whatever its length.
const SCHEME_VALUES: usize = 1 << 16;
/// 2^−100. The step of a block with a value as great has a reciprocal in F32.
const LEAST_GREATEST: f32 = 1.0 / (1u128 << 100) as f32;

/// The schemes in which the model's own values are quantized.
const SCHEMES: [&str; 9] =
    ["bf16", "f16", "fp8_e4m3@row", "int8@row", "int4@block32", "int4@row:asym", "mxfp4", "nvfp4", "nf4"];

/// The types of ggml that the model's own values are quantized to. gguf-py quantizes them too, each by another rule.
const TYPES: [&str; 4] = ["q4_0", "q8_0", "tq2_0", "mxfp4"];

/// Makes all checks of values.
pub(super) fn checks(subject: &ModelUnderTest<'_>, mut python: Option<&mut Python>, put: &mut dyn FnMut(Check)) {
    let mut by_type: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, tensor) in subject.file.tensors().iter().enumerate() {
        by_type.entry(tensor.ty.name()).or_default().push(index);
    }
    for (ty, tensors) in by_type {
        put(stored(subject, ty, &tensors, python.as_deref_mut()));
    }
    let (samples, left_out) = samples(subject);
    for scheme in SCHEMES {
        put(in_scheme(subject, scheme, &samples, &left_out, python.as_deref_mut()));
    }
    for ty in TYPES {
        put(quantized(subject, ty, &samples, &left_out, python.as_deref_mut()));
    }
}

/// The values of whole blocks by a second way, where there is one.
fn second(ty: &str, bytes: &[u8], n: usize) -> Option<Vec<f32>> {
    if let Some(drawn) = Drawn::find(ty) {
        return Some(drawn.restore(bytes));
    }
    let mut values = vec![0.0; n];
    PlainCodec.dequantize(ty, bytes, &mut values).ok().map(|()| values)
}

/// Checks that all tensors of a type are restored alike.
fn stored(subject: &ModelUnderTest<'_>, ty: &str, tensors: &[usize], python: Option<&mut Python>) -> Check {
    let name = format!("stored {ty}: restored alike");
    let mut tally = Tally::default();
    let mut for_python: (Vec<u8>, Vec<f32>) = Default::default();
    let mut has_second = false;
    for &index in tensors {
        let tensor = &subject.file.tensors()[index];
        let bytes = match subject.pipeline.read_tensor(&subject.file, tensor) {
            Ok(bytes) => bytes,
            Err(error) => {
                tally.could_not(error);
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
        if let Err(error) = subject.pipeline.codec().dequantize(ty, bytes, &mut values) {
            // An integer tensor, for example: no scheme applies to it.
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

/// The first values of a tensor.
struct Sample {
    name: String,
    /// The values, `[rows][n_per_row]`.
    values: Vec<f32>,
    n_per_row: usize,
}

/// One tensor of every role and stored type, the nearest to the middle layer. Integer tensors are left out: no scheme
/// applies to them.
fn picked<'s>(subject: &'s ModelUnderTest<'_>) -> Vec<&'s TensorInfo> {
    let mut picked: BTreeMap<(String, &str), (usize, &TensorInfo)> = BTreeMap::new();
    for tensor in subject.file.tensors() {
        let id = TensorId::from(tensor);
        if id.holds_no_weights() || tensor.n_elements() == 0 {
            continue;
        }
        let away = id.layer().map_or(0, |layer| subject.middle.abs_diff(layer as usize));
        let nearest = picked.entry((id.role(), tensor.ty.name())).or_insert((away, tensor));
        if away < nearest.0 {
            *nearest = (away, tensor);
        }
    }
    picked.into_values().map(|(_, tensor)| tensor).collect()
}

/// The first values of the [`picked`] tensors, and the tensors that are left out, each with the reason.
fn samples(subject: &ModelUnderTest<'_>) -> (Vec<Sample>, Vec<String>) {
    let (mut samples, mut left_out) = (Vec::new(), Vec::new());
    for tensor in picked(subject) {
        let n_per_row = tensor.n_per_row().max(1) as usize;
        match subject.first_values(tensor, SCHEME_VALUES) {
            Ok(values) if values.iter().all(|x| x.is_finite()) => {
                samples.push(Sample { name: tensor.name.clone(), values, n_per_row });
            }
            Ok(_) => left_out.push(format!("{}: not all of its values are finite", tensor.name)),
            Err(why) => left_out.push(format!("{}: {why}", tensor.name)),
        }
    }
    (samples, left_out)
}

/// Makes the check of all samples in one scheme or type.
fn of_samples(name: String, samples: &[Sample], left_out: &[String], tally: Tally, compared: &[&str]) -> Check {
    if samples.is_empty() {
        return Check::skipped(Area::Model, name, left_out.join("; "));
    }
    let mut check = tally.check(Area::Model, name, compared);
    check.not_compared.extend(left_out.iter().map(|why| format!("anything: {why}")));
    if check.status == Status::Passed {
        check.detail = format!("{} tensors, one of every role and stored type", samples.len());
    }
    check
}

/// Checks that every implementation quantizes the samples alike in a scheme.
fn in_scheme(
    subject: &ModelUnderTest<'_>,
    text: &str,
    samples: &[Sample],
    left_out: &[String],
    mut python: Option<&mut Python>,
) -> Check {
    let mut tally = Tally::default();
    let (mut is_defined, mut third) = (true, Ok::<(), String>(()));
    match text.parse::<Scheme>() {
        Err(error) => tally.could_not(error),
        Ok(scheme) => {
            for sample in samples {
                let Some(fast) = fast_and_plain(subject, &scheme, sample, &mut tally) else { continue };
                match oracle::hold(&scheme, &sample.values, sample.n_per_row) {
                    Some(defined) => {
                        let what = format!("{} in {scheme}, by definition", sample.name);
                        tally.same_bits(&what, &sample.values, &fast, &defined);
                    }
                    None => is_defined = false,
                }
                third = third.and_then(|()| {
                    let none = || format!("they do not have {scheme}");
                    let question = NumpyQuestion::of(&scheme, sample.n_per_row).ok_or_else(none)?;
                    let theirs = question.ask(python.as_deref_mut().ok_or("no Python")?, &sample.values)?;
                    question.compare(&sample.values, &fast, &theirs, &mut tally);
                    Ok(())
                });
            }
        }
    }
    let compared = ["fast", "plain", "definition in F64"];
    let compared = if is_defined { &compared[..] } else { &compared[..2] };
    let mut check = of_samples(format!("own values in {text}"), samples, left_out, tally, compared);
    match (third, python) {
        (Ok(()), Some(python)) => check.compared.push(python.name("ml_dtypes")),
        (Ok(()), None) => {}
        (Err(why), _) => check.not_compared.push(format!("numpy and ml_dtypes: {why}")),
    }
    check
}

/// The values of a sample as the fast path quantizes them; `None` when the scheme refuses them. The plain path must give
/// the same values or refuse with the same words.
fn fast_and_plain(
    subject: &ModelUnderTest<'_>,
    scheme: &Scheme,
    sample: &Sample,
    tally: &mut Tally,
) -> Option<Vec<f32>> {
    let ctx = TensorContext { name: &sample.name, n_per_row: sample.n_per_row };
    let hold = |quantizer: &dyn Quantizer| {
        let mut held = sample.values.clone();
        let done = quantizer.hold(scheme, &mut held, &ctx, subject.pipeline.codec());
        done.map(|()| held).map_err(|error| error.to_string())
    };
    let what = || format!("{} in {scheme}", sample.name);
    match (hold(subject.pipeline.quantizer()), hold(&Plain)) {
        (Ok(fast), Ok(plain)) => {
            tally.same_bits(&what(), &sample.values, &fast, &plain);
            return Some(fast);
        }
        (Err(fast), Err(plain)) => tally.hold(fast == plain, || format!("{}: {fast}; plain: {plain}", what())),
        (fast, plain) => tally.hold(false, || {
            let words = |held: Result<Vec<f32>, String>| held.err().unwrap_or_else(|| "held".into());
            format!("{}: {}; plain: {}", what(), words(fast), words(plain))
        }),
    }
    None
}

/// Checks that ggml, the second form and gguf-py quantize the samples to the same bytes.
fn quantized(
    subject: &ModelUnderTest<'_>,
    ty: &str,
    samples: &[Sample],
    left_out: &[String],
    mut python: Option<&mut Python>,
) -> Check {
    let mut tally = Tally::default();
    let codec = subject.pipeline.codec();
    let contraction = canary::of_ggml(codec).unwrap_or(Contraction::Separate);
    let (blck_size, _) = block_of(ty);
    let mut third = Err("no tensor has a block".to_owned());
    for sample in samples {
        let blocks = sample.values.chunks_exact(blck_size).filter(|block| has_a_step(block));
        let values: Vec<f32> = blocks.flatten().copied().collect();
        if !values.is_empty() {
            third = ggml_types::quantized_alike(ty, &values, codec, contraction, python.as_deref_mut(), &mut tally);
        }
    }
    let compared = ["ggml", ggml_types::second_form(contraction)];
    let mut check = of_samples(format!("own values quantized to {ty}"), samples, left_out, tally, &compared);
    match third {
        Ok(name) => check.compared.push(name),
        Err(why) => check.not_compared.push(format!("gguf-py: {why}")),
    }
    check
}

/// Whether a block is of zeros or its step has a reciprocal in F32. What C makes of the others is undefined.
fn has_a_step(block: &[f32]) -> bool {
    let greatest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    greatest == 0.0 || greatest >= LEAST_GREATEST
}

impl ModelUnderTest<'_> {
    /// The values of a tensor, from the file.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.file.tensor(name).ok_or_else(|| format!("the file has no {name}"))?;
        self.first_values(tensor, usize::MAX)
    }

    /// The factors of a weight that the file keeps in a tensor of its own, and the name of that tensor.
    pub(super) fn factors(&self, name: &str) -> Result<Option<(String, Vec<f32>)>, String> {
        let companion = companion_of(name).filter(|companion| self.file.tensor(companion).is_some());
        companion.map(|companion| Ok((companion.clone(), self.values(&companion)?))).transpose()
    }

    /// The values of a tensor, from the file, multiplied by its factors: the weight that the model has.
    pub(super) fn effective_values(&self, name: &str) -> Result<Vec<f32>, String> {
        let mut values = self.values(name)?;
        if let Some((_, factors)) = self.factors(name)? {
            let each = values.len() / factors.len().max(1);
            let matrices = values.chunks_mut(each.max(1)).zip(factors);
            matrices.for_each(|(matrix, factor)| matrix.iter_mut().for_each(|value| *value *= factor));
        }
        Ok(values)
    }

    /// The first rows of a tensor with at most `most` values, one row at least.
    fn first_values(&self, tensor: &TensorInfo, most: usize) -> Result<Vec<f32>, String> {
        let bytes = self.pipeline.read_tensor(&self.file, tensor).map_err(|error| error.to_string())?;
        let (n, n_per_row) = (tensor.n_elements(), tensor.n_per_row().max(1));
        let n = n.min((most as u64 / n_per_row).max(1) * n_per_row);
        let wanted = tensor.ty.bytes_of(n).unwrap_or(0) as usize;
        let found = || format!("{}: {} bytes, wanted {wanted} or more", tensor.name, bytes.len());
        let bytes = bytes.get(..wanted).ok_or_else(found)?;
        let mut values = vec![0.0; n as usize];
        self.pipeline.codec().dequantize(tensor.ty.name(), bytes, &mut values).map_err(|error| error.to_string())?;
        Ok(values)
    }
}
