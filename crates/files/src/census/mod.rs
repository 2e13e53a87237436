//! What the values of a file's tensors say about their precision and origin, and what schemes would change.
//!
//! | module | contents |
//! |---|---|
//! | `row` | one tensor |
//! | `source` | a tensor read whole, or in pieces |
//! | `prediction` | what schemes would change |
//! | `size` | tensors whose values have an implausible size |
//! | `verdict` | what the tensors say together |

mod prediction;
mod row;
mod size;
mod source;
mod verdict;

use crate::abreast::{TensorInMemory, side_by_side};
use crate::copies::{copies, sentence};
use crate::fallback;
use crate::open::Model;
use crate::pieces::ValuesError;
use numerics::{BlockCodec, Scheme};
use record::answer::{CENSUS_FORMAT, CensusAnswer, CensusTensor, RescaledNorms, SchemeFallback};
use record::{EditPlace, Predicted};
pub use row::VALUES_OF_THE_WEIGHT;
use select::selector::SelectorError;
use select::{Selection, Selector, TargetRole};
use source::{InPieces, Whole};
use std::collections::BTreeMap;
use words::{Advice, Hint};

/// Why there is no census. The message names the file only when the file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CensusError {
    /// The selector matches nothing.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The values of a tensor cannot be read.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// A scheme fits none of the tensors.
    #[error("{scheme} fits none of the tensors: {why}")]
    FitsNone {
        /// The scheme in its canonical form.
        scheme: String,
        /// Why the scheme does not fit the first of the tensors.
        why: String,
        /// What the user can do about that, where there is something.
        hint: Option<Hint>,
    },
}

impl Advice for CensusError {
    fn hint(&self) -> Option<Hint> {
        match self {
            CensusError::Selector(error) => error.hint(),
            CensusError::Values(error) => error.hint(),
            CensusError::FitsNone { hint, .. } => hint.clone(),
        }
    }
}

/// The most values of a tensor that is in memory as a whole: 256 MiB in F32. A larger tensor is read in pieces, in several
/// passes.
const WHOLE_VALUES: u64 = 1 << 26;

/// Examines every value of the target's tensors, and what each scheme would change in them. With `allow_fallback`, a ggml
/// type whose blocks do not divide the rows of a tensor gives way to the type that llama-quantize takes. `progress` gets
/// the number of tensors that are done and the number of all tensors.
///
/// Memory does not grow with the file. Of a tensor of more than 2^26 values a few pieces of 2^22 values are in memory, or
/// of one row where that is longer, and 32 bytes for each row. Only a scheme that moves values over the whole tensor, such
/// as `shuffle`, has all of them in memory.
///
/// # Errors
/// When the selector matches nothing, the file cannot be read, a scheme fits none of the tensors, or memory is short.
pub fn census(
    model: &Model,
    target: &Selector,
    schemes: &[Scheme],
    allow_fallback: bool,
    codec: &dyn BlockCodec,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<CensusAnswer, CensusError> {
    census_with_whole(WHOLE_VALUES, model, target, schemes, allow_fallback, codec, progress)
}

/// [`census`] with at most `whole_values` values of a tensor in memory as a whole. The answer is the same whatever their
/// number.
///
/// # Errors
/// As for [`census`].
pub fn census_with_whole(
    whole_values: u64,
    model: &Model,
    target: &Selector,
    schemes: &[Scheme],
    allow_fallback: bool,
    codec: &dyn BlockCodec,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<CensusAnswer, CensusError> {
    let Selection { tensors: chosen, skipped } = target.select(&model.ids)?;
    let total = chosen.len();
    let tensor_of = |index: usize| &model.file.tensors()[index];
    let is_whole = |index: &usize| tensor_of(*index).n_elements() <= whole_values;
    let (whole, large): (Vec<usize>, Vec<usize>) = chosen.iter().partition(|index| is_whole(index));
    let look = |index: usize, held: &mut TensorInMemory| {
        let tensor = tensor_of(index);
        row::look_at(tensor, &mut Whole { tensor, held, codec }, schemes, allow_fallback)
    };
    let found = side_by_side(&model.file, &whole, look, |done| progress(done, total))?;
    let mut looked_at: BTreeMap<usize, row::Looked> = whole.iter().copied().zip(found).collect();
    for &index in &large {
        progress(looked_at.len(), total);
        let mut source = InPieces::of(&model.file, tensor_of(index), codec)?;
        looked_at.insert(index, row::look_at(tensor_of(index), &mut source, schemes, allow_fallback)?);
    }

    let mut predictions: Vec<_> = schemes.iter().map(|scheme| prediction::none_yet(scheme, target)).collect();
    let mut tensors = Vec::with_capacity(total);
    let is_norm = |index: &usize| TargetRole::named("norms").is_some_and(|role| role.holds(&model.ids[*index]));
    let (mut norms, mut others) = (Vec::new(), Vec::new());
    for index in &chosen {
        let Some(row::Looked { row: mut tensor, census, predicted }) = looked_at.remove(index) else { continue };
        if is_norm(index) { &mut norms } else { &mut others }.extend(census);
        for (prediction, predicted) in predictions.iter_mut().zip(predicted) {
            prediction::add(prediction, &mut tensor, predicted);
        }
        tensors.push(tensor);
    }
    for prediction in &mut predictions {
        prediction::finish(prediction);
        if let Some(first) = prediction.refused.first().filter(|_| prediction.refused.len() == tensors.len()) {
            let (scheme, why, hint) = (prediction.scheme.clone(), first.why.clone(), first.advice.clone());
            return Err(CensusError::FitsNone { scheme, why, hint });
        }
    }
    let rescaled_norms = lineage::rescaled_norms(&norms, &others).map(|found| RescaledNorms {
        norms: found.norms,
        values: found.values,
        off_bf16: found.off_bf16,
        others: found.others,
        evidence_bits: found.evidence_bits,
    });
    let copies = copies(&model.file, codec)?;
    let mut verdict = verdict::verdict(&tensors, rescaled_norms.as_ref());
    verdict.extend(copies.iter().map(sentence));
    let role_of = |index: &usize| {
        let role = TargetRole::groups().find(|role| role.holds(&model.ids[*index]));
        role.map(|role| role.name())
    };
    let by_role: Vec<(Option<&str>, &CensusTensor)> = chosen.iter().map(role_of).zip(&tensors).collect();
    verdict.extend(size::remarks(&by_role));
    Ok(CensusAnswer {
        format: CENSUS_FORMAT,
        file: model.name(),
        target: target.to_string(),
        n_tensors: tensors.len(),
        skipped: skipped.iter().map(|&index| model.ids[index].name.clone()).collect(),
        verdict,
        copies,
        summary: summary(model, &chosen, &tensors),
        fallbacks: if allow_fallback { fallbacks(model, &chosen, schemes) } else { Vec::new() },
        rescaled_norms,
        tensors,
        predictions,
    })
}

/// The tensors in which a scheme gives way to its fallback.
fn fallbacks(model: &Model, chosen: &[usize], schemes: &[Scheme]) -> Vec<SchemeFallback> {
    let of_scheme = |scheme: &Scheme| {
        let requested = scheme.to_string();
        let of_tensor = |&index: &usize| {
            let tensor = &model.file.tensors()[index];
            let realised = fallback::scheme_for_rows(scheme, tensor.n_per_row());
            (realised != *scheme).then(|| SchemeFallback {
                name: tensor.name.clone(),
                place: EditPlace::Weight,
                scheme_requested: requested.clone(),
                scheme_realised: realised.to_string(),
            })
        };
        chosen.iter().filter_map(of_tensor).collect::<Vec<_>>()
    };
    schemes.iter().flat_map(of_scheme).collect()
}

/// A prediction of what a scheme would change, in the form of the record.
pub fn predicted(found: lineage::Prediction) -> Predicted {
    Predicted {
        n: found.n,
        changed: found.changed,
        zero_sign: found.zero_sign,
        minus_zero: found.minus_zero,
        overflowed: found.overflowed,
        zeroed: found.zeroed,
        unzeroed: found.unzeroed,
        saturated: found.saturated,
    }
}

/// Lines such as `norms: 61 of 61 stored f32, effectively BF16`.
fn summary(model: &Model, chosen: &[usize], rows: &[CensusTensor]) -> Vec<String> {
    let mut left: Vec<usize> = (0..rows.len()).collect();
    let mut lines = Vec::new();
    // Frequency factors are not weights, and no group of weights has them.
    for role in TargetRole::groups().chain(TargetRole::named("rope_freqs")) {
        let (of_role, others) = left.into_iter().partition(|&row| role.holds(&model.ids[chosen[row]]));
        left = others;
        lines.extend(sum_up(role.name(), &of_role, rows));
    }
    lines.extend(sum_up("others", &left, rows));
    lines
}

fn sum_up(role: &str, of_role: &[usize], rows: &[CensusTensor]) -> Option<String> {
    if of_role.is_empty() {
        return None;
    }
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for row in of_role.iter().map(|&i| &rows[i]) {
        let what = match (&row.grid, &row.transform) {
            _ if row.blocks.share.is_some() => format!("block grid {}", row.blocks.grid),
            _ if row.blocks.family.is_some() && row.blocks.bits.is_none() => row.blocks.grid.clone(),
            (None, _) => match row.under_bf16 {
                Some(true) => "a BF16 source under it".to_owned(),
                Some(false) => "no coarser source shown".to_owned(),
                None => "not decidable".to_owned(),
            },
            _ if row.blocks.bits.is_some() => format!("block grid {}", row.blocks.grid),
            (_, Some(_)) => format!("= {}", row.effective),
            (Some(_), None) if row.effective.eq_ignore_ascii_case(&row.ty) => "no coarser grid found".to_owned(),
            (Some(_), None) => format!("effectively {}", row.effective),
        };
        *counts.entry((&row.ty, what)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let parts: Vec<String> =
        counts.iter().map(|((ty, what), n)| format!("{n} of {} stored {ty}, {what}", of_role.len())).collect();
    Some(format!("{role}: {}", parts.join("; ")))
}
