//! Reads the text of a selector and prints it in canonical form.

use crate::activation_role::ActivationRole;
use crate::layer_set::LayerSet;
use crate::selector::{Part, Selector, SelectorError, What};
use crate::weight_role::TargetRole;
use record::WeightUse;
use regex::Regex;
use std::{fmt, str::FromStr};
use words::{Hint, plural};

/// The longest selector that is read, in bytes. A longer one is a mistake, and the cap keeps error messages readable.
pub(super) const MAX_LEN: usize = 4096;
/// The largest number of comma-separated parts.
pub(super) const MAX_PARTS: usize = 64;

/// The byte offsets of `mark` outside brackets and regular expressions.
pub(crate) fn outside_groups(text: &str, mark: u8, first_only: bool) -> Result<Vec<usize>, SelectorError> {
    let bytes = text.as_bytes();
    let unclosed = |what: &str, at: usize| SelectorError::Syntax {
        found: format!("{what} opened at byte {at} of {text:?} and never closed"),
        wanted: "its end".into(),
        hint: "a slash inside a regular expression is written \\/".into(),
    };
    let mut found = Vec::new();
    let (mut at, mut part_start) = (0, true);
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        if part_start && rest.starts_with(b"re:/") {
            at = regex_end(bytes, at + 4).ok_or_else(|| unclosed("regular expression", at))? + 1;
            part_start = false;
            continue;
        }
        match bytes[at] {
            b'[' => {
                let length = rest.iter().position(|&b| b == b']').ok_or_else(|| unclosed("bracket", at))?;
                at += length;
            }
            byte if byte == mark => {
                found.push(at);
                if first_only {
                    return Ok(found);
                }
            }
            _ => {}
        }
        part_start = bytes[at] == b',' || (part_start && [b' ', b'!'].contains(&bytes[at]));
        at += 1;
    }
    Ok(found)
}

/// The offset of the first unescaped slash from `at` on.
fn regex_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'/' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let syntax = |found: String, wanted: &str| SelectorError::Syntax {
            found,
            wanted: wanted.into(),
            hint: "examples: ffn_norm, attn[layers=0,3-5], attn_q,attn_k, weights,!attn_v, re:/ffn_(up|down)/".into(),
        };
        if text.len() > MAX_LEN {
            return Err(syntax(plural(text.len(), "byte"), &format!("at most {MAX_LEN}")));
        }
        let commas = outside_groups(text, b',', false)?;
        if commas.len() >= MAX_PARTS {
            return Err(syntax(format!("{} parts", commas.len() + 1), &format!("at most {MAX_PARTS}")));
        }
        let (mut parts, mut except): (Vec<Part>, Vec<Part>) = (Vec::new(), Vec::new());
        let mut start = 0;
        for end in commas.into_iter().chain([text.len()]) {
            let part = text[start..end].trim();
            start = end + 1;
            if part.is_empty() {
                return Err(syntax(format!("an empty part in {text:?}"), "a role, re:/REGEX/ or a tensor name"));
            }
            let (list, part) = match part.strip_prefix('!') {
                Some(left_out) => (&mut except, parse_left_out(left_out.trim_start(), &syntax)?),
                None => (&mut parts, parse_part(part, &syntax)?),
            };
            if !list.contains(&part) {
                list.push(part);
            }
        }
        if parts.is_empty() {
            // All but these.
            parts.push(parse_part("weights", &syntax)?);
        }
        let selector = Selector { parts, except };
        if selector.parts.len() > 1 && selector.parts.iter().any(Part::is_rest) {
            return Err(syntax(format!("{text:?}"), "rest alone, because it means what no other rule names"));
        }
        Ok(selector)
    }
}

/// Reads what a selector leaves out, without the `!`.
fn parse_left_out(text: &str, syntax: &dyn Fn(String, &str) -> SelectorError) -> Result<Part, SelectorError> {
    let part = parse_part(text, syntax)?;
    if part.is_activation || part.used_as.is_some() || part.is_rest() {
        return Err(SelectorError::NotYet {
            part: format!("!{text}"),
            missing: "only whole tensors can be left out".into(),
            hint: Hint::words("leave out a role, re:/REGEX/ or a tensor name, for example weights,!attn_v"),
        });
    }
    Ok(part)
}

fn parse_part(text: &str, syntax: &dyn Fn(String, &str) -> SelectorError) -> Result<Part, SelectorError> {
    let (what, mut brackets) = if let Some(rest) = text.strip_prefix("re:/") {
        let end = regex_end(rest.as_bytes(), 0)
            .ok_or_else(|| syntax(format!("{text:?} without a closing slash"), "re:/REGEX/"))?;
        let pattern = rest[..end].replace("\\/", "/");
        let regex = Regex::new(&pattern).map_err(|error| SelectorError::BadRegex {
            why: error.to_string().lines().last().unwrap_or("does not compile").trim().into(),
            pattern: pattern.clone(),
        })?;
        (What::Regex(regex), &rest[end + 1..])
    } else {
        let end = text.find('[').unwrap_or(text.len());
        let name = text[..end].trim();
        if name.is_empty()
            || name.starts_with('!')
            || name.contains(|c: char| c.is_whitespace() || c.is_control() || "]=\"'".contains(c))
        {
            return Err(syntax(format!("{name:?}"), "a role, re:/REGEX/ or a tensor name"));
        }
        let what = match (TargetRole::named(name), ActivationRole::named(name)) {
            (Some(role), _) => What::Role(role),
            (None, Some(role)) => What::Activation(role),
            (None, None) => What::Name(name.into()),
        };
        (what, &text[end..])
    };
    let is_activation = matches!(what, What::Activation(_));
    let mut part = Part { what, layers: Vec::new(), is_activation, used_as: None };
    while !brackets.is_empty() {
        let inner = brackets.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let Some((qualifiers, rest)) = inner else {
            return Err(syntax(format!("{brackets:?} after {:?}", part.what.to_string()), "[layers=…]"));
        };
        brackets = rest.trim_start();
        for qualifier in split_qualifiers(qualifiers) {
            part.qualify(text, &qualifier, syntax)?;
        }
    }
    if part.is_activation && part.used_as.is_some() {
        return Err(syntax(format!("{text:?}"), "either [where=activation] or [use=…]"));
    }
    if part.is_activation && matches!(part.what, What::Regex(_)) {
        return Err(SelectorError::NotYet {
            part: text.into(),
            missing:
                "activations cannot be chosen by an expression: which nodes there are is known to the engine alone"
                    .into(),
            hint: Hint::words(
                "use a role, such as ffn_norm[where=activation], or a node's name, such as Kcur-3[where=activation]",
            ),
        });
    }
    Ok(part)
}

/// Splits `where=activation,layers=0,3-5` into `where=activation` and `layers=0,3-5`. A comma before `key=` begins a
/// new qualifier.
fn split_qualifiers(text: &str) -> Vec<String> {
    let mut qualifiers: Vec<String> = Vec::new();
    for item in text.split(',') {
        match qualifiers.last_mut() {
            Some(last) if !item.contains('=') => {
                last.push(',');
                last.push_str(item);
            }
            _ => qualifiers.push(item.to_string()),
        }
    }
    qualifiers
}

impl Part {
    fn qualify(
        &mut self,
        text: &str,
        qualifier: &str,
        syntax: &dyn Fn(String, &str) -> SelectorError,
    ) -> Result<(), SelectorError> {
        match qualifier.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("layers", list)) => {
                let set = LayerSet::parse(list)?;
                if !self.layers.contains(&set) {
                    self.layers.push(set);
                }
            }
            Some(("where", "activation")) => self.is_activation = true,
            Some(("use", "lookup")) => self.used_as = Some(WeightUse::Lookup),
            Some(("use", "head")) => self.used_as = Some(WeightUse::Head),
            Some(("experts", _)) => {
                return Err(SelectorError::NotYet {
                    part: text.into(),
                    missing: "single experts cannot be chosen yet: a scheme is applied to whole tensors".into(),
                    hint: Hint::words("leave the qualifier out to take all experts of the layer"),
                });
            }
            _ => {
                let wanted = "[layers=…], [where=activation], [use=lookup] or [use=head]";
                return Err(syntax(format!("qualifier {:?}", format!("[{qualifier}]")), wanted));
            }
        }
        Ok(())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Regex(regex) => write!(f, "re:/{}/", regex.as_str().replace('/', "\\/")),
            _ => f.write_str(self.text()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if self.is_activation && !matches!(self.what, What::Activation(_)) {
            f.write_str("[where=activation]")?;
        }
        match self.used_as {
            Some(WeightUse::Lookup) => f.write_str("[use=lookup]")?,
            Some(WeightUse::Head) => f.write_str("[use=head]")?,
            None => {}
        }
        self.layers.iter().try_for_each(|set| write!(f, "[layers={set}]"))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            write!(f, "{}{part}", if i == 0 { "" } else { "," })?;
        }
        self.except.iter().try_for_each(|part| write!(f, ",!{part}"))
    }
}
