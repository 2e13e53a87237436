//! A selector is `ROLE`, `re:/REGEX/` or an exact name. Each may have `[layers=…]`, and several are joined by commas.
//! A part that begins with `!` leaves its tensors out: `weights,!attn_v` is every matrix but those, and so is `!attn_v`.
//! With `[where=activation]` it chooses the values that are computed instead of the weights. With `[use=lookup]` or
//! `[use=head]` it chooses one use of the token embedding. [`Selector::targets`] finds those.
//!
//! text → [`Selector`] (canonical when printed) → [`Selector::select`] over a model's tensors → indices

use crate::activation_role::ActivationRole;
use crate::companion::{companions, weight_of};
use crate::layer_set::LayerSet;
use crate::tensor_id::{NameParts, TensorId};
use crate::weight_role::TargetRole;
use record::{LeftOut, Note, WeightUse};
use regex::Regex;
use std::collections::BTreeMap;
use words::{Advice, Hint, plural};

/// The largest number of names that are compared to suggest near ones. It is enough for any real model and bounds the
/// work for a hostile one.
const MAX_COMPARED: usize = 20_000;
/// The longest name that is suggested, in bytes.
const MAX_SUGGESTED_LEN: usize = 96;

/// Advice on a selector that leaves out all that it chooses.
pub(crate) const LEAVES_OUT_ALL: &str = "what follows ! leaves out every tensor that the rest of the selector chooses";

/// Why a selector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text does not follow the grammar.
    #[error("selector: found {found}, wanted {wanted}")]
    Syntax {
        /// What the text has.
        found: String,
        /// What the text should have there.
        wanted: String,
        /// What the user can write instead.
        hint: String,
    },
    /// A regular expression does not compile.
    #[error("selector {pattern:?}: {why}")]
    BadRegex {
        /// The regular expression.
        pattern: String,
        /// The error of the regular-expression compiler, in one line.
        why: String,
    },
    /// A qualifier is part of the grammar but cannot be used yet.
    #[error("selector {part:?}: {missing}")]
    NotYet {
        /// The part of the selector that cannot be used.
        part: String,
        /// The reason why it cannot be used.
        missing: String,
        /// What the user can do instead.
        hint: Hint,
    },
    /// A part of the selector matches no tensor.
    #[error("selector {part:?} matches none of the model's {}", plural(.searched, "tensor"))]
    NoMatch {
        /// The part of the selector that matches nothing.
        part: String,
        /// The number of tensors that were compared with it.
        searched: usize,
        /// Advice with the nearest names.
        hint: String,
    },
    /// The selector names a layer that the model does not have.
    #[error("selector: no layer {layer}: the model has {}", plural(.n_layer, "layer"))]
    NoSuchLayer {
        /// The layer as it was asked for. A negative number counts from the end.
        layer: i64,
        /// The number of layers of the model.
        n_layer: u32,
    },
}

impl Advice for SelectorError {
    fn hint(&self) -> Option<Hint> {
        Some(match self {
            SelectorError::Syntax { hint, .. } | SelectorError::NoMatch { hint, .. } => Hint::words(hint.clone()),
            SelectorError::BadRegex { .. } => Hint::words(
                "the syntax is that of the Rust regex crate; it is searched for anywhere in a tensor's name",
            ),
            SelectorError::NotYet { hint, .. } => hint.clone(),
            SelectorError::NoSuchLayer { n_layer, .. } => {
                let last = n_layer.saturating_sub(1);
                Hint::words(format!("layers count from 0 to {last}; -1 is the last"))
            }
        })
    }
}

/// A set of tensors, described independently of any model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// What is chosen. It is never empty.
    pub(crate) parts: Vec<Part>,
    /// What is left out of that.
    pub(crate) except: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) what: What,
    /// A tensor must be in a layer of each of these sets.
    pub(crate) layers: Vec<LayerSet>,
    /// Whether the selector chooses the values that are computed instead of the weights.
    pub(crate) is_activation: bool,
    /// The use in which a matrix is chosen. `None` means every use.
    pub(crate) used_as: Option<WeightUse>,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Role(TargetRole),
    /// A role that only activations have.
    Activation(ActivationRole),
    Regex(Regex),
    Name(String),
}

impl PartialEq for What {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (What::Role(a), What::Role(b)) => a == b,
            (What::Activation(a), What::Activation(b)) => a == b,
            (What::Regex(a), What::Regex(b)) => a.as_str() == b.as_str(),
            (What::Name(a), What::Name(b)) => a == b,
            _ => false,
        }
    }
}
impl Eq for What {}

/// The tensors that a selector chose in one model. Both lists are in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The indices of the chosen tensors.
    pub tensors: Vec<usize>,
    /// The indices of matched tensors that are not weights, because their values are integers or f64.
    pub skipped: Vec<usize>,
}

impl Selector {
    /// The tensors that are similar to what the selector's roles mean and that it does not select; `None` where there are
    /// none.
    pub fn leaves_out(&self, tensors: &[TensorId]) -> Option<Note> {
        let selected = self.select(tensors).ok()?.tensors;
        let mut left_out = Vec::new();
        for role in self.parts.iter().filter_map(|part| match part.what {
            What::Role(role) if !part.is_activation => Some(role),
            _ => None,
        }) {
            for stem in role.similar() {
                let is_left_out = |(index, tensor): &(usize, &TensorId)| {
                    let parts = NameParts::of(&tensor.name);
                    let is_similar = parts.stem == *stem && parts.suffix == "weight" && parts.family.is_empty();
                    is_similar && !selected.contains(index)
                };
                let n = tensors.iter().enumerate().filter(is_left_out).count();
                if n > 0 {
                    left_out.push(LeftOut { role: role.name().into(), similar: (*stem).to_owned(), n });
                }
            }
        }
        (!left_out.is_empty()).then_some(Note::SimilarLeftOut { left_out })
    }

    /// A selector of the same tensors, limited to these layers.
    #[must_use]
    pub fn narrowed(&self, layers: &LayerSet) -> Selector {
        let mut parts = self.parts.clone();
        for part in &mut parts {
            if !part.layers.contains(layers) {
                part.layers.push(layers.clone());
            }
        }
        Selector { parts, except: self.except.clone() }
    }

    /// Whether the selector means what no other rule names.
    pub fn is_rest(&self) -> bool {
        self.parts.iter().any(Part::is_rest)
    }

    /// Marks the tensors that the selector leaves out.
    ///
    /// # Errors
    /// When a part that is left out matches nothing.
    pub(crate) fn left_out(&self, tensors: &[TensorId]) -> Result<Vec<bool>, SelectorError> {
        let mut left_out = vec![false; tensors.len()];
        for part in &self.except {
            for index in part.select(tensors)? {
                left_out[index] = true;
            }
        }
        Ok(left_out)
    }

    /// The error for a selector that leaves out all that it chooses.
    pub(crate) fn nothing_left(&self, tensors: &[TensorId], hint: &str) -> SelectorError {
        SelectorError::NoMatch { part: self.to_string(), searched: tensors.len(), hint: hint.into() }
    }

    /// Finds the tensors, for work that applies to whole tensors of a file.
    ///
    /// # Errors
    /// When a part matches nothing, names a layer that the model does not have, or chooses something other than
    /// tensors.
    pub fn select(&self, tensors: &[TensorId]) -> Result<Selection, SelectorError> {
        let mut chosen = vec![false; tensors.len()];
        for part in &self.parts {
            if part.is_activation || part.used_as.is_some() {
                return Err(SelectorError::NotYet {
                    part: part.to_string(),
                    missing: "only whole tensors can be chosen here: activations and single uses of a matrix are no part of a file".into(),
                    hint: Hint::MeasureInModel,
                });
            }
            for index in part.select(tensors)? {
                chosen[index] = true;
            }
        }
        let left_out = self.left_out(tensors)?;
        let all = (0..tensors.len()).filter(|&index| chosen[index] && !left_out[index]);
        let (skipped, tensors_chosen): (Vec<usize>, Vec<usize>) =
            all.partition(|&index| tensors[index].holds_no_weights());
        if tensors_chosen.is_empty() && skipped.is_empty() {
            return Err(self.nothing_left(tensors, LEAVES_OUT_ALL));
        }
        if tensors_chosen.is_empty() {
            return Err(SelectorError::NoMatch {
                part: self.to_string(),
                searched: tensors.len(),
                hint: format!(
                    "it matches only {} of integers or f64, which hold no weights",
                    plural(skipped.len(), "tensor")
                ),
            });
        }
        Ok(Selection { tensors: tensors_chosen, skipped })
    }
}

/// The number of layers of the language model, counted from the names of its tensors.
pub fn n_layer(tensors: &[TensorId]) -> u32 {
    layer_counts(tensors).get("").copied().unwrap_or(0)
}

/// The number of layers of each family (`""`, `v`, `a`, `mm`).
fn layer_counts(tensors: &[TensorId]) -> BTreeMap<&str, u32> {
    let mut counts = BTreeMap::new();
    for tensor in tensors {
        let parts = NameParts::of(&tensor.name);
        if let Some(layer) = parts.layer {
            let count = counts.entry(parts.family).or_insert(0);
            *count = layer.saturating_add(1).max(*count);
        }
    }
    counts
}

impl Part {
    /// Whether the part means what no other rule names.
    pub(crate) fn is_rest(&self) -> bool {
        matches!(self.what, What::Role(role) if role.is_rest())
    }

    fn select(&self, tensors: &[TensorId]) -> Result<Vec<usize>, SelectorError> {
        let mut candidates: Vec<usize> =
            (0..tensors.len()).filter(|&index| self.what.matches(&tensors[index])).collect();
        let companions = companions(tensors);
        let first = candidates.first().map(|&index| &tensors[index].name);
        candidates.retain(|index| companions.binary_search(index).is_err());
        if candidates.is_empty() {
            if let Some(weight) = first.and_then(|name| weight_of(name)) {
                return Err(self.no_match(tensors, format!("a factor is part of its weight: choose {weight}")));
            }
            return Err(self.no_match(tensors, nearest(self.what.text(), tensors)));
        }
        if self.layers.is_empty() {
            return Ok(candidates);
        }
        let counts = layer_counts(tensors);
        let n_layer_of = |index: &usize| {
            let parts = NameParts::of(&tensors[*index].name);
            parts.layer.and_then(|_| counts.get(parts.family).copied())
        };
        let Some(most) = candidates.iter().filter_map(n_layer_of).max() else {
            return Err(self.no_match(tensors, format!("{} is in no layer", self.what)));
        };
        let mut by_count: BTreeMap<u32, Vec<Vec<(u32, u32)>>> = BTreeMap::new();
        for set in &self.layers {
            set.resolve(most)?;
        }
        for &count in counts.values() {
            by_count.insert(count, self.layers.iter().filter_map(|set| set.resolve(count).ok()).collect());
        }
        let kept: Vec<usize> = candidates
            .into_iter()
            .filter(|index| {
                let (Some(layer), Some(count)) = (tensors[*index].layer(), n_layer_of(index)) else { return false };
                by_count.get(&count).is_some_and(|sets| {
                    sets.len() == self.layers.len()
                        && sets.iter().all(|ranges| ranges.iter().any(|&(a, b)| (a..=b).contains(&layer)))
                })
            })
            .collect();
        if kept.is_empty() {
            return Err(self.no_match(tensors, format!("{} is in other layers", self.what)));
        }
        Ok(kept)
    }

    pub(crate) fn no_match(&self, tensors: &[TensorId], hint: String) -> SelectorError {
        SelectorError::NoMatch { part: self.to_string(), searched: tensors.len(), hint }
    }
}

impl What {
    fn matches(&self, tensor: &TensorId) -> bool {
        match self {
            What::Role(role) => role.holds(tensor),
            What::Activation(_) => false,
            What::Regex(regex) => regex.is_match(&tensor.name),
            What::Name(name) => *name == tensor.name,
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            What::Role(role) => role.name(),
            What::Activation(role) => role.name(),
            What::Regex(regex) => regex.as_str(),
            What::Name(name) => name,
        }
    }
}

/// Advice for a name that matched nothing: the nearest roles and tensor names, by edit distance.
fn nearest(wanted: &str, tensors: &[TensorId]) -> String {
    let tied = tensors.iter().any(|t| t.name == "token_embd.weight");
    if wanted == "output" && tied {
        return "this model has no output matrix of its own; it shares token_embd: output[use=head] is that use of it"
            .into();
    }
    // A name with a third of its letters wrong can still be recognised. With more it is another name.
    let tolerance = (wanted.len() / 3).max(2);
    let mut names: Vec<&str> = TargetRole::all().map(TargetRole::name).collect();
    names.extend(tensors.iter().take(MAX_COMPARED).map(|tensor| tensor.name.as_str()));
    let near = if wanted.len() > MAX_SUGGESTED_LEN {
        Vec::new()
    } else {
        let names = names.into_iter().filter(|name| *name != wanted && !name.contains(char::is_control));
        words::nearest(wanted, names.filter(|name| name.len() <= MAX_SUGGESTED_LEN), tolerance)
    };
    if near.is_empty() {
        let roles: Vec<&str> =
            TargetRole::all().filter(|role| tensors.iter().any(|t| role.holds(t))).map(TargetRole::name).collect();
        return format!("this model has {}", if roles.is_empty() { "no known roles".into() } else { roles.join(", ") });
    }
    let names: Vec<String> = near.iter().take(3).map(words::escape_terminal).collect();
    format!("did you mean {}?", names.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::grammar::{MAX_LEN, MAX_PARTS};

    fn model() -> Vec<TensorId> {
        let tensor = |name: String, ty: &str| TensorId { name, ty: ty.into(), ne: vec![64, 64] };
        let mut tensors = vec![tensor("token_embd.weight".into(), "q8_0")];
        for layer in 0..4 {
            for stem in ["attn_norm", "attn_q", "attn_k", "ffn_norm", "ffn_up"] {
                tensors.push(tensor(format!("blk.{layer}.{stem}.weight"), "q4_K"));
            }
        }
        tensors.push(tensor("v.blk.0.attn_q.weight".into(), "f16"));
        tensors.push(tensor("blk.0.table.weight".into(), "i32"));
        tensors
    }

    /// The text of an error, with its advice on a line of its own.
    pub(crate) fn told(error: &SelectorError) -> String {
        match error.hint() {
            Some(Hint::Words(words)) => format!("{error}\nhint: {words}"),
            hint => format!("{error}\nhint: {hint:?}"),
        }
    }

    fn names(selector: &str) -> Result<Vec<String>, SelectorError> {
        let tensors = model();
        let selection = selector.parse::<Selector>()?.select(&tensors)?;
        Ok(selection.tensors.into_iter().map(|index| tensors[index].name.clone()).collect())
    }

    #[test]
    fn a_factor_is_chosen_with_its_weight_and_never_alone() {
        let named = |name: &str, ne: &[u64]| TensorId { name: name.into(), ty: "f32".into(), ne: ne.to_vec() };
        let tensors = [named("blk.0.attn_q.weight", &[8, 8]), named("blk.0.attn_q.scale", &[1])];
        for selector in ["all", "attn_q", "re:/attn_q/"] {
            let chosen = selector.parse::<Selector>().expect(selector).select(&tensors).expect(selector);
            assert_eq!(chosen.tensors, [0], "{selector}");
        }
        let error = "blk.0.attn_q.scale".parse::<Selector>().expect("a name").select(&tensors).expect_err("a factor");
        assert!(told(&error).contains("a factor is part of its weight: choose blk.0.attn_q.weight"), "{error}");
    }

    #[test]
    fn similar_norms_that_a_role_does_not_include_are_named() {
        let mut tensors = model();
        let left_out = |text: &str, tensors: &[TensorId]| {
            let note = text.parse::<Selector>().expect("a selector").leaves_out(tensors);
            note.map(|note| note.to_string())
        };
        assert_eq!(left_out("ffn_norm", &tensors), None);
        for name in ["blk.0.post_ffw_norm.weight", "blk.1.post_ffw_norm.weight", "blk.0.post_attention_norm.weight"] {
            tensors.push(TensorId { name: name.into(), ty: "f32".into(), ne: vec![64] });
        }
        let words = "ffn_norm does not include post_ffw_norm (2 tensors)";
        assert_eq!(left_out("ffn_norm", &tensors).as_deref(), Some(words));
        let words = "attn_norm does not include post_attention_norm (1 tensor)";
        assert_eq!(left_out("attn_norm,attn_q", &tensors).as_deref(), Some(words));
        assert_eq!(left_out("ffn_norm,norms", &tensors), None);
        assert_eq!(left_out("attn_q", &tensors), None);
    }

    #[test]
    fn selectors_print_in_canonical_form_and_parse_back() {
        for (text, canonical) in [
            ("ffn_norm", "ffn_norm"),
            (" attn_q , attn_k ", "attn_q,attn_k"),
            ("attn[layers=3,0,4-5]", "attn[layers=0,3-5]"),
            ("ffn[layers=-1]", "ffn[layers=-1]"),
            ("ffn[layers=1][layers=1]", "ffn[layers=1]"),
            ("re:/ffn_(up|down)[.,=]/[layers=0]", "re:/ffn_(up|down)[.,=]/[layers=0]"),
            (r"re:/a\/b/", r"re:/a\/b/"),
            ("blk.3.ffn_norm.weight", "blk.3.ffn_norm.weight"),
            ("ffn_norm,ffn_norm", "ffn_norm"),
            ("ffn_norm[where=activation,layers=0,2-3]", "ffn_norm[where=activation][layers=0,2-3]"),
            ("kv[where=activation]", "kv"),
            ("output[ use = head ]", "output[use=head]"),
            ("weights, !attn_q[layers=0] ,ffn_up", "weights,ffn_up,!attn_q[layers=0]"),
            ("!attn_q", "weights,!attn_q"),
            (r"! re:/a=b,c/", r"weights,!re:/a=b,c/"),
            ("rest[layers=1]", "rest[layers=1]"),
        ] {
            let selector: Selector = text.parse().expect(text);
            assert_eq!(selector.to_string(), canonical);
            assert_eq!(canonical.parse::<Selector>().expect(canonical), selector);
        }
    }

    #[test]
    fn malformed_selectors_are_refused() {
        let long = "x".repeat(MAX_LEN + 1);
        let many = vec!["ffn"; MAX_PARTS + 1].join(",");
        for text in [
            "",
            ",",
            "ffn,",
            "ffn[",
            "ffn[layers]",
            "ffn[layers=]",
            "ffn[layer=1]",
            "[layers=1]",
            "ffn]",
            "re:/a",
            "re:/(/",
            "re:/a/b",
            "ffn[layers=1]x",
            "ffn[where=weights]",
            "token_embd[use=both]",
            "token_embd[use=head][where=activation]",
            "a b",
            "!",
            "!!attn_q",
            "!kv",
            "!token_embd[use=head]",
            "rest,attn_q",
            "attn_q,!rest",
            "re:/a\\/",
            &long,
            &many,
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn qualifiers_that_are_not_built_say_what_is_missing() {
        let error = told(&"experts[experts=3]".parse::<Selector>().expect_err("not built"));
        assert!(error.contains("single experts cannot be chosen yet") && error.contains("\nhint: "), "{error}");
        assert!("re:/ffn/[where=activation]".parse::<Selector>().is_err());
    }

    /// Found by fuzzing: a qualifier was quoted without escapes, so it could add a line to the message.
    #[test]
    fn what_is_wrong_is_quoted_wherever_it_is_said() {
        for text in ["ffn_norm[where=\u{17}\nhint: do this]", "re:/a\nb/]", "ffn_norm[\u{1b}[2J]", "ffn_norm\u{7}"] {
            let said = told(&text.parse::<Selector>().expect_err(text));
            assert_eq!(said.lines().count(), 2, "{said:?}");
            assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
        }
    }

    #[test]
    fn layers_narrow_and_negative_ones_count_from_the_end() {
        assert_eq!(names("ffn_norm[layers=1,-1]").expect("there"), ["blk.1.ffn_norm.weight", "blk.3.ffn_norm.weight"]);
        let narrowed: Selector = "ffn_norm,attn_q[layers=0-2]".parse().expect("selector");
        let narrowed = narrowed.narrowed(&LayerSet::one(2));
        assert_eq!(narrowed.to_string(), "ffn_norm[layers=2],attn_q[layers=0-2][layers=2]");
        assert_eq!(names(&narrowed.to_string()).expect("there"), ["blk.2.attn_q.weight", "blk.2.ffn_norm.weight"]);
    }

    #[test]
    fn what_follows_an_exclamation_mark_is_left_out_in_whatever_order_it_is_said() {
        let but_attn_k = names("attn_k,attn_q,!attn_k[layers=1-3]").expect("there");
        assert_eq!(but_attn_k.len(), 5);
        assert_eq!(names("!attn_k[layers=1-3],attn_q,attn_k").expect("there"), but_attn_k);
        assert!(names("!re:/blk/").expect("there").iter().all(|name| name == "token_embd.weight"));
        let narrowed = "weights,!token_embd,!attn_q".parse::<Selector>().expect("selector").narrowed(&LayerSet::one(2));
        assert_eq!(names(&narrowed.to_string()).expect("there").len(), 4);
        let error = |selector: &str| told(&names(selector).expect_err(selector));
        assert!(error("weights,!atn_v").contains("did you mean attn_"), "{}", error("weights,!atn_v"));
        assert!(error("attn_q,!attn_q").contains("leaves out every tensor"));
    }

    #[test]
    fn a_union_comes_in_file_order_without_repeats() {
        let both = names("attn_k[layers=0],blk.0.attn_q.weight,attn_q[layers=0]").expect("there");
        assert_eq!(both, ["blk.0.attn_q.weight", "blk.0.attn_k.weight"]);
    }

    #[test]
    fn a_part_that_matches_nothing_names_the_nearest() {
        let error = |selector: &str| told(&names(selector).expect_err(selector));
        assert!(error("fn_norm").contains("did you mean ffn_norm"), "{}", error("fn_norm"));
        assert!(error("blk.1.ffn_nrm.weight").contains("blk.1.ffn_norm.weight"));
        assert!(error("ffn_norm,attn_out").contains("attn_out"), "the empty part is the one named");
        assert!(error("output").contains("shares token_embd"));
        assert!(error("experts").contains("hint: "));
        assert!(error("ffn_norm[layers=4]").contains("4 layers"));
        assert!(error("token_embd[layers=0]").contains("in no layer"));
        assert!(error("ffn[layers=0][layers=1]").contains("other layers"));
    }

    #[test]
    fn tensors_of_no_weights_are_listed_as_skipped() {
        let tensors = model();
        let all: Selector = "all".parse().expect("role");
        let selection = all.select(&tensors).expect("there");
        assert_eq!((selection.tensors.len(), selection.skipped), (tensors.len() - 1, vec![tensors.len() - 1]));
        assert!(told(&names("blk.0.table.weight").expect_err("integers")).contains("hold no weights"));
    }

    #[test]
    fn a_long_name_and_many_tensors_are_answered_quickly() {
        let tensors: Vec<TensorId> =
            (0..100_000).map(|i| TensorId { name: format!("{i:0>90}"), ty: "f32".into(), ne: vec![1] }).collect();
        let selector: Selector = "y".repeat(MAX_SUGGESTED_LEN).parse().expect("a name");
        let start = std::time::Instant::now();
        assert!(selector.select(&tensors).is_err());
        assert!(start.elapsed().as_secs() < 10, "took {:?}", start.elapsed());
    }
}
