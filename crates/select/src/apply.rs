//! `SELECTOR=SCHEME`: which tensors are quantized in which scheme.

use crate::grammar::outside_groups;
use crate::layer_set::LayerSet;
use crate::selector::{Selection, Selector, SelectorError};
use crate::target::Target;
use crate::tensor_id::TensorId;
use numerics::{Scheme, SchemeError};
use record::{Carrier, Edit, EditPlace};
use std::{collections::BTreeMap, fmt, str::FromStr};
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
    /// Two applications choose the same tensor.
    #[error("tensor {tensor:?} is chosen by {first} and by {second}")]
    Overlap {
        /// The GGUF name of the tensor.
        tensor: String,
        /// The application that was given first.
        first: String,
        /// The application that was given later.
        second: String,
    },
}

impl Advice for ApplyError {
    fn hint(&self) -> Option<Hint> {
        match self {
            ApplyError::NoScheme { .. } => Some(Hint::words("for example ffn_norm=bf16 or attn[layers=0-3]=int8@row")),
            ApplyError::Selector(error) => error.hint(),
            ApplyError::Scheme(error) => error.hint(),
            ApplyError::Overlap { .. } => Some(Hint::words("narrow one of them, for example with [layers=…]")),
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

/// The scheme of each tensor under several applications.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// The index and the scheme of each tensor, in file order.
    pub tensors: Vec<(usize, Scheme)>,
    /// The indices of matched tensors that are not weights, because their values are integers or f64; in file order.
    pub skipped: Vec<usize>,
}

/// Finds the tensors of every application.
///
/// # Errors
/// When a selector matches nothing, or two applications choose the same tensor.
pub fn resolve(applies: &[Apply], tensors: &[TensorId]) -> Result<Applied, ApplyError> {
    let mut chosen: BTreeMap<usize, &Apply> = BTreeMap::new();
    let mut skipped: Vec<usize> = Vec::new();
    for apply in applies {
        let Selection { tensors: hits, skipped: no_weights } = apply.selector.select(tensors)?;
        for index in hits {
            if let Some(first) = chosen.insert(index, apply) {
                return Err(ApplyError::Overlap {
                    tensor: tensors[index].name.clone(),
                    first: first.to_string(),
                    second: apply.to_string(),
                });
            }
        }
        skipped.extend(no_weights);
    }
    skipped.sort_unstable();
    skipped.dedup();
    Ok(Applied { tensors: chosen.into_iter().map(|(index, apply)| (index, apply.scheme.clone())).collect(), skipped })
}

/// The edits of several applications, in the order of the applications. The edits of one application are in the order
/// of [`Selector::targets`].
///
/// # Errors
/// When a selector matches nothing, or two applications choose the same tensor or node.
pub fn edits(applies: &[Apply], tensors: &[TensorId]) -> Result<Vec<Edit>, ApplyError> {
    Ok(edits_by_apply(applies, tensors)?.into_iter().map(|(edit, _)| edit).collect())
}

/// The same edits, each with the application that asks for it, so that its scheme need not be parsed again.
///
/// # Errors
/// When a selector matches nothing, or two applications choose the same tensor or node.
pub fn edits_by_apply<'a>(applies: &'a [Apply], tensors: &[TensorId]) -> Result<Vec<(Edit, &'a Apply)>, ApplyError> {
    let mut chosen: BTreeMap<String, Vec<(EditPlace, &Apply)>> = BTreeMap::new();
    let mut edits = Vec::new();
    for apply in applies {
        for target in apply.selector.targets(tensors)?.targets {
            let (tensor, place) = match target {
                Target::Weight(index, place) => (tensors[index].name.clone(), place),
                Target::Node(name) => (name, EditPlace::Activation),
            };
            let there = chosen.entry(tensor.clone()).or_default();
            // A matrix may have one scheme as lookup and another as head. An edit of the whole matrix conflicts with
            // both.
            let meets = |other: EditPlace| other == place || other == EditPlace::Weight || place == EditPlace::Weight;
            if let Some((_, first)) = there.iter().find(|(other, _)| meets(*other)) {
                return Err(ApplyError::Overlap { tensor, first: first.to_string(), second: apply.to_string() });
            }
            there.push((place, apply));
            edits.push((Edit { tensor, scheme: apply.scheme.to_string(), carrier: Carrier::F32, place }, apply));
        }
    }
    Ok(edits)
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

    #[test]
    fn two_schemes_on_one_tensor_are_refused_by_name() {
        let applies: Vec<Apply> =
            ["ffn_norm=bf16", "re:/blk.1/=f16"].iter().map(|text| text.parse().expect(text)).collect();
        let error = resolve(&applies, &tensors()).expect_err("overlap").to_string();
        assert!(error.contains("blk.1.ffn_norm.weight") && error.contains("ffn_norm=bf16"), "{error}");
    }

    #[test]
    fn the_uses_of_one_matrix_may_be_held_in_different_schemes_but_not_twice_in_one() {
        let model = [TensorId { name: "token_embd.weight".into(), ty: "f16".into(), ne: vec![8, 8] }];
        let of = |applies: &[&str]| {
            let applies: Vec<Apply> = applies.iter().map(|text| text.parse().expect(text)).collect();
            edits(&applies, &model)
        };
        let both = of(&["token_embd[use=lookup]=int4@row", "output[use=head]=bf16"]).expect("two uses");
        assert_eq!(both.iter().map(|edit| edit.place).collect::<Vec<_>>(), [EditPlace::Lookup, EditPlace::Head]);
        assert!(of(&["token_embd=bf16", "output[use=head]=f16"]).is_err());
        assert!(of(&["token_embd[use=head]=bf16", "output[use=head]=f16"]).is_err());
    }

    #[test]
    fn layers_narrow_every_application() {
        let apply: Apply = "ffn_norm=bf16".parse().expect("apply");
        let narrowed = apply.narrowed(&LayerSet::one(1));
        let applied = resolve(&[narrowed], &tensors()).expect("there");
        assert_eq!(applied.tensors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2]);
    }
}
