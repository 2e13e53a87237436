//! `SELECTOR=SCHEME`: which tensors are quantized in which scheme.

use crate::grammar::outside_groups;
use crate::layer_set::LayerSet;
use crate::selector::{Selection, Selector, SelectorError};
use crate::target::Target;
use crate::tensor_id::TensorId;
use numerics::{Scheme, SchemeError};
use record::{Carrier, Edit, EditPlace};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use words::{Advice, Hint};

/// Why an application cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The text has no `=` outside brackets and slashes.
    #[error("{text:?} has no =, wanted SELECTOR=SCHEME")]
    NoScheme {
        /// The text as it was given.
        text: String,
    },
    /// The selector, on the left of the `=`, cannot be used.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The scheme, on the right of the `=`, cannot be used.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
}

impl Advice for ApplyError {
    fn hint(&self) -> Option<Hint> {
        match self {
            ApplyError::NoScheme { .. } => Some(Hint::words("for example ffn_norm=bf16 or attn[layers=0-3]=int8@row")),
            ApplyError::Selector(error) => error.hint(),
            ApplyError::Scheme(error) => error.hint(),
        }
    }
}

/// A target and the scheme that is applied to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    /// The selector of the tensors or activations.
    pub selector: Selector,
    /// The scheme in which they are quantized.
    pub scheme: Scheme,
}

impl Apply {
    /// The same scheme, on these layers only.
    #[must_use]
    pub fn narrowed(&self, layers: &LayerSet) -> Apply {
        Apply { selector: self.selector.narrowed(layers), scheme: self.scheme.clone() }
    }
}

impl FromStr for Apply {
    type Err = ApplyError;

    /// Parses `SELECTOR=SCHEME`. It splits at the first `=` outside brackets and regular expressions.
    fn from_str(text: &str) -> Result<Self, ApplyError> {
        let equals = outside_groups(text, b'=', true)?;
        let Some(&at) = equals.first() else { return Err(ApplyError::NoScheme { text: text.into() }) };
        Ok(Apply { selector: text[..at].parse()?, scheme: text[at + 1..].trim().parse()? })
    }
}

impl fmt::Display for Apply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.selector, self.scheme)
    }
}

/// The application that each tensor gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The index of each tensor and the index of the application that it gets, in file order.
    pub tensors: Vec<(usize, usize)>,
    /// The indices of matched tensors that are not weights, because their values are integers or f64; in file order.
    pub skipped: Vec<usize>,
    /// The indices of the applications of which no tensor is left, because later ones choose all their tensors.
    pub without_effect: Vec<usize>,
}

/// Finds the tensors of every application. Where several choose a tensor, the last one is applied. `rest` chooses what
/// no other application chooses and what `is_named` does not mark; that list may be empty.
///
/// # Errors
/// When a selector matches nothing.
pub fn resolve(applies: &[Apply], tensors: &[TensorId], is_named: &[bool]) -> Result<Applied, ApplyError> {
    let named = named(applies, tensors, is_named)?;
    let mut chosen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut skipped: Vec<usize> = Vec::new();
    for (no, apply) in applies.iter().enumerate() {
        let Selection { tensors: mut hits, skipped: no_weights } = apply.selector.select(tensors)?;
        if apply.selector.is_rest() {
            hits.retain(|&index| !named[index]);
            if hits.is_empty() {
                return Err(apply.selector.nothing_left(tensors, NO_REST).into());
            }
        }
        chosen.extend(hits.into_iter().map(|index| (index, no)));
        skipped.extend(no_weights);
    }
    skipped.sort_unstable();
    skipped.dedup();
    let without_effect = (0..applies.len()).filter(|no| !chosen.values().any(|it| it == no)).collect();
    Ok(Applied { tensors: chosen.into_iter().collect(), skipped, without_effect })
}

/// Advice on a `rest` of which nothing is left.
const NO_REST: &str = "the other rules name every matrix of the model";

/// Marks the tensors that an application other than `rest` chooses, in whatever use, and those that are marked already.
fn named(applies: &[Apply], tensors: &[TensorId], is_named: &[bool]) -> Result<Vec<bool>, ApplyError> {
    let mut named = is_named.to_vec();
    named.resize(tensors.len(), false);
    if !applies.iter().any(|apply| apply.selector.is_rest()) {
        return Ok(named);
    }
    for apply in applies.iter().filter(|apply| !apply.selector.is_rest()) {
        for target in apply.selector.targets(tensors)?.targets {
            if let Target::Weight(index, _) = target {
                named[index] = true;
            }
        }
    }
    Ok(named)
}

/// The edits of several applications, in the order of the applications. The edits of one application are in the order
/// of [`Selector::targets`].
///
/// # Errors
/// When a selector matches nothing.
pub fn edits(applies: &[Apply], tensors: &[TensorId]) -> Result<Vec<Edit>, ApplyError> {
    Ok(edits_by_apply(applies, tensors)?.into_iter().map(|(edit, _)| edit).collect())
}

/// The same edits, each with the application that asks for it, so that its scheme need not be parsed again.
///
/// Where several applications choose a tensor, the last one is applied. A matrix may have one scheme as lookup and
/// another as head: an application to one of its uses leaves the other use to the applications before it.
///
/// # Errors
/// When a selector matches nothing.
pub fn edits_by_apply<'a>(applies: &'a [Apply], tensors: &[TensorId]) -> Result<Vec<(Edit, &'a Apply)>, ApplyError> {
    let named = named(applies, tensors, &[])?;
    let mut found: Vec<(String, EditPlace, &Apply)> = Vec::new();
    for apply in applies {
        let mut targets = apply.selector.targets(tensors)?.targets;
        if apply.selector.is_rest() {
            targets.retain(|target| !matches!(target, Target::Weight(index, _) if named[*index]));
            if targets.is_empty() {
                return Err(apply.selector.nothing_left(tensors, NO_REST).into());
            }
        }
        let place = |target| match target {
            Target::Weight(index, place) => (tensors[index].name.clone(), place),
            Target::Node(name) => (name, EditPlace::Activation),
        };
        let targets: Vec<(String, EditPlace)> = targets.into_iter().map(place).collect();
        let mut chosen: HashMap<&str, Vec<EditPlace>> = HashMap::new();
        targets.iter().for_each(|(name, place)| chosen.entry(name).or_default().push(*place));
        found.retain_mut(|(other, there, _)| {
            let places = chosen.get(other.as_str()).map_or(&[][..], Vec::as_slice);
            places.iter().all(|&place| is_left(there, place))
        });
        found.extend(targets.into_iter().map(|(tensor, place)| (tensor, place, apply)));
    }
    let edit = |(tensor, place, apply): (String, EditPlace, &'a Apply)| {
        (Edit { tensor, scheme: apply.scheme.to_string(), carrier: Carrier::F32, place }, apply)
    };
    Ok(found.into_iter().map(edit).collect())
}

/// Whether something is left of an edit in the place `there`, once a later one acts in `place` of the same tensor.
/// `there` becomes the place that is left.
fn is_left(there: &mut EditPlace, place: EditPlace) -> bool {
    match (*there, place) {
        (EditPlace::Weight, EditPlace::Lookup) => *there = EditPlace::Head,
        (EditPlace::Weight, EditPlace::Head) => *there = EditPlace::Lookup,
        (_, EditPlace::Weight) => return false,
        (there, place) => return there != place,
    }
    true
}

/// The applications of which no edit is left, because later ones choose all their tensors.
pub fn without_effect<'a>(applies: &'a [Apply], edits: &[(Edit, &Apply)]) -> Vec<&'a Apply> {
    applies.iter().filter(|apply| !edits.iter().any(|(_, it)| std::ptr::eq(*it, *apply))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<TensorId> {
        ["blk.0.ffn_norm.weight", "blk.0.attn_q.weight", "blk.1.ffn_norm.weight"]
            .map(|name| TensorId { name: name.into(), ty: "f32".into(), ne: vec![8] })
            .to_vec()
    }

    #[test]
    fn the_scheme_starts_after_the_first_equals_outside_brackets_and_slashes() {
        for (text, selector, scheme) in [
            ("ffn_norm=bf16", "ffn_norm", "bf16"),
            ("attn[layers=0-3]=int8@row", "attn[layers=0-3]", "int8@row"),
            ("re:/a=b/[layers=1] = bf16:trunc", "re:/a=b/[layers=1]", "bf16:trunc"),
            ("ffn_norm=jitter:seed=3", "ffn_norm", "jitter:seed=3"),
        ] {
            let apply: Apply = text.parse().expect(text);
            assert_eq!((apply.selector.to_string().as_str(), apply.scheme.to_string().as_str()), (selector, scheme));
        }
        for text in ["ffn_norm", "=bf16", "ffn_norm=", "attn[layers=0", "ffn_norm=nonsense"] {
            assert!(text.parse::<Apply>().is_err(), "{text:?} was accepted");
        }
    }

    fn applies(texts: &[&str]) -> Vec<Apply> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn a_later_application_is_applied_to_the_tensors_that_it_names() {
        let rules = applies(&["ffn_norm=bf16", "re:/blk.1/=f16"]);
        let applied = resolve(&rules, &tensors(), &[]).expect("there");
        assert_eq!((applied.tensors, applied.without_effect), (vec![(0, 0), (2, 1)], vec![]));
        let edits = edits_by_apply(&rules, &tensors()).expect("there");
        let schemes: Vec<(&str, &str)> = edits.iter().map(|(e, _)| (e.tensor.as_str(), e.scheme.as_str())).collect();
        assert_eq!(schemes, [("blk.0.ffn_norm.weight", "bf16"), ("blk.1.ffn_norm.weight", "f16")]);

        let turned = applies(&["re:/blk.1/=f16", "ffn_norm=bf16"]);
        let applied = resolve(&turned, &tensors(), &[]).expect("there");
        assert_eq!((applied.tensors, applied.without_effect), (vec![(0, 1), (2, 1)], vec![0]));
        let edits = edits_by_apply(&turned, &tensors()).expect("there");
        assert_eq!(without_effect(&turned, &edits), [&turned[0]]);
    }

    #[test]
    fn rest_is_every_matrix_that_no_other_rule_names() {
        let matrix = |name: &str| TensorId { name: name.into(), ty: "f32".into(), ne: vec![8, 8] };
        let names = ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_v.weight", "blk.1.ffn_up.weight"];
        let model: Vec<TensorId> = names.map(matrix).into_iter().chain(tensors()).collect();
        let rules = applies(&["rest=q4_0", "attn_q=q8_0", "output[use=head]=bf16"]);
        let error = resolve(&rules, &model, &[]).expect_err("a use is not a whole tensor").to_string();
        assert!(error.contains("only whole tensors"), "{error}");
        let of = |edits: Vec<(Edit, &Apply)>| -> Vec<String> {
            edits.iter().map(|(edit, _)| format!("{} {:?} {}", edit.tensor, edit.place, edit.scheme)).collect()
        };
        let expected = [
            "blk.0.attn_v.weight Weight q4_0",
            "blk.1.ffn_up.weight Weight q4_0",
            "blk.0.attn_q.weight Weight q8_0",
            "token_embd.weight Head bf16",
        ];
        assert_eq!(of(edits_by_apply(&rules, &model[..4]).expect("there")), expected);
        let applied = resolve(&rules[..2], &model, &[false, false, true]).expect("there");
        assert_eq!(applied.tensors, [(0, 0), (1, 1), (3, 0), (5, 1)]);
        // Each rest has its own layers, and neither names what the other one takes.
        let two = applies(&["rest[layers=0]=q4_0", "rest[layers=1]=q8_0"]);
        assert_eq!(resolve(&two, &model, &[]).expect("there").tensors, [(1, 0), (2, 0), (3, 1)]);
        let none = resolve(&applies(&["weights=q4_0", "rest=q8_0"]), &model, &[]).expect_err("nothing is left");
        assert!(matches!(none.hint(), Some(Hint::Words(words)) if words.contains("every matrix")), "{none}");
    }

    #[test]
    fn the_uses_of_one_matrix_may_have_schemes_of_their_own_and_the_last_rule_for_a_use_is_applied() {
        let model = [TensorId { name: "token_embd.weight".into(), ty: "f16".into(), ne: vec![8, 8] }];
        let of = |rules: &[&str]| -> Vec<(EditPlace, String)> {
            let edits = edits(&applies(rules), &model).expect("there");
            edits.into_iter().map(|edit| (edit.place, edit.scheme)).collect()
        };
        let (whole, lookup, head) = (EditPlace::Weight, EditPlace::Lookup, EditPlace::Head);
        let edit = |place: EditPlace, scheme: &str| (place, scheme.to_owned());
        let both = of(&["token_embd[use=lookup]=int4@row", "output[use=head]=bf16"]);
        assert_eq!(both, [edit(lookup, "int4@row"), edit(head, "bf16")]);
        assert_eq!(of(&["token_embd=bf16", "output[use=head]=f16"]), [edit(lookup, "bf16"), edit(head, "f16")]);
        assert_eq!(of(&["token_embd=bf16", "token_embd[use=lookup]=f16"]), [edit(head, "bf16"), edit(lookup, "f16")]);
        assert_eq!(of(&["token_embd[use=head]=bf16", "output[use=head]=f16"]), [edit(head, "f16")]);
        assert_eq!(of(&["token_embd[use=head]=bf16", "token_embd=f16"]), [edit(whole, "f16")]);
    }

    #[test]
    fn layers_narrow_every_application() {
        let apply: Apply = "ffn_norm=bf16".parse().expect("apply");
        let narrowed = apply.narrowed(&LayerSet::one(1));
        let applied = resolve(&[narrowed], &tensors(), &[]).expect("there");
        assert_eq!(applied.tensors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2]);
    }
}
