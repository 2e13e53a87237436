//! The filter `tojson`, as transformers defines it: `json.dumps` of Python, without the escapes that Jinja adds for HTML.
//!
//! # Source
//! `json.encoder` of CPython 3, and `tojson` in `transformers/utils/chat_template_utils.py`.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use std::fmt::Write as _;

/// The deepest value that is written.
const MAX_DEPTH: usize = 200;

/// Puts `tojson` in the place of minijinja's own.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", tojson);
}

/// How values are written.
struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

fn tojson(state: &State<'_, '_>, value: &Value, Rest(given): Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let argument = |index: usize, name| -> Result<Option<Value>, Error> {
        let value = match given.get(index) {
            Some(value) => Some(value.clone()),
            None => named.get::<Option<Value>>(name)?,
        };
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let flag = |index, name| Ok::<_, Error>(argument(index, name)?.is_some_and(|value| value.is_true()));
    let ensure_ascii = flag(0, "ensure_ascii")?;
    let sort_keys = flag(3, "sort_keys")?;
    let indent = match argument(1, "indent")? {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let width = usize::try_from(i64::try_from(indent)?).unwrap_or(0);
                state.consume_fuel(width as u64 / 64)?;
                " ".repeat(width)
            }
        }),
    };
    let separators = argument(2, "separators")?;
    let (item_separator, key_separator) = match separators {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let pair: Vec<Value> = pair.try_iter()?.checked().collect::<Result<_, _>>()?;
            let [item, key] = &pair[..] else {
                return Err(Error::new(ErrorKind::InvalidOperation, "separators must be a pair of strings"));
            };
            (item.to_string(), key.to_string())
        }
    };
    named.assert_all_used()?;
    let style = Style { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let mut out = String::new();
    style.value(state, value, 0, &mut out)?;
    Ok(out)
}

fn not_json(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what} is not JSON serializable"))
}

impl Style {
    fn value(&self, state: &State<'_, '_>, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(not_json(&format!("a value that nests more than {MAX_DEPTH} deep")));
        }
        state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                state.consume_fuel(text.len() as u64 / 64)?;
                self.string(text, out);
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.begin_item(state, index, depth, out)?;
                    self.value(state, item, depth + 1, out)?;
                }
                self.end_items(state, items.is_empty(), depth, out)?;
                out.push(']');
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
                if self.sort_keys {
                    keys.sort();
                }
                out.push('{');
                for (index, key) in keys.iter().enumerate() {
                    self.begin_item(state, index, depth, out)?;
                    let name = match key.kind() {
                        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                        ValueKind::None => "null".to_owned(),
                        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
                        ValueKind::Number => number(key),
                        kind => return Err(not_json(&format!("a key of type {kind}"))),
                    };
                    self.string(&name, out);
                    out.push_str(&self.key_separator);
                    self.value(state, &value.get_item(key)?, depth + 1, out)?;
                }
                self.end_items(state, keys.is_empty(), depth, out)?;
                out.push('}');
            }
            kind => return Err(not_json(&format!("a value of type {kind}"))),
        }
        Ok(())
    }

    fn begin_item(&self, state: &State<'_, '_>, index: usize, depth: usize, out: &mut String) -> Result<(), Error> {
        if index > 0 {
            state.consume_fuel(self.item_separator.len() as u64 / 64)?;
            out.push_str(&self.item_separator);
        }
        self.line(state, depth + 1, out)
    }

    fn end_items(&self, state: &State<'_, '_>, empty: bool, depth: usize, out: &mut String) -> Result<(), Error> {
        if empty { Ok(()) } else { self.line(state, depth, out) }
    }

    fn line(&self, state: &State<'_, '_>, depth: usize, out: &mut String) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            state.consume_fuel((indent.len() * depth) as u64 / 64)?;
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
        Ok(())
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string does not fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// A number as `json.dumps` writes it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(x) if !value.is_integer() => match () {
            () if x.is_nan() => "NaN".to_owned(),
            () if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            () => float(x),
        },
        _ => value.to_string(),
    }
}

/// A finite float as Python's `repr` writes it: the fewest digits that give the same number.
pub(super) fn float(x: f64) -> String {
    let text = format!("{x:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        return format!("{x:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_are_written_as_python_does() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
        ];
        for (x, wanted) in cases {
            assert_eq!(float(x), wanted);
        }
    }
}
