//! Which rule each tensor of a file gets.
//!
//! Three kinds of rules are tried in this order, and a tensor gets the first kind that names it:
//!
//! 1. the applications, of which the last one that chooses the tensor counts;
//! 2. the rules of a file in llama-quantize's format, of which the first one that matches counts;
//! 3. the base, which names every other matrix.

use super::{Request, RewriteError};
use crate::pieces::shown;
use gguf::{GgmlType, GgufFile, TensorInfo};
use numerics::Scheme;
use numerics::ggml::GgmlFormat;
use select::{Apply, TargetRole, TensorId, resolve};
use std::collections::{BTreeMap, BTreeSet};

/// What a rule asks of a tensor.
pub(super) struct Assigned {
    /// The scheme in which the values are quantized.
    pub(super) scheme: Scheme,
    /// The type in which they are stored.
    pub(super) ty: GgmlType,
    /// The rule, as the user wrote it.
    pub(super) rule: String,
}

/// The rules of a request, and the tensors that they get.
pub(super) struct Assignment {
    /// What is asked of each tensor, by its index.
    pub(super) tensors: BTreeMap<usize, Assigned>,
    /// The names of matched tensors that are not weights.
    pub(super) skipped: Vec<String>,
    /// The rules that are applied to no tensor.
    pub(super) without_effect: Vec<String>,
    /// All rules, as the user wrote them.
    pub(super) rules: Vec<String>,
}

/// Finds the rule of each tensor.
///
/// # Errors
/// When an application matches nothing or has no type to be stored in, or no rule of a file matches anything.
pub(super) fn assign(source: &GgufFile, request: &Request<'_>) -> Result<Assignment, RewriteError> {
    let ids: Vec<TensorId> = source.tensors().iter().map(TensorId::from).collect();
    let weights = TargetRole::named("weights");
    // llama-quantize's own rules are for matrices.
    let is_matrix = |id: &TensorId| weights.is_some_and(|role| role.holds(id)) && !id.holds_no_weights();
    let typed: Vec<Option<usize>> = ids
        .iter()
        .map(|id| request.type_file.filter(|_| is_matrix(id)).and_then(|file| file.rule_for(&id.name)))
        .collect();
    let is_named: Vec<bool> = typed.iter().map(Option::is_some).collect();
    let applied = resolve(request.applies, &ids, &is_named)?;
    let mut tensors = BTreeMap::new();
    for (index, no) in applied.tensors {
        let (tensor, Apply { scheme, .. }) = (&source.tensors()[index], &request.applies[no]);
        let own = request.carrier.for_scheme(scheme, tensor.ty);
        let ty = own.ok_or_else(|| RewriteError::NoOwnType { tensor: shown(tensor), scheme: scheme.to_string() })?;
        tensors.insert(index, Assigned { scheme: scheme.clone(), ty, rule: request.applies[no].to_string() });
    }
    let mut without_effect: Vec<String> =
        applied.without_effect.iter().map(|&no| request.applies[no].to_string()).collect();
    let mut rules: Vec<String> = request.applies.iter().map(Apply::to_string).collect();
    if let Some(file) = request.type_file {
        let mut used = BTreeSet::new();
        for (index, no) in typed.iter().enumerate().filter_map(|(index, no)| no.map(|no| (index, no))) {
            let rule = &file.rules()[no];
            used.insert(no);
            tensors.entry(index).or_insert_with(|| stored(rule.ty, &source.tensors()[index], rule.to_string()));
        }
        if used.is_empty() {
            return Err(RewriteError::NoTypeRule { file: file.name().into(), n: file.rules().len() });
        }
        let unused = (0..file.rules().len()).filter(|no| !used.contains(no));
        without_effect.extend(unused.map(|no| file.rules()[no].to_string()));
        rules.extend(file.rules().iter().map(ToString::to_string));
    }
    if let Some(ty) = request.base {
        let rule = format!("base {ty}");
        for (index, _) in ids.iter().enumerate().filter(|(_, id)| is_matrix(id)) {
            tensors.entry(index).or_insert_with(|| stored(ty, &source.tensors()[index], rule.clone()));
        }
        rules.push(rule);
    }
    let skipped = applied.skipped.iter().map(|&index| ids[index].name.clone()).collect();
    Ok(Assignment { tensors, skipped, without_effect, rules })
}

/// The tensor really stored in a type. One that has the type already is left as it is.
fn stored(ty: GgmlType, tensor: &TensorInfo, rule: String) -> Assigned {
    let format = GgmlFormat::find(ty.name()).filter(|_| ty != tensor.ty);
    let scheme = format.map_or_else(Scheme::identity, |format| Scheme::identity().in_ggml(format));
    Assigned { scheme, ty, rule }
}
